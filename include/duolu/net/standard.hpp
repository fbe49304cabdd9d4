// Public. Layer: net. Standard input and output as streams.
#pragma once

#include <utility>

#include "duolu/net/stream.hpp"

namespace duolu {

namespace detail {

/// An open file that was switched to non-blocking, and the number of its users.
struct SwitchedFile;

/// One use of a SwitchedFile, or of none. Move-only.
class SwitchedUse {
 public:
  SwitchedUse() = default;
  SwitchedUse(Kernel& kernel, SwitchedFile& file) noexcept : kernel_(&kernel), file_(&file) {}
  SwitchedUse(SwitchedUse&& other) noexcept
      : kernel_(other.kernel_), file_(std::exchange(other.file_, nullptr)) {}
  SwitchedUse& operator=(SwitchedUse&&) = delete;
  /// The last use switches the file back.
  ~SwitchedUse();

 private:
  Kernel* kernel_ = nullptr;
  SwitchedFile* file_ = nullptr;
};

}  // namespace detail

/// Standard input, output or error as a Stream: a terminal, a pipe, a socket or a file (which may
/// hold up the loop: see Stream::open()). Move-only.
///
/// Non-blocking is a property of the open file, which other programs share: the shell, or the next
/// program in the pipeline, would unexpectedly get EAGAIN. So a terminal or a pipe is opened again
/// for this process alone, where /proc allows it. What cannot be opened again is switched to
/// non-blocking, and back when the last StandardStream of that open file is destroyed, even if one
/// socket is both standard input and output. Uses are not counted across processes: of two that
/// switch one socket, the first to end switches it back under the other. A forked child switches
/// nothing back, since its parent may be using the file.
class StandardStream {
 public:
  /// `fd`: 0, 1 or 2; it stays open. Errors: as open(2), fcntl(2) and Engine::open(); EBADF if the
  /// program was started with `fd` closed.
  [[nodiscard]] static Result<StandardStream> open(Loop& loop, int fd);

  Stream& operator*() noexcept { return stream_; }
  Stream* operator->() noexcept { return &stream_; }

 private:
  StandardStream(Stream stream, detail::SwitchedUse use) noexcept
      : stream_(std::move(stream)), use_(std::move(use)) {}
  static Result<StandardStream> combine(Result<Stream> stream, detail::SwitchedUse use);

  Stream stream_;
  detail::SwitchedUse use_;
};

}  // namespace duolu
