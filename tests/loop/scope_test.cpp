// Clauses SC7 to SC9: what a scope gives, and how one task of it is cancelled. SC1 to SC6 are for
// the most part in loop_test.cpp.
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "duolu/loop/scope.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/task/flag.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

class ScopeTest : public LoopFixture {};
DUOLU_EVERY_ENGINE(ScopeTest);

Task<> wait_and_throw(Duration span) {
  co_await sleep(span);
  throw std::runtime_error("after a while");
}

/// Waits until it is cancelled, and counts that.
Task<Result<>> wait_for_cancel(int* cancelled) {
  Flag never_set;
  const bool set = co_await never_set.wait();
  if (!set) ++*cancelled;
  co_return fail(ECANCELED);
}
Task<Result<>> fail_after(Duration span, int error) {
  co_await sleep(span);
  co_return fail(error);
}
Task<> throw_after(Duration span) {
  co_await sleep(span);
  throw std::runtime_error("thrown");
}

TEST_P(ScopeTest, SC7_with_scope_gives_what_the_body_returned) {
  int ended = 0;
  const auto count = [](int* how_many) -> Task<> {
    co_await sleep(1ms);
    ++*how_many;
  };
  const auto seven = loop.run(with_scope([&](Scope& scope) -> Task<std::unique_ptr<int>> {
    scope.spawn(count(&ended));
    co_return std::make_unique<int>(7);
  }));
  EXPECT_EQ(*seven, 7);
  const Result<int> eight = loop.run(with_scope([&](Scope& scope) -> Task<Result<int>> {
    scope.spawn(count(&ended));
    co_return 8;
  }));
  EXPECT_EQ(eight, 8);
  int& same = loop.run(with_scope([&](Scope& scope) -> Task<int&> {
    scope.spawn(count(&ended));
    co_return ended;
  }));
  EXPECT_EQ(&same, &ended);
  EXPECT_TRUE(loop.run(with_scope([&](Scope& scope) -> Task<Result<>> {
    scope.spawn(count(&ended));
    co_return Result<>();
  })));
  EXPECT_EQ(ended, 4);
}

TEST_P(ScopeTest, SC7_an_error_of_the_body_cancels_the_others_and_is_given) {
  int cancelled = 0;
  const Result<> ended = loop.run(with_scope([&](Scope& scope) -> Task<Result<>> {
    scope.spawn(wait_for_cancel(&cancelled));
    scope.spawn(wait_for_cancel(&cancelled));
    co_await try_(fail_after(1ms, ENOENT));
    co_return Result<>();
  }));
  EXPECT_EQ(cancelled, 2);
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error(), errno_code(ENOENT));
}

TEST_P(ScopeTest, SC7_an_error_without_a_number_is_one) {
  int cancelled = 0;
  const Result<int> ended = loop.run(with_scope([&](Scope& scope) -> Task<Result<int>> {
    scope.spawn(wait_for_cancel(&cancelled));
    co_return std::unexpected(std::error_code());
  }));
  EXPECT_FALSE(ended);
  EXPECT_EQ(cancelled, 1);
}

TEST_P(ScopeTest, SC7_WI2_a_deadline_around_a_scope) {
  int cancelled = 0;
  const Result<> ended = loop.run([&cancelled]() -> Task<Result<>> {
    co_return co_await within(1ms, with_scope([&cancelled](Scope& scope) -> Task<Result<>> {
                                scope.spawn(wait_for_cancel(&cancelled));
                                co_return co_await wait_for_cancel(&cancelled);
                              }));
  });
  EXPECT_EQ(cancelled, 2);
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error(), errno_code(ETIMEDOUT));
}

TEST_P(ScopeTest, SC8_an_error_of_a_task_ends_nobody_else) {
  int cancelled = 0;
  const Result<int> ended = loop.run(with_scope([&](Scope& scope) -> Task<Result<int>> {
    scope.spawn(fail_after(0ms, EIO));
    const Result<> waited = co_await within(5ms, wait_for_cancel(&cancelled));
    EXPECT_EQ(waited.error(), errno_code(ETIMEDOUT));  // by the deadline, and not by the scope
    co_return 1;
  }));
  EXPECT_EQ(ended, 1);
}

TEST_P(ScopeTest, SC8_with_fail_fast_the_first_error_of_a_task_cancels_all_and_is_given) {
  int cancelled = 0;
  const Result<int> ended = loop.run(with_scope(fail_fast, [&](Scope& scope) -> Task<Result<int>> {
    scope.spawn(wait_for_cancel(&cancelled));
    scope.spawn([&cancelled]() -> Task<Result<>> {
      (void)co_await wait_for_cancel(&cancelled);
      co_return fail(EPIPE);  // the second error
    });
    scope.spawn(fail_after(1ms, EIO));
    (void)co_await wait_for_cancel(&cancelled);
    co_return 1;
  }));
  EXPECT_EQ(cancelled, 3);
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error(), errno_code(EIO));
}

