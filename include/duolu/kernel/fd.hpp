// Public. Layer: kernel. The owning descriptor.
#pragma once

#include <utility>

#include "duolu/kernel/kernel.hpp"

namespace duolu {

/// Owns one descriptor and closes it through its Kernel when destroyed. Move-only; one thread at a
/// time. Take the descriptor out of every Poller before it is closed (see poller.hpp, clause P4).
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
  /// Gives the descriptor away: the caller closes it.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  /// Closes now. What close(2) returns is of no use: the descriptor is gone in every case.
  void reset() noexcept {
    if (fd_ >= 0) kernel_->close(std::exchange(fd_, -1));
  }

 private:
  Kernel* kernel_ = nullptr;
  int fd_ = -1;
};

}  // namespace duolu
