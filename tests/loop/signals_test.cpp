// Clauses SG1 to SG5 and SG7, on every backend.
#include "duolu/loop/signals.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <initializer_list>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "duolu/loop/scope.hpp"
#include "duolu/testing/fault.hpp"
#include "duolu/testing/forwarding.hpp"
#include "support/loop_fixture.hpp"
#include "support/signals.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

using SignalsTest = LoopFixture;
DUOLU_EVERY_ENGINE(SignalsTest);

// ThreadSanitizer calls a handler in the thread's next call that it knows, which may have to end
// first: then nothing tells the loop, and only another signal does.
constexpr bool puts_handlers_off = DUOLU_TSAN;

void send(int number) { ASSERT_EQ(::kill(::getpid(), number), 0); }

/// Nothing is to come: waits for a moment, and is cancelled.
Task<std::error_code> nothing(Loop* loop, Signals* signals) {
  std::error_code error;
  co_await with_scope([&](Scope& scope) -> Task<> {
    scope.spawn([](Signals* from, std::error_code* to) -> Task<> {
      const Result<int> number = co_await from->next();
      if (!number) *to = number.error();
    }(signals, &error));
    (void)co_await loop->sleep_for(2ms);
    scope.cancel();
  });
  co_return error;
}

const std::error_code cancelled = errno_code(ECANCELED);

TEST_P(SignalsTest, SG1_a_signal_comes_out_whether_it_comes_before_or_after) {
  Signals signals(loop, {SIGUSR1, SIGUSR2});
  send(SIGUSR1);
  EXPECT_EQ(loop.run(signals.next()), SIGUSR1);
  loop.post([] { send(SIGUSR2); });
  EXPECT_EQ(loop.run(signals.next()), SIGUSR2);
  EXPECT_EQ(loop.run(nothing(&loop, &signals)), cancelled);
}

TEST_P(SignalsTest, SG1_a_signal_that_another_thread_gets_comes_out) {
  Signals signals(loop, {SIGUSR1});
  for (int round = 0; round < 20; ++round) {
    const std::jthread other([] { ASSERT_EQ(::pthread_kill(::pthread_self(), SIGUSR1), 0); });
    EXPECT_EQ(loop.run(signals.next()), SIGUSR1);
  }
}

Task<> count_signals(Signals* signals, std::atomic<int>* count, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    EXPECT_EQ(co_await signals->next(), SIGUSR1);
    ++*count;
  }
}

TEST_P(SignalsTest, SG1_none_is_lost_between_looking_and_waiting) {
  constexpr int rounds = 3000;
  Signals signals(loop, {SIGUSR1});
  std::atomic<int> count = 0;
  const std::jthread sender([&, target = ::pthread_self()] {
    for (int sent = 0; sent < rounds; ++sent) {
      // By turns to the loop's thread and to this one.
      ASSERT_EQ(::pthread_kill(sent % 2 == 0 ? target : ::pthread_self(), SIGUSR1), 0);
      for (int spins = 1; count.load() == sent; ++spins) {
        std::this_thread::yield();
        if (puts_handlers_off && spins % 10'000 == 0) send(SIGUSR1);
      }
    }
  });
  loop.run(count_signals(&signals, &count, rounds));
  EXPECT_EQ(count, rounds);
}

TEST_P(SignalsTest, SG1_every_object_gets_it_in_every_loop) {
  constexpr int rounds = 200;
  std::atomic<int> there = 0;
  std::atomic<int> here = 0;
  std::atomic<int> here_too = 0;
  std::atomic<bool> listens = false;
  std::jthread other([&, cell = GetParam()] {
    const auto own_engine = cell.make(real_kernel()).value();
    Loop own(*own_engine);
    Signals signals(own, {SIGUSR1});
    listens = true;
    own.run(count_signals(&signals, &there, rounds));
  });
  Signals one(loop, {SIGUSR1});
  Signals two(loop, {SIGUSR1, SIGUSR2});
  while (!listens) std::this_thread::yield();
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(count_signals(&one, &here, rounds));
    scope.spawn(count_signals(&two, &here_too, rounds));
    for (int sent = 0; sent < rounds; ++sent) {
      send(SIGUSR1);
      for (int spins = 1; there == sent || here == sent || here_too == sent; ++spins) {
        (void)co_await loop.sleep_until(immediately);
        if (puts_handlers_off && spins % 10'000 == 0) send(SIGUSR1);
      }
    }
  }));
  other.join();
  EXPECT_EQ(there + here + here_too, 3 * rounds);
}

