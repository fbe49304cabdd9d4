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

/// Bytes that were received into a buffer of the engine's, which goes back when this is destroyed.
/// Move-only. Holding it while waiting for something else holds one of a limited number.
class [[nodiscard]] Lease {
 public:
  /// Nothing: the end of the stream.
  Lease() = default;
  /// What Engine::recv_lent() has received.
  Lease(Engine& engine, char* data, std::uint32_t size) noexcept
      : engine_(&engine), data_(data), size_(size) {}
  Lease(Lease&& other) noexcept
      : engine_(other.engine_), data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  Lease& operator=(Lease&& other) noexcept {
    if (this != &other) {
      reset();
      engine_ = other.engine_;
      data_ = std::exchange(other.data_, nullptr);
      size_ = other.size_;
    }
    return *this;
  }
  ~Lease() { reset(); }

  /// Whether there are bytes: false at the end of the stream, and after a move.
  [[nodiscard]] explicit operator bool() const noexcept { return data_ != nullptr; }
  [[nodiscard]] std::span<char> bytes() const noexcept {
    return {data_, data_ == nullptr ? 0 : size_};
  }
  [[nodiscard]] std::string_view text() const noexcept {
    return {data_, data_ == nullptr ? 0 : size_};
  }
  /// Gives the buffer back.
  void reset() noexcept {
    if (data_ != nullptr) engine_->give_back(std::exchange(data_, nullptr));
  }
  /// The bytes, and with them the duty to give the buffer back.
  [[nodiscard]] char* release() noexcept { return std::exchange(data_, nullptr); }

 private:
  Engine* engine_ = nullptr;
  char* data_ = nullptr;
  std::uint32_t size_ = 0;
};

namespace detail {

/// Awaits a request that was prepared in a descriptor, and makes it first. `Request` says in which
/// direction, and what its result means: value() if there is no error, result() in any case. With
/// `ends_task` (try_) it gives the value, or ends the awaiting task.
template <class Request, bool ends_task>
class OpAwaiter {
 public:
  OpAwaiter(Descriptor& descriptor, const Strand& strand)
      : descriptor_(&descriptor), ended_(start(descriptor, strand)) {}
  bool await_ready() const noexcept { return ended_; }
  template <class Waiter>
    requires(!ends_task || Fallible<Waiter>)
  void await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
    Op& op = Request::op(*descriptor_);
    TaskPromise& task = waiter.promise();
    op.waiter = &task;
    op.propagates = ends_task;
    task.strand()->suspended(abandon, descriptor_);
  }
  auto await_resume() const noexcept {
    if constexpr (ends_task)
      return Request::value(*descriptor_);
    else
      return Request::result(*descriptor_);
  }

 private:
  static bool start(Descriptor& descriptor, const Strand& strand) {
    if (!strand.cancelled()) [[likely]]
      return Request::start(descriptor);
    Request::refuse(descriptor);
    return false;
  }
  /// The strand may have gone on since, and another one wait here.
  static void abandon(Strand& strand, void* subject) noexcept {
    auto& descriptor = *static_cast<Descriptor*>(subject);
    Op& op = Request::op(descriptor);
    if (op.outstanding() && static_cast<TaskPromise*>(op.waiter)->strand() == &strand)
      descriptor.engine->cancel(op);
  }

  Descriptor* descriptor_;
  bool ended_;
};

/// A request that was prepared and is made when it is awaited, which must be next.
template <class Request, bool ends_task = false>
struct [[nodiscard]] Awaitable {
  Descriptor* descriptor;
  OpAwaiter<Request, ends_task> on(const Strand* strand) const { return {*descriptor, *strand}; }
};

/// What requests have in common: where they are, and what an error looks like.
template <Op Descriptor::* direction>
struct InDirection {
  static Op& op(Descriptor& descriptor) noexcept { return descriptor.*direction; }
  static void refuse(Descriptor& descriptor) noexcept { descriptor.engine->refuse(op(descriptor)); }
};

struct ReadRequest : InDirection<&Descriptor::in> {
  static bool start(Descriptor& descriptor) { return descriptor.engine->start_in(descriptor); }
  static std::size_t value(const Descriptor& descriptor) noexcept {
    return static_cast<std::size_t>(descriptor.in.result);
  }
  static Result<std::size_t> result(const Descriptor& descriptor) noexcept {
    if (descriptor.in.result < 0) return fail(-descriptor.in.result);
    return value(descriptor);
  }
};

