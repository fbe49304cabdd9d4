// Layer: lab. What was measured, and what it says: figures for each server under each load, ratios
// to the baseline, and when a ratio is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "duolu/base/standard.hpp"
#include "duolu/lab/statistics.hpp"

namespace duolu::lab {

/// A load: `active` of the connections send a message, wait for its answer, and send the next one;
/// the others are idle.
struct Load {
  std::string name;   ///< For programs: "c100".
  std::string title;  ///< For people: "100 connections, all active".
  std::size_t connections = 1;
  std::size_t active = 1;
  /// One of those that differ in idle connections alone, from 0 on: they show how a cost grows.
  bool in_series = false;

  [[nodiscard]] std::size_t idle() const noexcept { return connections - active; }
};

/// The figures of one run. Those of the server are of all its threads, in the measurement alone.
struct Sample {
  std::size_t round = 0;
  std::size_t load = 0;     ///< Index in Results::loads.
  std::size_t subject = 0;  ///< Index in Results::subjects.
  double elapsed_s = 0;
  std::uint64_t messages = 0;
  double rate = 0;  ///< Messages a second.
  double p50_us = 0;
  double p99_us = 0;
  double cpu_us = 0;        ///< CPU time of the server a message.
  double user_share = 0;    ///< Of that time, as the kernel's clock ticks sample it.
  double switches = 0;      ///< Voluntary context switches of the server a message.
  double server_share = 0;  ///< CPU time of the server, of the time that passed.
  double client_share = 0;
  /// Of the time: how long the server (if it has one thread) or the client, whichever waited
  /// longer, was ready to run while something else had its core.
  double waited_share = 0;

  bool operator==(const Sample&) const = default;
};

/// Why a server has no more figures for a load.
struct RunFailure {
  std::size_t load = 0;
  std::size_t subject = 0;
  std::string why;
};

struct Results {
  std::vector<std::string> subjects;  ///< The servers' names.
  std::vector<Load> loads;
  std::vector<Sample> samples;  ///< In the order of time.
  std::vector<RunFailure> failures;
  bool one_core = false;   ///< Server and client shared one.
  std::string incomplete;  ///< Why not all was measured; empty if it was.
  std::size_t rounds = 0;  ///< Of the plan.
  double seconds = 0;      ///< Of the whole measurement.
  std::uint64_t seed = 1;  ///< Of the order of the runs, and of resampling.

  /// The index of the subject of that name, or the number of subjects.
  [[nodiscard]] std::size_t subject(std::string_view name) const noexcept;
  /// The samples of one server under one load.
  [[nodiscard]] std::vector<Sample> of(std::size_t subject, std::size_t load) const;
};

/// What all runs of a server under a load have in common: medians, each for itself.
struct Figures {
  std::size_t runs = 0;
  Estimate rate;
  Estimate cpu_us;
  double p50_us = 0;
  double p99_us = 0;
  double user_share = 0;
  double switches = 0;
  double server_share = 0;
  double client_share = 0;
  double waited_share = 0;
  /// The client was busy and the server was not, so the server can do more than `rate`.
  bool client_was_limit = false;
};
[[nodiscard]] Figures figures_of(const Results& results, std::size_t subject, std::size_t load);

/// A figure that servers are compared by.
using Measure = double Sample::*;

/// A comparison of two servers under one load, run by run of the same round.
struct Comparison {
  Estimate ratio;
  std::string refusal;  ///< Why it allows no verdict; empty if it does.

  /// The ratio is below, or above, that value, with all of its interval.
  [[nodiscard]] bool below(double value) const noexcept;
  [[nodiscard]] bool above(double value) const noexcept;
  /// Neither below nor above 1, and the interval is narrow enough to say that.
  [[nodiscard]] bool no_difference() const noexcept;
};

// When a comparison is refused: docs/lab.md lists the same.
inline constexpr double busy_share = 0.95;    ///< From here on a process had no time to spare.
inline constexpr double waited_limit = 0.05;  ///< Of the time, for a core that others had.
inline constexpr double spread_limit = 0.15;  ///< Between the quartiles of the baseline's runs.
/// Half the width of an interval around 1: a wider one does not show that there is no difference.
inline constexpr double interval_limit = 0.10;

/// `subject` in ratio to `baseline`. The client's limit matters to rates only.
[[nodiscard]] Comparison compare(const Results& results, std::size_t baseline, std::size_t subject,
                                 std::size_t load, Measure measure);

}  // namespace duolu::lab
