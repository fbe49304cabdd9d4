// Public. Layer: task. Task<T>: a coroutine with one owner that runs while somebody awaits it.
//
//   TA1  A task is lazy: it begins when it is awaited. One that never was leaves no trace but its
//       arguments' destruction.
//   TA2  It is awaited once, by the task that owns it: co_await make() or co_await std::move(task).
//       The awaiting task goes on when it has ended.
//   TA3  co_await gives what the task returned, or throws what it threw.
//   TA4  co_await try_(task), of a Task<Result<T>>, gives the T. If there is an error instead, the
//       awaiting task, which must return a Result too, ends there with that error, as if it had
//       said `return fail(error)`: what is in scope is destroyed when its owner destroys it.
//       try_(result) does the same with a Result that is there already. An error is a Result
//       without a value, also if the value of its error_code is 0.
//   TA5  A task that is destroyed after it began and before it has ended aborts. Scopes end
//       first.
//   TA6  Awaiting takes no stack that grows: neither with the number of tasks that one awaits after
//       another, nor, when they wait for something outside, with how often they do. It grows
//       with the depth of tasks awaiting tasks.
//
// How, and why not by symmetric transfer: docs/gcc12.md. A child runs inside await_ready of its
// parent; when it ends later, the last line of its final_suspend resumes the parent by a plain
// call.
//
// Frames come from frames.hpp. A task belongs to one thread at a time.
#pragma once

#include "duolu/base/standard.hpp"

#include <bit>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <source_location>
#include <system_error>
#include <type_traits>
#include <utility>

#include "duolu/base/check.hpp"
#include "duolu/base/result.hpp"
#include "duolu/task/frames.hpp"
#include "duolu/task/strand.hpp"

namespace duolu {

template <class T>
class Task;

namespace detail {

template <class T>
inline constexpr bool is_result = false;
template <class T>
inline constexpr bool is_result<Result<T>> = true;

template <class T>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<Task<T>> = true;

/// An awaiter of somebody else's, where it is.
template <class Awaiter>
class Borrowed {
 public:
  explicit Borrowed(Awaiter& awaiter) noexcept : awaiter_(awaiter) {}
  bool await_ready() const { return awaiter_.await_ready(); }
  auto await_suspend(std::coroutine_handle<> waiter) const {
    return awaiter_.await_suspend(waiter);
  }
  decltype(auto) await_resume() const { return awaiter_.await_resume(); }

 private:
  Awaiter& awaiter_;
};

class TaskPromise;

/// Whoever runs a task and is none: told, in place of a task that awaits it, when it has ended.
struct TaskEnd {
  /// `task` may be destroyed in it.
  void (*ended)(TaskEnd& self, TaskPromise& task);
};

/// What all tasks have in common, whatever they return.
class TaskPromise {
 public:
  TaskPromise(const TaskPromise&) = delete;
  TaskPromise& operator=(const TaskPromise&) = delete;

  static void* operator new(std::size_t size) { return take_frame(size); }
  static void operator delete(void* frame, std::size_t size) noexcept { give_frame(frame, size); }

  std::suspend_always initial_suspend() const noexcept { return {}; }

  struct Final {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> self) const noexcept {
      finish(self.promise());
    }
    void await_resume() const noexcept {}
  };
  Final final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { exception_ = std::current_exception(); }

  /// What is awaited learns on which strand: `on(strand)` of an awaitable, or await_on(awaitable,
  /// strand) for a pointer, gives its awaiter. By value: g++ 12 copies an awaiter that comes by
  /// reference into the frame. `where` is what source_location::current() takes by itself, as a
  /// plain pointer: an object would be stored in the frame twice.
  template <class Awaitable>
  auto await_transform(Awaitable&& awaitable,
                       decltype(__builtin_source_location()) where = __builtin_source_location()) {
    where_ = where;
    if constexpr (requires { std::forward<Awaitable>(awaitable).on(strand_); })
      // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): it does not see that strand_ is set
      return std::forward<Awaitable>(awaitable).on(strand_);
    else
      return Borrowed<std::remove_reference_t<Awaitable>>(awaitable);
  }
  template <class Awaitable>
  auto await_transform(Awaitable* awaitable,
                       decltype(__builtin_source_location()) where = __builtin_source_location()) {
    where_ = where;
    // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): it does not see that strand_ is set
    return await_on(awaitable, strand_);
  }
  /// The co_await it is in, or was in last.
  [[nodiscard]] std::source_location where() const noexcept {
    if (where_ == nullptr) return {};
    return std::bit_cast<std::source_location>(where_);
  }
  /// The task that awaits it; null if none does.
  [[nodiscard]] TaskPromise* awaited_by() const noexcept {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): it was a pointer, see wait_in()
    return (next_ & is_end) != 0 ? nullptr : reinterpret_cast<TaskPromise*>(next_);
  }
  [[nodiscard]] Strand* strand() const noexcept { return strand_; }
  /// The strand it runs on; to be set before it begins, and not null by then.
  void enter(Strand* strand) noexcept { strand_ = strand; }

