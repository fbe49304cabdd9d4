#include "duolu/loop/scope.hpp"

#include <cstdint>
#include <new>

#include "duolu/base/check.hpp"
#include "duolu/task/frames.hpp"
#include "duolu/task/waiting.hpp"

namespace duolu {

struct Scope::Child : detail::TaskEnd {
  explicit Child(Scope& in) noexcept
      : TaskEnd{[](TaskEnd& self, detail::TaskPromise& task) {
          auto& one = static_cast<Child&>(self);
          one.scope().ended(one, task);
        }},
        scope_or_handle(reinterpret_cast<std::uintptr_t>(&in)) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  static void* operator new(std::size_t size) { return take_frame(size); }
  static void operator delete(void* memory, std::size_t size) noexcept { give_frame(memory, size); }

  // NOLINTBEGIN(performance-no-int-to-ptr): they were pointers
  /// The handle to update when it ends; null if there is none.
  [[nodiscard]] Spawned* handle() const noexcept {
    if ((scope_or_handle & is_handle) == 0) return nullptr;
    return reinterpret_cast<Spawned*>(scope_or_handle & ~is_handle);
  }
  [[nodiscard]] Scope& scope() const noexcept {
    if (const Spawned* const has_it = handle()) return *has_it->scope_;
    return *reinterpret_cast<Scope*>(scope_or_handle);
  }
  // NOLINTEND(performance-no-int-to-ptr)

  static constexpr std::uintptr_t is_handle = 1;
  /// One word for both: every connection has a child, and few programs keep the handle.
  std::uintptr_t scope_or_handle;
  Strand strand;
  Child* next = nullptr;
  Child* previous = nullptr;
};

Scope::~Scope() {
  if (size_ != 0) check_failed("a Scope is destroyed before its tasks have ended");
}

void Spawned::attach(Scope::Child* child) noexcept {
  child_ = child;
  if (child == nullptr) return;
  scope_ = &child->scope();
  child->scope_or_handle = reinterpret_cast<std::uintptr_t>(this) | Scope::Child::is_handle;
}

void Spawned::detach() noexcept {
  if (child_ != nullptr) child_->scope_or_handle = reinterpret_cast<std::uintptr_t>(scope_);
}

void Spawned::cancel() noexcept {
  if (child_ != nullptr) child_->strand.cancel();
}

template <class T>
Spawned Scope::adopt(Task<T> task, const Origin& origin) {
  detail::TaskPromise& promise = task.promise();
  auto* const child = new Child(*this);
  (void)task.release();
  return Spawned(start(*child, promise, origin) ? nullptr : child);
}
template Spawned Scope::adopt(Task<> task, const Origin& origin);
template Spawned Scope::adopt(Task<Result<>> task, const Origin& origin);

/// Takes ownership of `task`.
bool Scope::start(Child& child, detail::TaskPromise& task, const Origin& origin) {
  child.next = first_;
  if (first_ != nullptr) first_->previous = &child;
  first_ = &child;
  ++size_;
  child.strand.set_origin(origin);
  child.strand.run_in(owner().ready());
  if (cancelled_) child.strand.cancel();
  detail::enter_first(task, child.strand);
  const bool over = task.run();
  if (over)
    ended(child, task);
  else
    task.on_end(child);
  return over;
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
  if (fails_fast_ && task.failed()) {
    const std::error_code error = task.failure();
    if (!child.strand.cancelled() || error != std::errc::operation_canceled) failed(error);
  }
  if (Spawned* const handle = child.handle()) handle->child_ = nullptr;
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
    [](const Strand&, const void* scope, Waiting& waiting) {  // its tasks: see members()
      waiting.task = static_cast<const Scope*>(scope)->joiner_;
      waiting.what = "for the tasks of its scope";
    }};

void Scope::cancel() noexcept {
  if (std::exchange(cancelled_, true)) return;
  // Cancelled tasks are resumed in a later turn, so that none leaves the list during the loop.
  for (Child* child = first_; child != nullptr; child = child->next) child->strand.cancel();
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
  Strand* const strand = std::exchange(body_, nullptr);
  if (!std::exchange(interrupts_, false)) return;
  if (strand->end_interrupt()) return;
  // More scopes around this body were cancelled than can be counted: repeat the interrupts of those
  // that still hold one. (Scopes are the only groups.)
  const ReadyQueue* const queue = strand->ready();
  for (const Group* each = queue != nullptr ? queue->groups() : nullptr; each != nullptr;
       each = each->next())
    if (&each->owner() == strand && static_cast<const Scope*>(each)->interrupts_)
      strand->interrupt();
}

}  // namespace duolu
