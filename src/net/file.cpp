#include "duolu/net/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "duolu/base/check.hpp"
#include "duolu/kernel/ring.hpp"
#include "duolu/net/stream.hpp"

namespace duolu {
namespace {

std::int32_t status_of(Kernel& kernel, int fd, RingStatus& status) noexcept {
  struct stat found{};
  const int result = kernel.fstat(fd, &found);
  status.size = static_cast<std::uint64_t>(found.st_size);
  status.mode = static_cast<std::uint16_t>(found.st_mode);
  status.modified.seconds = found.st_mtim.tv_sec;
  status.modified.nanoseconds = static_cast<std::uint32_t>(found.st_mtim.tv_nsec);
  return result;
}

ssize_t call(Kernel& kernel, const FileOp& op) noexcept {
  const auto offset = static_cast<off_t>(op.offset);
  switch (op.kind) {
    case FileOp::Kind::open: return kernel.openat(AT_FDCWD, op.data, op.flags, op.size);
    case FileOp::Kind::read: return kernel.pread(op.fd, op.data, op.size, offset);
    case FileOp::Kind::write: return kernel.pwrite(op.fd, op.data, op.size, offset);
    case FileOp::Kind::sync: return kernel.fsync(op.fd);
    case FileOp::Kind::sync_data: return kernel.fdatasync(op.fd);
    case FileOp::Kind::status:
      return status_of(kernel, op.fd, *reinterpret_cast<RingStatus*>(op.data));
    case FileOp::Kind::close: return kernel.close(op.fd);
  }
  return -EINVAL;
}

/// For what has to know whether the call was made.
struct FileCall : detail::FileWait {
  using FileWait::FileWait;
  struct Outcome {
    Result<std::size_t> result;
    bool performed;
  };
  Outcome value() noexcept { return {outcome(), performed()}; }
};

using Calling = detail::Parking<FileCall, FileCall::Of>;

int flags_of(OpenMode mode) noexcept {
  const auto has = [mode](OpenMode one) {
    return (static_cast<unsigned>(mode) & static_cast<unsigned>(one)) != 0;
  };
  const bool writes = has(OpenMode::write) || has(OpenMode::append);
  // Not blocking, or opening a FIFO would wait for its other end.
  int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  flags |= !writes ? O_RDONLY : has(OpenMode::read) ? O_RDWR : O_WRONLY;
  if (has(OpenMode::append)) flags |= O_APPEND;
  if (has(OpenMode::create) || has(OpenMode::exclusive)) flags |= O_CREAT;
  if (has(OpenMode::exclusive)) flags |= O_EXCL;
  if (has(OpenMode::truncate)) flags |= O_TRUNC;
  return flags;
}

}  // namespace

// --- an operation

namespace detail {

FileWait::FileWait(const Of& of) noexcept
    : OffloadJob(nullptr, &perform, [](OffloadJob&) noexcept {}), list_(of.list) {
  op_.kind = of.kind;
  op_.fd = of.fd;
  op_.flags = of.flags;
  op_.offset = of.offset;
  op_.data = static_cast<char*>(const_cast<void*>(of.data));
  op_.size = static_cast<std::uint32_t>(std::min(of.size, Engine::most_bytes));
}

void FileWait::enter() noexcept {
  if (list_ == nullptr) return;
  next_ = std::exchange(*list_, this);
  if (next_ != nullptr) next_->link_ = &next_;
  link_ = list_;
}

void FileWait::leave() noexcept {
  if (link_ == nullptr) return;
  *link_ = next_;
  if (next_ != nullptr) next_->link_ = link_;
  link_ = nullptr;
}

void FileWait::check_none_waits(FileWait*& list) noexcept {
  while (list != nullptr) {
    if (!list->task->done() && !exiting())
      check_failed("a File is closed, moved or destroyed while a task waits for it (FI5)");
    list->leave();
  }
}

bool FileWait::begin() {
  // The kernel would take the greatest number for the file's own position.
  if (op_.offset > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) {
    fail_with(errno_code(EINVAL));
    return true;
  }
  Loop& loop = loop_of(*chain);
  kernel_ = &loop.kernel();
  if (loop.engine().start_file(op_))
    engine_ = &loop.engine();
  else if (OffloadJob::begin())
    return true;
  enter();
  return false;
}

void FileWait::park() noexcept {
  if (engine_ == nullptr) return OffloadJob::park();
  op_.waiter = task;
  op_.propagates = propagates;
}

void FileWait::abandon() noexcept {
  if (engine_ == nullptr) return OffloadJob::abandon();
  engine_->cancel(op_);
}

void FileWait::perform(OffloadJob& job) noexcept {
  auto& self = static_cast<FileWait&>(job);
  ssize_t result = call(*self.kernel_, self.op_);
  while (result == -EINTR && self.op_.kind != FileOp::Kind::close)
    result = call(*self.kernel_, self.op_);
  self.op_.result = static_cast<std::int32_t>(result);
  self.performed_ = true;
  if (result < 0) self.fail_with(errno_code(static_cast<int>(-result)));
}

Result<std::size_t> FileWait::outcome() noexcept {
  if (engine_ != nullptr) {
    performed_ = op_.result != -ECANCELED;
    if (op_.result < 0) fail_with(errno_code(-op_.result));
  }
  chain->resumed();
  leave();
  if (failed) return fail(error);
  return static_cast<std::size_t>(op_.result);
}

}  // namespace detail

// --- files

Task<Result<File>> File::open(std::string path, OpenMode mode, mode_t permissions) {
  Loop& loop = co_await this_loop();
  Calling opening({.kind = FileOp::Kind::open,
                   .fd = -1,
                   .data = path.c_str(),
                   .size = permissions,
                   .flags = flags_of(mode)});
  // NOLINTNEXTLINE(performance-move-const-arg): what has a name is awaited as an rvalue
  const FileCall::Outcome opened = co_await std::move(opening);
  Result<File> file =
      opened.result ? adopt(loop.kernel(), Fd(loop.kernel(), static_cast<int>(*opened.result)))
                    : Result<File>(fail(opened.result.error()));
  if (!file) loop.explain(file.error(), "cannot open " + path + ": " + file.error().message());
  co_return file;
}

Result<File> File::adopt(Kernel& kernel, Fd fd) {
  if (const off_t found = kernel.lseek(fd.get(), 0, SEEK_CUR); found < 0)
    return fail(static_cast<int>(-found));
  // A ring tries what does not block at once, and some file systems block all the same.
  int result = kernel.fcntl(fd.get(), F_GETFL, 0);
  if (result >= 0 && (result & O_NONBLOCK) != 0)
    result = kernel.fcntl(fd.get(), F_SETFL, result & ~O_NONBLOCK);
  if (result < 0) return fail(-result);
  return File(std::move(fd));
}

Task<Result<>> File::read_exact_at(std::span<char> buffer, std::uint64_t offset) {
  while (!buffer.empty()) {
    const std::size_t size = co_await try_(read_at(buffer, offset));
    if (size == 0) co_return fail(make_error_code(StreamError::ended));
    buffer = buffer.subspan(size);
    offset += size;
  }
  co_return Result<>();
}

Task<Result<>> File::write_all_at(std::string_view bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const std::size_t size = co_await try_(write_at(bytes, offset));
    bytes.remove_prefix(size);
    offset += size;
  }
  co_return Result<>();
}

