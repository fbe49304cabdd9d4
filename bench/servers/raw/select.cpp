// raw_select PORT: select(2) by hand, with the C library's set: descriptors below FD_SETSIZE.
#include <sys/select.h>

#include <algorithm>

#include "echo.hpp"

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const int listener = raw::listen_on(argv[1], SOCK_NONBLOCK);
  fd_set watched;
  FD_ZERO(&watched);
  FD_SET(listener, &watched);
  int highest = listener;
  for (;;) {
    fd_set ready = watched;
    int left = ::select(highest + 1, &ready, nullptr, nullptr, nullptr);
    for (int fd = 0; fd <= highest && left > 0; ++fd) {
      if (!FD_ISSET(fd, &ready)) continue;
      --left;
      if (fd == listener) {
        for (int client; (client = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
          if (client >= FD_SETSIZE) {
            ::close(client);
            continue;
          }
          FD_SET(client, &watched);
          highest = std::max(highest, client);
        }
        continue;
      }
      bool drained = true;
      if (raw::echo_once(fd, drained)) continue;
      FD_CLR(fd, &watched);
      ::close(fd);
    }
  }
}
