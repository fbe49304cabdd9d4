// Private. Layer: load. What the client's thread needs: precise timers, its CPU time, and local
// addresses to connect from.
#pragma once

#include <netinet/in.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cstdint>

#include "duolu/kernel/host.hpp"
#include "duolu/kernel/kernel.hpp"
#include "duolu/load/histogram.hpp"
#include "duolu/net/address.hpp"

#ifdef __linux__
#include <sys/prctl.h>
#endif

namespace duolu {

inline std::uint64_t ns_between(Instant start, Instant end) noexcept {
  return static_cast<std::uint64_t>(std::max<std::int64_t>((end - start).count(), 0));
}

/// Timers without slack during its lifetime: by default Linux may be 50 us late, to save power.
class PreciseTimers {
 public:
  explicit PreciseTimers(Host& host) : host_(host) {
#ifdef __linux__
    before_ = host_.prctl(PR_GET_TIMERSLACK, 0);
#endif
    set(1);
  }
  PreciseTimers(const PreciseTimers&) = delete;
  PreciseTimers& operator=(const PreciseTimers&) = delete;
  ~PreciseTimers() { set(before_); }

 private:
  void set([[maybe_unused]] int slack_ns) noexcept {
#ifdef __linux__
    if (before_ > 0) host_.prctl(PR_SET_TIMERSLACK, static_cast<unsigned long>(slack_ns));
#endif
  }

  Host& host_;
  int before_ = -1;
};

/// How late sleeps end when there is nothing else to do: nothing here can be timed more precisely.
/// Takes about 30 ms.
inline Histogram measure_sleep(Kernel& kernel) {
  constexpr int sleeps = 100;
  constexpr Duration length = std::chrono::microseconds(200);
  Histogram late;
  for (int i = 0; i < sleeps; ++i) {
    const Instant until = kernel.now() + length;
    if (sleep_until(kernel, until) == 0) late.record(ns_between(until, kernel.now()));
  }
  return late;
}

/// CPU time and preemptions of a thread so far.
struct Usage {
  Duration cpu{};
  std::uint64_t preempted = 0;
};

inline Usage read_usage(Host& host) noexcept {
#ifdef RUSAGE_THREAD
  constexpr int who = RUSAGE_THREAD;
#else
  constexpr int who = RUSAGE_SELF;
#endif
  struct rusage usage{};
  (void)host.getrusage(who, &usage);  // on failure all zero, which is acceptable
  return {host.thread_cpu_time(), static_cast<std::uint64_t>(usage.ru_nivcsw)};
}

/// Local addresses of connections to a loopback target: 127.0.0.1 and up, each with its own ports.
/// It uses the next address long before the ports of one run out (28,232 by default, including
/// those in TIME_WAIT), because connect(2) then searches for long: 70 us instead of 20 us.
class LocalAddresses {
 public:
  LocalAddresses(Kernel& kernel, const Address& target)
      : kernel_(kernel), several_(target.family() == AF_INET && target.is_loopback()) {}

  /// Binds a socket that is to be connected, unless the system may choose the address. 0 or -errno.
  /// connect(2) chooses the port, since it can use one port for several destinations.
  int bind(int fd) noexcept {
    if (++used_ > connections_each) next();
    if (number_ == 0) return 0;
#ifdef IP_BIND_ADDRESS_NO_PORT
    const int one = 1;
    kernel_.setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
#endif
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number_);
    return kernel_.bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  /// Switches to the next address. Returns whether there is one.
  bool next() noexcept {
    used_ = 0;
    number_ = several_ ? (number_ + 1) % count : 0;
    return several_;
  }
  static constexpr std::uint32_t count = 250;

 private:
  static constexpr std::uint32_t connections_each = 8192;

  Kernel& kernel_;
  bool several_;
  std::uint32_t number_ = 0;  ///< Added to 127.0.0.1; 0: not bound.
  std::uint32_t used_ = 0;
};

}  // namespace duolu
