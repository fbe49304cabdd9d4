#include "duolu/load/histogram.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "duolu/base/prng.hpp"

namespace duolu {
namespace {

/// Values of all magnitudes.
std::vector<std::uint64_t> many_values(std::uint64_t seed, std::size_t count) {
  Prng prng(seed);
  std::vector<std::uint64_t> values;
  for (std::size_t i = 0; i < count; ++i)
    values.push_back(prng.below(Histogram::default_highest >> prng.below(42)));
  return values;
}

TEST(Histogram, percentiles_are_exact_to_a_thousandth) {
  std::vector<std::uint64_t> values = many_values(1, 20'001);
  Histogram histogram;
  for (const std::uint64_t value : values) histogram.record(value);
  std::sort(values.begin(), values.end());
  EXPECT_EQ(histogram.count(), values.size());
  EXPECT_EQ(histogram.min(), values.front());
  EXPECT_EQ(histogram.max(), values.back());
  for (const double percent : {0.0, 0.01, 1.0, 25.0, 50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
    const auto rank = static_cast<std::size_t>(
        std::max(1.0, std::ceil(percent / 100 * static_cast<double>(values.size()))));
    const auto exact = static_cast<double>(values[rank - 1]);
    const auto found = static_cast<double>(histogram.percentile(percent));
    EXPECT_GE(found, exact) << percent;
    EXPECT_LE(found, exact * 1.001 + 1) << percent;
  }
}

TEST(Histogram, small_values_are_exact) {
  Histogram histogram;
  for (std::uint64_t value = 0; value < 2048; ++value) histogram.record(value);
  EXPECT_EQ(histogram.percentile(50), 1023U);
  EXPECT_EQ(histogram.percentile(100), 2047U);
  EXPECT_DOUBLE_EQ(histogram.mean(), 1023.5);
}

TEST(Histogram, figures_lie_between_the_smallest_and_the_largest) {
  for (const std::uint64_t value : many_values(3, 30)) {
    for (const std::uint64_t spread : {0U, 1U, 7U}) {
      Histogram histogram;
      histogram.record(value);
      histogram.record(value + spread);
      const Histogram back = Histogram::decode(histogram.encode()).value();
      for (const Histogram& one : {histogram, back}) {
        EXPECT_GE(one.mean(), static_cast<double>(one.min())) << value;
        EXPECT_LE(one.mean(), static_cast<double>(one.max())) << value;
        EXPECT_GE(one.percentile(0), one.min()) << value;
        EXPECT_LE(one.percentile(100), one.max()) << value;
      }
    }
  }
}

TEST(Histogram, an_empty_one_says_zero) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.min(), 0U);
  EXPECT_EQ(histogram.max(), 0U);
  EXPECT_EQ(histogram.percentile(99), 0U);
  EXPECT_EQ(histogram.mean(), 0);
  EXPECT_EQ(Histogram::decode(histogram.encode()), histogram);
}

TEST(Histogram, what_is_too_large_counts_as_the_largest) {
  Histogram histogram(1000);
  histogram.record(5000);
  EXPECT_EQ(histogram.max(), 1000U);
  EXPECT_EQ(histogram.percentile(50), 1000U);
}

TEST(Histogram, merging_loses_nothing) {
  const std::vector<std::uint64_t> values = many_values(2, 5000);
  Histogram whole;
  Histogram parts[3];
  for (std::size_t i = 0; i < values.size(); ++i) {
    whole.record(values[i], 1 + i % 3);
    parts[i % 3].record(values[i], 1 + i % 3);
  }
  Histogram sum;
  for (const Histogram& part : parts) sum.merge(part);
  EXPECT_EQ(sum, whole);
  EXPECT_EQ(sum.min(), whole.min());
  EXPECT_EQ(sum.max(), whole.max());
  EXPECT_EQ(sum.count(), whole.count());
  sum.merge(Histogram());
  EXPECT_EQ(sum.min(), whole.min());
}

TEST(Histogram, the_exchange_format_is_lossless) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Histogram histogram;
    Prng prng(seed);
    for (const std::uint64_t value : many_values(seed, 1 + prng.below(3000)))
      histogram.record(value, 1 + (prng.next() >> prng.between(20, 63)));
    const std::optional<Histogram> back = Histogram::decode(histogram.encode());
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(*back, histogram);
    EXPECT_EQ(back->count(), histogram.count());
    EXPECT_EQ(back->percentile(99), histogram.percentile(99));
    EXPECT_EQ(back->highest(), histogram.highest());
  }
}

// Written by hdr-histogram-js 3.0.1 (load.hdr_histogram_js compares many more, where node is).
TEST(Histogram, another_implementations_text_is_read) {
  Histogram same;
  same.record(0, 3);
  same.record(1, 1);
  same.record(2047, 2);
  same.record(2048, 5);
  same.record(1'000'000, 100);
  same.record(999'999'999, 1'000'000'007);
  same.record(3'599'999'999'999, 1);
  const std::optional<Histogram> read = Histogram::decode(
      "HISTFAAAAD54nJNpmSzMwMAgzsDAwMjAwMDMAAGMDAzMbgY7FjDA+GxMP+VZuPb3MZ5gXDifsW/FtZ3s6/"
      "cwMgEA86ML9"
      "Q==");
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(*read, same);
  EXPECT_EQ(read->count(), 1'000'000'119U);
  EXPECT_EQ(read->percentile(50), 1'000'341'503U);
}

TEST(Histogram, what_is_no_histogram_is_refused) {
  Histogram histogram;
  for (const std::uint64_t value : many_values(3, 100)) histogram.record(value);
  const std::string good = histogram.encode();
  EXPECT_FALSE(Histogram::decode(""));
  EXPECT_FALSE(Histogram::decode("HIST"));
  EXPECT_FALSE(Histogram::decode("not base64 at all"));
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(Histogram::decode(good.substr(0, size))) << size;
  // Bytes changed at random: a histogram or nothing, but nothing worse.
  Prng prng(4);
  for (int round = 0; round < 5000; ++round) {
    std::string text = good;
    for (std::uint64_t i = 0; i <= prng.below(4); ++i)
      text[prng.below(text.size())] = "ABCxyz019+/="[prng.below(12)];
    (void)Histogram::decode(text);
  }
}

}  // namespace
}  // namespace duolu
