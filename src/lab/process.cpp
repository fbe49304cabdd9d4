#include "duolu/lab/process.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <utility>

// NOLINTNEXTLINE(readability-redundant-declaration): POSIX leaves it to the program
extern "C" char** environ;

namespace duolu::lab {
namespace {

namespace files = std::filesystem;

/// A file that is gone as soon as it is closed.
int unnamed_file() {
  char name[] = "/tmp/duolu-lab-XXXXXX";
  const int fd = ::mkostemp(name, O_CLOEXEC);
  if (fd >= 0) ::unlink(name);  // tidy: allow(banned-call) a child's standard error, not the loop's
  return fd;
}

std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const std::size_t newline = text.rfind('\n');
  return newline == std::string::npos ? text : text.substr(newline + 1);
}

/// The value behind "name:" in a file of /proc.
std::uint64_t field(const files::path& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(name)) return std::strtoull(line.c_str() + name.size(), nullptr, 10);
  return 0;
}

/// The second number of a file schedstat: nanoseconds of waiting for a core.
Duration waited(const files::path& path) {
  std::ifstream file(path);
  std::int64_t ran = 0;
  std::int64_t waited_ns = 0;
  return file >> ran >> waited_ns ? Duration(waited_ns) : Duration::zero();
}

#ifdef __linux__
cpu_set_t to_set(const std::vector<int>& cores) noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores)
    if (core >= 0 && core < CPU_SETSIZE) CPU_SET(static_cast<std::size_t>(core), &set);
  return set;
}

/// The cores in a list of the kernel, such as "0-3,8".
std::vector<int> parse_list(const std::string& text) {
  std::vector<int> cores;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    int low = 0;
    int high = 0;
    const int found = std::sscanf(part.c_str(), "%d-%d", &low, &high);
    if (found < 1) continue;
    for (int core = low; core <= (found == 2 ? high : low); ++core) cores.push_back(core);
  }
  return cores;
}
#endif

}  // namespace

// --- children

Result<Child> Child::start(const std::vector<std::string>& words, int listener) {
  const int errors = unnamed_file();
  if (errors < 0) return fail(errno);
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, listener, child_listener);
  // A group of its own: the terminal's Ctrl-C ends the client first, which then ends the server.
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  pid_t pid = -1;
  const int failed =
      ::posix_spawn(&pid, arguments.front(), &actions, &attributes, arguments.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    ::close(errors);  // tidy: allow(banned-call) a child's standard error
    return fail(failed);
  }
  return Child(pid, errors);
}

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      errors_(std::exchange(other.errors_, -1)),
      exit_code_(other.exit_code_),
      end_(std::move(other.end_)) {}

Child::~Child() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  if (errors_ >= 0) ::close(errors_);  // tidy: allow(banned-call) a child's standard error
}

std::optional<std::string> Child::ended() {
  if (pid_ > 0) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
    pid_ = -1;
    if (WIFEXITED(status)) {
      exit_code_ = WEXITSTATUS(status);
      end_ = "exit code " + std::to_string(exit_code_);
    } else {
      end_ = "signal " + std::to_string(WTERMSIG(status));
    }
    if (const std::string said = complaint(); !said.empty()) end_ += ": " + said;
  }
  return end_;
}

std::string Child::complaint() const {
  char text[4096];
  const ssize_t got = ::pread(errors_, text, sizeof text, 0);
  return got > 0 ? last_line(std::string(text, static_cast<std::size_t>(got))) : std::string();
}

// --- what is counted

std::optional<ProcessUsage> usage_of(pid_t pid) {
  ProcessUsage usage;
#ifdef __linux__
  // As clock_getcpuclockid(3) makes it. The scheduler counts it, to the nanosecond.
  const auto clock = static_cast<clockid_t>(((~static_cast<unsigned>(pid)) << 3U) | 2U);
  timespec cpu{};
  // tidy: allow(banned-call) The clock of another process.
  if (::clock_gettime(clock, &cpu) != 0) return std::nullopt;
  usage.cpu = std::chrono::seconds(cpu.tv_sec) + Duration(cpu.tv_nsec);
  const files::path process = files::path("/proc") / std::to_string(pid);
  // The name of the program, in brackets, may contain blanks; utime is the 12th word behind it.
  std::ifstream file(process / "stat");
  std::string stat;
  std::getline(file, stat);
  const std::size_t name_ends = stat.rfind(')');
  if (name_ends == std::string::npos) return std::nullopt;
  std::istringstream rest(stat.substr(name_ends + 1));
  std::string word;
  for (int i = 0; i < 11; ++i) rest >> word;
  if (!(rest >> usage.user_ticks >> usage.system_ticks)) return std::nullopt;
  usage.waited = waited(process / "schedstat");
  std::error_code error;
  for (const files::directory_entry& task : files::directory_iterator(process / "task", error)) {
    usage.switches += field(task.path() / "status", "voluntary_ctxt_switches:");
    ++usage.threads;
  }
  return usage;
#else
  (void)pid;
  return std::nullopt;
#endif
}

Duration waited_of_this_thread() { return waited("/proc/thread-self/schedstat"); }

// --- cores

std::vector<int> allowed_cores() {
  std::vector<int> cores;
#ifdef __linux__
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    for (int core = 0; core < CPU_SETSIZE; ++core)
      if (CPU_ISSET(static_cast<std::size_t>(core), &set)) cores.push_back(core);
#endif
  return cores;
}

bool allow(const std::vector<int>& cores) noexcept {
#ifdef __linux__
  const cpu_set_t set = to_set(cores);
  return ::sched_setaffinity(0, sizeof set, &set) == 0;
#else
  (void)cores;
  return false;
#endif
}

bool pin_to(int core) noexcept { return allow({core}); }

std::vector<int> choose_cores() {
  std::vector<int> allowed = allowed_cores();
  if (allowed.size() < 2) return allowed;
  std::vector<int> chosen{allowed.front(), allowed[1]};
#ifdef __linux__
  std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(allowed.front()) +
                     "/topology/thread_siblings_list");
  std::string text;
  std::getline(file, text);
  const std::vector<int> siblings = parse_list(text);
  const auto apart = std::find_if(allowed.begin() + 1, allowed.end(), [&](int core) {
    return std::find(siblings.begin(), siblings.end(), core) == siblings.end();
  });
  if (apart != allowed.end()) chosen[1] = *apart;
#endif
  return chosen;
}

}  // namespace duolu::lab
