// duolu load: the command line around the load engine. The report is in load_report.cpp.

#include "duolu/load/load.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>

#include "apps/journal.hpp"
#include "apps/load_report.hpp"
#include "apps/options.hpp"
#include "apps/progress.hpp"
#include "apps/text.hpp"
#include "apps/verbs.hpp"
#include "duolu/poll/backends.hpp"

namespace duolu::apps {
namespace {

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
  // The server has to buffer outstanding bytes; a typing error must not fill its memory.
  constexpr std::uint64_t most_size = std::uint64_t{1} << 30U;
  constexpr std::uint64_t most_pipeline = 65'536;
  if (options.size > most_size) throw Failure(exit_usage, "--size: 1GiB at most");
  if (options.pipeline > most_pipeline) throw Failure(exit_usage, "--pipeline: 65536 at most");
  if (!arguments.churn.empty())
    options.churn = count_argument("--churn", arguments.churn, "1 or 100");
  if (!arguments.rate.empty()) {
    const std::optional<double> rate = parse_rate(arguments.rate);
    if (!rate)
      throw Failure(exit_usage, fmt::format("--rate {}: not a rate above zero, like 1000, 20k, 0.5 "
                                            "(a second), 10/m or 100/h",
                                            escape(arguments.rate)));
    options.rate = *rate;
    if (options.rate > 1e6)
      throw Failure(exit_usage, "--rate: 1M a second at most; one thread does not start more");
  }
  if (!arguments.arrivals.empty() && options.rate == 0)
    throw Failure(exit_usage, "--arrivals spaces the starts of an open loop: give a --rate");
  if (arguments.arrivals == "poisson") options.arrivals = Arrivals::poisson;
  if (!arguments.messages.empty())
    options.messages = count_argument("--messages", arguments.messages, "1000 or 1M");
  if (!arguments.duration.empty())
    options.duration = duration_argument("--duration", arguments.duration);
  // With a tolerance: 10/m is not exactly a sixth of a message a second.
  if (options.rate > 0 && options.messages == 0 &&
      options.rate * std::chrono::duration<double>(options.duration).count() < 1 - 1e-9)
    throw Failure(exit_usage,
                  fmt::format("--rate {} starts less than one message in {}: give a longer "
                              "--duration, or a number of --messages",
                              escape(arguments.rate), to_text(options.duration)));
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

/// The options that take a value, as in --help and in the command to repeat a run.
struct LoadOption {
  const char* name;
  std::string LoadArguments::* value;
  const char* type;
  const char* help;
  const char* short_name = "";
};
constexpr LoadOption load_option_table[] = {
    {"--connections", &LoadArguments::connections, "N", "Connections to make [10]", "-c,"},
    {"--active", &LoadArguments::active, "N", "How many of them send; the rest idles [all]"},
    {"--duration", &LoadArguments::duration, "D", "How long to measure [10s]", "-d,"},
    {"--messages", &LoadArguments::messages, "N", "Measure exactly so many messages instead",
     "-n,"},
    {"--size", &LoadArguments::size, "B", "Bytes in a message [64]"},
    {"--pipeline", &LoadArguments::pipeline, "P", "Outstanding messages of a connection [1]"},
    {"--rate", &LoadArguments::rate, "R",
     "Open loop: start R messages a second (20k, 0.5,\n10/m, 100/h), whatever the server does\n"
     "[closed loop]"},
    {"--arrivals", &LoadArguments::arrivals, "HOW", "constant, poisson (with --rate) [constant]"},
    {"--churn", &LoadArguments::churn, "K", "Reconnect after K messages [never]"},
    {"--warmup", &LoadArguments::warmup, "D", "Load before measuring [500ms; 0 with --messages]"},
    {"--timeout", &LoadArguments::timeout, "D", "Give up after so long without an answer [5s]"},
    {"--seed", &LoadArguments::seed, "N", "Of payload and random arrivals [1]"}};

/// The command to repeat the run, quoted for a shell, with the options that are not the defaults.
std::vector<std::string> command_words(const LoadArguments& arguments) {
  std::vector<std::string> words{"duolu", "load", shell_quote(arguments.address)};
  const LoadArguments defaults;
  for (const LoadOption& option : load_option_table)
    if (arguments.*option.value != defaults.*option.value)
      words.insert(words.end(), {option.name, shell_quote(arguments.*option.value)});
  if (arguments.backend != defaults.backend)
    words.insert(words.end(), {"--backend", arguments.backend});
  if (arguments.allow_remote) words.emplace_back("--allow-remote");
  return words;
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

std::unique_ptr<Poller> make_poller_for(Kernel& kernel, const std::string& name) {
  const Backend* poller = nullptr;
  if (name == "auto") {
    const BackendChoice best = choose_backend(kernel);
    if (best.backend == nullptr) throw Failure(exit_not_here, "no backend works here: " + best.why);
    poller = best.backend;
  } else {
    poller = find_backend(name);
    if (poller == nullptr) {
      std::vector<std::string_view> names;
      for (const Backend& each : backends()) names.push_back(each.name);
      throw Failure(exit_usage,
                    fmt::format("--backend {0}: load drives its connections through a poller, and "
                                "{0} is none; choose {1}",
                                name, fmt::join(names, ", ")));
    }
    (void)engine_argument(kernel, name);  // it must work here
  }
  return made_backend(poller->name, poller->make(kernel, {}));
}

// --- the verb

/// Makes a run, or throws a Failure that says why not. `signal` is the one that ended it, or 0.
Run measure(const LoadArguments& arguments, int& signal) {
  const LoadOptions options = load_options(arguments);
  Kernel& kernel = real_kernel();
  const std::vector<Address> targets = find_target(kernel, arguments);
  make_room(kernel, real_host(), fmt::format("--connections {}", options.connections),
            options.connections);
  const std::unique_ptr<Poller> poller = make_poller_for(kernel, arguments.backend);
  const StopSignals signals(
      kernel, [](void* context) { static_cast<Poller*>(context)->wake(); }, poller.get());
  ProgressLine line;
  Result<LoadReport> report =
      run_load(*poller, targets, options, [&](const LoadProgress& progress) {
        line.show([&](std::size_t columns) { return to_line(progress, columns); });
        return signals.received() == 0;
      });
  if (!report)
    throw Failure(
        exit_no_connection,
        fmt::format("cannot connect to {}: {}; {}",
                    escape(targets.size() == 1 ? targets.front().to_string() : arguments.address),
                    report.error().message(),
                    connect_advice(report.error(), options.timeout, "--timeout")));
  signal = signals.received();
  return {command_words(arguments), options, std::string(poller->name()), *std::move(report)};
}

/// With --json an object is written in any case. A failure to write it changes nothing.
void report_failure(const LoadArguments& arguments, const char* what, int code) {
  if (!arguments.json) return;
  const std::string text = error_json(command_words(arguments), what, code);
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

int load(const LoadArguments& arguments) {
  int signal = 0;
  std::optional<Run> run;
  try {
    run.emplace(measure(arguments, signal));
  } catch (const Failure& failure) {
    report_failure(arguments, failure.what(), failure.code());
    throw;
  } catch (const std::exception& error) {
    report_failure(arguments, error.what(), exit_failed);
    throw;
  }
  write_output(arguments.json ? to_json(*run) : to_text(*run));
  const LoadReport& report = run->report;
  if (!report.stopped.empty()) write_line(stderr, "duolu: " + report.stopped);
  if (signal != 0) return 128 + signal;
  const auto& errors = report.errors;
  const bool clean = std::all_of(errors.begin(), errors.end(), [](auto n) { return n == 0; });
  return clean && report.stopped.empty() ? exit_ok : exit_failed;
}

}  // namespace

void add_load(CLI::App& app, Action& action) {
  Verb verb(app, "load", "Measure an echo server: throughput and latency");
  auto arguments = std::make_shared<LoadArguments>();
  verb.option("address", arguments->address, "tcp://HOST:PORT, HOST:PORT or unix:///PATH")
      .required()
      .type_name("ADDRESS");
  for (const LoadOption& option : load_option_table)
    verb.option(std::string(option.short_name) + option.name, (*arguments).*option.value,
                option.help)
        .type_name(option.type);
  verb.find("--messages").excludes(verb.find("--duration"));
  verb.find("--arrivals").one_of({"constant", "poisson"});
  add_backend_option(verb, arguments->backend, Listed::pollers);
  verb.flag("--allow-remote", arguments->allow_remote, "Load another machine than this one");
  verb.flag("--json", arguments->json, "One JSON object on standard output");
  verb.on_chosen([arguments, &action] { action = [arguments] { return load(*arguments); }; });
}

}  // namespace duolu::apps
