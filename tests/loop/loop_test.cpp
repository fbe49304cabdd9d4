// Clauses LO1 to LO7, LO9 and LO10, and SC1 to SC6, on every backend.
#include "duolu/loop/loop.hpp"

#include <malloc.h>
#include <poll.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "duolu/engine/readiness.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/poll/backends.hpp"
#include "duolu/task/channel.hpp"
#include "duolu/task/flag.hpp"
#include "duolu/testing/fault.hpp"
#include "support/loop_fixture.hpp"
#include "support/signals.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

/// A deadline that no test reaches unless it hangs.
constexpr Duration far = 60s;

using LoopTest = LoopFixture;
DUOLU_EVERY_ENGINE(LoopTest);

Task<int> seven() { co_return 7; }
Task<> throws(const char* what) {
  throw std::runtime_error(what);
  co_return;
}
Task<bool> sleep(Loop& loop, Duration span) { co_return co_await loop.sleep_for(span); }

Task<> expect_cancelled(Loop& loop, int& cancelled) {
  EXPECT_FALSE(co_await loop.sleep_for(far));
  ++cancelled;
  EXPECT_FALSE(co_await loop.sleep_for(far));  // and it stays
  ++cancelled;
}

TEST_P(LoopTest, runs_a_task_to_its_end) {
  EXPECT_EQ(loop.run(seven()), 7);
  EXPECT_THROW(loop.run(throws("out")), std::runtime_error);
}

using LoopDeathTest = LoopFixture;
TEST_P(LoopDeathTest, a_turn_within_a_turn_aborts) {
  // A death test forks, and a loop is not used in a forked child (P37).
  EXPECT_DEATH(
      {
        const auto over_it = GetParam().make(real_kernel()).value();
        Loop on(*over_it);
        on.post([&] { (void)on.turn(immediately); });
        (void)on.turn(immediately);
      },
      "within one of its own turns");
}
DUOLU_EVERY_ENGINE(LoopDeathTest);

/// Over a poller with options of its own.
using ReadinessLoopTest = LoopFixture;
DUOLU_EVERY_READINESS_ENGINE(ReadinessLoopTest);

TEST_P(ReadinessLoopTest, a_failure_to_wait_that_passes_is_waited_for) {
  FaultKernel kernel(real_kernel());
  const auto failing = GetParam().kind->poller->make(kernel, {.return_on_signal = true}).value();
  const auto over_it = make_readiness_engine(*failing);
  Loop on(*over_it);
  for (const int error : {ENOMEM, ENOSPC, EMFILE, ENFILE, EINVAL, EINTR}) {
    for (const Call call : {Call::ppoll, Call::pselect, Call::epoll_pwait2})
      kernel.fail(call, 1, error, 3);
    const std::uint64_t turns = on.statistics().turns;
    EXPECT_TRUE(on.run(sleep(on, 1ms)));
    EXPECT_GT(on.statistics().turns, turns);
    kernel.clear();
  }
}

Task<> turn_until(Loop* loop, const bool* over) {
  while (!*over) (void)co_await loop->sleep_for(0ms);
}

// A loop that is awake may come upon the work before post() has returned. (For ThreadSanitizer.)
TEST_P(LoopTest, who_posts_may_outlive_the_loop_that_its_work_ends) {
  for (int round = 0; round < 200; ++round) {
    auto own_engine = GetParam().make(real_kernel()).value();
    auto own = std::make_unique<Loop>(*own_engine);
    bool over = false;
    std::thread other([&over, to = own.get()] { to->post([&over] { over = true; }); });
    own->run(turn_until(own.get(), &over));
    own.reset();
    own_engine.reset();
    other.join();
  }
}

Task<> note_at(Loop& loop, Instant until, int number, std::vector<int>& order) {
  EXPECT_TRUE(co_await loop.sleep_until(until));
  EXPECT_GE(loop.kernel().now(), until);
  order.push_back(number);
}

