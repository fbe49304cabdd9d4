// duolu doctor: what this machine has, what works, and how to fix what does not.

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <algorithm>

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/options.hpp"
#include "apps/text.hpp"
#include "apps/verbs.hpp"
#include "duolu/engine/engines.hpp"
#include "duolu/kernel/ring.hpp"

namespace duolu::apps {
namespace {

/// A number that the kernel shows in a file, and its meaning for duolu.
struct Setting {
  const char* name;
  const char* path;
  const char* meaning;
};

constexpr Setting settings[] = {
    {"somaxconn", "/proc/sys/net/core/somaxconn", "longest backlog of a listener"},
    {"ports", "/proc/sys/net/ipv4/ip_local_port_range", "ports for outgoing connections"},
    {"epoll watches", "/proc/sys/fs/epoll/max_user_watches", "epoll registrations of one user"},
    {"open files", "/proc/sys/fs/file-max", "open files of the whole machine"},
};

std::optional<std::string> first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  for (char& c : line)
    if (c == '\t') c = ' ';
  return escape(line);
}

std::string limit_text(rlim_t value) {
  return value == RLIM_INFINITY ? "unlimited" : std::to_string(value);
}

nlohmann::ordered_json limit_json(rlim_t value) {
  return value == RLIM_INFINITY ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(value);
}

/// Prints findings as they are made, and collects them as data.
class Report {
 public:
  explicit Report(bool json) : json_(json) {}

  void line(const std::string& text) const {
    if (!json_) write_output(text + "\n");
  }
  /// The text beside its label, in as many lines as it needs.
  void paragraph(const std::string& label, std::string_view text) const {
    if (!json_) write_output(wrapped(label, text, label.size()));
  }

  nlohmann::ordered_json data{{"schema", "duolu.doctor/1"}};

 private:
  bool json_;
};

void report_machine(Kernel& kernel, Host& host, Report& report) {
  report.line("duolu " DUOLU_VERSION);
  report.data["version"] = DUOLU_VERSION;
  struct utsname name{};
  if (host.uname(&name) == 0) {
    report.line(fmt::format("kernel          {} {} {}", name.sysname, name.release, name.machine));
    report.data["kernel"] = {
        {"name", name.sysname}, {"release", name.release}, {"machine", name.machine}};
  }
  struct rlimit limit{};
  if (kernel.getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    std::string advice;
    if (limit.rlim_cur < 4096 && limit.rlim_cur != limit.rlim_max)
      advice = fmt::format("  (more: `ulimit -n {}`)", limit_text(limit.rlim_max));
    report.line(fmt::format("descriptors     {} of at most {} for this process{}",
                            limit_text(limit.rlim_cur), limit_text(limit.rlim_max), advice));
    report.data["descriptors"] = {{"soft", limit_json(limit.rlim_cur)},
                                  {"hard", limit_json(limit.rlim_max)}};
  }
  for (const Setting& setting : settings) {
    const std::optional<std::string> value = first_line(setting.path);
    report.line(fmt::format("{:<15} {} ({})", setting.name, value.value_or("not shown here"),
                            setting.meaning));
    report.data["settings"][setting.name] =
        value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
  }
}

/// What rings have here. Why there are none is a matter of the backend that needs them.
void report_rings(Kernel& kernel, Report& report) {
  report.data["io_uring"] = nullptr;
  const Result<std::uint32_t> found = find_ring_features(kernel);
  if (!found) return;
  std::vector<std::string> there;
  std::vector<std::string> missing;
  for (const ring::FeatureName& each : ring::feature_names()) {
    const bool has = (*found & each.feature) != 0;
    report.data["io_uring"][std::string(each.name)] = has;
    // The two ways of running tasks exclude each other.
    const bool wanted = each.feature != ring::coop_taskrun || (*found & ring::defer_taskrun) == 0;
    if (has || wanted)
      (has ? there : missing).push_back(fmt::format("{} ({})", each.name, each.since));
  }
  std::string text = fmt::format("{}", fmt::join(there, ", "));
  if (!missing.empty()) text += fmt::format("; without {}", fmt::join(missing, ", "));
  report.paragraph("io_uring        ", text);
}

bool report_backends(Kernel& kernel, Report& report) {
  report.line("\nbackends, best first");
  report.data["backends"] = nlohmann::ordered_json::array();
  std::size_t width = 0;
  for (const EngineKind& kind : engines()) width = std::max(width, kind.name.size());
  for (const EngineKind& kind : engines()) {
    const Probe probe = kind.probe(kernel);
    report.paragraph(
        fmt::format("  {:<{}} {:<6}", kind.name, width, probe.works() ? "works" : "NO"),
        probe.works() ? kind.summary : probe.reason);
    if (!probe.works()) report.paragraph(fmt::format("  {:<{}}", "", width + 7), probe.advice);
    const auto of_poller = [&kind](bool BackendTraits::* trait) {
      return kind.poller != nullptr ? nlohmann::ordered_json(kind.poller->traits.*trait)
                                    : nlohmann::ordered_json(nullptr);
    };
    report.data["backends"].push_back({{"name", kind.name},
                                       {"works", probe.works()},
                                       {"summary", kind.summary},
                                       {"native_edge", of_poller(&BackendTraits::native_edge)},
                                       {"has_fd", of_poller(&BackendTraits::has_fd)},
                                       {"reason", probe.reason},
                                       {"advice", probe.advice}});
  }
  const EngineChoice choice = choose_engine(kernel);
  report.line("");
  if (choice.kind != nullptr)
    report.paragraph("",
                     fmt::format("--backend auto takes {} ({})", choice.kind->name, choice.why));
  else
    report.paragraph("", fmt::format("no backend works here: {}", choice.why));
  report.data["auto"] = choice.kind != nullptr ? nlohmann::ordered_json(choice.kind->name)
                                               : nlohmann::ordered_json(nullptr);
  return choice.kind != nullptr;
}

int doctor(bool json) {
  Kernel& kernel = real_kernel();
  Report report(json);
  report_machine(kernel, real_host(), report);
  report_rings(kernel, report);
  const bool works = report_backends(kernel, report);
  if (json) write_output(report.data.dump(2) + "\n");
  return works ? exit_ok : exit_not_here;
}

}  // namespace

void add_doctor(CLI::App& app, Action& action) {
  Verb verb(app, "doctor", "Show which backends work here, and why others do not");
  auto json = std::make_shared<bool>(false);
  verb.flag("--json", *json, "One JSON object on standard output");
  verb.on_chosen([json, &action] { action = [json] { return doctor(*json); }; });
}

}  // namespace duolu::apps
