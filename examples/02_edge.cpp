// Edge-triggered reading, right and wrong, on every backend: `02_edge [MODE]`.
//   right      read until EAGAIN, then say drained()                      (the default)
//   forgotten  read until EAGAIN, but never say so: hangs where edges are emulated
//   too-early  say drained() after one read that left bytes behind: hangs where the kernel has
//   edges
// Three messages of 8 bytes come one after the other. A wrong reader misses some of them for ever.
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <string>

#include "duolu/poll/backends.hpp"

using duolu::Interest;

namespace {

enum class Mode { right, forgotten, too_early };

/// Handles one report; the number of bytes read.
int handle(duolu::Poller& poller, const duolu::Event& event, Mode mode) {
  const int fd = static_cast<int>(event.data);
  char buffer[4];
  int total = 0;
  // [drain]
  for (;;) {
    const ssize_t got = poller.kernel().recv(fd, buffer, sizeof buffer, 0);
    if (got == -EAGAIN || got == 0) break;
    if (got < 0) return total;
    total += static_cast<int>(got);
    if (mode == Mode::too_early) break;
  }
  if (mode != Mode::forgotten) poller.drained(event.token, Interest::readable);
  // [/drain]
  return total;
}

/// Sends the messages and counts the bytes that the reader was told of.
int messages_through(duolu::Poller& poller, Mode mode) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) return -1;
  const duolu::Fd reader(poller.kernel(), fds[0]);
  const duolu::Fd writer(poller.kernel(), fds[1]);
  const auto token = poller.add(reader.get(), Interest::readable, duolu::Trigger::edge,
                                static_cast<std::uint64_t>(reader.get()));
  if (!token) return -1;
  int total = 0;
  for (const char* message : {"message1", "message2", "message3"}) {
    (void)poller.kernel().send(writer.get(), message, 8, 0);
    for (bool silent = false; !silent;) {
      const auto batch = poller.wait(duolu::immediately);
      silent = !batch || batch->empty();
      if (silent) break;  // a real program would sleep here
      for (const duolu::Event& event : *batch) total += handle(poller, event, mode);
    }
  }
  (void)poller.remove(*token);
  return total;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string word = argc > 1 ? argv[1] : "right";
  const Mode mode = word == "forgotten"   ? Mode::forgotten
                    : word == "too-early" ? Mode::too_early
                                          : Mode::right;
  for (const duolu::Backend& backend : duolu::backends()) {
    const auto poller = backend.make(duolu::real_kernel(), {});
    if (!poller) continue;
    std::printf("%-6s %-9s %2d of 24 bytes\n", std::string(backend.name).c_str(), word.c_str(),
                messages_through(**poller, mode));
  }
}