TEST_P(LoopTest, LO2_deadlines_pass_in_order_and_never_early) {
  std::vector<int> order;
  const Instant start = loop.kernel().now();
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(note_at(loop, after(start, 15ms), 3, order));
    scope.spawn(note_at(loop, after(start, 5ms), 1, order));
    scope.spawn(note_at(loop, after(start, 10ms), 2, order));
    scope.spawn(note_at(loop, start, 0, order));
    co_return;
  }));
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3}));
}

Task<> count_sleeps(Loop* loop, int rounds, int* count) {
  for (; *count < rounds; ++*count) (void)co_await loop->sleep_for(1ms);
}
Task<> sleep_far(Loop* loop) { (void)co_await loop->sleep_for(far); }

Task<> count_turns(Loop& loop, int rounds, int& count) {
  for (int i = 0; i < rounds; ++i, ++count) (void)co_await loop.sleep_until(immediately);
}

TEST_P(LoopTest, LO2_spans_of_every_unit_saturate) {
  const auto ends_soon = [&](auto span) {
    Chain chain;
    return loop.run(
        [](Loop* on, auto for_how_long, Chain* own) -> Task<bool> {
          on->post([on, own] { on->post([own] { own->cancel(); }); });  // two turns later
          co_return co_await on->sleep_for(for_how_long);
        }(&loop, span, &chain),
        chain);
  };
  EXPECT_FALSE(ends_soon(Duration::max()));
  EXPECT_FALSE(ends_soon(std::chrono::microseconds::max()));
  EXPECT_FALSE(ends_soon(std::chrono::milliseconds::max()));
  EXPECT_FALSE(ends_soon(std::chrono::seconds::max()));
  EXPECT_FALSE(ends_soon(std::chrono::hours::max()));
  EXPECT_FALSE(ends_soon(std::chrono::years(300)));
  EXPECT_FALSE(ends_soon(std::chrono::duration<double>(1e300)));
  EXPECT_TRUE(loop.run(sleep(loop, -1h)));
  EXPECT_TRUE(loop.run([](Loop* on) -> Task<bool> {
    co_return co_await on->sleep_for(std::chrono::hours::min());
  }(&loop)));
  const Instant before = loop.kernel().now();
  EXPECT_TRUE(loop.run([](Loop* on) -> Task<bool> {
    co_return co_await on->sleep_for(std::chrono::duration<double>(0.002));
  }(&loop)));
  EXPECT_GE(loop.kernel().now(), before + 2ms);
}

Task<> beat(Loop* loop, Flag* flag) {
  for (;;) {
    if (flag != nullptr)
      (void)co_await flag->wait();
    else
      (void)co_await loop->sleep_for(1ms);
  }
}

TEST_P(LoopDeathTest, a_descriptor_of_the_loop_that_others_close_is_named) {
  EXPECT_DEATH(
      {
        const auto over_it = GetParam().make(real_kernel()).value();
        Loop on(*over_it);
        for (int fd = 3; fd < 100; ++fd) ::close(fd);
        on.run(beat(&on, nullptr));
      },
      "a descriptor of the Loop itself was closed");
}

TEST(LoopErrorDeathTest, an_error_of_waiting_that_stays_is_told_in_a_sentence) {
  EXPECT_DEATH(
      {
        FaultKernel kernel(real_kernel());
        Loop on(make_readiness_engine(make_poller(kernel, "poll").value()));
        kernel.fail(Call::ppoll, 1, EPERM, 1'000'000);
        on.run(beat(&on, nullptr));
      },
      "a Loop cannot wait: the kernel gave an error that no later attempt");
}

TEST_P(LoopDeathTest, LO4_a_task_that_ignores_that_it_was_cancelled_is_named) {
  EXPECT_DEATH(
      {
        loop.stop();
        loop.run(beat(&loop, nullptr));
      },
      "loop_test.cpp:.*cancelled, and awaits again and again");
  Flag flag;
  EXPECT_DEATH(
      {
        loop.stop();
        loop.run(with_scope([&](Scope& scope) -> Task<> {
          scope.spawn(beat(&loop, &flag), "heartbeat");
          co_return;
        }));
      },
      "heartbeat was cancelled");
}

