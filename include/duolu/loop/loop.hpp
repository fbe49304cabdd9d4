// Public. Layer: loop. The event loop: runs tasks, and waits when none can go on.
//
//   LO1  A turn waits for what is next (a request that ends, a deadline, a post). Then everything
//        goes on that could when the wait was over, once: what becomes ready meanwhile waits for
//        the next turn.
//   LO2  Of deadlines that have passed, the earlier goes first. None is early.
//   LO3  One thread makes all calls but post(), stop() and arrive().
//   LO4  stop() cancels the strand of the task that run() runs: the task ends in good order, and
//        run() returns what it returned. Before run(), it holds for the next one; with the end of
//        that run() it is forgotten. Asking twice is asking once.
//   LO5  Posted work is called once, in a turn after the post, what one thread posts in that order.
//        It keeps no run() from returning: what is left then waits for the next run() or turn(),
//        or is destroyed uncalled with the Loop.
//   LO6  Posted work that throws ends turn() with the exception; what was posted behind it is
//        called in the next turn. run() cancels its task then, as by stop(), and throws the first
//        such exception when the task has ended, in place of what that returned or threw.
//   LO7  statistics() counts since the loop was made: it costs a few instructions a turn, and one
//        for each request, deadline and post, and reads no clock.
//   LO8  With watch_stalls(), whoever holds the loop for as long as the threshold is reported, when
//        it lets go: what made it go on, its origin, where it went on from, and how long it held
//        the loop. The clock is then read after every wait, which serves the deadlines too, and
//        after everybody who went on: that is how the right one is named. Without it no clock is
//        read but for deadlines.
//   LO9  Within another event loop: turn(immediately) is due when fd() is readable, and at
//        deadline(), which is to be asked again after every turn, every start(), and whatever else
//        is done to its tasks from outside a turn (a flag set, a strand cancelled). fd() stays the
//        same.
//   LO10 A task that another one wakes (ready.hpp) goes on in the same turn, or in a later one,
//        first woken first: 256 in a turn at most, then what waits outside is looked at.
//   LO11 With start_watchdog() too, who has held the loop for as long as the threshold and holds it
//        still is reported by a thread of its own, once. The report is called in that thread; the
//        loop waits for it when the one it names lets go. While the loop waits, the thread sleeps.
//   LO12 tasks() tells of every strand that run(), and what it runs, has begun and that has not
//        ended: which one began it, what it waits for, and where. Not of those who run while it is
//        asked: of when_all() and the like, whose tasks are being begun, and above. It costs
//        nothing but when it is asked.
//   LO13 exit(3) in a task ends the process as it does elsewhere: a static Loop, and what static
//        objects its tasks wait for, are destroyed without a word, and the tasks, which nobody
//        ends any more, are left where they wait. Those objects must have been made before run()
//        or start() was called. (Tasks that are to unwind need stop() instead.)
//   LO14 In a forked child a Loop of the parent's may be destroyed, which disturbs neither; waiting
//        in it aborts (see Poller). A child makes its own.
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
#include "duolu/loop/timer_queue.hpp"
#include "duolu/task/ready.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

namespace detail {

/// A task that waits for something of which it is told by Engine::wake(): the loop asks it after
/// every wake-up. It stays where it is until it goes on.
struct WakeWaiter {
  bool (*ready)(const WakeWaiter& self) noexcept = nullptr;
  TaskPromise* task = nullptr;
  WakeWaiter* next = nullptr;  ///< The loop's.
};

class Watchdog;

}  // namespace detail

/// What a loop has done so far.
struct LoopStatistics {
  std::uint64_t turns = 0;     ///< Waits that returned, whatever they brought.
  std::uint64_t idle = 0;      ///< Of these: nothing had finished, was due, or had woken it.
  std::uint64_t woken = 0;     ///< Of these: told of a wake-up (a post, a stop, a signal).
  std::uint64_t finished = 0;  ///< Requests that had ended, and whose tasks went on.
  std::uint64_t timers = 0;    ///< Deadlines that had passed, and whose tasks went on.
  std::uint64_t posts = 0;     ///< Posted work that was called.
  /// What the turns took, less their waits. Only those under a stall watch: others read no clock.
  Duration busy = Duration::zero();
  Duration longest_turn = Duration::zero();  ///< The same, of one turn.
};

