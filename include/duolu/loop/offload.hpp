// Public. Layer: loop. Blocking work on other threads, awaited like anything else.
//
//   OF1  co_await offload(pool, fn) calls fn() on a thread of the pool, and on the thread of the
//        loop returns what fn() returned as a Result (a Result as it is), or throws what it threw.
//   OF2  Work begins in the order in which it was awaited, by tasks of any loop; as many calls run
//        at a time as there are threads.
//   OF3  When the chain is cancelled, work that has not begun never begins, and ends with
//        ECANCELED; so does work that is awaited after the cancellation. Work that has begun is
//        waited for, and its outcome returned; a StopToken, if fn takes one, reports the
//        cancellation to it.
//   OF4  A pool has at least one thread, and fewer than it was asked for when the system provides
//        no more. They inherit the signal mask of the thread that called start(), and so do
//        programs that fn starts. A signal that is not blocked may be delivered to any of them, as
//        to every thread of a program: Signals reports it all the same (SG1), and a blocking call
//        in fn may be interrupted by a handler that was installed without SA_RESTART.
//   OF5  Waiting allocates no memory: the queue links the waiting tasks, so it is bounded by what
//        bounds their number. fn is moved into the frame of the task, and destroyed there, on the
//        loop's thread.
//   OF6  The destructor waits for the threads. The pool outlives the tasks that await it.
//   OF7  In a forked child, a pool that was started before has no threads: awaiting offload() on it
//        aborts, and its destructor does not wait. A child starts its own pool.
//   OF8  offload() itself neither creates threads nor waits for them: it hands the work to Workers,
//        of which a pool is one kind. With Loop::set_workers(), a test or a simulation decides when
//        work runs and on which thread, also for callers of offload() that name no workers
//        (connect). Whether performed within submit() or later, the task is resumed in a later turn
//        of its loop.
//
// With g++ 12, give a lambda that captures an object with a destructor a name before awaiting it
// (docs/gcc12.md): auto work = [text = std::move(text)] { ... }; co_await offload(pool, work).
//
// A pool may be shared by loops on different threads. A task that awaits it runs on a Loop.
#pragma once

#include <atomic>
#include <cerrno>
#include <concepts>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "duolu/base/result.hpp"
#include "duolu/kernel/kernel.hpp"
#include "duolu/loop/loop.hpp"
#include "duolu/task/ready.hpp"

namespace duolu {

/// Reports to work on another thread that the awaiting task was cancelled (OF3). Copies refer to
/// the same await: none may be used after the work has returned. (libc++ has no std::stop_token.)
class StopToken {
 public:
  explicit StopToken(const std::atomic<bool>& stopped) noexcept : stopped_(&stopped) {}
  /// Any thread. Once true it stays true.
  [[nodiscard]] bool stop_requested() const noexcept { return *stopped_; }

 private:
  const std::atomic<bool>* stopped_;
};

/// Work that was handed to Workers; in the frame of the task that waits for it.
class OffloadJob : public detail::WaitEntry {
 public:
  /// For Workers: calls the function, and wakes the task. Any thread; when this returns the job may
  /// not exist any more.
  void perform() noexcept;

  // Required by detail::Parking.
  static constexpr const char* what = "for work on another thread";
  bool begin();
  void park() noexcept;
  void abandon() noexcept;

 protected:
  using Function = void (*)(OffloadJob& self) noexcept;
  /// `workers`: null for those of the loop.
  OffloadJob(Workers* workers, Function run, Function stop) noexcept
      : workers_(workers), run_(run), stop_(stop) {}

 private:
  friend class OffloadPool;

  Workers* workers_;
  Function run_;   ///< Called on a thread of the workers.
  Function stop_;  ///< Called on the loop's thread, while run_() runs.
  Loop* loop_ = nullptr;
  bool begun_ = false;  ///< Guarded by the pool's lock.
};

/// Runs the work of offload(), and decides when and on which thread (OF8). Outlives the tasks that
/// await it.
class Workers {
 public:
  Workers() = default;
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  virtual ~Workers() = default;

