// Public. Layer: net. Datagram sockets for tasks: UDP and Unix.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "duolu/loop/loop.hpp"
#include "duolu/net/address.hpp"
#include "duolu/net/request.hpp"

namespace duolu {

/// One datagram that was received.
struct Received {
  std::size_t size = 0;    ///< The bytes that are in the buffer; may be 0.
  bool truncated = false;  ///< It was longer than the buffer; the rest is lost.
  Address from{};          ///< Its sender; of family AF_UNSPEC if that has no address.
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

/// A datagram socket. Move-only; closes when destroyed, which must not happen while something of it
/// is awaited: that aborts.
class Datagram {
 public:
  /// A socket bound to `address`: port 0, or an unnamed Unix address, lets the system choose.
  /// Errors: as socket(2), bind(2) and Engine::open().
  [[nodiscard]] static Result<Datagram> open(Loop& loop, const Address& address);
  Datagram(Datagram&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, &detail::no_descriptor)) {}
  Datagram& operator=(Datagram&&) = delete;
  ~Datagram() {
    if (descriptor_ != &detail::no_descriptor) descriptor_->engine->close(*descriptor_);
  }

  /// The next datagram. Errors: recvmsg(2)'s. After connect(), what became of one sent before comes
  /// out here, once: ECONNREFUSED when the peer does not listen. Cancelled: ECANCELED, and none is
  /// lost.
  auto receive(std::span<char> buffer) noexcept {
    return detail::MessageAwaitable<detail::ReceiveRequest>{
        descriptor_, {{}, {.iov_base = buffer.data(), .iov_len = buffer.size()}}};
  }
  /// Sends one datagram. It has left when this ends, which says nothing of its arrival. Errors:
  /// sendmsg(2)'s of this one (those of earlier ones come out of receive(), and stop no other);
  /// EMSGSIZE if it is too long; ENOBUFS if the queue of a Unix peer is full that `to` names: for
  /// its room the system lets nobody wait.
  auto send(std::string_view bytes, const Address& to) noexcept {
    return detail::MessageAwaitable<detail::SendToRequest>{descriptor_, {{}, part(bytes), to}};
  }
  /// The same to the peer of connect().
  auto send(std::string_view bytes) noexcept { return send(bytes, Address()); }
  /// From now on only this peer's datagrams are received. Errors: connect(2)'s.
  Result<> connect(const Address& peer) noexcept;
  /// Where it is bound.
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
