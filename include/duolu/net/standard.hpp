// Public. Layer: net. Standard input and output as streams.
#pragma once

#include <utility>

#include "duolu/net/stream.hpp"

namespace duolu {

/// Standard input, output or error as a Stream: a terminal, a pipe, a socket or a file, whatever it
/// is. Move-only.
///
/// Non-blocking is a property of the open file, which other programs share: the shell, or the next
/// one in the pipeline, would suddenly meet EAGAIN. So a terminal or a pipe is opened once more for
/// us alone, where /proc allows it; what cannot be is switched, and switched back at the end.
class StandardStream {
 public:
  /// `fd`: 0, 1 or 2, which stays open. Errors: as open(2), fcntl(2) and Engine::open().
  [[nodiscard]] static Result<StandardStream> open(Loop& loop, int fd);
  StandardStream(StandardStream&& other) noexcept
      : kernel_(other.kernel_),
        stream_(std::move(other.stream_)),
        restore_fd_(std::exchange(other.restore_fd_, -1)),
        flags_(other.flags_) {}
  StandardStream& operator=(StandardStream&&) = delete;
  /// Restores what was switched.
  ~StandardStream();

  Stream& operator*() noexcept { return stream_; }
  Stream* operator->() noexcept { return &stream_; }

 private:
  StandardStream(Kernel& kernel, Stream stream, int restore_fd, int flags) noexcept
      : kernel_(&kernel), stream_(std::move(stream)), restore_fd_(restore_fd), flags_(flags) {}

  Kernel* kernel_;
  Stream stream_;
  int restore_fd_;  ///< Whose flags are to be restored; -1 for none.
  int flags_;
};

}  // namespace duolu
