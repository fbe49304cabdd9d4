// Private. Which file a number refers to, and the checks that epoll_ctl(ADD) makes, for backends
// without a kernel set.
#pragma once

#include "duolu/base/result.hpp"
#include "duolu/kernel/kernel.hpp"

#include <cstdint>

namespace duolu {

/// Which file a descriptor refers to, to distinguish a duplicate from a reused number. Anonymous
/// files of one kind (eventfd, timerfd, epoll) have the same identity.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

/// The identity of any descriptor. Errors: EBADF not open.
Result<FileIdentity> identify(Kernel& kernel, int fd);

/// The identity of a descriptor that can be watched. Errors, as epoll's: EBADF not open; EPERM a
/// file that has no readiness (regular, directory, block device, /dev/null and its like).
Result<FileIdentity> identify_pollable(Kernel& kernel, int fd);

}  // namespace duolu
