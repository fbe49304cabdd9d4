// The arithmetic of the lab, on numbers whose answers are known.
#include "duolu/lab/statistics.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "duolu/base/prng.hpp"
#include "lab/synthetic.hpp"

namespace duolu::lab {
namespace {

std::vector<double> one_to(std::size_t count) {
  std::vector<double> values;
  for (std::size_t i = count; i > 0; --i) values.push_back(static_cast<double>(i));
  return values;
}

TEST(StatisticsTest, quantiles) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(quantile({1, 2, 3, 4, 5}, 0.25), 2);
  EXPECT_EQ(quantile({1, 2}, 1), 2);
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(quartile_spread({1, 2, 3, 4, 5}), 2.0 / 3);
  EXPECT_EQ(quartile_spread({0, 0, 0}), 0);
}

TEST(StatisticsTest, LB1_too_few_values_have_no_interval) {
  for (std::size_t count = 0; count < least_values; ++count) {
    EXPECT_FALSE(estimate(one_to(count)).has_interval()) << count;
    EXPECT_TRUE(std::isinf(estimate(one_to(count)).half_width()));
  }
  EXPECT_TRUE(estimate(one_to(least_values)).has_interval());
}

// What tables of the sign test say: 6 to 8 values are all needed, 9 to 11 leave out one on each
// side.
TEST(StatisticsTest, LB1_intervals_are_those_of_order_statistics) {
  struct Row {
    std::size_t count;
    double low, high;
  };
  for (const Row& row : {Row{6, 1, 6}, Row{8, 1, 8}, Row{9, 2, 8}, Row{11, 2, 10}, Row{12, 3, 10},
                         Row{20, 6, 15}, Row{25, 8, 18}}) {
    const Estimate found = estimate(one_to(row.count));
    EXPECT_EQ(found.low, row.low) << row.count;
    EXPECT_EQ(found.high, row.high) << row.count;
    EXPECT_EQ(found.count, row.count);
  }
}

TEST(StatisticsTest, LB1_an_interval_has_the_median_in_it_as_often_as_it_says) {
  Prng random(1);
  int inside = 0;
  constexpr int times = 2000;
  for (int i = 0; i < times; ++i) {
    std::vector<double> values;
    // Skewed as times are: most are near the least, some are far above.
    for (int k = 0; k < 9; ++k)
      values.push_back(1 / (1 + static_cast<double>(random.below(1'000'000)) / 1e6));
    const Estimate found = estimate(values);
    const double truth = 1 / 1.5;
    inside += found.low <= truth && truth <= found.high ? 1 : 0;
  }
  EXPECT_GE(inside, times * 94 / 100);  // 96.1 % with 9 values
  EXPECT_LE(inside, times * 98 / 100);
}

TEST(StatisticsTest, LB2_phases_that_strike_both_of_a_pair_cancel_out) {
  std::vector<std::pair<double, double>> pairs;
  for (const double weather : {1.0, 3.0, 0.5, 2.0, 1.5, 1.2})
    pairs.emplace_back(10 * weather, 8 * weather);
  const Estimate found = paired_ratio(pairs);
  EXPECT_DOUBLE_EQ(found.value, 0.8);
  EXPECT_DOUBLE_EQ(found.low, 0.8);
  EXPECT_DOUBLE_EQ(found.high, 0.8);
}

TEST(StatisticsTest, a_baseline_of_zero_has_no_ratio) {
  EXPECT_EQ(paired_ratio({{0, 1}, {2, 1}}).count, 1U);
}

// --- growth

const std::vector<double> counts{0, 100, 500, 1000};

Growth growth_with(double exponent, double factor, double noisy) {
  Prng random(3);
  std::vector<std::vector<double>> rounds;
  for (int round = 0; round < 6; ++round) {
    rounds.emplace_back();
    for (const double n : counts) {
      const double added = n == 0 ? 0 : (factor - 1) * std::pow(n / 1000, exponent);
      rounds.back().push_back(4 * (1 + added) * noise(random, noisy));
    }
  }
  return fit_growth(counts, rounds, 1);
}

TEST(StatisticsTest, LB5_the_exponent_is_found_through_noise) {
  for (const double exponent : {0.5, 1.0, 1.5}) {
    const Growth found = growth_with(exponent, 6, 0.01);
    ASSERT_TRUE(found.exponent) << exponent;
    EXPECT_NEAR(found.exponent->value, exponent, 0.1);
    EXPECT_LE(found.exponent->low, found.exponent->value);
    EXPECT_GE(found.exponent->high, found.exponent->value);
    EXPECT_NEAR(found.factor.value, 6, 0.2);
  }
}

TEST(StatisticsTest, LB5_what_does_not_grow_has_no_exponent) {
  EXPECT_FALSE(growth_with(1, 1, 0.01).exponent);
  EXPECT_FALSE(growth_with(1, 1.05, 0.001).exponent);
  EXPECT_LT(growth_with(1, 1, 0.01).factor.high, least_growth);
  EXPECT_FALSE(growth_with(1, 1.5, 0.4).exponent);  // there is too much noise to see the growth
}

TEST(StatisticsTest, LB8_the_seed_decides_the_interval_of_the_exponent) {
  EXPECT_EQ(growth_with(1, 3, 0.05).exponent->low, growth_with(1, 3, 0.05).exponent->low);
}

}  // namespace
}  // namespace duolu::lab
