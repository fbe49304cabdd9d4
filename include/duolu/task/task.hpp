// Public. Layer: task. Task<T>: a coroutine with one owner that runs while it is awaited.
//
//   TA1  A task is lazy: it begins when it is awaited. A task that is never awaited has no effect
//       except that its arguments are destroyed.
//   TA2  It is awaited once, by the task that owns it: co_await make() or co_await std::move(task).
//       The awaiting task resumes when it has ended.
//   TA3  co_await returns what the task returned, or throws what it threw.
//   TA4  co_await try_(task), of a Task<Result<T>>, returns the T. On an error, the awaiting task,
//       which must return a Result too, ends there with that error, as if by `return fail(error)`.
//       Its local variables are destroyed when its owner destroys it. try_(result) does the same
//       with a Result that exists already. An error is a Result without a value, even if the value
//       of its error_code is 0.
//   TA5  Destroying a task that has begun and not ended aborts. A scope waits for its tasks to end.
//   TA6  The stack grows with the depth of tasks that await tasks, and with nothing else: not with
//       the number of tasks that one task awaits in sequence, and not with the number of times that
//       tasks wait for events from outside.
//   TA7  A Task<> that sleep() ends because its chain is cancelled also ends the Task<> or
//       Task<Result<T>> that awaits it, and so on: `for (;;) co_await tick();` is a correct loop,
//       where tick() sleeps. A task that returns anything else is resumed; when_all() and
//       first_of() end as always.
//
// How, and why not by symmetric transfer: docs/gcc12.md. A child runs inside await_ready of its
// parent; if it ends later, the last line of its final_suspend calls resume() of the parent.
//
// Frames come from frames.hpp. A task belongs to one thread at a time.
#pragma once

#include "duolu/base/standard.hpp"

#include <bit>
#include <cerrno>
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
#include "duolu/task/chain.hpp"
#include "duolu/task/frames.hpp"

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

// How co_await takes what it is given: see TaskPromise::await_transform().
template <class T>
concept TakesChain =
    requires(T&& awaitable, Chain* chain) { std::forward<T>(awaitable).on(chain).await_resume(); };
template <class T>
concept PointsToAwaitable =
    std::is_pointer_v<std::remove_reference_t<T>> &&
    requires(T&& awaitable, Chain* chain) { await_on(awaitable, chain).await_resume(); };
template <class T>
concept IsAwaiter = requires(T& awaiter) {
  awaiter.await_ready();
  awaiter.await_resume();
};
/// What co_await takes.
template <class T>
concept CanBeAwaited = TakesChain<T> || PointsToAwaitable<T> || IsAwaiter<T>;

/// Refers to an awaiter that is stored elsewhere.
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

