// Public. Layer: task. A strand: one line of execution, and how it is cancelled.
#pragma once

#include <source_location>
#include <utility>

namespace duolu {

/// Who runs on a strand, for reports: a name, or else a place in the source.
struct Origin {
  const char* name = nullptr;    ///< Null if it has none.
  std::source_location where{};  ///< line() is 0 if it has a name, or nothing is known.
};

/// One line of execution: a task that is run for itself, with everything it awaits. At any time it
/// runs, or it waits for one thing. Kept by whoever runs the task, longer than the task.
///
/// Cancelling is a request, and it stays: what the strand waits for ends early, with ECANCELED, and
/// so does whatever it begins to wait for from then on. The task goes on from there and ends
/// itself.
class Strand {
 public:
  /// Has what `strand` waits for end early.
  using Abandon = void (*)(Strand& strand, void* subject) noexcept;

  Strand() = default;
  Strand(const Strand&) = delete;
  Strand& operator=(const Strand&) = delete;

  [[nodiscard]] bool cancelled() const noexcept { return cancelled_; }
  void cancel() noexcept {
    cancelled_ = true;
    if (abandon_ != nullptr) std::exchange(abandon_, nullptr)(*this, subject_);
  }

  /// `origin.name`, if there is one, outlives this; then the place is not kept.
  void set_origin(const Origin& origin) noexcept {
    named_ = origin.name != nullptr;
    if (named_)
      name_ = origin.name;
    else
      where_ = origin.where;
  }
  [[nodiscard]] Origin origin() const noexcept {
    Origin origin;
    if (named_)
      origin.name = name_;
    else
      origin.where = where_;
    return origin;
  }

  /// For awaiters, when they suspend: `abandon(*this, subject)` is called if the strand is
  /// cancelled: once at most, and not after resumed().
  void suspended(Abandon abandon, void* subject) noexcept {
    abandon_ = abandon;
    subject_ = subject;
  }
  /// For awaiters, when they go on. One whose `abandon` finds out by itself that the strand no
  /// longer waits for `subject` may leave it out, if `subject` lives on.
  void resumed() noexcept { abandon_ = nullptr; }

 private:
  Abandon abandon_ = nullptr;
  void* subject_ = nullptr;
  union {  // 8 bytes a strand, not 16
    std::source_location where_{};
    const char* name_;
  };
  bool cancelled_ = false;
  bool named_ = false;
};

}  // namespace duolu
