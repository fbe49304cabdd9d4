// Public. Layer: net. How tasks await requests of a descriptor: what Stream, Listener and Datagram
// are made of.
//
// A request is noted in its descriptor when it is named (`stream.read(buffer)`), and made when it
// is awaited, which must be next. Awaiting takes one pointer in the frame of the task.
#pragma once

#include "duolu/base/standard.hpp"

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

/// Tells a report of a request that `strand` waits for; nothing, if it has gone on since.
void describe(const Descriptor& descriptor, const Op& op, const Strand& strand, Waiting& waiting);

/// Has `task` go on, or be ended (`ends_task`), when the request of `Request` ends; or earlier,
/// when its strand is cancelled.
template <class Request>
void park(Descriptor& descriptor, TaskPromise& task, bool ends_task) noexcept {
  Op& op = Request::op(descriptor);
  op.waiter = &task;
  op.propagates = ends_task;
  static constexpr WaitKind kind = {
      [](Strand& strand, void* subject) noexcept {
        auto& waited_for = *static_cast<Descriptor*>(subject);
        Op& outstanding = Request::op(waited_for);
        // The strand may have gone on since, and another one wait here.
        if (outstanding.outstanding() &&
            static_cast<TaskPromise*>(outstanding.waiter)->strand() == &strand)
          waited_for.engine->cancel(outstanding);
      },
      [](const Strand& strand, const void* subject, Waiting& waiting) {
        const auto& waited_for = *static_cast<const Descriptor*>(subject);
        describe(waited_for, Request::op(waited_for), strand, waiting);
      }};
  task.strand()->suspended(kind, &descriptor);
}

/// Awaits a request that was prepared in a descriptor, and makes it first. `Request` says in which
/// direction, and what its result means: value() if there is no error, result() in any case. With
/// `ends_task` (try_) it gives the value, or ends the awaiting task.
template <class Request, bool ends_task>
class OpAwaiter {
 public:
  // [await]
  OpAwaiter(Descriptor& descriptor, const Strand& strand)
      : descriptor_and_ended_(reinterpret_cast<std::uintptr_t>(&descriptor) |
                              (start(descriptor, strand) ? 1 : 0)) {}
  bool await_ready() const noexcept { return (descriptor_and_ended_ & 1) != 0; }
  template <class Waiter>
    requires(!ends_task || Fallible<Waiter>)
  void await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
    park<Request>(descriptor(), waiter.promise(), ends_task);
  }
  auto await_resume() const noexcept {
    if constexpr (ends_task)
      return Request::value(descriptor());
    else
      return Request::result(descriptor());
  }
  // [/await]

 private:
  static bool start(Descriptor& descriptor, const Strand& strand) {
    if (!strand.cancelled()) [[likely]]
      return Request::start(descriptor);
    Request::refuse(descriptor);
    return false;
  }
  [[nodiscard]] Descriptor& descriptor() const noexcept {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): it was a pointer
    return *reinterpret_cast<Descriptor*>(descriptor_and_ended_ & ~std::uintptr_t{1});
  }

  std::uintptr_t descriptor_and_ended_;  ///< One word in the frame of every task that waits.
};

/// A descriptor in which a `Request` was prepared, to be awaited next: what co_await is given. Only
/// ever a pointer, which is the Descriptor's: a class would be stored in the frame of the task.
template <class Request, bool ends_task>
struct Pending {
  Pending() = delete;
};
template <class Request, bool ends_task = false>
[[nodiscard]] Pending<Request, ends_task>* pending(Descriptor* descriptor) noexcept {
  return reinterpret_cast<Pending<Request, ends_task>*>(descriptor);
}
template <class Request, bool ends_task>
OpAwaiter<Request, ends_task> await_on(Pending<Request, ends_task>* pending, const Strand* strand) {
  return {*reinterpret_cast<Descriptor*>(pending), *strand};
}

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

/// Requests whose result is that it is done, or an error.
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
[[nodiscard]] auto try_(const detail::MessageAwaitable<Request>& awaitable) noexcept {
  return detail::MessageAwaitable<Request, true>{awaitable.descriptor, awaitable.request};
}

}  // namespace duolu
