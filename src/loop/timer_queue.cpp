// Invariants: heap_[i] is not before its parent, heap_[(i - 1) / arity], and
// heap_[i].timer->place_ == i.

#include "duolu/loop/timer_queue.hpp"

#include <algorithm>

#include "duolu/base/check.hpp"

namespace duolu {

Timer::~Timer() { DUOLU_CHECK_UNLESS_EXITING(!armed()); }

TimerQueue::~TimerQueue() {
  if (!heap_.empty() && !exiting())
    check_failed("a Loop is destroyed before its tasks have ended: some wait for a time");
}

void TimerQueue::arm(Timer& timer, Instant deadline) {
  const Entry entry{deadline, armed_, &timer};
  if (timer.armed()) {
    settle(timer.place_, entry);
  } else {
    DUOLU_CHECK(heap_.size() < Timer::nowhere);
    heap_.push_back(entry);
    rise(heap_.size() - 1, entry);
  }
  ++armed_;
}

void TimerQueue::cancel(Timer& timer) noexcept {
  if (!timer.armed()) return;
  const std::size_t place = timer.place_;
  timer.place_ = Timer::nowhere;
  const Entry last = heap_.back();
  heap_.pop_back();
  if (place < heap_.size()) settle(place, last);
}

Timer* TimerQueue::take_due(Instant now) noexcept {
  if (next() > now || heap_.empty()) return nullptr;
  Timer* const timer = heap_.front().timer;
  cancel(*timer);
  return timer;
}

void TimerQueue::put(std::size_t place, const Entry& entry) noexcept {
  heap_[place] = entry;
  entry.timer->place_ = static_cast<std::uint32_t>(place);
}

/// Puts `entry` at `place` or nearer to the front.
void TimerQueue::rise(std::size_t place, const Entry& entry) noexcept {
  while (place > 0) {
    const std::size_t parent = (place - 1) / arity;
    if (!entry.before(heap_[parent])) break;
    put(place, heap_[parent]);
    place = parent;
  }
  put(place, entry);
}

/// Puts `entry` at `place` or farther from the front.
void TimerQueue::sink(std::size_t place, const Entry& entry) noexcept {
  for (;;) {
    const std::size_t first = place * arity + 1;
    if (first >= heap_.size()) break;
    const std::size_t end = std::min(first + arity, heap_.size());
    std::size_t least = first;
    for (std::size_t child = first + 1; child < end; ++child)
      if (heap_[child].before(heap_[least])) least = child;
    if (!heap_[least].before(entry)) break;
    put(place, heap_[least]);
    place = least;
  }
  put(place, entry);
}

/// Puts `entry` where it belongs; `place` is free.
void TimerQueue::settle(std::size_t place, const Entry& entry) noexcept {
  if (place > 0 && entry.before(heap_[(place - 1) / arity]))
    rise(place, entry);
  else
    sink(place, entry);
}

}  // namespace duolu