TEST_P(LoopTest, LO4_many_waits_that_are_refused_are_no_mistake) {
  loop.stop();
  EXPECT_EQ(loop.run([](Loop* on) -> Task<int> {
    int refused = 0;
    for (int i = 0; i < 1'000'000; ++i) {
      const bool slept = co_await on->sleep_for(1h);
      if (!slept) ++refused;
    }
    co_return refused;
  }(&loop)),
            1'000'000);
}

TEST_P(LoopTest, LO1_what_is_ready_again_waits_for_the_next_turn) {
  int a = 0;
  int b = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(count_turns(loop, 100, a));
    scope.spawn(count_turns(loop, 100, b));
    while (a < 100) {
      EXPECT_LE(std::abs(a - b), 1);
      (void)co_await loop.sleep_until(immediately);
    }
  }));
  EXPECT_EQ(b, 100);
}

TEST_P(LoopTest, LO1_a_turn_wakes_a_sleeper_once_however_many_sleep) {
  int count = 0;
  Chain chain;
  const Task<> task = with_scope([&](Scope& scope) -> Task<> {
    for (int i = 0; i < 50; ++i)
      scope.spawn([](Loop* on) -> Task<> { (void)co_await on->sleep_for(far); }(&loop));
    scope.spawn(count_turns(loop, 20, count));
    co_return;
  });
  task.promise().enter(&chain);
  task.promise().run();
  for (int turn = 1; turn <= 10; ++turn) {
    ASSERT_TRUE(loop.turn(immediately));
    EXPECT_EQ(count, turn);
  }
  chain.cancel();
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

TEST_P(LoopTest, LO10_tasks_that_wake_each_other_do_not_keep_others_waiting) {
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

TEST_P(LoopTest, LO10_a_loop_does_not_sleep_on_those_that_are_woken) {
  Flag flag;
  bool went_on = false;
  Chain chain;
  const Task<> task = [](Flag* of, bool* done) -> Task<> { *done = co_await of->wait(); }(&flag,
                                                                                          &went_on);
  chain.run_in(&loop.ready());
  task.promise().enter(&chain);
  task.promise().run();
  flag.set();
  EXPECT_FALSE(went_on);
  ASSERT_TRUE(loop.turn(never));
  EXPECT_TRUE(went_on);
}

TEST_P(LoopTest, LO10_a_turn_wakes_a_bounded_number) {
  Flag flag;
  int woken = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    for (int i = 0; i < 1000; ++i)
      scope.spawn([](Flag* of, int* count) -> Task<> {
        (void)co_await of->wait();
        ++*count;
      }(&flag, &woken));
    flag.set();
    int seen = 0;
    while (seen < 1000) {
      (void)co_await loop.sleep_until(immediately);
      EXPECT_LE(woken - seen, 256);
      seen = woken;
    }
  }));
}

TEST_P(LoopTest, LO10_SC4_who_waits_for_a_task_is_cancelled) {
  Flag flag;
  int cancelled = 0;
  Chain chain;
  loop.post([&] { chain.cancel(); });
  loop.run(with_scope([&](Scope& scope) -> Task<> {
             for (int i = 0; i < 3; ++i)
               scope.spawn([](Flag* of, int* count) -> Task<> {
                 const bool set = co_await of->wait();
                 if (!set) ++*count;
               }(&flag, &cancelled));
             co_return;
           }),
           chain);
  EXPECT_EQ(cancelled, 3);
}

/// Sleeps until it is cancelled. How it ended.
Task<std::string> sleep_for_ever(Loop& loop) {
  const bool slept = co_await loop.sleep_for(far);
  co_return slept ? "slept" : "cancelled";
}

TEST_P(LoopTest, LO4_stop_cancels_the_task_and_run_returns_what_it_returned) {
  loop.post([&] {
    loop.stop();
    loop.stop();
  });
  EXPECT_EQ(loop.run(sleep_for_ever(loop)), "cancelled");
  EXPECT_TRUE(loop.run(sleep(loop, 1ms)));  // it is forgotten
}

