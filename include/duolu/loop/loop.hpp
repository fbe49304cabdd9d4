// Public. Layer: loop. The event loop: runs tasks, and waits when none is ready to run.
//
//   LO1  A turn waits for the next event: a request that ends, a deadline, a post. Then it resumes,
//        once, every task that was ready when the wait ended. What becomes ready meanwhile waits
//        for the next turn.
//   LO2  Of deadlines that have passed, the earlier one is served first. None is early.
//   LO3  One thread makes all calls except post(), stop() and arrive().
//   LO4  stop() cancels the chain of the task that run() runs: the task ends in good order, and
//        run() returns what it returned. Called before run(), it applies to the next run(), and is
//        forgotten when that returns. A second call has no further effect.
//   LO5  Posted work is called once, in a turn after the post; what one thread posts is called in
//        the order of posting. Pending work does not keep run() from returning: it waits for the
//        next run() or turn(), or is destroyed with the Loop without being called.
//   LO6  An exception of posted work ends turn(), which throws it; work posted later is called in
//        the next turn. run() then cancels its task, as stop() does, and when the task has ended
//        throws the first such exception, in place of what the task returned or threw.
//   LO7  statistics() counts since the loop was made. It costs a few instructions a turn, and one
//        for each request, deadline and post, and reads no clock.
//   LO8  With watch_stalls(), a task or posted work that holds the loop for at least the threshold
//        is reported when it stops running: what resumed it, its origin, the co_await it was
//        resumed from, and how long it held the loop. The clock is then read after every wait,
//        which serves the deadlines too, and each time a task or work stops running, so that the
//        right one is named. Without it the clock is read for deadlines only.
//   LO9  Within another event loop: turn(immediately) is due when fd() is readable, and at
//        deadline(). Ask for deadline() again after every turn, every start(), and everything else
//        that affects its tasks from outside a turn (setting a flag, cancelling a chain). fd()
//        stays the same.
//   LO10 A task that another task wakes (ready.hpp) is resumed in the same turn or in a later one,
//        in the order of waking: at most 256 a turn, then the loop looks for outside events.
//   LO11 With start_watchdog() too, a task or work that has held the loop for at least the
//        threshold, and still holds it, is reported once, by a separate thread. The report is
//        called in that thread; when the reported one stops running, the loop waits until the
//        report has returned. While the loop waits for events, the thread sleeps.
//   LO12 tasks() lists the chains that run(), and what it runs, have begun and that have not
//        ended: which chain began each, what it waits for, and where. Not listed are the chains
//        of a when_all() or the like that is still beginning its tasks during the call, at any
//        level. It costs nothing until it is called.
//   LO13 exit(3) in a task ends the process as it does elsewhere: a static Loop, and static objects
//        that its tasks wait for, are destroyed without an abort, and the tasks, which nothing can
//        end any more, are left as they are. Those objects must have been made before run() or
//        start() was called. (For tasks that must unwind, call stop() instead.)
//   LO14 In a forked child a Loop of the parent may be destroyed, which affects neither process;
//        waiting in it aborts (see Poller). A child makes its own.
#pragma once

#include "duolu/base/standard.hpp"

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "duolu/base/check.hpp"
#include "duolu/base/function.hpp"
#include "duolu/base/time.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/engine/options.hpp"
#include "duolu/loop/timer_queue.hpp"
#include "duolu/task/ready.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

namespace detail {

/// A task that waits for something that is signalled by Engine::wake(): the loop calls `ready`
/// after every wake-up. Stays at the same address until the task is resumed.
struct WakeWaiter {
  bool (*ready)(const WakeWaiter& self) noexcept = nullptr;
  TaskPromise* task = nullptr;
  WakeWaiter* next = nullptr;  ///< For the loop.
};

class Watchdog;

}  // namespace detail

