// Public. Layer: net. Awaiting requests of a descriptor: the base of Stream, Listener, Datagram.
//
// A call such as `stream.read(buffer)` stores the request in its descriptor; co_await, which must
// follow at once, makes it. Awaiting takes one pointer in the frame of the task.
#pragma once

#include "duolu/base/standard.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <utility>

#include "duolu/base/result.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/task/chain.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

namespace detail {

/// Fills in a report about a request that `chain` waits for; does nothing if it no longer waits.
void describe(const Descriptor& descriptor, const Op& op, const Chain& chain, Waiting& waiting);

/// When the request of `Request` ends, `task` is resumed, or, with `ends_task`, ended by an error.
/// Cancelling its chain cancels the request.
template <class Request>
void park(Descriptor& descriptor, TaskPromise& task, bool ends_task) noexcept {
  Op& op = Request::op(descriptor);
  op.waiter = &task;
  op.propagates = ends_task;
  static constexpr WaitKind kind = {
      [](Chain& chain, void* subject) noexcept {
        auto& waited_for = *static_cast<Descriptor*>(subject);
        Op& outstanding = Request::op(waited_for);
        // This chain may have been resumed since, and another one wait here.
        if (outstanding.outstanding() &&
            static_cast<TaskPromise*>(outstanding.waiter)->chain() == &chain)
          waited_for.engine->cancel(outstanding);
      },
      [](const Chain& chain, const void* subject, Waiting& waiting) {
        const auto& waited_for = *static_cast<const Descriptor*>(subject);
        describe(waited_for, Request::op(waited_for), chain, waiting);
      }};
  task.chain()->suspended(kind, &descriptor);
}

/// Makes a request that was prepared in a descriptor, and awaits it. `Request` defines the
/// direction, and what the result means: value() if there is no error, result() in any case. With
/// `ends_task` (try_) co_await returns the value, or ends the awaiting task.
template <class Request, bool ends_task>
class OpAwaiter {
 public:
  // [await]
  explicit OpAwaiter(Descriptor& descriptor) noexcept : descriptor_(&descriptor) {}
  bool await_ready() const noexcept { return false; }
  /// Makes the request. Returns whether the task has to wait for its end.
  template <class Waiter>
  bool await_suspend(std::coroutine_handle<Waiter> waiter) const {
    if constexpr (ends_task) ends_with_error<Waiter>();
    TaskPromise& task = waiter.promise();
    if (task.chain()->cancelled()) [[unlikely]]
      Request::refuse(*descriptor_);
    else if (Request::start(*descriptor_))
      return false;
    park<Request>(*descriptor_, task, ends_task);
    return true;
  }
  auto await_resume() const noexcept {
    if constexpr (ends_task)
      return Request::value(*descriptor_);
    else
      return Request::result(*descriptor_);
  }
  // [/await]

 private:
  Descriptor* descriptor_;
};

/// A descriptor in which a `Request` was prepared, to be passed to co_await next. Never an object,
/// only a pointer to it, which is the Descriptor's: an object would be stored in the task's frame.
template <class Request, bool ends_task>
struct Pending {
  Pending() = delete;
};
template <class Request, bool ends_task = false>
[[nodiscard]] Pending<Request, ends_task>* pending(Descriptor* descriptor) noexcept {
  return reinterpret_cast<Pending<Request, ends_task>*>(descriptor);
}
template <class Request, bool ends_task>
OpAwaiter<Request, ends_task> await_on(Pending<Request, ends_task>* pending, const Chain*) {
  return OpAwaiter<Request, ends_task>(*reinterpret_cast<Descriptor*>(pending));
}

/// The same for requests that do not fit into a descriptor: `Request` is kept in the frame, and is
/// prepared when it is started.
template <class Request, bool ends_task>
class MessageAwaiter {
 public:
  MessageAwaiter(Descriptor& descriptor, const Request& request, const Chain& chain)
      : descriptor_(&descriptor), chain_(&chain), request_(request) {}
  bool await_ready() {
    if (!chain_->cancelled()) return request_.start(*descriptor_);
    Request::refuse(*descriptor_);
    return false;
  }
  template <class Waiter>
  void await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
    if constexpr (ends_task) ends_with_error<Waiter>();
    park<Request>(*descriptor_, waiter.promise(), ends_task);
  }
  auto await_resume() const noexcept {
    if constexpr (ends_task)
      return request_.value(*descriptor_);
    else
      return request_.result(*descriptor_);
  }

 private:
  Descriptor* descriptor_;
  const Chain* chain_;
  Request request_;
};

template <class Request, bool ends_task = false>
struct [[nodiscard("co_await it")]] MessageAwaitable {
  Descriptor* descriptor;
  Request request;
  MessageAwaiter<Request, ends_task> on(const Chain* chain) const {
    return {*descriptor, request, *chain};
  }
};

/// Requests whose result is a number of bytes, or an error.
struct InRequest {
  static Op& op(Descriptor& descriptor) noexcept { return descriptor.in; }
  static const Op& op(const Descriptor& descriptor) noexcept { return descriptor.in; }
  static bool start(Descriptor& descriptor) { return descriptor.engine->start_in(descriptor); }
  static void refuse(Descriptor& descriptor) noexcept { descriptor.engine->refuse(descriptor.in); }
  static std::size_t value(const Descriptor& descriptor) noexcept {
    return static_cast<std::size_t>(descriptor.in.result);
  }
  static Result<std::size_t> result(const Descriptor& descriptor) noexcept {
    if (descriptor.in.result < 0) return fail(-descriptor.in.result);
    return value(descriptor);
  }
};

/// Requests whose result is success or an error.
struct OutRequest {
  static Op& op(Descriptor& descriptor) noexcept { return descriptor.out; }
  static const Op& op(const Descriptor& descriptor) noexcept { return descriptor.out; }
  static bool start(Descriptor& descriptor) { return descriptor.engine->start_out(descriptor); }
  static void refuse(Descriptor& descriptor) noexcept { descriptor.engine->refuse(descriptor.out); }
  static void value(const Descriptor&) noexcept {}
  static Result<> result(const Descriptor& descriptor) noexcept {
    if (descriptor.out.result < 0) return fail(-descriptor.out.result);
    return {};
  }
};

}  // namespace detail

/// `std::size_t size = co_await try_(stream.read(buffer));` See Task, TA4.
template <class Request>
[[nodiscard]] detail::Pending<Request, true>* try_(
    detail::Pending<Request, false>* pending) noexcept {
  return reinterpret_cast<detail::Pending<Request, true>*>(pending);
}
template <class Request>
[[nodiscard]] auto try_(detail::MessageAwaitable<Request>&& awaitable) noexcept {
  return detail::MessageAwaitable<Request, true>{awaitable.descriptor, awaitable.request};
}

}  // namespace duolu
