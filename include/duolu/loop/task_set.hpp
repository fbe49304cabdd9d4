// Public. Layer: loop. Tasks that run side by side, each with a record of the caller's: what Scope
// is made of. For servers that store something for every connection and count its bytes; other
// programs use a Scope.
//
//   TS1  start() appends a member to the set and runs its task at once, on the member's chain,
//        until it waits.
//   TS2  When the task has ended, it is destroyed, the member leaves the set, and ended() is called
//        with what the task returned or threw. The member may be deleted there, or started again,
//        in this set or in another one.
//   TS3  move_here() moves a member of any set to the end of this one: so a set can be kept in the
//        order of the last activity.
//   TS4  start() and move_here() allocate no memory.
#pragma once

#include "duolu/base/standard.hpp"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <type_traits>
#include <utility>
#include <vector>

#include "duolu/base/result.hpp"
#include "duolu/task/chain.hpp"
#include "duolu/task/frames.hpp"
#include "duolu/task/ready.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

class Scope;
class Spawned;

/// See the top of this file. All calls come from the thread of the loop.
class TaskSet : private detail::Group {
 public:
  /// The record of a task; the base of what the caller stores for it. `new` allocates it where the
  /// frames of tasks are (frames.hpp).
  class Member : private detail::TaskEnd {
   public:
    Member() noexcept : TaskEnd{task_ended} {}
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;

    static void* operator new(std::size_t size) { return take_frame(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
      give_frame(memory, size);
    }

    /// The chain of the task, to cancel it. It stays cancelled when the member is started again.
    Chain chain{};

    /// The set that it is in; null before start() and in ended().
    [[nodiscard]] inline TaskSet* set() const noexcept;
    /// The member after it in the set; null for the last one.
    [[nodiscard]] Member* next() const noexcept { return next_; }

   private:
    friend TaskSet;
    friend Spawned;
    static void task_ended(TaskEnd& self, detail::TaskPromise& task) noexcept;
    /// The handle to update when the task has ended; null if there is none.
    [[nodiscard]] Spawned* handle() const noexcept;

    static constexpr std::uintptr_t is_handle = 1;
    /// The set, or a handle, which has the set then: one word for both, since every connection has
    /// a member, and few programs keep the handle.
    std::uintptr_t set_or_handle_ = 0;
    Member* next_ = nullptr;
    Member* previous_ = nullptr;
  };

  /// For tasks that run beside one on `owner`, which outlives this, and where `owner` runs: see
  /// Chain::run_in().
  explicit TaskSet(Chain& owner) noexcept : Group(owner) {}
  TaskSet(const TaskSet&) = delete;
  TaskSet& operator=(const TaskSet&) = delete;

  /// See TS1 and TS2. `member` is in no set, and exists until the task has ended. Reports show
  /// `origin`: see Chain::set_origin(). Returns whether the task has ended: then ended() was
  /// called.
  template <class T>
  bool start(Member& member, Task<T> task, const Origin& origin) {
    static_assert(
        std::is_void_v<T> || std::is_same_v<T, Result<>>,
        "TaskSet::start() takes a Task<> or a Task<Result<>>: ended() gets no other value");
    detail::TaskPromise& promise = task.promise();
    (void)task.release();
    return run(member, promise, origin);
  }
  /// See TS3. `member` is in a set.
  void move_here(Member& member) noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// The member that was started or moved here first; null if there is none.
  [[nodiscard]] Member* first() const noexcept { return first_; }

 protected:
  /// Aborts if a task has not ended.
  ~TaskSet();

  using Group::owner;

 private:
  /// See TS2. `exception` is null unless the task has thrown. `returned` is the success of a Task<>
  /// that returned, and ECANCELED of one that was ended (TA7).
  virtual void ended(Member& member, Result<> returned, std::exception_ptr exception) noexcept = 0;

  bool run(Member& member, detail::TaskPromise& task, const Origin& origin);
  void push(Member& member) noexcept;
  void remove(Member& member) noexcept;
  void members(std::vector<const Chain*>& chains) const final;

  Member* first_ = nullptr;
  Member* last_ = nullptr;
  std::size_t size_ = 0;
};

/// A handle to a spawned task, to cancel it: see Scope, SC9. Move-only; allocates no memory. In the
/// thread of the loop.
class Spawned {
 public:
  /// Of no task.
  Spawned() noexcept = default;
  Spawned(Spawned&& other) noexcept { attach(std::exchange(other.member_, nullptr)); }
  Spawned& operator=(Spawned&& other) noexcept {
    if (this == &other) return *this;
    detach();
    attach(std::exchange(other.member_, nullptr));
    return *this;
  }
  ~Spawned() { detach(); }

  /// Cancels the task (Chain): what it waits for ends at once. Resumes no task.
  void cancel() noexcept {
    if (member_ != nullptr) member_->chain.cancel();
  }
  /// Whether there is a task that has not ended.
  [[nodiscard]] bool running() const noexcept { return member_ != nullptr; }

 private:
  friend Scope;
  friend TaskSet;
  explicit Spawned(TaskSet::Member* member) noexcept { attach(member); }
  void attach(TaskSet::Member* member) noexcept {
    member_ = member;
    if (member == nullptr) return;
    set_ = member->set();
    member->set_or_handle_ = reinterpret_cast<std::uintptr_t>(this) | TaskSet::Member::is_handle;
  }
  void detach() noexcept {
    if (member_ != nullptr) member_->set_or_handle_ = reinterpret_cast<std::uintptr_t>(set_);
  }

  TaskSet::Member* member_ = nullptr;
  TaskSet* set_ = nullptr;  ///< The set of member_, which points to this instead.
};

// NOLINTBEGIN(performance-no-int-to-ptr): they were pointers
inline Spawned* TaskSet::Member::handle() const noexcept {
  if ((set_or_handle_ & is_handle) == 0) return nullptr;
  return reinterpret_cast<Spawned*>(set_or_handle_ & ~is_handle);
}
TaskSet* TaskSet::Member::set() const noexcept {
  if (const Spawned* const has_it = handle()) return has_it->set_;
  return reinterpret_cast<TaskSet*>(set_or_handle_);
}
// NOLINTEND(performance-no-int-to-ptr)

}  // namespace duolu
