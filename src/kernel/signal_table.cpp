// The one handler of the process, and the table behind it.
//
// Why it is built so:
//   - The handler may run at any time in any thread, so it takes no lock: it walks a list of
//     atomics. leave() unlinks a listener, and then waits until no handler is walking the list that
//     could still see it. A handler never waits, so that ends.
//   - Handlers of other code form a chain of which sigaction(2) shows only the end. The handler
//     that was there before ours is remembered as long as ours may be called, even without
//     listeners: a handler that was installed later and calls ours relies on the chain.

#include "duolu/kernel/signal_table.hpp"

#include <cerrno>
#include <new>
#include <thread>

#include "duolu/base/check.hpp"
#include "duolu/kernel/kernel.hpp"

namespace duolu {
namespace {

constinit detail::Immortal<SignalTable> process_table;

constexpr std::uint64_t bit_of(int number) noexcept { return std::uint64_t{1} << (number - 1); }

bool is_function(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 ||
         (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
}

// Static: in an unnamed namespace alone, what is extern "C" would be visible everywhere.
extern "C" {
static void duolu_on_signal(int number, siginfo_t* info, void* context) {
  process_table.value.deliver(number, info, context);
}
}

}  // namespace

SignalTable& process_signals() noexcept { return process_table.value; }

Kernel::Kernel() noexcept : signals_(process_signals()) {}

bool SignalTable::installed(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == duolu_on_signal;
}

/// Counts a user of `number`, and installs our handler if it is missing. Returns 0 or -errno.
int SignalTable::install(Kernel& kernel, int number) noexcept {
  Disposition& one = dispositions_[static_cast<std::size_t>(number - 1)];
  struct sigaction current{};
  if (const int result = kernel.sigaction(number, nullptr, &current); result < 0) return result;
  const bool passed_on = one.reachable && is_function(current);  // assumed to call ours (SG4)
  if (!installed(current) && !passed_on) {
    remember(one, current);  // first: a signal may arrive as soon as ours is installed
    struct sigaction ours{};
    ours.sa_sigaction = duolu_on_signal;
    // SA_RESTART: calls in other threads are not to be interrupted. The handler wakes a waiting
    // Poller itself, without EINTR.
    ours.sa_flags =
        SA_SIGINFO | SA_RESTART | SA_ONSTACK | (current.sa_flags & (SA_NOCLDSTOP | SA_NOCLDWAIT));
    ours.sa_mask = current.sa_mask;  // as the handler that ours calls expects
    if (const int result = kernel.sigaction(number, &ours, nullptr); result < 0) return result;
    one.reachable = true;
  }
  ++one.users;
  return 0;
}

void SignalTable::remember(Disposition& one, const struct sigaction& before) noexcept {
  const bool function = is_function(before);
  const bool with_info = (before.sa_flags & SA_SIGINFO) != 0;
  one.before = before;
  one.function = function && !with_info ? before.sa_handler : nullptr;
  one.long_function = function && with_info ? before.sa_sigaction : nullptr;
}

void SignalTable::release(Kernel& kernel, int number) noexcept {
  Disposition& one = dispositions_[static_cast<std::size_t>(number - 1)];
  if (--one.users > 0) return;
  struct sigaction current{};
  if (kernel.sigaction(number, nullptr, &current) < 0 || !installed(current)) return;
  if (kernel.sigaction(number, &one.before, nullptr) == 0) one.reachable = false;
}

/// Releases the signals of `wanted` with numbers below `end`.
void SignalTable::release_all(Kernel& kernel, std::uint64_t wanted, int end) noexcept {
  for (int number = 1; number < end; ++number)
    if ((wanted & bit_of(number)) != 0) release(kernel, number);
}

/// At the time of a fork, threads of the parent may have held the lock or been in the handler. They
/// do not exist in the child, so its first call makes the lock and the count anew.
std::mutex& SignalTable::mutex_of(int caller) noexcept {
  const int before = process_.exchange(caller);
  if (before != 0 && before != caller) {
    new (&lock_.value) std::mutex;
    inside_ = 0;
  }
  return lock_.value;
}

std::error_code SignalTable::enter(Kernel& kernel, SignalListener& listener) noexcept {
  const std::scoped_lock guard(mutex_of(kernel.getpid()));
  // In the list first: a signal may arrive as soon as a handler is installed.
  listener.following_ = first_.load();
  first_ = &listener;
  for (int number = 1; number <= most; ++number) {
    if ((listener.wanted_ & bit_of(number)) == 0) continue;
    if (const int result = install(kernel, number); result < 0) {
      release_all(kernel, listener.wanted_, number);
      unlink(listener);
      return errno_code(-result);
    }
  }
  return {};
}

void SignalTable::leave(Kernel& kernel, SignalListener& listener) noexcept {
  const std::scoped_lock guard(mutex_of(kernel.getpid()));
  release_all(kernel, listener.wanted_, most + 1);
  unlink(listener);
}

void SignalTable::unlink(SignalListener& listener) noexcept {
  std::atomic<SignalListener*>* link = &first_;
  while (link->load() != &listener) link = &link->load()->following_;
  link->store(listener.following_.load());
  while (inside_.load() != 0) std::this_thread::yield();
}

void SignalTable::notify(int number) noexcept {
  if (exiting()) return;  // loops may be gone (LO13)
  inside_.fetch_add(1);
  for (SignalListener* one = first_.load(); one != nullptr; one = one->following_.load()) {
    if ((one->wanted_ & bit_of(number)) == 0) continue;
    one->pending_.fetch_or(bit_of(number));
    one->signalled();
  }
  inside_.fetch_sub(1);
}

void SignalTable::deliver(int number, siginfo_t* info, void* context) noexcept {
  const int saved = errno;
  notify(number);
  errno = saved;
  const Disposition& one = dispositions_[static_cast<std::size_t>(number - 1)];
  if (const Function before = one.function.load()) before(number);
  if (const LongFunction before = one.long_function.load()) before(number, info, context);
}

}  // namespace duolu
