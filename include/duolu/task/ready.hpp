// Public. Layer: task. How tasks wait for each other: who waits stands in a line, and who is woken
// in the queue of those that go on next.
//
//   RQ1  Waking a task resumes nobody: it is put at the end of the queue of its strand, and goes on
//       when whoever runs that strand (a Loop) comes to it. So the stack does not grow with tasks
//       that wake each other (TA6), and who wakes goes on to its next await first.
//   RQ2  Those that are woken go on in the order in which they were woken.
//   RQ3  Waiting takes no memory: who waits is part of the frame of the task that does.
//
// What is in `detail` is for those who write something to wait for, as flag.hpp, semaphore.hpp and
// channel.hpp do. One thread.
#pragma once

#include "duolu/base/standard.hpp"

#include <cerrno>
#include <coroutine>
#include <cstdint>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "duolu/base/check.hpp"
#include "duolu/base/result.hpp"
#include "duolu/task/strand.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

class Loop;  // of a layer above: only named here

namespace detail {

class Line;

/// Strands that run beside the one that has begun them, wherever that is meanwhile: a scope. In the
/// list of its ReadyQueue, for reports.
class Group {
 public:
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  /// Who has begun them.
  [[nodiscard]] const Strand& owner() const noexcept { return owner_; }
  /// Adds them, the one that was begun first first.
  virtual void members(std::vector<const Strand*>& strands) const = 0;
  /// The one that was opened before it, of any owner.
  [[nodiscard]] const Group* next() const noexcept { return next_; }

 protected:
  explicit inline Group(const Strand& owner) noexcept;
  inline ~Group();

 private:
  const Strand& owner_;
  Group* next_ = nullptr;
  Group* previous_ = nullptr;
};

/// A task that waits for another one. It stands in a line, or in a ReadyQueue, or in neither.
struct Parked {
  TaskPromise* task = nullptr;
  Strand* strand = nullptr;
  Line* line = nullptr;  ///< Where it stands; null once it was woken.
  Parked* next = nullptr;
  Parked* previous = nullptr;
  std::error_code error;  ///< What the wait ended with, if it failed.
  bool failed = false;
  bool propagates = false;  ///< An error ends the task, instead of going on (try_).

  Parked() = default;
  Parked(const Parked&) = delete;
  Parked& operator=(const Parked&) = delete;

  /// It ends with an error.
  void fail_with(std::error_code with) noexcept {
    error = with;
    failed = true;
  }
  /// Puts it into the queue of its strand.
  inline void wake() noexcept;
  /// The strand is cancelled: it does not wait any longer.
  inline void abandon() noexcept;
};

}  // namespace detail

/// Those that go on next. Belongs to whoever runs the strands that point to it, and outlives their
/// tasks. (Aligned for what strands keep in the low bits of its address.)
class alignas(16) ReadyQueue {
 public:
  /// `loop` is the one it belongs to, for awaitables that need their loop (detail::loop_of); null
  /// if strands are run by hand.
  explicit ReadyQueue(Loop* loop = nullptr) noexcept : loop_(loop) {}
  ReadyQueue(const ReadyQueue&) = delete;
  ReadyQueue& operator=(const ReadyQueue&) = delete;
  /// Nobody is in it any more, or it aborts.
  ~ReadyQueue() { DUOLU_CHECK_UNLESS_EXITING(empty()); }

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] Loop* loop() const noexcept { return loop_; }
  /// Who goes on next, if not empty().
  [[nodiscard]] const detail::Parked& front() const noexcept { return *first_; }
  /// Has those in it go on, and those who come meanwhile, `most` at the most.
  void run(int most);
  /// The last group that was opened by a strand that queues here; null if there is none.
  [[nodiscard]] const detail::Group* groups() const noexcept { return groups_; }
  /// What strands that begin, and those that go on, have noted as their time; whoever runs them
  /// gives it a meaning.
  std::uint32_t time = 0;
  /// For Parked: puts `one` at the end.
  void push(detail::Parked& one) noexcept {
    one.strand->resumed();  // nothing can take from it any more what it was woken with
    one.next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = &one;
    last_ = &one;
  }

  /// For awaiters that end at once since `strand` is cancelled. A task that awaits again and again
  /// all the same would hold the loop for ever: it aborts after most_refused times in one turn,
  /// and says who it was.
  void refuse(const Strand& strand) noexcept {
    if (++refused_ == most_refused) [[unlikely]]
      spins(strand);
  }
  /// A new turn begins: see refuse().
  void begin_turn() noexcept { refused_ = 0; }
  /// Some 50 ms, and more than any queue that a task could have to empty.
  static constexpr std::uint32_t most_refused = 1U << 24;

 private:
  friend detail::Group;
  [[noreturn]] static void spins(const Strand& strand) noexcept;

  detail::Parked* first_ = nullptr;
  detail::Parked* last_ = nullptr;
  Loop* loop_;
  detail::Group* groups_ = nullptr;
  std::uint32_t refused_ = 0;
};