TEST_P(LoopTest, LO4_stop_unwinds_scopes) {
  int cancelled = 0;
  loop.post([&] { loop.stop(); });
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    for (int i = 0; i < 5; ++i) scope.spawn(expect_cancelled(loop, cancelled));
    co_return;
  }));
  EXPECT_EQ(cancelled, 10);
}

TEST_P(LoopTest, LO4_a_stop_before_run_holds_for_it) {
  loop.stop();
  ASSERT_TRUE(loop.turn(immediately));  // which has seen the wake-up
  EXPECT_EQ(loop.run(sleep_for_ever(loop)), "cancelled");
  EXPECT_TRUE(loop.run(sleep(loop, 1ms)));
}

TEST_P(LoopTest, LO4_any_thread_stops) {
  for (int round = 0; round < 50; ++round) {
    const std::jthread stopper([&] { loop.stop(); });
    EXPECT_EQ(loop.run(sleep_for_ever(loop)), "cancelled");
  }
}

std::atomic<Loop*> to_stop = nullptr;

TEST_P(LoopTest, LO4_a_signal_handler_stops) {
  to_stop = &loop;
  const SignalHandler handler(SIGUSR1, [](int) { to_stop.load()->stop(); });
  const SignalStorm storm(SIGUSR1);
  EXPECT_EQ(loop.run(sleep_for_ever(loop)), "cancelled");
}

TEST_P(LoopTest, LO5_posts_of_a_thread_are_called_in_order_those_of_posts_a_turn_later) {
  std::vector<int> order;
  for (int i = 0; i < 3; ++i)
    loop.post([&, i] {
      order.push_back(i);
      loop.post([&, i] { order.push_back(10 + i); });
    });
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_EQ(order, (std::vector{0, 1, 2}));
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_EQ(order, (std::vector{0, 1, 2, 10, 11, 12}));
}

TEST_P(LoopTest, LO5_a_post_after_run_waits_for_the_next_one) {
  bool called = false;
  EXPECT_EQ(loop.run(seven()), 7);
  std::jthread([&] { loop.post([&] { called = true; }); }).join();
  EXPECT_EQ(loop.run(seven()), 7);  // which needs no turn
  EXPECT_FALSE(called);
  loop.run(sleep(loop, 1ms));
  EXPECT_TRUE(called);
}

TEST_P(LoopTest, LO5_what_is_left_is_destroyed_uncalled_with_the_loop) {
  /// Posts once more when it is destroyed.
  struct Last {
    Loop* on;
    std::shared_ptr<int> count;
    Last(Loop* loop, std::shared_ptr<int> counter) : on(loop), count(std::move(counter)) {}
    Last(Last&& other) noexcept
        : on(std::exchange(other.on, nullptr)), count(std::move(other.count)) {}
    Last& operator=(Last&&) = delete;
    ~Last() {
      if (on != nullptr) on->post([keep = count] { ++*keep; });
    }
    void operator()() const { ++*count; }
  };
  const auto count = std::make_shared<int>(0);
  {
    Loop brief(*engine);
    for (int i = 0; i < 3; ++i) brief.post(Last(&brief, count));
    EXPECT_GT(count.use_count(), 1);
  }
  EXPECT_EQ(count.use_count(), 1);
  EXPECT_EQ(*count, 0);
}

TEST_P(LoopTest, LO6_work_that_throws_ends_the_turn_and_the_rest_is_called_in_the_next) {
  std::vector<int> order;
  loop.post([&] { order.push_back(1); });
  loop.post([] { throw std::runtime_error("posted"); });
  loop.post([&] { order.push_back(2); });
  EXPECT_THROW((void)loop.turn(immediately), std::runtime_error);
  EXPECT_EQ(order, (std::vector{1}));
  loop.post([&] { order.push_back(3); });
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_EQ(order, (std::vector{1, 2, 3}));
}

