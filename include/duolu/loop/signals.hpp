// Public. Layer: loop. Signals as something to wait for.
//
//   Signals signals(loop, {SIGINT, SIGTERM});
//   const int number = co_await try_(signals.next());
//
//   SG1  While a Signals lives, the signals it names come out of its next(), whichever thread the
//        system hands them to, however many loops there are. Of several objects that name a signal
//        each gets it.
//   SG2  A signal that comes while nobody waits is kept for the next next(). It is kept once: the
//        same signal again before it was taken out is not told, as standard signals merge in the
//        kernel, too. Of different ones the lowest number comes out first.
//   SG3  next() ends with ECANCELED when its strand is cancelled; a signal that has come by then is
//        kept.
//   SG4  The first object that names a signal installs a handler, the last one to go restores what
//        was there. If somebody has installed another one on top meanwhile, that one stays, may go
//        on calling ours, and is relied on to do so when there are objects again. A handler
//        function that was there before ours is called as well, after it; what SIG_DFL and SIG_IGN
//        would have done is not done.
//   SG5  A signal that cannot be had (SIGKILL, SIGSTOP, no signal at all) or that tells of a fault
//        of the running code, which waiting does not answer (SIGSEGV, SIGBUS, SIGFPE, SIGILL): no
//        handler is installed for any of the numbers, and next() ends with EINVAL.
//   SG6  In a forked child the handlers stay, and tell nobody; they go with exec. An object of the
//        parent's may be destroyed there, which restores what is the child's own; objects that the
//        child makes for its own loops work.
//   SG7  Signals are those of the loop's Kernel: what a simulated one delivers (signal_table.hpp)
//        comes out of the objects of its own loops alone, and nothing that the process gets does.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <system_error>

#include "duolu/kernel/signal_table.hpp"
#include "duolu/loop/loop.hpp"

namespace duolu {

/// The signals of a list, for one task at a time. See the top of this file. Used in the thread of
/// `loop`, which outlives it; the handler is the whole process's.
class Signals final : private SignalListener {
 public:
  /// Numbers from 1 to 64. Takes a lock of all Signals for a moment.
  Signals(Loop& loop, std::initializer_list<int> numbers);
  /// Nobody may be waiting in next(): that aborts. Not in a signal handler.
  ~Signals() override;

  /// The number of a signal that has come, once it has. Errors: ECANCELED (SG3); EINVAL, or what
  /// sigaction(2) said, if the constructor was refused. One at a time: a second one aborts.
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
