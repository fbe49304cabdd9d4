// Clauses WI1 to WI5 of within.hpp, on every backend.
#include "duolu/loop/within.hpp"

#include <cerrno>
#include <chrono>
#include <stdexcept>
#include <string>

#include "duolu/task/channel.hpp"
#include "duolu/task/together.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

/// A deadline that no test reaches unless it hangs.
constexpr Duration far = 60s;

class WithinTest : public LoopFixture {
 protected:
  Instant in(Duration span) { return after(loop.kernel().now(), span); }
};
DUOLU_EVERY_ENGINE(WithinTest);

Task<Result<int>> sleep_until(Loop& loop, Instant until) {
  const bool passed = co_await loop.sleep_until(until);
  if (!passed) co_return fail(ECANCELED);
  co_return 7;
}
Task<Result<int>> give(int value) { co_return value; }
Task<Result<int>> fail_with(Loop& loop, int error) {
  (void)co_await loop.sleep_for(1ms);
  co_return fail(error);
}
Task<Result<int>> throws(Loop& loop) {
  (void)co_await loop.sleep_for(1ms);
  throw std::runtime_error("inside");
  co_return 0;
}
/// Ends with a value, cancelled or not.
Task<Result<int>> stubborn(Loop& loop) {
  (void)co_await loop.sleep_for(far);
  co_return 8;
}
template <class T>
Task<Result<T>> await(Within<T> timed) {
  co_return co_await std::move(timed);
}
Task<Result<std::string>> try_it(Within<int> timed, bool& went_on) {
  const int value = co_await try_(std::move(timed));
  went_on = true;
  co_return std::to_string(value);
}

TEST_P(WithinTest, WI1_gives_what_the_task_gives) {
  EXPECT_EQ(loop.run(await(within(loop, far, give(1)))).value(), 1);
  EXPECT_EQ(loop.run(await(within(loop, in(far), sleep_until(loop, in(1ms))))).value(), 7);
  EXPECT_EQ(loop.run(await(within(loop, far, fail_with(loop, EPIPE)))).error().value(), EPIPE);
  EXPECT_EQ(loop.run(await(within(loop, far, fail_with(loop, ECANCELED)))).error().value(),
            ECANCELED);
  EXPECT_THROW((void)loop.run(await(within(loop, far, throws(loop)))), std::runtime_error);
}

TEST_P(WithinTest, WI2_WI3_the_deadline_cancels_it_and_is_never_early) {
  const Instant deadline = in(5ms);
  const Result<int> result = loop.run(await(within(loop, deadline, sleep_until(loop, never))));
  EXPECT_GE(loop.kernel().now(), deadline);
  EXPECT_EQ(result.error(), std::errc::timed_out);
}

TEST_P(WithinTest, WI2_a_result_counts_even_if_it_comes_late) {
  EXPECT_EQ(loop.run(await(within(loop, 1ms, stubborn(loop)))).value(), 8);
}

/// Ends with an error of its own when it is cancelled.
Task<Result<int>> fails_when_cancelled(Loop& loop, int error) {
  const bool slept = co_await loop.sleep_for(far);
  EXPECT_FALSE(slept);
  co_return fail(error);
}

TEST_P(WithinTest, WI2_another_error_after_the_deadline_is_given_as_it_is) {
  EXPECT_EQ(loop.run(await(within(loop, 1ms, fails_when_cancelled(loop, EPIPE)))).error(),
            std::errc::broken_pipe);
  EXPECT_EQ(loop.run(await(within(loop, 1ms, fails_when_cancelled(loop, ECANCELED)))).error(),
            std::errc::timed_out);
  bool went_on = false;
  EXPECT_EQ(loop.run(try_it(within(loop, 1ms, fails_when_cancelled(loop, EPIPE)), went_on)).error(),
            std::errc::broken_pipe);
  EXPECT_FALSE(went_on);
}

Task<Result<int>> fails_with_zero(Loop& loop, Duration span) {
  const bool slept = co_await loop.sleep_for(span);
  EXPECT_TRUE(slept || span == far);
  co_return std::unexpected(std::error_code());
}

TEST_P(WithinTest, WI1_TA4_an_error_without_a_number_is_an_error) {
  for (const Duration span : {Duration(0), Duration(1ms)}) {
    const Result<int> result = loop.run(await(within(loop, far, fails_with_zero(loop, span))));
    EXPECT_FALSE(result.has_value());
    bool went_on = false;
    EXPECT_FALSE(loop.run(try_it(within(loop, far, fails_with_zero(loop, span)), went_on)));
    EXPECT_FALSE(went_on);
  }
  EXPECT_FALSE(loop.run(await(within(loop, 1ms, fails_with_zero(loop, far)))));
}

