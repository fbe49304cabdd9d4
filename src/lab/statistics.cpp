#include "duolu/lab/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "duolu/base/check.hpp"
#include "duolu/base/prng.hpp"

namespace duolu::lab {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// How many of `count` sorted values are outside of the interval on each side; nullopt if even all
/// of them enclose the median with less than 95 %.
std::optional<std::size_t> left_out(std::size_t count) {
  // The probability that exactly k of them are below the median, for k = 0, 1 ...
  double exactly = std::pow(0.5, static_cast<double>(count));
  double outside = 0;
  std::optional<std::size_t> found;
  for (std::size_t k = 0; k < count / 2; ++k) {
    outside += 2 * exactly;
    if (outside > 0.05) break;
    found = k;
    exactly *= static_cast<double>(count - k) / static_cast<double>(k + 1);
  }
  return found;
}

/// The slope of the straight line that is nearest to the points.
double slope(const std::vector<double>& x, const std::vector<double>& y) {
  const auto count = static_cast<double>(x.size());
  double mean_x = 0;
  double mean_y = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    mean_x += x[i] / count;
    mean_y += y[i] / count;
  }
  double products = 0;
  double squares = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    products += (x[i] - mean_x) * (y[i] - mean_y);
    squares += (x[i] - mean_x) * (x[i] - mean_x);
  }
  return products / squares;
}

/// Nullopt if the cost at a count is not above that at 0.
std::optional<double> exponent_of(const std::vector<double>& counts,
                                  const std::vector<std::vector<double>>& rounds,
                                  const std::vector<std::size_t>& chosen) {
  std::vector<double> x;
  std::vector<double> y;
  for (std::size_t i = 1; i < counts.size(); ++i) {
    std::vector<double> added;
    added.reserve(chosen.size());
    for (const std::size_t round : chosen) added.push_back(rounds[round][i] - rounds[round][0]);
    const double middle = median(std::move(added));
    if (middle <= 0) return std::nullopt;
    x.push_back(std::log(counts[i]));
    y.push_back(std::log(middle));
  }
  return slope(x, y);
}

}  // namespace

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (values[above] - values[below]) * (place - static_cast<double>(below));
}

double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

double quartile_spread(const std::vector<double>& values) {
  const double middle = median(values);
  return middle == 0 ? 0 : (quantile(values, 0.75) - quantile(values, 0.25)) / middle;
}

bool Estimate::has_interval() const noexcept { return std::isfinite(low) && std::isfinite(high); }

double Estimate::half_width() const noexcept {
  if (!has_interval() || value == 0) return infinity;
  return std::max(high - value, value - low) / std::abs(value);
}

Estimate estimate(const std::vector<double>& values) {
  Estimate found{
      .value = median(values), .low = -infinity, .high = infinity, .count = values.size()};
  if (const std::optional<std::size_t> outside = left_out(values.size())) {
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    found.low = sorted[*outside];
    found.high = sorted[sorted.size() - 1 - *outside];
  }
  return found;
}

Estimate paired_ratio(const std::vector<std::pair<double, double>>& pairs) {
  std::vector<double> ratios;
  for (const auto& [baseline, subject] : pairs)
    if (baseline != 0) ratios.push_back(subject / baseline);
  return estimate(ratios);
}

Growth fit_growth(const std::vector<double>& counts, const std::vector<std::vector<double>>& rounds,
                  std::uint64_t seed) {
  DUOLU_CHECK(counts.size() >= 3 && counts.front() == 0);
  std::vector<std::pair<double, double>> ends;
  for (const std::vector<double>& costs : rounds) {
    DUOLU_CHECK(costs.size() == counts.size());
    ends.emplace_back(costs.front(), costs.back());
  }
  Growth growth{.factor = paired_ratio(ends), .exponent = {}};
  if (!growth.factor.has_interval() || growth.factor.low <= least_growth) return growth;

  std::vector<std::size_t> chosen(rounds.size());
  for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = i;
  const std::optional<double> fitted = exponent_of(counts, rounds, chosen);
  if (!fitted) return growth;
  constexpr std::size_t resamplings = 999;
  std::vector<double> found;
  Prng random(seed);
  for (std::size_t i = 0; i < resamplings; ++i) {
    for (std::size_t& round : chosen) round = random.below(rounds.size());
    if (const std::optional<double> each = exponent_of(counts, rounds, chosen))
      found.push_back(*each);
  }
  // Those without an exponent belong to one end of the interval, but nothing says to which.
  if (found.size() < resamplings * 19 / 20) return growth;
  growth.exponent = {.value = *fitted,
                     .low = quantile(found, 0.025),
                     .high = quantile(found, 0.975),
                     .count = rounds.size()};
  return growth;
}

}  // namespace duolu::lab
