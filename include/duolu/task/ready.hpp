// Public. Layer: task. How tasks wait for each other: waiting tasks are in a WaitQueue, and woken
// tasks in a ReadyQueue until they are resumed.
//
//   RQ1  Waking a task does not resume it: it is put at the end of the queue of its chain, and
//       resumed when the code that runs that chain (a Loop) reaches it. So the stack does not grow
//       with tasks that wake each other (TA6), and the waking task first runs to its next await.
//   RQ2  Tasks are resumed in the order in which they were woken.
//   RQ3  Waiting allocates no memory: a list node is part of the waiting task's frame.
//
// `detail` is for authors of awaitables, such as flag.hpp, semaphore.hpp, channel.hpp. One thread.
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
#include "duolu/task/chain.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

class Loop;  // of a layer above: only named here

namespace detail {

class WaitQueue;

/// Chains that run beside the chain that has begun them, whatever that one waits for: a TaskSet.
/// It is in a list of its ReadyQueue, for reports.
class Group {
 public:
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  /// The chain that has begun them.
  [[nodiscard]] const Chain& owner() const noexcept { return owner_; }
  /// Appends them to `chains` in the order in which they were begun.
  virtual void members(std::vector<const Chain*>& chains) const = 0;
  /// Whether it has interrupted its owner, and not ended that yet (Chain::interrupt()).
  [[nodiscard]] virtual bool interrupts_owner() const noexcept { return false; }
  /// The group that was opened before this one, of any owner.
  [[nodiscard]] const Group* next() const noexcept { return next_; }

 protected:
  explicit inline Group(const Chain& owner) noexcept;
  inline ~Group();

 private:
  const Chain& owner_;
  Group* next_ = nullptr;
  Group* previous_ = nullptr;
};

/// A task that waits for another one. It is in a WaitQueue, or in a ReadyQueue, or in neither.
struct WaitEntry {
  TaskPromise* task = nullptr;
  Chain* chain = nullptr;
  WaitQueue* queue = nullptr;  ///< The one it is in; null once it was woken.
  WaitEntry* next = nullptr;
  WaitEntry* previous = nullptr;
  std::error_code error;  ///< What the wait ended with, if it failed.
  bool failed = false;
  bool propagates = false;  ///< An error ends the task instead of resuming it (try_).

  WaitEntry() = default;
  WaitEntry(const WaitEntry&) = delete;
  WaitEntry& operator=(const WaitEntry&) = delete;

  /// The wait ends with an error.
  void fail_with(std::error_code with) noexcept {
    error = with;
    failed = true;
  }
  /// Puts it into the queue of its chain.
  inline void wake() noexcept;
  /// The chain is cancelled: ends the wait.
  inline void abandon() noexcept;
};

}  // namespace detail

/// The tasks that are resumed next. Belongs to the code that runs the chains that point to it, and
/// outlives their tasks. (Aligned, since chains store bits in the low bits of its address.)
class alignas(16) ReadyQueue {
 public:
  /// `loop` is the one it belongs to, for awaitables that need their loop (detail::loop_of); null
  /// if chains are run without a loop.
  explicit ReadyQueue(Loop* loop = nullptr) noexcept : loop_(loop) {}
  ReadyQueue(const ReadyQueue&) = delete;
  ReadyQueue& operator=(const ReadyQueue&) = delete;
  /// Aborts unless it is empty.
  ~ReadyQueue() {
    if (!empty() && !exiting())
      check_failed("a Loop is destroyed before its tasks have ended: some were to be resumed");
  }

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] Loop* loop() const noexcept { return loop_; }
  /// The task that is resumed next, if not empty().
  [[nodiscard]] const detail::WaitEntry& front() const noexcept { return *first_; }
  /// Resumes at most `most` tasks: those in it, and those that are added meanwhile.
  void run(int most);
  /// The group that was opened last by a chain of this queue; null if there is none.
  [[nodiscard]] const detail::Group* groups() const noexcept { return groups_; }
  /// The time that is noted in tasks when they begin and when they are resumed; its unit is that of
  /// the code that runs them.
  std::uint32_t time = 0;
  /// For WaitEntry: puts `one` at the end.
  void push(detail::WaitEntry& one) noexcept {
    one.chain->resumed();  // a cancellation must not take away what it was woken with
    one.next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = &one;
    last_ = &one;
  }

  /// For awaiters that end at once since `chain` is cancelled. A task that keeps awaiting all the
  /// same would hold the loop for ever: after most_refused calls in one turn this aborts, and names
  /// the task.
  void refuse(const Chain& chain) noexcept {
    if (++refused_ == most_refused) [[unlikely]]
      spins(chain);
  }
  /// A new turn begins: see refuse().
  void begin_turn() noexcept { refused_ = 0; }
  /// Takes about 50 ms, and is more than any queue that a task could have to empty.
  static constexpr std::uint32_t most_refused = 1U << 24;

 private:
  friend detail::Group;
  [[noreturn]] static void spins(const Chain& chain) noexcept;

  detail::WaitEntry* first_ = nullptr;
  detail::WaitEntry* last_ = nullptr;
  Loop* loop_;
  detail::Group* groups_ = nullptr;
  std::uint32_t refused_ = 0;
};

