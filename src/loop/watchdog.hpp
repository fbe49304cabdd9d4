// Private. Layer: loop. The thread that tells who holds the loop and does not let go.
//
// The loop's thread says when somebody goes on and when he lets go; the watchdog's looks now and
// then, and knows by a number that grows whether it is still the same. What it reads of him it
// reads under the lock that he must take to let go. It wakes up once in the threshold while the
// loop is at work, and not at all when nothing has gone on for as long: then the first who does
// wakes it.
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

  // In the loop's thread.

  void goes_on(const Stall& who, Instant now);
  void let_go();

 private:
  Watchdog(Kernel& kernel, std::unique_ptr<Poller> bed, Duration threshold, Report report)
      : kernel_(kernel),
        owner_(kernel.getpid()),
        bed_(std::move(bed)),
        threshold_(threshold),
        report_(std::move(report)) {}
  void watch();
  enum class Found : std::uint8_t { gone, reported, waits };
  /// Reports who holds the loop with this number, if for long; else notes when to look again.
  Found look_at(std::uint64_t number);
  /// Until `instant`, or woken.
  void sleep_until(Instant instant);

  Kernel& kernel_;
  const int owner_;              ///< The process: a forked child has no thread to end.
  std::unique_ptr<Poller> bed_;  ///< What the thread sleeps on.
  const Duration threshold_;
  Report report_;
  pthread_t thread_{};
  std::atomic<std::uint64_t> number_ = 0;  ///< Odd while somebody holds the loop.
  std::atomic<bool> asleep_ = false;       ///< Until somebody goes on.
  std::atomic<bool> ending_ = false;
  std::mutex mutex_;  ///< Held while a report is made, and by who lets go.
  Instant again_{};   ///< When to look again; the watchdog's thread's own.
  Stall who_;         ///< Of an odd number_.
  Instant since_{};
};

}  // namespace duolu::detail
