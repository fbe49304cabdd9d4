// Layer: load. The load engine: one thread, many connections to an echo server, every byte checked,
// every latency recorded.
//
// Two models of a client:
//   closed loop  Each active connection sends its next message when an answer has arrived
//                (`pipeline` messages are outstanding at a time). It measures what the server can
//                do. A server that stalls is sent less, so the latencies say little.
//   open loop    Messages start at instants fixed in advance (`rate`, `arrivals`), whatever the
//                server does, each on the active connection that has been free longest. If none is
//                free they queue here, and their latency counts from the intended start: it is
//                corrected for "coordinated omission". Uncorrected latency counts from the send(2).
//
// What happens in a run:
//   1. All connections are made, a limited number at a time. Those that will be idle send one
//      message and check its answer, so that the server has allocated all that a client needs.
//   2. Open loop: bare sleeps are measured, to show what this machine can do at all, and to know
//      how long before an instant to stop sleeping and spin.
//   3. Warm-up: load as in the measurement, nothing counted.
//   4. The measurement. It counts closed-loop answers that arrive in it, and open-loop messages
//      whose intended start is in it. With `messages`, exactly that many are measured, less those
//      that were lost; in a closed loop they include those outstanding at the end of the warm-up.
//   5. Messages that are still outstanding get `timeout` to be answered.
//
// A connection that breaks is replaced; its messages are lost. When the new connection fails,
// during warm-up and measurement, another attempt follows every 10 ms: so a server that restarts
// causes a gap, which is counted. The run only ends when nothing has arrived for `timeout`.
//
// A message that is given up (its connection broke, or no answer arrived in time) has no latency,
// but its age by then is a lower bound of it. Open loop: the age is counted in the corrected
// histogram, so that no percentile looks too good. In both loops it is counted in `unanswered`.
//
// The clock is read once for every batch of bytes received. A message costs one send(2) and one
// recv(2); its memory is allocated at the start.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"
#include "duolu/kernel/host.hpp"
#include "duolu/load/histogram.hpp"
#include "duolu/net/address.hpp"
#include "duolu/poll/poller.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

/// How the starts of an open loop are spaced.
enum class Arrivals : std::uint8_t {
  constant,  ///< Every 1/rate seconds.
  poisson,   ///< At random, on average 1/rate seconds apart, as with many independent clients.
};

struct LoadOptions {
  std::size_t connections = 1;
  std::size_t active = 0;    ///< How many of them send; 0: all. The others stay idle.
  std::size_t size = 64;     ///< Bytes in a message; 1 at least.
  std::size_t pipeline = 1;  ///< Outstanding messages of a connection; 1 at least.
  std::uint64_t churn = 0;   ///< Messages after which a connection is replaced; 0: never.
  double rate = 0;           ///< Messages a second in all; 0: closed loop.
  Arrivals arrivals = Arrivals::constant;
  Duration warmup = Duration::zero();
  Duration duration = std::chrono::seconds(10);  ///< Of the measurement.
  std::uint64_t messages = 0;  ///< Ends the measurement after so many instead, if not 0.
  Duration timeout =
      std::chrono::seconds(5);  ///< For a connection, and while no answer arrives at all.
  std::uint64_t seed = 1;       ///< Of the payload and of random arrivals.
  Host* host = nullptr;         ///< Used for this thread's CPU time; null: real_host().
};

/// What went wrong with a connection or a message.
enum class LoadError : std::uint8_t {
  refused,     ///< ECONNREFUSED: there is no listener.
  reset,       ///< The connection broke: ECONNRESET, EPIPE.
  closed,      ///< The server ended it, with answers outstanding or still possible.
  timeout,     ///< Not connected in time, or ETIMEDOUT.
  wrong_byte,  ///< An answer differs from what was sent.
  unanswered,  ///< A message was never answered.
  other,       ///< Any other errno; `LoadReport::stopped` says which.
  count_
};
/// "wrong_byte".
[[nodiscard]] std::string_view to_string(LoadError error) noexcept;

