#include "duolu/base/prng.hpp"

#include <gtest/gtest.h>

#include <array>

namespace duolu::test {
namespace {

TEST(Prng, GivesThePublishedSequence) {
  Prng prng(1234567);
  EXPECT_EQ(prng.next(), 6457827717110365317U);
  EXPECT_EQ(prng.next(), 3203168211198807973U);
  EXPECT_EQ(prng.next(), 9817491932198370423U);
  EXPECT_EQ(prng.next(), 4593380528125082431U);
  EXPECT_EQ(prng.next(), 16408922859458223821U);
}

TEST(Prng, StaysWithinItsLimitsAndReachesThem) {
  Prng prng(1);
  std::array<int, 4> seen{};
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t n = prng.between(3, 6);
    ASSERT_GE(n, 3U);
    ASSERT_LE(n, 6U);
    ++seen.at(static_cast<std::size_t>(n - 3));
  }
  for (const int count : seen) EXPECT_GT(count, 150);
  EXPECT_EQ(prng.below(1), 0U);
  EXPECT_FALSE(prng.chance(0, 5));
  EXPECT_TRUE(prng.chance(5, 5));
}

}  // namespace
}  // namespace duolu::test
