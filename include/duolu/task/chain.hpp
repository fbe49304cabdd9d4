// Public. Layer: task. A chain: one line of execution, and how it is cancelled.
#pragma once

#include "duolu/base/standard.hpp"

#include <coroutine>
#include <cstdint>
#include <source_location>

namespace duolu {

class ReadyQueue;
class Chain;
struct Waiting;  // waiting.hpp

/// A kind of thing that a chain waits for: one constant for each kind. `subject` is the object.
struct WaitKind {
  /// Ends the wait early, since the chain is cancelled. It resumes no task.
  void (*abandon)(Chain& chain, void* subject) noexcept;
  /// Fills in a report about the wait. Does nothing if the chain does not wait for it any more.
  void (*describe)(const Chain& chain, const void* subject, Waiting& waiting);
};

/// What runs on a chain, for reports: a name, or else a place in the source.
struct Origin {
  const char* name = nullptr;    ///< Null if it has none.
  std::source_location where{};  ///< line() is 0 if it has a name, or nothing is known.
};

/// One line of execution: a task that no other task awaits, with everything it awaits. At any time
/// it runs, or it waits for one thing. It belongs to the code that runs the task, and outlives it.
///
/// Cancelling is a request that stays: what the chain waits for ends early, with ECANCELED, and so
/// does whatever it begins to wait for later. The task is resumed there and ends by itself.
class Chain {
 public:
  Chain() = default;
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;

  [[nodiscard]] bool cancelled() const noexcept {
    return (ready_and_bits_ & (cancelled_bit | interrupts_bits)) != 0;
  }
  void cancel() noexcept {
    const bool before = cancelled();
    ready_and_bits_ |= cancelled_bit;
    if (!before) abandon();
  }
  /// For scopes, which cancel their body and not what comes after it: the chain is cancelled until
  /// end_interrupt(). It stays cancelled if cancel() was called too, or if another interrupt() has
  /// not been ended.
  void interrupt() noexcept {
    const bool before = cancelled();
    if ((ready_and_bits_ & interrupts_bits) != interrupts_bits) ready_and_bits_ += one_interrupt;
    if (!before) abandon();
  }
  /// Ends one interrupt(). False if there were more than can be counted: then all are ended, and
  /// the caller has to repeat the others.
  [[nodiscard]] bool end_interrupt() noexcept {
    const std::uintptr_t interrupts = ready_and_bits_ & interrupts_bits;
    const bool counted = interrupts != interrupts_bits;
    ready_and_bits_ -= counted ? one_interrupt : interrupts;
    return counted;
  }

  /// For code that runs tasks, before the task begins: the queue it enters when another task wakes
  /// it. With null, or without this call, it must not wait for other tasks by means of ready.hpp.
  void run_in(ReadyQueue* queue) noexcept {
    ready_and_bits_ = reinterpret_cast<std::uintptr_t>(queue) | (ready_and_bits_ & all_bits);
  }
  /// As given to run_in().
  [[nodiscard]] ReadyQueue* ready() const noexcept {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): it was a pointer, see run_in()
    return reinterpret_cast<ReadyQueue*>(ready_and_bits_ & ~all_bits);
  }

  /// `origin.name`, if there is one, outlives this; the place is not kept then.
  void set_origin(const Origin& origin) noexcept {
    if (origin.name != nullptr) {
      ready_and_bits_ |= named_bit;
      name_ = origin.name;
    } else {
      ready_and_bits_ &= ~named_bit;
      where_ = origin.where;
    }
  }
  [[nodiscard]] Origin origin() const noexcept {
    Origin origin;
    if ((ready_and_bits_ & named_bit) != 0)
      origin.name = name_;
    else
      origin.where = where_;
    return origin;
  }

  /// For awaiters, when they suspend: what the chain waits for now. `kind.abandon` is called if
  /// the chain is cancelled: at most once, and not after resumed().
  void suspended(const WaitKind& kind, void* subject) noexcept {
    kind_ = &kind;
    subject_ = subject;
  }
  /// For awaiters, when they are resumed. May be left out if the functions of `kind` can see that
  /// the chain no longer waits for `subject`, and `subject` still exists.
  void resumed() noexcept { kind_ = nullptr; }
  /// Fills in what it waits for; does nothing if it runs, or is about to.
  void describe(Waiting& waiting) const {
    if (kind_ != nullptr) kind_->describe(*this, subject_, waiting);
  }

 private:
  // In the low bits of the queue's address, to save memory: every connection has a chain.
  static constexpr std::uintptr_t cancelled_bit = 1;
  static constexpr std::uintptr_t named_bit = 2;
  static constexpr std::uintptr_t one_interrupt = 4;
  static constexpr std::uintptr_t interrupts_bits = 12;  // how many; 3: more than 2
  static constexpr std::uintptr_t all_bits = cancelled_bit | named_bit | interrupts_bits;

  void abandon() noexcept {
    if (kind_ != nullptr) kind_->abandon(*this, subject_);
  }

  const WaitKind* kind_ = nullptr;
  void* subject_ = nullptr;
  union {
    std::source_location where_{};
    const char* name_;
  };
  std::uintptr_t ready_and_bits_ = 0;
};

/// See this_chain().
class [[nodiscard]] ThisChain {
 public:
  class Awaiter {
   public:
    explicit Awaiter(Chain* chain) noexcept : chain_(chain) {}
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    Chain* await_resume() const noexcept { return chain_; }

   private:
    Chain* chain_;
  };
  Awaiter on(Chain* chain) const noexcept { return Awaiter(chain); }
};
/// `Chain* chain = co_await this_chain();`: the chain of the task. Does not wait.
inline ThisChain this_chain() noexcept { return {}; }

}  // namespace duolu
