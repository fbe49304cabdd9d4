// Layer: lab. Measures servers under loads, in turns.
//
// A round runs every server once under every load; the servers of a load run one after the other,
// in an order that the seed decides, and anew in each round. So a slow phase of the machine, which
// lasts longer than a run, strikes neighbours, and each pair of one round has had the same weather.
// Each run starts a new process, since addresses and places in the kernel's tables differ between
// processes and would otherwise be part of a result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"
#include "duolu/lab/results.hpp"
#include "duolu/poll/poller.hpp"

namespace duolu::lab {

/// A server to be measured.
struct Subject {
  std::string name;
  std::vector<std::string> words;  ///< As for Child::start().
  std::size_t most_connections = SIZE_MAX;
  bool threads = false;              ///< It has several, which wait for each other's turn.
  std::vector<std::string> loads{};  ///< Measured under these only; empty: under all.

  [[nodiscard]] bool takes(const Load& load) const;
};

struct Plan {
  std::vector<Subject> subjects;
  std::vector<Load> loads;
  std::size_t rounds = 1;
  Duration warmup{};
  Duration duration{};              ///< Of each measurement.
  Duration most = Duration::max();  ///< Ends after so long, whatever is left.
  std::size_t size = 64;            ///< Bytes in a message.
  std::uint64_t seed = 1;
  std::vector<int> cores;  ///< Of server and client; with fewer than two nothing is pinned.
};

/// How many runs it takes.
[[nodiscard]] std::size_t runs_of(const Plan& plan);

struct LabProgress {
  std::size_t done = 0;
  std::size_t runs = 0;
  std::string_view subject;
  std::string_view load;
  Duration left{};  ///< As far as the runs so far tell; zero at the start.
};

/// Measures, with clients on `poller` on this thread, which is put on the client's core meanwhile.
/// `watch` is called about four times a second and before each run; when it returns false the
/// measurement ends, and the results are those of the runs that were complete. A run that fails
/// leaves its server out of that load from then on. A failure of this function means that no server
/// can be run here at all (EMFILE, EAGAIN, ENOENT ...).
[[nodiscard]] Result<Results> measure(Poller& poller, const Plan& plan,
                                      const std::function<bool(const LabProgress&)>& watch);

}  // namespace duolu::lab
