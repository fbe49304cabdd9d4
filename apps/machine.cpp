#include "apps/machine.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <string_view>

#include "apps/text.hpp"

#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

namespace duolu::apps {
namespace {

namespace files = std::filesystem;

std::optional<std::string> first_line(const files::path& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return escape(line);
}

/// The value behind `name` and a colon.
std::optional<std::string> field(const files::path& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (!line.starts_with(name) || colon == std::string::npos) continue;
    const std::size_t value = line.find_first_not_of(" \t", colon + 1);
    return value == std::string::npos ? std::string() : escape(line.substr(value));
  }
  return std::nullopt;
}

/// What the kernel does about faults of the processor, which makes system calls dearer:
/// "spectre_v1: usercopy/swapgs barriers ...; ..."; "none needed" if no fault affects it.
std::optional<std::string> mitigations() {
  std::error_code error;
  std::map<std::string, std::string> found;
  for (const files::directory_entry& each :
       files::directory_iterator("/sys/devices/system/cpu/vulnerabilities", error)) {
    const std::string state = first_line(each.path()).value_or("");
    if (state != "Not affected") found[each.path().filename().string()] = state;
  }
  if (error) return std::nullopt;
  std::string text;
  for (const auto& [name, state] : found)
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", name, state);
  return text.empty() ? "none needed" : text;
}

std::optional<std::string> seccomp() {
  const std::optional<std::string> mode = field("/proc/self/status", "Seccomp");
  if (!mode) return std::nullopt;
  return *mode == "0" ? "off" : *mode == "1" ? "strict" : "a filter";
}

std::optional<std::string> container() {
  std::error_code error;
  if (files::exists("/.dockerenv", error)) return "docker";
  if (files::exists("/run/.containerenv", error)) return "podman";
  if (std::optional<std::string> kind = first_line("/run/systemd/container")) return kind;
  return "none seen";
}

std::string limit_text(rlim_t value) {
  return value == RLIM_INFINITY ? "unlimited" : std::to_string(value);
}

std::string date(Host& host) {
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(host.real_time());
  const auto time = static_cast<std::time_t>(now.count());
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

}  // namespace

std::vector<MachineFact> machine_facts(Kernel& kernel, Host& host) {
  std::vector<MachineFact> facts;
  const auto add = [&](const char* name, std::optional<std::string> value) {
    facts.push_back({name, std::move(value)});
  };
  add("date", date(host));
  struct utsname name{};
  const bool named = host.uname(&name) == 0;
  add("kernel",
      named ? std::optional(fmt::format("{} {}", name.sysname, name.release)) : std::nullopt);
  std::optional<std::string> processor = field("/proc/cpuinfo", "model name");
  if (!processor && named) processor = name.machine;
  add("processor", processor);
  const std::optional<std::string> flags = field("/proc/cpuinfo", "flags");
  add("virtual machine", flags ? std::optional<std::string>(
                                     flags->find(" hypervisor") != std::string::npos ? "yes" : "no")
                               : std::nullopt);
  add("container", container());
  add("seccomp", seccomp());
  add("mitigations", mitigations());
  add("governor", first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
  add("load average", first_line("/proc/loadavg"));
  struct rlimit limit{};
  const bool limited = kernel.getrlimit(RLIMIT_NOFILE, &limit) == 0;
  add("descriptors", limited
                         ? std::optional(fmt::format("{} of at most {}", limit_text(limit.rlim_cur),
                                                     limit_text(limit.rlim_max)))
                         : std::nullopt);
  add("congestion control", first_line("/proc/sys/net/ipv4/tcp_congestion_control"));
#ifdef __GLIBC__
  add("libc", fmt::format("glibc {}", ::gnu_get_libc_version()));
#else
  add("libc", std::nullopt);
#endif
#ifdef __clang__
  add("compiler", fmt::format("clang {}", escape(__clang_version__)));
#else
  add("compiler", fmt::format("g++ {}", escape(__VERSION__)));
#endif
  add("build", std::string(DUOLU_BUILD_TYPE));
  add("version", std::string("duolu " DUOLU_VERSION));
  return facts;
}

}  // namespace duolu::apps
