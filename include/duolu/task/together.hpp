// Public. Layer: task. Tasks side by side, awaited as one: all of them, or the first; and a task
// that cancellation does not reach.
//
//   TO1  when_all(tasks...) ends when all of them have ended. It returns a tuple of what they
//       returned, in their order, with std::monostate for void and std::reference_wrapper for
//       references. Of a vector of tasks it returns a vector, or nothing if T is void.
//   TO2  When a task throws, the others are cancelled, and the first exception is rethrown when all
//       have ended. A Result that is an error is a value like any other: it cancels no task.
//   TO3  first_of(tasks...): the first to end wins, and the others are cancelled. When all have
//       ended it returns what the winner returned: a variant, whose index() is the winner's; of a
//       vector of tasks a First. What the others return is dropped, but an exception of any of them
//       is rethrown, as in TO2.
//   TO4  The tasks begin in their order, each running until it waits. When the outcome is known
//       before all have begun (TO2, TO3), the rest do not begin.
//   TO5  When the awaiting chain is cancelled, so are the tasks. If it was cancelled before, they
//       begin on cancelled chains.
//   TO6  shielded(task) returns what the task returns. The task runs on a chain of its own, which
//       is not cancelled with the awaiting one, whether that was cancelled before or is meanwhile;
//       shielded() ends when the task has ended.
//
// Besides tasks they take anything else that can be awaited, `first_of(stream.read(buffer),
// sleep(5s))`, and functions and lambdas that return a task, which are kept until it has ended.
//
// Each task runs on a chain of its own. One thread. The functions are tasks themselves: lazy,
// awaited once (TA1, TA2). Vectors allocate memory for each task, the rest is in the frame.
#pragma once

#include "duolu/base/standard.hpp"

#include <array>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "duolu/base/check.hpp"
#include "duolu/task/chain.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

/// What first_of() returns for a vector of tasks.
template <class T>
struct First {
  std::size_t index;  ///< Of the task that ended first.
  T value;            ///< What it returned; std::monostate for void.
};

namespace detail {

/// Tasks that run side by side, and that one task waits for. Kept in that task's frame.
class TaskGroup {
 public:
  struct Member : TaskEnd {
    TaskPromise* task = nullptr;
    TaskGroup* of = nullptr;
    Chain chain;
  };
  enum class Until : unsigned char { all, first };

  /// For as many tasks as there are `members`; they run where `parent` runs.
  TaskGroup(std::span<Member> members, Until until, const Chain& parent) noexcept
      : members_(members), until_(until), parent_(parent) {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  /// Begins the next task, unless the outcome is known.
  void begin(TaskPromise& task);
  /// Cancels the tasks that have begun, and those that begin later.
  void cancel() noexcept;
  /// The index of the task that ended first.
  [[nodiscard]] std::size_t winner() const noexcept { return winner_; }
  void rethrow() const {
    if (exception_) std::rethrow_exception(exception_);
  }

  class Join;
  /// Waits for all tasks that have begun. When the waiting chain is cancelled, they are.
  Join join() noexcept;
  /// The same, but cancelling the waiting chain does not cancel them.
  Join join_shielded() noexcept;

 private:
  void ended(const Member& member) noexcept;
  static void describe(const Chain& chain, const void* group, Waiting& waiting);
  static const WaitKind joined;
  static const WaitKind joined_shielded;

  static constexpr std::size_t nobody = static_cast<std::size_t>(-1);

  std::span<Member> members_;
  Until until_;
  bool decided_ = false;
  bool cancelled_ = false;
  const Chain& parent_;
  std::size_t begun_ = 0;
  std::size_t running_ = 0;
  std::size_t winner_ = nobody;
  std::exception_ptr exception_;
  TaskPromise* joiner_ = nullptr;
};

class TaskGroup::Join {
 public:
  Join(TaskGroup& group, bool shielded, Chain* chain) noexcept
      : group_(group), shielded_(shielded), chain_(chain) {}
  Join on(Chain* chain) const noexcept { return Join(group_, shielded_, chain); }

  bool await_ready() const noexcept {
    if (!shielded_ && chain_->cancelled()) group_.cancel();
    return group_.running_ == 0;
  }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> waiter) const noexcept {
    group_.joiner_ = &waiter.promise();
    chain_->suspended(shielded_ ? joined_shielded : joined, &group_);
  }
  void await_resume() const noexcept { chain_->resumed(); }

