// Public. Layer: net. Listening sockets for tasks.
#pragma once

#include <utility>

#include "duolu/net/stream.hpp"

namespace duolu {

namespace detail {

struct AcceptRequest : InRequest {
  static Result<Stream> result(const Descriptor& descriptor) noexcept;
};

}  // namespace detail

/// A listening socket. Move-only; closes when destroyed, which must not happen while accept() is
/// awaited: that aborts.
class Listener {
 public:
  /// Listens; errors as listen_on() and Engine::open().
  [[nodiscard]] static Result<Listener> open(Loop& loop, const Address& address);
  Listener(Listener&& other) noexcept : descriptor_(std::exchange(other.descriptor_, nullptr)) {}
  Listener& operator=(Listener&&) = delete;
  ~Listener() {
    if (descriptor_ != nullptr) descriptor_->engine->close(*descriptor_);
  }

  /// The next connection, as a Stream. Errors are accept(2)'s, or StreamError::refused if the
  /// engine cannot take it; see accept_error(). Cancelled: ECANCELED, and no connection is lost.
  [[nodiscard]] auto* accept() noexcept {
    Engine::prepare(descriptor_->in, Op::Code::accept);
    return detail::pending<detail::AcceptRequest>(descriptor_);
  }
  /// Where it listens, with the port that the system chose.
  [[nodiscard]] Address address() const noexcept;
  [[nodiscard]] Kernel& kernel() const noexcept { return descriptor_->engine->kernel(); }

 private:
  explicit Listener(Descriptor& descriptor) noexcept : descriptor_(&descriptor) {}

  Descriptor* descriptor_;
};

/// What an error of accept() is about.
enum class AcceptError : std::uint8_t {
  connection,  ///< One connection, which is out of the backlog with it: accept the next one.
  resources,  ///< Descriptors or memory are short (EMFILE, ENFILE, ENOBUFS, ENOMEM): the connection
              ///< stays in the backlog, and trying again at once would spin. Wait first.
  listener,   ///< Anything else: the listener is broken, or a security module says no.
};
[[nodiscard]] AcceptError accept_error(std::error_code error) noexcept;

}  // namespace duolu
