#include "duolu/lab/measure.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "duolu/base/prng.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/lab/process.hpp"
#include "duolu/load/load.hpp"
#include "duolu/net/address.hpp"

namespace duolu::lab {
namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }
double us(std::uint64_t ns) { return static_cast<double>(ns) / 1000; }

/// A loopback address whose port the system chooses.
Address any_port() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return {reinterpret_cast<const sockaddr*>(&address), sizeof address};
}

/// The kernel's counts at one instant.
struct Reading {
  bool taken = false;
  bool has_server = false;  ///< Whether the system shows it.
  ProcessUsage server{};
  Duration client_waited{};
};

/// Restores the cores of this thread.
class Pinned {
 public:
  explicit Pinned(bool pins) : before_(pins ? allowed_cores() : std::vector<int>()) {}
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  ~Pinned() {
    if (!before_.empty()) allow(before_);
  }

 private:
  std::vector<int> before_;
};

class Measurement {
 public:
  Measurement(Poller& poller, const Plan& plan,
              const std::function<bool(const LabProgress&)>& watch)
      : poller_(poller), kernel_(poller.kernel()), plan_(plan), watch_(watch) {
    for (const Subject& subject : plan.subjects) results_.subjects.push_back(subject.name);
    results_.loads = plan.loads;
    results_.rounds = plan.rounds;
    results_.seed = plan.seed;
    results_.one_core = plan.cores.size() == 1;
  }

  Result<Results> run() {
    begun_ = kernel_.now();
    progress_.runs = runs_of(plan_);
    const Pinned pinned(pins());
    Prng random(plan_.seed);
    for (std::size_t round = 0; round < plan_.rounds; ++round)
      for (std::size_t load = 0; load < plan_.loads.size(); ++load)
        for (const std::size_t subject : in_turns(load, random))
          if (const Result<> result = one(round, load, subject); !result)
            return fail(result.error());
    results_.seconds = seconds(kernel_.now() - begun_);
    return std::move(results_);
  }

 private:
  bool pins() const noexcept { return plan_.cores.size() >= 2; }
  bool ended() const noexcept { return !results_.incomplete.empty(); }