/// The result of a run. Times in the histograms are nanoseconds.
struct LoadReport {
  Address target;              ///< The address of the connections.
  Duration elapsed{};          ///< Of the measurement.
  std::uint64_t messages = 0;  ///< Answered correctly, and counted (see step 4).
  std::uint64_t answered = 0;  ///< Answers that arrived in the measurement, for the throughput.
  Histogram uncorrected;       ///< From the send to the whole answer.
  Histogram corrected;         ///< From the intended start; open loop only. It includes those of
                               ///< `unanswered` whose intended start is in the measurement.
  Histogram unanswered;        ///< From the intended start until the message was given up.
  Histogram connecting;        ///< From connect(2) to connected.
  std::uint64_t opened = 0;    ///< Connections made in all.
  std::size_t open_at_end = 0;
  std::uint64_t lost = 0;  ///< Connections that broke during warm-up and measurement.
  std::uint64_t gaps = 0;  ///< How often a broken connection could not be replaced.
  Duration gap_time{};     ///< Of all gaps, from the break to a connection that answers again.
  Duration longest_gap{};
  std::array<std::uint64_t, static_cast<std::size_t>(LoadError::count_)> errors{};

  /// CPU time of this thread in the measurement, and the part of it that was spinning on purpose.
  Duration cpu{};
  Duration spun{};
  std::uint64_t preempted = 0;  ///< How often the kernel preempted this thread.
  Histogram start_error;        ///< Open loop: how late messages started that could have started.
  Histogram bare_sleep;         ///< Open loop: how late clock_nanosleep(2) returns.

  /// Why this client, not the server, may be the limit; empty if nothing indicates it.
  std::string limit;
  /// Why the run ended before its time; empty if it did not.
  std::string stopped;

  [[nodiscard]] std::uint64_t error_count(LoadError error) const noexcept {
    return errors[static_cast<std::size_t>(error)];
  }
  /// Answers a second.
  [[nodiscard]] double throughput() const noexcept;
  /// The CPU time that was work, as a share of the time that passed: 0 to 1.
  [[nodiscard]] double busy() const noexcept;
};

/// The progress of a run, for `watch` of run_load().
struct LoadProgress {
  enum class Phase : std::uint8_t { connecting, warmup, measuring, draining };
  Phase phase{};
  Duration elapsed{};  ///< In this phase.
  std::size_t connections = 0;
  std::uint64_t answered = 0;  ///< In the measurement so far.
  std::uint64_t errors = 0;
};

/// Runs a load against `target` and reports. Errors of the server and the network are in the
/// report. A failure means that there was no run at all: the first connection could not be made
/// (ECONNREFUSED, ETIMEDOUT ...), or a limit of this machine was reached (EMFILE, ENOMEM).
///
/// `poller` must not be used for anything else meanwhile. `watch`, if there is one, is called about
/// four times a second on this thread, right before the measurement begins and right after it has
/// ended; when it returns false the run ends, with the figures so far.
[[nodiscard]] Result<LoadReport> run_load(
    Poller& poller, const Address& target, const LoadOptions& options,
    const std::function<bool(const LoadProgress&)>& watch = {});

/// The same for a name with several addresses: all connections go to the address that answers
/// first, found as by connect() of net/connect.hpp, within `timeout`. That connection is the first
/// of the run. Failures: connect()'s, too.
[[nodiscard]] Result<LoadReport> run_load(
    Poller& poller, const std::vector<Address>& targets, const LoadOptions& options,
    const std::function<bool(const LoadProgress&)>& watch = {});

/// The same as a task, beside others of its loop, such as a server. It waits for `poller`, which
/// has a descriptor (Poller::fd()), and blocks nothing: bare sleeps are not measured, nothing
/// spins, and starts are as late as the loop. When its chain is cancelled it returns the figures so
/// far. Failures: those of run_load(); ENOTSUP if the poller has no descriptor.
[[nodiscard]] Task<Result<LoadReport>> load(Poller& poller, std::vector<Address> targets,
                                            LoadOptions options,
                                            std::function<bool(const LoadProgress&)> watch = {});

}  // namespace duolu