/// Somebody who held the loop for long: meanwhile nobody else could go on.
struct Stall {
  /// What made it go on.
  enum class Cause : std::uint8_t {
    start,     ///< run() began with its task.
    deadline,  ///< It had slept.
    request,   ///< A read, write, accept or connect had ended.
    wakeup,    ///< A signal had come (Signals).
    task,      ///< Another task had woken it (a channel, a semaphore ...), or offloaded work ended.
    post,      ///< It was posted.
  };
  Cause cause = Cause::start;
  /// Of a task: what spawned it said (Scope::spawn), or where run() was called; of work: the
  /// post().
  Origin origin{};
  /// The co_await that a task went on from; line() is 0 if it had not begun, or is work.
  std::source_location from{};
  Duration held{};  ///< So far, if a watchdog tells.
};
/// "deadline", for people.
[[nodiscard]] const char* to_string(Stall::Cause cause) noexcept;

/// One strand, as Loop::tasks() finds it.
struct TaskReport {
  int depth = 0;           ///< How many have begun one another before it; each follows the one that
                           ///< has begun it.
  Origin origin{};         ///< As in Stall.
  bool cancelled = false;  ///< It was asked to end.
  std::string waits{};     ///< "for a flag"; empty if it runs, or is about to.
  std::optional<Duration> left{};   ///< When the wait ends at the latest, from now.
  std::optional<Duration> since{};  ///< How long it has waited, in tenths of a second; nothing if
                                    ///< nobody watches (watch_stalls) or it began before.
  /// Where it waits: the co_await of the innermost task, of the one that awaits that, and so on.
  std::vector<std::source_location> stack{};
};
/// One line for people: "connection: waits to read from tcp://127.0.0.1:40312 (descriptor 8), for
/// 12.3 s; at server.cpp:289 (converse), server.cpp:246 (handle)". Indented by its depth.
[[nodiscard]] std::string to_string(const TaskReport& report);

/// What make_loop() takes.
struct LoopOptions {
  /// The engine by its name (engines.hpp), or "auto": the best one that works here.
  std::string_view backend = "auto";
  EngineOptions engine{};
  /// Whose system calls and clock; outlives the loop. Null: the real ones, real_kernel().
  Kernel* kernel = nullptr;
};

class OffloadPool;
class Workers;

/// Runs tasks over an engine, which it has for itself. See the top of this file.
class Loop {
 public:
  /// `engine` outlives this.
  explicit Loop(Engine& engine) noexcept;
  /// The same, and this owns the engine (not null).
  explicit Loop(std::unique_ptr<Engine> engine) noexcept;
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  /// In the thread of the loop, like what was posted and is destroyed with it (LO5). No task may
  /// wait for a time of this loop any more.
  ~Loop();

  /// Runs `task`, and whatever it starts, until it has ended. What it returned, or threw; see LO4
  /// and LO6 for how it can be ended from outside. Not within another run(): that aborts. When
  /// waiting fails for want of memory or descriptors it is tried again after 10 ms; when it fails
  /// for good, that aborts: see Poller::wait().
  template <class T>
  T run(Task<T> task, std::source_location where = std::source_location::current()) {
    Strand strand;
    strand.set_origin({nullptr, where});
    return run(std::move(task), strand);
  }
  /// The same on a strand of the caller's, to cancel it by.
  template <class T>
  T run(Task<T> task, Strand& strand) {
    run_until_done(task.promise(), strand);
    return task.promise().take();
  }
  /// The same of what gives a task, such as a lambda with captures, which is kept meanwhile
  /// (task_of): `loop.run([&]() -> Task<> { … })`.
  template <detail::MakesTask Make>
  decltype(auto) run(Make make, std::source_location where = std::source_location::current()) {
    return run(make(), where);
  }

  /// Begins `task`, which then goes on in turns. For whoever calls turn() instead of run(): the
  /// task stays theirs, and they keep it and `strand` until task.promise().done(). stop() has no
  /// say over it; cancel the strand.
  template <class T>
  void start(Task<T>& task, Strand& strand) {
    prepare_for_exit();
    strand.run_in(&ready_);
    detail::enter_first(task.promise(), strand);
    task.promise().run();
  }

