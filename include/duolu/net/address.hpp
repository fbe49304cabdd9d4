// Public. Layer: net. Addresses to listen on and to connect to: text, names and socket addresses.
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

/// An address in text form, parsed but not resolved.
///
///     tcp://host:port  host:port  :port  [::1]:port  unix:///path/of/socket  unix://@name
///
/// Without a scheme it is tcp, without a host it is localhost: to listen on every address of the
/// machine, write 0.0.0.0 or [::], not *. Ports are numbers; 0 lets the system choose one. With @
/// it is a name in Linux's abstract namespace (unix(7)), which creates no file. A relative path
/// that contains another / or a leading @ begins with ./.
struct Endpoint {
  enum class Scheme : std::uint8_t { tcp, unix_socket };

  Scheme scheme = Scheme::tcp;
  std::string host{};  ///< tcp: a name or a numeric address, IPv6 without its brackets.
  std::uint16_t port = 0;
  std::string path{};  ///< unix_socket: of the file system, shorter than 108 bytes on Linux; or
                       ///< NUL and an abstract name, 108 bytes at most.
};

/// Parses an Endpoint. The error is a sentence: what is wrong with `text`, and what would be right.
[[nodiscard]] std::expected<Endpoint, std::string> parse_endpoint(std::string_view text);
/// "tcp://HOST:PORT" or "unix://PATH", which parse_endpoint() takes.
[[nodiscard]] std::string to_string(const Endpoint& endpoint);

/// A socket address of any family: what bind, connect and accept take and return. A plain value.
class Address {
 public:
  Address() = default;
  /// Copies `size` bytes of a socket address.
  Address(const sockaddr* address, socklen_t size) noexcept;

  [[nodiscard]] const sockaddr* data() const noexcept {
    return reinterpret_cast<const sockaddr*>(&storage_);
  }
  /// To be filled by the kernel: pass `data()` and `size_slot()` to accept or getsockname.
  [[nodiscard]] sockaddr* data() noexcept { return reinterpret_cast<sockaddr*>(&storage_); }
  [[nodiscard]] socklen_t* size_slot() noexcept { return &size_; }
  [[nodiscard]] socklen_t size() const noexcept { return size_; }
  [[nodiscard]] int family() const noexcept { return storage_.ss_family; }
  /// The port, in host order; 0 for families without one.
  [[nodiscard]] std::uint16_t port() const noexcept;
  void set_port(std::uint16_t port) noexcept;
  /// Whether it is always local: 127.0.0.0/8 (mapped to IPv6 too), ::1, a Unix socket.
  [[nodiscard]] bool is_loopback() const noexcept;
  /// The path of a Unix socket in the file system; empty for every other address.
  [[nodiscard]] std::string_view path() const noexcept;
  /// From now on to_string() begins with udp:// and not tcp://; a socket address itself does not
  /// show which. Addresses that Datagram returns are set so.
  void set_datagram() noexcept { datagram_ = true; }
  /// "tcp://127.0.0.1:5000", "tcp://[::1]:5000", "unix:///path", "unix://@abstract"; "unix:" for an
  /// unnamed peer. parse_endpoint() reads it back, except udp:// and names with NULs. Bytes of a
  /// path are not escaped: do that before printing them to a terminal.
  [[nodiscard]] std::string to_string() const;

 private:
  sockaddr_storage storage_{};
  socklen_t size_ = sizeof(sockaddr_storage);
  bool datagram_ = false;
};

/// All addresses of an endpoint, in the resolver's order, each once. Blocks while a name is looked
/// up. Errors: ENAMETOOLONG for a path, EINVAL for an empty one; those of the resolver, in a
/// category of their own with the messages of gai_strerror(3); errors of the resolver's system
/// calls (EMFILE, ENOMEM ...).
[[nodiscard]] Result<std::vector<Address>> resolve(Kernel& kernel, const Endpoint& endpoint);

/// A listening stream socket, non-blocking. TCP: SO_REUSEADDR, TCP_NODELAY (accepted sockets
/// inherit it on Linux), IPv6 only where the address is IPv6 (::ffff:127.0.0.1 is not). Unix: a
/// socket file is replaced if the socket that was bound to it no longer exists; the caller has to
/// unlink the new file. Errors: as socket(2), bind(2) and listen(2): EADDRINUSE, EACCES,
/// EADDRNOTAVAIL, EAFNOSUPPORT ...; and EEXIST if the file on the path is no socket, for which
/// bind(2) returns EADDRINUSE too.
[[nodiscard]] Result<Fd> listen_on(Kernel& kernel, const Address& address, int backlog = 4096);

}  // namespace duolu
