#include "duolu/kernel/waker.hpp"

#include <sys/types.h>

#include <cerrno>
#include <cstdint>

namespace duolu {

Result<> Waker::open() {
  owner_ = kernel_.getpid();
  if (const int fd = kernel_.eventfd(); fd >= 0) {
    in_ = Fd(kernel_, fd);
    return {};
  }
  int fds[2];
  if (const int result = kernel_.pipe(fds); result < 0) return fail(-result);
  in_ = Fd(kernel_, fds[0]);
  out_ = Fd(kernel_, fds[1]);
  return {};
}

void Waker::wake() noexcept {
  if (pending_.exchange(true, std::memory_order_acq_rel)) return;
  if (kernel_.getpid() != owner_) return;
  const std::uint64_t one = 1;  // what an eventfd takes; a pipe takes any bytes
  const int fd = out_ ? out_.get() : in_.get();
  // EAGAIN: the counter or the pipe is full, so the wait ends already.
  while (kernel_.write(fd, &one, sizeof one) == -EINTR) {
  }
}

void Waker::drain() noexcept {
  char bytes[256];
  for (;;) {
    const ssize_t got = kernel_.read(in_.get(), bytes, sizeof bytes);
    if (got == -EINTR) continue;
    if (got < static_cast<ssize_t>(sizeof bytes)) return;
  }
}

}  // namespace duolu
