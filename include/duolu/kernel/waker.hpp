// Public. Layer: kernel. Ends a wait from another thread: a descriptor that the wait includes.
#pragma once

#include <atomic>

#include "duolu/base/result.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/kernel/kernel.hpp"

namespace duolu {

/// An eventfd, or a pipe where there is none. Wakes merge until the waiting thread calls take().
class Waker {
 public:
  explicit Waker(Kernel& kernel) noexcept : kernel_(kernel) {}

  /// Opens the descriptor; once, before any other call. Errors: EMFILE, ENFILE, ENOMEM.
  Result<> open();
  /// Any thread, any signal handler. In a forked child it does nothing: the file belongs to the
  /// process that opened it.
  void wake() noexcept;
  /// Whether wake() was called since the last take().
  [[nodiscard]] bool take() noexcept {
    return pending() && pending_.exchange(false, std::memory_order_acq_rel);
  }
  [[nodiscard]] bool pending() const noexcept { return pending_.load(std::memory_order_relaxed); }
  /// Readable after a wake(), until drain().
  [[nodiscard]] int fd() const noexcept { return in_.get(); }
  /// A pipe fills up if it is not drained; an eventfd counts.
  [[nodiscard]] bool is_pipe() const noexcept { return static_cast<bool>(out_); }
  [[nodiscard]] bool owns(int fd) const noexcept { return fd == in_.get() || fd == out_.get(); }
  void drain() noexcept;

 private:
  Kernel& kernel_;
  Fd in_;
  Fd out_;         ///< A pipe's writing end; none with an eventfd.
  int owner_ = 0;  ///< The process.
  std::atomic<bool> pending_{false};
};

}  // namespace duolu
