// Layer: load. The load engine: one thread, many connections to an echo server, every byte checked,
// every latency counted.
//
// Two models of what a client is.
//   closed loop  Each active connection sends its next message when an answer is back (`pipeline`
//                messages are on their way at a time). It measures what the server can do; a server
//                that stops is sent less, so its latencies say little.
//   open loop    Messages start at instants fixed in advance (`rate`, `arrivals`), whatever the
//                server does, each on the active connection that has been free longest. If none is
//                free they queue here, and their latency counts from the intended start: the
//                corrected one (for "coordinated omission"). Uncorrected counts from the send(2).
//
// What happens in a run:
//   1. All connections are made, a limited number at a time. Those that will be idle send one
//      message and check its answer, so that the server has made whatever it makes for a client.
//   2. Open loop: bare sleeps are measured, to show what this machine can do at all, and to know
//      how long before an instant to stop sleeping and spin.
//   3. Warm-up: load as in the measurement, nothing counted.
//   4. The measurement: counted are closed-loop answers that come in it, open-loop messages that
//      were to start in it. With `messages` exactly so many are measured, less those that were
//      lost; in a closed loop those that the warm-up left on their way are among them.
//   5. Messages still on their way get `timeout` to come back.
//
// A connection that breaks is made anew, its messages are lost. When that fails, during warm-up and
// measurement, it is tried again every 10 ms: a server that restarts makes a gap, which is counted,
// and the run goes on. Only when nothing has come for `timeout` it ends.
//
// A message that is given up (its connection broke, or it was waited for in vain) has no latency,
// but at least the age it had by then. Open loop: that is counted in the corrected histogram, so
// that no percentile looks better than it was; in both loops it is counted in `unanswered`.
//
// The clock is read once for every batch of bytes received. A message costs one send(2) and one
// recv(2); its memory is taken at the start.
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

namespace duolu {

/// How the starts of an open loop are spaced.
enum class Arrivals : std::uint8_t {
  constant,  ///< Every 1/rate seconds.
  poisson,   ///< At random, 1/rate seconds apart in the mean: many independent clients.
};

struct LoadOptions {
  std::size_t connections = 1;
  std::size_t active = 0;    ///< How many of them send; 0: all. The others stay idle.
  std::size_t size = 64;     ///< Bytes in a message; 1 at least.
  std::size_t pipeline = 1;  ///< Messages on their way at a time on a connection; 1 at least.
  std::uint64_t churn = 0;   ///< Messages after which a connection is made anew; 0: never.
  double rate = 0;           ///< Messages a second over all; 0: closed loop.
  Arrivals arrivals = Arrivals::constant;
  Duration warmup = Duration::zero();
  Duration duration = std::chrono::seconds(10);  ///< Of the measurement.
  std::uint64_t messages = 0;  ///< Ends the measurement after so many instead, if not 0.
  Duration timeout =
      std::chrono::seconds(5);  ///< For a connection, and while no answer comes at all.
  std::uint64_t seed = 1;       ///< Of the payload and of random arrivals.
  Host* host = nullptr;         ///< Asked for this thread's CPU time; null: real_host().
};

/// What went wrong with a connection or a message.
enum class LoadError : std::uint8_t {
  refused,     ///< Nobody listens.
  reset,       ///< The connection broke: ECONNRESET, EPIPE.
  closed,      ///< The server ended it, though answers were due or might have come.
  timeout,     ///< Not connected in time, or ETIMEDOUT.
  wrong_byte,  ///< Something else than what was sent came back.
  unanswered,  ///< A message whose answer never came.
  other,       ///< Any other errno; `LoadReport::stopped` says which.
  count_
};
/// "wrong_byte".
[[nodiscard]] std::string_view to_string(LoadError error) noexcept;

/// What a run found. Times in the histograms are nanoseconds.
struct LoadReport {
  Address target;              ///< What was connected to.
  Duration elapsed{};          ///< Of the measurement.
  std::uint64_t messages = 0;  ///< Answered, right, and counted (see step 4).
  std::uint64_t answered = 0;  ///< Answers that came within the measurement; throughput is these.
  Histogram uncorrected;       ///< From the send to the whole answer.
  Histogram corrected;         ///< From the intended start; open loop only. Those of `unanswered`
                               ///< that were to start in the measurement are in it.
  Histogram unanswered;        ///< From the intended start until the message was given up.
  Histogram connecting;        ///< From connect(2) to connected.
  std::uint64_t opened = 0;    ///< Connections made in all.
  std::size_t open_at_end = 0;
  std::uint64_t lost = 0;  ///< Connections that broke during warm-up and measurement.
  std::uint64_t gaps = 0;  ///< How often no connection could be made, though one had broken.
  Duration gap_time{};     ///< From what broke to the connection that answered again, of all gaps.
  Duration longest_gap{};
  std::array<std::uint64_t, static_cast<std::size_t>(LoadError::count_)> errors{};

  /// CPU time of this thread in the measurement, and the part of it that was spinning on purpose.
  Duration cpu{};
  Duration spun{};
  std::uint64_t preempted = 0;  ///< How often the kernel took the processor away.
  Histogram start_error;        ///< Open loop: how late messages started though they could.
  Histogram bare_sleep;         ///< Open loop: how late clock_nanosleep(2) comes back.

  /// Why this client, not the server, may be what was measured; empty if nothing points to it.
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

/// Where a run is, for whoever watches it.
struct LoadProgress {
  enum class Phase : std::uint8_t { connecting, warmup, measuring, draining };
  Phase phase{};
  Duration elapsed{};  ///< In this phase.
  std::size_t connections = 0;
  std::uint64_t answered = 0;  ///< In the measurement so far.
  std::uint64_t errors = 0;
};

/// Runs a load against `target` and reports. What the server or the network does wrong is in the
/// report; a failure means that there was no run at all: the first connection could not be made
/// (ECONNREFUSED, ETIMEDOUT ...), or this machine's limits are in the way (EMFILE, ENOMEM).
///
/// `poller` is used by nobody else meanwhile. `watch`, if there is one, is called about four times
/// a second on this thread; when it returns false the run ends, with the figures so far.
[[nodiscard]] Result<LoadReport> run_load(
    Poller& poller, const Address& target, const LoadOptions& options,
    const std::function<bool(const LoadProgress&)>& watch = {});

/// The same against a name that has several addresses: all connections are made to whichever of
/// them answers first, found as by connect() of net/connect.hpp, within `timeout`. Its connection
/// is the first of the run. Failures: connect()'s, too.
[[nodiscard]] Result<LoadReport> run_load(
    Poller& poller, const std::vector<Address>& targets, const LoadOptions& options,
    const std::function<bool(const LoadProgress&)>& watch = {});

}  // namespace duolu
