// Public. Layer: net. Files for tasks: read and written at offsets, without holding up the loop.
//
//   FI1  While a disk or a file server is slow, no other task waits for it: the operations of an
//        engine that performs requests about files (uring) wait in the kernel, and those of other
//        engines on the threads of Loop::workers(). Any number of operations, also of one File, may
//        be awaited at the same time; the order in which they are performed is not defined.
//   FI2  read_at() and write_at() may transfer less than was asked, as pread(2) and pwrite(2) do.
//        read_at() returns 0 at the end of the file only. read_exact_at() and write_all_at()
//        continue until everything was transferred.
//   FI3  When the chain is cancelled, an operation that has not begun never begins, and ends with
//        ECANCELED. One that has begun uses the buffer, so it is waited for and its result
//        returned; or ECANCELED, if the kernel gave it up (io_uring; then nothing was transferred).
//   FI4  close() closes the descriptor, also if it fails or is cancelled, and returns what close(2)
//        reports: on NFS and with quotas that may be an error of an earlier write. The destructor
//        closes too, without a report, and in the loop's thread, which a file server may hold up.
//   FI5  A File that is closed, moved or destroyed while an operation is awaited aborts.
//   FI6  A file without offsets (a FIFO, a terminal, a socket) is refused with ESPIPE, and opening
//        a FIFO does not wait for its other end: see Stream. A directory can be opened for reading,
//        for sync() and status(): reading from it fails with EISDIR.
//   FI7  With OpenMode::append every write goes to the end of the file, whatever its offset.
//   FI8  Errors are those of the system call: EIO, ENOSPC, EDQUOT ... A write beyond RLIMIT_FSIZE
//        transfers what fits, and then fails with EFBIG; the kernel also raises SIGXFSZ, which ends
//        the program unless that is ignored or handled. If neither the engine nor a thread can take
//        the operation, it fails with the error of starting one (EAGAIN), and nothing was done.
//
// A File belongs to no loop: an operation runs on the loop of the task that awaits it. All calls
// come from one thread at a time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/loop/offload.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

/// How a file is opened: `OpenMode::write | OpenMode::create | OpenMode::truncate`.
enum class OpenMode : std::uint8_t {
  read = 1,
  write = 2,
  append = 4,      ///< Writes, at the end (FI7).
  create = 8,      ///< If it does not exist.
  exclusive = 16,  ///< Creates it, and fails with EEXIST if it exists.
  truncate = 32,   ///< Discards what is in it.
};
[[nodiscard]] constexpr OpenMode operator|(OpenMode a, OpenMode b) noexcept {
  return static_cast<OpenMode>(static_cast<std::uint8_t>(a) | static_cast<std::uint8_t>(b));
}

/// What is known about a file.
struct FileStatus {
  std::uint64_t size = 0;  ///< In bytes; 0 for devices, and for files whose content is made up.
  std::uint32_t mode = 0;  ///< Type and permissions: st_mode, for S_ISDIR() and the like.
  std::chrono::sys_time<Duration> modified{};  ///< When its content was last changed.
};

namespace detail {

/// An operation on a file, in the frame of the task that awaits it: a request of the loop's engine,
/// or, if that performs none, work on another thread.
class FileWait : public OffloadJob {
 public:
  struct Of {
    FileOp::Kind kind;
    int fd;
    std::uint64_t offset = 0;
    const void* data = nullptr;
    std::size_t size = 0;
    FileWait** list = nullptr;  ///< Those of the File, to be entered; or null.
    int flags = 0;
  };
  explicit FileWait(const Of& of) noexcept;
  FileWait(const FileWait&) = delete;
  FileWait& operator=(const FileWait&) = delete;
  ~FileWait() { leave(); }

  // Required by Parking.
  static constexpr const char* what = "for a file";
  bool begin();
  void park() noexcept;
  void abandon() noexcept;

  /// Aborts if a task waits in `list`, and empties it: what an error has ended may be left there.
  static void check_none_waits(FileWait*& list) noexcept;

 protected:
  /// The result of the system call.
  Result<std::size_t> outcome() noexcept;
  /// Whether the system call was made.
  [[nodiscard]] bool performed() const noexcept { return performed_; }

 private:
  static void perform(OffloadJob& job) noexcept;
  void enter() noexcept;
  void leave() noexcept;

  FileOp op_;
  FileWait** list_;
  FileWait** link_ = nullptr;  ///< What points to this in the list, if it is in it.
  FileWait* next_ = nullptr;   ///< In the list.
  Kernel* kernel_ = nullptr;
  Engine* engine_ = nullptr;  ///< If that performs it.
  bool performed_ = false;
};

/// One that returns how many bytes were transferred.
struct FileTransfer : FileWait {
  using FileWait::FileWait;
  Result<std::size_t> value() noexcept { return outcome(); }
};
/// One that returns nothing.
struct FileChange : FileWait {
  using FileWait::FileWait;
  Result<> value() noexcept {
    if (const Result<std::size_t> result = outcome(); !result) return fail(result.error());
    return {};
  }
};

}  // namespace detail

