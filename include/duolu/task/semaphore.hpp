// Public. Layer: task. A semaphore: limits how many tasks do something at a time.
//
//   SE1  There are as many permits as it was made with. acquire() returns one; while there is none
//       it waits.
//   SE2  First come, first served: a permit that is given back belongs at once to the task that has
//       waited longest, even before that task is resumed.
//   SE3  A permit is given back when it is destroyed, or by release().
//   SE4  When the chain is cancelled, acquire() ends with ECANCELED: at once if it was cancelled
//       before, even if there are permits. If a permit belongs to it already, it returns that
//       permit. No permit is lost.
//   SE5  Giving back resumes no task (RQ1).
//
// One thread. The semaphore outlives its permits and the tasks that wait for it.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>

#include "duolu/base/check.hpp"
#include "duolu/base/result.hpp"
#include "duolu/task/ready.hpp"

namespace duolu {

/// Hands out permits. See the top of this file.
class Semaphore {
 public:
  /// One of the semaphore's permits, until it is destroyed. Move-only.
  class [[nodiscard]] Permit {
   public:
    Permit() = default;
    Permit(Permit&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
    Permit& operator=(Permit&& other) noexcept {
      if (this != &other) {
        release();
        of_ = std::exchange(other.of_, nullptr);
      }
      return *this;
    }
    ~Permit() { release(); }
    /// Gives it back now. Does nothing if that has been done, or after a move.
    void release() noexcept {
      if (of_ != nullptr) std::exchange(of_, nullptr)->give_back();
    }
    [[nodiscard]] explicit operator bool() const noexcept { return of_ != nullptr; }

   private:
    friend class Semaphore;
    explicit Permit(Semaphore* of) noexcept : of_(of) {}
    Semaphore* of_ = nullptr;
  };

  explicit Semaphore(std::size_t permits) noexcept : permits_(permits), available_(permits) {}
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;
  /// Aborts unless all permits have been given back.
  ~Semaphore() {
    if (available_ != permits_ && !exiting())
      check_failed("a Semaphore is destroyed before all of its permits have come back");
  }

  /// `Result<Semaphore::Permit> permit = co_await semaphore.acquire();`
  auto acquire() noexcept { return detail::Parking<Wait, Semaphore*>(this); }
  /// A permit if there is one now. It never overtakes: while a task waits there is none.
  [[nodiscard]] std::optional<Permit> try_acquire() noexcept {
    if (!take()) return std::nullopt;
    return Permit(this);
  }
  /// How many permits can be acquired now.
  [[nodiscard]] std::size_t available() const noexcept { return available_; }

 private:
  struct Wait : detail::WaitEntry {
    static constexpr const char* what = "for a permit of a semaphore";
    explicit Wait(Semaphore* of) noexcept : semaphore(of) {}
    bool begin() const noexcept { return semaphore->take(); }
    void park() noexcept { semaphore->waiters_.push(*this); }
    Result<Permit> value() const noexcept {
      if (failed) return fail(error);
      return Permit(semaphore);
    }
    Semaphore* semaphore;
  };

  bool take() noexcept {
    if (available_ == 0) return false;
    --available_;
    return true;
  }
  void give_back() noexcept {
    if (waiters_.empty())
      ++available_;
    else
      waiters_.front().wake();  // it has the permit now
  }

  const std::size_t permits_;
  std::size_t available_;  ///< 0 while a task waits.
  detail::WaitQueue waiters_;
};

}  // namespace duolu
