// Public. Layer: loop. Deadlines: within(loop, when, task) cancels the task when its time is over.
//
//   WI1  co_await within(loop, when, task) gives what the task, a Task<Result<T>>, returned, or
//       throws what it threw. It has always ended then.
//   WI2  When the deadline passes first, the task is cancelled. If it then ends with ECANCELED, the
//       error is ETIMEDOUT instead; anything else it ends with is given as it is.
//   WI3  The deadline is never early. A task that waits for nothing is given, even if the deadline
//       had passed before.
//   WI4  Of deadlines around each other the earliest counts; ETIMEDOUT comes from the one that
//       passed.
//   WI5  When the strand that awaits is cancelled before the deadline, the task is, and its
//       ECANCELED stays as it is. If it was cancelled before, the task begins on a cancelled
//       strand.
//
// Instead of a task it takes anything that is awaited and gives a Result<T>, such as
// stream.read(buffer); that costs the frame of a task. The task runs on a strand of its own. A
// deadline that does not pass costs no turn of the loop. try_(within(...)) works as with a task.
#pragma once

#include "duolu/base/standard.hpp"

#include <coroutine>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"
#include "duolu/loop/loop.hpp"
#include "duolu/task/strand.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

namespace detail {

/// A task that runs on a strand of its own until a deadline, for one that waits for it.
class Timed : private Loop::Alarm, private TaskEnd {
 public:
  Timed(Loop& loop, Instant deadline, TaskPromise& work, Strand& parent) noexcept
      : loop_(loop), deadline_(deadline), work_(work), parent_(parent) {}
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

  /// Runs the task until it waits, or has ended; then true.
  bool begin();
  /// Has `waiter` go on when the task has ended; with `propagates`, an error ends it instead.
  void park(TaskPromise& waiter, bool propagates) noexcept;
  void resumed() const noexcept { parent_.resumed(); }
  /// Once the task has ended: the error to give; nothing if it gave something else, or threw.
  [[nodiscard]] std::optional<std::error_code> error() const noexcept;

 private:
  void time_is_over() noexcept;
  void work_ended();
  static const WaitKind timed;

  Loop& loop_;
  Instant deadline_;
  TaskPromise& work_;
  Strand& parent_;
  Strand strand_;
  TaskPromise* waiter_ = nullptr;
  bool propagates_ = false;
  bool rung_ = false;
  bool timed_out_ = false;
};

template <class T>
class TimedAwaiter {
 public:
  TimedAwaiter(Loop& loop, Instant deadline, Task<Result<T>>&& task, Strand* strand)
      : task_(std::move(task)), timed_(loop, deadline, task_.promise(), *strand) {}

  bool await_ready() { return timed_.begin(); }
  template <class Waiter>
  void await_suspend(std::coroutine_handle<Waiter> waiter) noexcept {
    timed_.park(waiter.promise(), false);
  }
  [[nodiscard]] Result<T> await_resume() {
    timed_.resumed();
    const std::optional<std::error_code> error = timed_.error();
    Result<T> result = task_.promise().take();
    if (error) return std::unexpected(*error);
    return result;
  }

 protected:
  Task<Result<T>> task_;
  Timed timed_;
};

/// The same for try_: gives what is in the Result, or ends the awaiting task.
template <class T>
class TryTimedAwaiter : public TimedAwaiter<T> {
 public:
  using TimedAwaiter<T>::TimedAwaiter;
  bool await_ready() { return this->timed_.begin() && !this->timed_.error(); }
  template <Fallible Waiter>
  void await_suspend(std::coroutine_handle<Waiter> waiter) noexcept {
    if (this->task_.promise().done())
      waiter.promise().end_with(this->timed_.error().value_or(std::error_code()));
    else
      this->timed_.park(waiter.promise(), true);
  }
  T await_resume() {
    Result<T> result = TimedAwaiter<T>::await_resume();  // no error, or nobody would have gone on
    if constexpr (!std::is_void_v<T>) return *std::move(result);
  }
};

/// What awaiting an Awaitable gives.
template <class Awaitable>
auto awaited(Awaitable&& awaitable, Strand* strand) {
  if constexpr (std::is_pointer_v<std::remove_reference_t<Awaitable>>)
    return await_on(awaitable, strand).await_resume();
  else
    return std::forward<Awaitable>(awaitable).on(strand).await_resume();
}
template <class Awaitable>
using Awaited = decltype(awaited(std::declval<Awaitable>(), std::declval<Strand*>()));

template <class Awaitable>
Task<Awaited<Awaitable>> as_task(Awaitable awaitable) {
  co_return co_await std::move(awaitable);
}

}  // namespace detail