Task<Result<FileStatus>> File::status() {
  RingStatus found{};
  co_await try_(Operation<detail::FileChange>(of(FileOp::Kind::status, 0, &found)));
  FileStatus status;
  status.size = found.size;
  status.mode = found.mode;
  status.modified += std::chrono::seconds(found.modified.seconds);
  status.modified += Duration(found.modified.nanoseconds);
  co_return status;
}

Task<Result<>> File::close() {
  Fd fd = std::move(idle().fd_);
  Calling closing({.kind = FileOp::Kind::close, .fd = fd.get()});
  // NOLINTNEXTLINE(performance-move-const-arg): what has a name is awaited as an rvalue
  const FileCall::Outcome closed = co_await std::move(closing);
  if (closed.performed) (void)fd.release();
  if (!closed.result) co_return fail(closed.result.error());
  co_return Result<>();
}

Task<Result<std::string>> read_file(std::string path, std::size_t limit) {
  File file = co_await try_(File::open(std::move(path)));
  const FileStatus status = co_await try_(file.status());
  // One byte more than there should be shows the end.
  const std::size_t most = limit + (limit != std::numeric_limits<std::size_t>::max() ? 1 : 0);
  std::string bytes(static_cast<std::size_t>(std::min<std::uint64_t>(status.size, most - 1)) + 1,
                    '\0');
  for (std::size_t size = 0;;) {
    const std::size_t got = co_await try_(file.read_at(&bytes[size], bytes.size() - size, size));
    size += got;
    if (size > limit) co_return fail(make_error_code(StreamError::too_long));
    if (got == 0) {
      bytes.resize(size);
      co_return bytes;
    }
    if (size == bytes.size()) bytes.resize(size < most / 2 ? 2 * size : most);
  }
}

}  // namespace duolu
