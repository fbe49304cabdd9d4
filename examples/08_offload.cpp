// Blocking work off the loop: names are looked up on threads, while the loop goes on ticking.
//   08_offload [NAME...]
#include <netdb.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "duolu/loop/offload.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/poll/backends.hpp"
#include "duolu/task/together.hpp"

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

Task<std::string> report(OffloadPool* pool, std::string name) {
  // Named first: g++ 12 destroys a temporary lambda that captures a string twice.
  auto work = [name] { return look_up(name); };
  const Result<std::string> address = co_await offload(*pool, std::move(work));
  co_return name + ": " + (address ? *address : address.error().message());
}

/// Blocks until it is told to stop: work that takes a std::stop_token can be cancelled half-way.
Result<int> count_for_ever(const std::stop_token& token) {
  while (!token.stop_requested()) std::this_thread::sleep_for(1ms);
  return fail(ECANCELED);
}

Task<> tick(Loop* loop, int* ticks) {
  for (bool passed = true; passed; ++*ticks) passed = co_await loop->sleep_for(1ms);
}

Task<> work(Loop* loop, OffloadPool* pool, std::vector<std::string> names) {
  std::vector<Task<std::string>> tasks;
  tasks.reserve(names.size());
  for (const std::string& name : names) tasks.push_back(report(pool, name));
  const std::vector<std::string> lines = co_await when_all(std::move(tasks));
  for (const std::string& line : lines) std::printf("%s\n", line.c_str());
  const Result<int> count = co_await within(*loop, 20ms, offload(*pool, count_for_ever));
  std::printf("counting: %s\n", count ? "done" : count.error().message().c_str());
}

/// Works and ticks side by side; ticking ends with the work.
Task<> work_and_tick(Loop* loop, OffloadPool* pool, std::vector<std::string> names) {
  int ticks = 0;
  co_await first_of(work(loop, pool, std::move(names)), tick(loop, &ticks));
  std::printf("the loop went on meanwhile: %s\n", ticks > 0 ? "yes" : "no");
}

}  // namespace

int main(int argc, char** argv) {
  const auto poller = make_poller(real_kernel()).value();
  const auto engine = make_readiness_engine(*poller);
  Loop loop(*engine);
  const auto pool = OffloadPool::start(real_kernel(), 4).value();
  std::vector<std::string> names(argv + 1, argv + argc);
  if (names.empty()) names = {"127.0.0.1", "::1"};
  loop.run(work_and_tick(&loop, pool.get(), std::move(names)));
}
