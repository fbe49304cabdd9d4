// Public. Layer: loop. Deadlines in order: what a loop asks for the next one, and for those that
// have passed. It knows no clock.
//
// A 4-ary heap of (deadline, order of arming), each timer knowing its place in it. Arming and
// cancelling move at most log4(n) entries of 24 bytes, and in a server they mostly move none: a new
// deadline is later than most, and belongs near where it was put.
//
//   TI1  Timers come out by deadline; those with the same deadline in the order they were armed.
//   TI2  A timer comes out once. Cancelled, it does not come out; then it may be armed again, from
//       wherever.
//   TI3  Arming an armed timer moves it: it counts as armed just now.
//   TI4  Nothing but reserve() and arm() takes memory, and arm() only for more timers at a time
//       than there have ever been.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "duolu/base/time.hpp"

namespace duolu {

/// One deadline. Whoever waits for it keeps it, at the same address while it is armed. An armed
/// timer must not be destroyed: that aborts.
class Timer {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer();

  [[nodiscard]] bool armed() const noexcept { return place_ != nowhere; }

 private:
  friend class TimerQueue;
  static constexpr std::uint32_t nowhere = UINT32_MAX;

  std::uint32_t place_ = nowhere;  ///< In the heap.
};

/// The timers of one loop. One thread. At most 2^32 - 2 timers at a time.
class TimerQueue {
 public:
  TimerQueue() = default;
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;
  /// Every timer must have come out or been cancelled: otherwise it aborts.
  ~TimerQueue();

  /// Has `timer` come out once `deadline` has passed. May throw std::bad_alloc, and then `timer` is
  /// as it was.
  void arm(Timer& timer, Instant deadline);
  /// Does nothing if it is not armed.
  void cancel(Timer& timer) noexcept;

  /// The earliest deadline; `never` if there is none.
  [[nodiscard]] Instant next() const noexcept {
    return heap_.empty() ? never : heap_.front().deadline;
  }
  /// Takes out one timer whose deadline is `now` or earlier, the earliest; null if there is none.
  Timer* take_due(Instant now) noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return heap_.size(); }
  /// Takes the memory for `count` timers.
  void reserve(std::size_t count) { heap_.reserve(count); }

 private:
  struct Entry {
    Instant deadline;
    std::uint64_t order;
    Timer* timer;

    [[nodiscard]] bool before(const Entry& other) const noexcept {
      return deadline != other.deadline ? deadline < other.deadline : order < other.order;
    }
  };
  static constexpr std::size_t arity = 4;

  void put(std::size_t place, const Entry& entry) noexcept;
  void rise(std::size_t place, const Entry& entry) noexcept;
  void sink(std::size_t place, const Entry& entry) noexcept;
  void settle(std::size_t place, const Entry& entry) noexcept;

  std::vector<Entry> heap_;
  std::uint64_t armed_ = 0;  ///< In all, ever: the order.
};

}  // namespace duolu