/// Counts how often it is moved, and throws when it is called.
struct Thrower {
  explicit Thrower(int& of) noexcept : moves(of) {}
  Thrower(Thrower&& other) noexcept : moves(other.moves) { ++moves; }
  void operator()() const { throw std::runtime_error("posted"); }
  int& moves;
};

TEST_P(LoopTest, LO6_what_waits_behind_work_that_throws_stays_where_it_is) {
  constexpr int posts = 1000;
  int moves = 0;
  for (int i = 0; i < posts; ++i) loop.post(Thrower(moves));
  const int before = moves;
  for (int i = 0; i < posts; ++i) EXPECT_THROW((void)loop.turn(immediately), std::runtime_error);
  EXPECT_LE(moves - before, 4 * posts);
  EXPECT_EQ(loop.statistics().posts, static_cast<std::uint64_t>(posts));
  bool called = false;  // and what comes after the last that threw
  loop.post([&] { called = true; });
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_TRUE(called);
}

TEST_P(LoopTest, LO5_room_for_many_posts_is_not_kept) {
  constexpr int posts = 200'000;
  const auto allocated = [] {
    const auto all = ::mallinfo2();
    return static_cast<std::ptrdiff_t>(all.uordblks + all.hblkhd);
  };
  const std::ptrdiff_t before = allocated();
  int called = 0;
  for (int i = 0; i < posts; ++i) loop.post([&] { ++called; });
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_EQ(called, posts);
  EXPECT_LT(allocated() - before, 1'000'000);  // it was some 10 MB
}

TEST_P(LoopTest, LO6_work_that_throws_cancels_the_task_and_run_throws) {
  int cancelled = 0;
  std::string what;
  bool called = false;
  loop.post([] { throw std::runtime_error("first"); });
  loop.post([] { throw std::runtime_error("second"); });
  loop.post([&] { called = true; });
  try {
    loop.run(with_scope([&](Scope& scope) -> Task<> {
      scope.spawn(expect_cancelled(loop, cancelled));
      co_return;
    }));
  } catch (const std::runtime_error& error) {
    what = error.what();
  }
  EXPECT_EQ(what, "first");
  EXPECT_EQ(cancelled, 2);
  while (!called) {
    try {
      ASSERT_TRUE(loop.turn(immediately));
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "second");  // if the task had ended before its turn came
    }
  }
  EXPECT_TRUE(loop.run(sleep(loop, 1ms)));  // and the loop is as good as before
}

TEST_P(LoopTest, LO7_statistics_count_what_was_done) {
  const LoopStatistics& done = loop.statistics();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(loop.turn(immediately));
  EXPECT_EQ(done.turns, 3U);
  EXPECT_EQ(done.idle, 3U);

  loop.post([] {});
  loop.post([] { throw std::runtime_error("counts too"); });
  loop.post([] {});
  EXPECT_THROW((void)loop.turn(immediately), std::runtime_error);
  EXPECT_EQ(done.posts, 2U);
  ASSERT_TRUE(loop.turn(immediately));
  EXPECT_EQ(done.posts, 3U);
  EXPECT_EQ(done.woken, 2U);
  EXPECT_EQ(done.turns, 5U);
  EXPECT_EQ(done.idle, 3U);

  int rounds = 0;
  loop.run(count_turns(loop, 10, rounds));
  EXPECT_EQ(done.timers, 10U);
  EXPECT_EQ(done.turns, 15U);
  EXPECT_EQ(done.finished, 0U);
  EXPECT_EQ(done.idle, 3U);
}

/// Runs turns as another event loop would: when the descriptor is readable, or the deadline has
/// come. Without a descriptor it looks every millisecond.
void embed(Loop& loop, const Task<>& task) {
  while (!task.promise().done()) {
    const Instant now = loop.kernel().now();
    Duration left = std::clamp(loop.deadline(), now, after(now, far)) - now;
    if (loop.fd() < 0) left = std::min(left, Duration(1ms));
    const timespec timeout{.tv_sec = left / 1s, .tv_nsec = (left % 1s).count()};
    pollfd watched{.fd = loop.fd(), .events = POLLIN, .revents = 0};
    const int ready = ::ppoll(&watched, loop.fd() < 0 ? 0 : 1, &timeout, nullptr);
    ASSERT_TRUE(ready > 0 || left < far) << "silent, and nothing else to wait for";
    ASSERT_TRUE(loop.turn(immediately));
  }
}

