#include "apps/options.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "apps/text.hpp"
#include "apps/verbs.hpp"

namespace duolu::apps {
namespace {

std::atomic<void (*)(void*)> stop_function{nullptr};
std::atomic<void*> stop_context{nullptr};
std::atomic<int> first_signal{0};

extern "C" void on_stop_signal(int signal) {
  const int saved = errno;
  int none = 0;
  // A terminal that closes often sends SIGHUP twice, by the kernel and by the shell: count one.
  if (!first_signal.compare_exchange_strong(none, signal)) {
    if (signal != SIGHUP) ::_exit(128 + signal);
    errno = saved;
    return;
  }
  if (auto* stop = stop_function.load()) stop(stop_context.load());
  errno = saved;
}

}  // namespace

Duration duration_argument(const char* option, const std::string& text) {
  const std::optional<Duration> duration = parse_duration(text);
  if (!duration)
    throw Failure(exit_usage, fmt::format("{} {}: not a duration; write 250ms, 1.5s, 2m or 1h",
                                          option, escape(text)));
  return *duration;
}

std::uint64_t count_argument(const char* option, const std::string& text, const char* like) {
  const std::optional<std::uint64_t> count = parse_count(text);
  if (!count || *count == 0)
    throw Failure(exit_usage, fmt::format("{} {}: not a number above zero, like {}", option,
                                          escape(text), like));
  return *count;
}

std::string text_argument(const char* option, const std::string& text) {
  std::optional<std::string> bytes = unescape(text);
  if (!bytes)
    throw Failure(exit_usage,
                  fmt::format("{} {}: unknown escape; there are \\r \\n \\t \\0 \\\\ \\\" "
                              "\\' and \\xHH",
                              option, escape(text)));
  return *std::move(bytes);
}

std::string connect_advice(std::error_code error, Duration timeout, const char* option) {
  if (error.category() != std::generic_category()) return "is the address right?";
  switch (error.value()) {
    case ECONNREFUSED: return "nothing listens there; is the server running?";
    case ETIMEDOUT:
      return fmt::format(
          "no answer within {}; is the host up, or a firewall in between? {} waits longer",
          to_text(timeout), option);
    case ENOENT: return "there is no such socket; is the server running, and the path right?";
    case EACCES: return "its permissions or a firewall forbid it";
    case EPERM: return "a firewall or a sandbox of this machine forbids it";
    case ENETUNREACH:
    case EHOSTUNREACH: return "there is no route to it; `ip route` shows those there are";
    case EADDRNOTAVAIL:
      return "every local port for it is in use; `ss -tan` shows by what: wait until those in "
             "TIME-WAIT are gone, or widen `sysctl net.ipv4.ip_local_port_range`";
    case EMFILE:
      return "`ulimit -n` shows how many descriptors this may have; the call that started it may "
             "have left some open";
    case ENFILE:
      return "the system has no descriptor left; `sysctl fs.file-nr` shows how many are open";
    default: return "is the address right?";
  }
}

std::vector<Address> target_argument(Kernel& kernel, const std::string& text) {
  const std::expected<Endpoint, std::string> endpoint = parse_endpoint(text);
  if (!endpoint) throw Failure(exit_usage, escape(endpoint.error()));
  if (endpoint->scheme == Endpoint::Scheme::tcp && endpoint->port == 0)
    throw Failure(exit_usage, "no server listens on port 0: which port is it?");
  Result<std::vector<Address>> found = resolve(kernel, *endpoint);
  if (!found)
    throw Failure(exit_no_connection, fmt::format("cannot connect to {}: {}; is the name right?",
                                                  escape(text), found.error().message()));
  return *std::move(found);
}

void write_output(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0)
    throw Failure(exit_failed, "cannot write to standard output: " + errno_code(errno).message());
}

void add_backend_option(Verb& verb, std::string& name, Listed listed) {
  std::vector<std::string> names{"auto"};
  std::string list = "auto";
  for (const EngineKind& kind : engines()) {
    names.emplace_back(kind.name);
    if (listed == Listed::engines || kind.poller != nullptr) list.append(", ").append(kind.name);
  }
  verb.option("--backend", name, list + " [auto]").type_name("NAME").one_of(names);
}

EngineChoice engine_argument(Kernel& kernel, const std::string& name) {
  EngineChoice choice = choose_engine(kernel, name);
  if (choice.kind == nullptr) throw Failure(exit_not_here, "no backend works here: " + choice.why);
  if (name == "auto") {
    choice.why.insert(0, "best that works here; ");
    return choice;
  }
  const Probe probe = choice.kind->probe(kernel);
  if (!probe.works())
    throw Failure(exit_not_here, fmt::format("--backend {}: not available here: {}; {}", name,
                                             probe.reason, probe.advice));
  choice.why = "as asked for";
  return choice;
}

void cannot_make_backend(std::string_view name, std::error_code error) {
  throw Failure(exit_not_here,
                fmt::format("backend {}: {}; `duolu doctor` says more", name, error.message()));
}

void make_room(Kernel& kernel, Host& host, const std::string& what, std::size_t count) {
  constexpr std::size_t own = 16;  // standard streams, poller, wake-up, listeners
  struct rlimit limit{};
  if (kernel.getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  // The lowest numbers are used first, so inherited ones are not far behind free ones.
  std::size_t inherited = 0;
  const int end = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 4096));
  for (int fd = 3; fd < end; ++fd) inherited += kernel.fcntl(fd, F_GETFD, 0) >= 0 ? 1 : 0;
  const rlim_t needed = count + own + inherited;
  if (needed <= limit.rlim_cur) return;
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = needed;
  if (needed <= limit.rlim_max && host.setrlimit(RLIMIT_NOFILE, &limit) == 0) return;
  const std::string advice =
      inherited == 0
          ? "or ask for fewer"
          : fmt::format("or close the {} that were open when this was started", inherited);
  throw Failure(exit_not_here, fmt::format("{} needs a limit of {} open files, it is {}: run "
                                           "`ulimit -n {}` first, {}",
                                           what, needed, before, needed, advice));
}

bool is_ignored(Kernel& kernel, int signal) {
  struct sigaction is{};
  return kernel.sigaction(signal, nullptr, &is) == 0 && is.sa_handler == SIG_IGN;
}

StopSignals::StopSignals(Kernel& kernel, void (*stop)(void*), void* context) {
  stop_context = context;
  stop_function = stop;
  struct sigaction action{};
  action.sa_handler = on_stop_signal;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP})
    if (!is_ignored(kernel, signal)) kernel.sigaction(signal, &action, nullptr);
}

StopSignals::~StopSignals() { stop_function = nullptr; }

int StopSignals::received() const noexcept { return first_signal; }

}  // namespace duolu::apps
