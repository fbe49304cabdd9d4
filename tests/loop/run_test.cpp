// run(), make_loop(), and what finds the loop of its task by itself. What signals do to run() is in
// tests/examples, which runs programs.
#include "duolu/loop/run.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "duolu/engine/engines.hpp"
#include "duolu/loop/offload.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/task/channel.hpp"
#include "duolu/task/flag.hpp"
#include "duolu/task/together.hpp"
#include "support/loop_fixture.hpp"
#include "support/movable_clock.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

Task<> nothing() { co_return; }
Task<int> seven() { co_return 7; }
Task<Result<>> success() { co_return Result<>(); }
Task<Result<int>> nine() { co_return 9; }
Task<Result<>> failure() { co_return fail(ENOENT); }
Task<Result<>> explained() {
  Loop& loop = co_await this_loop();
  loop.explain(errno_code(ENOENT), "there is no lunch");
  co_return fail(ENOENT);
}
Task<> thrown() {
  throw std::runtime_error("out of luck");
  co_return;
}

Task<Result<>> wait_for(Flag* flag) {
  const bool set = co_await flag->wait();
  co_return set ? Result<>() : fail(ECANCELED);
}
Task<Result<>> sleep_an_hour(int* ticks) {
  co_await sleep(1h);
  ++*ticks;
  co_return Result<>();
}

std::string said(auto code) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(code(), 1);
  std::string line = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(line.ends_with('\n'));
  line.pop_back();
  EXPECT_EQ(line.find('\n'), std::string::npos);
  return line.substr(line.find(": ") + 2);
}

TEST(Run, RN4_a_standard_error_that_is_full_does_not_hold_the_loop) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  while (::write(ends[1], "full", 4) > 0) {
  }
  ASSERT_EQ(::fcntl(ends[1], F_SETFL, 0), 0);  // blocking, as it usually is
  const int before = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  ASSERT_EQ(::dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
  const int code = run([]() -> Task<int> {
    (co_await this_loop()).report("dropped");
    co_return 7;
  });
  ASSERT_EQ(::dup2(before, STDERR_FILENO), STDERR_FILENO);
  for (const int fd : {before, ends[0], ends[1]}) ::close(fd);
  EXPECT_EQ(code, 7);
}

TEST(Run, RN1_RN3_the_exit_code_is_what_the_task_gives) {
  EXPECT_EQ(run(nothing()), 0);
  EXPECT_EQ(run(seven()), 7);
  EXPECT_EQ(run(success()), 0);
  EXPECT_EQ(run(nine()), 9);
  const int captured = 3;
  EXPECT_EQ(run([&captured]() -> Task<int> { co_return captured; }), 3);
}

TEST(Run, RN3_an_error_is_one_line) {
  EXPECT_EQ(said([] { return run(failure()); }), "No such file or directory");
  EXPECT_EQ(said([] { return run(explained()); }), "there is no lunch");
  EXPECT_EQ(said([] { return run(thrown()); }), "out of luck");
  EXPECT_EQ(
      said([] { return run(nothing(), {.backend = "kqueue"}); }),
      "cannot make a loop: there is no engine \"kqueue\"; choose auto, " + [] {
        std::string names;
        for (const EngineKind& kind : engines()) {
          if (!names.empty()) names += ", ";
          names += kind.name;
        }
        return names;
      }());
}

Task<Result<>> signalled(int number, bool carries_on) {
  (void)::raise(number);
  Loop& loop = co_await this_loop();
  const bool slept = co_await loop.sleep_for(carries_on ? Duration(1ms) : Duration::max());
  co_return slept || carries_on ? Result<>() : fail(ECANCELED);
}
/// Cancelled, it lets the second signal come.
Task<> signalled_twice() {
  (void)co_await signalled(SIGTERM, false);
  (void)::raise(SIGTERM);
}

TEST(Run, RN2_RN3_a_signal_cancels_the_task) {
  for (const int number : {SIGINT, SIGTERM}) {
    EXPECT_EQ(run(signalled(number, false)), 128 + number);
    EXPECT_EQ(run(signalled(number, true)), 0) << "it ended in good order";
  }
}

TEST(Run, RN2_an_ignored_signal_stays_ignored) {
  const auto before = ::signal(SIGTERM, SIG_IGN);
  EXPECT_EQ(run([]() -> Task<Result<>> {
              (void)::raise(SIGTERM);
              co_await sleep(1ms);
              co_return Result<>();
            }),
            0);
  EXPECT_EQ(::signal(SIGTERM, before), SIG_IGN);
}

TEST(RunDeathTest, RN2_the_second_signal_ends_the_process) {
  EXPECT_EXIT((void)run(signalled_twice()), testing::KilledBySignal(SIGTERM), "^$");
}