/// A file that is read and written at offsets. Move-only. See the clauses at the top; for all
/// operations buffers must stay as they are until co_await returns.
class File {
  template <class Wait>
  using Operation = detail::Parking<Wait, detail::FileWait::Of>;

 public:
  /// None: operations fail with EBADF.
  File() = default;
  /// Opens `path`; a file that this creates has `permissions`, less the process's umask. Errors: as
  /// open(2), and FI6; Loop::explanation() returns a sentence with the path.
  static Task<Result<File>> open(std::string path, OpenMode mode = OpenMode::read,
                                 mode_t permissions = 0666);
  /// Takes ownership of a file that was opened otherwise, as by mkstemp(3) or memfd_create(2), and
  /// makes it blocking, so that no operation fails with EAGAIN. `fd` is closed on failure. Errors:
  /// FI6; EBADF.
  [[nodiscard]] static Result<File> adopt(Kernel& kernel, Fd fd);
  File(File&& other) noexcept : fd_(std::move(other.idle().fd_)) {}
  File& operator=(File&& other) noexcept {
    idle().fd_ = std::move(other.idle().fd_);
    return *this;
  }
  ~File() { idle(); }

  /// Reads up to `size` bytes, at most Engine::most_bytes; see FI2.
  [[nodiscard]] Operation<detail::FileTransfer> read_at(void* buffer, std::size_t size,
                                                        std::uint64_t offset) noexcept {
    return Operation<detail::FileTransfer>(of(FileOp::Kind::read, offset, buffer, size));
  }
  /// The same into an array, a string, a vector or a span.
  template <class Buffer>
    requires requires(Buffer& b) { std::span<char>(b); }
  [[nodiscard]] Operation<detail::FileTransfer> read_at(Buffer&& buffer,
                                                        std::uint64_t offset) noexcept {
    return read_at(std::data(buffer), std::size(buffer), offset);
  }
  /// Fills `buffer`. StreamError::ended if the file ends before.
  Task<Result<>> read_exact_at(std::span<char> buffer, std::uint64_t offset);

  /// Writes up to `size` bytes; see FI2.
  [[nodiscard]] Operation<detail::FileTransfer> write_at(const void* bytes, std::size_t size,
                                                         std::uint64_t offset) noexcept {
    return Operation<detail::FileTransfer>(of(FileOp::Kind::write, offset, bytes, size));
  }
  [[nodiscard]] Operation<detail::FileTransfer> write_at(std::string_view bytes,
                                                         std::uint64_t offset) noexcept {
    return write_at(bytes.data(), bytes.size(), offset);
  }
  /// Writes all of `bytes`. After an error or a cancellation an unknown part has been written.
  Task<Result<>> write_all_at(std::string_view bytes, std::uint64_t offset);

  /// Returns when everything written by then would survive a power failure, as fsync(2). A new
  /// file's name does so once its directory was synced, too.
  [[nodiscard]] Operation<detail::FileChange> sync() noexcept {
    return Operation<detail::FileChange>(of(FileOp::Kind::sync));
  }
  /// The same without what reading the data back does not need, such as the time of change:
  /// fdatasync(2).
  [[nodiscard]] Operation<detail::FileChange> sync_data() noexcept {
    return Operation<detail::FileChange>(of(FileOp::Kind::sync_data));
  }
  Task<Result<FileStatus>> status();
  /// See FI4. It is like a File() from the beginning on.
  Task<Result<>> close();

  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(fd_); }
  /// The descriptor's number, for ftruncate(2), flock(2) and the like; this still owns it.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  explicit File(Fd fd) noexcept : fd_(std::move(fd)) {}
  /// Aborts if an operation is awaited.
  File& idle() noexcept {
    if (waits_ != nullptr) detail::FileWait::check_none_waits(waits_);
    return *this;
  }
  detail::FileWait::Of of(FileOp::Kind kind, std::uint64_t offset = 0, const void* data = nullptr,
                          std::size_t size = 0) noexcept {
    return {
        .kind = kind, .fd = fd(), .offset = offset, .data = data, .size = size, .list = &waits_};
  }

  Fd fd_;
  detail::FileWait* waits_ = nullptr;  ///< The operations that are awaited.
};

/// All of a file, which may be one whose size is not known before, as in /proc. Errors: as
/// File::open() and File::read_at(); StreamError::too_long if it is longer than `limit`.
Task<Result<std::string>> read_file(std::string path, std::size_t limit = std::size_t{64} << 20U);

}  // namespace duolu
