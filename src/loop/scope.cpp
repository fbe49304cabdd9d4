#include "duolu/loop/scope.hpp"

#include <new>

#include "duolu/base/check.hpp"
#include "duolu/task/frames.hpp"

namespace duolu {

struct Scope::Child {
  Child(Scope& in, detail::TaskPromise& what) noexcept : scope(&in), task(&what) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { task->destroy(); }

  static void* operator new(std::size_t size) { return take_frame(size); }
  static void operator delete(void* memory, std::size_t size) noexcept { give_frame(memory, size); }

  Scope* scope;
  detail::TaskPromise* task;  ///< Owned.
  Strand strand;
  Child* next = nullptr;
  Child* previous = nullptr;
};

Scope::~Scope() { DUOLU_CHECK(size_ == 0); }

template <class T>
void Scope::adopt(Task<T> task, const Origin& origin) {
  auto* const child = new Child(*this, task.promise());
  (void)task.release();
  start(*child, origin);
}
template void Scope::adopt(Task<> task, const Origin& origin);
template void Scope::adopt(Task<Result<>> task, const Origin& origin);

void Scope::start(Child& child, const Origin& origin) {
  child.next = first_;
  if (first_ != nullptr) first_->previous = &child;
  first_ = &child;
  ++size_;
  child.strand.set_origin(origin);
  child.strand.run_in(ready_);
  if (cancelled_) child.strand.cancel();
  child.task->enter(&child.strand);
  if (child.task->run()) return ended(child);
  child.task->on_end(
      [](void* ended_one) {
        auto& one = *static_cast<Child*>(ended_one);
        one.scope->ended(one);
      },
      &child);
}

void Scope::ended(Child& child) noexcept {
  try {
    child.task->rethrow();
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
