// Public. Layer: loop. The event loop: runs tasks, and waits when none can go on.
//
//   LO1  A turn waits for what is next (a request that ends, a deadline, a post). Then everything
//        goes on that could when the wait was over, once: what becomes ready meanwhile waits for
//        the next turn.
//   LO2  Of deadlines that have passed, the earlier goes first. None is early.
//   LO3  One thread makes all calls but post() and arrive().
//   LO4  A task that another one wakes (ready.hpp) goes on in the same turn, or in a later one,
//       first woken first: 256 in a turn at most, then what waits outside is looked at.
#pragma once

#include <coroutine>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "duolu/base/check.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/loop/timer_queue.hpp"
#include "duolu/task/ready.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

/// Runs tasks over an engine, which it has for itself. See the top of this file.
class Loop {
 public:
  /// `engine` outlives this.
  explicit Loop(Engine& engine) noexcept : engine_(engine) {}
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// Runs `task`, and whatever it starts, until it has ended. What it returned, or threw. Aborts if
  /// waiting fails for good: see Poller::wait().
  template <class T>
  T run(Task<T> task) {
    Strand strand;
    return run(std::move(task), strand);
  }
  /// The same on a strand of the caller's, to cancel it by.
  template <class T>
  T run(Task<T> task, Strand& strand) {
    strand.run_in(&ready_);
    task.promise().enter(&strand);
    task.promise().run();
    while (!task.promise().done()) DUOLU_CHECK(turn(never).has_value());
    return task.promise().take();
  }

  /// One turn: waits until `deadline` at the latest. For whoever has a loop of their own.
  Result<> turn(Instant deadline);

  /// Has `work` called in a later turn. Any thread.
  void post(std::move_only_function<void()> work);

  /// Has `one`, which stands in no line, go on in a later turn, as woken (LO4). Any thread; takes
  /// no memory. When this returns `one` may be gone, but the loop is not touched any more.
  void arrive(detail::Parked& one) noexcept;

  class [[nodiscard]] Sleep {
   public:
    Sleep(Loop& loop, Instant until) noexcept : loop_(loop), until_(until) {}
    class Awaiter;
    Awaiter on(Strand* strand) const noexcept;

   private:
    Loop& loop_;
    Instant until_;
  };
  /// `co_await loop.sleep_until(instant)`: true when it has come, false if the strand was cancelled
  /// before.
  Sleep sleep_until(Instant instant) noexcept { return Sleep(*this, instant); }
  Sleep sleep_for(Duration span) noexcept { return Sleep(*this, after(kernel().now(), span)); }

  [[nodiscard]] Kernel& kernel() const noexcept { return engine_.kernel(); }
  [[nodiscard]] Engine& engine() const noexcept { return engine_; }
  /// For whoever runs tasks by hand, with turn(): see Strand::run_in().
  [[nodiscard]] ReadyQueue& ready() noexcept { return ready_; }

  /// For awaitables that have to do with time. Kept in their frame; must not be destroyed while it
  /// is armed, or due and about to ring.
  struct Alarm : Timer {
    void (*ring)(Alarm& self) = nullptr;  ///< Called once, in the turn in which it is due.
    Alarm* next = nullptr;                ///< The loop's: of those that are due.
  };
  /// Has `alarm` ring once `deadline` has passed; moves it if it is armed. As TimerQueue::arm().
  void arm(Alarm& alarm, Instant deadline) { timers_.arm(alarm, deadline); }
  /// Has it not ring, if it is armed(). One that is due already rings all the same.
  void disarm(Alarm& alarm) noexcept { timers_.cancel(alarm); }

 private:
  /// How many tasks that others woke go on in a turn (LO4): enough that looking outside costs them
  /// little, and few enough that what waits outside does not wait for long.
  static constexpr int most_woken = 256;

  void run_timers();
  /// Those that have finished up to `last`.
  void run_finished(const Op* last);
  void run_posted();

  Engine& engine_;
  ReadyQueue ready_{this};
  TimerQueue timers_;
  std::mutex mutex_;  ///< Of what is below.
  std::vector<std::move_only_function<void()>> posted_;
  detail::Parked* first_arrived_ = nullptr;
  detail::Parked* last_arrived_ = nullptr;
};

class Loop::Sleep::Awaiter {
 public:
  Awaiter(Loop& loop, Instant until, Strand& strand) noexcept
      : loop_(loop), until_(until), strand_(strand) {}
  bool await_ready() const noexcept { return strand_.cancelled(); }
  void await_suspend(std::coroutine_handle<> waiter) {
    alarm_.waiter = waiter;
    alarm_.ring = [](Alarm& due) { static_cast<Bell&>(due).waiter.resume(); };
    loop_.arm(alarm_, until_);
    strand_.suspended(
        [](void* self) noexcept {
          auto& sleep = *static_cast<Awaiter*>(self);
          // One that is not armed is due already, and about to go on.
          if (sleep.alarm_.armed()) sleep.loop_.arm(sleep.alarm_, immediately);
        },
        this);
  }
  bool await_resume() const noexcept {
    strand_.resumed();
    return !strand_.cancelled();
  }

 private:
  struct Bell : Alarm {
    std::coroutine_handle<> waiter;
  };

  Loop& loop_;
  Instant until_;
  Strand& strand_;
  Bell alarm_;
};

inline Loop::Sleep::Awaiter Loop::Sleep::on(Strand* strand) const noexcept {
  return Awaiter(loop_, until_, *strand);
}

}  // namespace duolu
