#include "duolu/loop/loop.hpp"

#include <algorithm>
#include <utility>

namespace duolu {

Result<> Loop::turn(Instant deadline) {
  const Result<bool> woken = engine_.wait(std::min(deadline, timers_.next()));
  if (!woken) return fail(woken.error());
  // What finishes while the others go on has its turn in the next one.
  Op* const finished = engine_.take_finished();
  run_timers();
  run_finished(finished);
  if (*woken) run_posted();
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
  while (first != nullptr) std::exchange(first, first->next)->waiter.resume();
}

void Loop::run_finished(Op* finished) {
  while (finished != nullptr) {
    Op& op = *std::exchange(finished, finished->next);
    op.state = Op::State::idle;
    auto& task = *static_cast<detail::TaskPromise*>(op.waiter);
    if (op.result < 0 && op.propagates) [[unlikely]]
      task.end_with(errno_code(-op.result));
    else
      task.resume();
  }
}

void Loop::run_posted() {
  std::vector<std::move_only_function<void()>> work;
  {
    const std::scoped_lock guard(mutex_);
    work.swap(posted_);
  }
  for (auto& each : work) each();
}

void Loop::post(std::move_only_function<void()> work) {
  {
    const std::scoped_lock guard(mutex_);
    posted_.push_back(std::move(work));
  }
  engine_.wake();
}

}  // namespace duolu
