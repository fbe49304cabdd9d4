#include "apps/lab_report.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "apps/text.hpp"
#include "duolu/lab/claims.hpp"

namespace duolu::apps {
namespace {

using Json = nlohmann::ordered_json;
using lab::Comparison;
using lab::Estimate;
using lab::Figures;
using lab::Load;
using lab::Results;
using lab::Sample;

constexpr std::size_t name_width = 14;

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

/// 1234567 as "1,234,567".
std::string grouped(double value) {
  const std::string digits = fmt::format("{:.0f}", value);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

/// Microseconds, with three digits at least, in six columns.
std::string short_us(double value) {
  if (value < 99.995) return fmt::format("{:.2f}", value);
  if (value < 999.95) return fmt::format("{:.1f}", value);
  return value < 999'999.5 ? fmt::format("{:.0f}", value) : fmt::format("{:.0e}", value);
}

/// A rate, in eight columns.
std::string short_rate(double value) {
  return value < 9'999'999 ? grouped(value) : fmt::format("{:.1e}", value);
}

bool measured(const Results& results, std::size_t subject, std::size_t load) {
  return !results.of(subject, load).empty();
}

std::size_t baseline_of(const Results& results) { return results.subject(lab::baseline_name); }

/// The load with the most connections of those in which all are active, or else nothing.
std::optional<std::size_t> busiest(const Results& results) {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < results.loads.size(); ++i)
    if (results.loads[i].idle() == 0 &&
        (!found || results.loads[i].connections > results.loads[*found].connections))
      found = i;
  return found;
}

std::string list(const std::vector<std::string>& names) {
  if (names.size() < 2) return names.empty() ? "" : names.front();
  const std::vector<std::string> but_last(names.begin(), names.end() - 1);
  return fmt::format("{} and {}", fmt::join(but_last, ", "), names.back());
}

std::string paragraph(std::string_view text) { return wrapped("- ", text, 2); }

// --- what it says, in sentences

std::string place(const LabRun& run) {
  const auto fact = [&](std::string_view name) -> std::string {
    for (const MachineFact& each : run.machine)
      if (each.name == name) return each.value.value_or("unknown");
    return "unknown";
  };
  std::string text = fmt::format("On this machine ({}, {}", fact("processor"), fact("kernel"));
  if (run.plan.cores.size() >= 2)
    text +=
        fmt::format("; server on core {}, client on core {}", run.plan.cores[0], run.plan.cores[1]);
  return text + "):";
}

/// Which servers cost least CPU time when everything is active.
std::string cheapest_sentence(const Results& results) {
  const std::optional<std::size_t> load = busiest(results);
  if (!load) return {};
  std::optional<std::size_t> least;
  std::optional<std::size_t> most;
  std::vector<double> costs;
  for (std::size_t i = 0; i < results.subjects.size(); ++i) {
    costs.push_back(lab::figures_of(results, i, *load).cpu_us.value);
    if (!measured(results, i, *load)) continue;
    if (!least || costs[i] < costs[*least]) least = i;
    if (!most || costs[i] > costs[*most]) most = i;
  }
  if (!least || !most || least == most) return {};
  std::string text = fmt::format(
      "{}: {} took the least CPU time of its server, {} us a message, "
      "and {} the most, {} us.",
      results.loads[*load].title, results.subjects[*least], short_us(costs[*least]),
      results.subjects[*most], short_us(costs[*most]));
  std::vector<std::string> like;
  for (std::size_t i = 0; i < results.subjects.size(); ++i) {
    if (i == *least || !measured(results, i, *load)) continue;
    const Comparison found = lab::compare(results, *least, i, *load, &Sample::cpu_us);
    if (!found.refusal.empty()) return text + fmt::format(" No verdict: {}.", found.refusal);
    if (!found.above(1)) like.push_back(results.subjects[i]);
  }
  if (!like.empty())
    text += fmt::format(" What {} more than {} is within the noise.", list(like) + " took",
                        results.subjects[*least]);
  return text;
}

std::string growth_sentence(const Results& results) {
  std::vector<std::string> parts;
  double idle = 0;
  for (std::size_t i = 0; i < results.subjects.size(); ++i) {
    const lab::GrowthFound found = lab::growth_of(results, i);
    if (!found.why.empty()) continue;
    idle = found.idle.back();
    parts.push_back(fmt::format("{} {:.2f} times", results.subjects[i], found.growth.factor.value));
  }
  if (parts.empty()) return {};
  return fmt::format("Beside {} idle connections a message costs {} what it costs without them.",
                     grouped(idle), list(parts));
}

/// What the library costs beside the same by hand.
std::string overhead_sentence(const Results& results) {
  const std::optional<std::size_t> load = busiest(results);
  if (!load) return {};
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < results.subjects.size(); ++i) {
    const std::size_t raw = results.subject("raw-" + results.subjects[i]);
    if (raw == results.subjects.size() || !measured(results, i, *load)) continue;
    const Comparison found = lab::compare(results, raw, i, *load, &Sample::cpu_us);
    if (!found.refusal.empty()) continue;
    parts.push_back(fmt::format("{} {:.2f} ({:.2f} to {:.2f})", results.subjects[i],
                                found.ratio.value, found.ratio.low, found.ratio.high));
  }
  if (parts.empty()) return {};
  return fmt::format("{}: CPU time of a server on the library, in ratio to the same by hand: {}.",
                     results.loads[*load].title, list(parts));
}

// --- tables

/// "0.97 cheaper": CPU time in ratio to the baseline.
std::string against_baseline(const Results& results, std::size_t subject, std::size_t load) {
  const std::size_t baseline = baseline_of(results);
  if (subject == baseline) return "1";
  if (baseline == results.subjects.size() || !measured(results, baseline, load)) return "-";
  const Comparison found = lab::compare(results, baseline, subject, load, &Sample::cpu_us);
  const char* word = !found.refusal.empty()  ? "refused"
                     : found.below(1)        ? "cheaper"
                     : found.above(1)        ? "dearer"
                     : found.no_difference() ? "same"
                                             : "?";
  const double ratio = found.ratio.value;
  return fmt::format("{:<4} {}",
                     ratio < 99.995  ? fmt::format("{:.2f}", ratio)
                     : ratio < 999.5 ? fmt::format("{:.0f}", ratio)
                                     : fmt::format("{:.0e}", ratio),
                     word);
}

std::string load_table(const LabRun& run, std::size_t load) {
  const Results& results = run.results;
  double most = 0;
  bool any_limit = false;
  std::vector<Figures> all;
  for (std::size_t i = 0; i < results.subjects.size(); ++i) {
    all.push_back(lab::figures_of(results, i, load));
    most = std::max(most, all[i].rate.value);
    any_limit |= all[i].client_was_limit;
  }
  if (most == 0) return {};
  constexpr std::size_t bar_width = 7;
  std::string text =
      fmt::format("\n{}, messages of {} bytes\n", results.loads[load].title, run.plan.size);
  text += fmt::format("  {:<{}} {:>9} {:<{}} {:>6} {:>6} {:>6} {:>4} {:>5} {}\n", "",
                      name_width - 1, "a second", "", bar_width, "p50 us", "p99 us", "CPU us",
                      "user", "waits", "to epoll");
  for (std::size_t i = 0; i < results.subjects.size(); ++i) {
    const Figures& f = all[i];
    if (f.runs == 0) continue;
    text += fmt::format("  {:<{}} {:>9} {:<{}} {:>6} {:>6} {:>6} {:>2.0f} % {:>5.2f} {}\n",
                        results.subjects[i], name_width - 1,
                        (f.client_was_limit ? ">" : "") + short_rate(f.rate.value),
                        bar(f.rate.value / most, bar_width), bar_width, short_us(f.p50_us),
                        short_us(f.p99_us), short_us(f.cpu_us.value), f.user_share * 100,
                        f.switches, against_baseline(results, i, load));
  }
  if (any_limit)
    text += wrapped("  > ",
                    "the client was busy and the server was not: the server can do more, and "
                    "the rate says nothing about it",
                    4);
  return text;
}

std::string series_table(const LabRun& run) {
  const Results& results = run.results;
  std::vector<std::size_t> loads;
  for (std::size_t i = 0; i < results.loads.size(); ++i)
    if (results.loads[i].in_series) loads.push_back(i);
  if (loads.size() < 2) return {};
  const std::size_t last = loads.back();
  std::vector<std::vector<double>> costs;
  double most = 0;
  for (std::size_t i = 0; i < results.subjects.size(); ++i) {
    costs.emplace_back();
    for (const std::size_t load : loads)
      costs[i].push_back(lab::figures_of(results, i, load).cpu_us.value);
    most = std::max(most, costs[i].back());
  }
  if (most == 0) return {};
  constexpr std::size_t bar_width = 12;
  std::string text = fmt::format(
      "\n{} active connections beside idle ones: CPU time of the server, us a message\n",
      results.loads[last].active);
  text += fmt::format("  {:<{}}", "idle", name_width);
  for (const std::size_t load : loads)
    text += fmt::format("{:>9}", grouped(static_cast<double>(results.loads[load].idle())));
  text += fmt::format("  {:<{}}  {}\n", "", bar_width, "power");
  for (std::size_t i = 0; i < results.subjects.size(); ++i) {
    if (std::all_of(costs[i].begin(), costs[i].end(), [](double cost) { return cost == 0; }))
      continue;
    text += fmt::format("  {:<{}}", results.subjects[i], name_width);
    for (const double cost : costs[i])
      text += fmt::format("{:>9}", cost == 0 ? "-" : short_us(cost));
    std::string power;
    if (const lab::GrowthFound found = lab::growth_of(results, i); !found.why.empty())
      power = "refused";
    else if (found.growth.factor.high < lab::least_growth)
      power = "flat";
    else if (found.growth.exponent)
      power = fmt::format("{:.2f}", found.growth.exponent->value);
    else
      power = "?";
    text += fmt::format("  {:<{}}  {}\n", bar(costs[i].back() / most, bar_width), bar_width, power);
  }
  return text;
}

std::string claims_text(const Results& results) {
  std::string text = "\nWhat tutorials claim\n";
  for (const lab::Claim& claim : lab::judge(results)) {
    std::string verdict(to_string(claim.verdict));
    if (claim.verdict == lab::Verdict::holds_from)
      verdict = fmt::format("holds from {}", claim.from);
    if (claim.verdict == lab::Verdict::cannot_tell) verdict = "can't tell";
    text += wrapped(fmt::format("  {:<16}", verdict), claim.text, 18);
    if (!claim.figures.empty()) text += wrapped(std::string(18, ' '), claim.figures, 18);
  }
  return text;
}

/// Why comparisons with the baseline were refused: of reasons that differ in their figures, one.
std::vector<std::string> refusals(const Results& results) {
  std::vector<std::string> found;
  std::set<std::string> kinds;
  const std::size_t baseline = baseline_of(results);
  for (std::size_t load = 0; load < results.loads.size(); ++load) {
    if (baseline == results.subjects.size() || !measured(results, baseline, load)) continue;
    for (std::size_t i = 0; i < results.subjects.size(); ++i) {
      if (i == baseline || !measured(results, i, load)) continue;
      const Comparison each = lab::compare(results, baseline, i, load, &Sample::cpu_us);
      std::string kind = each.refusal;
      std::erase_if(kind, [](char c) { return c >= '0' && c <= '9'; });
      if (!kind.empty() && kinds.insert(kind).second) found.push_back(each.refusal);
    }
  }
  return found;
}

std::string notes_text(const LabRun& run) {
  std::string text;
  for (const std::string& note : run.notes) text += paragraph(note);
  for (const LabRun::Model& model : run.models)
    if (!model.missing.empty())
      text += paragraph(fmt::format("{} is left out: {}", model.name, model.missing));
  const Results& results = run.results;
  for (const lab::RunFailure& failure : results.failures)
    text += paragraph(fmt::format("{} failed ({}): {}", results.subjects[failure.subject],
                                  results.loads[failure.load].title, escape(failure.why)));
  if (!results.incomplete.empty())
    text += paragraph(fmt::format("not complete: {}", results.incomplete));
  for (const std::string& refusal : refusals(results)) text += paragraph("refused: " + refusal);
  return text.empty() ? text : "\nNotes\n" + text;
}

// --- JSON

Json estimate_json(const Estimate& estimate) {
  const auto finite = [](double value) {
    return std::isfinite(value) ? Json(value) : Json(nullptr);
  };
  return {{"value", estimate.value},
          {"low", finite(estimate.low)},
          {"high", finite(estimate.high)},
          {"count", estimate.count}};
}

Json comparison_json(const Comparison& comparison) {
  const char* verdict = !comparison.refusal.empty()  ? "refused"
                        : comparison.below(1)        ? "less"
                        : comparison.above(1)        ? "more"
                        : comparison.no_difference() ? "no difference"
                                                     : "cannot tell";
  return {{"ratio", estimate_json(comparison.ratio)},
          {"verdict", verdict},
          {"refusal", comparison.refusal}};
}

Json figures_json(const Results& results, std::size_t subject, std::size_t load) {
  const Figures f = lab::figures_of(results, subject, load);
  const std::size_t baseline = baseline_of(results);
  const bool compared = baseline != results.subjects.size() && subject != baseline &&
                        measured(results, baseline, load);
  const auto against = [&](lab::Measure measure) {
    return compared ? comparison_json(lab::compare(results, baseline, subject, load, measure))
                    : Json(nullptr);
  };
  return {{"model", results.subjects[subject]},
          {"load", results.loads[load].name},
          {"runs", f.runs},
          {"rate", estimate_json(f.rate)},
          {"p50_us", f.p50_us},
          {"p99_us", f.p99_us},
          {"cpu_us", estimate_json(f.cpu_us)},
          {"user_share", f.user_share},
          {"switches", f.switches},
          {"server_share", f.server_share},
          {"client_share", f.client_share},
          {"waited_share", f.waited_share},
          {"limit", f.client_was_limit ? Json("client") : Json(nullptr)},
          {"rate_to_baseline", against(&Sample::rate)},
          {"cpu_to_baseline", against(&Sample::cpu_us)}};
}

Json growth_json(const Results& results, std::size_t subject) {
  const lab::GrowthFound found = lab::growth_of(results, subject);
  const bool there = found.why.empty();
  return {{"model", results.subjects[subject]},
          {"idle", found.idle},
          {"factor", there ? estimate_json(found.growth.factor) : Json(nullptr)},
          {"exponent",
           there && found.growth.exponent ? estimate_json(*found.growth.exponent) : Json(nullptr)},
          {"refusal", found.why}};
}

Json sample_json(const Results& results, const Sample& sample) {
  return {{"round", sample.round + 1},
          {"model", results.subjects[sample.subject]},
          {"load", results.loads[sample.load].name},
          {"elapsed_s", sample.elapsed_s},
          {"messages", sample.messages},
          {"rate", sample.rate},
          {"p50_us", sample.p50_us},
          {"p99_us", sample.p99_us},
          {"cpu_us", sample.cpu_us},
          {"user_share", sample.user_share},
          {"switches", sample.switches},
          {"server_share", sample.server_share},
          {"client_share", sample.client_share},
          {"waited_share", sample.waited_share}};
}

}  // namespace