TEST_P(SignalsTest, SG2_the_same_merges_and_the_lowest_comes_first) {
  Signals signals(loop, {SIGUSR1, SIGUSR2, SIGHUP});
  for (int i = 0; i < 3; ++i) {
    send(SIGUSR2);
    send(SIGUSR1);
    send(SIGHUP);
  }
  std::vector<int> numbers{SIGHUP, SIGUSR1, SIGUSR2};
  std::ranges::sort(numbers);
  for (const int number : numbers) EXPECT_EQ(loop.run(signals.next()), number);
  EXPECT_EQ(loop.run(nothing(&loop, &signals)), cancelled);
}

TEST_P(SignalsTest, SG3_next_is_cancelled_and_what_has_come_is_kept) {
  Signals signals(loop, {SIGUSR1});
  EXPECT_EQ(loop.run(nothing(&loop, &signals)), cancelled);
  send(SIGUSR1);
  Chain chain;
  chain.cancel();
  EXPECT_EQ(loop.run(signals.next(), chain).error(), cancelled);
  EXPECT_EQ(loop.run(signals.next()), SIGUSR1);
  loop.post([&] { loop.stop(); });
  EXPECT_EQ(loop.run(signals.next()).error(), cancelled);
}

Task<Result<int>> by_try(Signals* signals) { co_return co_await try_(signals->next()); }

TEST_P(SignalsTest, SG3_try_ends_the_task) {
  Signals signals(loop, {SIGUSR1});
  send(SIGUSR1);
  EXPECT_EQ(loop.run(by_try(&signals)), SIGUSR1);
  loop.stop();
  EXPECT_EQ(loop.run(by_try(&signals)).error(), cancelled);
}

std::atomic<int> called_plain = 0;
std::atomic<int> called_long = 0;
void (*below)(int, siginfo_t*, void*) = nullptr;

struct sigaction action_of(int number) {
  struct sigaction action{};
  EXPECT_EQ(::sigaction(number, nullptr, &action), 0);
  return action;
}

TEST_P(SignalsTest, SG4_the_last_one_restores_what_was_there) {
  for (int round = 0; round < 2; ++round) {
    auto first = std::make_unique<Signals>(loop, std::initializer_list<int>{SIGUSR1});
    auto second = std::make_unique<Signals>(loop, std::initializer_list<int>{SIGUSR1, SIGUSR2});
    EXPECT_NE(action_of(SIGUSR1).sa_handler, SIG_DFL);
    first.reset();
    EXPECT_NE(action_of(SIGUSR1).sa_handler, SIG_DFL);
    send(SIGUSR1);
    EXPECT_EQ(loop.run(second->next()), SIGUSR1);
    second.reset();
    EXPECT_EQ(action_of(SIGUSR1).sa_handler, SIG_DFL);
    EXPECT_EQ(action_of(SIGUSR2).sa_handler, SIG_DFL);
  }
}

TEST_P(SignalsTest, SG4_a_handler_that_was_there_is_called_too) {
  called_plain = 0;
  called_long = 0;
  const SignalHandler plain(SIGUSR1, [](int) { ++called_plain; });
  struct sigaction with_info{};
  with_info.sa_flags = SA_SIGINFO;
  with_info.sa_sigaction = [](int, siginfo_t* info, void*) {
    if (info->si_pid == ::getpid()) ++called_long;
  };
  struct sigaction before{};
  ASSERT_EQ(::sigaction(SIGUSR2, &with_info, &before), 0);
  {
    Signals signals(loop, {SIGUSR1, SIGUSR2});
    send(SIGUSR1);
    send(SIGUSR2);
    EXPECT_EQ(loop.run(signals.next()), std::min(SIGUSR1, SIGUSR2));
    EXPECT_EQ(loop.run(signals.next()), std::max(SIGUSR1, SIGUSR2));
  }
  EXPECT_EQ(called_plain, 1);
  EXPECT_EQ(called_long, 1);
  send(SIGUSR1);
  EXPECT_EQ(called_plain, 2);
  ASSERT_EQ(::sigaction(SIGUSR2, &before, nullptr), 0);
}

TEST_P(SignalsTest, SG4_a_handler_on_top_stays_and_the_chain_holds) {
  called_plain = 0;
  const SignalHandler bottom(SIGUSR1, [](int) { ++called_plain; });
  auto signals = std::make_unique<Signals>(loop, std::initializer_list<int>{SIGUSR1});
  struct sigaction top{};
  top.sa_flags = SA_SIGINFO;
  top.sa_sigaction = [](int number, siginfo_t* info, void* context) {
    below(number, info, context);
  };
  struct sigaction ours{};
  ASSERT_EQ(::sigaction(SIGUSR1, nullptr, &ours), 0);
  below = ours.sa_sigaction;
  ASSERT_EQ(::sigaction(SIGUSR1, &top, nullptr), 0);
  send(SIGUSR1);
  EXPECT_EQ(loop.run(signals->next()), SIGUSR1);
  EXPECT_EQ(called_plain, 1);

  signals.reset();
  EXPECT_EQ(action_of(SIGUSR1).sa_sigaction, top.sa_sigaction);
  send(SIGUSR1);  // through ours, which tells nobody
  EXPECT_EQ(called_plain, 2);

  // The next object does not call in a circle.
  signals = std::make_unique<Signals>(loop, std::initializer_list<int>{SIGUSR1});
  send(SIGUSR1);
  EXPECT_EQ(loop.run(signals->next()), SIGUSR1);
  EXPECT_EQ(called_plain, 3);
  ASSERT_EQ(::sigaction(SIGUSR1, &ours, nullptr), 0);  // who was on top goes
  signals.reset();
}

