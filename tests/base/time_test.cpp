#include "duolu/base/time.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <ratio>

namespace duolu {
namespace {

using namespace std::chrono_literals;

TEST(After, AddsASpan) { EXPECT_EQ(after(Instant(5ns), 7ns), Instant(12ns)); }

TEST(After, SaturatesInsteadOfOverflowing) {
  EXPECT_EQ(after(Instant(1s), Duration::max()), never);
  EXPECT_EQ(after(never, 1ns), never);
  EXPECT_EQ(after(Instant(-1s), Duration::min()), immediately);
}

TEST(After, GoesBackInTime) { EXPECT_EQ(after(Instant(5ns), -7ns), Instant(-2ns)); }

TEST(Saturated, what_fits_is_exact) {
  static_assert(saturated(3h) == Duration(std::int64_t{3} * 3600 * 1'000'000'000));
  static_assert(saturated(std::chrono::milliseconds(-7)) == -7ms);
  static_assert(saturated(Duration::max()) == Duration::max());
  static_assert(saturated(Duration::min()) == Duration::min());
  static_assert(saturated(std::chrono::duration<double>(0.5)) == 500ms);
  static_assert(saturated(std::chrono::duration<std::uint8_t>(200)) == 200s);
}

TEST(Saturated, what_does_not_fit_is_for_ever_or_over) {
  using std::chrono::hours;
  using std::chrono::milliseconds;
  using Unsigned = std::chrono::duration<std::uint64_t, std::milli>;
  using Seconds = std::chrono::duration<double>;
  constexpr double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(saturated(milliseconds::max()), Duration::max());
  EXPECT_EQ(saturated(milliseconds::min()), Duration::min());
  EXPECT_EQ(saturated(hours::max()), Duration::max());
  EXPECT_EQ(saturated(hours::min()), Duration::min());
  EXPECT_EQ(saturated(std::chrono::years(300)), Duration::max());
  EXPECT_EQ(saturated(std::chrono::years(-300)), Duration::min());
  EXPECT_EQ(saturated(Unsigned::max()), Duration::max());
  EXPECT_EQ(saturated(Seconds(infinity)), Duration::max());
  EXPECT_EQ(saturated(Seconds(-infinity)), Duration::min());
  EXPECT_EQ(saturated(Seconds(1e300)), Duration::max());
  EXPECT_EQ(saturated(Seconds(std::numeric_limits<double>::quiet_NaN())), Duration::zero());
}

TEST(Saturated, fractions_are_rounded_up) {
  using Picoseconds = std::chrono::duration<std::int64_t, std::pico>;
  EXPECT_EQ(saturated(Picoseconds(1)), 1ns);
  EXPECT_EQ(saturated(Picoseconds(1000)), 1ns);
  EXPECT_EQ(saturated(Picoseconds(-1500)), -1ns);
  EXPECT_EQ(saturated(std::chrono::duration<double>(1e-10)), 1ns);
}

TEST(After, TakesEveryDuration) {
  const Instant now(5s);
  EXPECT_EQ(after(now, std::chrono::hours::max()), never);
  EXPECT_EQ(after(now, std::chrono::milliseconds::max()), never);
  EXPECT_EQ(after(now, std::chrono::years(300)), never);
  EXPECT_LT(after(now, std::chrono::hours::min()), now);
  EXPECT_EQ(after(now, std::chrono::duration<double>(0.25)), now + 250ms);
}

}  // namespace
}  // namespace duolu
