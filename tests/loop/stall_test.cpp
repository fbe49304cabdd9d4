// Clauses LO8 and LO11, on every backend.
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <vector>

#include "duolu/loop/signals.hpp"
#include "duolu/task/flag.hpp"
#include "duolu/testing/fault.hpp"
#include "support/loop_fixture.hpp"
#include "support/movable_clock.hpp"
#include "support/stopped_clock.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

constexpr Duration threshold = 1h;
constexpr Duration tick = 1ms;

class StallTest : public testing::TestWithParam<EngineCell> {
 protected:
  StallTest() { watch(); }
  void watch() {
    loop.watch_stalls(threshold, [this](const Stall& stall) {
      stalls.push_back(stall);
      hold();  // which is nobody's
    });
  }
  void hold() { kernel.moved += 2h; }
  /// `from`: the line of the co_await that it went on from; 0 for none.
  void expect(Stall::Cause cause, std::string_view name, unsigned line, unsigned from) {
    ASSERT_EQ(stalls.size(), 1U);
    const Stall& stall = stalls.front();
    EXPECT_EQ(stall.cause, cause) << to_string(stall.cause);
    EXPECT_GE(stall.held, 2h);
    EXPECT_LT(stall.held, 4h);
    EXPECT_EQ(stall.origin.name == nullptr ? "" : stall.origin.name, name);
    EXPECT_EQ(stall.origin.where.line(), line);
    const std::string_view file = stall.origin.where.file_name();
    EXPECT_EQ(file.ends_with("stall_test.cpp"), line != 0) << file;
    EXPECT_EQ(stall.from.line(), from);
    stalls.clear();
  }

  MovableClock kernel;
  std::unique_ptr<Engine> engine = GetParam().make(kernel).value();
  Loop loop{*engine};
  std::vector<Stall> stalls;
};
DUOLU_EVERY_ENGINE(StallTest);

constexpr unsigned sleeping = __LINE__ + 2;
Task<> sleep_then(Loop* loop, MovableClock* clock, Duration hold) {
  (void)co_await loop->sleep_for(tick);
  clock->moved += hold;
}

TEST_P(StallTest, LO8_who_slept_is_named_among_others) {
  unsigned line = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    for (int i = 0; i < 3; ++i) scope.spawn(sleep_then(&loop, &kernel, 0s), "innocent");
    line = __LINE__ + 1;
    scope.spawn(sleep_then(&loop, &kernel, 2h));
    for (int i = 0; i < 3; ++i) scope.spawn(sleep_then(&loop, &kernel, 0s), "innocent");
    co_return;
  }));
  expect(Stall::Cause::deadline, "", line, sleeping);
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(sleep_then(&loop, &kernel, 2h), "guilty");
    co_return;
  }));
  expect(Stall::Cause::deadline, "guilty", 0, sleeping);
}

TEST_P(StallTest, LO8_the_beginning_of_run_and_posts_are_named) {
  unsigned line = __LINE__ + 1;
  loop.run([](MovableClock* clock) -> Task<> {
    clock->moved += 2h;
    co_return;
  }(&kernel));
  ASSERT_EQ(stalls.size(), 1U);
  EXPECT_GE(stalls.front().origin.where.line(), line);
  EXPECT_LE(stalls.front().origin.where.line(), line + 3);
  EXPECT_EQ(stalls.front().from.line(), 0U);  // it had not begun
  stalls.clear();

  line = __LINE__ + 2;
  loop.post([] {});
  loop.post([this] { hold(); });
  loop.post([] {});
  ASSERT_TRUE(loop.turn(immediately));
  expect(Stall::Cause::post, "", line, 0);

  line = __LINE__ + 1;
  loop.post([this] { hold(), throw std::runtime_error("and more"); });
  EXPECT_THROW((void)loop.turn(immediately), std::runtime_error);
  expect(Stall::Cause::post, "", line, 0);
}

Task<> signal_then(Signals* signals, MovableClock* clock) {
  EXPECT_EQ(co_await signals->next(), SIGUSR1);
  clock->moved += 2h;
}

TEST_P(StallTest, LO8_who_waited_for_a_signal_is_named) {
  Signals signals(loop, {SIGUSR1});
  loop.post([] { ASSERT_EQ(::kill(::getpid(), SIGUSR1), 0); });
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(signal_then(&signals, &kernel), "hears");
    co_return;
  }));
  ASSERT_EQ(stalls.size(), 1U);
  expect(Stall::Cause::wakeup, "hears", 0, stalls.front().from.line());  // in signals.cpp
}

