// Public. Layer: loop. Signals as awaitables.
//
//   Signals signals(loop, {SIGINT, SIGTERM});
//   const int number = co_await try_(signals.next());
//
//   SG1  While a Signals exists, its next() returns the signals it names, whichever thread the
//        system delivers them to, and however many loops there are. If several objects name a
//        signal, each of them reports it.
//   SG2  A signal that arrives while no task waits is kept for the following next(). It is kept
//        once: repetitions before next() has returned it are dropped, as the kernel merges standard
//        signals, too. Of different signals the lowest number is returned first.
//   SG3  next() ends with ECANCELED when its chain is cancelled; a signal that has arrived by then
//        is kept.
//   SG4  The first object that names a signal installs a handler, and the last one to be destroyed
//        restores the previous one. If other code has installed a handler over ours meanwhile, that
//        one stays. It may still call ours, and is relied on to do so when there are objects again.
//        A handler function that was installed before ours is called as well, after ours; the
//        effects of SIG_DFL and SIG_IGN are suppressed.
//   SG5  If a number is no signal, cannot be caught (SIGKILL, SIGSTOP), or reports a fault of the
//        running code, for which waiting is no answer (SIGSEGV, SIGBUS, SIGFPE, SIGILL), no handler
//        is installed for any of the numbers, and next() ends with EINVAL.
//   SG6  In a forked child the handlers stay installed and do nothing; exec removes them. An object
//        of the parent may be destroyed there, which restores the handlers of the child; objects
//        that the child makes for its own loops work.
//   SG7  Signals are those of the loop's Kernel: signals of a simulated one (signal_table.hpp) are
//        reported by the objects of its own loops alone, and signals of the process are not.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <system_error>

#include "duolu/kernel/signal_table.hpp"
#include "duolu/loop/loop.hpp"

namespace duolu {

/// The signals of a list, for one task at a time. See the top of this file. Used in the thread of
/// `loop`, which outlives it; the handler is shared by the whole process.
class Signals final : private SignalListener {
 public:
  /// Numbers from 1 to 64. Takes a lock that all Signals share for a moment.
  Signals(Loop& loop, std::initializer_list<int> numbers);
  /// Aborts if a task waits in next(). Not in a signal handler.
  ~Signals() override;

  /// Waits for a signal, and returns its number. Errors: ECANCELED (SG3); EINVAL, or the error of
  /// sigaction(2), if the constructor failed. One task at a time: a second one aborts.
  Task<Result<int>> next();

 private:
  class Arrival;

  void signalled() noexcept override;
  [[nodiscard]] int take() noexcept;

  Loop& loop_;
  std::error_code refused_;
  bool waiting_ = false;
};

}  // namespace duolu
