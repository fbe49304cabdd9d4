#include "duolu/task/together.hpp"

namespace duolu::detail {

void Siblings::begin(TaskPromise& task) {
  if (decided_) return;
  DUOLU_CHECK(begun_ < members_.size());
  Member& member = members_[begun_++];
  ++running_;
  member.task = &task;
  member.of = this;
  member.strand.run_in(ready_);
  if (cancelled_) member.strand.cancel();
  task.enter(&member.strand);
  member.TaskEnd::ended = [](TaskEnd& self, TaskPromise&) {
    const auto& one = static_cast<const Member&>(self);
    one.of->ended(one);
  };
  task.on_end(member);
  task.run();
}

void Siblings::ended(const Member& member) noexcept {
  if (winner_ == nobody) winner_ = static_cast<std::size_t>(&member - members_.data());
  if (!exception_) exception_ = member.task->exception();
  if (!decided_ && (exception_ || until_ == Until::first)) {
    decided_ = true;
    cancel();
  }
  // The joiner may destroy all this.
  if (--running_ == 0 && joiner_) std::exchange(joiner_, nullptr).resume();
}

void Siblings::cancel() noexcept {
  cancelled_ = true;
  // Cancelling resumes nobody, so everything here stays where it is.
  for (Member& member : members_.first(begun_))
    if (!member.task->done()) member.strand.cancel();
}

}  // namespace duolu::detail
