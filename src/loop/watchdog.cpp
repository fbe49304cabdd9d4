#include "watchdog.hpp"

#include <algorithm>
#include <chrono>

#include "duolu/base/check.hpp"
#include "duolu/poll/backends.hpp"

namespace duolu::detail {

Result<std::unique_ptr<Watchdog>> Watchdog::start(Kernel& kernel, Duration threshold,
                                                  Report report) {
  Result<std::unique_ptr<Poller>> bed = make_poller(kernel, "poll");
  if (!bed) return fail(bed.error());
  std::unique_ptr<Watchdog> dog(
      new Watchdog(kernel, std::move(*bed), threshold, std::move(report)));
  const int error = kernel.pthread_create(
      &dog->thread_,
      [](void* self) -> void* {
        static_cast<Watchdog*>(self)->watch();
        return nullptr;
      },
      dog.get());
  if (error == 0) return dog;
  dog->ending_ = true;  // there is no thread to wait for
  return fail(-error);
}

Watchdog::~Watchdog() {
  if (ending_.exchange(true) || kernel_.getpid() != owner_) return;
  bed_->wake();
  (void)kernel_.pthread_join(thread_);
}

void Watchdog::begin_running(const Stall& who, Instant now) {
  who_ = who;
  since_ = now;
  number_.fetch_add(1);
  if (asleep_.load() && asleep_.exchange(false)) bed_->wake();
}

void Watchdog::end_running() {
  if (!mutex_.try_lock()) {
    // The watchdog's thread reports; or it did so at the time of a fork, and this is the child.
    if (kernel_.getpid() != owner_) return;
    mutex_.lock();
  }
  number_.fetch_add(1);
  mutex_.unlock();
}

void Watchdog::watch() {
  std::uint64_t last = 0;      // number_ in the previous iteration
  std::uint64_t reported = 0;  // number_ of the last report
  while (!ending_) {
    const std::uint64_t number = number_;
    const bool held = (number & 1) != 0;
    if (held && number != reported) {
      const Found found = look_at(number);
      if (found == Found::reported) reported = number;
      if (found == Found::waits) sleep_until(again_);
    } else if (held || number != last) {
      sleep_until(after(kernel_.now(), threshold_));
    } else {  // nothing has run since the previous iteration
      asleep_ = true;
      if (number_ == number && !ending_) sleep_until(never);
      asleep_ = false;
    }
    last = number;
  }
}

Watchdog::Found Watchdog::look_at(std::uint64_t number) {
  const std::scoped_lock guard(mutex_);
  if (number_ != number) return Found::gone;
  const Instant now = kernel_.now();
  again_ = after(since_, threshold_);
  if (now < again_) return Found::waits;
  Stall stall = who_;
  stall.held = now - since_;
  report_(stall);
  return Found::reported;
}

void Watchdog::sleep_until(Instant instant) {
  if (bed_->wait(instant)) return;
  // With an RLIMIT_NOFILE of 0, poll(2) does not accept even one descriptor. Then it cannot be
  // woken, and sleeps for short times instead.
  constexpr Duration most = std::chrono::milliseconds(100);
  const Instant soon = after(kernel_.now(), std::min(threshold_, most));
  (void)duolu::sleep_until(kernel_, std::min(instant, soon));
}

}  // namespace duolu::detail
