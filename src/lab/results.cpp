#include "duolu/lab/results.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace duolu::lab {
namespace {

std::string percent(double share) { return std::to_string(std::lround(share * 100)) + " %"; }

std::vector<double> values(const std::vector<Sample>& samples, Measure measure) {
  std::vector<double> found;
  found.reserve(samples.size());
  for (const Sample& sample : samples) found.push_back(sample.*measure);
  return found;
}

}  // namespace

std::size_t Results::subject(std::string_view name) const noexcept {
  return static_cast<std::size_t>(std::find(subjects.begin(), subjects.end(), name) -
                                  subjects.begin());
}

std::vector<Sample> Results::of(std::size_t subject, std::size_t load) const {
  std::vector<Sample> found;
  for (const Sample& sample : samples)
    if (sample.subject == subject && sample.load == load) found.push_back(sample);
  return found;
}

Figures figures_of(const Results& results, std::size_t subject, std::size_t load) {
  const std::vector<Sample> samples = results.of(subject, load);
  const auto middle = [&](Measure measure) { return median(values(samples, measure)); };
  Figures figures{.runs = samples.size(),
                  .rate = estimate(values(samples, &Sample::rate)),
                  .cpu_us = estimate(values(samples, &Sample::cpu_us)),
                  .p50_us = middle(&Sample::p50_us),
                  .p99_us = middle(&Sample::p99_us),
                  .user_share = 0,
                  .switches = middle(&Sample::switches),
                  .server_share = middle(&Sample::server_share),
                  .client_share = middle(&Sample::client_share),
                  .waited_share = middle(&Sample::waited_share)};
  // Not a median: a run has few clock ticks, and their sum has more of them.
  double user = 0;
  double all = 0;
  for (const Sample& sample : samples) {
    const double cpu = sample.cpu_us * static_cast<double>(sample.messages);
    user += sample.user_share * cpu;
    all += cpu;
  }
  figures.user_share = all > 0 ? user / all : 0;
  figures.client_was_limit =
      figures.client_share >= busy_share && figures.server_share < busy_share;
  return figures;
}

bool Comparison::below(double value) const noexcept {
  return refusal.empty() && ratio.high < value;
}
bool Comparison::above(double value) const noexcept { return refusal.empty() && ratio.low > value; }

bool Comparison::no_difference() const noexcept {
  return refusal.empty() && !below(1) && !above(1) && ratio.half_width() <= interval_limit;
}

Comparison compare(const Results& results, std::size_t baseline, std::size_t subject,
                   std::size_t load, Measure measure) {
  std::vector<std::pair<double, double>> pairs;
  const std::vector<Sample> mine = results.of(baseline, load);
  const std::vector<Sample> theirs = results.of(subject, load);
  for (const Sample& sample : theirs)
    for (const Sample& partner : mine)
      if (partner.round == sample.round) pairs.emplace_back(partner.*measure, sample.*measure);
  Comparison comparison{.ratio = paired_ratio(pairs), .refusal = {}};
  const auto refuse = [&](std::string why) {
    comparison.refusal = std::move(why);
    return comparison;
  };
  if (results.one_core) return refuse("server and client shared one core");
  if (pairs.empty()) return refuse("not measured");
  for (const std::size_t each : {baseline, subject}) {
    const Figures figures = figures_of(results, each, load);
    if (measure == &Sample::rate && figures.client_was_limit)
      return refuse("the client was the limit: " + results.subjects[each] + " had time to spare");
    if (figures.waited_share > waited_limit)
      return refuse("others used the cores for " + percent(figures.waited_share) + " of the time");
  }
  if (comparison.ratio.count < least_values)
    return refuse("pairs of runs: " + std::to_string(comparison.ratio.count) +
                  "; a verdict takes " + std::to_string(least_values));
  // Of times only: counts near 0 are far apart in ratio, without any noise of the machine.
  const double spread = measure == &Sample::switches ? 0 : quartile_spread(values(mine, measure));
  if (spread > spread_limit)
    return refuse("too noisy: the quartiles of " + results.subjects[baseline] + " are " +
                  percent(spread) + " apart");
  return comparison;
}

}  // namespace duolu::lab