namespace detail {

Group::Group(const Strand& owner) noexcept : owner_(owner) {
  ReadyQueue* const queue = owner.ready();
  if (queue == nullptr) return;
  next_ = queue->groups_;
  if (next_ != nullptr) next_->previous_ = this;
  queue->groups_ = this;
}
Group::~Group() {
  if (next_ != nullptr) next_->previous_ = previous_;
  if (previous_ != nullptr) previous_->next_ = next_;
  if (ReadyQueue* const queue = owner_.ready(); queue != nullptr && queue->groups_ == this)
    queue->groups_ = next_;
}

/// Has `task` run on `strand`, of which it is the first one.
inline void enter_first(TaskPromise& task, Strand& strand) noexcept {
  task.enter(&strand);
  if (const ReadyQueue* const queue = strand.ready()) task.note_time(queue->time);
}

/// Who waits for one thing, in the order in which they came.
class Line {
 public:
  Line() = default;
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  /// Nobody stands in it any more, or it aborts: they would wait for ever.
  ~Line() { DUOLU_CHECK_UNLESS_EXITING(empty()); }

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  /// Who has waited longest, if not empty().
  [[nodiscard]] Parked& front() const noexcept { return *first_; }
  void push(Parked& one) noexcept {
    one.line = this;
    one.next = nullptr;
    one.previous = last_;
    (last_ == nullptr ? first_ : last_->next) = &one;
    last_ = &one;
  }
  void remove(Parked& one) noexcept {
    (one.previous == nullptr ? first_ : one.previous->next) = one.next;
    (one.next == nullptr ? last_ : one.next->previous) = one.previous;
    one.line = nullptr;
  }
  void wake_all() noexcept {
    while (!empty()) front().wake();
  }
  /// The same with an error.
  void wake_all(std::error_code with) noexcept {
    while (!empty()) {
      front().fail_with(with);
      front().wake();
    }
  }

 private:
  Parked* first_ = nullptr;
  Parked* last_ = nullptr;
};

inline void Parked::wake() noexcept {
  if (line != nullptr) line->remove(*this);
  strand->ready()->push(*this);
}

inline void Parked::abandon() noexcept {
  // One that was woken is about to go on, with what it was woken for.
  if (line == nullptr) return;
  fail_with(errno_code(ECANCELED));
  wake();
}

/// "for a flag": `what` it is that `wait` stands in line for.
void describe(const Parked& wait, const char* what, Waiting& waiting);

/// Awaits a `Wait`, which is a Parked with begin(): whether it is over at once; park(): stands in
/// line; value(): what co_await gives; and `what` it waits for, for reports.
template <class Wait>
class ParkAwaiter {
 public:
  template <class Of>
  ParkAwaiter(Of&& of, Strand* strand) : wait_(std::forward<Of>(of)) {
    wait_.strand = strand;
  }
  ParkAwaiter(const ParkAwaiter&) = delete;
  ParkAwaiter& operator=(const ParkAwaiter&) = delete;

  bool await_ready() { return begin(); }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> waiter) {
    park(waiter.promise(), false);
  }
  [[nodiscard]] auto await_resume() { return wait_.value(); }

 protected:
  bool begin() {
    if (wait_.strand->cancelled()) {
      wait_.fail_with(errno_code(ECANCELED));
      over_ = true;
      if (ReadyQueue* const queue = wait_.strand->ready()) queue->refuse(*wait_.strand);
    } else {
      over_ = wait_.begin();
    }
    return over_;
  }
  void park(TaskPromise& waiter, bool propagates) {
    DUOLU_CHECK(wait_.strand->ready() != nullptr);  // Strand::run_in()
    wait_.task = &waiter;
    wait_.propagates = propagates;
    static constexpr WaitKind kind = {
        [](Strand&, void* wait) noexcept { static_cast<Wait*>(wait)->abandon(); },
        [](const Strand&, const void* wait, Waiting& waiting) {
          describe(*static_cast<const Wait*>(wait), Wait::what, waiting);
        }};
    wait_.strand->suspended(kind, &wait_);
    wait_.park();
  }
  [[nodiscard]] bool over() const noexcept { return over_; }
  [[nodiscard]] bool failed() const noexcept { return wait_.failed; }
  [[nodiscard]] std::error_code error() const noexcept { return wait_.error; }

 private:
  Wait wait_;
  bool over_ = false;
};

/// The same for try_, of a wait that gives a Result: gives what is in it, or ends the task.
template <class Wait>
class TryParkAwaiter : public ParkAwaiter<Wait> {
 public:
  using ParkAwaiter<Wait>::ParkAwaiter;
  bool await_ready() { return this->begin() && !this->failed(); }
  template <Fallible Promise>
  void await_suspend(std::coroutine_handle<Promise> waiter) {
    if (this->over())
      waiter.promise().end_with(this->error());
    else
      this->park(waiter.promise(), true);
  }
  auto await_resume() {
    auto result = ParkAwaiter<Wait>::await_resume();  // no error, or nobody would have gone on
    if constexpr (!std::is_same_v<decltype(result), Result<>>) return *std::move(result);
  }
};

/// What functions return that are awaited by a `Wait`, which is made of an `Of`.
template <class Wait, class Of, template <class> class Awaiter = ParkAwaiter>
class [[nodiscard]] Parking {
 public:
  explicit Parking(Of of) noexcept(std::is_nothrow_move_constructible_v<Of>) : of_(std::move(of)) {}
  Awaiter<Wait> on(Strand* strand) && { return Awaiter<Wait>(std::move(of_), strand); }
  /// For try_().
  Of take() && { return std::move(of_); }

 private:
  Of of_;
};

}  // namespace detail

/// `T value = co_await try_(channel.receive());` See Task, TA4.
template <class Wait, class Of>
[[nodiscard]] auto try_(detail::Parking<Wait, Of>&& parking) {
  return detail::Parking<Wait, Of, detail::TryParkAwaiter>(std::move(parking).take());
}

}  // namespace duolu