TEST_P(SignalsTest, SG4_objects_come_and_go_under_a_storm) {
  Signals guard(loop, {SIGUSR1});  // or the first signal in between would end the process
  const SignalStorm storm(SIGUSR1);
  std::vector<std::jthread> others;
  for (int t = 0; t < 2; ++t)
    others.emplace_back([cell = GetParam()] {
      const auto own_engine = cell.make(real_kernel()).value();
      Loop own(*own_engine);
      for (int i = 0; i < 200; ++i) {
        const Signals brief(own, {SIGUSR1});
        ASSERT_EQ(::pthread_kill(::pthread_self(), SIGUSR1), 0);
      }
    });
  others.clear();
  EXPECT_EQ(loop.run(guard.next()), SIGUSR1);
}

/// Whose write changes errno, as one that fails does.
class SpoilsErrno final : public ForwardingKernel {
 public:
  ssize_t write(int fd, const void* buffer, std::size_t size) noexcept override {
    const ssize_t written = ForwardingKernel::write(fd, buffer, size);
    errno = EIO;
    return written;
  }
};

TEST_P(SignalsTest, SG4_errno_is_as_it_was) {
  SpoilsErrno kernel;
  const auto own_engine = GetParam().make(kernel).value();
  Loop own(*own_engine);
  const Signals signals(own, {SIGUSR1});
  errno = ENOTTY;
  ASSERT_EQ(::raise(SIGUSR1), 0);
  EXPECT_EQ(errno, ENOTTY);
  const SignalHandler below_ours(SIGUSR2, [](int) { errno = EDOM; });
  const Signals more(own, {SIGUSR2});
  errno = ENOTTY;
  ASSERT_EQ(::raise(SIGUSR2), 0);
  // That one's own business, as it was without ours. (ThreadSanitizer restores it.)
  EXPECT_EQ(errno, puts_handlers_off ? ENOTTY : EDOM);
}

TEST_P(SignalsTest, SG4_mask_and_flags_of_who_was_there_are_kept) {
  struct sigaction mine{};
  mine.sa_handler = [](int) {
    sigset_t here;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &here);
    called_plain = sigismember(&here, SIGUSR2);
  };
  mine.sa_flags = SA_NOCLDSTOP | SA_NOCLDWAIT;
  ::sigemptyset(&mine.sa_mask);
  ::sigaddset(&mine.sa_mask, SIGUSR2);
  struct sigaction before{};
  ASSERT_EQ(::sigaction(SIGCHLD, &mine, &before), 0);
  {
    const Signals signals(loop, {SIGCHLD});
    const struct sigaction ours = action_of(SIGCHLD);
    EXPECT_EQ(ours.sa_flags & (SA_NOCLDSTOP | SA_NOCLDWAIT), SA_NOCLDSTOP | SA_NOCLDWAIT);
    EXPECT_EQ(sigismember(&ours.sa_mask, SIGUSR2), 1);
    called_plain = 0;
    ASSERT_EQ(::raise(SIGCHLD), 0);
    EXPECT_EQ(called_plain, 1);
  }
  EXPECT_EQ(action_of(SIGCHLD).sa_flags & (SA_NOCLDSTOP | SA_NOCLDWAIT),
            SA_NOCLDSTOP | SA_NOCLDWAIT);
  ASSERT_EQ(::sigaction(SIGCHLD, &before, nullptr), 0);
}

/// Holds up who wakes its loop, which a handler does, until it is let go.
class SlowWake final : public ForwardingKernel {
 public:
  ssize_t write(int fd, const void* buffer, std::size_t size) noexcept override {
    if (holds) {
      inside = true;
      while (holds) std::this_thread::yield();
      inside = false;
      left = true;
    }
    return ForwardingKernel::write(fd, buffer, size);
  }
  std::atomic<bool> holds = false;
  std::atomic<bool> inside = false;
  std::atomic<bool> left = false;
};

