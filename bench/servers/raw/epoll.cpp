// raw_epoll PORT [level|edge]: epoll without a library, level-triggered or edge-triggered (reads
// until a short read).
#include <sys/epoll.h>

#include <cstdint>

#include "../echo.hpp"
#include "../servers.hpp"

namespace {

using bench::Next;

int set;
std::uint32_t reading;  // the events that a connection is registered for

/// Clients' numbers are above the listener's. Those of connections that wait to write are negated,
/// so that one comparison finds everything that is not a message to echo.
[[gnu::cold, gnu::noinline]] void settle(int fd, Next next) {
  if (next == Next::end) return bench::close_connection(fd);
  const bool writes = next == Next::write;
  epoll_event event{.events = writes ? EPOLLOUT : reading, .data = {.fd = writes ? -fd : fd}};
  ::epoll_ctl(set, EPOLL_CTL_MOD, fd, &event);
}

void accept_all(int listener) {
  for (int client; (client = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
    epoll_event event{.events = reading, .data = {.fd = client}};
    ::epoll_ctl(set, EPOLL_CTL_ADD, client, &event);
  }
}

}  // namespace

int bench::raw_epoll(int argc, char** argv) {
  const auto [port, mode] = bench::start(argc, argv, {"level", "edge"});
  const bool edge = mode == "edge";
  reading = edge ? EPOLLIN | EPOLLRDHUP | EPOLLET : EPOLLIN;
  const int listener = bench::listen_on(port, SOCK_NONBLOCK);
  set = ::epoll_create1(0);
  epoll_event event{.events = EPOLLIN, .data = {.fd = listener}};
  if (set < 0 || ::epoll_ctl(set, EPOLL_CTL_ADD, listener, &event) != 0) bench::die("epoll");
  static epoll_event ready[256];
  for (;;) {
    const int count = ::epoll_wait(set, ready, 256, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = ready[i].data.fd;
      if (fd <= listener) [[unlikely]] {
        fd == listener ? accept_all(fd) : settle(-fd, bench::send_unsent(-fd));
        continue;
      }
      bool drained = true;
      Next next = bench::echo_once(fd, drained);
      while (next == Next::read && edge && (!drained || (ready[i].events & EPOLLRDHUP) != 0))
        next = bench::echo_once(fd, drained);
      if (next != Next::read) [[unlikely]]
        settle(fd, next);
    }
  }
}