  /// Performs `job` once, now or later, unless it is withdrawn. Called by any loop, in its thread.
  virtual void submit(OffloadJob& job) noexcept = 0;
  /// The task of `job` is cancelled. True if the job had not begun, and now never begins; false if
  /// it has begun or is over. In the thread of the job's loop.
  virtual bool withdraw(OffloadJob& job) noexcept = 0;
};

/// Workers that are threads. See the top of this file.
class OffloadPool final : public Workers {
 public:
  /// Starts at most `threads` threads, and at least 1. Errors: of the first pthread_create. May
  /// throw std::bad_alloc. `kernel` outlives the pool.
  static Result<std::unique_ptr<OffloadPool>> start(Kernel& kernel, int threads);
  OffloadPool(const OffloadPool&) = delete;
  OffloadPool& operator=(const OffloadPool&) = delete;
  /// See OF6. Aborts if there is work that has not begun.
  ~OffloadPool() override;

  /// How many threads it has. Any thread.
  [[nodiscard]] std::size_t threads() const noexcept { return threads_.size(); }

  void submit(OffloadJob& job) noexcept override;
  bool withdraw(OffloadJob& job) noexcept override;

 private:
  explicit OffloadPool(Kernel& kernel) noexcept : kernel_(kernel), owner_(kernel.getpid()) {}
  static void* serve(void* pool) noexcept;
  /// Waits for the next job, and marks it as begun. Null if the pool is being destroyed.
  OffloadJob* next_job();

  struct Shared {
    std::mutex mutex;  ///< Guards the members below.
    std::condition_variable work_or_end;
    detail::WaitQueue queue;
    bool ending = false;
  };

  Kernel& kernel_;
  const int owner_;  ///< The process.
  std::vector<pthread_t> threads_;
  detail::Immortal<Shared> shared_;  ///< Destroyed explicitly, and not in a forked child.
};

namespace detail {

template <class Fn>
struct OffloadWait : OffloadJob {
  static constexpr bool stoppable = std::invocable<Fn&, StopToken>;

  static decltype(auto) call(Fn& fn, const std::atomic<bool>& stopped) {
    if constexpr (stoppable)
      return fn(StopToken(stopped));
    else
      return fn();
  }
  using Returned =
      std::invoke_result_t<decltype(&OffloadWait::call), Fn&, const std::atomic<bool>&>;
  static_assert(!std::is_reference_v<Returned>,
                "offload(): fn returns a reference, which a Result cannot hold; return a value, a "
                "pointer, or a std::reference_wrapper");
  using Outcome = std::conditional_t<is_result<Returned>, Returned, Result<Returned>>;

  struct Of {
    Of(Workers* by, Fn&& what) : workers(by), fn(std::move(what)) {}
    Workers* workers;
    Fn fn;
  };
  explicit OffloadWait(Of&& of) : OffloadJob(of.workers, &run_it, &stop_it), fn(std::move(of.fn)) {}

  Outcome value() {
    if (thrown) std::rethrow_exception(std::exchange(thrown, nullptr));
    if (!outcome) return fail(error);  // it never began
    return *std::move(outcome);
  }

  void run_here() {
    if constexpr (std::is_void_v<Returned>) {
      call(fn, stopped);
      outcome.emplace();
    } else {
      outcome.emplace(call(fn, stopped));
    }
    if (!*outcome) fail_with(outcome->error());
  }
  static void run_it(OffloadJob& job) noexcept {
    auto& self = static_cast<OffloadWait&>(job);
#ifdef __cpp_exceptions
    try {
      self.run_here();
    } catch (...) {
      self.thrown = std::current_exception();
    }
#else
    self.run_here();
#endif
  }
  static void stop_it(OffloadJob& job) noexcept {
    if constexpr (stoppable) static_cast<OffloadWait&>(job).stopped = true;
  }

  Fn fn;
  std::atomic<bool> stopped{false};
  std::optional<Outcome> outcome;
  std::exception_ptr thrown;
};

}  // namespace detail

/// `Result<T> result = co_await offload(pool, fn);` or `T value = co_await try_(offload(pool,
/// fn))`. `workers`, such as a pool, call fn(StopToken) or fn() once; it must not access what
/// belongs to the loop's thread. See the top of this file.
template <class Fn>
[[nodiscard]] auto offload(Workers& workers, Fn fn) {
  using Wait = detail::OffloadWait<Fn>;
  return detail::Parking<Wait, typename Wait::Of>(typename Wait::Of(&workers, std::move(fn)));
}
/// The same with the workers of the loop that runs the task. Errors: those of Loop::workers() too.
template <class Fn>
[[nodiscard]] auto offload(Fn fn) {
  using Wait = detail::OffloadWait<Fn>;
  return detail::Parking<Wait, typename Wait::Of>(typename Wait::Of(nullptr, std::move(fn)));
}

}  // namespace duolu
