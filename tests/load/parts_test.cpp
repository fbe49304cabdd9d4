// What a load is made of: when messages start, and what is in them.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "../../src/load/payload.hpp"
#include "../../src/load/schedule.hpp"

namespace duolu {
namespace {

using namespace std::chrono_literals;

std::vector<Duration> starts(double rate, Arrivals arrivals, std::uint64_t seed, std::size_t n) {
  const Instant origin(1h);
  Schedule schedule(origin, rate, arrivals, seed);
  std::vector<Duration> found;
  for (; found.size() < n; schedule.advance()) found.push_back(schedule.next() - origin);
  return found;
}

TEST(Schedule, constant_starts_do_not_drift) {
  const std::vector<Duration> found = starts(3, Arrivals::constant, 1, 3'000'001);
  EXPECT_EQ(found[0], 0s);
  EXPECT_EQ(found[1], 333'333'333ns);
  EXPECT_EQ(found[3], 1s);
  EXPECT_EQ(found[3'000'000], 1'000'000s);
}

TEST(Schedule, poisson_starts_are_spaced_exponentially) {
  constexpr std::size_t n = 200'000;
  const std::vector<Duration> found = starts(1000, Arrivals::poisson, 7, n);
  ASSERT_TRUE(std::is_sorted(found.begin(), found.end()));
  std::vector<double> gaps_ms;
  for (std::size_t i = 1; i < n; ++i)
    gaps_ms.push_back(static_cast<double>((found[i] - found[i - 1]).count()) / 1e6);
  double sum = 0;
  double squares = 0;
  for (const double gap : gaps_ms) sum += gap, squares += gap * gap;
  const double mean = sum / static_cast<double>(gaps_ms.size());
  EXPECT_NEAR(mean, 1, 0.01);
  EXPECT_NEAR(squares / static_cast<double>(gaps_ms.size()) - mean * mean, 1, 0.03);
  // The share that exceeds t is exp(-t).
  for (const double t : {0.1, 1.0, 3.0}) {
    const auto longer =
        std::count_if(gaps_ms.begin(), gaps_ms.end(), [t](double gap) { return gap > t; });
    EXPECT_NEAR(static_cast<double>(longer) / static_cast<double>(gaps_ms.size()), std::exp(-t),
                0.005);
  }
}

TEST(Schedule, the_same_seed_gives_the_same_starts) {
  EXPECT_EQ(starts(100, Arrivals::poisson, 1, 1000), starts(100, Arrivals::poisson, 1, 1000));
  EXPECT_NE(starts(100, Arrivals::poisson, 1, 1000), starts(100, Arrivals::poisson, 2, 1000));
}

TEST(Payload, every_slice_at_every_place_is_what_single_bytes_say) {
  const Payload payload(1);
  // What a slice must be, from what is asked byte by byte.
  std::string once;
  for (std::size_t i = 0; i < Payload::period; ++i) once += payload.slice(0, i, 1);
  ASSERT_EQ(payload.slice(0, Payload::period, 1), once.substr(0, 1));
  const std::string whole = once + once + once;
  for (std::size_t start = 0; start < Payload::period; ++start) {
    const std::string_view slice = payload.slice(0, start, Payload::most);
    ASSERT_TRUE(slice == std::string_view(whole).substr(start, Payload::most)) << start;
  }
}

TEST(Payload, a_stream_does_not_depend_on_how_it_is_cut) {
  const Payload payload(1);
  std::string whole;
  while (whole.size() < 400'000) whole += payload.slice(3, whole.size(), 1);
  Prng prng(5);
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t position = prng.below(300'000);
    const std::uint64_t size = prng.between(1, Payload::most);
    ASSERT_EQ(payload.slice(3, position, size), whole.substr(position, size));
  }
}

TEST(Payload, what_is_shifted_or_anothers_is_not_the_same) {
  const Payload payload(1);
  for (std::uint64_t shift = 1; shift < 20'000; ++shift)
    ASSERT_NE(payload.slice(0, 1000 + shift, 64), payload.slice(0, 1000, 64)) << shift;
  for (const std::uint64_t size : {64U, 1024U, 4096U, 16'384U, 65'536U})
    ASSERT_NE(payload.slice(0, 100 * size, 16), payload.slice(0, 0, 16)) << size;
  for (std::uint64_t other = 1; other < 20'000; ++other)
    ASSERT_NE(payload.slice(other, 0, 64), payload.slice(0, 0, 64)) << other;
}

}  // namespace
}  // namespace duolu