/// For code that runs a task without being one: is called when the task has ended, where otherwise
/// an awaiting task would be resumed.
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

  /// Passes the chain to what is awaited: `on(chain)` of an awaitable, or await_on(awaitable,
  /// chain) for a pointer, returns its awaiter. By value: g++ 12 copies an awaiter that is
  /// returned by reference into the frame. `where` is what source_location::current() uses
  /// internally, as a plain pointer: an object would be stored in the frame twice.
  template <class Awaitable>
  auto await_transform(Awaitable&& awaitable,
                       decltype(__builtin_source_location()) where = __builtin_source_location()) {
    where_ = where;
    if constexpr (TakesChain<Awaitable>) {
      // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): it does not see that chain_ is set
      return std::forward<Awaitable>(awaitable).on(chain_);
    } else if constexpr (IsAwaiter<std::remove_reference_t<Awaitable>>) {
      return Borrowed<std::remove_reference_t<Awaitable>>(awaitable);
    } else {
      constexpr bool has_a_name = TakesChain<std::remove_cvref_t<Awaitable>>;
      static_assert(!has_a_name,
                    "a task that has a name is awaited with co_await std::move(task), and once");
      static_assert(has_a_name,
                    "this cannot be awaited: co_await takes a task (the call of a function that "
                    "returns one), or what sleep(), within(), streams, flags and channels return");
      return std::suspend_never();
    }
  }
  /// By value: g++ 12 stores a pointer that is passed by reference in the frame.
  template <class Awaitable>
    requires PointsToAwaitable<Awaitable*>
  auto await_transform(Awaitable* awaitable,
                       decltype(__builtin_source_location()) where = __builtin_source_location()) {
    where_ = where;
    // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): as above
    return await_on(awaitable, chain_);
  }
  /// The co_await at which it is suspended, or was last.
  [[nodiscard]] std::source_location where() const noexcept {
    if (where_ == nullptr) return {};
    return std::bit_cast<std::source_location>(where_);
  }
  /// The task that awaits it; null if none does.
  [[nodiscard]] TaskPromise* awaited_by() const noexcept {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): it was a pointer, see wait_in()
    return (next_ & is_end) != 0 ? nullptr : reinterpret_cast<TaskPromise*>(next_);
  }
  [[nodiscard]] Chain* chain() const noexcept { return chain_; }
  /// Sets the chain it runs on, which is not null; before it begins.
  void enter(Chain* chain) noexcept { chain_ = chain; }

  /// For the loop that runs the task of a chain, until the task has ended: stores a time, in a
  /// unit of the loop's choice. 0 before the first call.
  void note_time(std::uint32_t time) noexcept { time_or_error_ = time; }
  [[nodiscard]] std::uint32_t noted_time() const noexcept { return time_or_error_; }

  /// Whether it has begun.
  [[nodiscard]] bool started() const noexcept { return started_; }
  /// Whether it has ended: returned, thrown, or been ended by try_ or sleep().
  [[nodiscard]] bool done() const noexcept { return done_; }

  /// Whether it returned an error (a Result without a value), or, if it is a Task<>, was ended with
  /// ECANCELED (TA7).
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

  /// Runs it until it waits or has ended. Whether it has ended.
  bool run() {
    if (started_) [[unlikely]]
      check_failed("a task is awaited, spawned or run twice: each runs once (TA2)");
    started_ = true;
    resume();
    return done_;
  }
  /// `waiter` is resumed when this has ended; with `propagates`, an error ends it instead (TA4).
  void wait_in(TaskPromise& waiter, bool propagates) noexcept {
    next_ = reinterpret_cast<std::uintptr_t>(&waiter);
    propagates_ = propagates;
  }
  /// Resumes it where it is suspended.
  void resume() { std::coroutine_handle<TaskPromise>::from_promise(*this).resume(); }
  /// Destroys the coroutine, which has ended or not begun.
  void destroy() noexcept { std::coroutine_handle<TaskPromise>::from_promise(*this).destroy(); }
  /// Ends it where it is suspended, as if it had returned `error`.
  void end_with(std::error_code error) noexcept {
    if (chain_ != nullptr) chain_->resumed();
    take_error(error);
    finish(*this);
  }
  /// `end.ended` is called when this has ended.
  void on_end(TaskEnd& end) noexcept { next_ = reinterpret_cast<std::uintptr_t>(&end) | is_end; }

 protected:
  TaskPromise() = default;
  ~TaskPromise() = default;

  /// try_ does not compile in a task that returns no Result.
  [[noreturn]] static void no_result(std::error_code) noexcept {
    check_failed("a task that returns no Result was ended with an error");
  }

  /// See note_time(). In TaskResult<Result<>>, once the task has ended: the value of its error.
  std::uint32_t time_or_error_ = 0;
  bool cancelled_ = false;  ///< For TaskResult<void>: it was ended with ECANCELED.

 private:
  static constexpr std::uintptr_t is_end = 1;  ///< In next_: it is a TaskEnd.

  [[nodiscard]] virtual bool has_error() const noexcept = 0;
  [[nodiscard]] virtual std::error_code error() const noexcept = 0;
  virtual void take_error(std::error_code error) noexcept = 0;

  /// Marks it as ended and resumes its waiter. `task` may be destroyed in this call.
  static void finish(TaskPromise& task) noexcept {
    task.done_ = true;
    const std::uintptr_t next = task.next_;
    // NOLINTBEGIN(performance-no-int-to-ptr): it was a pointer, see wait_in() and on_end()
    // The outermost task of a chain: the chain may outlive what it waited for last.
    if ((next == 0 || (next & is_end) != 0) && task.chain_ != nullptr) task.chain_->resumed();
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
  /// Ends the waiter of `ended` with its error, then the waiter of that one, and so on, in a loop
  /// instead of recursion. Out of line: in a coroutine its registers would be saved each time.
  [[gnu::noinline]] static void propagate(TaskPromise& ended) noexcept {
    for (TaskPromise* task = &ended;;) {
      TaskPromise* const waiter = task->awaited_by();
      waiter->take_error(task->failure());
      task = waiter;
      if (!task->propagates_) return finish(*task);
      task->done_ = true;
    }
  }

  // Next to time_or_error_ in memory: every connection has a frame, and every byte counts.
  bool started_ = false;
  bool done_ = false;
  bool propagates_ = false;
  Chain* chain_ = nullptr;
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
    if (!value_) [[unlikely]]
      check_failed("a task of a coroutine that reached its end without co_return");
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

/// The most frequent one in servers; takes 8 bytes.
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
  bool has_error() const noexcept final { return cancelled_; }
  std::error_code error() const noexcept final { return errno_code(ECANCELED); }
  void take_error(std::error_code) noexcept final { cancelled_ = true; }  // see can_be_cancelled
};

