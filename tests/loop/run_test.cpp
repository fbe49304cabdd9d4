// run(), make_loop(), and what finds the loop of its task by itself. What signals do to run() is in
// tests/examples, which runs programs.
#include "duolu/loop/run.hpp"

#include <signal.h>

#include <cerrno>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

#include "duolu/engine/engines.hpp"
#include "duolu/loop/offload.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/task/flag.hpp"
#include "support/loop_fixture.hpp"

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

Task<Result<>> signalled(int number, bool goes_on) {
  (void)::raise(number);
  Loop& loop = co_await this_loop();
  const bool slept = co_await loop.sleep_for(goes_on ? Duration(1ms) : Duration::max());
  co_return slept || goes_on ? Result<>() : fail(ECANCELED);
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
/// Ignores that it is cancelled, as there is nothing to look at.
Task<> rest_for_ever() {
  (void)::raise(SIGTERM);
  for (;;) co_await rest();
}

TEST(RunDeathTest, a_loop_around_a_helper_that_sleeps_is_named) {
  EXPECT_DEATH((void)run(rest_for_ever()), "run_test.cpp.*cancelled");
}

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
DUOLU_EVERY_BACKEND(LoopOfTheTaskTest);

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
      scope.spawn([&]() -> Task<> {  // on a strand that is cancelled already
        co_await sleep(0ms);
        ++ticks;
      });
    });
  });
  EXPECT_EQ(ticks, 0);
  EXPECT_TRUE(came_back);
  EXPECT_EQ(with_result.error(), std::errc::operation_canceled);
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
