// Layer: lab. What tutorials say about I/O models, judged by what was measured here. A verdict is
// computed from the samples, and never written by hand:
//
//   LB1  An interval is one of a median, of 95 % at least, from order statistics. Fewer than six
//        values have none, and there is no verdict from them.
//   LB2  A ratio is taken pair by pair, from runs of the same round: a slow phase that strikes both
//        changes nothing.
//   LB3  A comparison is refused, with the reason, if server and client shared a core, if others
//        used the cores for more than 5 % of the time, or if the quartiles of the baseline's own
//        times are more than 15 % apart. A client that was the limit makes rates useless, and
//        nothing else.
//   LB4  "No difference" needs an interval around 1 that is not wider than 10 % on either side. A
//        wider one allows no verdict.
//   LB5  A cost grows if all of the interval of its factor is above 1.1, and is flat if all of it
//        is below. It grows linearly if all of the exponent's interval is between 0.7 and 1.3.
//   LB6  A claim holds from the least number on from which the verdict is the same for each higher
//        one that was measured.
//   LB7  A claim about a server or a load that was not measured is "not measured".
//   LB8  The same samples give the same report.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "duolu/lab/results.hpp"
#include "duolu/lab/statistics.hpp"

namespace duolu::lab {

enum class Verdict : std::uint8_t {
  holds,
  holds_from,  ///< From a count on, which Claim::from has.
  does_not_hold,
  cannot_tell,   ///< At this noise; Claim::figures says what is in the way.
  not_measured,  ///< A server or a load that it needs is missing.
};
/// "holds", "holds from N on", "does not hold", "can't tell at this noise", "not measured".
[[nodiscard]] std::string_view to_string(Verdict verdict) noexcept;

struct Claim {
  std::string name;  ///< For programs: "select-linear".
  std::string text;  ///< What is claimed, a sentence.
  Verdict verdict = Verdict::not_measured;
  std::size_t from = 0;
  std::string figures;  ///< What the verdict was computed from, or why there is none.
};

/// How the CPU time of a server a message grows with idle connections: over the loads of the
/// series, in the rounds in which all of them were measured. `why` says why there is no growth.
struct GrowthFound {
  std::vector<double> idle;
  std::vector<std::size_t> loads;
  Growth growth;
  std::string why;
};
[[nodiscard]] GrowthFound growth_of(const Results& results, std::size_t subject);

/// Every claim, in the order of docs/lab.md.
[[nodiscard]] std::vector<Claim> judge(const Results& results);

/// The server that ratios are to.
inline constexpr std::string_view baseline_name = "epoll";

}  // namespace duolu::lab
