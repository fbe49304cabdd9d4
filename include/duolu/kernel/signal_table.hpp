// Public. Layer: kernel. The listeners for signals: one table for each system that delivers them.
//
// The process has one, and every Kernel in front of the real one shares it. A Kernel that simulates
// a process of its own has a table of its own, gives it to the constructor of Kernel, and calls
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

  std::uint64_t wanted_ = 0;  ///< Bit n - 1 for signal n; as it is while in the table.
  std::atomic<std::uint64_t> pending_ = 0;  ///< The same; set when one was delivered.

 private:
  friend class SignalTable;

  /// A bit was added to `pending_`. In a signal handler, of any thread.
  virtual void signalled() noexcept = 0;

  std::atomic<SignalListener*> following_ = nullptr;  ///< In the list that deliver() walks.
};

/// The listeners of one system, and what it did with their signals before.
class SignalTable {
 public:
  constexpr SignalTable() noexcept = default;
  SignalTable(const SignalTable&) = delete;
  SignalTable& operator=(const SignalTable&) = delete;

  /// The number of the highest signal; the lowest is 1.
  static constexpr int most = 64;

  /// Adds `listener`, and has the handler installed, by kernel.sigaction(), for each of its signals
  /// that has none. Errors: sigaction(2)'s; then nothing was changed. Takes a lock for a moment.
  std::error_code enter(Kernel& kernel, SignalListener& listener) noexcept;
  /// Takes it out, has restored what was there before (SG4), and waits for those that are in
  /// deliver(). The same kernel. Not in a signal handler.
  void leave(Kernel& kernel, SignalListener& listener) noexcept;

  /// A signal has come: notifies the listeners, then calls the handler that was there before, if
  /// there was one. Any thread, any signal handler. `info` and `context` are only passed on.
  void deliver(int number, siginfo_t* info, void* context) noexcept;
  /// Whether `action` is what enter() installs: where a simulated kernel calls deliver() of its own
  /// table, and not the handler, which is that of the process.
  [[nodiscard]] static bool installed(const struct sigaction& action) noexcept;

 private:
  using Function = void (*)(int);
  using LongFunction = void (*)(int, siginfo_t*, void*);

  /// What is known of one signal.
  struct Disposition {
    std::size_t users = 0;
    bool reachable = false;  ///< Our handler is installed, or somebody's on top of it is.
    struct sigaction before{};
    // Of `before`, for the handler; null if it is no function.
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

  detail::Immortal<std::mutex> lock_;  ///< Of all but what deliver() reads.
  std::atomic<int> process_ = 0;       ///< Whose it is.
  std::array<Disposition, most> dispositions_;
  std::atomic<SignalListener*> first_ = nullptr;
  std::atomic<int> inside_ = 0;  ///< How many walk the list.
};

/// The table of this process: of the real kernel, and of whatever passes its calls on to it. Never
/// destroyed: a signal may come while the process ends.
[[nodiscard]] SignalTable& process_signals() noexcept;

}  // namespace duolu
