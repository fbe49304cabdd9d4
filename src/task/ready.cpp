#include "duolu/task/ready.hpp"

#include <cstdio>

#include "duolu/task/waiting.hpp"

namespace duolu {

void ReadyQueue::run(int most) {
  for (; first_ != nullptr && most > 0; --most) {
    detail::WaitEntry& one = *std::exchange(first_, first_->next);
    // It is part of a frame, which may not exist any more when this returns.
    if (one.propagates && one.failed)
      one.task->end_with(one.error);
    else
      one.task->resume();
  }
}

void ReadyQueue::spins(const Chain& chain) noexcept {
  const Origin origin = chain.origin();
  char text[256];
  std::snprintf(text, sizeof text,
                "%s%s was cancelled, and awaits again and again without looking at what co_await "
                "gives",
                origin.name != nullptr ? "the task " : "the task that began here",
                origin.name != nullptr ? origin.name : "");
  check_failed(text, origin.where);
}

void detail::describe(const WaitEntry& wait, const char* what, Waiting& waiting) {
  waiting.task = wait.task;
  waiting.what = what;
}

}  // namespace duolu