namespace detail {

Group::Group(const Chain& owner) noexcept : owner_(owner) {
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

/// Sets `task` up to run on `chain`, as its outermost task.
inline void enter_first(TaskPromise& task, Chain& chain) noexcept {
  task.enter(&chain);
  if (const ReadyQueue* const queue = chain.ready()) task.note_time(queue->time);
}

/// The tasks that wait for one thing, in the order in which they began to wait.
class WaitQueue {
 public:
  WaitQueue() = default;
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;
  /// Aborts unless it is empty: the tasks in it would wait for ever.
  ~WaitQueue() {
    if (!empty() && !exiting())
      check_failed("a Flag, Semaphore or Channel is destroyed that a task waits for");
  }

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  /// The task that has waited longest, if not empty().
  [[nodiscard]] WaitEntry& front() const noexcept { return *first_; }
  void push(WaitEntry& one) noexcept {
    one.queue = this;
    one.next = nullptr;
    one.previous = last_;
    (last_ == nullptr ? first_ : last_->next) = &one;
    last_ = &one;
  }
  void remove(WaitEntry& one) noexcept {
    (one.previous == nullptr ? first_ : one.previous->next) = one.next;
    (one.next == nullptr ? last_ : one.next->previous) = one.previous;
    one.queue = nullptr;
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
  WaitEntry* first_ = nullptr;
  WaitEntry* last_ = nullptr;
};

inline void WaitEntry::wake() noexcept {
  if (queue != nullptr) queue->remove(*this);
  chain->ready()->push(*this);
}

inline void WaitEntry::abandon() noexcept {
  // A task that was woken already will be resumed, with the result it was woken with.
  if (queue == nullptr) return;
  fail_with(errno_code(ECANCELED));
  wake();
}

/// Fills in `what` it is that `wait` waits for: "for a flag".
void describe(const WaitEntry& wait, const char* what, Waiting& waiting);

/// Awaits a `Wait`, which is a WaitEntry with begin(): whether it is over at once; park(): enters a
/// WaitQueue; value(): what co_await returns; and `what` it waits for, for reports.
template <class Wait>
class ParkAwaiter {
 public:
  template <class Of>
  ParkAwaiter(Of&& of, Chain* chain) : wait_(std::forward<Of>(of)) {
    wait_.chain = chain;
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
    if (wait_.chain->cancelled()) {
      wait_.fail_with(errno_code(ECANCELED));
      over_ = true;
      if (ReadyQueue* const queue = wait_.chain->ready()) queue->refuse(*wait_.chain);
    } else {
      over_ = wait_.begin();
    }
    return over_;
  }
  void park(TaskPromise& waiter, bool propagates) {
    if (wait_.chain->ready() == nullptr) [[unlikely]]
      check_failed("what is awaited needs a Loop, and the task is not run by one");
    wait_.task = &waiter;
    wait_.propagates = propagates;
    static constexpr WaitKind kind = {
        [](Chain&, void* wait) noexcept { static_cast<Wait*>(wait)->abandon(); },
        [](const Chain&, const void* wait, Waiting& waiting) {
          describe(*static_cast<const Wait*>(wait), Wait::what, waiting);
        }};
    wait_.chain->suspended(kind, &wait_);
    wait_.park();
  }
  [[nodiscard]] bool over() const noexcept { return over_; }
  [[nodiscard]] bool failed() const noexcept { return wait_.failed; }
  [[nodiscard]] std::error_code error() const noexcept { return wait_.error; }

 private:
  Wait wait_;
  bool over_ = false;
};

/// The same for try_, of a wait that returns a Result: returns its value, or ends the task.
template <class Wait>
class TryParkAwaiter : public ParkAwaiter<Wait> {
 public:
  using ParkAwaiter<Wait>::ParkAwaiter;
  bool await_ready() { return this->begin() && !this->failed(); }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> waiter) {
    ends_with_error<Promise>();
    if (this->over())
      waiter.promise().end_with(this->error());
    else
      this->park(waiter.promise(), true);
  }
  auto await_resume() {
    auto result = ParkAwaiter<Wait>::await_resume();  // no error, or it would not be resumed
    if constexpr (!std::is_same_v<decltype(result), Result<>>) return *std::move(result);
  }
};

/// The awaitable that is waited for by a `Wait`, which is made from an `Of`.
template <class Wait, class Of, template <class> class Awaiter = ParkAwaiter>
class [[nodiscard("co_await it")]] Parking {
 public:
  explicit Parking(Of of) noexcept(std::is_nothrow_move_constructible_v<Of>) : of_(std::move(of)) {}
  Awaiter<Wait> on(Chain* chain) && { return Awaiter<Wait>(std::move(of_), chain); }
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
