// Figures and comparisons of made-up samples.
#include "duolu/lab/results.hpp"

#include <gtest/gtest.h>

#include "lab/synthetic.hpp"

namespace duolu::lab {
namespace {

constexpr std::size_t c100 = 2;

Results two(double second, double noisy = 0.01) {
  return synthetic(
      {"a", "b"},
      [second](const std::string& subject, const Load&) {
        return subject == "a" ? 4.0 : 4.0 * second;
      },
      noisy);
}

Comparison cpu(const Results& results) { return compare(results, 0, 1, c100, &Sample::cpu_us); }
Comparison rate(const Results& results) { return compare(results, 0, 1, c100, &Sample::rate); }

TEST(LabResultsTest, LB2_pairs_are_of_one_round) {
  const Comparison found = cpu(two(1.1));
  EXPECT_TRUE(found.above(1));
  EXPECT_FALSE(found.below(1));
  EXPECT_NEAR(found.ratio.value, 1.1, 0.01);
  EXPECT_LT(found.ratio.half_width(), 0.03);  // the phases of 20 % are not in it
  Results torn = two(1.1);
  std::erase_if(torn.samples, [](const Sample& s) { return s.subject == 0 && s.round == 3; });
  EXPECT_EQ(cpu(torn).ratio.count, 5U);
  EXPECT_EQ(cpu(torn).refusal, "pairs of runs: 5; a verdict takes 6");
}

TEST(LabResultsTest, LB3_one_core) {
  Results results = two(2);
  results.one_core = true;
  EXPECT_EQ(cpu(results).refusal, "server and client shared one core");
  EXPECT_FALSE(cpu(results).above(1));
}

TEST(LabResultsTest, LB3_a_client_that_was_the_limit_makes_rates_useless_only) {
  Results results = two(2);
  for (Sample& sample : results.samples) {
    sample.client_share = 0.99;
    sample.server_share = sample.subject == 0 ? 0.6 : 1;
  }
  EXPECT_TRUE(figures_of(results, 0, c100).client_was_limit);
  EXPECT_FALSE(figures_of(results, 1, c100).client_was_limit);  // both were busy
  EXPECT_EQ(rate(results).refusal, "the client was the limit: a had time to spare");
  EXPECT_TRUE(cpu(results).above(1));
}

TEST(LabResultsTest, LB3_others_used_the_cores) {
  Results results = two(2);
  for (Sample& sample : results.samples)
    if (sample.subject == 1) sample.waited_share = 0.2;
  EXPECT_EQ(cpu(results).refusal, "others used the cores for 20 % of the time");
  // That is also why there were few rounds, when the time was up.
  std::erase_if(results.samples, [](const Sample& sample) { return sample.round > 2; });
  EXPECT_EQ(cpu(results).refusal, "others used the cores for 20 % of the time");
}

TEST(LabResultsTest, LB3_a_noisy_baseline) {
  const Comparison found =
      cpu(synthetic({"a", "b"}, [](const std::string&, const Load&) { return 4.0; }, 0.01, 0.9));
  EXPECT_TRUE(found.refusal.starts_with("too noisy: the quartiles of a are")) << found.refusal;
}

TEST(LabResultsTest, LB4_no_difference_needs_a_narrow_interval) {
  EXPECT_TRUE(cpu(two(1)).no_difference());
  EXPECT_FALSE(cpu(two(1.2)).no_difference());
  const Comparison wide =
      cpu(synthetic({"a", "b"}, [](const std::string&, const Load&) { return 4.0; }, 0.13, 0));
  EXPECT_EQ(wide.refusal, "");
  EXPECT_FALSE(wide.no_difference() || wide.above(1) || wide.below(1));
}

TEST(LabResultsTest, figures_are_medians_of_the_runs) {
  const Results results = two(1);
  const Figures found = figures_of(results, 0, c100);
  EXPECT_EQ(found.runs, 6U);
  EXPECT_NEAR(found.cpu_us.value, 4, 0.8);
  EXPECT_DOUBLE_EQ(found.user_share, 0.1);
  EXPECT_EQ(figures_of(results, 0, 17).runs, 0U);
  EXPECT_EQ(results.subject("b"), 1U);
  EXPECT_EQ(results.subject("c"), 2U);
}

}  // namespace
}  // namespace duolu::lab