/// What a loop has done so far.
struct LoopStatistics {
  std::uint64_t turns = 0;     ///< Waits that returned, for whatever reason.
  std::uint64_t idle = 0;      ///< Of these: nothing had finished, was due, or had woken it.
  std::uint64_t woken = 0;     ///< Of these: reported a wake-up (a post, a stop, a signal).
  std::uint64_t finished = 0;  ///< Requests that had ended, and whose tasks were resumed.
  std::uint64_t timers = 0;    ///< Deadlines that had passed, and whose alarms rang.
  std::uint64_t posts = 0;     ///< Posted work that was called.
  /// Time spent in turns, without the waits. Counted only under a stall watch: otherwise no clock
  /// is read.
  Duration busy = Duration::zero();
  Duration longest_turn = Duration::zero();  ///< The same, of one turn.
};

/// A task or posted work that held the loop for long: meanwhile no other task could run.
struct Stall {
  /// What resumed it.
  enum class Cause : std::uint8_t {
    start,     ///< run() began its task.
    deadline,  ///< A deadline had passed (a sleep, for example).
    request,   ///< A read, write, accept or connect had ended.
    wakeup,    ///< A signal had arrived (Signals).
    task,      ///< Another task had woken it (a channel, a semaphore ...), or offloaded work ended.
    post,      ///< It was posted.
  };
  Cause cause = Cause::start;
  /// Of a task: the name or place that Scope::spawn() was given, or where run() was called. Of
  /// posted work: the place of the post().
  Origin origin{};
  /// The co_await at which the task was resumed; line() is 0 if it had not begun, or for work.
  std::source_location from{};
  Duration held{};  ///< How long; in the report of a watchdog, so far.
};
/// "deadline", for messages.
[[nodiscard]] const char* to_string(Stall::Cause cause) noexcept;

/// One chain, as reported by Loop::tasks().
struct TaskReport {
  int depth = 0;           ///< In the tree of which chain began which; a chain comes after the
                           ///< one that has begun it.
  Origin origin{};         ///< As in Stall.
  bool cancelled = false;  ///< Its chain is cancelled.
  std::string waits{};     ///< "for a flag"; empty if it runs, or is about to.
  std::optional<Duration> left{};   ///< When the wait ends at the latest, from now.
  std::optional<Duration> since{};  ///< How long it has waited, in tenths of a second; nothing
                                    ///< without watch_stalls(), or if the wait began before that.
  /// Where it waits: the co_await of the innermost task, of the task that awaits it, and so on.
  std::vector<std::source_location> stack{};
};
/// One line of text: "connection: waits to read from tcp://127.0.0.1:40312 (descriptor 8), for
/// 12.3 s; at server.cpp:289 (converse), server.cpp:246 (handle)". Indented by its depth.
[[nodiscard]] std::string to_string(const TaskReport& report);

/// What make_loop() takes.
struct LoopOptions {
  /// The name of an engine (engines.hpp), or "auto": the best one that works here.
  std::string_view backend = "auto";
  EngineOptions engine{};
  /// Makes the system calls and reads the clock; outlives the loop. Null: real_kernel().
  Kernel* kernel = nullptr;
};

class OffloadPool;
class Workers;

/// Runs tasks over an engine, whose only user it is. See the top of this file.
class Loop {
 public:
  /// `engine` outlives this.
  explicit Loop(Engine& engine) noexcept;
  /// The same, and this owns the engine (not null).
  explicit Loop(std::unique_ptr<Engine> engine) noexcept;
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  /// Called in the thread of the loop; destroys posted work that is left there (LO5). No task may
  /// wait for a deadline of this loop any more.
  ~Loop();

  /// Runs `task`, and whatever it starts, until it has ended. Returns what it returned, or throws
  /// what it threw; see LO4 and LO6 for how it is ended from outside. Aborts within another run().
  /// When waiting fails for lack of memory or descriptors, it is tried again after 10 ms; when it
  /// fails permanently, this aborts: see Poller::wait().
  template <class T>
  T run(Task<T> task, std::source_location where = std::source_location::current()) {
    Chain chain;
    chain.set_origin({nullptr, where});
    return run(std::move(task), chain);
  }
  /// The same on a chain of the caller, who can cancel the task by it.
  template <class T>
  T run(Task<T> task, Chain& chain) {
    run_until_done(task.promise(), chain);
    return task.promise().take();
  }
  /// The same for a function that returns a task, such as a lambda with captures, which is kept
  /// meanwhile (task_of): `loop.run([&]() -> Task<> { … })`.
  template <detail::MakesTask Make>
  decltype(auto) run(Make make, std::source_location where = std::source_location::current()) {
    return run(make(), where);
  }

