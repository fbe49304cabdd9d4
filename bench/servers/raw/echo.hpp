// What the raw servers share: each is the least code that echoes with one way of waiting, and is
// what the library is measured against. Plain system calls on purpose. All take PORT (on
// 127.0.0.1).
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

namespace raw {

inline constexpr std::size_t buffer_size = 16384;
inline char buffer[buffer_size];

[[noreturn]] inline void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

/// A listening socket on 127.0.0.1; `flags` such as SOCK_NONBLOCK.
inline int listen_on(const char* port, int flags) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | flags, 0);
  const int one = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<in_port_t>(std::atoi(port)));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
      ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd, 4096) != 0)
    die("listen");
  return fd;
}

/// Echoes one piece. False: the connection is over.
inline bool echo_once(int fd, bool& drained) {
  const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
  drained = got != static_cast<ssize_t>(sizeof buffer);
  if (got <= 0) return got < 0 && errno == EAGAIN;
  // These servers have no queue: a client that does not read its echoes is cut off.
  return ::send(fd, buffer, static_cast<std::size_t>(got), MSG_NOSIGNAL) == got;
}

}  // namespace raw
