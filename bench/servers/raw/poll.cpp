// raw_poll PORT: poll(2) by hand.
#include <poll.h>

#include <vector>

#include "echo.hpp"

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const int listener = raw::listen_on(argv[1], SOCK_NONBLOCK);
  std::vector<pollfd> fds{{.fd = listener, .events = POLLIN, .revents = 0}};
  for (;;) {
    int left = ::poll(fds.data(), fds.size(), -1);
    for (std::size_t i = fds.size(); i-- > 0 && left > 0;) {
      if (fds[i].revents == 0) continue;
      --left;
      if (i == 0) {
        for (int client; (client = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;)
          fds.push_back({.fd = client, .events = POLLIN, .revents = 0});
        continue;
      }
      bool drained = true;
      if (raw::echo_once(fds[i].fd, drained)) continue;
      ::close(fds[i].fd);
      fds[i] = fds.back();
      fds.pop_back();
    }
  }
}