TEST_P(LoopTest, LO9_another_loop_is_told_of_deadlines_posts_and_cancelling) {
  const int fd = loop.fd();
  EXPECT_EQ(loop.deadline(), never);
  int rounds = 0;
  Task<> sleeping = count_sleeps(&loop, 5, &rounds);
  Chain chain;
  loop.start(sleeping, chain);
  EXPECT_NE(loop.deadline(), never);
  embed(loop, sleeping);
  EXPECT_EQ(rounds, 5);
  EXPECT_EQ(loop.deadline(), never);

  Task<> waiting = sleep_far(&loop);
  Chain another;
  loop.start(waiting, another);
  const std::jthread other([&] { loop.post([&] { another.cancel(); }); });
  embed(loop, waiting);
  EXPECT_EQ(loop.fd(), fd);
}

TEST_P(LoopTest, SC1_a_scope_waits_for_its_tasks) {
  int ended = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    for (int i = 0; i < 10; ++i)
      scope.spawn(with_scope([&](Scope& inner) -> Task<> {
        inner.spawn([](Loop& on, int& count) -> Task<> {
          (void)co_await on.sleep_for(1ms);
          ++count;
        }(loop, ended));
        co_return;
      }));
    EXPECT_EQ(scope.size(), 10U);
    co_return;
  }));
  EXPECT_EQ(ended, 10);
}

TEST_P(LoopTest, SC5_a_spawned_task_runs_at_once_until_it_waits) {
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    int come = 0;
    const auto count = [](Loop* on, int* how_far) -> Task<> {
      ++*how_far;
      (void)co_await on->sleep_for(0ms);
      ++*how_far;
    };
    scope.spawn(count(&loop, &come));
    EXPECT_EQ(come, 1);
    EXPECT_EQ(scope.size(), 1U);
    scope.spawn([](int* how_far) -> Task<> {
      ++*how_far;
      co_return;
    }(&come));
    EXPECT_EQ(come, 2);
    EXPECT_EQ(scope.size(), 1U);  // that one has ended
    for (int turn = 0; turn < 2; ++turn) (void)co_await loop.sleep_for(0ms);
    EXPECT_EQ(come, 3);
  }));
}

TEST_P(LoopTest, SC2_cancelling_ends_every_wait_and_those_to_come) {
  int cancelled = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    for (int i = 0; i < 5; ++i) scope.spawn(expect_cancelled(loop, cancelled));
    (void)co_await loop.sleep_for(1ms);
    scope.cancel();
    scope.cancel();
    scope.spawn(expect_cancelled(loop, cancelled));
  }));
  EXPECT_EQ(cancelled, 12);
}

// A server that waits for its signal in a spawned task, and accepts in the body.
TEST_P(LoopTest, SC2_the_body_is_cancelled_and_not_what_comes_after) {
  int cancelled = 0;
  bool slept = false;
  loop.run([](Loop* on, int* count, bool* after) -> Task<> {
    co_await with_scope([on, count](Scope& scope) -> Task<> {
      scope.spawn([](Scope* all, Loop* in) -> Task<> {
        (void)co_await in->sleep_for(1ms);
        all->cancel();
      }(&scope, on));
      co_await expect_cancelled(*on, *count);
    });
    *after = co_await on->sleep_for(1ms);
  }(&loop, &cancelled, &slept));
  EXPECT_EQ(cancelled, 2);
  EXPECT_TRUE(slept);
}

// Its own: what it waits for next ends at once.
TEST_P(LoopTest, SC2_the_body_may_cancel_its_scope) {
  int cancelled = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.cancel();
    co_await expect_cancelled(loop, cancelled);
  }));
  EXPECT_EQ(cancelled, 2);
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

Task<> throw_after(Loop* loop, Duration span) {
  (void)co_await loop->sleep_for(span);
  throw std::runtime_error("out");
}