TEST_P(WithinTest, WI3_spans_of_every_unit_saturate) {
  const auto gives = [&](auto span) { return loop.run(await(within(loop, span, give(1)))); };
  const auto sleeps = [&](auto span) {
    return loop.run(await(within(loop, span, sleep_until(loop, in(1ms)))));
  };
  EXPECT_EQ(sleeps(std::chrono::milliseconds::max()).value(), 7);
  EXPECT_EQ(sleeps(std::chrono::hours::max()).value(), 7);
  EXPECT_EQ(sleeps(std::chrono::years(300)).value(), 7);
  EXPECT_EQ(sleeps(std::chrono::duration<double>(60.0)).value(), 7);
  EXPECT_EQ(sleeps(std::chrono::hours::min()).error(), std::errc::timed_out);
  EXPECT_EQ(gives(-1s).value(), 1);
  EXPECT_EQ(
      loop.run(await(within(loop, std::chrono::duration<double>(0.001), sleep_until(loop, never))))
          .error(),
      std::errc::timed_out);
}

/// As a lambda with a capture.
struct GivesSize {
  Loop& loop;
  std::string text;
  Task<Result<int>> operator()() const {
    const bool slept = co_await loop.sleep_for(1ms);
    EXPECT_TRUE(slept);
    co_return static_cast<int>(text.size());
  }
};

TEST_P(WithinTest, WI1_keeps_what_gives_the_task) {
  auto timed = within(loop, far, GivesSize{loop, std::string(100, 'n')});
  EXPECT_EQ(loop.run(await(std::move(timed))).value(), 100);
}

TEST_P(WithinTest, WI1_WI2_what_came_first_counts_if_both_are_due_in_one_turn) {
  const Instant until = in(2ms);
  const auto sleep_with_deadline = [&](Duration later) {
    return loop.run(await(within(loop, after(until, later), sleep_until(loop, until))));
  };
  EXPECT_EQ(sleep_with_deadline(1ns).value(), 7);
  EXPECT_EQ(sleep_with_deadline(-1ns).error(), std::errc::timed_out);
  // And when both have passed before they begin to wait.
  EXPECT_EQ(sleep_with_deadline(1ns).value(), 7);
}

TEST_P(WithinTest, WI3_a_deadline_that_has_passed) {
  EXPECT_EQ(loop.run(await(within(loop, immediately, give(1)))).value(), 1);
  EXPECT_EQ(loop.run(await(within(loop, -1s, sleep_until(loop, never)))).error(),
            std::errc::timed_out);
}

TEST_P(WithinTest, WI4_the_earliest_counts) {
  const auto nest = [this](Duration outer, Duration inner) {
    return loop.run(
        await(within(loop, outer, await(within(loop, inner, sleep_until(loop, never))))));
  };
  Instant start = loop.kernel().now();
  EXPECT_EQ(nest(far, 2ms).error(), std::errc::timed_out);
  EXPECT_GE(loop.kernel().now(), after(start, 2ms));
  start = loop.kernel().now();
  EXPECT_EQ(nest(2ms, far).error(), std::errc::timed_out);
  EXPECT_LT(loop.kernel().now(), after(start, far));
  EXPECT_EQ(nest(2ms, 2ms).error(), std::errc::timed_out);
  EXPECT_EQ(nest(-1s, -1s).error(), std::errc::timed_out);
}

Task<Result<int>> inner_then_give(Loop& loop, int& inner_error) {
  const Result<int> inner = co_await within(loop, 1ms, sleep_until(loop, never));
  inner_error = inner.error().value();
  (void)co_await loop.sleep_for(1ms);
  co_return 9;
}

TEST_P(WithinTest, WI4_an_inner_deadline_does_not_end_the_outer_one) {
  int inner_error = 0;
  EXPECT_EQ(loop.run(await(within(loop, far, inner_then_give(loop, inner_error)))).value(), 9);
  EXPECT_EQ(inner_error, ETIMEDOUT);
}

Task<Result<int>> note_inner(Loop& loop, int& inner_error) {
  const Result<int> inner = co_await within(loop, far, sleep_until(loop, never));
  inner_error = inner.error().value();
  co_return inner;
}

TEST_P(WithinTest, WI4_an_outer_deadline_is_a_cancellation_inside) {
  int inner_error = 0;
  EXPECT_EQ(loop.run(await(within(loop, 1ms, note_inner(loop, inner_error)))).error(),
            std::errc::timed_out);
  EXPECT_EQ(inner_error, ECANCELED);
}

