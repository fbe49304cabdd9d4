// Public. Layer: kernel. From an absolute deadline to the relative timeout a system call takes.
#pragma once

#include <time.h>

#include "duolu/base/time.hpp"
#include "duolu/kernel/kernel.hpp"

namespace duolu {

/// Sets `timeout` to what is left until `deadline`, kept in `storage`; to null for `never`. True if
/// nothing is left. For `immediately` the clock is not read.
inline bool time_left(Kernel& kernel, Instant deadline, timespec& storage,
                      const timespec*& timeout) noexcept {
  storage = {};
  timeout = deadline == never ? nullptr : &storage;
  if (deadline == never) return false;
  if (deadline == immediately) return true;
  const Instant now = kernel.now();
  if (deadline <= now) return true;
  const Duration left = deadline - now;
  const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
  storage.tv_sec = static_cast<time_t>(seconds.count());
  storage.tv_nsec = static_cast<long>((left - seconds).count());
  return false;
}

}  // namespace duolu
