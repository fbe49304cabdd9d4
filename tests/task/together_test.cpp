// Clauses TO1 to TO6 of together.hpp.
#include "duolu/task/together.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "duolu/task/flag.hpp"
#include "support/by_hand.hpp"

namespace duolu::test {
namespace {

using Log = std::vector<std::string>;
using Text = std::unique_ptr<std::string>;

class TogetherTest : public ByHand {
 protected:
  Log log;
  Flag a;
  Flag b;
  Flag c;
};

/// Waits; what it returns says how that ended.
Task<Result<int>> number(Flag& flag, int value, Log& log) {
  const bool set = co_await flag.wait();
  log.push_back(std::to_string(value) + (set ? " set" : " cancelled"));
  if (!set) co_return fail(ECANCELED);
  co_return value;
}
Task<> nothing(Flag& flag, Log& log) {
  const bool set = co_await flag.wait();
  log.push_back(set ? "nothing set" : "nothing cancelled");
}
Task<Text> text(Flag& flag, const char* value) {
  (void)co_await flag.wait();
  co_return std::make_unique<std::string>(value);
}
Task<int> throws(Flag* flag, const char* what) {
  if (flag != nullptr) (void)co_await flag->wait();
  throw std::runtime_error(what);
  co_return 0;
}
Task<Result<int>> at_once(int value, Log& log) {
  log.push_back(std::to_string(value) + " at once");
  co_return value;
}
/// Logs what a task of int Results gave, or threw.
template <class T>
Task<> log_text(Task<T> task, Log& log) {
  try {
    log.push_back(co_await std::move(task));
  } catch (const std::runtime_error& error) {
    log.push_back(std::string("threw ") + error.what());
  }
}

std::string show(const Result<int>& result) {
  return result ? std::to_string(*result) : result.error().message();
}

// --- when_all

Task<std::string> all_three(Flag& a, Flag& b, Flag& c, Log& log) {
  auto [one, two, three] = co_await when_all(number(a, 1, log), text(b, "2"), nothing(c, log));
  static_assert(std::is_same_v<decltype(three), std::monostate>);
  co_return "all: " + show(one) + " " + *two;
}

TEST_F(TogetherTest, TO1_TO4_all_begin_and_all_end) {
  start(log_text(all_three(a, b, c, log), log));
  c.set();
  b.set();
  go_on();
  EXPECT_EQ(log, (Log{"nothing set"}));
  a.set();
  go_on();
  EXPECT_EQ(log, (Log{"nothing set", "1 set", "all: 1 2"}));
}

Task<int&> refer(int& target) { co_return target; }
Task<> add_to_all(int& a, int& b, int& c) {
  const auto [first, second] = co_await when_all(refer(a), refer(b));
  ++first.get();
  second.get() += 2;
  std::vector<Task<int&>> more;
  more.push_back(refer(a));
  more.push_back(refer(c));
  for (const std::reference_wrapper<int> each : co_await when_all(std::move(more))) each.get() += 4;
  const auto winner = co_await first_of(refer(b), refer(c));
  std::get<0>(winner).get() += 8;
}

TEST_F(TogetherTest, TO1_TO3_of_references) {
  int numbers[3] = {};
  const Task<> task = add_to_all(numbers[0], numbers[1], numbers[2]);
  Chain own;
  task.promise().enter(&own);
  EXPECT_TRUE(task.promise().run());
  task.promise().take();
  EXPECT_EQ(numbers[0], 5);
  EXPECT_EQ(numbers[1], 10);
  EXPECT_EQ(numbers[2], 4);
}

TEST_F(TogetherTest, TO1_of_tasks_that_wait_for_nothing) {
  for (Flag* flag : {&a, &b, &c}) flag->set();
  start(log_text(all_three(a, b, c, log), log));
  EXPECT_EQ(log, (Log{"1 set", "nothing set", "all: 1 2"}));
}

TEST_F(TogetherTest, TO5_all_are_cancelled_with_who_awaits_them) {
  start(log_text(all_three(a, b, c, log), log)).cancel();
  b.set();
  go_on();
  EXPECT_EQ(log, (Log{"1 cancelled", "nothing cancelled", "all: Operation canceled 2"}));
  log.clear();
  start_cancelled(log_text(all_three(a, b, c, log), log));
  EXPECT_EQ(log, (Log{"1 cancelled", "nothing cancelled", "all: Operation canceled 2"}));
}

TEST_F(TogetherTest, TO5_one_that_has_ended_is_not_cancelled_any_more) {
  Chain& chain = start(log_text(all_three(a, b, c, log), log));
  a.set();
  go_on();
  b.set();  // it goes on with that, although it is cancelled then
  chain.cancel();
  go_on();
  EXPECT_EQ(log, (Log{"1 set", "nothing cancelled", "all: 1 2"}));
}

Task<std::string> all_with_a_thrower(Flag& a, Flag* b, Flag& c, Log& log) {
  co_await when_all(number(a, 1, log), throws(b, "first"), number(c, 3, log));
  co_return "nothing was thrown";
}

TEST_F(TogetherTest, TO2_an_exception_cancels_the_others_and_comes_out) {
  start(log_text(all_with_a_thrower(a, &b, c, log), log));
  b.set();
  go_on(1);
  EXPECT_EQ(log, Log{});
  go_on();
  EXPECT_EQ(log, (Log{"1 cancelled", "3 cancelled", "threw first"}));
}

TEST_F(TogetherTest, TO2_TO4_who_has_not_begun_does_not) {
  start(log_text(all_with_a_thrower(a, nullptr, c, log), log));
  EXPECT_EQ(log, Log{});
  go_on();
  EXPECT_EQ(log, (Log{"1 cancelled", "threw first"}));
}

Task<std::string> two_throwers(Flag& a, Flag& b) {
  co_await when_all(throws(&a, "a"), throws(&b, "b"));
  co_return "nothing was thrown";
}

TEST_F(TogetherTest, TO2_the_first_exception_comes_out) {
  start(log_text(two_throwers(a, b), log));
  b.set();
  a.set();
  go_on();
  EXPECT_EQ(log, (Log{"threw b"}));
}

Task<std::string> all_of_many(std::vector<Task<Result<int>>> tasks) {
  const std::vector<Result<int>> results = co_await when_all(std::move(tasks));
  std::string all = "all:";
  for (const Result<int>& each : results) all += " " + show(each);
  co_return all;
}

std::vector<Task<Result<int>>> numbers(Flag& flag, int count, Log& log) {
  std::vector<Task<Result<int>>> tasks;
  for (int i = 0; i < count; ++i) tasks.push_back(number(flag, i, log));
  return tasks;
}

TEST_F(TogetherTest, TO1_TO5_of_a_vector) {
  start(log_text(all_of_many(numbers(a, 3, log)), log));
  start(log_text(all_of_many(numbers(b, 2, log)), log)).cancel();
  start(log_text(all_of_many({}), log));
  EXPECT_EQ(log, (Log{"all:"}));
  log.clear();
  a.set();
  go_on();
  EXPECT_EQ(log, (Log{"0 cancelled", "1 cancelled", "all: Operation canceled Operation canceled",
                      "0 set", "1 set", "2 set", "all: 0 1 2"}));
}

TEST_F(TogetherTest, TO1_of_a_vector_of_void) {
  std::vector<Task<>> tasks;
  for (int i = 0; i < 3; ++i) tasks.push_back(nothing(a, log));
  start(when_all(std::move(tasks)));
  a.set();
  go_on();
  EXPECT_EQ(log, (Log{"nothing set", "nothing set", "nothing set"}));
}

TEST_F(TogetherTest, TO1_TA1_it_is_lazy) {
  {
    const auto task = when_all(number(a, 1, log), nothing(b, log));
  }
  {
    const auto task = first_of(numbers(a, 3, log));
  }
  EXPECT_EQ(log, Log{});
}

// --- first_of

Task<std::string> first_of_three(Flag& a, Flag& b, Flag& c, Log& log) {
  auto first = co_await first_of(number(a, 1, log), text(b, "2"), nothing(c, log));
  const std::string index = std::to_string(first.index());
  if (first.index() == 0) co_return index + ": " + show(std::get<0>(first));
  if (first.index() == 1) co_return index + ": " + *std::get<1>(first);
  co_return index;
}

TEST_F(TogetherTest, TO3_the_first_wins_and_the_others_are_cancelled) {
  const std::vector<std::pair<Flag*, Log>> cases = {
      {&a, {"1 set", "nothing cancelled", "0: 1"}},
      {&b, {"1 cancelled", "nothing cancelled", "1: 2"}},
      {&c, {"nothing set", "1 cancelled", "2"}}};
  for (const auto& [flag, expected] : cases) {
    log.clear();
    start(log_text(first_of_three(a, b, c, log), log));
    flag->set();
    flag->reset();
    go_on();
    EXPECT_EQ(log, expected);
  }
}

TEST_F(TogetherTest, TO3_who_ends_after_the_first_is_no_winner) {
  start(log_text(first_of_three(a, b, c, log), log));
  b.set();
  a.set();
  go_on();
  EXPECT_EQ(log, (Log{"1 set", "nothing cancelled", "1: 2"}));
}

TEST_F(TogetherTest, TO3_TO5_cancelled_before_and_while) {
  start(log_text(first_of_three(a, b, c, log), log)).cancel();
  go_on();
  EXPECT_EQ(log, (Log{"1 cancelled", "nothing cancelled", "0: Operation canceled"}));
  log.clear();
  start_cancelled(log_text(first_of_three(a, b, c, log), log));
  EXPECT_EQ(log, (Log{"1 cancelled", "0: Operation canceled"}));
}

Task<std::string> first_of_two(Flag& a, Flag& b) {
  auto first = co_await first_of(text(a, "a"), throws(&b, "b"));
  co_return first.index() == 0 ? *std::get<0>(first) : "1";
}

TEST_F(TogetherTest, TO3_TO2_what_any_of_them_throws_comes_out) {
  start(log_text(first_of_two(a, b), log));
  b.set();
  go_on();
  start(log_text(first_of_two(a, b), log));  // b throws at once
  a.set();
  go_on();
  EXPECT_EQ(log, (Log{"threw b", "threw b"}));
}

Task<std::string> first_of_many(std::vector<Task<Result<int>>> tasks) {
  const First<Result<int>> first = co_await first_of(std::move(tasks));
  co_return std::to_string(first.index) + ": " + show(first.value);
}

TEST_F(TogetherTest, TO3_TO4_of_a_vector) {
  std::vector<Task<Result<int>>> tasks;
  tasks.push_back(number(a, 10, log));
  tasks.push_back(at_once(11, log));
  tasks.push_back(at_once(12, log));
  start(log_text(first_of_many(std::move(tasks)), log));
  go_on();
  EXPECT_EQ(log, (Log{"11 at once", "10 cancelled", "1: 11"}));
}

TEST_F(TogetherTest, TO3_of_a_vector_of_void) {
  std::size_t winner = 9;
  start([](Flag* x, Flag* y, Log* into, std::size_t* index) -> Task<> {
    std::vector<Task<>> tasks;
    tasks.push_back(nothing(*x, *into));
    tasks.push_back(nothing(*y, *into));
    const First<std::monostate> first = co_await first_of(std::move(tasks));
    *index = first.index;
  }(&a, &b, &log, &winner));
  b.set();
  go_on();
  EXPECT_EQ(winner, 1U);
  EXPECT_EQ(log, (Log{"nothing set", "nothing cancelled"}));
}

Task<int> nested(Flag* flag, int depth) {
  if (depth == 0) {
    (void)co_await flag->wait();
    co_return 1;
  }
  const auto [left, right] = co_await when_all(nested(flag, depth - 1), nested(flag, depth - 1));
  co_return left + right;
}

TEST_F(TogetherTest, TO1_TO5_a_tree_of_a_thousand_tasks) {
  for (const bool cancel : {false, true}) {
    int sum = 0;
    Flag flag;
    Chain& chain =
        start([](Flag* of, int* into) -> Task<> { *into = co_await nested(of, 10); }(&flag, &sum));
    if (cancel)
      chain.cancel();
    else
      flag.set();
    go_on();
    EXPECT_EQ(sum, 1024);
  }
}

// --- shielded

Task<std::string> shield(Flag& flag, Log& log) {
  const Result<int> result = co_await shielded(number(flag, 1, log));
  co_return "shielded: " + show(result);
}
/// What is awaited after it is cancelled again.
Task<std::string> shield_and_wait(Flag& flag, Flag& other, Log& log) {
  co_await shielded(nothing(flag, log));
  co_return co_await other.wait() ? "set" : "cancelled";
}
Task<std::string> shield_thrower(Flag& flag) {
  co_await shielded(throws(&flag, "inside"));
  co_return "nothing was thrown";
}

TEST_F(TogetherTest, TO6_cancellation_does_not_reach_it) {
  start(log_text(shield(a, log), log)).cancel();
  start_cancelled(log_text(shield(a, log), log));
  go_on();
  EXPECT_EQ(log, Log{});
  a.set();
  go_on();
  EXPECT_EQ(log, (Log{"1 set", "shielded: 1", "1 set", "shielded: 1"}));
}

TEST_F(TogetherTest, TO6_and_ends_where_it_ends) {
  start(log_text(shield_and_wait(a, b, log), log)).cancel();
  a.set();
  go_on();
  EXPECT_EQ(log, (Log{"nothing set", "cancelled"}));
  log.clear();
  a.reset();
  start(log_text(shield_thrower(a), log)).cancel();
  a.set();
  go_on();
  EXPECT_EQ(log, (Log{"threw inside"}));
}

}  // namespace
}  // namespace duolu::test
