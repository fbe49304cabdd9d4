#include "duolu/task/together.hpp"

#include <utility>

#include "duolu/task/ready.hpp"
#include "duolu/task/waiting.hpp"

namespace duolu::detail {

void TaskGroup::begin(TaskPromise& task) {
  if (decided_) return;
  DUOLU_CHECK(begun_ < members_.size());
  Member& member = members_[begun_++];
  ++running_;
  member.task = &task;
  member.of = this;
  member.chain.set_origin(parent_.origin());
  member.chain.run_in(parent_.ready());
  if (cancelled_) member.chain.cancel();
  enter_first(task, member.chain);
  member.TaskEnd::ended = [](TaskEnd& self, TaskPromise&) {
    const auto& one = static_cast<const Member&>(self);
    one.of->ended(one);
  };
  task.on_end(member);
  task.run();
}

void TaskGroup::ended(const Member& member) noexcept {
  if (winner_ == nobody) winner_ = static_cast<std::size_t>(&member - members_.data());
  if (!exception_) exception_ = member.task->exception();
  if (!decided_ && (exception_ || until_ == Until::first)) {
    decided_ = true;
    cancel();
  }
  // The joiner may destroy this object.
  if (--running_ == 0 && joiner_ != nullptr) std::exchange(joiner_, nullptr)->resume();
}

void TaskGroup::describe(const Chain&, const void* group, Waiting& waiting) {
  const auto& self = *static_cast<const TaskGroup*>(group);
  waiting.task = self.joiner_;
  waiting.what =
      self.until_ == Until::first ? "for the first of several tasks" : "for several tasks";
  for (const Member& member : self.members_.first(self.begun_))
    if (!member.task->done()) waiting.children.push_back(&member.chain);
}

const WaitKind TaskGroup::joined = {
    [](Chain&, void* all) noexcept { static_cast<TaskGroup*>(all)->cancel(); },
    &TaskGroup::describe};
const WaitKind TaskGroup::joined_shielded = {
    [](Chain&, void*) noexcept {},
    [](const Chain& chain, const void* group, Waiting& waiting) {
      describe(chain, group, waiting);
      waiting.what = "for a shielded task";
    }};

void TaskGroup::cancel() noexcept {
  cancelled_ = true;
  // Cancelling resumes no task, so no member ends during the loop.
  for (Member& member : members_.first(begun_))
    if (!member.task->done()) member.chain.cancel();
}

}  // namespace duolu::detail
