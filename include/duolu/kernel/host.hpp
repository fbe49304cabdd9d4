// Public. Layer: kernel. Calls about the machine that a program makes, and the library never does.
//
// They are not in Kernel, so that an implementation of Kernel (a simulation, a test) need not have
// them. The conventions K1, K2, K3 and K6 of kernel.hpp hold here, too.
#pragma once

#include "duolu/base/time.hpp"

struct rlimit;
struct rusage;
struct utsname;

namespace duolu {

/// The machine and the process, as far as the tool uses them.
class Host {
 public:
  Host() = default;
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  virtual ~Host() = default;

  /// clock_gettime(CLOCK_THREAD_CPUTIME_ID): CPU time of this thread so far. Cannot fail.
  virtual Duration thread_cpu_time() noexcept = 0;
  /// clock_gettime(CLOCK_REALTIME): since 1970, for dates only; it may be set back. Cannot fail.
  virtual Duration real_time() noexcept = 0;
  virtual int uname(struct utsname* name) noexcept = 0;
  virtual int setrlimit(int resource, const struct rlimit* limit) noexcept = 0;
  virtual int getrusage(int who, struct rusage* usage) noexcept = 0;
  /// With one argument; the others are zero. -ENOSYS on other systems than Linux, and with
  /// DUOLU_POSIX_ONLY.
  virtual int prctl(int option, unsigned long argument) noexcept = 0;
  virtual int isatty(int fd) noexcept = 0;
};

/// The machine itself. One object for the whole process; it has no state.
[[nodiscard]] Host& real_host() noexcept;

}  // namespace duolu
