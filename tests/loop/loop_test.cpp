// Clauses LO1 to LO4 and SC1 to SC5, on every backend.
#include "duolu/loop/loop.hpp"

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "duolu/loop/scope.hpp"
#include "duolu/task/channel.hpp"
#include "duolu/task/flag.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

/// A deadline that no test reaches unless it hangs.
constexpr Duration far = 60s;

using LoopTest = LoopFixture;
DUOLU_EVERY_BACKEND(LoopTest);

Task<int> seven() { co_return 7; }
Task<> throws(const char* what) {
  throw std::runtime_error(what);
  co_return;
}
Task<bool> sleep(Loop& loop, Duration span) { co_return co_await loop.sleep_for(span); }

TEST_P(LoopTest, runs_a_task_to_its_end) {
  EXPECT_EQ(loop.run(seven()), 7);
  EXPECT_THROW(loop.run(throws("out")), std::runtime_error);
}

Task<> note_after(Loop& loop, Duration span, int number, std::vector<int>& order) {
  const Instant until = after(loop.kernel().now(), span);
  EXPECT_TRUE(co_await loop.sleep_until(until));
  EXPECT_GE(loop.kernel().now(), until);
  order.push_back(number);
}

TEST_P(LoopTest, LO2_deadlines_pass_in_order_and_never_early) {
  std::vector<int> order;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(note_after(loop, 15ms, 3, order));
    scope.spawn(note_after(loop, 5ms, 1, order));
    scope.spawn(note_after(loop, 10ms, 2, order));
    scope.spawn(note_after(loop, Duration::zero(), 0, order));
    co_return;
  }));
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3}));
}

Task<> count_turns(Loop& loop, int rounds, int& count) {
  for (int i = 0; i < rounds; ++i, ++count) co_await loop.sleep_until(immediately);
}

TEST_P(LoopTest, LO1_what_is_ready_again_waits_for_the_next_turn) {
  int a = 0;
  int b = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(count_turns(loop, 100, a));
    scope.spawn(count_turns(loop, 100, b));
    while (a < 100) {
      EXPECT_LE(std::abs(a - b), 1);
      co_await loop.sleep_until(immediately);
    }
  }));
  EXPECT_EQ(b, 100);
}

TEST_P(LoopTest, LO1_a_turn_wakes_a_sleeper_once_however_many_sleep) {
  int count = 0;
  Strand strand;
  const Task<> task = with_scope([&](Scope& scope) -> Task<> {
    for (int i = 0; i < 50; ++i)
      scope.spawn([](Loop* on) -> Task<> { co_await on->sleep_for(far); }(&loop));
    scope.spawn(count_turns(loop, 20, count));
    co_return;
  });
  task.promise().enter(&strand);
  task.promise().run();
  for (int turn = 1; turn <= 10; ++turn) {
    ASSERT_TRUE(loop.turn(immediately));
    EXPECT_EQ(count, turn);
  }
  strand.cancel();
  while (!task.promise().done()) ASSERT_TRUE(loop.turn(after(real_kernel().now(), far)));
}

TEST_P(LoopTest, LO3_posts_of_other_threads_are_run_here) {
  constexpr int threads = 4;
  constexpr int posts = 500;
  const std::thread::id here = std::this_thread::get_id();
  int done = 0;
  std::vector<std::jthread> posters;
  for (int t = 0; t < threads; ++t)
    posters.emplace_back([&] {
      for (int i = 0; i < posts; ++i)
        loop.post([&] {
          EXPECT_EQ(std::this_thread::get_id(), here);
          ++done;
        });
    });
  while (done < threads * posts) ASSERT_TRUE(loop.turn(after(real_kernel().now(), far)));
}

Task<> bounce(Channel<int>& in, Channel<int>& out) {
  while (const Result<int> value = co_await in.receive()) {
    const Result<> sent = co_await out.send(*value);
    if (!sent) co_return;
  }
}

TEST_P(LoopTest, LO4_tasks_that_wake_each_other_do_not_keep_others_waiting) {
  Channel<int> there(0);
  Channel<int> back(0);
  int ticks = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(bounce(there, back));
    scope.spawn(bounce(back, there));
    EXPECT_TRUE(co_await there.send(1));
    loop.post([&] { ++ticks; });
    while (ticks == 0) EXPECT_TRUE(co_await loop.sleep_for(1ms));
    scope.cancel();
  }));
  EXPECT_EQ(ticks, 1);
}