template <class T>
class TaskResult<T&> : public TaskPromise {
 public:
  void return_value(T& value) noexcept { value_ = &value; }
  T& take() const {
    rethrow();
    if (value_ == nullptr) [[unlikely]]
      check_failed("a task of a coroutine that reached its end without co_return");
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

/// For awaiters of try_.
template <class Waiter>
constexpr void ends_with_error() noexcept {
  static_assert(Fallible<Waiter>,
                "try_ ends the task with the error, so the task returns a Result: make it a "
                "Task<Result<>>, or look at the Result that co_await gives without try_");
}

}  // namespace detail

/// A coroutine that returns a T. Move-only. See the top of this file.
template <class T = void>
class [[nodiscard("a task does nothing until it is awaited: co_await it, or spawn it")]] Task {
  static_assert(!std::is_rvalue_reference_v<T>,
                "Task<T&&>: what it refers to would not outlive the coroutine; return a T");

 public:
  using value_type = T;
  class promise_type final : public detail::TaskResult<T> {
   public:
    static constexpr bool returns_result = detail::is_result<T>;
    /// Awaitables that end the task when it is cancelled, such as sleep(), can be awaited in it.
    static constexpr bool can_be_cancelled = returns_result || std::is_void_v<T>;
    promise_type() = default;
    Task get_return_object() noexcept { return Task(this); }
  };

  /// Does not compile: in a function that is no coroutine, `return {}` would make an empty task.
  template <bool of_no_coroutine = true>
  Task() {
    static_assert(!of_no_coroutine,
                  "this would be a task without a coroutine: write `co_return {}` instead of "
                  "`return {}`; for a variable that has no task yet, use std::optional");
  }
  Task(const Task&) = delete;  // one owner: std::move(task)
  Task& operator=(const Task&) = delete;
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
  /// For code that runs tasks: gives up the coroutine, which the caller has to destroy().
  [[nodiscard]] promise_type* release() noexcept { return std::exchange(promise_, nullptr); }
  /// The same, but this task still owns it.
  [[nodiscard]] promise_type& promise() const noexcept {
    if (promise_ == nullptr) [[unlikely]]
      check_failed("a task is awaited, spawned or run that was moved to somebody else before");
    return *promise_;
  }

  class Awaiter {
   public:
    explicit Awaiter(promise_type& task) noexcept : task_(&task) {}
    bool await_ready() const {
      if constexpr (std::is_void_v<T>)
        return task_->run() && !task_->failed();
      else
        return task_->run();
    }
    template <class Waiter>
      requires(!std::is_void_v<T>)
    void await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
      task_->wait_in(waiter.promise(), false);
    }
    /// TA7.
    template <class Waiter>
      requires(std::is_void_v<T> && Waiter::can_be_cancelled)
    void await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
      if (task_->done())
        waiter.promise().end_with(task_->failure());
      else
        task_->wait_in(waiter.promise(), true);
    }
    template <class Waiter>
      requires(std::is_void_v<T> && !Waiter::can_be_cancelled)
    bool await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
      if (task_->done()) return false;
      task_->wait_in(waiter.promise(), false);
      return true;
    }
    /// clang warns when the result of a co_await is ignored; g++ 12 does not (docs/gcc12.md).
    [[nodiscard]] T await_resume() const
      requires detail::is_result<T>
    {
      return task_->take();
    }
    T await_resume() const { return task_->take(); }

   private:
    promise_type* task_;
  };
  /// Called by co_await.
  Awaiter on(Chain* chain) && noexcept {
    promise().enter(chain);
    return Awaiter(promise());
  }

 private:
  explicit Task(promise_type* promise) noexcept : promise_(promise) {
    // So that the coroutine can be found from the address of its TaskPromise alone.
    static_assert(alignof(promise_type) <= 2 * sizeof(void*),
                  "Task<T>: memory for frames is aligned to 16 bytes, and T wants more; return a "
                  "std::unique_ptr to it");
    DUOLU_CHECK(static_cast<detail::TaskPromise*>(promise) == static_cast<void*>(promise));
  }
  void destroy() noexcept {
    if (promise_ == nullptr) return;
    const bool waits = promise_->started() && !promise_->done();
    if (!waits) return release()->destroy();
    if (!exiting())
      check_failed(
          "a task is destroyed that waits for something: cancel it, and wait for its end "
          "(TA5); a scope does both");
  }

  promise_type* promise_ = nullptr;
};

