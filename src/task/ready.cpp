#include "duolu/task/ready.hpp"

#include "duolu/task/waiting.hpp"

namespace duolu {

void ReadyQueue::run(int most) {
  for (; first_ != nullptr && most > 0; --most) {
    detail::Parked& one = *std::exchange(first_, first_->next);
    // It is part of a frame that may be gone when this returns.
    if (one.propagates && one.error)
      one.task->end_with(one.error);
    else
      one.task->resume();
  }
}

void detail::describe(const Parked& wait, const char* what, Waiting& waiting) {
  waiting.task = wait.task;
  waiting.what = what;
}

}  // namespace duolu