TEST_P(LoopTest, LO4_a_loop_does_not_sleep_on_those_that_are_woken) {
  Flag flag;
  bool went_on = false;
  Strand strand;
  const Task<> task = [](Flag* of, bool* done) -> Task<> { *done = co_await of->wait(); }(&flag,
                                                                                          &went_on);
  strand.run_in(&loop.ready());
  task.promise().enter(&strand);
  task.promise().run();
  flag.set();
  EXPECT_FALSE(went_on);
  ASSERT_TRUE(loop.turn(never));
  EXPECT_TRUE(went_on);
}

TEST_P(LoopTest, LO4_a_turn_wakes_a_bounded_number) {
  Flag flag;
  int woken = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    for (int i = 0; i < 1000; ++i)
      scope.spawn([](Flag* of, int* count) -> Task<> {
        co_await of->wait();
        ++*count;
      }(&flag, &woken));
    flag.set();
    int seen = 0;
    while (seen < 1000) {
      co_await loop.sleep_until(immediately);
      EXPECT_LE(woken - seen, 256);
      seen = woken;
    }
  }));
}

TEST_P(LoopTest, LO4_SC4_who_waits_for_a_task_is_cancelled) {
  Flag flag;
  int cancelled = 0;
  Strand strand;
  loop.post([&] { strand.cancel(); });
  loop.run(with_scope([&](Scope& scope) -> Task<> {
             for (int i = 0; i < 3; ++i)
               scope.spawn([](Flag* of, int* count) -> Task<> {
                 const bool set = co_await of->wait();
                 if (!set) ++*count;
               }(&flag, &cancelled));
             co_return;
           }),
           strand);
  EXPECT_EQ(cancelled, 3);
}

TEST_P(LoopTest, SC1_a_scope_waits_for_its_tasks) {
  int ended = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    for (int i = 0; i < 10; ++i)
      scope.spawn(with_scope([&](Scope& inner) -> Task<> {
        inner.spawn([](Loop& on, int& count) -> Task<> {
          co_await on.sleep_for(1ms);
          ++count;
        }(loop, ended));
        co_return;
      }));
    EXPECT_EQ(scope.size(), 10U);
    co_return;
  }));
  EXPECT_EQ(ended, 10);
}

Task<> expect_cancelled(Loop& loop, int& cancelled) {
  EXPECT_FALSE(co_await loop.sleep_for(far));
  ++cancelled;
  EXPECT_FALSE(co_await loop.sleep_for(far));  // and it stays
  ++cancelled;
}

TEST_P(LoopTest, SC2_cancelling_ends_every_wait_and_those_to_come) {
  int cancelled = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    for (int i = 0; i < 5; ++i) scope.spawn(expect_cancelled(loop, cancelled));
    co_await loop.sleep_for(1ms);
    scope.cancel();
    scope.cancel();
    scope.spawn(expect_cancelled(loop, cancelled));
  }));
  EXPECT_EQ(cancelled, 12);
}

TEST_P(LoopTest, SC3_an_exception_cancels_the_others_and_comes_out) {
  for (const bool in_body : {false, true}) {
    int cancelled = 0;
    std::string what;
    try {
      loop.run(with_scope([&](Scope& scope) -> Task<> {
        scope.spawn(expect_cancelled(loop, cancelled));
        if (in_body) throw std::runtime_error("first");
        scope.spawn(throws("first"));
        scope.spawn(throws("second"));
        co_return;
      }));
    } catch (const std::runtime_error& error) {
      what = error.what();
    }
    EXPECT_EQ(what, "first");
    EXPECT_EQ(cancelled, 2);
  }
}

TEST_P(LoopTest, SC3_exceptions_can_be_reported_instead) {
  int reported = 0;
  bool slept = false;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.on_error([&](const std::exception_ptr&) { ++reported; });
    for (int i = 0; i < 3; ++i) scope.spawn(throws("reported"));
    slept = co_await sleep(loop, 1ms);
  }));
  EXPECT_EQ(reported, 3);
  EXPECT_TRUE(slept);
}

TEST_P(LoopTest, SC4_a_scope_is_cancelled_with_the_strand_that_waits_for_it) {
  int cancelled = 0;
  Strand strand;
  loop.post([&] { strand.cancel(); });
  loop.run(with_scope([&](Scope& scope) -> Task<> {
             scope.spawn(with_scope([&](Scope& inner) -> Task<> {
               inner.spawn(expect_cancelled(loop, cancelled));
               co_return;
             }));
             co_return;
           }),
           strand);
  EXPECT_EQ(cancelled, 2);
}

TEST_P(LoopTest, a_hundred_thousand_tasks_side_by_side) {
  int ended = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    for (int i = 0; i < 100'000; ++i)
      scope.spawn([](Loop& on, int& count) -> Task<> {
        co_await on.sleep_for(1ms);
        ++count;
      }(loop, ended));
    co_return;
  }));
  EXPECT_EQ(ended, 100'000);
}

}  // namespace
}  // namespace duolu::test