  std::vector<std::size_t> in_turns(std::size_t load, Prng& random) const {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < plan_.subjects.size(); ++i)
      if (plan_.subjects[i].takes(plan_.loads[load])) order.push_back(i);
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    return order;
  }

  /// One run, unless it failed before or the measurement has ended.
  Result<> one(std::size_t round, std::size_t load, std::size_t subject) {
    if (ended()) return {};
    const Duration passed = kernel_.now() - begun_;
    if (passed >= plan_.most) {
      results_.incomplete = "the time was up in round " + std::to_string(round + 1) + " of " +
                            std::to_string(plan_.rounds);
      return {};
    }
    progress_.subject = plan_.subjects[subject].name;
    progress_.load = plan_.loads[load].title;
    if (progress_.done > 0) {
      const auto done = static_cast<std::int64_t>(progress_.done);
      progress_.left = passed / done * static_cast<std::int64_t>(progress_.runs) - passed;
    }
    if (!go_on()) return {};
    if (!failed_.contains({load, subject})) {
      const Result<> ran = try_one(round, load, subject);
      if (!ran) return ran;
    }
    ++progress_.done;
    return {};
  }

  bool go_on() {
    if (!watch_ || watch_(progress_)) return true;
    results_.incomplete = "interrupted after " + std::to_string(progress_.done) + " of " +
                          std::to_string(progress_.runs) + " runs";
    return false;
  }

  /// A sample, or why the server has failed; or neither.
  struct Outcome {
    std::optional<Sample> sample{};
    std::string why{};
  };

  Result<> try_one(std::size_t round, std::size_t load, std::size_t subject) {
    const Result<Outcome> outcome = start_and_load(plan_.loads[load], plan_.subjects[subject]);
    if (!outcome) return fail(outcome.error());
    if (ended()) return {};
    const Outcome& found = *outcome;
    if (!found.why.empty()) {
      failed_.insert({load, subject});
      results_.failures.push_back({load, subject, found.why});
    }
    if (!found.sample) return {};
    Sample sample = *found.sample;
    sample.round = round;
    sample.load = load;
    sample.subject = subject;
    results_.samples.push_back(sample);
    return {};
  }

  /// A failure is this machine's.
  Result<Outcome> start_and_load(const Load& load, const Subject& subject) {
    Result<Fd> listener = listen_on(kernel_, any_port());
    if (!listener) return fail(listener.error());
    Address address;
    if (const int result =
            kernel_.getsockname(listener->get(), address.data(), address.size_slot());
        result < 0)
      return fail(-result);
    if (pins()) pin_to(plan_.cores[0]);  // the child inherits it
    Result<Child> server = Child::start(subject.words, listener->get());
    if (pins()) pin_to(plan_.cores[1]);
    if (!server) return fail(server.error());
    // From now on the socket is the server's alone: when it ends, its clients find out at once.
    listener = Fd();
    return under_load(*server, address, load, subject);
  }

  Result<Outcome> under_load(Child& server, const Address& address, const Load& load,
                             const Subject& subject) {
    LoadOptions options;
    options.connections = load.connections;
    options.active = load.active;
    options.size = plan_.size;
    options.warmup = plan_.warmup;
    options.duration = plan_.duration;
    options.seed = plan_.seed;
    Reading before;
    Reading after;
    using Phase = LoadProgress::Phase;
    const Result<LoadReport> report =
        run_load(poller_, address, options, [&](const LoadProgress& progress) {
          if (progress.phase == Phase::measuring && !before.taken) before = read(server);
          if (progress.phase == Phase::draining && !after.taken) after = read(server);
          return go_on();
        });
    if (ended()) return Outcome{};
    if (!report && is_local(report.error())) return fail(report.error());
    std::string wrong = !report ? report.error().message() : errors_of(*report);
    // On a busy machine the client may not have had a core for as long as a short run.
    if (wrong.empty() && (!before.taken || !after.taken || report->answered == 0)) return Outcome{};
    if (wrong.empty() && (!before.has_server || !after.has_server))
      wrong = "this system does not show the CPU time of a process";
    if (!wrong.empty()) return Outcome{.why = why_ended(server).value_or(wrong)};
    return Outcome{.sample = sample_of(*report, before, after, subject)};
  }

  static std::string errors_of(const LoadReport& report) {
    std::string text;
    for (std::size_t i = 0; i < report.errors.size(); ++i)
      if (report.errors[i] != 0)
        text += (text.empty() ? "" : ", ") + std::to_string(report.errors[i]) + " " +
                std::string(to_string(static_cast<LoadError>(i)));
    if (!report.stopped.empty()) text += (text.empty() ? "" : "; ") + report.stopped;
    return text;
  }

  /// Why a server that has failed has ended; nullopt if it runs. Its sockets are closed a little
  /// earlier than it can be waited for.
  std::optional<std::string> why_ended(Child& server) {
    for (int i = 0; i < 20; ++i) {
      if (std::optional<std::string> why = server.ended()) return "the server ended: " + *why;
      (void)sleep_until(kernel_, after(kernel_.now(), std::chrono::milliseconds(5)));
    }
    return std::nullopt;
  }

  static bool is_local(std::error_code error) noexcept {
    return error == std::errc::too_many_files_open ||
           error == std::errc::too_many_files_open_in_system ||
           error == std::errc::not_enough_memory;
  }

  static Reading read(const Child& server) {
    const std::optional<ProcessUsage> usage = usage_of(server.pid());
    return {.taken = true,
            .has_server = usage.has_value(),
            .server = usage.value_or(ProcessUsage()),
            .client_waited = waited_of_this_thread()};
  }

  static Sample sample_of(const LoadReport& report, const Reading& before, const Reading& after,
                          const Subject& subject) {
    const auto messages = static_cast<double>(report.answered);
    const double elapsed = seconds(report.elapsed);
    const Duration cpu = after.server.cpu - before.server.cpu;
    const auto user = static_cast<double>(after.server.user_ticks - before.server.user_ticks);
    const auto system = static_cast<double>(after.server.system_ticks - before.server.system_ticks);
    const Duration waited =
        std::max(subject.threads ? Duration::zero() : after.server.waited - before.server.waited,
                 after.client_waited - before.client_waited);
    return {
        .elapsed_s = elapsed,
        .messages = report.answered,
        .rate = report.throughput(),
        .p50_us = us(report.uncorrected.percentile(50)),
        .p99_us = us(report.uncorrected.percentile(99)),
        .cpu_us = seconds(cpu) * 1e6 / messages,
        .user_share = user + system > 0 ? user / (user + system) : 0,
        .switches = static_cast<double>(after.server.switches - before.server.switches) / messages,
        .server_share = seconds(cpu) / elapsed,
        .client_share = report.busy(),
        .waited_share = seconds(waited) / elapsed};
  }

  Poller& poller_;
  Kernel& kernel_;
  const Plan& plan_;
  const std::function<bool(const LabProgress&)>& watch_;
  Instant begun_{};
  LabProgress progress_;
  std::set<std::pair<std::size_t, std::size_t>> failed_;  ///< (load, subject)
  Results results_;
};

}  // namespace

bool Subject::takes(const Load& load) const {
  return most_connections >= load.connections &&
         (loads.empty() || std::find(loads.begin(), loads.end(), load.name) != loads.end());
}

std::size_t runs_of(const Plan& plan) {
  std::size_t runs = 0;
  for (const Load& load : plan.loads)
    for (const Subject& subject : plan.subjects) runs += subject.takes(load) ? 1 : 0;
  return runs * plan.rounds;
}

Result<Results> measure(Poller& poller, const Plan& plan,
                        const std::function<bool(const LabProgress&)>& watch) {
  return Measurement(poller, plan, watch).run();
}

}  // namespace duolu::lab