std::string bar(double share, std::size_t width) {
  if (!(share > 0)) return {};
  const double marks = std::round(std::min(share, 1.0) * static_cast<double>(width));
  return std::string(std::max<std::size_t>(1, static_cast<std::size_t>(marks)), '#');
}

std::string to_text(const LabRun& run) {
  const Results& results = run.results;
  std::string text = wrapped("", place(run), 2);
  for (const std::string& sentence :
       {cheapest_sentence(results), growth_sentence(results), overhead_sentence(results)})
    if (!sentence.empty()) text += paragraph(sentence);
  if (results.samples.empty()) text += paragraph("nothing was measured");
  for (std::size_t i = 0; i < results.loads.size(); ++i)
    if (results.loads[i].idle() == 0) text += load_table(run, i);
  text += series_table(run);
  if (!results.samples.empty()) text += claims_text(results);
  text += notes_text(run);
  text += fmt::format("\n{} runs of {} ms in {} rounds, {:.0f} s in all; docs/lab.md explains it\n",
                      results.samples.size(), run.plan.duration / std::chrono::milliseconds(1),
                      results.rounds, results.seconds);
  return text + wrapped("again: ", fmt::format("{}", fmt::join(run.command, " ")), 2);
}

std::string to_json(const LabRun& run) {
  const Results& results = run.results;
  Json machine = Json::object();
  for (const MachineFact& fact : run.machine) {
    std::string key = fact.name;
    std::replace(key.begin(), key.end(), ' ', '_');
    machine[key] = fact.value ? Json(*fact.value) : Json(nullptr);
  }
  Json models = Json::array();
  for (const LabRun::Model& model : run.models)
    models.push_back({{"name", model.name},
                      {"kind", model.kind},
                      {"summary", model.summary},
                      {"works", model.missing.empty()},
                      {"reason", model.missing}});
  Json loads = Json::array();
  for (const Load& load : results.loads)
    loads.push_back({{"name", load.name},
                     {"title", load.title},
                     {"connections", load.connections},
                     {"active", load.active},
                     {"in_series", load.in_series}});
  Json figures = Json::array();
  for (std::size_t load = 0; load < results.loads.size(); ++load)
    for (std::size_t i = 0; i < results.subjects.size(); ++i)
      if (measured(results, i, load)) figures.push_back(figures_json(results, i, load));
  Json growths = Json::array();
  for (std::size_t i = 0; i < results.subjects.size(); ++i)
    growths.push_back(growth_json(results, i));
  Json claims = Json::array();
  for (const lab::Claim& claim : lab::judge(results))
    claims.push_back(
        {{"name", claim.name},
         {"claim", claim.text},
         {"verdict", to_string(claim.verdict)},
         {"from", claim.verdict == lab::Verdict::holds_from ? Json(claim.from) : Json(nullptr)},
         {"figures", claim.figures}});
  Json failures = Json::array();
  for (const lab::RunFailure& failure : results.failures)
    failures.push_back({{"model", results.subjects[failure.subject]},
                        {"load", results.loads[failure.load].name},
                        {"reason", escape(failure.why)}});
  Json samples = Json::array();
  for (const Sample& sample : results.samples) samples.push_back(sample_json(results, sample));
  const Json document{
      {"schema", "duolu.lab/1"},
      {"version", DUOLU_VERSION},
      {"command", fmt::format("{}", fmt::join(run.command, " "))},
      {"machine", machine},
      {"method",
       {{"pace", run.pace},
        {"rounds", results.rounds},
        {"warmup_s", seconds(run.plan.warmup)},
        {"duration_s", seconds(run.plan.duration)},
        {"size", run.plan.size},
        {"seed", results.seed},
        {"cores", run.plan.cores},
        {"one_core", results.one_core},
        {"baseline", lab::baseline_name}}},
      {"elapsed_s", results.seconds},
      {"incomplete", results.incomplete.empty() ? Json(nullptr) : Json(results.incomplete)},
      {"notes", run.notes},
      {"models", models},
      {"loads", loads},
      {"figures", figures},
      {"growth", growths},
      {"claims", claims},
      {"failures", failures},
      {"samples", samples}};
  return document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string to_line(const lab::LabProgress& progress, std::size_t columns) {
  std::string line = fmt::format("run {} of {}", progress.done + 1, progress.runs);
  std::vector<std::string> parts;
  if (progress.left > Duration::zero())
    parts.push_back(fmt::format("{:.0f} s left", std::ceil(seconds(progress.left))));
  parts.push_back(fmt::format("{}, {}", progress.subject, progress.load));
  std::string_view separator = ": ";
  for (const std::string& part : parts) {
    if (line.size() + separator.size() + part.size() >= columns) continue;
    line.append(separator).append(part);
    separator = ", ";
  }
  return line.size() < columns ? line : std::string();
}

}  // namespace duolu::apps
