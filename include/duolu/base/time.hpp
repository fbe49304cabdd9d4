// Public. Layer: base. Points in time and spans of it. No clock is read here: ask a Kernel.
#pragma once

#include <chrono>

namespace duolu {

/// A span of time in nanoseconds, about ±292 years. `std::chrono` literals convert to it.
using Duration = std::chrono::nanoseconds;

/// The clock of every Instant: CLOCK_MONOTONIC, read through `Kernel::now()` only. It has no
/// `now()` of its own on purpose: a simulated kernel has a time of its own.
struct MonotonicClock {
  using duration = Duration;
  using rep = Duration::rep;
  using period = Duration::period;
  using time_point = std::chrono::time_point<MonotonicClock>;
  static constexpr bool is_steady = true;
};

/// An absolute point in monotonic time. Deadlines are Instants, so that a retry never extends them.
using Instant = std::chrono::time_point<MonotonicClock, Duration>;

/// A deadline that never comes.
inline constexpr Instant never = Instant::max();

/// A deadline that has passed already: look, do not wait.
inline constexpr Instant immediately = Instant::min();

/// `start + span`, saturating at `immediately` and `never` instead of overflowing.
[[nodiscard]] constexpr Instant after(Instant start, Duration span) noexcept {
  if (span > Duration::zero() && start > never - span) return never;
  if (span < Duration::zero() && start < immediately - span) return immediately;
  return start + span;
}

}  // namespace duolu
