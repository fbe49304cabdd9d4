// A Kernel that counts the calls that wait, and that can pretend to be an older system.
#pragma once

#include <cerrno>

#include "duolu/testing/forwarding.hpp"

namespace duolu::test {

/// Counts the calls that wait, whatever their timeout; select's question to poll(2) about what it
/// found is one too. Can pretend to be an older system.
class CountingKernel final : public ForwardingKernel {
 public:
  int waits = 0;
  bool has_eventfd = true;  ///< Otherwise pollers wake up by a pipe.
  bool has_pwait2 = true;   ///< Otherwise epoll counts milliseconds.

  int pselect(int count, unsigned long* readable, unsigned long* writable,
              unsigned long* exceptional, const timespec* timeout) noexcept override {
    ++waits;
    return ForwardingKernel::pselect(count, readable, writable, exceptional, timeout);
  }
  int ppoll(pollfd* fds, std::size_t count, const timespec* timeout) noexcept override {
    ++waits;
    return ForwardingKernel::ppoll(fds, count, timeout);
  }
  int eventfd() noexcept override { return has_eventfd ? ForwardingKernel::eventfd() : -ENOSYS; }
  int epoll_wait(int epoll, epoll_event* events, int count, int timeout_ms) noexcept override {
    ++waits;
    return ForwardingKernel::epoll_wait(epoll, events, count, timeout_ms);
  }
  int epoll_pwait2(int epoll, epoll_event* events, int count,
                   const timespec* timeout) noexcept override {
    if (!has_pwait2) return -ENOSYS;
    ++waits;
    return ForwardingKernel::epoll_pwait2(epoll, events, count, timeout);
  }
  int io_uring_enter(int ring, unsigned to_submit, unsigned min_complete, unsigned flags,
                     const void* argument, std::size_t size) noexcept override {
    ++waits;
    return ForwardingKernel::io_uring_enter(ring, to_submit, min_complete, flags, argument, size);
  }
};

}  // namespace duolu::test
