#include "duolu/loop/loop.hpp"

#include <algorithm>
#include <utility>

namespace duolu {

Result<> Loop::turn(Instant deadline) {
  const Result<bool> woken = engine_.wait(std::min(deadline, timers_.next()));
  if (!woken) return fail(woken.error());
  run_timers();
  run_finished();
  if (*woken) run_posted();
  return {};
}

void Loop::run_timers() {
  if (timers_.size() == 0) return;
  // One look at the clock: what is armed now and is due at once waits for the next turn.
  const Instant now = kernel_.now();
  for (std::size_t left = timers_.size(); left > 0; --left) {
    Timer* const due = timers_.take_due(now);
    if (due == nullptr) return;
    static_cast<Alarm*>(due)->waiter.resume();
  }
}

void Loop::run_finished() {
  if (!engine_.has_finished()) return;
  // Those that finish while these go on have their turn in the next one.
  const Op* const last = engine_.last_finished();
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
