// The one handler of all Signals, and the table behind it.
//
// Why it is built so:
//   - The handler may run at any time in any thread, so it takes no lock: it walks a list of
//     atomics. Whoever goes takes itself out of the list, and then waits until no handler is inside
//     that could have seen it. A handler never waits, so that ends.
//   - A bit is set before the loop is woken, and a wake-up is kept until a wait has told of it; the
//     loop looks at the bits after that, and next() does before it waits. So a signal between
//     looking and waiting is not lost.
//   - Handlers of others make a chain that we see only the end of. What was there before ours is
//     remembered as long as ours may be called, even when nobody listens: the one on top of it
//     relies on the chain.

#include "duolu/loop/signals.hpp"

#include <signal.h>

#include <array>
#include <cerrno>
#include <mutex>
#include <new>
#include <thread>

#include "duolu/task/waiting.hpp"

namespace duolu {
namespace {

constexpr int most = 64;

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

constexpr std::uint64_t bit_of(int number) noexcept { return std::uint64_t{1} << (number - 1); }

bool can_be_had(int number) noexcept {
  if (number < 1 || number > most) return false;
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL})
    if (number == fault) return false;
  return true;
}

extern "C" void duolu_on_signal(int number, siginfo_t* info, void* context);

bool is_ours(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == duolu_on_signal;
}

bool is_function(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 ||
         (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
}

}  // namespace

/// One for the process.
struct detail::SignalTable {
  Immortal<std::mutex> lock;     ///< Of all but what the handler reads.
  std::atomic<int> process = 0;  ///< Whose it is.
  std::array<Disposition, most> dispositions;
  std::atomic<Signals*> first = nullptr;
  std::atomic<int> inside = 0;  ///< Handlers that walk the list.

  /// Has our handler called for `number`, from the first user on. 0 or -errno.
  int install(Kernel& kernel, int number) noexcept {
    Disposition& one = dispositions[static_cast<std::size_t>(number - 1)];
    struct sigaction current{};
    if (const int result = kernel.sigaction(number, nullptr, &current); result < 0) return result;
    const bool passed_on = one.reachable && is_function(current);  // or so we must hope (SG4)
    if (!is_ours(current) && !passed_on) {
      remember(one, current);  // first: a signal may come as soon as ours is there
      struct sigaction ours{};
      ours.sa_sigaction = duolu_on_signal;
      // What runs in other threads is not to be disturbed; waits of a Poller are woken by the
      // handler, not by EINTR.
      ours.sa_flags =
          SA_SIGINFO | SA_RESTART | SA_ONSTACK | (current.sa_flags & (SA_NOCLDSTOP | SA_NOCLDWAIT));
      ours.sa_mask = current.sa_mask;  // as the one we call after ours expects
      if (const int result = kernel.sigaction(number, &ours, nullptr); result < 0) return result;
      one.reachable = true;
    }
    ++one.users;
    return 0;
  }

  static void remember(Disposition& one, const struct sigaction& before) noexcept {
    const bool function = is_function(before);
    const bool with_info = (before.sa_flags & SA_SIGINFO) != 0;
    one.before = before;
    one.function = function && !with_info ? before.sa_handler : nullptr;
    one.long_function = function && with_info ? before.sa_sigaction : nullptr;
  }

  void release(Kernel& kernel, int number) noexcept {
    Disposition& one = dispositions[static_cast<std::size_t>(number - 1)];
    if (--one.users > 0) return;
    struct sigaction current{};
    if (kernel.sigaction(number, nullptr, &current) < 0 || !is_ours(current)) return;
    if (kernel.sigaction(number, &one.before, nullptr) == 0) one.reachable = false;
  }

  /// The numbers of `wanted` below `end`.
  void release_all(Kernel& kernel, std::uint64_t wanted, int end) noexcept {
    for (int number = 1; number < end; ++number)
      if ((wanted & bit_of(number)) != 0) release(kernel, number);
  }