struct ReadLeaseRequest : InDirection<&Descriptor::in> {
  static bool start(Descriptor& descriptor) { return descriptor.engine->start_in(descriptor); }
  static Lease value(const Descriptor& descriptor) noexcept {
    if (descriptor.in.result == 0) return {};
    return {*descriptor.engine, descriptor.in.data,
            static_cast<std::uint32_t>(descriptor.in.result)};
  }
  static Result<Lease> result(const Descriptor& descriptor) noexcept {
    if (descriptor.in.result < 0) return fail(-descriptor.in.result);
    return value(descriptor);
  }
};

struct WriteRequest : InDirection<&Descriptor::out> {
  static bool start(Descriptor& descriptor) { return descriptor.engine->start_send(descriptor); }
  static void value(const Descriptor&) noexcept {}
  static Result<> result(const Descriptor& descriptor) noexcept {
    if (descriptor.out.result < 0) return fail(-descriptor.out.result);
    return {};
  }
};

struct WriteLeaseRequest : WriteRequest {
  static bool start(Descriptor& descriptor) {
    return descriptor.engine->start_send_lent(descriptor);
  }
  static void refuse(Descriptor& descriptor) noexcept {
    descriptor.engine->give_back(descriptor.out.data);
    descriptor.engine->refuse(descriptor.out);
  }
};

}  // namespace detail

/// `std::size_t size = co_await try_(stream.read(buffer));` See Task, TA4.
template <class Request>
[[nodiscard]] auto try_(const detail::Awaitable<Request>& awaitable) noexcept {
  return detail::Awaitable<Request, true>{awaitable.descriptor};
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

  /// Up to `size` bytes, which is 1 at least; 0 at the end of the stream.
  auto read(void* buffer, std::size_t size) noexcept {
    Engine::prepare_recv(*descriptor_, buffer, size);
    return detail::Awaitable<detail::ReadRequest>{descriptor_};
  }
  /// The same into an array, a string, a vector, a span.
  template <class Buffer>
    requires requires(Buffer& b) { std::span<char>(b); }
  auto read(Buffer&& buffer) noexcept {
    return read(std::data(buffer), std::size(buffer));
  }
  /// What there is, in a buffer of the engine's: whoever waits needs none. Empty at the end of the
  /// stream.
  auto read_lease() noexcept {
    Engine::prepare(descriptor_->in, Op::Code::recv_lent);
    return detail::Awaitable<detail::ReadLeaseRequest>{descriptor_};
  }
  /// Sends `size` bytes, which stay as they are until it has ended.
  auto write_all(const void* bytes, std::size_t size) noexcept {
    Engine::prepare_send(*descriptor_, bytes, size);
    return detail::Awaitable<detail::WriteRequest>{descriptor_};
  }
  auto write_all(std::string_view bytes) noexcept { return write_all(bytes.data(), bytes.size()); }
  /// Sends all of `lease`, not empty, and gives its buffer back at once: a peer that does not read
  /// keeps none. What could not be sent yet is copied.
  auto write_all(Lease&& lease) noexcept {
    DUOLU_CHECK(lease);
    const auto size = static_cast<std::uint32_t>(lease.text().size());
    Engine::prepare(descriptor_->out, Op::Code::send_lent, lease.release(), size);
    return detail::Awaitable<detail::WriteLeaseRequest>{descriptor_};
  }
  void close() noexcept {
    if (descriptor_ != nullptr) descriptor_->engine->close(*std::exchange(descriptor_, nullptr));
  }
  [[nodiscard]] explicit operator bool() const noexcept { return descriptor_ != nullptr; }

 private:
  Descriptor* descriptor_ = nullptr;
};

namespace detail {

struct AcceptRequest : InDirection<&Descriptor::in> {
  static bool start(Descriptor& descriptor) { return descriptor.engine->start_in(descriptor); }
  static Result<Stream> result(const Descriptor& descriptor) noexcept;
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
  auto accept() noexcept {
    Engine::prepare(descriptor_->in, Op::Code::accept);
    return detail::Awaitable<detail::AcceptRequest>{descriptor_};
  }
  /// Where it listens, with the port that the system chose.
  [[nodiscard]] Address address() const;

 private:
  explicit Listener(Descriptor& descriptor) noexcept : descriptor_(&descriptor) {}

  Descriptor* descriptor_;
};

}  // namespace duolu