  /// Begins `task`, which is then resumed in turns. For callers of turn() instead of run(): they
  /// still own the task, and keep it and `chain` until task.promise().done(). stop() does not
  /// cancel it; cancel the chain instead.
  template <class T>
  void start(Task<T>& task, Chain& chain) {
    prepare_for_exit();
    chain.run_in(&ready_);
    detail::enter_first(task.promise(), chain);
    task.promise().run();
  }

  /// One turn: waits until `deadline` at the latest. For programs with a loop of their own. Aborts
  /// within another turn. Errors: as Poller::wait(). Throws what posted work throws (LO6).
  Result<> turn(Instant deadline);

  /// See LO9: readable when a turn would find something, to watch this loop from another one; -1
  /// where the backend has no such descriptor (select, poll). Then either let the other loop call
  /// turn(immediately) every few milliseconds, or give this loop a thread of its own and post().
  [[nodiscard]] int fd() const noexcept { return engine_.fd(); }
  /// See LO9: when the next turn is due although fd() is not readable. `never` if no task waits for
  /// a deadline; `immediately` if a task can run now.
  [[nodiscard]] Instant deadline() const noexcept {
    return engine_.due() || !ready_.empty() ? immediately : timers_.next();
  }

  /// See LO4. Any thread, any signal handler. The Loop must exist until this returns: run() may
  /// return while another thread is still in stop(), and then the Loop must not be destroyed yet.
  /// (post() needs no such care.)
  void stop() noexcept {
    stop_.store(true, std::memory_order_release);
    engine_.wake();
  }

  /// Calls `work` in a later turn (LO5, LO6). Any thread, while the Loop exists; not in a signal
  /// handler, since it takes a lock. If it throws std::bad_alloc, nothing was posted.
  void post(Function<void()> work, std::source_location where = std::source_location::current());

  /// See LO8. `report` is called in the thread of the loop; its own time is not counted; it must
  /// not throw, nor call watch_stalls(). An empty `report` ends the watch. With a threshold above
  /// every stall (Duration::max()) the watch only counts statistics().busy and longest_turn.
  void watch_stalls(AnyDuration threshold, Function<void(const Stall&)> report);
  /// See LO11: adds a watchdog to the current watch, and ends with it; aborts without a watch.
  /// `report` is called in another thread, must not throw, and must not touch this loop. Costs a
  /// thread, two descriptors at most, and taking a lock each time a task or work stops running.
  /// Errors: of creating the thread and the descriptors.
  Result<> start_watchdog(Function<void(const Stall&)> report);

  /// See LO12. In the thread of the loop; allocates memory, and makes a system call or two for each
  /// task that waits for a descriptor. Tasks of start() are listed if they have scopes.
  [[nodiscard]] std::vector<TaskReport> tasks() const;

  /// Wakes `one`, which is in no WaitQueue, in a later turn (LO10). Any thread; allocates no
  /// memory. When this returns, `one` may not exist any more; this does not touch the loop after
  /// that.
  void arrive(detail::WaitEntry& one) noexcept;

  class [[nodiscard("co_await it")]] Sleep {
   public:
    Sleep(Loop& loop, Instant until) noexcept : loop_(loop), until_(until) {}
    class Awaiter;
    Awaiter on(Chain* chain) const noexcept;

   private:
    Loop& loop_;
    Instant until_;
  };
  /// `const bool slept = co_await loop.sleep_until(instant);` True when `instant` has come; false
  /// if the chain is cancelled, before or meanwhile. Then the task should end, since whatever else
  /// it waits for ends at once too: a task that keeps waiting in a loop blocks all others, and
  /// aborts after some millions of waits (ReadyQueue::refuse()). clang warns when the result is
  /// ignored; g++ 12 does not.
  Sleep sleep_until(Instant instant) noexcept { return Sleep(*this, instant); }
  /// The same with a span of time, from this call on: hours, or seconds in a double. A span too
  /// long for an Instant never ends, a negative one ends at once.
  Sleep sleep_for(AnyDuration span) noexcept { return Sleep(*this, after(kernel().now(), span)); }

