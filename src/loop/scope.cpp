#include "duolu/loop/scope.hpp"

#include <new>

#include "duolu/base/check.hpp"
#include "duolu/task/frames.hpp"
#include "duolu/task/waiting.hpp"

namespace duolu {

struct Scope::Child : detail::TaskEnd {
  explicit Child(Scope& in) noexcept
      : TaskEnd{[](TaskEnd& self, detail::TaskPromise& task) {
          auto& one = static_cast<Child&>(self);
          one.scope->ended(one, task);
        }},
        scope(&in) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  static void* operator new(std::size_t size) { return take_frame(size); }
  static void operator delete(void* memory, std::size_t size) noexcept { give_frame(memory, size); }

  Scope* scope;
  Strand strand;
  Child* next = nullptr;
  Child* previous = nullptr;
};

Scope::~Scope() { DUOLU_CHECK(size_ == 0); }

template <class T>
void Scope::adopt(Task<T> task, const Origin& origin) {
  detail::TaskPromise& promise = task.promise();
  auto* const child = new Child(*this);
  (void)task.release();
  start(*child, promise, origin);
}
template void Scope::adopt(Task<> task, const Origin& origin);
template void Scope::adopt(Task<Result<>> task, const Origin& origin);

/// Takes over `task`.
void Scope::start(Child& child, detail::TaskPromise& task, const Origin& origin) {
  child.next = first_;
  if (first_ != nullptr) first_->previous = &child;
  first_ = &child;
  ++size_;
  child.strand.set_origin(origin);
  child.strand.run_in(owner().ready());
  if (cancelled_) child.strand.cancel();
  detail::enter_first(task, child.strand);
  if (task.run()) return ended(child, task);
  task.on_end(child);
}

void Scope::ended(Child& child, detail::TaskPromise& task) noexcept {
  try {
    task.rethrow();
  } catch (...) {
    if (report_)
      report_(std::current_exception());
    else
      failed(std::current_exception());
  }
  (child.previous != nullptr ? child.previous->next : first_) = child.next;
  if (child.next != nullptr) child.next->previous = child.previous;
  task.destroy();
  delete &child;
  if (--size_ == 0 && joiner_ != nullptr) std::exchange(joiner_, nullptr)->resume();
}

void Scope::members(std::vector<const Strand*>& strands) const {
  const Child* child = first_;
  while (child != nullptr && child->next != nullptr) child = child->next;
  for (; child != nullptr; child = child->previous) strands.push_back(&child->strand);
}

const WaitKind Scope::joined = {
    [](Strand&, void* scope) noexcept { static_cast<Scope*>(scope)->cancel(); },
    [](const Strand&, const void* scope, Waiting& waiting) {  // its tasks are a group
      waiting.task = static_cast<const Scope*>(scope)->joiner_;
      waiting.what = "for the tasks of its scope";
    }};

void Scope::cancel() noexcept {
  if (std::exchange(cancelled_, true)) return;
  // What is cancelled goes on in a later turn, so nobody leaves the list meanwhile.
  for (Child* child = first_; child != nullptr; child = child->next) child->strand.cancel();
  if (body_ != nullptr && !std::exchange(interrupts_, true)) body_->interrupt();
}

void Scope::failed(std::exception_ptr exception) noexcept {
  if (!exception_) exception_ = std::move(exception);
  cancel();
}

void Scope::body_ended() noexcept {
  Strand* const strand = std::exchange(body_, nullptr);
  if (!std::exchange(interrupts_, false)) return;
  if (strand->end_interrupt()) return;
  // This one was in the body of many that failed too. (Scopes are the only groups.)
  const ReadyQueue* const queue = strand->ready();
  for (const Group* each = queue != nullptr ? queue->groups() : nullptr; each != nullptr;
       each = each->next())
    if (&each->owner() == strand && static_cast<const Scope*>(each)->interrupts_)
      strand->interrupt();
}

}  // namespace duolu
