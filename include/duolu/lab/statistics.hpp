// Layer: lab. The arithmetic of interleaved runs: medians with intervals, ratios pair by pair, and
// how a cost grows.
//
// Nothing here assumes a distribution: what disturbs a run on a shared machine is one-sided, and
// comes in phases. An interval is that of a median from order statistics: each of n values is below
// the true median with probability 1/2, so the k-th smallest and the k-th largest enclose it unless
// fewer than k of them are below, or above. It takes 6 values for 95 %, and 9 until the smallest
// and the largest are left out. With fewer there is no interval, and so no verdict.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "duolu/base/standard.hpp"

namespace duolu::lab {

/// The value below which `share` (0 to 1) of them are, interpolated between neighbours. 0 for none.
[[nodiscard]] double quantile(std::vector<double> values, double share);
[[nodiscard]] double median(std::vector<double> values);
/// The distance between the quartiles as a share of the median; 0 if that is 0.
[[nodiscard]] double quartile_spread(const std::vector<double>& values);

/// A median with its interval of at least 95 %. Without enough values the interval is infinite.
struct Estimate {
  double value = 0;
  double low = 0;
  double high = 0;
  std::size_t count = 0;  ///< Of the values.

  /// Whether the interval is finite.
  [[nodiscard]] bool has_interval() const noexcept;
  /// The distance from the value to the farther end, as a share of the value.
  [[nodiscard]] double half_width() const noexcept;
};

/// The fewest values that have an interval.
inline constexpr std::size_t least_values = 6;
[[nodiscard]] Estimate estimate(const std::vector<double>& values);

/// Of (baseline, subject) pairs: the median of subject / baseline. A pair whose baseline is 0 is
/// left out. A slow phase that strikes both of a pair cancels out.
[[nodiscard]] Estimate paired_ratio(const std::vector<std::pair<double, double>>& pairs);

/// How a cost grows with a count that begins at 0.
struct Growth {
  Estimate factor;  ///< The cost at the highest count, in ratio to that at 0.
  /// k of the added cost, cost(n) - cost(0) = b * n^k: 1 is linear. Only if the cost grows by more
  /// than `least_growth`, since noise has no exponent.
  std::optional<Estimate> exponent;
};
/// A cost that has not grown by more than a tenth counts as one that does not grow.
inline constexpr double least_growth = 1.1;

/// `rounds`: of each round the cost at each of `counts`, which begin with 0 and increase; two of
/// them at least are above 0. The exponent is the slope of a line through the logarithms, fitted to
/// the medians; its interval comes from 999 resamplings of the rounds (percentile bootstrap), which
/// `seed` decides.
[[nodiscard]] Growth fit_growth(const std::vector<double>& counts,
                                const std::vector<std::vector<double>>& rounds, std::uint64_t seed);

}  // namespace duolu::lab