/// What within() returns: to be awaited once.
template <class T, template <class> class Awaiter = detail::TimedAwaiter>
class [[nodiscard]] Within {
 public:
  Within(Loop& loop, Instant deadline, Task<Result<T>> task) noexcept
      : loop_(&loop), deadline_(deadline), task_(std::move(task)) {}
  /// On the loop that runs the awaiting task, from the co_await on if it is a span.
  Within(Instant deadline, Task<Result<T>> task) noexcept
      : deadline_(deadline), task_(std::move(task)) {}
  Within(AnyDuration span, Task<Result<T>> task) noexcept : span_(span), task_(std::move(task)) {}
  Awaiter<T> on(Strand* strand) && {
    Loop& loop = loop_ != nullptr ? *loop_ : detail::loop_of(*strand);
    return Awaiter<T>(loop, span_ ? after(loop.kernel().now(), *span_) : deadline_,
                      std::move(task_), strand);
  }
  /// For try_().
  Within<T, detail::TryTimedAwaiter> trying() && {
    Within<T, detail::TryTimedAwaiter> same(deadline_, std::move(task_));
    same.loop_ = loop_;
    same.span_ = span_;
    return same;
  }

 private:
  template <class, template <class> class>
  friend class Within;

  Loop* loop_ = nullptr;
  Instant deadline_{};
  std::optional<AnyDuration> span_{};
  Task<Result<T>> task_;
};

/// `Result<T> result = co_await within(loop, deadline, task());` See the top of this file. The
/// awaiting task runs on `loop`.
template <class T>
Within<T> within(Loop& loop, Instant deadline, Task<Result<T>> task) noexcept {
  return Within<T>(loop, deadline, std::move(task));
}
/// The same with a span of time, from this call on.
template <class T>
Within<T> within(Loop& loop, AnyDuration span, Task<Result<T>> task) noexcept {
  return Within<T>(loop, after(loop.kernel().now(), span), std::move(task));
}
/// The same of what is no task: `co_await within(loop, 5s, stream.read(buffer))`.
template <class When, class Awaitable>
  requires(!detail::is_task<Awaitable> && !detail::MakesTask<Awaitable> &&
           detail::is_result<detail::Awaited<Awaitable>>)
auto within(Loop& loop, When when, Awaitable awaitable) {
  return within(loop, when, detail::as_task(std::move(awaitable)));
}
/// The same of what gives a task, which is kept until that has ended (task_of).
template <class When, detail::MakesTask Make>
auto within(Loop& loop, When when, Make make) {
  return within(loop, when, task_of(std::move(make)));
}
/// The same without the loop, which is the one that runs the awaiting task:
/// `co_await within(5s, stream.read(buffer))`. A span of time counts from the co_await on. `When`
/// is a span or an Instant.
template <class T>
Within<T> within(AnyDuration span, Task<Result<T>> task) noexcept {
  return Within<T>(span, std::move(task));
}
template <class T>
Within<T> within(Instant deadline, Task<Result<T>> task) noexcept {
  return Within<T>(deadline, std::move(task));
}
template <class When, class Awaitable>
  requires(!detail::is_task<Awaitable> && !detail::MakesTask<Awaitable> &&
           !std::is_same_v<When, Loop> && detail::is_result<detail::Awaited<Awaitable>>)
auto within(When when, Awaitable awaitable) {
  return within(when, detail::as_task(std::move(awaitable)));
}
template <class When, detail::MakesTask Make>
auto within(When when, Make make) {
  return within(when, task_of(std::move(make)));
}
template <class When, class T>
  requires(!detail::is_result<T>)
void within(Loop&, When, Task<T>) {
  static_assert(detail::is_result<T>,
                "within() takes what gives a Result: ETIMEDOUT needs a place in it");
}

/// `T value = co_await try_(within(loop, when, task()));` See Task, TA4.
template <class T>
[[nodiscard]] auto try_(Within<T>&& timed) noexcept {
  return std::move(timed).trying();
}

}  // namespace duolu
