#include "duolu/base/time.hpp"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace duolu
