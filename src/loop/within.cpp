#include "duolu/loop/within.hpp"

#include <cerrno>

#include "duolu/task/ready.hpp"
#include "duolu/task/waiting.hpp"

namespace duolu::detail {

bool Timed::begin() {
  ring = [](Loop::Alarm& due) { static_cast<Timed&>(due).time_is_over(); };
  loop_.arm(*this, deadline_);  // first, since it may throw
  chain_.set_origin(parent_.origin());
  chain_.run_in(parent_.ready());
  if (parent_.cancelled()) chain_.cancel();
  enter_first(work_, chain_);
  ended = [](TaskEnd& self, TaskPromise&) { static_cast<Timed&>(self).work_ended(); };
  work_.on_end(*this);
  return work_.run();
}

void Timed::park(TaskPromise& waiter, bool propagates) noexcept {
  waiter_ = &waiter;
  propagates_ = propagates;
  if (parent_.cancelled()) chain_.cancel();  // cancelled while the task ran in begin()
  parent_.suspended(timed, this);
}

const WaitKind Timed::timed = {
    [](Chain&, void* self) noexcept { static_cast<Timed*>(self)->chain_.cancel(); },
    [](const Chain&, const void* self, Waiting& waiting) {
      const auto& one = *static_cast<const Timed*>(self);
      waiting.task = one.waiter_;
      waiting.what = "for a task with a deadline";
      waiting.until = one.deadline_;
      waiting.children.push_back(&one.chain_);
    }};

std::optional<std::error_code> Timed::error() const noexcept {
  if (!work_.failed()) return std::nullopt;
  const std::error_code error = work_.failure();
  if (timed_out_ && error == std::errc::operation_canceled) return errno_code(ETIMEDOUT);
  return error;
}

void Timed::time_is_over() noexcept {
  rung_ = true;
  if (work_.done()) return work_ended();
  if (parent_.cancelled()) return;  // the cancellation came first (WI5)
  timed_out_ = true;
  chain_.cancel();
}

void Timed::work_ended() {
  // An alarm that is due already is in the loop's list, and rings in this turn: the waiter is
  // resumed then.
  if (!armed() && !rung_) {
    task = waiter_;
    return;
  }
  loop_.disarm(*this);
  if (waiter_ == nullptr) return;
  if (const std::optional<std::error_code> found = error(); found && propagates_)
    waiter_->end_with(*found);
  else
    waiter_->resume();
}

}  // namespace duolu::detail
