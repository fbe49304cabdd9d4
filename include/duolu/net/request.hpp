// Public. Layer: net. How tasks await requests of a descriptor: what Stream, Listener and Datagram
// are made of.
//
// A request is noted in its descriptor when it is named (`stream.read(buffer)`), and made when it
// is awaited, which must be next. Awaiting takes one pointer in the frame of the task.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "duolu/base/result.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/task/strand.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

namespace detail {

/// Has `task` go on, or be ended (`ends_task`), when the request of `Request` ends; or earlier,
/// when its strand is cancelled.
template <class Request>
void park(Descriptor& descriptor, TaskPromise& task, bool ends_task) noexcept {
  Op& op = Request::op(descriptor);
  op.waiter = &task;
  op.propagates = ends_task;
  constexpr Strand::Abandon abandon = [](Strand& strand, void* subject) noexcept {
    auto& waited_for = *static_cast<Descriptor*>(subject);
    Op& outstanding = Request::op(waited_for);
    // The strand may have gone on since, and another one wait here.
    if (outstanding.outstanding() &&
        static_cast<TaskPromise*>(outstanding.waiter)->strand() == &strand)
      waited_for.engine->cancel(outstanding);
  };
  task.strand()->suspended(abandon, &descriptor);
}

/// Awaits a request that was prepared in a descriptor, and makes it first. `Request` says in which
/// direction, and what its result means: value() if there is no error, result() in any case. With
/// `ends_task` (try_) it gives the value, or ends the awaiting task.
template <class Request, bool ends_task>
class OpAwaiter {
 public:
  // [await]
  OpAwaiter(Descriptor& descriptor, const Strand& strand)
      : descriptor_(&descriptor), ended_(start(descriptor, strand)) {}
  bool await_ready() const noexcept { return ended_; }
  template <class Waiter>
    requires(!ends_task || Fallible<Waiter>)
  void await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
    park<Request>(*descriptor_, waiter.promise(), ends_task);
  }
  auto await_resume() const noexcept {
    if constexpr (ends_task)
      return Request::value(*descriptor_);
    else
      return Request::result(*descriptor_);
  }
  // [/await]

 private:
  static bool start(Descriptor& descriptor, const Strand& strand) {
    if (!strand.cancelled()) [[likely]]
      return Request::start(descriptor);
    Request::refuse(descriptor);
    return false;
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

/// The same for what does not fit into a descriptor: `Request` is kept in the frame, and prepares
/// itself when it is started.
template <class Request, bool ends_task>
class MessageAwaiter {
 public:
  MessageAwaiter(Descriptor& descriptor, const Request& request, const Strand& strand)
      : descriptor_(&descriptor), strand_(&strand), request_(request) {}
  bool await_ready() {
    if (!strand_->cancelled()) return request_.start(*descriptor_);
    Request::refuse(*descriptor_);
    return false;
  }
  template <class Waiter>
    requires(!ends_task || Fallible<Waiter>)
  void await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
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
  const Strand* strand_;
  Request request_;
};

template <class Request, bool ends_task = false>
struct [[nodiscard]] MessageAwaitable {
  Descriptor* descriptor;
  Request request;
  MessageAwaiter<Request, ends_task> on(const Strand* strand) const {
    return {*descriptor, request, *strand};
  }
};

/// Requests whose result is a number of bytes, or an error.
struct InRequest {
  static Op& op(Descriptor& descriptor) noexcept { return descriptor.in; }
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

/// Requests whose result is that it is done, or an error.
struct OutRequest {
  static Op& op(Descriptor& descriptor) noexcept { return descriptor.out; }
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
[[nodiscard]] auto try_(const detail::Awaitable<Request>& awaitable) noexcept {
  return detail::Awaitable<Request, true>{awaitable.descriptor};
}
template <class Request>
[[nodiscard]] auto try_(const detail::MessageAwaitable<Request>& awaitable) noexcept {
  return detail::MessageAwaitable<Request, true>{awaitable.descriptor, awaitable.request};
}

}  // namespace duolu