TEST_P(ScopeTest, SC8_with_fail_fast_an_error_at_once) {
  int cancelled = 0;
  const Result<> ended = loop.run(with_scope(fail_fast, [&](Scope& scope) -> Task<Result<>> {
    scope.spawn([]() -> Task<Result<>> { co_return fail(EIO); });
    co_return co_await wait_for_cancel(&cancelled);
  }));
  EXPECT_EQ(cancelled, 1);
  EXPECT_EQ(ended.error(), errno_code(EIO));
}

TEST_P(ScopeTest, SC8_being_cancelled_is_no_error) {
  int cancelled = 0;
  const Result<int> ended = loop.run(with_scope(fail_fast, [&](Scope& scope) -> Task<Result<int>> {
    Spawned one = scope.spawn(wait_for_cancel(&cancelled));
    scope.spawn(wait_for_cancel(&cancelled));
    one.cancel();
    co_await sleep(1ms);
    EXPECT_EQ(cancelled, 1);
    scope.cancel();
    co_return 7;
  }));
  EXPECT_EQ(cancelled, 2);
  EXPECT_EQ(ended, 7);
}

TEST_P(ScopeTest, SC8_an_exception_comes_before_an_error) {
  EXPECT_THROW((void)loop.run(with_scope(fail_fast,
                                         [](Scope& scope) -> Task<Result<>> {
                                           scope.spawn(fail_after(0ms, EIO));
                                           scope.spawn([]() -> Task<> {
                                             Flag never_set;
                                             (void)co_await never_set.wait();
                                             throw std::runtime_error("while it was cancelled");
                                           });
                                           co_return Result<>();
                                         })),
               std::runtime_error);
}

TEST_P(ScopeTest, SC1_SC3_what_takes_an_exception_may_spawn_another_task) {
  int reports = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.on_error([&](const std::exception_ptr&) {
      ++reports;
      scope.spawn([]() -> Task<> { co_return; });  // ends at once, as the last one
      if (reports == 1) scope.spawn(wait_and_throw(1ms));
    });
    scope.spawn(wait_and_throw(1ms));
    co_return;
  }));
  EXPECT_EQ(reports, 2);
}

TEST_P(ScopeTest, SC9_a_handle_cancels_one_task) {
  int cancelled = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    Spawned first = scope.spawn(wait_for_cancel(&cancelled));
    Spawned second =
        scope.spawn([&cancelled]() -> Task<> { (void)co_await wait_for_cancel(&cancelled); });
    EXPECT_TRUE(first.running());
    first.cancel();
    EXPECT_EQ(cancelled, 0);  // nobody is resumed in it
    for (int i = 0; i < 100 && cancelled == 0; ++i) co_await sleep(1ms);
    EXPECT_EQ(cancelled, 1);
    EXPECT_FALSE(first.running());
    EXPECT_TRUE(second.running());
    EXPECT_EQ(scope.size(), 1U);
    first.cancel();  // nothing
    first = std::move(second);
    EXPECT_TRUE(first.running());
    first.cancel();
  }));
  EXPECT_EQ(cancelled, 2);
}

TEST_P(ScopeTest, SC9_a_handle_may_outlive_its_task_and_its_scope) {
  Spawned handle;
  EXPECT_FALSE(handle.running());
  handle.cancel();
  std::vector<Spawned> many;
  int cancelled = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    handle = scope.spawn([]() -> Task<> { co_return; });  // ended already
    EXPECT_FALSE(handle.running());
    for (int i = 0; i < 100; ++i) many.push_back(scope.spawn(wait_for_cancel(&cancelled)));
    many.erase(many.begin() + 10, many.begin() + 20);  // others move, and these are dropped
    many[10].cancel();
    for (int turn = 0; turn < 100 && cancelled == 0; ++turn) co_await sleep(1ms);
    EXPECT_EQ(cancelled, 1);
    EXPECT_FALSE(many[10].running());
    scope.cancel();
  }));
  EXPECT_EQ(cancelled, 100);
  for (Spawned& each : many) {
    EXPECT_FALSE(each.running());
    each.cancel();
  }
}

// The task has its own handle, and it goes with the task.
TEST_P(ScopeTest, SC9_a_task_may_have_its_own_handle) {
  int cancelled = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    auto own = std::make_unique<Spawned>();
    Spawned* const at = own.get();
    *at = scope.spawn([own = std::move(own), &cancelled]() -> Task<> {
      co_await sleep(0ms);
      own->cancel();
      (void)co_await wait_for_cancel(&cancelled);
    });
    co_return;
  }));
  EXPECT_EQ(cancelled, 1);
}

TEST_P(ScopeTest, SC3_an_exception_of_a_task_takes_the_place_of_a_value) {
  EXPECT_THROW((void)loop.run(with_scope([](Scope& scope) -> Task<int> {
    scope.spawn(throw_after(0ms));
    co_return 1;
  })),
               std::runtime_error);
}

}  // namespace
}  // namespace duolu::test
