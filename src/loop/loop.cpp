#include "duolu/loop/loop.hpp"

#include <algorithm>
#include <utility>

namespace duolu {

Result<> Loop::turn(Instant deadline) {
  const Instant until = ready_.empty() ? std::min(deadline, timers_.next()) : immediately;
  const Result<bool> woken = engine_.wait(until);
  if (!woken) return fail(woken.error());
  // What finishes while the others go on has its turn in the next one.
  const Op* const last = engine_.has_finished() ? engine_.last_finished() : nullptr;
  run_timers();
  run_finished(last);
  if (*woken) run_posted();
  ready_.run(most_woken);
  return {};
}

void Loop::run_timers() {
  if (timers_.size() == 0) return;
  const Instant now = kernel().now();
  // All that are due first: who goes on may arm one that is due at once, and it waits.
  Alarm* first = nullptr;
  Alarm** end = &first;
  while (Timer* const due = timers_.take_due(now)) {
    auto* const alarm = static_cast<Alarm*>(due);
    alarm->next = nullptr;
    *end = alarm;
    end = &alarm->next;
  }
  while (first != nullptr) {
    Alarm& due = *std::exchange(first, first->next);
    due.ring(due);
  }
}

void Loop::run_finished(const Op* last) {
  for (const Op* op = nullptr; op != last;) {
    op = engine_.take_finished();
    auto& task = *static_cast<detail::TaskPromise*>(op->waiter);
    if (op->result < 0 && op->propagates)
      task.end_with(errno_code(-op->result));
    else
      task.resume();
  }
}

void Loop::run_posted() {
  std::vector<std::move_only_function<void()>> work;
  detail::Parked* arrived = nullptr;
  {
    const std::scoped_lock guard(mutex_);
    work.swap(posted_);
    arrived = std::exchange(first_arrived_, nullptr);
  }
  while (arrived != nullptr) ready_.push(*std::exchange(arrived, arrived->next));
  for (auto& each : work) each();
}

void Loop::arrive(detail::Parked& one) noexcept {
  // Woken under the lock: once this loop's thread has seen `one`, it may end the loop.
  const std::scoped_lock guard(mutex_);
  one.next = nullptr;
  (first_arrived_ == nullptr ? first_arrived_ : last_arrived_->next) = &one;
  last_arrived_ = &one;
  engine_.wake();
}

void Loop::post(std::move_only_function<void()> work) {
  {
    const std::scoped_lock guard(mutex_);
    posted_.push_back(std::move(work));
  }
  engine_.wake();
}

}  // namespace duolu
