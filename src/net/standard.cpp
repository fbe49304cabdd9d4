#include "duolu/net/standard.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace duolu {

/// O_NONBLOCK belongs to the open file description, which several descriptors can share, and for
/// which the kernel has no identifier (kcmp(2) is not available everywhere). A file with the same
/// device and inode that is non-blocking already is taken to be the same description. For a socket
/// that is exact: it has one description. Another description of the same file is not changed: it
/// was non-blocking before.
struct detail::SwitchedFile {
  int fd;  ///< A duplicate: the original may be closed before the last use ends.
  dev_t device;
  ino_t inode;
  int process;
  std::size_t users;
  SwitchedFile* next;
};

namespace {

/// Opens the same file again, for this process alone; a negative errno if that is not possible.
int open_again(Kernel& kernel, int fd, int flags) noexcept {
  struct stat status{};
  if (const int result = kernel.fstat(fd, &status); result < 0) return result;
  if (!S_ISCHR(status.st_mode) && !S_ISFIFO(status.st_mode)) return -ENOTSUP;
  // pty(7): opening the multiplexer again would return another terminal.
  if (S_ISCHR(status.st_mode) && status.st_rdev == ::makedev(5, 2)) return -ENOTSUP;
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return kernel.open(path.c_str(), (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

std::mutex switched_lock;  ///< Guards the list and its elements, and switching.
detail::SwitchedFile* first_switched = nullptr;

/// Makes the file of `fd` non-blocking. Returns a use of no file if it was non-blocking before, and
/// not through this function.
Result<detail::SwitchedUse> switch_to_nonblocking(Kernel& kernel, int fd) {
  struct stat status{};
  if (const int result = kernel.fstat(fd, &status); result < 0) return fail(-result);
  const std::scoped_lock guard(switched_lock);
  const int flags = kernel.fcntl(fd, F_GETFL, 0);
  if (flags < 0) return fail(-flags);
  if ((flags & O_NONBLOCK) != 0) {
    detail::SwitchedFile* file = first_switched;
    while (file != nullptr && (file->device != status.st_dev || file->inode != status.st_ino))
      file = file->next;
    if (file == nullptr) return detail::SwitchedUse();
    ++file->users;
    return detail::SwitchedUse(kernel, *file);
  }
  Fd own(kernel, kernel.fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!own) return fail(-own.get());
  auto file = std::make_unique<detail::SwitchedFile>(detail::SwitchedFile{
      own.get(), status.st_dev, status.st_ino, kernel.getpid(), 1, first_switched});
  if (const int result = kernel.fcntl(fd, F_SETFL, flags | O_NONBLOCK); result < 0)
    return fail(-result);
  (void)own.release();
  first_switched = file.release();
  return detail::SwitchedUse(kernel, *first_switched);
}

}  // namespace

detail::SwitchedUse::~SwitchedUse() {
  if (file_ == nullptr) return;
  const std::scoped_lock guard(switched_lock);
  if (--file_->users > 0) return;
  SwitchedFile** link = &first_switched;
  while (*link != file_) link = &(*link)->next;
  *link = file_->next;
  const std::unique_ptr<SwitchedFile> file(file_);
  const Fd own(*kernel_, file->fd);
  // After fork(2) the parent shares the description, and may be using it.
  if (file->process != kernel_->getpid()) return;
  const int flags = kernel_->fcntl(file->fd, F_GETFL, 0);
  if (flags >= 0) (void)kernel_->fcntl(file->fd, F_SETFL, flags & ~O_NONBLOCK);
}

Result<StandardStream> StandardStream::combine(Result<Stream> stream, detail::SwitchedUse use) {
  if (!stream) return fail(stream.error());
  return StandardStream(std::move(*stream), std::move(use));
}

Result<StandardStream> StandardStream::open(Loop& loop, int fd) {
  Kernel& kernel = loop.kernel();
  const int flags = kernel.fcntl(fd, F_GETFL, 0);
  if (flags < 0) return fail(-flags);
  if (Fd again(kernel, open_again(kernel, fd, flags)); again)
    return combine(Stream::open(loop, std::move(again)), {});
  Fd ours(kernel, kernel.fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!ours) return fail(-ours.get());
  Result<detail::SwitchedUse> use = switch_to_nonblocking(kernel, ours.get());
  if (!use) return fail(use.error());
  return combine(Stream::open(loop, std::move(ours)), std::move(*use));
}

}  // namespace duolu
