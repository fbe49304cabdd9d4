// Blocking work off the loop: names are looked up on threads, while the loop goes on ticking.
//   08_offload [NAME...]
#include <netdb.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "duolu/duolu.hpp"

namespace {

using namespace duolu;
using namespace std::chrono_literals;

/// Blocks, for as long as name servers take.
Result<std::string> look_up(const std::string& name) {
  const addrinfo hints{};
  addrinfo* found = nullptr;
  if (getaddrinfo(name.c_str(), nullptr, &hints, &found) != 0) return fail(ENOENT);
  char address[64];
  const int error = getnameinfo(found->ai_addr, found->ai_addrlen, address, sizeof address, nullptr,
                                0, NI_NUMERICHOST);
  freeaddrinfo(found);
  if (error != 0) return fail(EINVAL);
  return address;
}

Task<std::string> report(std::string name) {
  // Named first: g++ 12 destroys a temporary lambda that captures a string twice.
  auto work = [name] { return look_up(name); };
  const Result<std::string> address = co_await offload(std::move(work));
  co_return name + ": " + (address ? *address : address.error().message());
}

/// Blocks until it is asked to stop: work that takes a StopToken can be cancelled half-way.
Result<int> count_for_ever(StopToken token) {
  while (!token.stop_requested()) std::this_thread::sleep_for(1ms);
  return fail(ECANCELED);
}

/// Ends when it is cancelled: a sleep that is cancelled ends its task.
Task<> tick(int* ticks) {
  for (;; ++*ticks) co_await sleep(1ms);
}

Task<> work(std::vector<std::string> names) {
  std::vector<Task<std::string>> tasks;
  tasks.reserve(names.size());
  for (const std::string& name : names) tasks.push_back(report(name));
  const std::vector<std::string> lines = co_await when_all(std::move(tasks));
  for (const std::string& line : lines) std::printf("%s\n", line.c_str());
  const Result<int> count = co_await within(20ms, offload(count_for_ever));
  std::printf("counting: %s\n", count ? "done" : count.error().message().c_str());
}

/// Works and ticks side by side; ticking ends with the work.
Task<> work_and_tick(std::vector<std::string> names) {
  int ticks = 0;
  co_await first_of(work(std::move(names)), tick(&ticks));
  std::printf("the loop went on meanwhile: %s\n", ticks > 0 ? "yes" : "no");
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> names(argv + 1, argv + argc);
  if (names.empty()) names = {"127.0.0.1", "::1"};
  return run(work_and_tick(std::move(names)));
}
