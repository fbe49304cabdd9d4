// Public. Layer: net. Datagram sockets for tasks: UDP and Unix.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "duolu/kernel/fd.hpp"
#include "duolu/loop/loop.hpp"
#include "duolu/net/address.hpp"
#include "duolu/net/request.hpp"

namespace duolu {

/// A received datagram.
struct Received {
  std::size_t size = 0;    ///< How many bytes are in the buffer; may be 0.
  bool truncated = false;  ///< It was longer than the buffer; the rest is lost.
  Address from{};          ///< Its sender; of family AF_UNSPEC if the sender has no address.
};

namespace detail {

struct ReceiveRequest : InRequest {
  iovec part;
  Address from{};
  msghdr message{};
  bool start(Descriptor& descriptor);
  [[nodiscard]] Received value(const Descriptor& descriptor) const noexcept;
  [[nodiscard]] Result<Received> result(const Descriptor& descriptor) const noexcept;
};

struct SendToRequest : OutRequest {
  iovec part;
  Address to;
  msghdr message{};
  bool start(Descriptor& descriptor);
};

}  // namespace detail

/// A datagram socket. Move-only; closes when destroyed, which aborts while an operation is awaited.
class Datagram {
 public:
  /// A socket bound to `address`: port 0, or an unnamed Unix address, lets the system choose.
  /// Errors: as socket(2), bind(2) and Engine::open().
  [[nodiscard]] static Result<Datagram> open(Loop& loop, const Address& address);
  /// Takes ownership of a datagram socket, and makes it non-blocking. `fd` is closed on failure.
  /// Errors: EINVAL if it is anything else; as fcntl(2) and Engine::open().
  [[nodiscard]] static Result<Datagram> open(Loop& loop, Fd fd);
  Datagram(Datagram&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, &detail::no_descriptor)) {}
  Datagram& operator=(Datagram&&) = delete;
  ~Datagram() {
    if (descriptor_ != &detail::no_descriptor) descriptor_->engine->close(*descriptor_);
  }

  /// The next datagram. Errors: as recvmsg(2). After connect(), an error of a datagram sent before
  /// is returned here, once: ECONNREFUSED when the peer has no such socket. If cancelled:
  /// ECANCELED, and no datagram is lost.
  auto receive(std::span<char> buffer) noexcept {
    return detail::MessageAwaitable<detail::ReceiveRequest>{
        descriptor_, {{}, {.iov_base = buffer.data(), .iov_len = buffer.size()}}};
  }
  /// Sends one datagram. When this ends, the kernel has taken it; it may still be lost. Errors: as
  /// sendmsg(2) for this one (receive() returns the errors of earlier ones, which keep no other
  /// from being sent); EMSGSIZE if it is too long; ENOBUFS if `to` names a Unix peer whose queue is
  /// full, since the kernel offers no way to wait for room in it.
  auto send(std::string_view bytes, const Address& to) noexcept {
    return detail::MessageAwaitable<detail::SendToRequest>{descriptor_, {{}, part(bytes), to}};
  }
  /// The same to the peer of connect().
  auto send(std::string_view bytes) noexcept { return send(bytes, Address()); }
  /// From now on only this peer's datagrams are received. Errors: as connect(2).
  Result<> connect(const Address& peer) noexcept;
  /// The address it is bound to.
  [[nodiscard]] Address address() const noexcept;
  [[nodiscard]] int fd() const noexcept { return detail::open_one(descriptor_).fd; }

 private:
  explicit Datagram(Descriptor& descriptor) noexcept : descriptor_(&descriptor) {}
  static iovec part(std::string_view bytes) noexcept {
    return {.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  }

  Descriptor* descriptor_;
};

}  // namespace duolu