TEST_P(SignalsTest, SG4_who_goes_waits_for_handlers_that_are_inside) {
  SlowWake kernel;
  const auto own_engine = GetParam().make(kernel).value();
  Loop own(*own_engine);
  const Signals keeps_the_handler(loop, {SIGUSR1});
  auto signals = std::make_unique<Signals>(own, std::initializer_list<int>{SIGUSR1});
  kernel.holds = true;
  std::thread other([] { ASSERT_EQ(::pthread_kill(::pthread_self(), SIGUSR1), 0); });
  while (!kernel.inside) std::this_thread::yield();
  std::atomic<bool> going = false;
  std::thread releaser([&] {
    while (!going) std::this_thread::yield();
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();  // time to go without waiting
    EXPECT_FALSE(kernel.left);
    kernel.holds = false;
  });
  going = true;
  signals.reset();
  EXPECT_TRUE(kernel.left);
  other.join();
  releaser.join();
}

TEST_P(SignalsTest, SG5_what_cannot_be_had_is_told_by_next) {
  for (const int number : {0, -1, 65, SIGKILL, SIGSTOP, SIGSEGV, SIGFPE}) {
    Signals signals(loop, {SIGUSR1, number});
    EXPECT_EQ(loop.run(signals.next()).error(), errno_code(EINVAL)) << number;
    EXPECT_EQ(action_of(SIGUSR1).sa_handler, SIG_DFL) << number;
  }
}

/// A process of its own, as far as signals go.
class OwnSignals final : public ForwardingKernel {
 public:
  OwnSignals() : ForwardingKernel(real_kernel(), table_) {}
  int sigaction(int signal, const struct sigaction* action,
                struct sigaction* old) noexcept override {
    struct sigaction& is = actions[static_cast<std::size_t>(signal)];
    if (old != nullptr) *old = is;
    if (action != nullptr) is = *action;
    return 0;
  }
  void raise(int signal) {
    const struct sigaction& is = actions[static_cast<std::size_t>(signal)];
    if (SignalTable::installed(is)) table_.deliver(signal, nullptr, nullptr);
  }

  std::array<struct sigaction, 65> actions{};

 private:
  SignalTable table_;
};

TEST_P(SignalsTest, SG7_each_kernel_tells_its_own_loops_alone) {
  OwnSignals kernels[2];
  std::unique_ptr<Loop> loops[2];
  std::optional<Signals> signals[2];
  for (int i = 0; i < 2; ++i) {
    loops[i] = make_loop({.backend = GetParam().kind->name, .kernel = &kernels[i]}).value();
    signals[i].emplace(*loops[i], std::initializer_list<int>{SIGUSR1, SIGUSR2});
  }
  EXPECT_EQ(action_of(SIGUSR1).sa_handler, SIG_DFL);
  Signals own(loop, {SIGUSR1, SIGUSR2});

  // The lowest comes out first: none has a SIGUSR1 that another kernel delivered.
  kernels[0].raise(SIGUSR1);
  kernels[1].raise(SIGUSR2);
  send(SIGUSR2);
  EXPECT_EQ(loops[0]->run(signals[0]->next()), SIGUSR1);
  EXPECT_EQ(loops[1]->run(signals[1]->next()), SIGUSR2);
  EXPECT_EQ(loop.run(own.next()), SIGUSR2);
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(loops[i]->run(nothing(loops[i].get(), &*signals[i])), cancelled);
  EXPECT_EQ(loop.run(nothing(&loop, &own)), cancelled);

  signals[0].reset();
  EXPECT_EQ(kernels[0].actions[SIGUSR1].sa_handler, SIG_DFL);
  EXPECT_TRUE(SignalTable::installed(kernels[1].actions[SIGUSR1]));
}

/// A loop over a kernel that fails on demand.
class SignalFaults : public testing::TestWithParam<EngineCell> {
 protected:
  FaultKernel kernel{real_kernel()};
  std::unique_ptr<Engine> engine = GetParam().make(kernel).value();
  Loop loop{*engine};
};
DUOLU_EVERY_ENGINE(SignalFaults);

TEST_P(SignalFaults, SG5_a_sigaction_that_fails_leaves_nothing_behind) {
  for (std::uint64_t nth = 1; nth <= 4; ++nth) {  // two calls a signal
    kernel.fail(Call::sigaction, nth, ENOMEM);
    Signals signals(loop, {SIGUSR1, SIGUSR2});
    EXPECT_EQ(loop.run(signals.next()).error(), errno_code(ENOMEM)) << nth;
    EXPECT_EQ(action_of(SIGUSR1).sa_handler, SIG_DFL) << nth;
    EXPECT_EQ(action_of(SIGUSR2).sa_handler, SIG_DFL) << nth;
    kernel.clear();
  }
  Signals signals(loop, {SIGUSR1, SIGUSR2});
  send(SIGUSR1);
  EXPECT_EQ(loop.run(signals.next()), SIGUSR1);
}

}  // namespace
}  // namespace duolu::test
