#include "duolu/loop/scope.hpp"

#include <new>

#include "duolu/base/check.hpp"
#include "duolu/task/frames.hpp"

namespace duolu {

struct Scope::Child {
  explicit Child(Scope& in) noexcept : scope(&in) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  virtual ~Child() = default;

  /// Rethrows what the task threw.
  virtual void take() = 0;

  static void* operator new(std::size_t size) { return take_frame(size); }
  static void operator delete(void* memory, std::size_t size) noexcept { give_frame(memory, size); }

  Scope* scope;
  Strand strand;
  Child* next = nullptr;
  Child* previous = nullptr;
};

template <class T>
struct Scope::ChildOf final : Child {
  ChildOf(Scope& in, Task<T> what) noexcept : Child(in), task(std::move(what)) {}
  void take() override { (void)task.promise().take(); }

  Task<T> task;
};

Scope::~Scope() { DUOLU_CHECK(size_ == 0); }

template <class T>
void Scope::adopt(Task<T> task, const Origin& origin) {
  auto* const child = new ChildOf<T>(*this, std::move(task));
  child->next = first_;
  if (first_ != nullptr) first_->previous = child;
  first_ = child;
  ++size_;
  child->strand.set_origin(origin);
  child->strand.run_in(ready_);
  if (cancelled_) child->strand.cancel();
  auto& promise = child->task.promise();
  promise.enter(&child->strand);
  if (promise.run()) return ended(*child);
  promise.on_end(
      [](void* ended_one) {
        auto& one = *static_cast<ChildOf<T>*>(ended_one);
        one.scope->ended(one);
      },
      child);
}
template void Scope::adopt(Task<> task, const Origin& origin);
template void Scope::adopt(Task<Result<>> task, const Origin& origin);

void Scope::ended(Child& child) noexcept {
  try {
    child.take();
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