 private:
  TaskGroup& group_;
  bool shielded_;
  Chain* chain_;
};

inline TaskGroup::Join TaskGroup::join() noexcept { return Join(*this, false, nullptr); }
inline TaskGroup::Join TaskGroup::join_shielded() noexcept { return Join(*this, true, nullptr); }

template <class T>
struct ValueOf {
  using type = T;
};
template <>
struct ValueOf<void> {
  using type = std::monostate;
};
template <class T>
struct ValueOf<T&> {
  using type = std::reference_wrapper<T>;  // as variants and vectors hold references
};
template <class T>
using Value = typename ValueOf<T>::type;

template <class T>
Value<T> value_of(const Task<T>& task) {
  if constexpr (std::is_void_v<T>) {
    task.promise().take();
    return {};
  } else {
    return task.promise().take();
  }
}

template <class... T>
Task<std::tuple<Value<T>...>> all_of(std::tuple<Task<T>...> tasks) {
  const Chain* const chain = co_await this_chain();
  std::array<TaskGroup::Member, sizeof...(T)> members;
  TaskGroup group(members, TaskGroup::Until::all, *chain);
  if (chain->cancelled()) group.cancel();
  std::apply([&](const Task<T>&... each) { (group.begin(each.promise()), ...); }, tasks);
  co_await group.join();
  group.rethrow();
  co_return std::apply(
      [](const Task<T>&... each) { return std::tuple<Value<T>...>(value_of(each)...); }, tasks);
}

template <class Variant, std::size_t At = 0, class Tasks>
Variant value_at(std::size_t winner, const Tasks& tasks) {
  if constexpr (At + 1 < std::tuple_size_v<Tasks>)
    if (winner != At) return value_at<Variant, At + 1>(winner, tasks);
  return Variant(std::in_place_index<At>, value_of(std::get<At>(tasks)));
}

template <class... T>
Task<std::variant<Value<T>...>> any_of(std::tuple<Task<T>...> tasks) {
  const Chain* const chain = co_await this_chain();
  std::array<TaskGroup::Member, sizeof...(T)> members;
  TaskGroup group(members, TaskGroup::Until::first, *chain);
  if (chain->cancelled()) group.cancel();
  std::apply([&](const Task<T>&... each) { (group.begin(each.promise()), ...); }, tasks);
  co_await group.join();
  group.rethrow();
  co_return value_at<std::variant<Value<T>...>>(group.winner(), tasks);
}

}  // namespace detail

/// `auto [a, b] = co_await when_all(one(), other());` See TO1.
template <detail::Runnable... Each>
  requires(sizeof...(Each) > 0)
Task<std::tuple<detail::Value<detail::Gives<Each>>...>> when_all(Each... each) {
  return detail::all_of(
      std::tuple<Task<detail::Gives<Each>>...>(detail::to_task(std::move(each))...));
}

/// The same for a vector of tasks, which may be empty.
template <class T>
Task<std::conditional_t<std::is_void_v<T>, void, std::vector<detail::Value<T>>>> when_all(
    std::vector<Task<T>> tasks) {
  const Chain* const chain = co_await this_chain();
  std::vector<detail::TaskGroup::Member> members(tasks.size());
  detail::TaskGroup group(members, detail::TaskGroup::Until::all, *chain);
  if (chain->cancelled()) group.cancel();
  for (const Task<T>& each : tasks) group.begin(each.promise());
  co_await group.join();
  group.rethrow();
  if constexpr (!std::is_void_v<T>) {
    std::vector<detail::Value<T>> values;
    values.reserve(tasks.size());
    for (const Task<T>& each : tasks) values.push_back(detail::value_of(each));
    co_return values;
  }
}

/// `const auto first = co_await first_of(one(), other());` See TO3.
template <detail::Runnable... Each>
  requires(sizeof...(Each) > 0)
Task<std::variant<detail::Value<detail::Gives<Each>>...>> first_of(Each... each) {
  return detail::any_of(
      std::tuple<Task<detail::Gives<Each>>...>(detail::to_task(std::move(each))...));
}

/// The same for a vector of at least one task.
template <class T>
Task<First<detail::Value<T>>> first_of(std::vector<Task<T>> tasks) {
  if (tasks.empty()) check_failed("first_of() of an empty vector: no task can be the first");
  const Chain* const chain = co_await this_chain();
  std::vector<detail::TaskGroup::Member> members(tasks.size());
  detail::TaskGroup group(members, detail::TaskGroup::Until::first, *chain);
  if (chain->cancelled()) group.cancel();
  for (const Task<T>& each : tasks) group.begin(each.promise());
  co_await group.join();
  group.rethrow();
  const std::size_t winner = group.winner();
  First<detail::Value<T>> first{winner, detail::value_of(tasks[winner])};
  co_return first;
}

namespace detail {

template <class T>
Task<T> run_shielded(Task<T> task) {
  const Chain* const chain = co_await this_chain();
  std::array<TaskGroup::Member, 1> members;
  TaskGroup group(members, TaskGroup::Until::all, *chain);
  group.begin(task.promise());
  co_await group.join_shielded();
  co_return task.promise().take();
}

}  // namespace detail

/// See TO6.
template <detail::Runnable T>
Task<detail::Gives<T>> shielded(T work) {
  return detail::run_shielded(detail::to_task(std::move(work)));
}

}  // namespace duolu
