// The whole life of a registration, step by step: `01_poller [auto|epoll|poll|select]`. What is
// printed is the same on every backend.
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "duolu/poll/backends.hpp"

using duolu::Interest;
using namespace std::chrono_literals;

namespace {

/// Waits once and prints what came of it.
void wait_and_print(duolu::Poller& poller, const char* what_happened, duolu::Instant deadline) {
  const auto batch = poller.wait(deadline);
  if (!batch) {
    std::printf("wait: %s\n", batch.error().message().c_str());
    return;
  }
  std::printf("%-34s->%s", what_happened, batch->woken() ? " woken" : "");
  if (batch->empty() && !batch->woken()) std::printf(" nothing");
  for (const duolu::Event& event : *batch)
    std::printf(" %s (data %d)", to_string(event.ready).c_str(), static_cast<int>(event.data));
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  duolu::Kernel& kernel = duolu::real_kernel();
  const auto made = duolu::make_poller(kernel, argc > 1 ? argv[1] : "auto");
  if (!made) {
    std::fprintf(stderr, "no poller: %s\n", made.error().message().c_str());
    return 1;
  }
  duolu::Poller& poller = **made;
  std::fprintf(stderr, "backend: %s\n", std::string(poller.name()).c_str());

  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) return 1;
  const duolu::Fd ours(kernel, fds[0]);
  duolu::Fd theirs(kernel, fds[1]);

  // 42 is any word of our own: a descriptor, an index, a pointer. The poller only hands it back.
  const duolu::Token token = *poller.add(ours.get(), Interest::readable, duolu::Trigger::level, 42);
  const auto again = poller.add(ours.get(), Interest::readable);
  std::printf("%-34s-> %s\n", "add it a second time", again.error().message().c_str());

  wait_and_print(poller, "nobody wrote, wait 10 ms", duolu::after(kernel.now(), 10ms));

  (void)kernel.write(theirs.get(), "hello", 5);
  wait_and_print(poller, "the peer wrote", duolu::never);
  wait_and_print(poller, "nobody read: level reports again", duolu::never);

  (void)poller.modify(token, Interest::none);
  wait_and_print(poller, "paused", duolu::immediately);
  (void)poller.modify(token, Interest::readable | Interest::writable);
  wait_and_print(poller, "both directions", duolu::never);

  char buffer[16];
  (void)kernel.read(ours.get(), buffer, sizeof buffer);
  (void)poller.modify(token, Interest::readable);
  std::thread other([&] { poller.wake(); });  // the one call that any thread may make
  wait_and_print(poller, "wake() from another thread", duolu::never);
  other.join();

  theirs.reset();
  wait_and_print(poller, "the peer closed", duolu::never);
  (void)poller.remove(token);  // before `ours` is closed
  std::printf("%-34s-> %zu left\n", "removed", poller.size());
}
