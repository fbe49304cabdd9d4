// duolu lab: what to measure, and where the report goes. The measurement is in src/lab, the report
// in lab_report.cpp.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "apps/journal.hpp"
#include "apps/lab_models.hpp"
#include "apps/lab_report.hpp"
#include "apps/machine.hpp"
#include "apps/options.hpp"
#include "apps/progress.hpp"
#include "apps/text.hpp"
#include "apps/verbs.hpp"
#include "duolu/lab/claims.hpp"
#include "duolu/lab/measure.hpp"
#include "duolu/lab/process.hpp"
#include "duolu/poll/backends.hpp"

namespace duolu::apps {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct LabArguments {
  bool quick = false;
  bool list = false;
  std::string models;  ///< Names with commas between them; empty: all.
  std::string loads;
  std::string rounds;
  std::string duration;
  std::string seed = "1";
  std::string json;
};

// --- what there is

constexpr std::size_t active_beside_idle = 10;

std::vector<lab::Load> every_load() {
  std::vector<lab::Load> loads{{.name = "c1", .title = "1 connection"}};
  for (const std::size_t count : {std::size_t{10}, std::size_t{100}})
    loads.push_back({.name = fmt::format("c{}", count),
                     .title = fmt::format("{} connections, all active", count),
                     .connections = count,
                     .active = count,
                     .in_series = count == active_beside_idle});
  for (const std::size_t idle : {std::size_t{100}, std::size_t{500}, std::size_t{1000}})
    loads.push_back({.name = fmt::format("idle{}", idle),
                     .title = fmt::format("{} active beside {} idle", active_beside_idle, idle),
                     .connections = active_beside_idle + idle,
                     .active = active_beside_idle,
                     .in_series = true});
  return loads;
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t end = 0; end != std::string_view::npos;) {
    end = text.find(',');
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end, text.size() - 1) + 1);
  }
  return parts;
}

/// The parts of `all` that are named, in their own order; all for no name.
template <class T>
std::vector<T> chosen(const char* option, const std::string& text, const std::vector<T>& all) {
  if (text.empty()) return all;
  const std::vector<std::string> names = split(text);
  std::vector<std::string> known;
  known.reserve(all.size());
  for (const T& each : all) known.emplace_back(each.name);
  for (const std::string& name : names)
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw Failure(exit_usage, fmt::format("{} {}: there is no such; there are {}", option,
                                            escape(name), fmt::join(known, ", ")));
  std::vector<T> found;
  for (const T& each : all)
    if (std::find(names.begin(), names.end(), each.name) != names.end()) found.push_back(each);
  return found;
}

std::string list_text(Kernel& kernel) {
  std::string text = "models (--models)\n";
  for (const LabModel& model : lab_models()) {
    const std::string missing = why_not_here(kernel, model);
    text += wrapped(fmt::format("  {:<14}", model.name),
                    fmt::format("{:<6} {}{}", to_string(model.kind), model.summary,
                                missing.empty() ? "" : "; NOT HERE: " + missing),
                    24);
  }
  text += "loads (--loads)\n";
  for (const lab::Load& load : every_load())
    text += fmt::format("  {:<14} {}\n", load.name, load.title);
  return text;
}

// --- the plan

/// Leaves out the loads for which there are too few descriptors.
void fit_descriptors(LabRun& run) {
  std::vector<lab::Load>& loads = run.plan.loads;
  const auto larger = [](const lab::Load& a, const lab::Load& b) {
    return a.connections < b.connections;
  };
  while (!loads.empty()) {
    const auto largest = std::max_element(loads.begin(), loads.end(), larger);
    try {
      make_room(real_kernel(), real_host(), fmt::format("The load {}", largest->name),
                largest->connections);
      return;
    } catch (const Failure& failure) {
      if (loads.size() == 1) throw;
      run.notes.push_back(fmt::format("{} is left out. {}", largest->name, failure.what()));
      loads.erase(largest);
    }
  }
}

void choose_pace(LabRun& run, const LabArguments& arguments) {
  lab::Plan& plan = run.plan;
  run.pace = arguments.quick ? "quick" : "default";
  plan.rounds = arguments.quick ? lab::least_values : 2 * lab::least_values;
  plan.warmup = arguments.quick ? milliseconds(15) : milliseconds(50);
  plan.duration = arguments.quick ? milliseconds(50) : milliseconds(250);
  plan.most = arguments.quick ? seconds(58) : seconds(595);
  if (!arguments.rounds.empty())
    plan.rounds = count_argument("--rounds", arguments.rounds, "6 or 20");
  if (!arguments.duration.empty())
    plan.duration = duration_argument("--duration", arguments.duration);
  if (plan.rounds > 1000) throw Failure(exit_usage, "--rounds: 1000 at most");
  // Chosen by hand, it takes as long as it takes.
  if (!arguments.rounds.empty() || !arguments.duration.empty()) plan.most = Duration::max();
  if (plan.duration < milliseconds(5)) throw Failure(exit_usage, "--duration: 5ms at least");
  const std::optional<std::uint64_t> seed = parse_count(arguments.seed);
  if (!seed) throw Failure(exit_usage, "--seed: not a number");
  plan.seed = *seed;
}

void choose_cores(LabRun& run) {
  run.plan.cores = lab::choose_cores();
  if (run.plan.cores.size() == 1)
    run.notes.emplace_back(
        "this process may use one core only: server and client shared it, so there is no verdict");
  if (run.plan.cores.empty())
    run.notes.emplace_back("this system does not let a program choose its cores");
}

