#include "duolu/loop/task_set.hpp"

#include <utility>

#include "duolu/base/check.hpp"

namespace duolu {

TaskSet::~TaskSet() {
  if (size_ != 0) check_failed("a Scope or TaskSet is destroyed before its tasks have ended");
}

void TaskSet::Member::task_ended(TaskEnd& self, detail::TaskPromise& task) noexcept {
  auto& member = static_cast<Member&>(self);
  std::exception_ptr exception = task.exception();
  Result<> returned;
  if (task.failed()) returned = fail(task.failure());
  task.destroy();
  TaskSet& set = *member.set();
  set.remove(member);
  set.ended(member, returned, std::move(exception));
}

/// Takes ownership of `task`.
bool TaskSet::run(Member& member, detail::TaskPromise& task, const Origin& origin) {
  DUOLU_CHECK(member.set() == nullptr);
  push(member);
  member.chain.set_origin(origin);
  member.chain.run_in(owner().ready());
  detail::enter_first(task, member.chain);
  const bool over = task.run();
  if (over)
    Member::task_ended(member, task);
  else
    task.on_end(member);
  return over;
}

void TaskSet::move_here(Member& member) noexcept {
  DUOLU_CHECK(member.set() != nullptr);
  member.set()->remove(member);
  push(member);
}

void TaskSet::push(Member& member) noexcept {
  member.set_or_handle_ = reinterpret_cast<std::uintptr_t>(this);
  member.next_ = nullptr;
  member.previous_ = last_;
  (last_ == nullptr ? first_ : last_->next_) = &member;
  last_ = &member;
  ++size_;
}

void TaskSet::remove(Member& member) noexcept {
  (member.previous_ == nullptr ? first_ : member.previous_->next_) = member.next_;
  (member.next_ == nullptr ? last_ : member.next_->previous_) = member.previous_;
  if (Spawned* const handle = member.handle()) handle->member_ = nullptr;
  member.set_or_handle_ = 0;
  --size_;
}

void TaskSet::members(std::vector<const Chain*>& chains) const {
  for (const Member* each = first_; each != nullptr; each = each->next_)
    chains.push_back(&each->chain);
}

}  // namespace duolu
