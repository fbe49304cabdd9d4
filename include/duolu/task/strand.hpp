// Public. Layer: task. A strand: one line of execution, and how it is cancelled.
#pragma once

#include <coroutine>
#include <cstdint>
#include <utility>

namespace duolu {

class ReadyQueue;

/// One line of execution: a task that is run for itself, with everything it awaits. At any time it
/// runs, or it waits for one thing. Kept by whoever runs the task, longer than the task.
///
/// Cancelling is a request, and it stays: what the strand waits for ends early, with ECANCELED, and
/// so does whatever it begins to wait for from then on. The task goes on from there and ends
/// itself.
class Strand {
 public:
  Strand() = default;
  Strand(const Strand&) = delete;
  Strand& operator=(const Strand&) = delete;

  [[nodiscard]] bool cancelled() const noexcept { return (ready_and_cancelled_ & 1) != 0; }
  void cancel() noexcept {
    ready_and_cancelled_ |= 1;
    if (abandon_ != nullptr) std::exchange(abandon_, nullptr)(subject_);
  }

  /// For whoever runs tasks, before the task begins: where it queues when another task wakes it.
  /// With null, or without this call, it must not wait for other tasks in what ready.hpp carries.
  void run_in(ReadyQueue* queue) noexcept {
    ready_and_cancelled_ = reinterpret_cast<std::uintptr_t>(queue) | (cancelled() ? 1 : 0);
  }
  /// As given to run_in().
  [[nodiscard]] ReadyQueue* ready() const noexcept {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): it was a pointer, see run_in()
    return reinterpret_cast<ReadyQueue*>(ready_and_cancelled_ & ~std::uintptr_t{1});
  }

  /// For awaiters, when they suspend: `abandon(subject)` has what they wait for end early, if the
  /// strand is cancelled. Called once at most, and not after resumed(). It resumes nobody.
  void suspended(void (*abandon)(void*) noexcept, void* subject) noexcept {
    abandon_ = abandon;
    subject_ = subject;
  }
  /// For awaiters, when they go on.
  void resumed() noexcept { abandon_ = nullptr; }

 private:
  void (*abandon_)(void*) noexcept = nullptr;
  void* subject_ = nullptr;
  /// In one word, since every connection has a strand: the queue, whose address is even, and in the
  /// lowest bit whether the strand is cancelled.
  std::uintptr_t ready_and_cancelled_ = 0;
};

/// See this_strand().
class [[nodiscard]] ThisStrand {
 public:
  class Awaiter {
   public:
    explicit Awaiter(Strand* strand) noexcept : strand_(strand) {}
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    Strand* await_resume() const noexcept { return strand_; }

   private:
    Strand* strand_;
  };
  Awaiter on(Strand* strand) const noexcept { return Awaiter(strand); }
};
/// `Strand* strand = co_await this_strand();`: the one that the task runs on; it waits for nothing.
inline ThisStrand this_strand() noexcept { return {}; }

}  // namespace duolu