  /// For whoever runs the task of a strand, while it has not ended: a time to keep, in a unit of
  /// theirs. 0 before the first call.
  void note_time(std::uint32_t time) noexcept { time_or_error_ = time; }
  [[nodiscard]] std::uint32_t noted_time() const noexcept { return time_or_error_; }

  /// Whether it has begun.
  [[nodiscard]] bool started() const noexcept { return started_; }
  /// Whether it has ended: returned, thrown, or been ended by try_.
  [[nodiscard]] bool done() const noexcept { return done_; }

  /// Whether it returned an error: a Result without a value.
  [[nodiscard]] bool failed() const noexcept { return has_error() && !exception_; }
  /// The error it returned, if it failed().
  [[nodiscard]] std::error_code failure() const noexcept { return error(); }

  /// Rethrows what it threw, if it did.
  void rethrow() const {
    if (exception_) [[unlikely]]
      std::rethrow_exception(exception_);
  }
  /// What it threw, if it did.
  [[nodiscard]] const std::exception_ptr& exception() const noexcept { return exception_; }

  /// Runs it until it waits for something, or has ended; then true.
  bool run() {
    DUOLU_CHECK(!started_);
    started_ = true;
    resume();
    return done_;
  }
  /// Has `waiter` go on when this has ended; with `propagates`, an error ends it instead (TA4).
  void wait_in(TaskPromise& waiter, bool propagates) noexcept {
    next_ = reinterpret_cast<std::uintptr_t>(&waiter);
    propagates_ = propagates;
  }
  /// Has it go on from where it is suspended.
  void resume() { std::coroutine_handle<TaskPromise>::from_promise(*this).resume(); }
  /// Destroys the coroutine, which has ended or not begun.
  void destroy() noexcept { std::coroutine_handle<TaskPromise>::from_promise(*this).destroy(); }
  /// Ends it where it is suspended, as if it had returned `error`.
  void end_with(std::error_code error) noexcept {
    if (strand_ != nullptr) strand_->resumed();
    take_error(error);
    finish(*this);
  }
  /// Has `end` told when this has ended.
  void on_end(TaskEnd& end) noexcept { next_ = reinterpret_cast<std::uintptr_t>(&end) | is_end; }

 protected:
  TaskPromise() = default;
  ~TaskPromise() = default;

  /// try_ does not compile in a task that returns no Result.
  [[noreturn]] static void no_result(std::error_code) noexcept {
    check_failed("a task that returns no Result was ended with an error");
  }

  /// See note_time(); once it has ended, for TaskResult<Result<>>, the value of its error.
  std::uint32_t time_or_error_ = 0;

 private:
  static constexpr std::uintptr_t is_end = 1;  ///< In next_: it is a TaskEnd.

  [[nodiscard]] virtual bool has_error() const noexcept = 0;
  [[nodiscard]] virtual std::error_code error() const noexcept = 0;
  virtual void take_error(std::error_code error) noexcept = 0;

  /// Marks it as ended and goes on with whoever waits. `task` may be destroyed in it.
  static void finish(TaskPromise& task) noexcept {
    task.done_ = true;
    const std::uintptr_t next = task.next_;
    // NOLINTBEGIN(performance-no-int-to-ptr): it was a pointer, see wait_in() and on_end()
    // The first of a strand: the strand may live longer than what it waited for last.
    if ((next == 0 || (next & is_end) != 0) && task.strand_ != nullptr) task.strand_->resumed();
    if ((next & is_end) != 0) {
      auto& end = *reinterpret_cast<TaskEnd*>(next & ~is_end);
      return end.ended(end, task);
    }
    auto* const waiter = reinterpret_cast<TaskPromise*>(next);
    // NOLINTEND(performance-no-int-to-ptr)
    if (waiter == nullptr) return;
    if (task.propagates_ && task.failed()) return propagate(task);
    waiter->resume();
  }
  /// Ends whoever waits for `ended` with its error. A loop, not a recursion, through tasks that it
  /// ends one after the other. Out of line: in a coroutine its registers would be saved each time.
  [[gnu::noinline]] static void propagate(TaskPromise& ended) noexcept {
    for (TaskPromise* task = &ended;;) {
      TaskPromise* const waiter = task->awaited_by();
      waiter->take_error(task->failure());
      task = waiter;
      if (!task->propagates_) return finish(*task);
      task->done_ = true;
    }
  }

