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

TEST(Prng, DrawsFromEveryIntervalThereIs) {
  Prng prng(1);
  Prng same(1);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(prng.between(0, UINT64_MAX), same.next());
  EXPECT_EQ(prng.between(UINT64_MAX, UINT64_MAX), UINT64_MAX);
  EXPECT_EQ(prng.between(0, 0), 0U);
  EXPECT_GE(prng.between(1, UINT64_MAX), 1U);
}

TEST(PrngDeathTest, AnIntervalWithoutANumberIsAMistake) {
  Prng prng(1);
  EXPECT_DEATH((void)prng.between(2, 1), "low <= high");
  EXPECT_DEATH((void)prng.below(0), "n > 0");
}

}  // namespace
}  // namespace duolu::test
