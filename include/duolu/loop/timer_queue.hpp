// Public. Layer: loop. A priority queue of deadlines: returns the next one, and the timers whose
// deadlines have passed. It reads no clock.
//
// A 4-ary heap of (deadline, order of arming); each timer stores its place in it. Arming and
// cancelling move at most log4(n) entries of 24 bytes, and in a server they usually move none: a
// new deadline is later than most, and stays near the end, where it is inserted.
//
//   TI1  Timers are taken by deadline; those with the same deadline in the order of arming.
//   TI2  A timer is taken once, or never if it is cancelled. Then it may be armed again, anywhere.
//   TI3  Arming an armed timer moves it: it counts as armed just now.
//   TI4  Only reserve() and arm() allocate memory, and arm() only when there are more timers than
//       ever before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "duolu/base/time.hpp"

namespace duolu {

/// One deadline. Kept by the waiter, at the same address while it is armed. Destroying an armed
/// timer aborts.
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

/// The timers of one loop. One thread. At most 2^32 - 1 timers at a time.
class TimerQueue {
 public:
  TimerQueue() = default;
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;
  /// Aborts unless every timer was taken or cancelled.
  ~TimerQueue();

  /// take_due() returns `timer` once `deadline` has passed. May throw std::bad_alloc, and then
  /// `timer` is unchanged.
  void arm(Timer& timer, Instant deadline);
  /// Does nothing if it is not armed.
  void cancel(Timer& timer) noexcept;

  /// The earliest deadline; `never` if there is none.
  [[nodiscard]] Instant next() const noexcept {
    return heap_.empty() ? never : heap_.front().deadline;
  }
  /// Takes the earliest timer, if its deadline is `now` or earlier; else returns null.
  Timer* take_due(Instant now) noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return heap_.size(); }
  /// Allocates memory for `count` timers.
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
  std::uint64_t armed_ = 0;  ///< How many calls of arm() so far: the order.
};

}  // namespace duolu