TEST_P(StallTest, LO8_waiting_and_what_is_below_the_threshold_are_no_stalls) {
  // The wait takes as long as it likes: this moves the clock during it.
  std::jthread([this] { loop.post([] {}); }).join();
  hold();
  ASSERT_TRUE(loop.turn(immediately));
  loop.post([this] { kernel.moved += 10min; });
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_TRUE(stalls.empty());
  EXPECT_GE(loop.statistics().busy, 10min);
  EXPECT_LT(loop.statistics().busy, 1h);
  EXPECT_GE(loop.statistics().longest_turn, 10min);
}

TEST_P(StallTest, LO8_the_watch_ends) {
  loop.post([this] {
    loop.watch_stalls({}, {});
    hold();
  });
  loop.post([this] { hold(); });
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_TRUE(stalls.empty());
  loop.post([this] {
    watch();
    hold();
  });
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_TRUE(stalls.empty());  // from the next turn on
  loop.post([this] { hold(); });
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_EQ(stalls.size(), 1U);
}

TEST_P(StallTest, LO8_a_watch_that_replaces_another_blames_nobody_for_it) {
  loop.post([this] {
    watch();
    hold();
  });
  loop.post([] {});
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_TRUE(stalls.empty());
}

TEST_P(StallTest, LO8_without_a_watch_no_clock_is_read) {
  loop.watch_stalls({}, {});
  loop.post([] {});
  kernel.readings = 0;
  ASSERT_TRUE(loop.turn(never));
  EXPECT_EQ(kernel.readings, 0);
  watch();
  loop.post([] {});
  loop.post([] {});
  kernel.readings = 0;
  ASSERT_TRUE(loop.turn(never));
  EXPECT_EQ(kernel.readings, 3);  // after the wait, and after each
}

// --- the watchdog. It has a thread, so waits are real; the clock that it compares moves only when
// a test says so, and a busy machine makes nobody look slow.

class WatchdogTest : public testing::TestWithParam<EngineCell> {
 protected:
  static constexpr Duration limit = 20ms;

  WatchdogTest() { watch(limit); }
  void watch(Duration span) {
    loop.watch_stalls(span, [this](const Stall& stall) { after_it.push_back(stall); });
    ASSERT_TRUE(loop.start_watchdog([this](const Stall& stall) {
      const std::scoped_lock guard(mutex);
      during_it.push_back(stall);
    }));
  }
  /// Holds the loop for twice the limit, and on until the watchdog has made `count` reports.
  void hold_until_reported(std::size_t count) {
    clock.move(2 * limit);
    wait_until([&] { return reports() >= count; });
  }
  /// Until the watchdog has looked `count` times more.
  void wait_for_looks(std::uint64_t count) {
    wait_until([this, end = polls() + count] { return polls() >= end; });
  }
  std::size_t reports() {
    const std::scoped_lock guard(mutex);
    return during_it.size();
  }
  [[nodiscard]] std::uint64_t polls() const {
    return counter.calls(Call::ppoll) + counter.calls(Call::pselect);
  }

  StoppedClock clock;
  FaultKernel counter{clock};
  std::unique_ptr<Engine> engine = GetParam().make(counter).value();
  std::mutex mutex;
  std::vector<Stall> during_it;
  std::vector<Stall> after_it;
  Loop loop{*engine};

 private:
  template <class Condition>
  static void wait_until(Condition condition) {
    const Instant end = after(real_kernel().now(), 60s);
    while (!condition() && real_kernel().now() < end) std::this_thread::sleep_for(1ms);
  }
};
DUOLU_EVERY_ENGINE(WatchdogTest);

TEST_P(WatchdogTest, LO11_who_does_not_let_go_is_reported_once_while_he_holds_it) {
  const unsigned line = __LINE__ + 6;
  Chain chain;
  chain.set_origin({"stuck", {}});
  Flag started;
  loop.post([&started] { started.set(); });
  loop.run(with_scope([&](Scope&) -> Task<> {
             (void)co_await started.wait();
             hold_until_reported(1);
             EXPECT_EQ(reports(), 1U);
             clock.move(4 * limit);
             wait_for_looks(3);
           }),
           chain);
  ASSERT_EQ(during_it.size(), 1U);
  EXPECT_EQ(during_it[0].cause, Stall::Cause::task);
  EXPECT_STREQ(during_it[0].origin.name, "stuck");
  EXPECT_EQ(during_it[0].from.line(), line);
  EXPECT_EQ(during_it[0].held, 2 * limit);
  ASSERT_EQ(after_it.size(), 1U);  // and once more when it let go
  EXPECT_STREQ(after_it[0].origin.name, "stuck");
  EXPECT_EQ(after_it[0].held, 6 * limit);
}

