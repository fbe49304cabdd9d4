// Public. Layer: kernel. The listeners for signals: one table for each system that delivers them.
//
// The process has one table, shared by the real Kernel and every wrapper around it. A Kernel that
// simulates a process has a table of its own: it passes it to the constructor of Kernel, and calls
// deliver() where a system would call the handler that was installed with its sigaction().
//
// Programs use Signals (duolu/loop/signals.hpp).
#pragma once

#include <signal.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <system_error>

#include "duolu/base/result.hpp"

namespace duolu {

class Kernel;

/// Receives signals while it is in a table.
class SignalListener {
 public:
  SignalListener(const SignalListener&) = delete;
  SignalListener& operator=(const SignalListener&) = delete;

 protected:
  SignalListener() = default;
  virtual ~SignalListener() = default;

  std::uint64_t wanted_ = 0;  ///< Bit n - 1 for signal n. Does not change while in the table.
  std::atomic<std::uint64_t> pending_ = 0;  ///< The same bits; set when the signal was delivered.

 private:
  friend class SignalTable;

  /// A bit of `pending_` was set. Called in a signal handler, in any thread.
  virtual void signalled() noexcept = 0;

  std::atomic<SignalListener*> following_ = nullptr;  ///< In the list that deliver() walks.
};

/// The listeners of one system, and the handlers that their signals had before.
class SignalTable {
 public:
  constexpr SignalTable() noexcept = default;
  SignalTable(const SignalTable&) = delete;
  SignalTable& operator=(const SignalTable&) = delete;

  /// The number of the highest signal; the lowest is 1.
  static constexpr int most = 64;

  /// Adds `listener`, and with kernel.sigaction() installs the handler for each of its signals that
  /// lacks it. Errors: sigaction(2)'s; then nothing was changed. Takes a lock for a moment.
  std::error_code enter(Kernel& kernel, SignalListener& listener) noexcept;
  /// Removes it, restores the handlers from before (SG4), and waits until no deliver() can still
  /// reach it. With the same kernel as enter(). Not in a signal handler.
  void leave(Kernel& kernel, SignalListener& listener) noexcept;

  /// A signal has arrived: notifies the listeners, then calls the handler that was installed
  /// before, if there was one, with `info` and `context`. Any thread, any signal handler.
  void deliver(int number, siginfo_t* info, void* context) noexcept;
  /// Whether `action` is what enter() installs. A simulated kernel then calls deliver() of its own
  /// table, and not the handler, which delivers to the process's table.
  [[nodiscard]] static bool installed(const struct sigaction& action) noexcept;

 private:
  using Function = void (*)(int);
  using LongFunction = void (*)(int, siginfo_t*, void*);

  /// The state of one signal.
  struct Disposition {
    std::size_t users = 0;
    bool reachable = false;  ///< Our handler is installed, or one that may call it.
    struct sigaction before{};
    // The function in `before`, for the handler to read; null if there is none.
    std::atomic<Function> function = nullptr;
    std::atomic<LongFunction> long_function = nullptr;
  };
  static_assert(std::atomic<Function>::is_always_lock_free &&
                std::atomic<std::uint64_t>::is_always_lock_free);

  int install(Kernel& kernel, int number) noexcept;
  static void remember(Disposition& one, const struct sigaction& before) noexcept;
  void release(Kernel& kernel, int number) noexcept;
  void release_all(Kernel& kernel, std::uint64_t wanted, int end) noexcept;
  std::mutex& mutex_of(int caller) noexcept;
  void unlink(SignalListener& listener) noexcept;
  void notify(int number) noexcept;

  detail::Immortal<std::mutex> lock_;  ///< Guards all but what deliver() reads.
  std::atomic<int> process_ = 0;       ///< The process whose threads use the lock.
  std::array<Disposition, most> dispositions_;
  std::atomic<SignalListener*> first_ = nullptr;
  std::atomic<int> inside_ = 0;  ///< How many calls are walking the list.
};

/// The table of this process, for the real kernel and all wrappers around it. Never destroyed: a
/// signal may arrive while the process ends.
[[nodiscard]] SignalTable& process_signals() noexcept;

}  // namespace duolu
