#include "duolu/loop/scope.hpp"

#include "duolu/task/waiting.hpp"

namespace duolu {

template <class T>
Spawned Scope::adopt(Task<T> task, const Origin& origin) {
  auto* const member = new Member;
  if (cancelled_) member->chain.cancel();
  return Spawned(start(*member, std::move(task), origin) ? nullptr : member);
}
template Spawned Scope::adopt(Task<> task, const Origin& origin);
template Spawned Scope::adopt(Task<Result<>> task, const Origin& origin);

void Scope::ended(Member& member, Result<> returned, std::exception_ptr exception) noexcept {
  const bool was_cancelled = member.chain.cancelled();
  delete &member;
  // report_() may spawn a task that ends at once: that one must not end the scope.
  detail::TaskPromise* const joiner = std::exchange(joiner_, nullptr);
  if (exception && report_)
    report_(std::move(exception));
  else if (exception)
    failed(std::move(exception));
  if (fails_fast_ && !returned) {
    const std::error_code error = returned.error();
    if (!was_cancelled || error != std::errc::operation_canceled) failed(error);
  }
  joiner_ = joiner;
  if (size() == 0 && joiner_ != nullptr) std::exchange(joiner_, nullptr)->resume();
}

const WaitKind Scope::joined = {
    [](Chain&, void* scope) noexcept { static_cast<Scope*>(scope)->cancel(); },
    [](const Chain&, const void* scope, Waiting& waiting) {  // its tasks: see members()
      waiting.task = static_cast<const Scope*>(scope)->joiner_;
      waiting.what = "for the tasks of its scope";
    }};

void Scope::cancel() noexcept {
  if (std::exchange(cancelled_, true)) return;
  // Cancelled tasks are resumed in a later turn, so that none leaves the list during the loop.
  for (Member* each = first(); each != nullptr; each = each->next()) each->chain.cancel();
  if (body_ != nullptr && !std::exchange(interrupts_, true)) body_->interrupt();
}

void Scope::failed(std::exception_ptr exception) noexcept {
  if (!exception_) exception_ = std::move(exception);
  cancel();
}

void Scope::failed(std::error_code error) noexcept {
  if (!error_) error_ = error;
  cancel();
}

void Scope::body_ended() noexcept {
  Chain* const chain = std::exchange(body_, nullptr);
  if (!std::exchange(interrupts_, false)) return;
  if (chain->end_interrupt()) return;
  // More scopes around this body were cancelled than can be counted: repeat the interrupts of those
  // that still hold one.
  const ReadyQueue* const queue = chain->ready();
  for (const detail::Group* each = queue != nullptr ? queue->groups() : nullptr; each != nullptr;
       each = each->next())
    if (&each->owner() == chain && each->interrupts_owner()) chain->interrupt();
}

}  // namespace duolu
