#include "apps/load_report.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>

#include "apps/text.hpp"

namespace duolu::apps {
namespace {

using Json = nlohmann::ordered_json;

double us(std::uint64_t ns) { return static_cast<double>(ns) / 1000; }
double us(Duration duration) {
  return us(static_cast<std::uint64_t>(std::max<std::int64_t>(duration.count(), 0)));
}
double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

bool is_open_loop(const Run& run) { return run.options.rate > 0; }

double cpu_us_per_message(const Run& run) {
  const LoadReport& r = run.report;
  return r.answered == 0 ? 0 : us(r.cpu - r.spun) / static_cast<double>(r.answered);
}

struct Quantile {
  const char* name;
  const char* key;
  double percent;
};
constexpr Quantile quantiles[] = {{"p50", "p50", 50},
                                  {"p90", "p90", 90},
                                  {"p99", "p99", 99},
                                  {"p99.9", "p99_9", 99.9},
                                  {"p99.99", "p99_99", 99.99}};

// --- JSON

Json histogram_json(const Histogram& histogram, bool whole) {
  Json json{{"count", histogram.count()},
            {"min", us(histogram.min())},
            {"mean", histogram.mean() / 1000}};
  for (const Quantile& q : quantiles) json[q.key] = us(histogram.percentile(q.percent));
  json["max"] = us(histogram.max());
  if (whole) json["hdr"] = histogram.encode();
  return json;
}

Json summary_json(const Histogram& histogram) {
  if (histogram.count() == 0) return nullptr;
  return {{"p50", us(histogram.percentile(50))},
          {"p99", us(histogram.percentile(99))},
          {"max", us(histogram.max())}};
}

template <class T>
Json or_null(bool there, const T& value) {
  return there ? Json(value) : Json(nullptr);
}

std::string one_line(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, " "));
}

