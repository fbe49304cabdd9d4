#include "duolu/task/together.hpp"

#include <utility>

#include "duolu/task/ready.hpp"
#include "duolu/task/waiting.hpp"

namespace duolu::detail {

void Siblings::begin(TaskPromise& task) {
  if (decided_) return;
  DUOLU_CHECK(begun_ < members_.size());
  Member& member = members_[begun_++];
  ++running_;
  member.task = &task;
  member.of = this;
  member.strand.set_origin(parent_.origin());
  member.strand.run_in(parent_.ready());
  if (cancelled_) member.strand.cancel();
  enter_first(task, member.strand);
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
  // The joiner may destroy this object.
  if (--running_ == 0 && joiner_ != nullptr) std::exchange(joiner_, nullptr)->resume();
}

void Siblings::describe(const Strand&, const void* siblings, Waiting& waiting) {
  const auto& self = *static_cast<const Siblings*>(siblings);
  waiting.task = self.joiner_;
  waiting.what =
      self.until_ == Until::first ? "for the first of several tasks" : "for several tasks";
  for (const Member& member : self.members_.first(self.begun_))
    if (!member.task->done()) waiting.children.push_back(&member.strand);
}

const WaitKind Siblings::joined = {
    [](Strand&, void* all) noexcept { static_cast<Siblings*>(all)->cancel(); },
    &Siblings::describe};
const WaitKind Siblings::joined_shielded = {
    [](Strand&, void*) noexcept {},
    [](const Strand& strand, const void* siblings, Waiting& waiting) {
      describe(strand, siblings, waiting);
      waiting.what = "for a shielded task";
    }};

void Siblings::cancel() noexcept {
  cancelled_ = true;
  // Cancelling resumes no task, so no member ends during the loop.
  for (Member& member : members_.first(begun_))
    if (!member.task->done()) member.strand.cancel();
}

}  // namespace duolu::detail
