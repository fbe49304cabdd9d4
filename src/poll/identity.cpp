#include "identity.hpp"

#include <sys/stat.h>
#ifdef __linux__
#include <sys/sysmacros.h>
#endif

#include <cerrno>

namespace duolu {
namespace {

/// Character devices without a poll method, which epoll refuses: major 1 is drivers/char/mem.c, and
/// of its minors only random (8) and kmsg (11) have one (Linux 6.18).
bool is_never_waiting_device([[maybe_unused]] const struct stat& status) {
#ifdef __linux__
  return S_ISCHR(status.st_mode) && major(status.st_rdev) == 1 && minor(status.st_rdev) != 8 &&
         minor(status.st_rdev) != 11;
#else
  return false;
#endif
}

FileIdentity identity_of(const struct stat& status) {
  return {.device = static_cast<std::uint64_t>(status.st_dev),
          .inode = static_cast<std::uint64_t>(status.st_ino)};
}

}  // namespace

Result<FileIdentity> identify(Kernel& kernel, int fd) {
  struct stat status{};
  if (const int result = kernel.fstat(fd, &status); result < 0) return fail(-result);
  return identity_of(status);
}

Result<FileIdentity> identify_pollable(Kernel& kernel, int fd) {
  struct stat status{};
  if (const int result = kernel.fstat(fd, &status); result < 0) return fail(-result);
  if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISBLK(status.st_mode) ||
      is_never_waiting_device(status))
    return fail(EPERM);
  return identity_of(status);
}

}  // namespace duolu
