// duolu load: the command line around the load engine, and its report as text and as JSON. The JSON
// is described by docs/schema/duolu.load-1.json.

#include "duolu/load/load.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <atomic>
#include <nlohmann/json.hpp>

#include "apps/journal.hpp"
#include "apps/options.hpp"
#include "apps/text.hpp"
#include "apps/verbs.hpp"

namespace duolu::apps {
namespace {

using Json = nlohmann::ordered_json;

struct LoadArguments {
  std::string address;
  std::string connections = "10";
  std::string active;
  std::string duration;
  std::string messages;
  std::string size = "64";
  std::string pipeline = "1";
  std::string rate;
  std::string arrivals;
  std::string churn;
  std::string warmup;
  std::string timeout = "5s";
  std::string seed = "1";
  std::string backend = "auto";
  bool allow_remote = false;
  bool json = false;
};

// --- arguments

LoadOptions load_options(const LoadArguments& arguments) {
  LoadOptions options;
  options.connections = count_argument("--connections", arguments.connections, "100 or 10k");
  options.active = options.connections;
  if (!arguments.active.empty())
    options.active = count_argument("--active", arguments.active, "100 or 10k");
  if (options.active > options.connections)
    throw Failure(exit_usage, fmt::format("--active {}: there are only {} --connections",
                                          options.active, options.connections));
  options.size = count_argument("--size", arguments.size, "64 or 16KiB");
  options.pipeline = count_argument("--pipeline", arguments.pipeline, "1 or 16");
  // Bytes on their way are the server's to keep; a slip of the finger shall not fill the memory.
  constexpr std::uint64_t most_size = std::uint64_t{1} << 30U;
  constexpr std::uint64_t most_pipeline = 65'536;
  if (options.size > most_size) throw Failure(exit_usage, "--size: 1GiB at most");
  if (options.pipeline > most_pipeline) throw Failure(exit_usage, "--pipeline: 65536 at most");
  if (!arguments.churn.empty())
    options.churn = count_argument("--churn", arguments.churn, "1 or 100");
  if (!arguments.rate.empty()) {
    options.rate = static_cast<double>(count_argument("--rate", arguments.rate, "1000 or 20k"));
    if (options.rate > 1e6)
      throw Failure(exit_usage, "--rate: 1M at most; one thread does not start more");
  }
  if (!arguments.arrivals.empty() && options.rate == 0)
    throw Failure(exit_usage, "--arrivals spaces the starts of an open loop: give a --rate");
  if (arguments.arrivals == "poisson") options.arrivals = Arrivals::poisson;
  if (!arguments.messages.empty())
    options.messages = count_argument("--messages", arguments.messages, "1000 or 1M");
  if (!arguments.duration.empty())
    options.duration = duration_argument("--duration", arguments.duration);
  options.timeout = duration_argument("--timeout", arguments.timeout);
  if (options.duration == Duration::zero() || options.timeout == Duration::zero())
    throw Failure(exit_usage, "--duration and --timeout must be more than zero");
  if (!arguments.warmup.empty())
    options.warmup = duration_argument("--warmup", arguments.warmup);
  else if (options.messages == 0)
    options.warmup = std::chrono::milliseconds(500);
  const std::optional<std::uint64_t> seed = parse_count(arguments.seed);
  if (!seed) throw Failure(exit_usage, "--seed: not a number");
  options.seed = *seed;
  return options;
}

/// The options that take a value, as --help and the line to repeat a run have them.
struct LoadOption {
  const char* name;
  std::string LoadArguments::* value;
  const char* type;
  const char* help;
};
constexpr LoadOption load_option_table[] = {
    {"--connections", &LoadArguments::connections, "N", "Connections to make [10]"},
    {"--active", &LoadArguments::active, "N", "How many of them send; the rest idles [all]"},
    {"--duration", &LoadArguments::duration, "D", "How long to measure [10s]"},
    {"--messages", &LoadArguments::messages, "N", "Measure so many messages instead"},
    {"--size", &LoadArguments::size, "B", "Bytes in a message [64]"},
    {"--pipeline", &LoadArguments::pipeline, "P",
     "Messages on their way at a time on a connection [1]"},
    {"--rate", &LoadArguments::rate, "R",
     "Open loop: start R messages a second, whatever the\nserver does [closed loop]"},
    {"--arrivals", &LoadArguments::arrivals, "HOW", "constant, poisson (with --rate) [constant]"},
    {"--churn", &LoadArguments::churn, "K", "Connect anew after K messages [never]"},
    {"--warmup", &LoadArguments::warmup, "D", "Load before measuring [500ms; 0 with --messages]"},
    {"--timeout", &LoadArguments::timeout, "D", "Give up when nothing comes back so long [5s]"},
    {"--seed", &LoadArguments::seed, "N", "Of payload and random arrivals [1]"}};

/// What to type to have the same again; only what differs from the defaults.
std::string command_line(const LoadArguments& arguments) {
  std::string line = "duolu load " + escape(arguments.address);
  const LoadArguments defaults;
  for (const LoadOption& option : load_option_table)
    if (arguments.*option.value != defaults.*option.value)
      line += fmt::format(" {} {}", option.name, escape(arguments.*option.value));
  if (arguments.backend != defaults.backend) line += " --backend " + arguments.backend;
  if (arguments.allow_remote) line += " --allow-remote";
  return line;
}

std::vector<Address> find_target(Kernel& kernel, const LoadArguments& arguments) {
  std::vector<Address> found = target_argument(kernel, arguments.address);
  for (const Address& address : found)
    if (!arguments.allow_remote && !address.is_loopback())
      throw Failure(exit_usage,
                    fmt::format("{} is not this machine. A load can bring a server down: if it is "
                                "yours to load, add --allow-remote",
                                address.to_string()));
  return found;
}

// --- the report

double us(std::uint64_t ns) { return static_cast<double>(ns) / 1000; }

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

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

template <class T>
Json or_null(bool there, const T& value) {
  return there ? Json(value) : Json(nullptr);
}

/// Everything a run is known by.
struct Run {
  const LoadArguments& arguments;
  const LoadOptions& options;
  std::string target;
  std::string backend;
  LoadReport report;

