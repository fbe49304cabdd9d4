// Clause LO8, on every backend.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <vector>

#include "duolu/loop/signals.hpp"
#include "support/forwarding_kernel.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

/// A clock that goes on by itself, and that a test moves: then nothing needs to take long.
class MovableClock final : public ForwardingKernel {
 public:
  Duration moved{};
  int readings = 0;
  Instant now() noexcept override {
    ++readings;
    return ForwardingKernel::now() + moved;
  }
};

constexpr Duration threshold = 1h;
constexpr Duration tick = 1ms;

class StallTest : public testing::TestWithParam<Cell> {
 protected:
  StallTest() { watch(); }
  void watch() {
    loop.watch_stalls(threshold, [this](const Stall& stall) {
      stalls.push_back(stall);
      hold();  // which is nobody's
    });
  }
  void hold() { kernel.moved += 2h; }
  void expect(Stall::Cause cause, std::string_view name, unsigned line) {
    ASSERT_EQ(stalls.size(), 1U);
    const Stall& stall = stalls.front();
    EXPECT_EQ(stall.cause, cause) << to_string(stall.cause);
    EXPECT_GE(stall.held, 2h);
    EXPECT_LT(stall.held, 4h);
    EXPECT_EQ(stall.origin.name == nullptr ? "" : stall.origin.name, name);
    EXPECT_EQ(stall.origin.where.line(), line);
    const std::string_view file = stall.origin.where.file_name();
    EXPECT_EQ(file.ends_with("stall_test.cpp"), line != 0) << file;
    stalls.clear();
  }

  MovableClock kernel;
  std::unique_ptr<Poller> poller = GetParam().backend->make(kernel, {}).value();
  std::unique_ptr<Engine> engine = make_readiness_engine(*poller);
  Loop loop{*engine};
  std::vector<Stall> stalls;
};
DUOLU_EVERY_BACKEND(StallTest);

Task<> sleep_then(Loop* loop, MovableClock* clock, Duration hold) {
  co_await loop->sleep_for(tick);
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
  expect(Stall::Cause::deadline, "", line);
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(sleep_then(&loop, &kernel, 2h), "guilty");
    co_return;
  }));
  expect(Stall::Cause::deadline, "guilty", 0);
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
  stalls.clear();

  line = __LINE__ + 2;
  loop.post([] {});
  loop.post([this] { hold(); });
  loop.post([] {});
  ASSERT_TRUE(loop.turn(immediately));
  expect(Stall::Cause::post, "", line);

  line = __LINE__ + 1;
  loop.post([this] { hold(), throw std::runtime_error("and more"); });
  EXPECT_THROW((void)loop.turn(immediately), std::runtime_error);
  expect(Stall::Cause::post, "", line);
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
  expect(Stall::Cause::wakeup, "hears", 0);
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

}  // namespace
}  // namespace duolu::test
