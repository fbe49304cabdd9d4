// The kinds of descriptors tests run over, and what can be done to them: listeners, connections
// under way, resets, terminals, FIFOs, datagram sockets.
#pragma once

#include <netinet/in.h>

#include <span>
#include <string>

#include "support/conformance.hpp"

namespace duolu::test {

/// For waits that are expected to end: much longer than any machine needs.
inline constexpr Duration patience = 20s;

/// A way to make two connected descriptors of which `a` reads what `b` writes.
struct Kind {
  const char* name;
  Pair (*make)();
};

/// AF_UNIX stream, sequenced packets and datagrams, and TCP: both ends read and write.
[[nodiscard]] std::span<const Kind> two_way_kinds();
/// Those and UDP, pipe, FIFO, and a terminal (its master reads).
[[nodiscard]] std::span<const Kind> every_kind();

Pair udp_pair();
Pair fifo_pair();
/// a is the master, b the terminal in raw mode.
Pair pty_pair();

/// A listening TCP socket on 127.0.0.1.
struct Listener {
  Fd fd;
  sockaddr_in address{};
};
Listener tcp_listener(int backlog = 128);

/// A connect(2) that was begun, not blocking: `result` is 0 or -errno.
struct Attempt {
  Fd fd;
  int result = 0;
};
Attempt begin_connect(const sockaddr_in& address);

/// Accepts one connection; none: a negative errno as the second.
struct Accepted {
  Fd fd;
  int error = 0;
};
Accepted accept_one(const Fd& listener);

/// An address of 127.0.0.1 to which nobody listens.
sockaddr_in closed_port();

/// SO_ERROR, which reading clears.
int take_error(int fd);

/// Closes a TCP socket with RST instead of FIN.
void close_with_reset(Fd& fd);

/// Waits until poll(2) itself tells all of `bits`, so that a test starts from a settled state.
[[nodiscard]] bool settled(int fd, short bits);

/// Writes until the descriptor stays unwritable for as long as what was sent may be on its way to
/// the peer's buffer, where it makes room here.
void fill_up(int fd, std::chrono::milliseconds way);

/// A directory of its own under /tmp, removed at the end with the files `path` named.
class ScratchDirectory {
 public:
  ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory();
  /// A path in it.
  [[nodiscard]] std::string path(const std::string& name);
  [[nodiscard]] const std::string& root() const noexcept { return root_; }

 private:
  std::string root_;
  std::vector<std::string> files_;
};

/// The processor time of this thread so far.
Duration thread_cpu_time();

}  // namespace duolu::test