  /// For awaiters: resumes `waiter` in the first turn after a wake-up in which it is ready.
  void when_woken(detail::WakeWaiter& waiter) noexcept {
    waiter.next = std::exchange(woken_, &waiter);
  }

  /// See LO7. During a turn, what has been done so far is counted, except for the batch that is
  /// being processed.
  [[nodiscard]] const LoopStatistics& statistics() const noexcept { return statistics_; }

  /// The workers that run offload(fn) for this loop's tasks: those of set_workers(), or else
  /// threads that are started at the first call and end with the loop, one for each processor, but
  /// at least 4 and at most 16. Errors: of starting the first thread; the next call tries again.
  [[nodiscard]] Result<Workers*> workers();
  /// Uses `workers` from now on; they outlive the loop (OF8).
  void set_workers(Workers& workers) noexcept { workers_ = &workers; }

  /// Stores a sentence that says what `error` was about, "cannot listen on ...", until the next
  /// call: for run(), which reports the error that its task ends with.
  void explain(std::error_code error, std::string sentence) {
    explained_ = error;
    explanation_ = std::move(sentence);
  }
  /// The sentence that explain() stored last, if it was for this error; else the error's message.
  [[nodiscard]] std::string explanation(std::error_code error) const {
    return error == explained_ && error ? explanation_ : error.message();
  }

  /// Sets where unsolicited messages go, such as an exception of a handler of serve(). `sink` is
  /// called in the loop's thread. Without a sink they are dropped; run() sets one that writes to
  /// standard error (RN4).
  void report_to(Function<void(const std::string& line)> sink) { sink_ = std::move(sink); }
  void report(const std::string& line) const {
    if (sink_) sink_(line);
  }

  [[nodiscard]] Kernel& kernel() const noexcept { return engine_.kernel(); }
  [[nodiscard]] Engine& engine() const noexcept { return engine_; }
  /// For code that runs tasks with turn(): see Chain::run_in().
  [[nodiscard]] ReadyQueue& ready() noexcept { return ready_; }

  /// For awaitables that wait for a time. Kept in their frame; must not be destroyed while it is
  /// armed, or due and about to ring.
  struct Alarm : Timer {
    void (*ring)(Alarm& self) = nullptr;  ///< Called once, in the turn in which it is due.
    detail::TaskPromise* task = nullptr;  ///< What that resumes, for reports; null: no task.
    Alarm* next = nullptr;                ///< For the loop: in the list of due alarms.
  };
  /// `alarm` rings once `deadline` has passed; moves it if it is armed. As TimerQueue::arm().
  void arm(Alarm& alarm, Instant deadline) { timers_.arm(alarm, deadline); }
  /// Disarms it if it is armed(). An alarm that is due already rings all the same.
  void disarm(Alarm& alarm) noexcept { timers_.cancel(alarm); }

 private:
  /// The unit of the times that are noted in tasks.
  static constexpr Duration time_unit = std::chrono::milliseconds(100);
  /// How many woken tasks are resumed in a turn (LO10): enough that looking for outside events
  /// costs each little, and few enough that outside events do not wait for long.
  static constexpr int most_woken = 256;

  /// For how many posts memory is kept after they were called.
  static constexpr std::size_t most_posts_kept = 1024;

  struct Posted {
    Function<void()> work;
    std::source_location where;
  };
  struct Watch;  // loop.cpp

  /// How long to pause after waiting has failed for a reason that may pass.
  static constexpr Duration pause_after_failure = std::chrono::milliseconds(10);

