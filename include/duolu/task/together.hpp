// Public. Layer: task. Tasks side by side, awaited as one: all of them, or the first; and a task
// that cancellation does not reach.
//
//   TO1  when_all(tasks...) ends when all of them have. It gives a tuple of what they returned, in
//       their order, with std::monostate for void and std::reference_wrapper for references; of a
//       vector of tasks a vector, or nothing for tasks of void.
//   TO2  When a task throws, the others are cancelled, and the first exception comes out when all
//       have ended. A Result that is an error is a value like any other: it cancels nobody.
//   TO3  first_of(tasks...): the first to end wins, and the others are cancelled. When all have
//       ended it gives what the winner returned: a variant, whose index() says which one it was; of
//       a vector of tasks a First. What the others return is dropped, but what any of them throws
//       comes out, as in TO2.
//   TO4  The tasks begin in their order, each until it waits. When the outcome is known before all
//       have begun (TO2, TO3), the rest do not begin.
//   TO5  When the strand that awaits is cancelled, the tasks are. If it was before, they begin on
//       strands that are cancelled already.
//   TO6  shielded(task) gives what the task gives. The task runs on a strand of its own that is not
//       cancelled with the one that awaits it, before or while; it is waited for to its end.
//
// Each task runs on a strand of its own. One thread. The functions are tasks themselves: lazy,
// awaited once (TA1, TA2). Vectors take memory for each task, the rest is in the frame.
#pragma once

#include "duolu/base/standard.hpp"

#include <array>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "duolu/base/check.hpp"
#include "duolu/task/strand.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

/// What first_of() gives, of a vector of tasks.
template <class T>
struct First {
  std::size_t index;  ///< Which one ended first.
  T value;            ///< What it returned; std::monostate for void.
};

namespace detail {

/// Tasks that run side by side for one that waits for them. Kept in its frame.
class Siblings {
 public:
  struct Member : TaskEnd {
    TaskPromise* task = nullptr;
    Siblings* of = nullptr;
    Strand strand;
  };
  enum class Until : unsigned char { all, first };

  /// For as many tasks as there are `members`, run by whoever runs `parent`.
  Siblings(std::span<Member> members, Until until, const Strand& parent) noexcept
      : members_(members), until_(until), parent_(parent) {}
  Siblings(const Siblings&) = delete;
  Siblings& operator=(const Siblings&) = delete;

  /// Runs the next task, unless the outcome is known.
  void begin(TaskPromise& task);
  /// Cancels those that run, and those that begin later.
  void cancel() noexcept;
  /// Which one ended first.
  [[nodiscard]] std::size_t winner() const noexcept { return winner_; }
  void rethrow() const {
    if (exception_) std::rethrow_exception(exception_);
  }

  class Join;
  /// Waits for all that have begun, and hands on the cancellation of who waits.
  Join join() noexcept;
  /// The same, without handing it on.
  Join join_shielded() noexcept;

 private:
  void ended(const Member& member) noexcept;
  static void describe(const Strand& strand, const void* siblings, Waiting& waiting);
  static const WaitKind joined;
  static const WaitKind joined_shielded;

  static constexpr std::size_t nobody = static_cast<std::size_t>(-1);

  std::span<Member> members_;
  Until until_;
  bool decided_ = false;
  bool cancelled_ = false;
  const Strand& parent_;
  std::size_t begun_ = 0;
  std::size_t running_ = 0;
  std::size_t winner_ = nobody;
  std::exception_ptr exception_;
  TaskPromise* joiner_ = nullptr;
};

class Siblings::Join {
 public:
  Join(Siblings& siblings, bool shielded, Strand* strand) noexcept
      : siblings_(siblings), shielded_(shielded), strand_(strand) {}
  Join on(Strand* strand) const noexcept { return Join(siblings_, shielded_, strand); }

  bool await_ready() const noexcept {
    if (!shielded_ && strand_->cancelled()) siblings_.cancel();
    return siblings_.running_ == 0;
  }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> waiter) const noexcept {
    siblings_.joiner_ = &waiter.promise();
    strand_->suspended(shielded_ ? joined_shielded : joined, &siblings_);
  }
  void await_resume() const noexcept { strand_->resumed(); }

 private:
  Siblings& siblings_;
  bool shielded_;
  Strand* strand_;
};

