// Public. Layer: loop. Blocking work on other threads, awaited like anything else.
//
//   OF1  co_await offload(pool, fn) calls fn() on a thread of the pool, and gives a Result of what
//       it returned (a Result as it is), or throws what it threw, on the thread of the loop.
//   OF2  Work begins in the order in which it was awaited, by tasks of any loop, as much at a time
//       as there are threads.
//   OF3  When the strand is cancelled, work that has not begun never does, and ends with ECANCELED;
//       so does work that is awaited when it was cancelled before. Work that has begun is waited
//       for, and what it gives is given. If fn takes a StopToken, that reports it.
//   OF4  A pool has at least one thread: it makes do with fewer than it was asked for when the
//       system has no more. They have the signal mask of the thread that called start(), and so
//       have programs that fn starts. A signal that this one does not block may come to any of
//       them, like to every thread of a program: Signals is told all the same (SG1), and what
//       blocks in fn may be interrupted by a handler that was installed without SA_RESTART.
//   OF5  Waiting takes no memory: the queue is made of the tasks that wait, so what bounds their
//       number bounds it. fn is moved into the frame of the task, and destroyed there, on the
//       loop's thread.
//   OF6  The destructor waits for the threads. The pool outlives who awaits it.
//   OF7  In a forked child there are no threads of a pool that was started before: awaiting
//        offload() on it aborts, its destructor waits for nobody. A child starts its own.
//
// With g++ 12, a lambda that captures what has a destructor is named before it is awaited
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

class OffloadPool;

/// Tells work on another thread that the task awaiting it was cancelled (OF3). Copies refer to the
/// same await: none may be used after the work has returned. (std::stop_token is not in libc++.)
class StopToken {
 public:
  explicit StopToken(const std::atomic<bool>& stopped) noexcept : stopped_(&stopped) {}
  /// Any thread. Once true it stays true.
  [[nodiscard]] bool stop_requested() const noexcept { return *stopped_; }

 private:
  const std::atomic<bool>* stopped_;
};

namespace detail {

/// Work of a pool, in the frame of the task that waits for it.
struct OffloadJob : Parked {
  using Function = void (*)(OffloadJob& self) noexcept;
  static constexpr const char* what = "for work on another thread";
  /// `in`: null for the loop's own.
  OffloadJob(OffloadPool* in, Function work, Function ask_to_stop) noexcept
      : pool(in), run(work), stop(ask_to_stop) {}

  bool begin();
  void park() noexcept;
  void abandon() noexcept;

  OffloadPool* pool;
  Function run;   ///< On a thread of the pool.
  Function stop;  ///< On the loop's, while run() runs.
  Loop* loop = nullptr;
  bool begun = false;  ///< Under the pool's lock.
};

}  // namespace detail

/// A number of threads. See the top of this file.
class OffloadPool {
 public:
  /// At most `threads` of them, 1 at least. Errors: of the first pthread_create. May throw
  /// std::bad_alloc. `kernel` outlives the pool.
  static Result<std::unique_ptr<OffloadPool>> start(Kernel& kernel, int threads);
  OffloadPool(const OffloadPool&) = delete;
  OffloadPool& operator=(const OffloadPool&) = delete;
  /// See OF6. Aborts if there is work that has not begun.
  ~OffloadPool();

  /// How many threads it has. Any thread.
  [[nodiscard]] std::size_t threads() const noexcept { return threads_.size(); }

 private:
  friend struct detail::OffloadJob;

  explicit OffloadPool(Kernel& kernel) noexcept : kernel_(kernel), owner_(kernel.getpid()) {}
  static void* serve(void* pool) noexcept;
  /// The next job, begun; null at the end.
  detail::OffloadJob* next_job();
  void submit(detail::OffloadJob& job) noexcept;
  /// Whether it had not begun, and never does now.
  bool withdraw(detail::OffloadJob& job) noexcept;

  struct Shared {
    std::mutex mutex;  ///< Of what is below.
    std::condition_variable work_or_end;
    detail::Line queue;
    bool ending = false;
  };

  Kernel& kernel_;
  const int owner_;  ///< The process.
  std::vector<pthread_t> threads_;
  detail::Immortal<Shared> shared_;  ///< Destroyed by hand, and not in a forked child.
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
    Of(OffloadPool* in, Fn&& what) : pool(in), fn(std::move(what)) {}
    OffloadPool* pool;
    Fn fn;
  };
  explicit OffloadWait(Of&& of) : OffloadJob(of.pool, &run_it, &stop_it), fn(std::move(of.fn)) {}

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
/// fn))`. `fn` is called once, as fn(StopToken) or fn(), and must not touch what belongs to
/// the loop's thread. See the top of this file.
template <class Fn>
[[nodiscard]] auto offload(OffloadPool& pool, Fn fn) {
  using Wait = detail::OffloadWait<Fn>;
  return detail::Parking<Wait, typename Wait::Of>(typename Wait::Of(&pool, std::move(fn)));
}
/// The same on the threads of the loop that runs the task, Loop::pool(), whose errors it ends with
/// too.
template <class Fn>
[[nodiscard]] auto offload(Fn fn) {
  using Wait = detail::OffloadWait<Fn>;
  return detail::Parking<Wait, typename Wait::Of>(typename Wait::Of(nullptr, std::move(fn)));
}

}  // namespace duolu
