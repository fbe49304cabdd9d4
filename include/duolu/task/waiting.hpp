// Public. Layer: task. What a chain waits for, as reported by Loop::tasks(). Needed only by
// authors of new awaitables (WaitKind).
#pragma once

#include <string>
#include <vector>

#include "duolu/base/time.hpp"

namespace duolu {

class Chain;
namespace detail {
class TaskPromise;
}

struct Waiting {
  /// The task that waits. Null: the chain runs, or is about to, or it is not known.
  const detail::TaskPromise* task = nullptr;
  std::string what;                    ///< "to read from tcp://127.0.0.1:5000"
  Instant until = never;               ///< When the wait ends at the latest.
  std::vector<const Chain*> children;  ///< Chains that it waits for.
};

}  // namespace duolu