namespace detail {

/// Awaits a Task<>. co_await returns whether the task returned: false if it was ended (TA7).
class HasReturned {
 public:
  explicit HasReturned(Task<>::promise_type& task) noexcept : task_(&task) {}
  HasReturned on(Chain* chain) const noexcept {
    task_->enter(chain);
    return *this;
  }
  bool await_ready() const { return task_->run(); }
  template <class Waiter>
  void await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
    task_->wait_in(waiter.promise(), false);
  }
  [[nodiscard]] bool await_resume() const {
    task_->take();
    return !task_->failed();
  }

 private:
  Task<>::promise_type* task_;
};

/// Ends the awaiting task if its chain is cancelled (TA7).
class EndIfCancelled {
 public:
  EndIfCancelled on(const Chain* chain) const noexcept {
    EndIfCancelled same;
    same.chain_ = chain;
    return same;
  }
  bool await_ready() const noexcept { return !chain_->cancelled(); }
  template <class Waiter>
  void await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
    waiter.promise().end_with(errno_code(ECANCELED));
  }
  void await_resume() const noexcept {}

 private:
  const Chain* chain_ = nullptr;
};

/// Awaits a Task<Result<T>>. co_await returns the T, or ends the awaiting task.
template <class T>
class TryTask {
 public:
  explicit TryTask(typename Task<Result<T>>::promise_type& task) noexcept : task_(&task) {}
  TryTask on(Chain* chain) const noexcept {
    task_->enter(chain);
    return *this;
  }
  bool await_ready() const { return task_->run() && !task_->failed(); }
  template <class Waiter>
  void await_suspend(std::coroutine_handle<Waiter> waiter) const noexcept {
    ends_with_error<Waiter>();
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

/// co_await returns the T of a Result, or ends the awaiting task.
template <class T>
class TryResult {
 public:
  explicit TryResult(Result<T>&& result) noexcept : result_(std::move(result)) {}
  TryResult on(Chain*) && noexcept { return std::move(*this); }
  bool await_ready() const noexcept { return result_.has_value(); }
  template <class Waiter>
  void await_suspend(std::coroutine_handle<Waiter> waiter) noexcept {
    ends_with_error<Waiter>();
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
/// Anything else does not compile.
template <class Other>
std::suspend_never try_(Other&&) noexcept {
  static_assert(std::is_void_v<Other>,
                "try_ takes what gives a Result: a Task<Result<T>>, a read, a within(); what has a "
                "name is moved: try_(std::move(task))");
  return {};
}

namespace detail {

/// Returns a task when it is called without arguments: for example a lambda that is a coroutine.
template <class Make>
concept MakesTask = std::invocable<Make&> && is_task<std::invoke_result_t<Make&>>;

}  // namespace detail

/// A task that runs the task of `make()`, and keeps `make` until that task has ended.
///
/// The coroutine of a lambda refers to the lambda's captures, not to copies of them. So
/// `auto task = [copy]() -> Task<> { … }();` refers to a closure that is destroyed at the
/// semicolon, and no compiler warns. `task_of([copy]() -> Task<> { … })`, without the call, is
/// right; so are Scope::spawn(), Loop::run() and with_scope(), which take the lambda itself.
template <detail::MakesTask Make>
std::invoke_result_t<Make&> task_of(Make make) {
  if constexpr (std::is_void_v<decltype(make().promise().take())>)
    co_await make();
  else
    co_return co_await make();
}

namespace detail {

/// The result of awaiting `awaitable`.
template <CanBeAwaited T>
decltype(auto) awaited(T&& awaitable, Chain* chain) {
  if constexpr (TakesChain<T>)
    return std::forward<T>(awaitable).on(chain).await_resume();
  else if constexpr (PointsToAwaitable<T>)
    return await_on(awaitable, chain).await_resume();
  else
    return awaitable.await_resume();
}
template <class T>
using Awaited = decltype(awaited(std::declval<T>(), std::declval<Chain*>()));

template <class T>
Task<Awaited<T>> await_it(T awaitable) {
  co_return co_await std::move(awaitable);
}

/// What can be run as a task: a task, a function that returns one (which is kept, see task_of()),
/// and anything else that co_await takes, which costs the frame of a task.
template <class T>
concept Runnable = MakesTask<T> || CanBeAwaited<T>;
template <Runnable T>
auto to_task(T runnable) {
  if constexpr (is_task<T>)
    return runnable;
  else if constexpr (MakesTask<T>)
    return task_of(std::move(runnable));
  else
    return await_it(std::move(runnable));
}
template <Runnable T>
using Gives = typename decltype(to_task(std::declval<T>()))::value_type;

}  // namespace detail

}  // namespace duolu
