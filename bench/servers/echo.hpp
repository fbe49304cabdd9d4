// What the servers of the benchmark share. Each echoes, with one way of waiting, as an expert in it
// would write it: those in raw/ with plain system calls, as the limit to compare the library with,
// those in peers/ with other libraries. All take PORT (on 127.0.0.1) first.
//
// They end on SIGTERM, and after as many closed connections as the environment variable
// DUOLU_BENCH_UNTIL says: valgrind delivers no signal while its program is in io_uring_enter, so a
// program that it counts has to end by itself.
//
// `duolu lab` gives its servers a socket that listens already (given_listener) instead of a port,
// so that neither another program can take the port, nor a client come too early.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>

namespace bench {

/// The size of the largest message that is echoed in one piece.
inline constexpr std::size_t buffer_size = 16384;
inline char buffer[buffer_size];

// --- start and end

[[noreturn]] inline void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

[[noreturn]] inline void usage(const char* program, const std::string& arguments) {
  std::fprintf(stderr, "usage: %s %s\n", program, arguments.c_str());
  std::exit(2);
}

/// A socket that listens, to be used instead of a new one; -1: there is none.
inline int given_listener = -1;

/// How many connections may still be closed; 0: any number.
inline std::atomic<long> closes_left = 0;

/// Every server calls this first.
inline void prepare() {
  rlimit descriptors{};
  ::getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = descriptors.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &descriptors);
  std::signal(SIGPIPE, SIG_IGN);  // not every library sends with MSG_NOSIGNAL
  if (const char* until = std::getenv("DUOLU_BENCH_UNTIL")) closes_left = std::atol(until);
}

/// Call it after a connection has been closed.
inline void closed() {
  if (closes_left.fetch_sub(1, std::memory_order_relaxed) == 1) ::_exit(0);
}

struct Arguments {
  in_port_t port;
  std::string_view mode;
};

/// Reads `PORT [MODE]` and prepares; the first mode is the default.
inline Arguments start(int argc, char** argv, std::initializer_list<std::string_view> modes = {}) {
  const int port = argc > 1 ? std::atoi(argv[1]) : 0;
  std::string_view mode = argc > 2 ? argv[2] : "";
  bool known = argc == 2 && port > 0 && port < 65536;
  std::string choice;
  for (const std::string_view name : modes) {
    choice.append(choice.empty() ? " [" : "|").append(name);
    if (mode.empty()) mode = name;
    known = known || (argc == 3 && port > 0 && port < 65536 && mode == name);
  }
  if (!known) usage(argv[0], "PORT" + choice + (choice.empty() ? "" : "]"));
  prepare();
  return {static_cast<in_port_t>(port), mode};
}

/// The given listening socket, or a new one on 127.0.0.1; `flags` such as SOCK_NONBLOCK. What it
/// accepts inherits TCP_NODELAY.
inline int listen_on(in_port_t port, int flags) {
  if (given_listener >= 0) {
    if (::fcntl(given_listener, F_SETFL, (flags & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0) != 0)
      die("fcntl");
    return given_listener;
  }
  const int fd = ::socket(AF_INET, SOCK_STREAM | flags, 0);
  const int one = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
      ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd, 4096) != 0)
    die("listen");
  return fd;
}

// --- echoing, for servers that block

inline void echo_to_the_end(int fd) {
  char piece[buffer_size];
  for (ssize_t got; (got = ::recv(fd, piece, sizeof piece, 0)) > 0;)
    if (::send(fd, piece, static_cast<std::size_t>(got), MSG_NOSIGNAL) != got) break;
  ::close(fd);
  closed();
}

// --- echoing, for servers that wait for readiness

/// What to watch a connection for next. Only one of them: while bytes are unsent nothing is
/// received, so that a client that does not read uses at most one buffer.
enum class Next { read, write, end };

/// Unsent bytes, by descriptor.
inline std::unordered_map<int, std::string> unsent;

/// After a send that took `sent` of the bytes, or failed.
[[gnu::cold, gnu::noinline]] inline Next keep_unsent(int fd, std::string_view bytes, ssize_t sent) {
  if (sent < 0 && errno != EAGAIN) return Next::end;
  unsent[fd] = bytes.substr(sent < 0 ? 0 : static_cast<std::size_t>(sent));
  return Next::write;
}

/// Echoes one piece.
inline Next echo_once(int fd, bool& drained) {
  const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
  drained = got != static_cast<ssize_t>(sizeof buffer);
  if (got <= 0) [[unlikely]]
    return got < 0 && errno == EAGAIN ? Next::read : Next::end;
  const ssize_t sent = ::send(fd, buffer, static_cast<std::size_t>(got), MSG_NOSIGNAL);
  if (sent == got) [[likely]]
    return Next::read;
  return keep_unsent(fd, {buffer, static_cast<std::size_t>(got)}, sent);
}

/// For a connection that is writable, or broken.
[[gnu::cold, gnu::noinline]] inline Next send_unsent(int fd) {
  std::string& bytes = unsent[fd];
  const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent < 0) return errno == EAGAIN ? Next::write : Next::end;
  bytes.erase(0, static_cast<std::size_t>(sent));
  if (!bytes.empty()) return Next::write;
  unsent.erase(fd);
  return Next::read;
}

[[gnu::cold, gnu::noinline]] inline void close_connection(int fd) {
  unsent.erase(fd);
  ::close(fd);
  closed();
}

}  // namespace bench
