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

/// Awaits one request of a channel. `Request` starts it and says what its result means.
template <class Request>
class OpAwaiter {
 public:
  OpAwaiter(Engine& engine, Channel& channel, Request request, Strand& strand) noexcept
      : engine_(engine), channel_(channel), strand_(strand), request_(request) {}
  bool await_ready() {
    if (strand_.cancelled()) [[unlikely]] {
      op().result = -ECANCELED;
      return true;
    }
    return request_.start(engine_, channel_);
  }
  template <class Waiter>
  void await_suspend(std::coroutine_handle<Waiter> waiter) noexcept {
    park(waiter.promise(), false);
  }
  auto await_resume() noexcept {
    strand_.resumed();
    return request_.value(op().result);
  }

 protected:
  [[nodiscard]] Op& op() const noexcept { return request_.op(channel_); }
  void park(TaskPromise& waiter, bool propagates) noexcept {
    Op& waited = op();
    waited.waiter = &waiter;
    waited.propagates = propagates;
    strand_.suspended(
        [](void* one, void* engine) noexcept {
          static_cast<Engine*>(engine)->cancel(*static_cast<Op*>(one));
        },
        &waited, &engine_);
  }

 private:
  Engine& engine_;
  Channel& channel_;
  Strand& strand_;
  Request request_;
};

/// The same for try_: gives what is in the Result, or ends the awaiting task.
template <class Request>
class TryOpAwaiter : public OpAwaiter<Request> {
 public:
  using OpAwaiter<Request>::OpAwaiter;
  bool await_ready() { return OpAwaiter<Request>::await_ready() && this->op().result >= 0; }
  template <Fallible Waiter>
  void await_suspend(std::coroutine_handle<Waiter> waiter) noexcept {
    if (this->op().state == Op::State::idle)  // it ended at once
      waiter.promise().end_with(errno_code(-this->op().result));
    else
      this->park(waiter.promise(), true);
  }
  auto await_resume() noexcept {
    auto result = OpAwaiter<Request>::await_resume();  // no error, or nobody would have gone on
    if constexpr (!std::is_same_v<decltype(result), Result<>>) return *std::move(result);
  }
};

/// A request that is not made before it is awaited.
template <class Request, template <class> class Awaiter = OpAwaiter>
struct [[nodiscard]] Awaitable {
  Engine* engine;
  Channel* channel;
  Request request;
  Awaiter<Request> on(Strand* strand) const noexcept {
    return Awaiter<Request>(*engine, *channel, request, *strand);
  }
};

struct ReadRequest {
  void* data;
  std::size_t size;
  static Op& op(Channel& channel) noexcept { return channel.in; }
  bool start(Engine& engine, Channel& channel) const { return engine.recv(channel, data, size); }
  static Result<std::size_t> value(std::int32_t result) noexcept {
    if (result < 0) return fail(-result);
    return static_cast<std::size_t>(result);
  }
};

struct WriteRequest {
  std::string_view bytes;
  static Op& op(Channel& channel) noexcept { return channel.out; }
  bool start(Engine& engine, Channel& channel) const {
    return engine.send(channel, bytes.data(), bytes.size());
  }
  static Result<> value(std::int32_t result) noexcept {
    if (result < 0) return fail(-result);
    return {};
  }
};

}  // namespace detail

/// `std::size_t size = co_await try_(stream.read(buffer));` See Task, TA4.
template <class Request>
[[nodiscard]] auto try_(const detail::Awaitable<Request>& awaitable) noexcept {
  return detail::Awaitable<Request, detail::TryOpAwaiter>{awaitable.engine, awaitable.channel,
                                                          awaitable.request};
}

/// A connected byte stream: TCP or a Unix socket. Move-only; closes when destroyed, which must not
/// happen while something of it is awaited.
class Stream {
 public:
  Stream() = default;
  Stream(Engine& engine, Channel& channel) noexcept : engine_(&engine), channel_(&channel) {}
  Stream(Stream&& other) noexcept
      : engine_(other.engine_), channel_(std::exchange(other.channel_, nullptr)) {}
  Stream& operator=(Stream&& other) noexcept {
    if (this != &other) {
      close();
      engine_ = other.engine_;
      channel_ = std::exchange(other.channel_, nullptr);
    }
    return *this;
  }
  ~Stream() { close(); }

  /// Up to buffer.size() bytes, which is 1 at least; 0 at the end of the stream.
  auto read(std::span<char> buffer) noexcept {
    return detail::Awaitable<detail::ReadRequest>{
        engine_, channel_, {buffer.data(), buffer.size()}};
  }
  /// Sends all of `bytes`, which stay as they are until it has ended.
  auto write_all(std::string_view bytes) noexcept {
    return detail::Awaitable<detail::WriteRequest>{engine_, channel_, {bytes}};
  }
  void close() noexcept {
    if (channel_ != nullptr) engine_->close(*std::exchange(channel_, nullptr));
  }
  [[nodiscard]] explicit operator bool() const noexcept { return channel_ != nullptr; }

 private:
  Engine* engine_ = nullptr;
  Channel* channel_ = nullptr;
};

namespace detail {

struct AcceptRequest {
  Loop* loop;
  ChannelKind kind;
  static Op& op(Channel& channel) noexcept { return channel.in; }
  static bool start(Engine& engine, Channel& channel) { return engine.accept(channel); }
  Result<Stream> value(std::int32_t result) const noexcept;
};

}  // namespace detail

/// A listening socket. Move-only; closes when destroyed.
class Listener {
 public:
  /// Listens; errors as listen_on() and Engine::open().
  static Result<Listener> open(Loop& loop, const Address& address);
  Listener(Listener&& other) noexcept
      : loop_(other.loop_), kind_(other.kind_), channel_(std::exchange(other.channel_, nullptr)) {}
  Listener& operator=(Listener&&) = delete;
  ~Listener() {
    if (channel_ != nullptr) loop_.engine().close(*channel_);
  }

  /// The next connection. Errors are accept(2)'s, EMFILE and its like among them: pause before the
  /// next one.
  auto accept() noexcept {
    return detail::Awaitable<detail::AcceptRequest>{&loop_.engine(), channel_, {&loop_, kind_}};
  }
  /// Where it listens, with the port that the system chose.
  [[nodiscard]] Address address() const;

 private:
  Listener(Loop& loop, ChannelKind kind, Channel& channel) noexcept
      : loop_(loop), kind_(kind), channel_(&channel) {}

  Loop& loop_;
  ChannelKind kind_;
  Channel* channel_;
};

}  // namespace duolu