TEST_P(LoopTest, SC3_an_exception_of_a_task_cancels_the_body_and_not_what_comes_after) {
  int cancelled = 0;
  loop.run([](Loop* on, int* count) -> Task<> {
    bool caught = false;
    try {
      co_await with_scope([on, count](Scope& scope) -> Task<> {
        scope.spawn(throw_after(on, 1ms));
        co_await expect_cancelled(*on, *count);
      });
    } catch (const std::runtime_error&) {
      caught = true;
    }
    EXPECT_TRUE(caught);
    EXPECT_TRUE(co_await on->sleep_for(1ms));  // it is not cancelled itself
  }(&loop, &cancelled));
  EXPECT_EQ(cancelled, 2);
}

TEST_P(LoopTest, SC3_a_body_is_cancelled_when_a_task_throws_at_once) {
  int cancelled = 0;
  EXPECT_THROW(loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(throws("out"));
    co_await expect_cancelled(loop, cancelled);
  })),
               std::runtime_error);
  EXPECT_EQ(cancelled, 2);
}

TEST_P(LoopTest, SC3_scopes_within_the_body_are_cancelled_and_end_no_cancelling_of_others) {
  int cancelled = 0;
  EXPECT_THROW(loop.run(with_scope([&](Scope& outer) -> Task<> {
    try {
      co_await with_scope([&](Scope& inner) -> Task<> {
        inner.spawn(expect_cancelled(loop, cancelled));
        inner.spawn(throws("inner"));
        outer.spawn(throws("outer"));
        co_await expect_cancelled(loop, cancelled);
      });
    } catch (const std::runtime_error& thrown) {
      EXPECT_STREQ(thrown.what(), "inner");
    }
    co_await expect_cancelled(loop, cancelled);  // by the outer one
  })),
               std::runtime_error);
  EXPECT_EQ(cancelled, 6);
}

/// A scope in the body of a scope, and so on, `depth` in all. All of `fail` fail while the
/// innermost body waits; each body is cancelled until its own scope, and the failed ones around it,
/// have ended.
Task<> nest(Loop* on, std::vector<bool> fail, std::size_t depth, Flag* failed, int* cancelled) {
  try {
    co_await with_scope([&](Scope& scope) -> Task<> {
      if (fail[depth])
        scope.spawn([](Flag* when) -> Task<> {
          (void)co_await when->wait();
          throw std::runtime_error("one of many");
        }(failed));
      if (depth + 1 < fail.size()) {
        co_await nest(on, fail, depth + 1, failed, cancelled);
      } else {
        failed->set();
        (void)co_await sleep(*on, 1h);
      }
      bool around = false;
      for (std::size_t i = 0; i <= depth; ++i) around = around || fail[i];
      const Chain* const chain = co_await this_chain();
      if (chain->cancelled() != around) co_return;
      ++*cancelled;
    });
  } catch (const std::runtime_error&) {
  }
}

TEST_P(LoopTest, SC3_bodies_within_each_other_are_cancelled_as_long_as_one_around_them_has_failed) {
  constexpr std::size_t depth = 6;
  for (unsigned which = 1; which < 1U << depth; ++which) {
    SCOPED_TRACE(which);
    std::vector<bool> fail;
    for (std::size_t i = 0; i < depth; ++i) fail.push_back((which >> i & 1U) != 0);
    Flag failed;
    int right = 0;
    loop.run(nest(&loop, fail, 0, &failed, &right));
    EXPECT_EQ(right, static_cast<int>(depth));
  }
}

Task<> fail_when(Flag* flag) {
  (void)co_await flag->wait();
  throw std::runtime_error("all at once");
}
Task<> have_a_scope_that_fails(Flag* flag) {
  try {
    co_await with_scope([flag](Scope& scope) -> Task<> {
      scope.spawn(fail_when(flag));
      (void)co_await flag->wait();
    });
  } catch (const std::runtime_error&) {
  }
}