TEST_P(WatchdogTest, LO11_it_finds_the_second_one_too_and_sleeps_in_between) {
  for (std::size_t round = 1; round <= 3; ++round) {
    loop.post([this, round] { hold_until_reported(round); });
    ASSERT_TRUE(loop.turn(immediately));
    EXPECT_EQ(reports(), round);
    // Two more looks, of which the second finds that nothing has gone on; then it sleeps. Counting
    // begins when nothing was counted for long.
    std::uint64_t before = polls() + 1;
    for (int i = 0; i < 100 && before != polls(); ++i) {
      before = polls();
      clock.move(4 * limit);  // or one look would wait, and wait again
      std::this_thread::sleep_for(4 * limit);
    }
    before = polls();
    std::this_thread::sleep_for(10 * limit);
    EXPECT_LE(polls() - before, 2U);  // awake it would have looked ten times
  }
  EXPECT_EQ(after_it.size(), 3U);
}

TEST_P(WatchdogTest, LO11_who_lets_go_in_time_is_not_reported) {
  watch(1ms);  // it looks often
  for (int i = 0; i < 100; ++i) {
    loop.post([this] {
      clock.move(900us);
      std::this_thread::sleep_for(1ms);
    });
    ASSERT_TRUE(loop.turn(immediately));
  }
  EXPECT_EQ(reports(), 0U);
  EXPECT_TRUE(after_it.empty());
}

TEST_P(WatchdogTest, LO11_many_go_on_while_it_looks) {
  watch(1ms);
  int called = 0;
  const Instant end = after(real_kernel().now(), 300ms);
  while (real_kernel().now() < end) {
    for (int i = 0; i < 10; ++i)
      loop.post([this, &called] {
        if (++called % 100 != 0) return;
        clock.move(2ms);
        std::this_thread::sleep_for(2ms);
      });
    ASSERT_TRUE(loop.turn(immediately));
  }
  EXPECT_LE(reports(), after_it.size());
  EXPECT_EQ(after_it.size(), static_cast<std::size_t>(called / 100));
}

TEST_P(WatchdogTest, LO11_it_ends_with_the_watch_whoever_holds_the_loop) {
  loop.post([this] {
    loop.watch_stalls({}, {});
    clock.move(3 * limit);
    std::this_thread::sleep_for(3 * limit);
  });
  ASSERT_TRUE(loop.turn(immediately));
  loop.post([this] { watch(limit); });
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_EQ(reports(), 0U);
  loop.post([this] { hold_until_reported(1); });
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_EQ(reports(), 1U);
}

TEST_P(WatchdogTest, LO11_it_may_begin_while_somebody_holds_the_loop) {
  Flag looked;
  std::jthread other;
  loop.run(with_scope([&](Scope&) -> Task<> {
    EXPECT_TRUE(loop.start_watchdog([this](const Stall& stall) {  // in place of the one there was
      const std::scoped_lock guard(mutex);
      during_it.push_back(stall);
    }));
    other = std::jthread([&] {
      std::this_thread::sleep_for(4 * limit);
      clock.move(10 * limit);  // nobody holds the loop meanwhile
      std::this_thread::sleep_for(4 * limit);
      loop.post([&looked] { looked.set(); });
    });
    (void)co_await looked.wait();
    EXPECT_EQ(reports(), 0U);
    hold_until_reported(1);
  }));
  ASSERT_EQ(reports(), 1U);
  EXPECT_EQ(during_it[0].cause, Stall::Cause::task);
  EXPECT_EQ(during_it[0].held, 2 * limit);
}

TEST_P(WatchdogTest, LO11_a_limit_that_never_comes_costs_nothing) {
  watch(Duration::max());
  loop.post([this] {
    clock.move(10 * limit);
    std::this_thread::sleep_for(10 * limit);
  });
  const std::uint64_t before = polls();
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_LE(polls() - before, 5U);
}

TEST_P(WatchdogTest, LO11_without_a_thread_there_is_the_watch_alone) {
  loop.watch_stalls(limit, [this](const Stall& stall) { after_it.push_back(stall); });
  counter.fail(Call::pthread_create, 1, EAGAIN);
  EXPECT_EQ(loop.start_watchdog([](const Stall&) {}).error().value(), EAGAIN);
  loop.post([this] { clock.move(2 * limit); });
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_EQ(after_it.size(), 1U);
}

TEST_P(WatchdogTest, LO11_it_looks_even_where_it_cannot_poll) {
  loop.post([this] {
    // As with a RLIMIT_NOFILE of 0; the loop itself does not wait meanwhile.
    for (const Call call : {Call::ppoll, Call::pselect}) counter.fail_always(call, EINVAL);
    hold_until_reported(1);
    counter.clear();
  });
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_EQ(reports(), 1U);
}

}  // namespace
}  // namespace duolu::test