  /// One turn: waits until `deadline` at the latest. For whoever has a loop of their own. Not
  /// within another turn: that aborts. Errors: as Poller::wait(). Throws what posted work throws
  /// (LO6).
  Result<> turn(Instant deadline);

  /// See LO9: readable when a turn would find something, to watch this loop from another one; -1
  /// where the backend has none (select, poll). Then either let the other loop call
  /// turn(immediately) every few milliseconds, or give this one a thread, and let them post().
  [[nodiscard]] int fd() const noexcept { return engine_.fd(); }
  /// See LO9: when the next turn is due although fd() is silent. `never` if nobody sleeps;
  /// `immediately` if somebody can go on now.
  [[nodiscard]] Instant deadline() const noexcept {
    return engine_.due() || !ready_.empty() ? immediately : timers_.next();
  }

  /// See LO4. Any thread, any signal handler. This lives until it returns: what asks so may be the
  /// end of run(), but not of the Loop. (post() asks for no such care.)
  void stop() noexcept {
    stop_.store(true, std::memory_order_release);
    engine_.wake();
  }

  /// Has `work` called in a later turn (LO5, LO6). Any thread, while this lives; takes a lock for a
  /// moment, so no signal handler. May throw std::bad_alloc, and then nothing was posted.
  void post(Function<void()> work, std::source_location where = std::source_location::current());

  /// See LO8. `report` is called in the thread of the loop; what it does is counted for nobody; it
  /// must not throw, nor call this. An empty one ends the watch. A threshold above every stall
  /// (Duration::max()) only keeps `busy` and `longest_turn` of the statistics.
  void watch_stalls(AnyDuration threshold, Function<void(const Stall&)> report);
  /// See LO11: a watchdog for the watch that there is (or it aborts), and which it ends with.
  /// `report` is called in another thread, must not throw, and may touch nothing of this loop.
  /// Costs a thread, two descriptors at most, and a lock for everybody who goes on. Errors: what
  /// making these gave.
  Result<> start_watchdog(Function<void(const Stall&)> report);

  /// See LO12. In the thread of the loop; takes memory, and for those who wait for a descriptor a
  /// system call or two. Tasks of start() are in it if they have scopes.
  [[nodiscard]] std::vector<TaskReport> tasks() const;

  /// Has `one`, which stands in no line, go on in a later turn, as woken (LO10). Any thread; takes
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
  /// `const bool slept = co_await loop.sleep_until(instant);` True when it has come; false if the
  /// strand is cancelled, before or meanwhile: then the task should end, since whatever else it
  /// waits for ends at once too. One that goes on waiting in a loop holds everybody; after some
  /// millions of times it aborts (ReadyQueue::refuse()). clang reports code that does not look;
  /// g++ 12 does not.
  Sleep sleep_until(Instant instant) noexcept { return Sleep(*this, instant); }
  /// The same with a span of time, from this call on: of hours or of seconds in a double; what is
  /// too long for an Instant is for ever, and what is negative is over.
  Sleep sleep_for(AnyDuration span) noexcept { return Sleep(*this, after(kernel().now(), span)); }

  /// For awaiters: has `waiter` go on in the first turn after a wake-up in which it is ready.
  void when_woken(detail::WakeWaiter& waiter) noexcept {
    waiter.next = std::exchange(woken_, &waiter);
  }

  /// See LO7. What a turn under way has done so far is in it but for the batch of its kind that is
  /// being worked through.
  [[nodiscard]] const LoopStatistics& statistics() const noexcept { return statistics_; }

  /// Who runs what offload(fn) of this loop's tasks is given. Those of set_workers(); or else
  /// threads that are started at the first call and end with the loop: as many as there are
  /// processors, 4 at least and 16 at most. Errors: of starting the first thread; asked again, it
  /// tries again.
  [[nodiscard]] Result<Workers*> workers();
  /// From now on these, which outlive the loop (OF8).
  void set_workers(Workers& workers) noexcept { workers_ = &workers; }