/// What it costs this thread that so many scopes fail at once.
Duration cost_of_failing(Loop& loop, int scopes) {
  Flag flag;
  timespec before{};
  loop.run(with_scope([&](Scope& all) -> Task<> {
    for (int i = 0; i < scopes; ++i) all.spawn(have_a_scope_that_fails(&flag));
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    flag.set();
    co_return;
  }));
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec - before.tv_sec) +
         std::chrono::nanoseconds(now.tv_nsec - before.tv_nsec);
}

// In processor time, which others on the machine change little, and far from either: 8 times as
// many cost some 8 times as much, or 64 times if each looks at all the others.
TEST_P(LoopTest, SC3_scopes_that_fail_at_once_do_not_look_at_each_other) {
  constexpr int few = 2000;
  Duration cheapest = Duration::max();
  for (int i = 0; i < 3; ++i) cheapest = std::min(cheapest, cost_of_failing(loop, few));
  EXPECT_LT(cost_of_failing(loop, 8 * few) / 30, cheapest);
}

TEST_P(LoopTest, SC3_who_is_cancelled_from_outside_meanwhile_stays_cancelled) {
  int cancelled = 0;
  Chain chain;
  loop.run(
      [](Loop* on, Chain* self, int* count) -> Task<> {
        try {
          co_await with_scope([on, self, count](Scope& scope) -> Task<> {
            scope.spawn(throw_after(on, 1ms));
            co_await expect_cancelled(*on, *count);
            self->cancel();
            co_await expect_cancelled(*on, *count);
          });
        } catch (const std::runtime_error&) {
        }
        co_await expect_cancelled(*on, *count);
      }(&loop, &chain, &cancelled),
      chain);
  EXPECT_EQ(cancelled, 6);
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

TEST_P(LoopTest, SC4_a_scope_is_cancelled_with_the_chain_that_waits_for_it) {
  int cancelled = 0;
  Chain chain;
  loop.post([&] { chain.cancel(); });
  loop.run(with_scope([&](Scope& scope) -> Task<> {
             scope.spawn(with_scope([&](Scope& inner) -> Task<> {
               inner.spawn(expect_cancelled(loop, cancelled));
               co_return;
             }));
             co_return;
           }),
           chain);
  EXPECT_EQ(cancelled, 2);
}

TEST_P(LoopTest, SC4_on_a_cancelled_chain_it_is_cancelled_from_the_beginning) {
  int cancelled = 0;
  Chain chain;
  chain.cancel();
  loop.run(with_scope([&](Scope& scope) -> Task<> {
             scope.spawn(expect_cancelled(loop, cancelled));
             EXPECT_EQ(cancelled, 2);
             co_return;
           }),
           chain);
}

/// As a lambda with a capture: its coroutine refers to this object.
struct Saying {
  Loop& loop;
  std::string text;
  std::string& to;
  Task<> operator()() const {
    EXPECT_TRUE(co_await loop.sleep_for(1ms));
    to += text;
  }
};

TEST_P(LoopTest, SC6_spawn_keeps_what_gives_the_task) {
  std::string said;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(Saying{loop, std::string(100, 'n'), said}, "saying");
    scope.spawn([text = std::string(50, 'm'), &said]() -> Task<Result<>> {
      said += text;
      co_return fail(EIO);
    });
    co_return;
  }));
  EXPECT_EQ(said, std::string(50, 'm') + std::string(100, 'n'));
  EXPECT_EQ(loop.run([text = std::string("kept"), this]() -> Task<std::string> {
    EXPECT_TRUE(co_await loop.sleep_for(1ms));
    co_return text;
  }),
            "kept");
}

TEST_P(LoopTest, a_hundred_thousand_tasks_side_by_side) {
  int ended = 0;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    for (int i = 0; i < 100'000; ++i)
      scope.spawn([](Loop& on, int& count) -> Task<> {
        (void)co_await on.sleep_for(1ms);
        ++count;
      }(loop, ended));
    co_return;
  }));
  EXPECT_EQ(ended, 100'000);
}

}  // namespace
}  // namespace duolu::test
