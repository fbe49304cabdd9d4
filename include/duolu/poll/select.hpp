// Public. Layer: poll. select(2) in its classic shape: three lists in, three lists out.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"
#include "duolu/kernel/kernel.hpp"

namespace duolu {

/// The descriptors that were ready, each list in the caller's order.
struct Selected {
  std::vector<int> readable;
  std::vector<int> writable;
  std::vector<int> exceptional;
};

/// Waits until at least one descriptor is readable (or at its end), writable, or in an exceptional
/// condition (urgent data), as select(2) does, with descriptors of any number on Linux.
///
/// `timeout`: without one it waits for ever; when it has passed, never earlier, three empty lists
/// are returned; zero (or less) does not block. Signals do not end the wait and do not lengthen it.
/// Stateless: any thread. Regular files are always ready, as with select(2). For more than a few
/// descriptors, or more than a few calls, use a Poller.
/// Errors: EBADF a number in a list is not an open descriptor; EINVAL, ENOMEM from the kernel;
/// EMFILE (not Linux) a number at or over FD_SETSIZE.
[[nodiscard]] Result<Selected> select(std::span<const int> readable, std::span<const int> writable,
                                      std::span<const int> exceptional,
                                      std::optional<AnyDuration> timeout = std::nullopt,
                                      Kernel& kernel = real_kernel());

}  // namespace duolu