  // time_or_error_ is above, and these beside it: every connection has a frame, and every byte
  // counts.
  bool started_ = false;
  bool done_ = false;
  bool propagates_ = false;
  Strand* strand_ = nullptr;
  std::uintptr_t next_ = 0;  ///< The TaskPromise that waits for it, or a TaskEnd and is_end.
  std::exception_ptr exception_;
  const void* where_ = nullptr;
};

template <class T>
class TaskResult : public TaskPromise {
 public:
  template <class U = T>
    requires std::is_constructible_v<T, U&&>
  void return_value(U&& value) {
    value_.emplace(std::forward<U>(value));
  }
  T take() {
    rethrow();
    DUOLU_CHECK(value_.has_value());
    return *std::move(value_);
  }

 protected:
  ~TaskResult() = default;

 private:
  bool has_error() const noexcept final {
    if constexpr (is_result<T>)
      return value_ && !value_->has_value();
    else
      return false;
  }
  std::error_code error() const noexcept final {
    if constexpr (is_result<T>) {
      if (value_ && !value_->has_value()) return value_->error();
    }
    return {};
  }
  void take_error(std::error_code error) noexcept final {
    if constexpr (is_result<T>)
      value_.emplace(std::unexpected(error));
    else
      no_result(error);
  }

  std::optional<T> value_;
};

/// The one that servers are full of, in 8 bytes.
template <>
class TaskResult<Result<>> : public TaskPromise {
 public:
  void return_value(Result<> value) noexcept {
    if (!value) take_error(value.error());
  }
  Result<> take() const {
    rethrow();
    if (category_ != nullptr) return std::unexpected(error());
    return {};
  }

 protected:
  ~TaskResult() = default;

 private:
  bool has_error() const noexcept final { return category_ != nullptr; }
  std::error_code error() const noexcept final {
    return {static_cast<int>(time_or_error_), *category_};
  }
  void take_error(std::error_code error) noexcept final {
    time_or_error_ = static_cast<std::uint32_t>(error.value());
    category_ = &error.category();
  }

  const std::error_category* category_ = nullptr;  ///< Null: no error.
};

template <>
class TaskResult<void> : public TaskPromise {
 public:
  void return_void() const noexcept {}
  void take() const { rethrow(); }

 protected:
  ~TaskResult() = default;

 private:
  bool has_error() const noexcept final { return false; }
  std::error_code error() const noexcept final { return {}; }
  void take_error(std::error_code) noexcept final {}  // it was cancelled: see can_be_cancelled
};

template <class T>
class TaskResult<T&> : public TaskPromise {
 public:
  void return_value(T& value) noexcept { value_ = &value; }
  T& take() const {
    rethrow();
    DUOLU_CHECK(value_ != nullptr);
    return *value_;
  }

 private:
  bool has_error() const noexcept final { return false; }
  std::error_code error() const noexcept final { return {}; }
  void take_error(std::error_code error) noexcept final { no_result(error); }

  T* value_ = nullptr;
};

/// A promise whose coroutine try_ may end.
template <class P>
concept Fallible = std::is_base_of_v<TaskPromise, P> && P::returns_result;

}  // namespace detail

/// A coroutine that returns a T. Move-only. See the top of this file.
template <class T = void>
class [[nodiscard]] Task {
  static_assert(!std::is_rvalue_reference_v<T>,
                "Task<T&&>: what it refers to would not outlive the coroutine; return a T");

 public:
  using value_type = T;
  class promise_type final : public detail::TaskResult<T> {
   public:
    static constexpr bool returns_result = detail::is_result<T>;
    /// What ends with its task when that is cancelled, such as sleep(), can be awaited in it.
    static constexpr bool can_be_cancelled = returns_result || std::is_void_v<T>;
    promise_type() = default;
    Task get_return_object() noexcept { return Task(this); }
  };

  Task() = default;
  Task(Task&& other) noexcept : promise_(std::exchange(other.promise_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      destroy();
      promise_ = std::exchange(other.promise_, nullptr);
    }
    return *this;
  }
  ~Task() { destroy(); }