  void prepare_for_exit() noexcept {
    if (!std::exchange(notices_exit_, true)) notice_exit();
  }
  void run_until_done(detail::TaskPromise& task, Chain& chain);
  void ride_out(std::error_code error);
  // Each in two versions, so that a loop without a stall watch does not pay for it.
  template <bool watched>
  void work(bool woken);
  /// Returns how many were due.
  template <bool watched>
  std::uint64_t run_timers();
  template <bool watched>
  void run_finished(Op* finished);
  /// Handles what a wake() was called for.
  template <bool watched>
  void run_woken();
  template <bool watched>
  void run_wake_waiters();
  template <bool watched>
  void run_ready();
  template <bool watched>
  void run_posted();
  template <bool watched>
  void call_work();
  void work_watched(bool woken);
  // Called before and after each task or work that runs, under a watch.
  void begin_running(Stall::Cause cause, detail::TaskPromise* task,
                     const std::source_location& post = {});
  void end_running();
  void note_time();

  const std::unique_ptr<Engine> owned_;  ///< Null if engine_ is the caller's.
  Engine& engine_;
  ReadyQueue ready_{this};
  TimerQueue timers_;
  LoopStatistics statistics_;
  Chain* running_ = nullptr;  ///< Of the task that run() runs.
  const int owner_;           ///< The process.
  bool turning_ = false;
  bool notices_exit_ = false;
  std::atomic<bool> stop_ = false;
  detail::WakeWaiter* woken_ = nullptr;  ///< To be checked after a wake-up; the latest first.
  std::mutex mutex_;                     ///< Guards posted_, first_arrived_ and last_arrived_.
  std::vector<Posted> posted_;
  std::vector<Posted> work_;      ///< Taken from posted_, to be called.
  std::size_t called_ = 0;        ///< How many of work_ have been.
  std::unique_ptr<Watch> watch_;  ///< Null: no stall watch.
  detail::WaitEntry* first_arrived_ = nullptr;
  detail::WaitEntry* last_arrived_ = nullptr;
  Instant watched_since_ = never;      ///< Where times in tasks begin: at the first watch.
  Workers* workers_ = nullptr;         ///< Null: not set, and not needed so far.
  std::unique_ptr<OffloadPool> pool_;  ///< Null: not started.
  std::error_code explained_;
  std::string explanation_;
  mutable Function<void(const std::string&)> sink_;
};

/// A loop over an engine of its own. Errors: as make_engine().
[[nodiscard]] Result<std::unique_ptr<Loop>> make_loop(const LoopOptions& options = {});

class Loop::Sleep::Awaiter {
 public:
  Awaiter(Loop& loop, Instant until, Chain& chain) noexcept
      : loop_(loop), until_(until), chain_(chain) {}
  bool await_ready() const noexcept {
    if (!chain_.cancelled()) return false;
    loop_.ready_.refuse(chain_);
    return true;
  }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> waiter) {
    alarm_.task = &waiter.promise();
    alarm_.ring = [](Alarm& due) { due.task->resume(); };
    loop_.arm(alarm_, until_);
    chain_.suspended(kind, this);
  }
  [[nodiscard]] bool await_resume() const noexcept {
    chain_.resumed();
    return !chain_.cancelled();
  }

 private:
  static const WaitKind kind;

  Loop& loop_;
  Instant until_;
  Chain& chain_;
  Alarm alarm_;
};

inline Loop::Sleep::Awaiter Loop::Sleep::on(Chain* chain) const noexcept {
  return Awaiter(loop_, until_, *chain);
}

namespace detail {

/// The loop that runs the chain: aborts if none does.
inline Loop& loop_of(const Chain& chain) noexcept {
  const ReadyQueue* const queue = chain.ready();
  if (queue == nullptr || queue->loop() == nullptr) [[unlikely]]
    check_failed("what is awaited needs a Loop, and the task is not run by one");
  return *queue->loop();
}

}  // namespace detail

/// See this_loop().
class [[nodiscard]] ThisLoop {
 public:
  class Awaiter {
   public:
    explicit Awaiter(Loop& loop) noexcept : loop_(loop) {}
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    Loop& await_resume() const noexcept { return loop_; }

   private:
    Loop& loop_;
  };
  Awaiter on(const Chain* chain) const noexcept { return Awaiter(detail::loop_of(*chain)); }
};
/// `Loop& loop = co_await this_loop();`: the loop that runs the task. Does not wait.
inline ThisLoop this_loop() noexcept { return {}; }

