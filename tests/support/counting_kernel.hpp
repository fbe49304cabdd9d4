// A Kernel that counts the calls that wait, and that can pretend to be an older system.
#pragma once

#include <cerrno>
#include <functional>
#include <utility>

#include "duolu/kernel/ring.hpp"
#include "duolu/testing/forwarding.hpp"

namespace duolu::test {

/// Counts the calls that wait, whatever their timeout; select's question to poll(2) about what it
/// found is one too. Those that are interrupted do not count: a ring that was closed does that some
/// time later. Can pretend to be an older system, and interrupt a wait.
class CountingKernel final : public ForwardingKernel {
 public:
  int waits = 0;
  bool has_eventfd = true;  ///< Otherwise pollers wake up by a pipe.
  bool has_pwait2 = true;   ///< Otherwise epoll counts milliseconds.
  /// Called once, by the next call that may sleep, which then ends as a signal ends it.
  std::function<void()> interruption;

  int pselect(int count, unsigned long* readable, unsigned long* writable,
              unsigned long* exceptional, const timespec* timeout) noexcept override {
    if (interrupts(timeout)) return -EINTR;
    return counted(ForwardingKernel::pselect(count, readable, writable, exceptional, timeout));
  }
  int ppoll(pollfd* fds, std::size_t count, const timespec* timeout) noexcept override {
    if (interrupts(timeout)) return -EINTR;
    return counted(ForwardingKernel::ppoll(fds, count, timeout));
  }
  int eventfd() noexcept override { return has_eventfd ? ForwardingKernel::eventfd() : -ENOSYS; }
  int epoll_wait(int epoll, epoll_event* events, int count, int timeout_ms) noexcept override {
    const timespec timeout{.tv_sec = timeout_ms, .tv_nsec = 0};
    if (interrupts(&timeout)) return -EINTR;
    return counted(ForwardingKernel::epoll_wait(epoll, events, count, timeout_ms));
  }
  int epoll_pwait2(int epoll, epoll_event* events, int count,
                   const timespec* timeout) noexcept override {
    if (!has_pwait2) return -ENOSYS;
    if (interrupts(timeout)) return -EINTR;
    return counted(ForwardingKernel::epoll_pwait2(epoll, events, count, timeout));
  }
  int io_uring_enter(int ring, unsigned to_submit, unsigned min_complete, unsigned flags,
                     const void* argument, std::size_t size) noexcept override {
    if (min_complete != 0 && interruption) {
      const int submitted = ForwardingKernel::io_uring_enter(
          ring, to_submit, 0, flags & ~duolu::ring::enter_ext_arg, nullptr, 0);
      std::exchange(interruption, nullptr)();
      return submitted != 0 ? submitted : -EINTR;
    }
    return counted(
        ForwardingKernel::io_uring_enter(ring, to_submit, min_complete, flags, argument, size));
  }

 private:
  int counted(int result) {
    waits += result == -EINTR ? 0 : 1;
    return result;
  }
  bool interrupts(const timespec* timeout) {
    if (!interruption || (timeout != nullptr && timeout->tv_sec == 0 && timeout->tv_nsec == 0))
      return false;
    std::exchange(interruption, nullptr)();
    return true;
  }
};

}  // namespace duolu::test