  [[nodiscard]] bool open_loop() const { return options.rate > 0; }
  [[nodiscard]] double cpu_us_per_message() const {
    return report.answered == 0 ? 0
                                : us(static_cast<std::uint64_t>(std::max<std::int64_t>(
                                      (report.cpu - report.spun).count(), 0))) /
                                      static_cast<double>(report.answered);
  }
};

Json to_json(const Run& run) {
  const LoadOptions& o = run.options;
  const LoadReport& r = run.report;
  Json errors;
  for (std::size_t i = 0; i < r.errors.size(); ++i)
    errors[std::string(to_string(static_cast<LoadError>(i)))] = r.errors[i];
  const double elapsed = seconds(r.elapsed);
  const auto share = [&](Duration part) { return elapsed > 0 ? seconds(part) / elapsed : 0; };
  return {{"schema", "duolu.load/1"},
          {"version", DUOLU_VERSION},
          {"command", command_line(run.arguments)},
          {"target", run.target},
          {"backend", run.backend},
          {"model", run.open_loop() ? "open" : "closed"},
          {"options",
           {{"connections", o.connections},
            {"active", o.active},
            {"size", o.size},
            {"pipeline", o.pipeline},
            {"churn", o.churn},
            {"rate", or_null(run.open_loop(), o.rate)},
            {"arrivals",
             or_null(run.open_loop(), o.arrivals == Arrivals::poisson ? "poisson" : "constant")},
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
            {"corrected", run.open_loop() ? histogram_json(r.corrected, true) : Json(nullptr)}}},
          {"connect_us",
           r.connecting.count() != 0 ? histogram_json(r.connecting, false) : Json(nullptr)},
          {"connections", {{"opened", r.opened}, {"open_at_end", r.open_at_end}}},
          {"errors", errors},
          {"client",
           {{"cpu_share", share(r.cpu)},
            {"spin_share", share(r.spun)},
            {"cpu_us_per_message", run.cpu_us_per_message()},
            {"preempted", r.preempted},
            {"start_error_us", summary_json(r.start_error)},
            {"bare_sleep_us", summary_json(r.bare_sleep)}}},
          {"limit", or_null(!r.limit.empty(), "client")},
          {"limit_reason", r.limit},
          {"stopped", or_null(!r.stopped.empty(), r.stopped)}};
}

std::string latency_row(const char* name, const Histogram& histogram) {
  std::string row = fmt::format("  {:<13}", name);
  for (const Quantile& q : quantiles)
    row += fmt::format("{:>11.1f}", us(histogram.percentile(q.percent)));
  return row + fmt::format("{:>11.1f}{:>11.1f}\n", us(histogram.max()), histogram.mean() / 1000);
}

std::string error_list(const LoadReport& report) {
  std::vector<std::string> kinds;
  for (std::size_t i = 0; i < report.errors.size(); ++i)
    if (report.errors[i] != 0)
      kinds.push_back(fmt::format("{} {}", report.errors[i], to_string(static_cast<LoadError>(i))));
  return kinds.empty() ? "none" : fmt::format("{}", fmt::join(kinds, ", "));
}

std::string three(const Histogram& histogram) {
  return fmt::format("p50 {:.1f}, p99 {:.1f}, max {:.1f} us", us(histogram.percentile(50)),
                     us(histogram.percentile(99)), us(histogram.max()));
}

std::string to_text(const Run& run) {
  const LoadOptions& o = run.options;
  const LoadReport& r = run.report;
  std::string text =
      fmt::format("{}, {} connections{}, {} bytes{}{}, backend {}\n", run.target, o.connections,
                  o.active < o.connections ? fmt::format(" ({} active)", o.active) : "", o.size,
                  o.pipeline > 1 ? fmt::format(" x {} deep", o.pipeline) : "",
                  o.churn != 0 ? fmt::format(", anew after {}", o.churn) : "", run.backend);
  const double elapsed = seconds(r.elapsed);
  text += fmt::format("  {:<13}{} in {:.2f} s: {:.0f} a second, {:.1f} MB a second each way\n",
                      "messages", r.messages, elapsed, r.throughput(),
                      r.throughput() * static_cast<double>(o.size) / 1e6);
  if (run.open_loop())
    text += fmt::format("  {:<13}{:.0f} a second, {}\n", "asked for", o.rate,
                        o.arrivals == Arrivals::poisson ? "at random (Poisson)" : "evenly");
  text += fmt::format("  {:<13}", "latency, us");
  for (const Quantile& q : quantiles) text += fmt::format("{:>11}", q.name);
  text += fmt::format("{:>11}{:>11}\n", "max", "mean");
  if (run.open_loop()) text += latency_row("corrected", r.corrected);
  text += latency_row(run.open_loop() ? "uncorrected" : "", r.uncorrected);
  text +=
      run.open_loop()
          ? "  corrected: from the instant a message was to start; uncorrected: from its send\n"
          : "  closed loop: latency under saturation; give a --rate for what clients would see\n";
  text += fmt::format("  {:<13}{} opened, {} open at the end; connecting {}\n", "connections",
                      r.opened, r.open_at_end, three(r.connecting));
  text += fmt::format("  {:<13}{}\n", "errors", error_list(r));
  text += fmt::format("  {:<13}{:.0f} % busy, {:.2f} us of CPU a message, preempted {} times\n",
                      "this client", r.busy() * 100, run.cpu_us_per_message(), r.preempted);
  if (run.open_loop()) {
    text += fmt::format("  {:<13}{}\n", "start error", three(r.start_error));
    text += fmt::format("  {:<13}{} (clock_nanosleep, for comparison)\n", "bare sleep",
                        three(r.bare_sleep));
  }
  if (!r.limit.empty()) text += fmt::format("  {:<13}{}\n", "LIMIT", r.limit);
  if (!r.stopped.empty()) text += fmt::format("  {:<13}{}\n", "STOPPED", r.stopped);
  return text + fmt::format("  {:<13}{}\n", "again", command_line(run.arguments));
}

// --- progress, on a terminal

class ProgressLine {
 public:
  explicit ProgressLine(Kernel& kernel) : on_(kernel.isatty(STDERR_FILENO) == 1) {}
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() {
    if (on_) write_text(stderr, "\r\033[K");
  }