/// See sleep().
class [[nodiscard("co_await it")]] SleepFor {
 public:
  explicit SleepFor(AnyDuration span) noexcept : span_(span) {}
  explicit SleepFor(Instant until) noexcept : until_(until) {}
  class Awaiter {
   public:
    Awaiter(Loop& loop, Instant until, Chain& chain) noexcept
        : loop_(loop), until_(until), chain_(chain) {}
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> waiter) {
      static_assert(Promise::can_be_cancelled,
                    "sleep() ends the task when it is cancelled, so the task returns nothing or a "
                    "Result; in others use loop.sleep_for(), which returns false then");
      alarm_.task = &waiter.promise();
      if (chain_.cancelled()) {
        loop_.ready().refuse(chain_);  // in case a task that awaits this one keeps doing so
        return alarm_.task->end_with(errno_code(ECANCELED));
      }
      alarm_.ring = [](Loop::Alarm& due) {
        if (due.task->chain()->cancelled()) return due.task->end_with(errno_code(ECANCELED));
        due.task->resume();
      };
      loop_.arm(alarm_, until_);
      chain_.suspended(kind, this);
    }
    void await_resume() const noexcept { chain_.resumed(); }

   private:
    static const WaitKind kind;

    Loop& loop_;
    Instant until_;
    Chain& chain_;
    Loop::Alarm alarm_;
  };
  Awaiter on(Chain* chain) const noexcept {
    Loop& loop = detail::loop_of(*chain);
    return Awaiter(loop, span_ ? after(loop.kernel().now(), *span_) : until_, *chain);
  }

 private:
  std::optional<AnyDuration> span_;
  Instant until_{};
};
/// `co_await sleep(5ms);` Waits for a span of time, from the co_await on: hours, or seconds in a
/// double. A span too long for an Instant never ends, a negative one ends at once. If the chain is
/// cancelled, before or meanwhile, the task ends there, as by try_ (TA4): with ECANCELED, or, if it
/// returns nothing, without a value, and the task that awaits it ends too (TA7). For tasks of a
/// Loop; aborts in others.
inline SleepFor sleep(AnyDuration span) noexcept { return SleepFor(span); }
/// The same until `instant`.
inline SleepFor sleep_until(Instant instant) noexcept { return SleepFor(instant); }
/// `co_await yield();` Resumes in the loop's next turn: other tasks that are due, and requests that
/// have ended, come first. For work that would hold the loop for long. Cancelled like sleep().
inline SleepFor yield() noexcept { return SleepFor(Duration::zero()); }

/// Ticks at equal distances, whatever the work between them takes:
///
///   Ticker ticker(1s);
///   for (;;) {
///     co_await ticker.next();
///     report();
///   }
///
/// Ticks that pass while no task waits are skipped. One thread, one task.
class Ticker {
 public:
  /// Aborts if `period` is not positive.
  explicit Ticker(AnyDuration period) noexcept : period_(period) {
    if (period_ <= Duration::zero()) check_failed("a Ticker needs a period that is positive");
  }
  /// Waits for the next tick; the first is a period after the first call. Cancelled like sleep().
  class [[nodiscard("co_await it")]] Next {
   public:
    explicit Next(Ticker& ticker) noexcept : ticker_(ticker) {}
    SleepFor::Awaiter on(Chain* chain) const noexcept {
      Loop& loop = detail::loop_of(*chain);
      return SleepFor::Awaiter(loop, ticker_.advance(loop.kernel().now()), *chain);
    }

   private:
    Ticker& ticker_;
  };
  Next next() noexcept { return Next(*this); }

 private:
  Instant advance(Instant now) noexcept {
    if (!begun_) {
      begun_ = true;
      tick_ = after(now, period_);
    } else if (after(tick_, period_) > now) {
      tick_ = after(tick_, period_);
    } else {
      tick_ = after(now, period_ - (now - tick_) % period_);
    }
    return tick_;
  }

  Duration period_;
  bool begun_ = false;
  Instant tick_{};  ///< The one that was waited for last.
};

}  // namespace duolu
