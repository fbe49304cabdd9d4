// Public. Layer: task. What a strand waits for, told to a report (Loop::tasks). Only those who
// write something to wait for need it (WaitKind).
#pragma once

#include <string>
#include <vector>

#include "duolu/base/time.hpp"

namespace duolu {

class Strand;
namespace detail {
class TaskPromise;
}

struct Waiting {
  /// Who waits. Null: the strand runs, or is about to, or nothing is known.
  const detail::TaskPromise* task = nullptr;
  std::string what;                     ///< "to read from tcp://127.0.0.1:5000"
  Instant until = never;                ///< When it ends at the latest.
  std::vector<const Strand*> children;  ///< Strands that it waits for.
};

}  // namespace duolu
