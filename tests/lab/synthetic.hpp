// Results as if they had been measured: times that are set, with a noise that a seed decides.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "duolu/base/prng.hpp"
#include "duolu/lab/results.hpp"

namespace duolu::lab {

// Names of servers; nothing is decided by them but what was "measured".
inline const std::string by_select = "select";
inline const std::string by_poll = "poll";
inline const std::string by_epoll = "epoll";

/// The loads of `duolu lab`.
inline std::vector<Load> synthetic_loads() {
  return {{"c1", "1 connection", 1, 1, false},
          {"c10", "10 connections, all active", 10, 10, true},
          {"c100", "100 connections, all active", 100, 100, false},
          {"idle100", "10 active beside 100 idle", 110, 10, true},
          {"idle500", "10 active beside 500 idle", 510, 10, true},
          {"idle1000", "10 active beside 1000 idle", 1010, 10, true}};
}

/// A factor between 1 - most and 1 + most.
inline double noise(Prng& random, double most) {
  return 1 + most * (static_cast<double>(random.below(2001)) / 1000 - 1);
}

/// CPU time a message of a server under a load, without noise.
using Cost = std::function<double(const std::string& subject, const Load& load)>;

inline double usual_cost(const std::string& subject, const Load& load) {
  const auto idle = static_cast<double>(load.idle());
  if (subject == by_select) return 4 + 0.006 * idle;
  if (subject == by_poll) return 4 + 0.008 * idle;
  return 4;
}

/// `noisy`: of each run; `phase`: of each round, for all of its runs alike.
inline Results synthetic(const std::vector<std::string>& subjects, const Cost& cost,
                         double noisy = 0.01, double phase = 0.2, std::size_t rounds = 6) {
  Prng random(7);
  Results results;
  results.subjects = subjects;
  results.loads = synthetic_loads();
  results.rounds = rounds;
  for (std::size_t round = 0; round < rounds; ++round) {
    const double weather = noise(random, phase);
    for (std::size_t load = 0; load < results.loads.size(); ++load)
      for (std::size_t subject = 0; subject < subjects.size(); ++subject) {
        const double cpu =
            cost(subjects[subject], results.loads[load]) * weather * noise(random, noisy);
        results.samples.push_back({.round = round,
                                   .load = load,
                                   .subject = subject,
                                   .elapsed_s = 0.1,
                                   .messages = 10'000,
                                   .rate = 1e6 / cpu,
                                   .p50_us = cpu,
                                   .p99_us = 3 * cpu,
                                   .cpu_us = cpu,
                                   .user_share = 0.1,
                                   .switches = load == 0 ? 1 : 0.1,
                                   .server_share = 1,
                                   .client_share = 0.5,
                                   .waited_share = 0});
      }
  }
  return results;
}

}  // namespace duolu::lab
