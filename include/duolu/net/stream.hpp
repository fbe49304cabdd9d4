// Public. Layer: net. Byte streams and listening sockets for tasks.
//
// Every operation is awaited by one task at a time and direction, and ends with a Result. When the
// strand is cancelled it ends with ECANCELED, and no byte is lost: what was not returned is still
// there to be read.
#pragma once

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "duolu/base/result.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/loop/loop.hpp"
#include "duolu/net/address.hpp"
#include "duolu/task/strand.hpp"

namespace duolu {

namespace detail {

/// Awaits a request of a descriptor that has been made. `Request` says in which direction, and what
/// its result means.
template <class Request>
class OpAwaiter {
 public:
  /// Makes the request, unless the strand is cancelled.
  OpAwaiter(Descriptor& descriptor, const Request& request, Strand& strand)
      : descriptor_(descriptor), strand_(strand), ended_(true) {
    if (strand.cancelled()) [[unlikely]]
      op().result = -ECANCELED;
    else
      ended_ = request.start(descriptor);
  }
  bool await_ready() const noexcept { return ended_; }
  template <class Waiter>
  void await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
    park(waiter.promise(), false);
  }
  auto await_resume() const noexcept {
    strand_.resumed();
    return Request::value(descriptor_, op().result);
  }

 protected:
  [[nodiscard]] Op& op() const noexcept { return Request::op(descriptor_); }
  [[nodiscard]] bool ended() const noexcept { return ended_; }
  void park(TaskPromise& waiter, bool propagates) const noexcept {
    Op& waited = op();
    waited.waiter = &waiter;
    waited.propagates = propagates;
    strand_.suspended(
        [](void* descriptor) noexcept {
          auto& waited_for = *static_cast<Descriptor*>(descriptor);
          waited_for.engine->cancel(Request::op(waited_for));
        },
        &descriptor_);
  }

 private:
  Descriptor& descriptor_;
  Strand& strand_;
  bool ended_;
};

/// The same for try_: gives what is in the Result, or ends the awaiting task.
template <class Request>
class TryOpAwaiter : public OpAwaiter<Request> {
 public:
  using OpAwaiter<Request>::OpAwaiter;
  bool await_ready() const noexcept { return this->ended() && this->op().result >= 0; }
  template <Fallible Waiter>
  void await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
    if (this->ended())
      waiter.promise().end_with(errno_code(-this->op().result));
    else
      this->park(waiter.promise(), true);
  }
  auto await_resume() const noexcept {
    auto result = OpAwaiter<Request>::await_resume();  // no error, or nobody would have gone on
    if constexpr (!std::is_same_v<decltype(result), Result<>>) return *std::move(result);
  }
};

/// A request that is made when it is awaited.
template <class Request, template <class> class Awaiter = OpAwaiter>
struct [[nodiscard]] Awaitable {
  Descriptor* descriptor;
  Request request;
  Awaiter<Request> on(Strand* strand) const { return {*descriptor, request, *strand}; }
};

struct ReadRequest {
  void* data;
  std::size_t size;
  static Op& op(Descriptor& descriptor) noexcept { return descriptor.in; }
  bool start(Descriptor& descriptor) const {
    return descriptor.engine->recv(descriptor, data, size);
  }
  static Result<std::size_t> value(Descriptor&, std::int32_t result) noexcept {
    if (result < 0) return fail(-result);
    return static_cast<std::size_t>(result);
  }
};

struct WriteRequest {
  std::string_view bytes;
  static Op& op(Descriptor& descriptor) noexcept { return descriptor.out; }
  bool start(Descriptor& descriptor) const {
    return descriptor.engine->send(descriptor, bytes.data(), bytes.size());
  }
  static Result<> value(Descriptor&, std::int32_t result) noexcept {
    if (result < 0) return fail(-result);
    return {};
  }
};

}  // namespace detail

/// `std::size_t size = co_await try_(stream.read(buffer));` See Task, TA4.
template <class Request>
[[nodiscard]] auto try_(const detail::Awaitable<Request>& awaitable) noexcept {
  return detail::Awaitable<Request, detail::TryOpAwaiter>{awaitable.descriptor, awaitable.request};
}

/// A connected byte stream: TCP or a Unix socket. Move-only; closes when destroyed, which must not
/// happen while something of it is awaited.
class Stream {
 public:
  Stream() = default;
  /// Takes over an open descriptor of a connected socket.
  explicit Stream(Descriptor& descriptor) noexcept : descriptor_(&descriptor) {}
  Stream(Stream&& other) noexcept : descriptor_(std::exchange(other.descriptor_, nullptr)) {}
  Stream& operator=(Stream&& other) noexcept {
    if (this != &other) {
      close();
      descriptor_ = std::exchange(other.descriptor_, nullptr);
    }
    return *this;
  }
  ~Stream() { close(); }

  /// Up to buffer.size() bytes, which is 1 at least; 0 at the end of the stream.
  auto read(std::span<char> buffer) noexcept {
    return detail::Awaitable<detail::ReadRequest>{descriptor_, {buffer.data(), buffer.size()}};
  }
  /// Sends all of `bytes`, which stay as they are until it has ended.
  auto write_all(std::string_view bytes) noexcept {
    return detail::Awaitable<detail::WriteRequest>{descriptor_, {bytes}};
  }
  void close() noexcept {
    if (descriptor_ != nullptr) descriptor_->engine->close(*std::exchange(descriptor_, nullptr));
  }
  [[nodiscard]] explicit operator bool() const noexcept { return descriptor_ != nullptr; }

 private:
  Descriptor* descriptor_ = nullptr;
};

namespace detail {

struct AcceptRequest {
  static Op& op(Descriptor& descriptor) noexcept { return descriptor.in; }
  static bool start(Descriptor& descriptor) { return descriptor.engine->accept(descriptor); }
  static Result<Stream> value(Descriptor& descriptor, std::int32_t result) noexcept;
};

}  // namespace detail

/// A listening socket. Move-only; closes when destroyed, which must not happen while accept() is
/// awaited.
class Listener {
 public:
  /// Listens; errors as listen_on() and Engine::open().
  static Result<Listener> open(Loop& loop, const Address& address);
  Listener(Listener&& other) noexcept : descriptor_(std::exchange(other.descriptor_, nullptr)) {}
  Listener& operator=(Listener&&) = delete;
  ~Listener() {
    if (descriptor_ != nullptr) descriptor_->engine->close(*descriptor_);
  }

  /// The next connection. Errors are accept(2)'s, EMFILE and its like among them: pause before the
  /// next one.
  auto accept() noexcept { return detail::Awaitable<detail::AcceptRequest>{descriptor_, {}}; }
  /// Where it listens, with the port that the system chose.
  [[nodiscard]] Address address() const;

 private:
  explicit Listener(Descriptor& descriptor) noexcept : descriptor_(&descriptor) {}

  Descriptor* descriptor_;
};

}  // namespace duolu
