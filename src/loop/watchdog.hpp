// Private. Layer: loop. The thread that reports a task that holds the loop and still runs.
//
// The loop's thread increments a counter when a task starts running and when it stops: odd means
// running. The watchdog's thread samples it: an odd value that is as old as the threshold is a
// stall. It reads which task that is, and since when, under a lock that the loop's thread takes to
// make the counter even. It wakes up about once every threshold while the loop is busy. When
// nothing has run for as long, it sleeps until the next task that runs wakes it.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "duolu/base/function.hpp"
#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"
#include "duolu/kernel/kernel.hpp"
#include "duolu/loop/loop.hpp"
#include "duolu/poll/poller.hpp"

namespace duolu::detail {

class Watchdog {
 public:
  using Report = Function<void(const Stall&)>;

  static Result<std::unique_ptr<Watchdog>> start(Kernel& kernel, Duration threshold, Report report);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog();

  // In the loop's thread: a task, or posted work, starts and stops running.

  void begin_running(const Stall& who, Instant now);
  void end_running();

 private:
  Watchdog(Kernel& kernel, std::unique_ptr<Poller> bed, Duration threshold, Report report)
      : kernel_(kernel),
        owner_(kernel.getpid()),
        bed_(std::move(bed)),
        threshold_(threshold),
        report_(std::move(report)) {}
  void watch();
  enum class Found : std::uint8_t { gone, reported, waits };
  /// If number_ is still `number`: reports what runs, or sets again_ if it is not a stall yet.
  Found look_at(std::uint64_t number);
  /// Sleeps until `instant`, or until woken.
  void sleep_until(Instant instant);

  Kernel& kernel_;
  const int owner_;              ///< The process: a forked child has no thread to join.
  std::unique_ptr<Poller> bed_;  ///< What the thread sleeps on.
  const Duration threshold_;
  Report report_;
  pthread_t thread_{};
  std::atomic<std::uint64_t> number_ = 0;  ///< Odd while a task or work runs.
  std::atomic<bool> asleep_ = false;       ///< Sleeps until begin_running() wakes it.
  std::atomic<bool> ending_ = false;
  std::mutex mutex_;  ///< Held while a report is made, and in end_running().
  Instant again_{};   ///< When to look again; used by the watchdog's thread only.
  Stall who_;         ///< What runs, and since when; valid while number_ is odd.
  Instant since_{};
};

}  // namespace duolu::detail
