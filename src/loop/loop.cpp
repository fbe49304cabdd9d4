#include "duolu/loop/loop.hpp"

#include <algorithm>
#include <exception>
#include <utility>

namespace duolu {

static_assert(std::atomic<bool>::is_always_lock_free);  // for stop() in a signal handler

Loop::~Loop() {
  // What the work holds may post again while it is destroyed.
  for (;;) {
    work_.clear();
    const std::scoped_lock guard(mutex_);
    if (posted_.empty()) return;
    work_.swap(posted_);
  }
}

void Loop::run_until_done(detail::TaskPromise& task, Strand& strand) {
  DUOLU_CHECK(running_ == nullptr);
  running_ = &strand;
  std::exception_ptr thrown;
  if (stop_.load(std::memory_order_acquire)) strand.cancel();
  task.enter(&strand);
  task.run();
  while (!task.done()) {
    try {
      DUOLU_CHECK(turn(never).has_value());
    } catch (...) {  // of posted work: the task must end before it may be destroyed
      if (!thrown) thrown = std::current_exception();
      strand.cancel();
    }
  }
  running_ = nullptr;
  stop_.store(false, std::memory_order_relaxed);
  if (thrown) std::rethrow_exception(thrown);
}

Result<> Loop::turn(Instant deadline) {
  const Result<bool> woken = engine_.wait(std::min(deadline, timers_.next()));
  if (!woken) return fail(woken.error());
  // What finishes while the others go on has its turn in the next one.
  const Op* const last = engine_.has_finished() ? engine_.last_finished() : nullptr;
  ++statistics_.turns;
  const std::uint64_t due = run_timers();
  if (due == 0 && last == nullptr && !*woken) ++statistics_.idle;
  run_finished(last);
  if (*woken) run_woken();
  return {};
}

std::uint64_t Loop::run_timers() {
  if (timers_.size() == 0) return 0;
  const Instant now = kernel().now();
  // All that are due first: who goes on may arm one that is due at once, and it waits.
  std::uint64_t due = 0;
  Alarm* first = nullptr;
  Alarm** end = &first;
  while (Timer* const one = timers_.take_due(now)) {
    auto* const alarm = static_cast<Alarm*>(one);
    alarm->next = nullptr;
    *end = alarm;
    end = &alarm->next;
    ++due;
  }
  statistics_.timers += due;
  while (first != nullptr) std::exchange(first, first->next)->waiter.resume();
  return due;
}

void Loop::run_finished(const Op* last) {
  std::uint64_t count = 0;
  for (const Op* op = nullptr; op != last; ++count) {
    op = engine_.take_finished();
    auto& task = *static_cast<detail::TaskPromise*>(op->waiter);
    if (op->result < 0 && op->propagates)
      task.end_with(errno_code(-op->result));
    else
      task.resume();
  }
  statistics_.finished += count;
}

void Loop::run_woken() {
  ++statistics_.woken;
  if (running_ != nullptr && stop_.load(std::memory_order_acquire)) running_->cancel();
  run_wake_waiters();
  run_posted();
}

void Loop::run_wake_waiters() {
  // All that are ready first: who goes on may wait again at once, or be what others wait for.
  detail::WakeWaiter* ready = nullptr;
  for (detail::WakeWaiter** link = &woken_; *link != nullptr;) {
    detail::WakeWaiter* const one = *link;
    if (one->ready(*one)) {
      *link = one->next;
      one->next = std::exchange(ready, one);  // which puts the earliest first
    } else {
      link = &one->next;
    }
  }
  while (ready != nullptr) {
    const std::coroutine_handle<> waiter = ready->waiter;
    ready = ready->next;
    waiter.resume();
  }
}

void Loop::run_posted() {
  std::size_t called = 0;
  try {
    {
      const std::scoped_lock guard(mutex_);
      if (work_.empty()) {
        work_.swap(posted_);
      } else {  // an exception has left some, which goes first
        for (auto& each : posted_) work_.push_back(std::move(each));
        posted_.clear();
      }
    }
    while (called < work_.size()) work_[called++]();
    work_.clear();
    statistics_.posts += called;
  } catch (...) {
    statistics_.posts += called;
    work_.erase(work_.begin(), work_.begin() + static_cast<std::ptrdiff_t>(called));
    engine_.wake();  // for the rest
    throw;
  }
}

void Loop::post(std::move_only_function<void()> work) {
  {
    const std::scoped_lock guard(mutex_);
    posted_.push_back(std::move(work));
  }
  engine_.wake();
}

}  // namespace duolu
