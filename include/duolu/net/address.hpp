// Public. Layer: net. Where to listen and whom to connect to: text, names and socket addresses.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "duolu/base/result.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/kernel/kernel.hpp"

namespace duolu {

/// An address as people write it: parsed, not resolved.
///
///     tcp://host:port  host:port  :port  [::1]:port  unix:///path/of/socket  unix://@name
///
/// Without a scheme it is tcp, without a host it is localhost: to listen on every address of the
/// machine, write 0.0.0.0 or [::], not *. Ports are numbers; 0 lets the system choose one. With @
/// it is a name of Linux's abstract namespace (unix(7)), which leaves no file. A relative path
/// begins with ./ if there is another / or a leading @ in it.
struct Endpoint {
  enum class Scheme : std::uint8_t { tcp, unix_socket };

  Scheme scheme = Scheme::tcp;
  std::string host{};  ///< tcp: a name or a numeric address, IPv6 without its brackets.
  std::uint16_t port = 0;
  std::string path{};  ///< unix_socket: of the file system, shorter than 108 bytes on Linux; or
                       ///< NUL and an abstract name, 108 bytes at most.
};

/// Parses an Endpoint. The error is a sentence for people: what is wrong with `text`, and what
/// would be right.
[[nodiscard]] std::expected<Endpoint, std::string> parse_endpoint(std::string_view text);

/// A socket address of any family: what bind, connect and accept take and give. A plain value.
class Address {
 public:
  Address() = default;
  /// Copies `size` bytes of a socket address.
  Address(const sockaddr* address, socklen_t size) noexcept;

  [[nodiscard]] const sockaddr* data() const noexcept {
    return reinterpret_cast<const sockaddr*>(&storage_);
  }
  /// To be filled by the kernel: give `data()` and `size_slot()` to accept or getsockname.
  [[nodiscard]] sockaddr* data() noexcept { return reinterpret_cast<sockaddr*>(&storage_); }
  [[nodiscard]] socklen_t* size_slot() noexcept { return &size_; }
  [[nodiscard]] socklen_t size() const noexcept { return size_; }
  [[nodiscard]] int family() const noexcept { return storage_.ss_family; }
  /// The port, in host order; 0 for families without one.
  [[nodiscard]] std::uint16_t port() const noexcept;
  void set_port(std::uint16_t port) noexcept;
  /// Whether it can only be of this machine: 127.0.0.0/8 (as IPv6 too), ::1, a Unix socket.
  [[nodiscard]] bool is_loopback() const noexcept;
  /// The path of a Unix socket in the file system; empty for every other address.
  [[nodiscard]] std::string_view path() const noexcept;
  /// It prints as udp:// from now on, not as tcp://, which nothing in a socket address tells apart.
  /// What Datagram gives does.
  void set_datagram() noexcept { datagram_ = true; }
  /// "tcp://127.0.0.1:5000", "tcp://[::1]:5000", "unix:///path", "unix://@abstract"; "unix:" for an
  /// unnamed peer. As parse_endpoint() reads it, but for udp:// and names with NULs. Bytes of a
  /// path come as they are: escape them before a terminal sees them.
  [[nodiscard]] std::string to_string() const;

 private:
  sockaddr_storage storage_{};
  socklen_t size_ = sizeof(sockaddr_storage);
  bool datagram_ = false;
};

/// Every address an endpoint stands for, in the resolver's order, each once. Blocks while names are
/// looked up. Errors: ENAMETOOLONG for a path, EINVAL for an empty one; the resolver's own, in a
/// category of their own whose messages are gai_strerror(3)'s; what a system call failed with
/// (EMFILE, ENOMEM ...) on its way.
[[nodiscard]] Result<std::vector<Address>> resolve(Kernel& kernel, const Endpoint& endpoint);

/// A listening stream socket, non-blocking. TCP: SO_REUSEADDR, TCP_NODELAY (accepted sockets
/// inherit it on Linux), IPv6 only where the address is IPv6 (::ffff:127.0.0.1 is not). Unix: a
/// socket file is replaced if no process has the socket that was bound to it any more; the new one
/// is the caller's to unlink. Errors: as socket(2), bind(2) and listen(2): EADDRINUSE, EACCES,
/// EADDRNOTAVAIL, EAFNOSUPPORT ...
[[nodiscard]] Result<Fd> listen_on(Kernel& kernel, const Address& address, int backlog = 4096);

}  // namespace duolu
