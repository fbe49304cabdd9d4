#include "duolu/loop/scope.hpp"

#include <new>

#include "duolu/base/check.hpp"
#include "duolu/task/frames.hpp"

namespace duolu {

struct Scope::Child {
  Child(Scope& in, Task<> what) noexcept : scope(&in), task(std::move(what)) {}

  Scope* scope;
  Task<> task;
  Strand strand;
  Child* next = nullptr;
  Child* previous = nullptr;
  bool starting = true;  ///< Within spawn(), which sees to the end itself.

  static void* operator new(std::size_t size) { return take_frame(size); }
  static void operator delete(void* memory, std::size_t size) noexcept { give_frame(memory, size); }
};

Scope::~Scope() { DUOLU_CHECK(size_ == 0); }

void Scope::spawn(Task<> task) {
  auto* const child = new Child(*this, std::move(task));
  child->next = first_;
  if (first_ != nullptr) first_->previous = child;
  first_ = child;
  ++size_;
  child->strand.run_in(ready_);
  child->task.promise().enter(&child->strand);
  child->task.promise().on_end(
      [](void* ended_one) {
        auto& one = *static_cast<Child*>(ended_one);
        if (!one.starting) one.scope->ended(one);
      },
      child);
  if (cancelled_) child->strand.cancel();
  const bool done = child->task.promise().run();
  child->starting = false;
  if (done) ended(*child);
}

void Scope::ended(Child& child) noexcept {
  try {
    child.task.promise().take();
  } catch (...) {
    if (report_)
      report_(std::current_exception());
    else
      failed(std::current_exception());
  }
  (child.previous != nullptr ? child.previous->next : first_) = child.next;
  if (child.next != nullptr) child.next->previous = child.previous;
  delete &child;
  if (--size_ == 0 && joiner_) std::exchange(joiner_, nullptr).resume();
}

void Scope::cancel() noexcept {
  if (std::exchange(cancelled_, true)) return;
  // What is cancelled goes on in a later turn, so nobody leaves the list meanwhile.
  for (Child* child = first_; child != nullptr; child = child->next) child->strand.cancel();
}

void Scope::failed(std::exception_ptr exception) noexcept {
  if (!exception_) exception_ = std::move(exception);
  cancel();
}

}  // namespace duolu
