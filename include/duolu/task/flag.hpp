// Public. Layer: task. A flag that tasks wait for.
//
//   FL1  wait() returns true once the flag is set, at once if it is set already.
//   FL2  set() wakes all waiting tasks. They are resumed in the order in which they began to wait,
//       even if reset() is called before.
//   FL3  When the chain is cancelled, wait() returns false: at once if it was cancelled before,
//       even if the flag is set. A wait() that set() has already woken returns true.
//   FL4  set() and reset() resume no task (RQ1).
//
// One thread. Destroying a flag that a task waits for aborts. Once the tasks have been woken, it
// may be destroyed.
#pragma once

#include "duolu/task/ready.hpp"

namespace duolu {

/// Set or not; wait() waits until it is. See the top of this file.
class Flag {
  struct Wait : detail::WaitEntry {
    static constexpr const char* what = "for a flag";
    explicit Wait(Flag* of) noexcept : flag(of) {}
    bool begin() const noexcept { return flag->set_; }
    void park() noexcept { flag->waiters_.push(*this); }
    [[nodiscard]] bool value() const noexcept { return !failed; }
    Flag* flag;
  };

 public:
  explicit Flag(bool set = false) noexcept : set_(set) {}

  /// See FL2. Does nothing if it is set.
  void set() noexcept {
    set_ = true;
    waiters_.wake_all();
  }
  void reset() noexcept { set_ = false; }
  [[nodiscard]] bool is_set() const noexcept { return set_; }
  /// `bool set = co_await flag.wait();`: see FL1 and FL3.
  auto wait() noexcept { return detail::Parking<Wait, Flag*>(this); }

 private:
  detail::WaitQueue waiters_;
  bool set_;
};

}  // namespace duolu
