// Public. Layer: kernel. The owning descriptor.
#pragma once

#include <utility>

#include "duolu/kernel/kernel.hpp"

namespace duolu {

/// Owns one descriptor and closes it through its Kernel when destroyed. Move-only; one thread at a
/// time. Remove the descriptor from every Poller before it is closed (docs/contracts.md, P4).
class Fd {
 public:
  /// Owns nothing.
  Fd() = default;
  /// Owns `fd` (-1: nothing). `kernel` must outlive this.
  Fd(Kernel& kernel, int fd) noexcept : kernel_(&kernel), fd_(fd) {}
  Fd(Fd&& other) noexcept : kernel_(other.kernel_), fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      kernel_ = other.kernel_;
      fd_ = other.release();
    }
    return *this;
  }
  ~Fd() { reset(); }

  /// The descriptor, still owned; -1 when there is none.
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }
  /// Releases ownership and returns the descriptor: the caller closes it.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  /// Closes now. The result of close(2) is ignored: the descriptor is closed in every case.
  void reset() noexcept {
    if (fd_ >= 0) kernel_->close(std::exchange(fd_, -1));
  }

 private:
  Kernel* kernel_ = nullptr;
  int fd_ = -1;
};

}  // namespace duolu
