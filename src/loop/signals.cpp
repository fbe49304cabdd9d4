// Waiting for a signal in a task.
//
// No signal is lost: its bit is set before the loop is woken, and a wake-up is kept until a wait
// has reported it. The loop tests the bits after that, and next() tests them before it waits. The
// handler and the table: kernel/signal_table.cpp.

#include "duolu/loop/signals.hpp"

#include <signal.h>

#include <cerrno>

#include "duolu/base/check.hpp"
#include "duolu/task/waiting.hpp"

namespace duolu {
namespace {

constexpr std::uint64_t bit_of(int number) noexcept { return std::uint64_t{1} << (number - 1); }

bool can_be_had(int number) noexcept {
  if (number < 1 || number > SignalTable::most) return false;
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL})
    if (number == fault) return false;
  return true;
}

}  // namespace

/// Waits for a signal. co_await returns whether there is one: false if the chain was cancelled.
class Signals::Arrival final : public detail::WakeWaiter {
 public:
  explicit Arrival(Signals& signals) noexcept : signals_(signals) {}
  Arrival on(Chain* chain) const noexcept {
    Arrival arrival(signals_);
    arrival.chain_ = chain;
    arrival.ready = [](const WakeWaiter& self) noexcept {
      return static_cast<const Arrival&>(self).await_ready();
    };
    return arrival;
  }
  bool await_ready() const noexcept { return chain_->cancelled() || signals_.pending_.load() != 0; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> waiter) noexcept {
    task = &waiter.promise();
    signals_.loop_.when_woken(*this);
    chain_->suspended(kind, this);
  }
  bool await_resume() const noexcept {
    chain_->resumed();
    if (!chain_->cancelled()) return true;
    signals_.loop_.ready().refuse(*chain_);
    return false;
  }

 private:
  static const WaitKind kind;

  Signals& signals_;
  Chain* chain_ = nullptr;
};

const WaitKind Signals::Arrival::kind = {
    [](Chain&, void* self) noexcept {
      static_cast<Arrival*>(self)->signals_.loop_.engine().wake();
    },
    [](const Chain&, const void* self, Waiting& waiting) {
      waiting.task = static_cast<const Arrival*>(self)->task;
      waiting.what = "for a signal";
    }};

Signals::Signals(Loop& loop, std::initializer_list<int> numbers) : loop_(loop) {
  for (const int number : numbers) {
    if (can_be_had(number))
      wanted_ |= bit_of(number);
    else
      refused_ = errno_code(EINVAL);
  }
  if (!refused_) refused_ = loop.kernel().signals().enter(loop.kernel(), *this);
}

Signals::~Signals() {
  if (waiting_ && !exiting()) check_failed("a Signals is destroyed that a task waits for");
  if (!refused_) loop_.kernel().signals().leave(loop_.kernel(), *this);
}

void Signals::signalled() noexcept { loop_.engine().wake(); }

Task<Result<int>> Signals::next() {
  if (refused_) co_return fail(refused_);
  if (waiting_) check_failed("two tasks wait for the same Signals at once");
  waiting_ = true;
  const bool come = co_await Arrival(*this);
  waiting_ = false;
  if (!come) co_return fail(ECANCELED);
  co_return take();
}

int Signals::take() noexcept {
  int number = 1;
  while ((pending_.load() & bit_of(number)) == 0) ++number;
  pending_.fetch_and(~bit_of(number));
  return number;
}

}  // namespace duolu