Task<> rest() { co_await sleep(1h); }
Task<> rest_for_ever() {
  (void)::raise(SIGTERM);
  for (;;) co_await rest();
}
/// Ignores that it is cancelled: first_of() gives something, whatever ended its tasks.
Task<> rest_for_ever_in_turns() {
  (void)::raise(SIGTERM);
  for (;;) (void)co_await first_of(rest(), rest());
}

TEST(Run, RN3_TA7_a_signal_ends_a_loop_around_a_helper_that_sleeps) {
  EXPECT_EQ(run(rest_for_ever()), 128 + SIGTERM);
}

TEST(RunDeathTest, a_loop_that_ignores_that_it_was_cancelled_is_named) {
  EXPECT_DEATH((void)run(rest_for_ever_in_turns()), "run_test.cpp.*cancelled");
}

TEST(Run, RN1_what_else_can_be_awaited_runs) { EXPECT_EQ(run(sleep(0ms)), 0); }

TEST(Engines, each_makes_a_loop_by_its_name) {
  ASSERT_FALSE(engines().empty());
  for (const EngineKind& kind : engines()) {
    EXPECT_EQ(find_engine(kind.name), &kind);
    const auto loop = make_loop({.backend = kind.name});
    ASSERT_TRUE(loop) << kind.name;
    const Instant before = (*loop)->kernel().now();
    (*loop)->run([]() -> Task<> { co_await sleep(2ms); });
    EXPECT_GE((*loop)->kernel().now() - before, 2ms);
  }
  EXPECT_EQ(find_engine("auto"), nullptr);
  EXPECT_EQ(make_engine(real_kernel(), "nonsense").error().value(), EINVAL);
}

TEST(Engines, the_best_that_works_is_chosen_and_says_why) {
  const EngineChoice choice = choose_engine(real_kernel());
  ASSERT_NE(choice.kind, nullptr);
  EXPECT_EQ(choice.kind, &engines().front());
  EXPECT_TRUE(choice.why.starts_with(choice.kind->name)) << choice.why;
}

class LoopOfTheTaskTest : public LoopFixture {};
DUOLU_EVERY_ENGINE(LoopOfTheTaskTest);

TEST_P(LoopOfTheTaskTest, sleep_is_never_early_and_takes_any_span) {
  loop.run([this]() -> Task<> {
    EXPECT_EQ(&co_await this_loop(), &loop);
    const Instant begin = loop.kernel().now();
    co_await sleep(std::chrono::duration<double>(0.003));
    EXPECT_GE(loop.kernel().now() - begin, 3ms);
    co_await sleep(-1h);
    co_await sleep_until(after(begin, 6ms));
    EXPECT_GE(loop.kernel().now() - begin, 6ms);
  });
}

TEST_P(LoopOfTheTaskTest, yield_lets_the_others_run_first) {
  std::string order;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    for (const char name : {'a', 'b', 'c'})
      scope.spawn([&order, name]() -> Task<> {
        for (int i = 0; i < 3; ++i) {
          order += name;
          co_await yield();
        }
      });
    co_return;
  }));
  EXPECT_EQ(order, "abcabcabc");
}

TEST(Ticker, keeps_its_beat_and_skips_what_it_missed) {
  MovableClock clock;
  const auto loop = make_loop({.kernel = &clock}).value();
  std::vector<Duration> ticks;  // counted from the first next() on
  loop->run([&]() -> Task<> {
    Ticker ticker(1h);
    const Instant begin = clock.now();
    const auto in_a_moment = [&](Duration span) { loop->post([&, span] { clock.moved += span; }); };
    const auto note = [&] { ticks.push_back(clock.now() - begin); };
    in_a_moment(1h);
    co_await ticker.next();
    note();
    clock.moved += 30min;  // work between two ticks
    in_a_moment(30min);
    co_await ticker.next();
    note();
    clock.moved += 3h + 30min;  // work that misses three ticks
    in_a_moment(30min);
    co_await ticker.next();
    note();
  });
  ASSERT_EQ(ticks.size(), 3U);
  const Duration due[] = {1h, 2h, 6h};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_GE(ticks[i], due[i]);
    EXPECT_LT(ticks[i], due[i] + 20min);
  }
}