  /// Whether there is a coroutine: not after a move.
  [[nodiscard]] explicit operator bool() const noexcept { return promise_ != nullptr; }
  /// For whoever runs tasks: the coroutine, theirs to destroy().
  [[nodiscard]] promise_type* release() noexcept { return std::exchange(promise_, nullptr); }
  /// The same, still this task's.
  [[nodiscard]] promise_type& promise() const noexcept {
    DUOLU_CHECK(promise_ != nullptr);
    return *promise_;
  }

  class Awaiter {
   public:
    explicit Awaiter(promise_type& task) noexcept : task_(&task) {}
    bool await_ready() const { return task_->run(); }
    template <class Waiter>
    void await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
      task_->wait_in(waiter.promise(), false);
    }
    /// clang reports one that ignores an error; g++ 12 does not look at co_await (docs/gcc12.md).
    [[nodiscard]] T await_resume() const
      requires detail::is_result<T>
    {
      return task_->take();
    }
    T await_resume() const { return task_->take(); }

   private:
    promise_type* task_;
  };
  /// What co_await asks for.
  Awaiter on(Strand* strand) && noexcept {
    promise().enter(strand);
    return Awaiter(promise());
  }

 private:
  explicit Task(promise_type* promise) noexcept : promise_(promise) {
    // So that the address of the TaskPromise alone gives the coroutine.
    static_assert(alignof(promise_type) <= 2 * sizeof(void*),
                  "Task<T>: memory for frames is aligned to 16 bytes, and T wants more; return a "
                  "std::unique_ptr to it");
    DUOLU_CHECK(static_cast<detail::TaskPromise*>(promise) == static_cast<void*>(promise));
  }
  void destroy() noexcept {
    if (promise_ == nullptr) return;
    const bool waits = promise_->started() && !promise_->done();
    DUOLU_CHECK_UNLESS_EXITING(!waits);  // TA5
    if (!waits) release()->destroy();
  }

  promise_type* promise_ = nullptr;
};

namespace detail {

/// Awaits a Task<Result<T>>, and gives the T or ends the awaiting task.
template <class T>
class TryTask {
 public:
  explicit TryTask(typename Task<Result<T>>::promise_type& task) noexcept : task_(&task) {}
  TryTask on(Strand* strand) const noexcept {
    task_->enter(strand);
    return *this;
  }
  bool await_ready() const { return task_->run() && !task_->failed(); }
  template <Fallible Waiter>
  void await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
    if (task_->done())
      waiter.promise().end_with(task_->failure());
    else
      task_->wait_in(waiter.promise(), true);
  }
  T await_resume() const {
    Result<T> outcome = task_->take();  // no error, or it would not be resumed
    if constexpr (!std::is_void_v<T>) return *std::move(outcome);
  }

 private:
  typename Task<Result<T>>::promise_type* task_;
};

/// Gives the T of a Result, or ends the awaiting task.
template <class T>
class TryResult {
 public:
  explicit TryResult(Result<T>&& result) noexcept : result_(std::move(result)) {}
  TryResult on(Strand*) && noexcept { return std::move(*this); }
  bool await_ready() const noexcept { return result_.has_value(); }
  template <Fallible Waiter>
  void await_suspend(std::coroutine_handle<Waiter> waiter) noexcept {
    waiter.promise().end_with(result_.error());
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) return *std::move(result_);
  }

 private:
  Result<T> result_;
};

}  // namespace detail

/// `T value = co_await try_(task());` See TA4.
template <class T>
[[nodiscard]] detail::TryTask<T> try_(Task<Result<T>>&& task) noexcept {
  return detail::TryTask<T>(task.promise());
}
/// `T value = co_await try_(result());`
template <class T>
[[nodiscard]] detail::TryResult<T> try_(Result<T>&& result) noexcept {
  return detail::TryResult<T>(std::move(result));
}

namespace detail {

/// What gives a task when it is called without arguments: a lambda that is a coroutine.
template <class Make>
concept MakesTask = std::invocable<Make&> && is_task<std::invoke_result_t<Make&>>;

}  // namespace detail

/// A task that does what the task of `make()` does, and keeps `make` until that has ended.
///
/// The coroutine of a lambda refers to the lambda's captures, not to copies of them. So
/// `auto task = [copy]() -> Task<> { … }();` refers to a closure that is gone at the semicolon, and
/// no compiler says so. `task_of([copy]() -> Task<> { … })`, without the call, is right; so are
/// Scope::spawn(), Loop::run() and with_scope(), which take the lambda itself.
template <detail::MakesTask Make>
[[nodiscard]] std::invoke_result_t<Make&> task_of(Make make) {
  if constexpr (std::is_void_v<decltype(make().promise().take())>)
    co_await make();
  else
    co_return co_await make();
}

}  // namespace duolu