TEST_P(WithinTest, WI5_cancelled_before) {
  Chain chain;
  chain.cancel();
  EXPECT_EQ(loop.run(await(within(loop, 1ms, sleep_until(loop, never))), chain).error(),
            std::errc::operation_canceled);
  EXPECT_EQ(loop.run(await(within(loop, immediately, sleep_until(loop, never))), chain).error(),
            std::errc::operation_canceled);
  EXPECT_EQ(loop.run(await(within(loop, 1ms, give(3))), chain).value(), 3);
}

TEST_P(WithinTest, WI5_cancelled_while) {
  Chain chain;
  loop.post([&] { chain.cancel(); });
  EXPECT_EQ(loop.run(await(within(loop, far, sleep_until(loop, never))), chain).error(),
            std::errc::operation_canceled);
}

TEST_P(WithinTest, WI5_cancelled_after_the_deadline_has_passed) {
  Chain chain;
  const auto result = loop.run(await(within(loop, 1ms,
                                            [](Loop& on, Chain& parent) -> Task<Result<int>> {
                                              EXPECT_FALSE(co_await on.sleep_for(far));
                                              parent.cancel();  // too late
                                              co_return fail(ECANCELED);
                                            }(loop, chain))),
                               chain);
  EXPECT_EQ(result.error(), std::errc::timed_out);
}

TEST_P(WithinTest, WI5_cancelled_by_the_task_itself_and_the_deadline_passes_too) {
  Chain chain;
  const auto result = loop.run(await(within(loop, immediately,
                                            [](Loop& on, Chain& parent) -> Task<Result<int>> {
                                              parent.cancel();
                                              EXPECT_FALSE(co_await on.sleep_for(far));
                                              co_return fail(ECANCELED);
                                            }(loop, chain))),
                               chain);
  EXPECT_EQ(result.error(), std::errc::operation_canceled);
}

TEST_P(WithinTest, TA4_try_gives_the_value_or_ends_the_task) {
  bool went_on = false;
  EXPECT_EQ(loop.run(try_it(within(loop, far, give(1)), went_on)).value(), "1");
  EXPECT_EQ(loop.run(try_it(within(loop, far, sleep_until(loop, in(1ms))), went_on)).value(), "7");
  went_on = false;
  EXPECT_EQ(loop.run(try_it(within(loop, 1ms, sleep_until(loop, never)), went_on)).error(),
            std::errc::timed_out);
  Chain chain;
  chain.cancel();
  EXPECT_EQ(loop.run(try_it(within(loop, 1ms, sleep_until(loop, never)), went_on), chain).error(),
            std::errc::operation_canceled);
  EXPECT_FALSE(went_on);
  EXPECT_THROW((void)loop.run(try_it(within(loop, far, throws(loop)), went_on)),
               std::runtime_error);
}

Task<Result<>> nothing(Loop& loop, Instant until) {
  const bool passed = co_await loop.sleep_until(until);
  if (!passed) co_return fail(ECANCELED);
  co_return {};
}
Task<Result<>> try_nothing(Loop& loop, Instant until, Duration span) {
  co_await try_(within(loop, span, nothing(loop, until)));
  co_return {};
}

TEST_P(WithinTest, WI1_WI2_a_result_without_a_value) {
  EXPECT_TRUE(loop.run(try_nothing(loop, in(1ms), far)));
  EXPECT_EQ(loop.run(try_nothing(loop, never, 1ms)).error(), std::errc::timed_out);
}

TEST_P(WithinTest, WI1_WI2_of_what_is_no_task) {
  loop.run([](Loop& on) -> Task<> {
    Channel<int> channel(1);
    EXPECT_TRUE(co_await within(on, far, channel.send(5)));
    EXPECT_EQ((co_await within(on, far, channel.receive())).value(), 5);
    const Result<int> none = co_await within(on, after(on.kernel().now(), 1ms), channel.receive());
    EXPECT_EQ(none.error(), std::errc::timed_out);
    EXPECT_EQ(channel.size(), 0U);
  }(loop));
}

TEST_P(WithinTest, WI2_a_thousand_deadlines_side_by_side) {
  std::vector<Task<Result<int>>> tasks;
  for (int i = 0; i < 1000; ++i)
    tasks.push_back(await(within(loop, i % 2 == 0 ? Duration(1ms) : far,
                                 sleep_until(loop, i % 2 == 0 ? never : in(3ms)))));
  const std::vector<Result<int>> results = loop.run(when_all(std::move(tasks)));
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (i % 2 == 0)
      EXPECT_EQ(results[i].error(), std::errc::timed_out);
    else
      EXPECT_EQ(results[i].value(), 7);
  }
}

}  // namespace
}  // namespace duolu::test
