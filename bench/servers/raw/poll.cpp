// raw_poll PORT: poll(2) without a library.
#include <poll.h>

#include <vector>

#include "../echo.hpp"
#include "../servers.hpp"

namespace {

using bench::Next;

std::vector<pollfd> fds;

[[gnu::cold, gnu::noinline]] void settle(std::size_t i, Next next) {
  if (next != Next::end) {
    fds[i].events = next == Next::write ? POLLOUT : POLLIN;
    return;
  }
  bench::close_connection(fds[i].fd);
  fds[i] = fds.back();
  fds.pop_back();
}

/// Not a client's POLLIN alone: the listener, a connection that waits to write, or an ended one.
[[gnu::cold, gnu::noinline]] void other_event(std::size_t i) {
  bool drained = true;
  if (i == 0) {
    for (int client; (client = ::accept4(fds[0].fd, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;)
      fds.push_back({.fd = client, .events = POLLIN, .revents = 0});
  } else if (fds[i].events == POLLOUT) {
    settle(i, bench::send_unsent(fds[i].fd));
  } else {
    settle(i, bench::echo_once(fds[i].fd, drained));
  }
}

}  // namespace

int bench::raw_poll(int argc, char** argv) {
  const int listener = bench::listen_on(bench::start(argc, argv).port, SOCK_NONBLOCK);
  // Another name for POLLIN, so that one comparison distinguishes clients from the listener.
  fds.push_back({.fd = listener, .events = POLLRDNORM, .revents = 0});
  for (;;) {
    int left = ::poll(fds.data(), fds.size(), -1);
    for (std::size_t i = fds.size(); i-- > 0 && left > 0;) {
      if (fds[i].revents == 0) continue;
      --left;
      if (fds[i].revents != POLLIN) [[unlikely]] {
        other_event(i);
        continue;
      }
      bool drained = true;
      const Next next = bench::echo_once(fds[i].fd, drained);
      if (next != Next::read) [[unlikely]]
        settle(i, next);
    }
  }
}
