// Public. Layer: loop. Structured concurrency: tasks that run side by side, and end before the
// block that started them.
//
//   SC1  with_scope(body) ends when the body and every task spawned in its scope have ended.
//   SC2  cancel() cancels the spawned tasks, those spawned later, and the body, until it has ended:
//        whatever they wait for ends at once. What comes after with_scope is not cancelled.
//   SC3  When the body throws, or a spawned task does, the scope is cancelled, and with_scope
//        throws the first exception when all have ended; what catches it is not cancelled. With
//        on_error() the scope takes exceptions of spawned tasks for itself instead, and nobody is
//        cancelled: a server outlives its handlers.
//   SC4  When the strand that runs with_scope is cancelled, the scope is.
//   SC5  spawn() runs the task at once, until it waits for something.
//   SC6  spawn() and with_scope() take a lambda, or any function object, that gives a task, and
//        keep it until the task has ended: with its captures, to which the coroutine of a lambda
//        refers.
#pragma once

#include "duolu/base/standard.hpp"

#include <coroutine>
#include <exception>
#include <source_location>
#include <type_traits>
#include <utility>
#include <vector>

#include "duolu/base/function.hpp"
#include "duolu/task/ready.hpp"
#include "duolu/task/strand.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

/// Where tasks are spawned. Made by with_scope().
class Scope final : private detail::Group {
 public:
  /// Of a task that runs on `owner`; its tasks run where that one does: see Strand::run_in().
  explicit Scope(Strand& owner) noexcept
      : Group(owner), cancelled_(owner.cancelled()), body_(&owner) {}
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  /// Nothing runs in it any more, or it aborts.
  ~Scope();

  /// Runs a task beside the caller. It ends before the scope does. In reports (see
  /// Loop::watch_stalls) it goes by `name`, which outlives the turn in which the task ends, or else
  /// by where it was spawned.
  void spawn(Task<> task, const char* name = nullptr,
             std::source_location where = std::source_location::current()) {
    adopt(std::move(task), {name, where});
  }
  /// The same. An error that it returns ends it and nobody else: who wants to know of it handles it
  /// in the task.
  void spawn(Task<Result<>> task, const char* name = nullptr,
             std::source_location where = std::source_location::current()) {
    adopt(std::move(task), {name, where});
  }
  /// The same of what gives such a task (SC6): `scope.spawn([copy]() -> Task<> { … })`. Not the
  /// call of it: `scope.spawn([copy]() -> Task<> { … }())` reads the captures of a closure that is
  /// gone, and no compiler says so.
  template <detail::MakesTask Make>
  void spawn(Make make, const char* name = nullptr,
             std::source_location where = std::source_location::current()) {
    spawn(task_of(std::move(make)), name, where);
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
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// For with_scope(): waits until size() is 0; cancels the scope with the strand (SC4).
  class [[nodiscard]] Join;
  Join join() noexcept;
  /// For with_scope(): an exception of the body.
  void failed(std::exception_ptr exception) noexcept;
  /// For with_scope(): what the strand does from now on is no concern of the scope's.
  void body_ended() noexcept;
  void rethrow() const {
    if (exception_) std::rethrow_exception(exception_);
  }

 private:
  /// A spawned task, in the memory of frames.
  struct Child;
  static const WaitKind joined;

  template <class T>
  void adopt(Task<T> task, const Origin& origin);
  void start(Child& child, detail::TaskPromise& task, const Origin& origin);
  void ended(Child& child, detail::TaskPromise& task) noexcept;
  void members(std::vector<const Strand*>& strands) const override;

  Child* first_ = nullptr;
  std::size_t size_ = 0;
  bool cancelled_;
  bool interrupts_ = false;  ///< The strand of the body: it was cancelled with the scope.
  Strand* body_;             ///< Null once the body has ended.
  detail::TaskPromise* joiner_ = nullptr;
  std::exception_ptr exception_;
  Function<void(std::exception_ptr)> report_;
};

class Scope::Join {
 public:
  explicit Join(Scope& scope) noexcept : scope_(scope) {}
  Join on(Strand* strand) const noexcept {
    Join join(scope_);
    join.strand_ = strand;
    return join;
  }
  bool await_ready() const noexcept {
    if (strand_->cancelled()) scope_.cancel();
    return scope_.size_ == 0;
  }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> waiter) const noexcept {
    scope_.joiner_ = &waiter.promise();
    strand_->suspended(joined, &scope_);
  }
  void await_resume() const noexcept { strand_->resumed(); }

 private:
  Scope& scope_;
  Strand* strand_ = nullptr;
};

inline Scope::Join Scope::join() noexcept { return Join(*this); }

/// Runs `body(scope)`, a Task<>, and waits for everything spawned in the scope. `body` is kept
/// meanwhile, so it may be a lambda with captures. Its own variables are not: they end with it, and
/// spawned tasks may run on. What they refer to is declared before with_scope, or captured.
template <class Body>
Task<> with_scope(Body body) {
  Strand* strand = co_await this_strand();
  Scope scope(*strand);
#ifdef __cpp_exceptions
  try {
    co_await body(scope);
  } catch (...) {
    scope.failed(std::current_exception());
  }
#else
  co_await body(scope);
#endif
  scope.body_ended();
  co_await scope.join();
  scope.rethrow();
}

}  // namespace duolu
