// Public. Layer: loop. Deadlines: within(loop, when, task) cancels a task when its time is over.
//
//   WI1  co_await within(loop, when, task) returns what the task, a Task<Result<T>>, returned, or
//       throws what it threw. The task has always ended by then.
//   WI2  When the deadline passes first, the task is cancelled. If it then ends with ECANCELED,
//       ETIMEDOUT is returned instead; any other outcome is returned as it is.
//   WI3  The deadline is never early. A task that ends without waiting has its result returned,
//       even if the deadline had passed before.
//   WI4  Of nested deadlines the earliest counts; ETIMEDOUT comes from the one that passed.
//   WI5  When the awaiting chain is cancelled before the deadline, so is the task, and its
//       ECANCELED is returned as it is. If the chain was cancelled before, the task begins on a
//       cancelled chain.
//
// Instead of a task it takes anything that can be awaited and returns a Result<T>, such as
// stream.read(buffer); that costs the frame of a task. The task runs on a chain of its own. A
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
#include "duolu/task/chain.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

namespace detail {

/// A task with a deadline, which runs on a chain of its own, and which one task waits for.
class Timed : private Loop::Alarm, private TaskEnd {
 public:
  Timed(Loop& loop, Instant deadline, TaskPromise& work, Chain& parent) noexcept
      : loop_(loop), deadline_(deadline), work_(work), parent_(parent) {}
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

  /// Runs the task until it waits or has ended. Returns whether it has ended.
  bool begin();
  /// `waiter` is resumed when the task has ended; with `propagates`, an error ends it instead.
  void park(TaskPromise& waiter, bool propagates) noexcept;
  void resumed() const noexcept { parent_.resumed(); }
  /// Once the task has ended: the error to return; nothing if the task returned no error, or threw.
  [[nodiscard]] std::optional<std::error_code> error() const noexcept;

 private:
  void time_is_over() noexcept;
  void work_ended();
  static const WaitKind timed;

  Loop& loop_;
  Instant deadline_;
  TaskPromise& work_;
  Chain& parent_;
  Chain chain_;
  TaskPromise* waiter_ = nullptr;
  bool propagates_ = false;
  bool rung_ = false;
  bool timed_out_ = false;
};

template <class T>
class TimedAwaiter {
 public:
  TimedAwaiter(Loop& loop, Instant deadline, Task<Result<T>>&& task, Chain* chain)
      : task_(std::move(task)), timed_(loop, deadline, task_.promise(), *chain) {}

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

/// The same for try_: returns the value of the Result, or ends the awaiting task.
template <class T>
class TryTimedAwaiter : public TimedAwaiter<T> {
 public:
  using TimedAwaiter<T>::TimedAwaiter;
  bool await_ready() { return this->timed_.begin() && !this->timed_.error(); }
  template <class Waiter>
  void await_suspend(std::coroutine_handle<Waiter> waiter) noexcept {
    ends_with_error<Waiter>();
    if (this->task_.promise().done())
      waiter.promise().end_with(this->timed_.error().value_or(std::error_code()));
    else
      this->timed_.park(waiter.promise(), true);
  }
  T await_resume() {
    Result<T> result = TimedAwaiter<T>::await_resume();  // no error, or it would not be resumed
    if constexpr (!std::is_void_v<T>) return *std::move(result);
  }
};

}  // namespace detail

/// What within() returns: to be awaited once.
template <class T, template <class> class Awaiter = detail::TimedAwaiter>
class [[nodiscard("co_await it")]] Within {
 public:
  Within(Loop& loop, Instant deadline, Task<Result<T>> task) noexcept
      : loop_(&loop), deadline_(deadline), task_(std::move(task)) {}
  /// On the loop that runs the awaiting task. A span counts from the co_await on.
  Within(Instant deadline, Task<Result<T>> task) noexcept
      : deadline_(deadline), task_(std::move(task)) {}
  Within(AnyDuration span, Task<Result<T>> task) noexcept : span_(span), task_(std::move(task)) {}
  Awaiter<T> on(Chain* chain) && {
    Loop& loop = loop_ != nullptr ? *loop_ : detail::loop_of(*chain);
    return Awaiter<T>(loop, span_ ? after(loop.kernel().now(), *span_) : deadline_,
                      std::move(task_), chain);
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

namespace detail {

/// The T of the Result<T> that the work of within() returns.
template <class T>
struct TimedValue {
  static_assert(
      is_result<T>,
      "within() takes what gives a Result: ETIMEDOUT needs a place in it; of what else can "
      "be awaited, first_of(it, sleep(5s)) gives what came first");
  using type = void;
};
template <class T>
struct TimedValue<Result<T>> {
  using type = T;
};
template <class Work>
using WithinOf = Within<typename TimedValue<Gives<Work>>::type>;

}  // namespace detail

/// `Result<T> result = co_await within(loop, deadline, task());` See the top of this file. The
/// awaiting task runs on `loop`. `work` is a task, or a function that returns one, which is kept
/// until the task has ended, or anything else that can be awaited.
template <detail::Runnable Work>
detail::WithinOf<Work> within(Loop& loop, Instant deadline, Work work) {
  return {loop, deadline, detail::to_task(std::move(work))};
}
/// The same with a span of time, from this call on.
template <detail::Runnable Work>
detail::WithinOf<Work> within(Loop& loop, AnyDuration span, Work work) {
  return {loop, after(loop.kernel().now(), span), detail::to_task(std::move(work))};
}
/// The same on the loop that runs the awaiting task:
/// `co_await within(5s, stream.read(buffer))`. A span of time counts from the co_await on.
template <detail::Runnable Work>
detail::WithinOf<Work> within(AnyDuration span, Work work) {
  return {span, detail::to_task(std::move(work))};
}
template <detail::Runnable Work>
detail::WithinOf<Work> within(Instant deadline, Work work) {
  return {deadline, detail::to_task(std::move(work))};
}

/// `T value = co_await try_(within(loop, when, task()));` See Task, TA4.
template <class T>
[[nodiscard]] auto try_(Within<T>&& timed) noexcept {
  return std::move(timed).trying();
}

}  // namespace duolu