inline Siblings::Join Siblings::join() noexcept { return Join(*this, false, nullptr); }
inline Siblings::Join Siblings::join_shielded() noexcept { return Join(*this, true, nullptr); }

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
  const Strand* const strand = co_await this_strand();
  std::array<Siblings::Member, sizeof...(T)> members;
  Siblings siblings(members, Siblings::Until::all, *strand);
  if (strand->cancelled()) siblings.cancel();
  std::apply([&](const Task<T>&... each) { (siblings.begin(each.promise()), ...); }, tasks);
  co_await siblings.join();
  siblings.rethrow();
  co_return std::apply(
      [](const Task<T>&... each) { return std::tuple<Value<T>...>(value_of(each)...); }, tasks);
}

template <class Variant, class Tasks, std::size_t... Index>
Variant value_at(std::size_t winner, const Tasks& tasks, std::index_sequence<Index...>) {
  std::optional<Variant> value;
  const auto take = [&]<std::size_t At>() {
    if (At == winner) value.emplace(std::in_place_index<At>, value_of(std::get<At>(tasks)));
  };
  (take.template operator()<Index>(), ...);
  DUOLU_CHECK(value.has_value());
  return *std::move(value);
}

template <class... T>
Task<std::variant<Value<T>...>> any_of(std::tuple<Task<T>...> tasks) {
  const Strand* const strand = co_await this_strand();
  std::array<Siblings::Member, sizeof...(T)> members;
  Siblings siblings(members, Siblings::Until::first, *strand);
  if (strand->cancelled()) siblings.cancel();
  std::apply([&](const Task<T>&... each) { (siblings.begin(each.promise()), ...); }, tasks);
  co_await siblings.join();
  siblings.rethrow();
  co_return value_at<std::variant<Value<T>...>>(siblings.winner(), tasks,
                                                std::index_sequence_for<T...>());
}

}  // namespace detail

/// `auto [a, b] = co_await when_all(one(), other());` See TO1.
template <class... T>
  requires(sizeof...(T) > 0)
[[nodiscard]] Task<std::tuple<detail::Value<T>...>> when_all(Task<T>... tasks) {
  return detail::all_of(std::tuple<Task<T>...>(std::move(tasks)...));
}

/// The same of a vector of tasks, which may be empty.
template <class T>
[[nodiscard]] Task<std::conditional_t<std::is_void_v<T>, void, std::vector<detail::Value<T>>>>
when_all(std::vector<Task<T>> tasks) {
  const Strand* const strand = co_await this_strand();
  std::vector<detail::Siblings::Member> members(tasks.size());
  detail::Siblings siblings(members, detail::Siblings::Until::all, *strand);
  if (strand->cancelled()) siblings.cancel();
  for (const Task<T>& each : tasks) siblings.begin(each.promise());
  co_await siblings.join();
  siblings.rethrow();
  if constexpr (!std::is_void_v<T>) {
    std::vector<detail::Value<T>> values;
    values.reserve(tasks.size());
    for (const Task<T>& each : tasks) values.push_back(detail::value_of(each));
    co_return values;
  }
}

/// `const auto first = co_await first_of(one(), other());` See TO3.
template <class... T>
  requires(sizeof...(T) > 0)
[[nodiscard]] Task<std::variant<detail::Value<T>...>> first_of(Task<T>... tasks) {
  return detail::any_of(std::tuple<Task<T>...>(std::move(tasks)...));
}

/// The same of a vector of tasks, one at least.
template <class T>
[[nodiscard]] Task<First<detail::Value<T>>> first_of(std::vector<Task<T>> tasks) {
  DUOLU_CHECK(!tasks.empty());
  const Strand* const strand = co_await this_strand();
  std::vector<detail::Siblings::Member> members(tasks.size());
  detail::Siblings siblings(members, detail::Siblings::Until::first, *strand);
  if (strand->cancelled()) siblings.cancel();
  for (const Task<T>& each : tasks) siblings.begin(each.promise());
  co_await siblings.join();
  siblings.rethrow();
  const std::size_t winner = siblings.winner();
  First<detail::Value<T>> first{winner, detail::value_of(tasks[winner])};
  co_return first;
}

/// See TO6.
template <class T>
[[nodiscard]] Task<T> shielded(Task<T> task) {
  const Strand* const strand = co_await this_strand();
  std::array<detail::Siblings::Member, 1> members;
  detail::Siblings siblings(members, detail::Siblings::Until::all, *strand);
  siblings.begin(task.promise());
  co_await siblings.join_shielded();
  co_return task.promise().take();
}

}  // namespace duolu