  /// Keeps a sentence for people that says what `error` was about, "cannot listen on ...", until
  /// another one is kept: for run(), which reports the error that its task ends with.
  void explain(std::error_code error, std::string sentence) {
    explained_ = error;
    explanation_ = std::move(sentence);
  }
  /// What explain() was given last with this error, or else the error's own message.
  [[nodiscard]] std::string explanation(std::error_code error) const {
    return error == explained_ && error ? explanation_ : error.message();
  }

  /// Where lines for people go that nobody has asked for, such as an exception of a handler of
  /// serve(): `sink` is called in the loop's thread. Without a sink they are dropped; run() has
  /// one, which is standard error.
  void report_to(Function<void(const std::string& line)> sink) { sink_ = std::move(sink); }
  void report(const std::string& line) const {
    if (sink_) sink_(line);
  }

  [[nodiscard]] Kernel& kernel() const noexcept { return engine_.kernel(); }
  [[nodiscard]] Engine& engine() const noexcept { return engine_; }
  /// For whoever runs tasks by hand, with turn(): see Strand::run_in().
  [[nodiscard]] ReadyQueue& ready() noexcept { return ready_; }

  /// For awaitables that have to do with time. Kept in their frame; must not be destroyed while it
  /// is armed, or due and about to ring.
  struct Alarm : Timer {
    void (*ring)(Alarm& self) = nullptr;  ///< Called once, in the turn in which it is due.
    detail::TaskPromise* task = nullptr;  ///< Who goes on then, for reports; null: nobody.
    Alarm* next = nullptr;                ///< The loop's: of those that are due.
  };
  /// Has `alarm` ring once `deadline` has passed; moves it if it is armed. As TimerQueue::arm().
  void arm(Alarm& alarm, Instant deadline) { timers_.arm(alarm, deadline); }
  /// Has it not ring, if it is armed(). One that is due already rings all the same.
  void disarm(Alarm& alarm) noexcept { timers_.cancel(alarm); }

 private:
  /// Of what tasks have noted as their time.
  static constexpr Duration time_unit = std::chrono::milliseconds(100);
  /// How many tasks that others woke go on in a turn (LO10): enough that looking outside costs them
  /// little, and few enough that what waits outside does not wait for long.
  static constexpr int most_woken = 256;

  /// Room for how many posts is kept for the next ones.
  static constexpr std::size_t most_posts_kept = 1024;

  struct Posted {
    Function<void()> work;
    std::source_location where;
  };
  struct Watch;  // loop.cpp

  /// When waiting fails and may not fail again, how long to wait before it is tried again.
  static constexpr Duration pause_after_failure = std::chrono::milliseconds(10);

  void prepare_for_exit() noexcept {
    if (!std::exchange(notices_exit_, true)) notice_exit();
  }
  void run_until_done(detail::TaskPromise& task, Strand& strand);
  void ride_out(std::error_code error);
  // Each in two versions: who is not watched does not pay for it.
  template <bool watched>
  void work(bool woken);
  /// How many were due.
  template <bool watched>
  std::uint64_t run_timers();
  template <bool watched>
  void run_finished(Op* finished);
  /// What came with a wake().
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
  // Around everybody who goes on, under a watch.
  void goes_on(Stall::Cause cause, detail::TaskPromise* task,
               const std::source_location& post = {});
  void let_go();
  void note_time();

  const std::unique_ptr<Engine> owned_;  ///< Null if engine_ is the caller's.
  Engine& engine_;
  ReadyQueue ready_{this};
  TimerQueue timers_;
  LoopStatistics statistics_;
  Strand* running_ = nullptr;  ///< Of the task that run() runs.
  const int owner_;            ///< The process.
  bool turning_ = false;
  bool notices_exit_ = false;
  std::atomic<bool> stop_ = false;
  detail::WakeWaiter* woken_ = nullptr;  ///< Who is asked after a wake-up; the latest first.
  std::mutex mutex_;                     ///< Of posted_.
  std::vector<Posted> posted_;
  std::vector<Posted> work_;      ///< Taken from posted_, to be called.
  std::size_t called_ = 0;        ///< How many of work_ have been.
  std::unique_ptr<Watch> watch_;  ///< Null: nobody watches.
  detail::Parked* first_arrived_ = nullptr;
  detail::Parked* last_arrived_ = nullptr;
  Instant watched_since_ = never;      ///< When times in tasks begin: with the first watch.
  Workers* workers_ = nullptr;         ///< Null: nobody has asked for them.
  std::unique_ptr<OffloadPool> pool_;  ///< Null: not started.
  std::error_code explained_;
  std::string explanation_;
  mutable Function<void(const std::string&)> sink_;
};

