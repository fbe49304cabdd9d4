// Public. Layer: loop. Structured concurrency: tasks that run side by side, and end before the
// block that started them.
//
//   SC1  with_scope(body) ends when the body and every task spawned in its scope have ended.
//   SC2  cancel() cancels the spawned tasks, those spawned later, and the body, until it has ended:
//        whatever they wait for ends at once. What comes after with_scope is not cancelled.
//   SC3  When the body or a spawned task throws, the scope is cancelled, and with_scope rethrows
//        the first exception when all have ended; the code that catches it is not cancelled. With
//        on_error(), exceptions of spawned tasks go to that function instead, and no task is
//        cancelled: a server outlives its handlers.
//   SC4  When the chain that runs with_scope is cancelled, so is the scope.
//   SC5  spawn() runs the task at once, until it waits.
//   SC6  spawn() and with_scope() take a lambda, or any function object, that returns a task. Until
//        the task has ended, they keep it with its captures, to which a lambda's coroutine refers.
//   SC7  with_scope(body) returns what the body returned. A Result that is an error cancels the
//        scope, and is returned when all have ended.
//   SC8  An error that a spawned Task<Result<>> returns ends that task alone, and is dropped: a
//        server outlives its connections. In with_scope(fail_fast, body) it cancels the scope, and
//        the first error, of the body or of a task, is returned when all have ended. ECANCELED of a
//        task that was cancelled is no error. Exceptions (SC3) take precedence over errors.
//   SC9  spawn() returns a Spawned, whose cancel() cancels that task alone. It may be dropped. Used
//        after the task, or the scope, has ended, it does nothing.
#pragma once

#include "duolu/base/standard.hpp"

#include <coroutine>
#include <exception>
#include <expected>
#include <optional>
#include <source_location>
#include <system_error>
#include <type_traits>
#include <utility>

#include "duolu/base/function.hpp"
#include "duolu/loop/task_set.hpp"
#include "duolu/task/chain.hpp"
#include "duolu/task/task.hpp"
#include "duolu/task/together.hpp"

namespace duolu {

/// Selects that the first error ends a scope: `with_scope(fail_fast, body)`, see SC8.
struct FailFast {
  explicit FailFast() = default;
};
inline constexpr FailFast fail_fast{};

/// Where tasks are spawned. Made by with_scope(). Aborts if it is destroyed before its tasks have
/// ended.
class Scope final : private TaskSet {
 public:
  /// For a task that runs on `owner`; spawned tasks run where `owner` does: see Chain::run_in().
  explicit Scope(Chain& owner, bool fails_fast = false) noexcept
      : TaskSet(owner), cancelled_(owner.cancelled()), fails_fast_(fails_fast), body_(&owner) {}

  /// Runs a task beside the caller. It ends before the scope does. Reports (Loop::watch_stalls)
  /// show `name`, which must outlive the turn in which the task ends, or else the caller.
  Spawned spawn(Task<> task, const char* name = nullptr,
                std::source_location where = std::source_location::current());
  /// The same. For an error that it returns see SC8.
  Spawned spawn(Task<Result<>> task, const char* name = nullptr,
                std::source_location where = std::source_location::current());
  /// The same for a function that returns such a task (SC6): `scope.spawn([copy]() -> Task<> { …
  /// })`. Do not call it: `scope.spawn([copy]() -> Task<> { … }())` reads the captures of a closure
  /// that has been destroyed, and no compiler warns.
  template <detail::MakesTask Make>
  auto spawn(Make make, const char* name = nullptr,
             std::source_location where = std::source_location::current()) {
    return spawn(task_of(std::move(make)), name, where);
  }
  template <class T>
  void spawn(Task<T>, const char* = nullptr, std::source_location = {}) {
    static_assert(std::is_void_v<T>,
                  "spawn() takes a Task<> or a Task<Result<>>: nobody would get what another one "
                  "returns; await it in the task, or use when_all()");
  }
  /// See SC2. The caller may be the body, or one of the tasks: its next wait ends at once.
  void cancel() noexcept;
  /// See SC3. `report` is called with each exception, and must not throw.
  void on_error(Function<void(std::exception_ptr)> report) { report_ = std::move(report); }
  /// How many spawned tasks have not ended.
  using TaskSet::size;

  /// For with_scope(): waits until size() is 0; cancels the scope with the chain (SC4).
  class [[nodiscard]] Join;
  Join join() noexcept;
  /// For with_scope(): the body threw an exception, or returned an error.
  void failed(std::exception_ptr exception) noexcept;
  void failed(std::error_code error) noexcept;
  /// For with_scope(): the body has ended; the scope does not cancel its chain any more.
  void body_ended() noexcept;
  void rethrow() const {
    if (exception_) std::rethrow_exception(exception_);
  }
  /// For with_scope(): the first error that cancelled the scope (SC7, SC8).
  [[nodiscard]] const std::optional<std::error_code>& error() const noexcept { return error_; }