std::vector<std::string> command_words(const LabArguments& arguments) {
  std::vector<std::string> words{"duolu", "lab"};
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) words.insert(words.end(), {name, shell_quote(value)});
  };
  if (arguments.quick) words.emplace_back("--quick");
  add("--models", arguments.models);
  add("--loads", arguments.loads);
  add("--rounds", arguments.rounds);
  add("--duration", arguments.duration);
  if (arguments.seed != LabArguments().seed) add("--seed", arguments.seed);
  add("--json", arguments.json);
  return words;
}

LabRun plan_of(const LabArguments& arguments) {
  LabRun run;
  run.command = command_words(arguments);
  choose_pace(run, arguments);
  run.plan.loads = chosen("--loads", arguments.loads, every_load());
  const std::vector<LabModel> models = chosen("--models", arguments.models, lab_models());
  fit_descriptors(run);
  for (const LabModel& model : models) {
    const std::string missing = why_not_here(real_kernel(), model);
    run.models.push_back({model.name, std::string(to_string(model.kind)), model.summary, missing});
    if (!missing.empty()) continue;
    run.plan.subjects.push_back({.name = model.name,
                                 .words = {"/proc/self/exe", "lab-server", model.name},
                                 .most_connections = model.most_connections,
                                 .threads = model.threads,
                                 .loads = {}});
    // In a minute, those by hand are measured only where the library is compared with them.
    if (arguments.quick && model.kind == LabModel::Kind::raw && arguments.loads.empty())
      run.plan.subjects.back().loads = {"c10", "c100", "idle1000"};
  }
  if (run.plan.subjects.empty())
    throw Failure(exit_not_here,
                  fmt::format("{}: {}", run.models.front().name, run.models.front().missing));
  if (lab::runs_of(run.plan) == 0)
    throw Failure(exit_usage, "none of these models takes as many connections as these loads have");
  choose_cores(run);
  run.machine = machine_facts(real_kernel(), real_host());
  return run;
}

// --- where the report goes

/// Whether the file of --json can be written, before anything is measured. What is in it stays
/// until there is something else.
void check_json(const std::string& path) {
  if (path.empty() || path == "-") return;
  std::FILE* file = std::fopen(path.c_str(), "a");
  if (file == nullptr)
    throw Failure(exit_usage, fmt::format("--json {}: cannot be written: {}", escape(path),
                                          errno_code(errno).message()));
  std::fclose(file);
}

void write_json(const std::string& path, const std::string& json) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  bool written = file != nullptr && std::fwrite(json.data(), 1, json.size(), file) == json.size();
  int error = errno;
  if (file != nullptr && std::fclose(file) != 0) {
    if (written) error = errno;
    written = false;
  }
  if (!written)
    throw Failure(exit_failed,
                  fmt::format("cannot write {}: {}", escape(path), errno_code(error).message()));
}

void write_report(const LabArguments& arguments, const LabRun& run) {
  if (arguments.json == "-") {
    write_output(to_json(run));
    return;
  }
  write_output(to_text(run));
  if (!arguments.json.empty()) write_json(arguments.json, to_json(run));
}

// --- the verb

int lab_verb(const LabArguments& arguments) {
  Kernel& kernel = real_kernel();
  if (arguments.list) {
    write_output(list_text(kernel));
    return exit_ok;
  }
  LabRun run = plan_of(arguments);
  check_json(arguments.json);
  const BackendChoice best = choose_backend(kernel);
  if (best.backend == nullptr) throw Failure(exit_not_here, "no backend works here: " + best.why);
  const std::unique_ptr<Poller> poller =
      made_backend(best.backend->name, best.backend->make(kernel, {}));
  const StopSignals signals(
      kernel, [](void* context) { static_cast<Poller*>(context)->wake(); }, poller.get());
  {
    ProgressLine line;
    Result<lab::Results> results =
        lab::measure(*poller, run.plan, [&](const lab::LabProgress& progress) {
          line.show([&](std::size_t columns) { return to_line(progress, columns); });
          return signals.received() == 0;
        });
    if (!results)
      throw Failure(exit_not_here,
                    "cannot run a server and its client here: " + results.error().message());
    run.results = *std::move(results);
  }
  write_report(arguments, run);
  if (signals.received() != 0) return 128 + signals.received();
  return run.results.failures.empty() ? exit_ok : exit_failed;
}

int lab_server(const std::string& name) {
  for (const LabModel& model : lab_models())
    if (model.name == name) serve_lab_model(model, lab::child_listener);
  throw Failure(exit_usage, "lab-server is a part of duolu lab, and not to be called");
}

}  // namespace

void add_lab(CLI::App& app, Action& action) {
  Verb verb(app, "lab", "Measure the I/O models on this machine, and compare");
  auto arguments = std::make_shared<LabArguments>();
  verb.flag("--quick", arguments->quick, "A minute at most; without it ten");
  verb.flag("--list", arguments->list, "Only say which models and loads there are");
  verb.option("--models", arguments->models, "Only these, of --list [all]").type_name("NAME,...");
  verb.option("--loads", arguments->loads, "Only these, of --list [all]").type_name("NAME,...");
  verb.option("--rounds", arguments->rounds,
              "How often each is measured; a verdict takes 6\n[12; 6 with --quick]")
      .type_name("N");
  verb.option("--duration", arguments->duration,
              "How long a run measures [250ms; 50ms with --quick]")
      .type_name("D");
  verb.option("--seed", arguments->seed, "Of the order of the runs [1]").type_name("N");
  verb.option("--json", arguments->json, "All figures, to FILE, or - for standard output")
      .type_name("FILE");
  verb.on_chosen([arguments, &action] { action = [arguments] { return lab_verb(*arguments); }; });

  // What the verb starts as its servers.
  Verb server(app, "lab-server", "");
  server.hide();
  auto name = std::make_shared<std::string>();
  server.option("model", *name, "").required();
  server.on_chosen([name, &action] { action = [name] { return lab_server(*name); }; });
}

}  // namespace duolu::apps