/// A loop over an engine of its own. Errors: as make_engine().
[[nodiscard]] Result<std::unique_ptr<Loop>> make_loop(const LoopOptions& options = {});

class Loop::Sleep::Awaiter {
 public:
  Awaiter(Loop& loop, Instant until, Strand& strand) noexcept
      : loop_(loop), until_(until), strand_(strand) {}
  bool await_ready() const noexcept {
    if (!strand_.cancelled()) return false;
    loop_.ready_.refuse(strand_);
    return true;
  }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> waiter) {
    alarm_.task = &waiter.promise();
    alarm_.ring = [](Alarm& due) { due.task->resume(); };
    loop_.arm(alarm_, until_);
    strand_.suspended(kind, this);
  }
  [[nodiscard]] bool await_resume() const noexcept {
    strand_.resumed();
    return !strand_.cancelled();
  }

 private:
  static const WaitKind kind;

  Loop& loop_;
  Instant until_;
  Strand& strand_;
  Alarm alarm_;
};

inline Loop::Sleep::Awaiter Loop::Sleep::on(Strand* strand) const noexcept {
  return Awaiter(loop_, until_, *strand);
}

namespace detail {

/// The loop that runs the strand: aborts if none does.
inline Loop& loop_of(const Strand& strand) noexcept {
  const ReadyQueue* const queue = strand.ready();
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
  Awaiter on(const Strand* strand) const noexcept { return Awaiter(detail::loop_of(*strand)); }
};
/// `Loop& loop = co_await this_loop();`: the one that runs the task; it waits for nothing.
inline ThisLoop this_loop() noexcept { return {}; }

/// See sleep().
class [[nodiscard]] SleepFor {
 public:
  explicit SleepFor(AnyDuration span) noexcept : span_(span) {}
  explicit SleepFor(Instant until) noexcept : until_(until) {}
  class Awaiter {
   public:
    Awaiter(Loop& loop, Instant until, Strand& strand) noexcept
        : loop_(loop), until_(until), strand_(strand) {}
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> waiter) {
      static_assert(Promise::can_be_cancelled,
                    "sleep() ends the task when it is cancelled, so the task returns nothing or a "
                    "Result; in others use loop.sleep_for(), which returns false then");
      alarm_.task = &waiter.promise();
      if (strand_.cancelled()) {
        loop_.ready().refuse(strand_);  // if what awaits its task does so again and again
        return alarm_.task->end_with(errno_code(ECANCELED));
      }
      alarm_.ring = [](Loop::Alarm& due) {
        if (due.task->strand()->cancelled()) return due.task->end_with(errno_code(ECANCELED));
        due.task->resume();
      };
      loop_.arm(alarm_, until_);
      strand_.suspended(kind, this);
    }
    void await_resume() const noexcept { strand_.resumed(); }

   private:
    static const WaitKind kind;

    Loop& loop_;
    Instant until_;
    Strand& strand_;
    Loop::Alarm alarm_;
  };
  Awaiter on(Strand* strand) const noexcept {
    Loop& loop = detail::loop_of(*strand);
    return Awaiter(loop, span_ ? after(loop.kernel().now(), *span_) : until_, *strand);
  }

 private:
  std::optional<AnyDuration> span_;
  Instant until_{};
};
/// `co_await sleep(5ms);` Waits so long, from the co_await on: hours, or seconds in a double; what
/// is too long for an Instant is for ever, and what is negative is over. If the strand is
/// cancelled, before or meanwhile, the task ends there, as by try_ (TA4): with ECANCELED, or, if it
/// returns nothing, without a value. What awaits that task is resumed: a helper that sleeps returns
/// a Result<>, to be awaited with try_, or a loop around it spins, until it aborts (sleep_until()).
/// A Loop's tasks only; others abort.
inline SleepFor sleep(AnyDuration span) noexcept { return SleepFor(span); }
/// The same until `instant`.
inline SleepFor sleep_until(Instant instant) noexcept { return SleepFor(instant); }

}  // namespace duolu
