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
///     tcp://host:port  host:port  :port  [::1]:port  unix:///path/of/socket
///
/// Without a scheme it is tcp, without a host it is localhost. Ports are numbers; 0 lets the system
/// choose one.
struct Endpoint {
  enum class Scheme : std::uint8_t { tcp, unix_socket };

  Scheme scheme = Scheme::tcp;
  std::string host{};  ///< tcp: a name or a numeric address, IPv6 without its brackets.
  std::uint16_t port = 0;
  std::string path{};  ///< unix_socket: of the file system, shorter than 108 bytes on Linux.
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
  /// "tcp://127.0.0.1:5000", "tcp://[::1]:5000", "unix:///path"; "unix:" for an unnamed peer. Bytes
  /// of a path come as they are: escape them before a terminal sees them.
  [[nodiscard]] std::string to_string() const;

 private:
  sockaddr_storage storage_{};
  socklen_t size_ = sizeof(sockaddr_storage);
};

/// Every address an endpoint stands for, in the resolver's order, each once. Blocks while names are
/// looked up. Errors: ENAMETOOLONG for a path; the resolver's own, in a category of their own whose
/// messages are gai_strerror(3)'s.
[[nodiscard]] Result<std::vector<Address>> resolve(Kernel& kernel, const Endpoint& endpoint);

/// A listening stream socket, non-blocking. TCP: SO_REUSEADDR, TCP_NODELAY (accepted sockets
/// inherit it on Linux), IPv6 only where the address is IPv6. Unix: a socket file that nobody
/// listens on any more is replaced; the new one is the caller's to unlink. Errors: as socket(2),
/// bind(2) and listen(2): EADDRINUSE, EACCES, EADDRNOTAVAIL, EAFNOSUPPORT ...
[[nodiscard]] Result<Fd> listen_on(Kernel& kernel, const Address& address, int backlog = 4096);

}  // namespace duolu