/// A document for standard output. Bytes that are not UTF-8 (as in an errno's text) are replaced.
std::string document(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// --- text

constexpr std::size_t label_width = 15;

std::string plural(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string row(std::string_view label, std::string_view text) {
  return wrapped(fmt::format("  {:<{}}", label, label_width - 2), text, label_width);
}

/// A command line, broken where a shell continues reading.
std::string command_rows(const std::vector<std::string>& words) {
  std::string rows;
  std::string line = fmt::format("  {:<{}}", "again", label_width - 2);
  for (std::size_t i = 0; i < words.size(); ++i) {
    // An option and its value stay together.
    std::string next = words[i];
    if (next.starts_with("--") && i + 1 < words.size() && !words[i + 1].starts_with("--"))
      next += ' ' + words[++i];
    if (line.size() > label_width && line.size() + 1 + next.size() + 2 > line_width) {
      rows += line + " \\\n";
      line.assign(label_width, ' ');
    }
    if (line.size() > label_width) line += ' ';
    line += next;
  }
  return rows + line + '\n';
}

/// Microseconds in at most 8 columns.
std::string short_us(double value) {
  if (value < 1e6 - 0.05) return fmt::format("{:.1f}", value);
  return value < 1e8 - 0.5 ? fmt::format("{:.0f}", value) : fmt::format("{:.2e}", value);
}

/// A rate, with at least three digits.
std::string short_rate(double value) {
  return value == 0 || value >= 100 ? fmt::format("{:.0f}", value) : fmt::format("{:.3g}", value);
}

std::string latency_row(const char* name, const Histogram& histogram) {
  std::string line = fmt::format("  {:<{}}", name, label_width - 2);
  for (const Quantile& q : quantiles)
    line += fmt::format("{:>9}", short_us(us(histogram.percentile(q.percent))));
  return line + fmt::format("{:>9}{:>9}\n", short_us(us(histogram.max())),
                            short_us(histogram.mean() / 1000));
}

std::string latency_table(const Run& run) {
  const LoadReport& r = run.report;
  std::string table = fmt::format("  {:<{}}", "latency, us", label_width - 2);
  for (const Quantile& q : quantiles) table += fmt::format("{:>9}", q.name);
  table += fmt::format("{:>9}{:>9}\n", "max", "mean");
  if (is_open_loop(run)) table += latency_row("corrected", r.corrected);
  table += latency_row(is_open_loop(run) ? "uncorrected" : "", r.uncorrected);
  return table +
         wrapped("  ",
                 is_open_loop(run)
                     ? "corrected: from the instant a message was to start, those never answered "
                       "with their age; uncorrected: from its send to its answer"
                     : "closed loop: latency under saturation; a --rate shows what clients would "
                       "see",
                 2);
}

std::string three(const Histogram& histogram) {
  return fmt::format("p50 {}, p99 {}, max {} us", short_us(us(histogram.percentile(50))),
                     short_us(us(histogram.percentile(99))), short_us(us(histogram.max())));
}

std::string error_list(const LoadReport& report) {
  std::vector<std::string> kinds;
  for (std::size_t i = 0; i < report.errors.size(); ++i)
    if (report.errors[i] != 0)
      kinds.push_back(fmt::format("{} {}", report.errors[i], to_string(static_cast<LoadError>(i))));
  return kinds.empty() ? "none" : fmt::format("{}", fmt::join(kinds, ", "));
}

std::string gap_text(const LoadReport& r) {
  const std::string lost = plural(r.lost, "connection") + " lost";
  if (r.gaps == 1)
    return fmt::format("{:.3f} s in which no connection could be made; {}", seconds(r.gap_time),
                       lost);
  return fmt::format(
      "{} in which no connection could be made, {:.3f} s in all, {:.3f} s the longest; {}", r.gaps,
      seconds(r.gap_time), seconds(r.longest_gap), lost);
}

std::string title(const Run& run) {
  const LoadOptions& o = run.options;
  return fmt::format(
      "{}, {}{}, {}{}{}, backend {}", escape(run.report.target.to_string()),
      plural(o.connections, "connection"),
      o.active != 0 && o.active < o.connections ? fmt::format(" ({} active)", o.active) : "",
      plural(o.size, "byte"), o.pipeline > 1 ? fmt::format(" x {} deep", o.pipeline) : "",
      o.churn != 0 ? fmt::format(", reconnecting after {}", o.churn) : "", run.backend);
}

}  // namespace

std::string to_json(const Run& run) {
  const LoadOptions& o = run.options;
  const LoadReport& r = run.report;
  const bool open = is_open_loop(run);
  Json errors;
  for (std::size_t i = 0; i < r.errors.size(); ++i)
    errors[std::string(to_string(static_cast<LoadError>(i)))] = r.errors[i];
  const double elapsed = seconds(r.elapsed);
  const auto share = [&](Duration part) { return elapsed > 0 ? seconds(part) / elapsed : 0; };
  return document(
      {{"schema", "duolu.load/1"},
       {"version", DUOLU_VERSION},
       {"command", one_line(run.command)},
       {"target", escape(r.target.to_string())},
       {"backend", run.backend},
       {"model", open ? "open" : "closed"},
       {"options",
        {{"connections", o.connections},
         {"active", o.active},
         {"size", o.size},
         {"pipeline", o.pipeline},
         {"churn", o.churn},
         {"rate", or_null(open, o.rate)},
         {"arrivals", or_null(open, o.arrivals == Arrivals::poisson ? "poisson" : "constant")},
         {"warmup_s", seconds(o.warmup)},
         {"duration_s", or_null(o.messages == 0, seconds(o.duration))},
         {"messages", or_null(o.messages != 0, o.messages)},
         {"timeout_s", seconds(o.timeout)},
         {"seed", o.seed}}},
       {"elapsed_s", elapsed},
       {"messages", r.messages},
       {"throughput", r.throughput()},
       {"bytes", r.messages * o.size},
       {"latency_us",
        {{"uncorrected", histogram_json(r.uncorrected, true)},
         {"corrected", open ? histogram_json(r.corrected, true) : Json(nullptr)}}},
       {"unanswered_us",
        r.unanswered.count() != 0 ? histogram_json(r.unanswered, false) : Json(nullptr)},
       {"connect_us",
        r.connecting.count() != 0 ? histogram_json(r.connecting, false) : Json(nullptr)},
       {"connections", {{"opened", r.opened}, {"open_at_end", r.open_at_end}, {"lost", r.lost}}},
       {"gaps",
        {{"count", r.gaps},
         {"total_s", seconds(r.gap_time)},
         {"longest_s", seconds(r.longest_gap)}}},
       {"errors", errors},
       {"client",
        {{"cpu_share", share(r.cpu)},
         {"spin_share", share(r.spun)},
         {"cpu_us_per_message", cpu_us_per_message(run)},
         {"preempted", r.preempted},
         {"start_error_us", summary_json(r.start_error)},
         {"bare_sleep_us", summary_json(r.bare_sleep)}}},
       {"limit", or_null(!r.limit.empty(), "client")},
       {"limit_reason", r.limit},
       {"stopped", or_null(!r.stopped.empty(), r.stopped)}});
}

std::string error_json(const std::vector<std::string>& command, std::string_view error,
                       int exit_code) {
  return document({{"schema", "duolu.load-error/1"},
                   {"version", DUOLU_VERSION},
                   {"command", one_line(command)},
                   {"error", error},
                   {"exit_code", exit_code}});
}

std::string to_text(const Run& run) {
  const LoadOptions& o = run.options;
  const LoadReport& r = run.report;
  std::string text = wrapped("", title(run), 2);
  text += row("messages", fmt::format("{} in {:.2f} s: {} a second, {:.1f} MB a second each way",
                                      r.messages, seconds(r.elapsed), short_rate(r.throughput()),
                                      r.throughput() * static_cast<double>(o.size) / 1e6));
  if (is_open_loop(run))
    text += row("asked for",
                fmt::format("{} a second, {}", short_rate(o.rate),
                            o.arrivals == Arrivals::poisson ? "at random (Poisson)" : "evenly"));
  text += latency_table(run);
  if (r.unanswered.count() != 0)
    text += row("unanswered",
                fmt::format("{}, given up after {}", plural(r.unanswered.count(), "message"),
                            three(r.unanswered)));
  text += row("connections", fmt::format("{} opened, {} open at the end", r.opened, r.open_at_end));
  text += row("connecting", three(r.connecting));
  if (r.gaps != 0) text += row(r.gaps == 1 ? "gap" : "gaps", gap_text(r));
  text += row("errors", error_list(r));
  text += row("this client",
              fmt::format("{:.0f} % busy, {:.2f} us of CPU a message, preempted {}", r.busy() * 100,
                          cpu_us_per_message(run), plural(r.preempted, "time")));
  if (is_open_loop(run)) {
    text += row("start error", three(r.start_error));
    text += row("bare sleep", three(r.bare_sleep) + " (clock_nanosleep, for comparison)");
  }
  if (!r.limit.empty()) text += row("LIMIT", r.limit);
  if (!r.stopped.empty()) text += row("STOPPED", r.stopped);
  return text + command_rows(run.command);
}

std::string to_line(const LoadProgress& progress, std::size_t columns) {
  static constexpr const char* phases[] = {"connecting", "warming up", "measuring", "draining"};
  std::string line = fmt::format("{} {:.1f} s", phases[static_cast<std::size_t>(progress.phase)],
                                 seconds(progress.elapsed));
  std::vector<std::string> parts;
  if (progress.errors != 0) parts.push_back(plural(progress.errors, "error"));
  parts.push_back(plural(progress.answered, "answer"));
  parts.push_back(plural(progress.connections, "connection"));
  std::string_view separator = ": ";
  for (const std::string& part : parts) {
    if (line.size() + separator.size() + part.size() >= columns) continue;
    line.append(separator).append(part);
    separator = ", ";
  }
  return line.size() < columns ? line : std::string();
}

}  // namespace duolu::apps