// `for (;;) { co_await sleep(1s); tick(); }` ends with its cancellation, and does not spin.
TEST_P(LoopOfTheTaskTest, a_cancelled_sleep_ends_its_task) {
  int ticks = 0;
  Result<> with_result;
  bool came_back = false;
  loop.run([&]() -> Task<> {
    co_await with_scope([&](Scope& scope) -> Task<> {
      scope.spawn([&]() -> Task<> {
        for (;;) {
          co_await sleep_until(never);
          ++ticks;
        }
      });
      scope.spawn([&]() -> Task<> {
        with_result = co_await sleep_an_hour(&ticks);
        came_back = true;
      });
      co_await sleep(1ms);
      scope.cancel();
      scope.spawn([&]() -> Task<> {  // on a chain that is cancelled already
        co_await sleep(0ms);
        ++ticks;
      });
    });
  });
  EXPECT_EQ(ticks, 0);
  EXPECT_TRUE(came_back);
  EXPECT_EQ(with_result.error(), std::errc::operation_canceled);
}

/// Three deep; what comes after the sleep is not reached.
Task<> tick(int* ticks) {
  co_await sleep(1h);
  ++*ticks;
}
Task<> tick_twice(int* ticks) {
  co_await tick(ticks);
  ++*ticks;
  co_await tick(ticks);
}
Task<Result<int>> tick_for_ever(int* ticks) {
  for (;;) co_await tick_twice(ticks);
}
Task<int> count_for_ever(int* ticks) {
  for (int i = 0; i < 3; ++i) co_await tick(ticks);  // resumed each time: it has to give an int
  co_return 7;
}

TEST_P(LoopOfTheTaskTest, TA7_what_awaits_a_task_that_a_cancelled_sleep_ended_ends_too) {
  for (const bool before : {false, true}) {
    int ticks = 0;
    int seven = 0;
    bool came_back = false;
    Result<int> result = 1;
    loop.run([&]() -> Task<> {
      co_await with_scope([&](Scope& scope) -> Task<> {
        if (before) scope.cancel();
        scope.spawn([&]() -> Task<> {
          for (;;) co_await tick_twice(&ticks);
        });
        scope.spawn([&]() -> Task<> { result = co_await tick_for_ever(&ticks); });
        scope.spawn([&]() -> Task<> { seven = co_await count_for_ever(&ticks); });
        scope.spawn(with_scope([&](Scope& inner) -> Task<> {
          inner.spawn(tick(&ticks));
          for (;;) co_await tick(&ticks);
        }));
        scope.spawn([&]() -> Task<> {
          for (;;) co_await with_scope([&](Scope&) { return tick(&ticks); });
        });
        co_await sleep(1ms);
        scope.cancel();
        co_await tick(&ticks);
        ++ticks;
      });
      came_back = true;  // it was the scope that was cancelled
      co_await sleep(0ms);
    });
    EXPECT_EQ(ticks, 0);
    EXPECT_EQ(seven, 7);
    EXPECT_EQ(result.error(), std::errc::operation_canceled);
    EXPECT_TRUE(came_back);
  }
}

TEST_P(LoopOfTheTaskTest, TO1_TO3_TO6_what_can_be_awaited_needs_no_task_around_it) {
  Flag set(true);
  Flag never_set;
  Channel<int> channel(1);
  loop.run([&]() -> Task<> {
    const auto [slept, was_set, sent, lambda] =
        co_await when_all(sleep(1ms), set.wait(), channel.send(5),
                          [&]() -> Task<int> { co_return co_await set.wait() ? 9 : 0; });
    EXPECT_EQ(slept, std::monostate());
    EXPECT_TRUE(was_set);
    EXPECT_TRUE(sent);
    EXPECT_EQ(lambda, 9);
    const auto first = co_await first_of(never_set.wait(), channel.receive(), sleep(1h));
    EXPECT_EQ(first.index(), 1U);
    EXPECT_EQ(std::get<1>(first), 5);
    const auto late = co_await first_of(never_set.wait(), sleep(1ms));
    EXPECT_EQ(late.index(), 1U);
    EXPECT_TRUE(co_await shielded(set.wait()));
    EXPECT_TRUE(co_await within(1h, shielded(channel.send(6))));
  });
}

TEST_P(LoopOfTheTaskTest, within_and_offload_need_no_loop) {
  Flag never_set;
  loop.run([&]() -> Task<> {
    EXPECT_EQ((co_await within(1ms, wait_for(&never_set))).error(), std::errc::timed_out);
    EXPECT_EQ((co_await within(immediately, wait_for(&never_set))).error(), std::errc::timed_out);
    const Result<int> five = co_await within(1h, []() -> Task<Result<int>> {
      const int value = co_await try_(within(1h, offload([] { return 5; })));
      co_return value;
    });
    EXPECT_EQ(five, 5);
    const Result<std::thread::id> elsewhere =
        co_await offload([] { return std::this_thread::get_id(); });
    EXPECT_NE(elsewhere, std::this_thread::get_id());
    EXPECT_EQ(loop.workers(), loop.workers());
  });
}

}  // namespace
}  // namespace duolu::test
