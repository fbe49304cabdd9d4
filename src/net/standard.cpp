#include "duolu/net/standard.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <string>

namespace duolu {
namespace {

/// The same file, opened once more for us alone; a negative errno if that cannot be.
int open_again(Kernel& kernel, int fd, int flags) noexcept {
  struct stat status{};
  if (const int result = kernel.fstat(fd, &status); result < 0) return result;
  if (!S_ISCHR(status.st_mode) && !S_ISFIFO(status.st_mode)) return -ENOTSUP;
  // pty(7): opening the multiplexer again gives another terminal.
  if (S_ISCHR(status.st_mode) && status.st_rdev == ::makedev(5, 2)) return -ENOTSUP;
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return kernel.open(path.c_str(), (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

}  // namespace

Result<StandardStream> StandardStream::open(Loop& loop, int fd) {
  Kernel& kernel = loop.kernel();
  const int flags = kernel.fcntl(fd, F_GETFL, 0);
  if (flags < 0) return fail(-flags);
  int restore_fd = -1;
  int ours = open_again(kernel, fd, flags);
  if (ours < 0) {
    ours = kernel.fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (ours < 0) return fail(-ours);
    if ((flags & O_NONBLOCK) == 0) restore_fd = fd;
  }
  Result<Stream> stream = Stream::open(loop, Fd(kernel, ours));
  if (!stream) {
    if (restore_fd >= 0) (void)kernel.fcntl(restore_fd, F_SETFL, flags);
    return fail(stream.error());
  }
  return StandardStream(kernel, std::move(*stream), restore_fd, flags);
}

StandardStream::~StandardStream() {
  if (restore_fd_ >= 0) (void)kernel_->fcntl(restore_fd_, F_SETFL, flags_);
}

}  // namespace duolu
