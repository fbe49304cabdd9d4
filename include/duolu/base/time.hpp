// Public. Layer: base. Points in time and spans of it. No clock is read here: ask a Kernel.
#pragma once

#include "duolu/base/standard.hpp"

#include <chrono>
#include <concepts>
#include <cstdint>
#include <ratio>
#include <utility>

namespace duolu {

/// A span of time in nanoseconds, about ±292 years. `std::chrono` literals convert to it.
using Duration = std::chrono::nanoseconds;

/// The clock of every Instant: CLOCK_MONOTONIC, read through `Kernel::now()` only. It has no
/// `now()` itself on purpose: a simulated kernel has its own time.
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

/// A deadline that has already passed: do not block.
inline constexpr Instant immediately = Instant::min();

/// `span` in nanoseconds. A span that does not fit becomes Duration::max() or Duration::min(),
/// where the conversions of std::chrono overflow: hours::max(), 300 years, an infinite double.
/// Fractions of a nanosecond are rounded up, so that no deadline is early; NaN becomes zero.
template <class Rep, class Period>
[[nodiscard]] constexpr Duration saturated(std::chrono::duration<Rep, Period> span) noexcept {
  using Factor = std::ratio_divide<Period, std::nano>;
  if constexpr (std::integral<Rep> && Factor::den == 1) {
    constexpr std::int64_t most = Duration::max().count() / Factor::num;
    if (std::cmp_greater(span.count(), most)) return Duration::max();
    if (std::cmp_less(span.count(), -most)) return Duration::min();
    return Duration(static_cast<std::int64_t>(span.count()) * Factor::num);
  } else {
    const auto exact = std::chrono::duration<long double, std::nano>(span).count();
    if (exact != exact) return Duration::zero();
    if (exact >= static_cast<long double>(Duration::max().count())) return Duration::max();
    if (exact <= static_cast<long double>(Duration::min().count())) return Duration::min();
    const auto whole = static_cast<std::int64_t>(exact);
    return Duration(static_cast<long double>(whole) < exact ? whole + 1 : whole);
  }
}

/// A parameter that is a span of time: any std::chrono::duration, also of doubles, saturated(). A
/// negative span has passed at once.
class AnyDuration {
 public:
  constexpr AnyDuration() noexcept = default;
  template <class Rep, class Period>
  constexpr AnyDuration(std::chrono::duration<Rep, Period> span) noexcept
      : span_(saturated(span)) {}
  constexpr operator Duration() const noexcept { return span_; }

 private:
  Duration span_{};
};

/// `start + any`, saturating at `immediately` and `never` instead of overflowing.
[[nodiscard]] constexpr Instant after(Instant start, AnyDuration any) noexcept {
  const Duration span = any;
  if (span > Duration::zero() && start > never - span) return never;
  if (span < Duration::zero() && start < immediately - span) return immediately;
  return start + span;
}

}  // namespace duolu
