// The rules of the verdicts. Each needs 95 % intervals, so a verdict either has all of an interval
// on one side of a stated value, or there is none.

#include "duolu/lab/claims.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

namespace duolu::lab {
namespace {

// --- what the rules compare with

/// An exponent of 1 is linear; one between these is called so.
constexpr double least_linear = 0.7;
constexpr double most_linear = 1.3;
/// "As fast": not more than this slower.
constexpr double as_fast = 0.95;
/// "Less": by more than this.
constexpr double clearly_less = 0.95;
/// Context switches a message; a server below this hardly ever waits, and there is nothing to save.
constexpr double hardly_waits = 0.02;

std::string number(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string interval(const Estimate& estimate) {
  if (!estimate.has_interval()) return number(estimate.value, 2);
  return number(estimate.value, 2) + " (" + number(estimate.low, 2) + " to " +
         number(estimate.high, 2) + ")";
}

Claim with(Claim claim, Verdict verdict, std::string figures, std::size_t from = 0) {
  claim.verdict = verdict;
  claim.figures = std::move(figures);
  claim.from = from;
  return claim;
}

/// The load in which that many connections are all active, if there is one.
std::optional<std::size_t> all_active(const Results& results, std::size_t connections) {
  for (std::size_t i = 0; i < results.loads.size(); ++i)
    if (results.loads[i].connections == connections && results.loads[i].idle() == 0) return i;
  return std::nullopt;
}

/// "its cost is 4.10 (3.90 to 4.31) times as high with 1000 idle connections"
std::string growth_text(const GrowthFound& found) {
  return "with " + number(found.idle.back(), 0) + " idle connections its CPU time a message is " +
         interval(found.growth.factor) + " times that without";
}

// --- the claims

Claim grows_linearly(const Results& results, const std::string& name) {
  Claim claim{.name = name + "-linear",
              .text = name + ": the cost grows linearly with idle connections",
              .figures = {}};
  const GrowthFound found = growth_of(results, results.subject(name));
  if (!found.why.empty())
    return with(claim, found.idle.empty() ? Verdict::not_measured : Verdict::cannot_tell,
                found.why);
  const Growth& growth = found.growth;
  std::string figures = growth_text(found);
  if (growth.factor.high < least_growth)
    return with(claim, Verdict::does_not_hold, figures + ": it does not grow");
  if (!growth.exponent) return with(claim, Verdict::cannot_tell, figures);
  figures += "; the added time grows with the power " + interval(*growth.exponent);
  if (growth.exponent->low >= least_linear && growth.exponent->high <= most_linear)
    return with(claim, Verdict::holds, figures);
  if (growth.exponent->high < least_linear || growth.exponent->low > most_linear)
    return with(claim, Verdict::does_not_hold, figures);
  return with(claim, Verdict::cannot_tell, figures);
}

Claim stays_flat(const Results& results, const std::string& name) {
  Claim claim{.name = name + "-flat",
              .text = name + ": the cost does not depend on idle connections",
              .figures = {}};
  const GrowthFound found = growth_of(results, results.subject(name));
  if (!found.why.empty())
    return with(claim, found.idle.empty() ? Verdict::not_measured : Verdict::cannot_tell,
                found.why);
  const Estimate& factor = found.growth.factor;
  if (factor.high < least_growth) return with(claim, Verdict::holds, growth_text(found));
  if (factor.low > least_growth) return with(claim, Verdict::does_not_hold, growth_text(found));
  return with(claim, Verdict::cannot_tell, growth_text(found));
}

/// From the least number of idle connections on with which, and with all more of which, `name`
/// costs more than the baseline.
Claim dearer_with_idle(const Results& results, const std::string& name) {
  Claim claim{.name = name + "-dearer",
              .text = name + " costs more than " + std::string(baseline_name) +
                      " when there are idle connections",
              .figures = {}};
  const std::size_t baseline = results.subject(baseline_name);
  const std::size_t subject = results.subject(name);
  const GrowthFound found = growth_of(results, subject);
  if (!found.why.empty())
    return with(claim, found.idle.empty() ? Verdict::not_measured : Verdict::cannot_tell,
                found.why);
  for (const std::size_t load : found.loads)
    if (results.of(baseline, load).empty())
      return with(claim, Verdict::not_measured, "needs " + std::string(baseline_name));
  std::optional<std::size_t> from;
  std::string figures;
  bool any_open = false;
  for (std::size_t i = found.loads.size(); i-- > 1;) {
    const Comparison each = compare(results, baseline, subject, found.loads[i], &Sample::cpu_us);
    if (!each.refusal.empty()) return with(claim, Verdict::cannot_tell, each.refusal);
    const std::string text = "with " + number(found.idle[i], 0) + " idle " + interval(each.ratio) +
                             " times the CPU time";
    if (!each.above(1)) {
      any_open = !each.below(1) && !each.no_difference();
      if (figures.empty()) figures = text;
      break;
    }
    from = i;
    figures = text;
  }
  if (!from) return with(claim, any_open ? Verdict::cannot_tell : Verdict::does_not_hold, figures);
  if (*from == 1 && !any_open) return with(claim, Verdict::holds, figures);
  return with(claim, Verdict::holds_from, figures, static_cast<std::size_t>(found.idle[*from]));
}

Claim blocking_is_as_fast(const Results& results) {
  Claim claim{
      .name = "one-connection-blocking",
      .text = "one connection: a blocking server is as fast as " + std::string(baseline_name),
      .figures = {}};
  const std::optional<std::size_t> load = all_active(results, 1);
  const std::size_t baseline = results.subject(baseline_name);
  const std::size_t subject = results.subject("blocking");
  if (!load || results.of(baseline, *load).empty() || results.of(subject, *load).empty())
    return with(claim, Verdict::not_measured, "needs blocking, epoll and the load of 1 connection");
  const Comparison found = compare(results, baseline, subject, *load, &Sample::rate);
  if (!found.refusal.empty()) return with(claim, Verdict::cannot_tell, found.refusal);
  const std::string figures = interval(found.ratio) + " times as many messages a second";
  if (found.above(as_fast)) return with(claim, Verdict::holds, figures);
  if (found.below(as_fast)) return with(claim, Verdict::does_not_hold, figures);
  return with(claim, Verdict::cannot_tell, figures);
}

Claim edge_wakes_less(const Results& results) {
  Claim claim{.name = "edge-wakes-less",
              .text = "edge-triggered epoll wakes up less than level-triggered",
              .figures = {}};
  const std::size_t level = results.subject(baseline_name);
  const std::size_t edge = results.subject("epoll-edge");
  // The load in which the level-triggered server waits most often.
  std::optional<std::size_t> load;
  double most = 0;
  for (std::size_t i = 0; i < results.loads.size(); ++i) {
    if (results.of(level, i).empty() || results.of(edge, i).empty()) continue;
    const double switches = figures_of(results, level, i).switches;
    if (!load || switches > most) {
      load = i;
      most = switches;
    }
  }
  if (!load) return with(claim, Verdict::not_measured, "needs epoll and epoll-edge");
  if (most < hardly_waits)
    return with(claim, Verdict::cannot_tell, "both hardly ever wait under these loads");
  const Comparison found = compare(results, level, edge, *load, &Sample::switches);
  if (!found.refusal.empty()) return with(claim, Verdict::cannot_tell, found.refusal);
  const std::string figures = results.loads[*load].title + ": " + interval(found.ratio) +
                              " times the " + number(most, 2) + " switches a message";
  if (found.below(clearly_less)) return with(claim, Verdict::holds, figures);
  if (found.above(clearly_less)) return with(claim, Verdict::does_not_hold, figures);
  return with(claim, Verdict::cannot_tell, figures);
}

}  // namespace

std::string_view to_string(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::holds: return "holds";
    case Verdict::holds_from: return "holds from N on";
    case Verdict::does_not_hold: return "does not hold";
    case Verdict::cannot_tell: return "can't tell at this noise";
    case Verdict::not_measured: return "not measured";
  }
  return "";
}

GrowthFound growth_of(const Results& results, std::size_t subject) {
  GrowthFound found;
  if (subject >= results.subjects.size()) {
    found.why = "the server is missing";
    return found;
  }
  std::vector<std::vector<Sample>> by_load;
  double waited = 0;
  for (std::size_t i = 0; i < results.loads.size(); ++i) {
    if (!results.loads[i].in_series) continue;
    std::vector<Sample> samples = results.of(subject, i);
    if (samples.empty()) continue;
    waited = std::max(waited, figures_of(results, subject, i).waited_share);
    found.loads.push_back(i);
    found.idle.push_back(static_cast<double>(results.loads[i].idle()));
    by_load.push_back(std::move(samples));
  }
  if (found.idle.size() < 3 || found.idle.front() != 0) {
    found.idle.clear();
    found.loads.clear();
    found.why = "needs loads without and with idle connections, three at least";
    return found;
  }
  if (results.one_core) {
    found.why = "server and client shared one core";
    return found;
  }
  if (waited > waited_limit) {
    found.why = "others used the cores for " + number(waited * 100, 0) + " % of the time";
    return found;
  }
  std::vector<std::vector<double>> rounds;
  for (const Sample& first : by_load.front()) {
    std::vector<double> costs;
    for (const std::vector<Sample>& samples : by_load)
      for (const Sample& sample : samples)
        if (sample.round == first.round) costs.push_back(sample.cpu_us);
    if (costs.size() == by_load.size()) rounds.push_back(std::move(costs));
  }
  if (rounds.size() < least_values) {
    found.why = "rounds: " + std::to_string(rounds.size()) + "; a verdict takes " +
                std::to_string(least_values);
    return found;
  }
  found.growth = fit_growth(found.idle, rounds, results.seed);
  return found;
}

std::vector<Claim> judge(const Results& results) {
  std::vector<Claim> claims;
  // What the kernel scans in each call: the interest that is handed over in whole.
  for (const char* name : {"select", "poll"}) claims.push_back(grows_linearly(results, name));
  claims.push_back(stays_flat(results, std::string(baseline_name)));
  for (const char* name : {"select", "poll"}) claims.push_back(dearer_with_idle(results, name));
  claims.push_back(blocking_is_as_fast(results));
  claims.push_back(edge_wakes_less(results));
  return claims;
}

}  // namespace duolu::lab