 private:
  static const WaitKind joined;

  template <class T>
  Spawned adopt(Task<T> task, const Origin& origin);
  void ended(Member& member, Result<> returned, std::exception_ptr exception) noexcept override;
  [[nodiscard]] bool interrupts_owner() const noexcept override { return interrupts_; }

  bool cancelled_;
  const bool fails_fast_;
  bool interrupts_ = false;  ///< The chain of the body was interrupted by cancel().
  Chain* body_;              ///< Null once the body has ended.
  detail::TaskPromise* joiner_ = nullptr;
  std::exception_ptr exception_;
  std::optional<std::error_code> error_;
  Function<void(std::exception_ptr)> report_;
};

class Scope::Join {
 public:
  explicit Join(Scope& scope) noexcept : scope_(scope) {}
  Join on(Chain* chain) const noexcept {
    Join join(scope_);
    join.chain_ = chain;
    return join;
  }
  bool await_ready() const noexcept {
    if (chain_->cancelled()) scope_.cancel();
    return scope_.size() == 0;
  }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> waiter) const noexcept {
    scope_.joiner_ = &waiter.promise();
    chain_->suspended(joined, &scope_);
  }
  void await_resume() const noexcept { chain_->resumed(); }

 private:
  Scope& scope_;
  Chain* chain_ = nullptr;
};

inline Scope::Join Scope::join() noexcept { return Join(*this); }

inline Spawned Scope::spawn(Task<> task, const char* name, std::source_location where) {
  return adopt(std::move(task), {name, where});
}
inline Spawned Scope::spawn(Task<Result<>> task, const char* name, std::source_location where) {
  return adopt(std::move(task), {name, where});
}

namespace detail {

template <class T, class Body>
Task<T> run_in_scope(Body body, bool fails_fast) {
  Chain* chain = co_await this_chain();
  Scope scope(*chain, fails_fast);
  std::optional<Value<T>> value;
  bool returned = true;
#ifdef __cpp_exceptions
  try {
#endif
    if constexpr (std::is_void_v<T>)
      returned = co_await HasReturned(body(scope).promise());
    else
      value.emplace(co_await body(scope));
#ifdef __cpp_exceptions
  } catch (...) {
    scope.failed(std::current_exception());
  }
#endif
  if constexpr (is_result<T>)
    if (value && !*value) scope.failed(value->error());
  scope.body_ended();
  co_await scope.join();
  scope.rethrow();
  if constexpr (is_result<T>)
    // NOLINTNEXTLINE(bugprone-unchecked-optional-access): of the same scope
    if (scope.error()) co_return std::unexpected(*scope.error());
  if constexpr (!std::is_void_v<T>)
    co_return *std::move(value);
  else if (!returned)
    co_await EndIfCancelled();  // not if only the scope was cancelled (SC2)
}

template <class Body>
struct TaskOfBody {
  static_assert(std::is_void_v<Body>,
                "with_scope() calls body(scope) with a Scope&, and body returns a task: "
                "[&](Scope& scope) -> Task<> { ... }");
  using type = Task<>;
};
template <class Body>
  requires is_task<std::invoke_result_t<Body&, Scope&>>
struct TaskOfBody<Body> {
  using type = std::invoke_result_t<Body&, Scope&>;
};
template <class Body>
using BodyTask = typename TaskOfBody<Body>::type;

}  // namespace detail

/// Runs `body(scope)`, a task, waits for everything spawned in the scope, and returns what the body
/// returned (SC7). `body` is kept meanwhile, so it may be a lambda with captures. The body's local
/// variables are destroyed when it ends, and spawned tasks may still run then: what those refer to
/// must be declared before with_scope, or captured.
template <class Body>
detail::BodyTask<Body> with_scope(Body body) {
  return detail::run_in_scope<typename detail::BodyTask<Body>::value_type>(std::move(body), false);
}
/// The same, and the first error of a spawned task cancels the scope and is returned (SC8):
/// `co_await try_(with_scope(fail_fast, [&](Scope& scope) -> Task<Result<>> { … }))`.
template <class Body>
detail::BodyTask<Body> with_scope(FailFast, Body body) {
  using T = typename detail::BodyTask<Body>::value_type;
  static_assert(
      detail::is_result<T>,
      "with_scope(fail_fast, body) gives the first error: body returns a Task<Result<T>>");
  return detail::run_in_scope<T>(std::move(body), true);
}

}  // namespace duolu