  void show(const LoadProgress& progress) {
    static constexpr const char* phases[] = {"connecting", "warming up", "measuring", "draining"};
    if (!on_) return;
    std::string text =
        fmt::format("\r\033[K{} {:.1f} s: {} connections, {} answers",
                    phases[static_cast<std::size_t>(progress.phase)], seconds(progress.elapsed),
                    progress.connections, progress.answered);
    if (progress.errors != 0) text += fmt::format(", {} errors", progress.errors);
    write_text(stderr, text);
  }

 private:
  bool on_;
};

// --- the verb

/// The first address of a name that answers.
Result<LoadReport> run_first(Kernel& kernel, Poller& poller, std::vector<Address>& targets,
                             const LoadOptions& options, const StopSignals& signals) {
  Result<LoadReport> report = fail(ECONNREFUSED);
  while (!targets.empty()) {
    ProgressLine line(kernel);
    report = run_load(poller, targets.front(), options, [&](const LoadProgress& progress) {
      line.show(progress);
      return signals.received() == 0;
    });
    if (report || report.error() != std::errc::connection_refused || targets.size() == 1) break;
    targets.erase(targets.begin());
  }
  return report;
}

int load(const LoadArguments& arguments) {
  Kernel& kernel = real_kernel();
  const LoadOptions options = load_options(arguments);
  std::vector<Address> targets = find_target(kernel, arguments);
  make_room(kernel, fmt::format("--connections {}", options.connections), options.connections);
  const ChosenPoller chosen = choose_poller(kernel, arguments.backend);
  const StopSignals signals(
      kernel, [](void* poller) { static_cast<Poller*>(poller)->wake(); }, chosen.poller.get());
  Result<LoadReport> report = run_first(kernel, *chosen.poller, targets, options, signals);
  const std::string target = escape(targets.front().to_string());
  if (!report)
    throw Failure(exit_no_connection, fmt::format("cannot connect to {}: {}; is the server there?",
                                                  target, report.error().message()));
  const Run run{arguments, options, target, std::string(chosen.poller->name()), std::move(*report)};
  write_output(arguments.json ? to_json(run).dump(2) + "\n" : to_text(run));
  if (!run.report.stopped.empty()) write_line(stderr, "duolu: " + run.report.stopped);
  if (signals.received() != 0) return 128 + signals.received();
  const auto& errors = run.report.errors;
  const bool clean = std::all_of(errors.begin(), errors.end(), [](auto n) { return n == 0; });
  return clean && run.report.stopped.empty() ? exit_ok : exit_failed;
}

}  // namespace

void add_load(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("load", "Measure an echo server: throughput and latency");
  auto arguments = std::make_shared<LoadArguments>();
  verb->add_option("address", arguments->address, "tcp://HOST:PORT, HOST:PORT or unix:///PATH")
      ->required()
      ->type_name("ADDRESS");
  for (const LoadOption& option : load_option_table)
    verb->add_option(option.name, (*arguments).*option.value, option.help)->type_name(option.type);
  verb->get_option("--messages")->excludes(verb->get_option("--duration"));
  verb->get_option("--arrivals")->check(CLI::IsMember({"constant", "poisson"}).description(""));
  add_backend_option(*verb, arguments->backend);
  verb->add_flag("--allow-remote", arguments->allow_remote, "Load another machine than this one");
  verb->add_flag("--json", arguments->json, "One JSON object on standard output");
  verb->callback([arguments, &action] { action = [arguments] { return load(*arguments); }; });
}

}  // namespace duolu::apps
