// raw_epoll PORT [edge]: epoll by hand, level-triggered or edge-triggered (read to a short read).
#include <sys/epoll.h>

#include <cstdint>
#include <cstring>

#include "echo.hpp"

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const bool edge = argc > 2 && std::strcmp(argv[2], "edge") == 0;
  const std::uint32_t events = edge ? EPOLLIN | EPOLLRDHUP | EPOLLET : EPOLLIN;
  const int listener = raw::listen_on(argv[1], SOCK_NONBLOCK);
  const int set = ::epoll_create1(0);
  epoll_event event{.events = EPOLLIN, .data = {.fd = listener}};
  if (set < 0 || ::epoll_ctl(set, EPOLL_CTL_ADD, listener, &event) != 0) raw::die("epoll");
  static epoll_event ready[256];
  for (;;) {
    const int count = ::epoll_wait(set, ready, 256, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = ready[i].data.fd;
      if (fd == listener) {
        for (int client; (client = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
          event = {.events = events, .data = {.fd = client}};
          ::epoll_ctl(set, EPOLL_CTL_ADD, client, &event);
        }
        continue;
      }
      bool drained = true;
      bool alive = raw::echo_once(fd, drained);
      while (alive && edge && (!drained || (ready[i].events & EPOLLRDHUP) != 0))
        alive = raw::echo_once(fd, drained);
      if (!alive) ::close(fd);
    }
  }
}