  /// In a forked child, threads of the parent's may have held the lock, or been in the handler, at
  /// the time of the fork: they never leave. (Nobody is in there yet but who comes first.)
  std::mutex& mutex_of(int caller) noexcept {
    const int before = process.exchange(caller);
    if (before != 0 && before != caller) {
      new (&lock.value) std::mutex;
      inside = 0;
    }
    return lock.value;
  }

  std::error_code enter(Signals& signals) noexcept {
    const std::scoped_lock guard(mutex_of(signals.loop_.kernel().getpid()));
    // In the list first: what comes once a handler is there is told.
    signals.following_ = first.load();
    first = &signals;
    Kernel& kernel = signals.loop_.kernel();
    for (int number = 1; number <= most; ++number) {
      if ((signals.wanted_ & bit_of(number)) == 0) continue;
      if (const int result = install(kernel, number); result < 0) {
        release_all(kernel, signals.wanted_, number);
        unlink(signals);
        return errno_code(-result);
      }
    }
    return {};
  }

  void leave(Signals& signals) noexcept {
    const std::scoped_lock guard(mutex_of(signals.loop_.kernel().getpid()));
    release_all(signals.loop_.kernel(), signals.wanted_, most + 1);
    unlink(signals);
  }

  void unlink(Signals& signals) noexcept {
    std::atomic<Signals*>* link = &first;
    while (link->load() != &signals) link = &link->load()->following_;
    link->store(signals.following_.load());
    while (inside.load() != 0) std::this_thread::yield();
  }

  void tell(int number) noexcept {
    if (exiting()) return;  // loops may be gone (LO13)
    inside.fetch_add(1);
    for (Signals* one = first.load(); one != nullptr; one = one->following_.load()) {
      if ((one->wanted_ & bit_of(number)) == 0) continue;
      one->pending_.fetch_or(bit_of(number));
      one->loop_.engine().wake();
    }
    inside.fetch_sub(1);
  }
};

namespace {

// Never destroyed: a signal may come while the process ends.
constinit detail::SignalTable table{};

extern "C" void duolu_on_signal(int number, siginfo_t* info, void* context) {
  const int saved = errno;
  table.tell(number);
  errno = saved;
  const Disposition& one = table.dispositions[static_cast<std::size_t>(number - 1)];
  if (const Function before = one.function.load()) before(number);
  if (const LongFunction before = one.long_function.load()) before(number, info, context);
}

}  // namespace

/// Waits for a signal. Whether there is one to take: false if the strand was cancelled.
class Signals::Arrival final : public detail::WakeWaiter {
 public:
  explicit Arrival(Signals& signals) noexcept : signals_(signals) {}
  Arrival on(Strand* strand) const noexcept {
    Arrival arrival(signals_);
    arrival.strand_ = strand;
    arrival.ready = [](const WakeWaiter& self) noexcept {
      return static_cast<const Arrival&>(self).await_ready();
    };
    return arrival;
  }
  bool await_ready() const noexcept {
    return strand_->cancelled() || signals_.pending_.load() != 0;
  }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> waiter) noexcept {
    task = &waiter.promise();
    signals_.loop_.when_woken(*this);
    strand_->suspended(kind, this);
  }
  bool await_resume() const noexcept {
    strand_->resumed();
    if (!strand_->cancelled()) return true;
    signals_.loop_.ready().refuse(*strand_);
    return false;
  }

 private:
  static const WaitKind kind;

  Signals& signals_;
  Strand* strand_ = nullptr;
};

const WaitKind Signals::Arrival::kind = {
    [](Strand&, void* self) noexcept {
      static_cast<Arrival*>(self)->signals_.loop_.engine().wake();
    },
    [](const Strand&, const void* self, Waiting& waiting) {
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
  if (!refused_) refused_ = table.enter(*this);
}

Signals::~Signals() {
  DUOLU_CHECK_UNLESS_EXITING(!waiting_);
  if (!refused_) table.leave(*this);
}

Task<Result<int>> Signals::next() {
  if (refused_) co_return fail(refused_);
  DUOLU_CHECK(!waiting_);
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
