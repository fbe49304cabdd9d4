// Clauses P30 to P32: how long a wait lasts, and what signals do to it.
#include <signal.h>

#include <algorithm>
#include <iterator>
#include <thread>

#include "support/scenario.hpp"
#include "support/signals.hpp"

namespace duolu::test {
namespace {

std::atomic<int> handled;
void count_signal(int) { handled.fetch_add(1, std::memory_order_relaxed); }

Instant now() { return real_kernel().now(); }

class WaitTest : public Scenario {
 protected:
  void SetUp() override {
    Scenario::SetUp();
    handled = 0;
  }

  /// Both ways of telling the kernel how long: nanoseconds, and what came before them.
  template <class Body>
  void with_every_clock(Body body) {
    for (const bool nanoseconds : {true, false}) {
      if (!nanoseconds && traits().wait_call != "epoll_pwait2") continue;
      SCOPED_TRACE(nanoseconds ? "nanoseconds" : "milliseconds");
      kernel.has_pwait2 = nanoseconds;
      open(kernel);
      body();
    }
  }

  /// Waits for nothing until `deadline`; how late the end came. Never early.
  Duration overshoot(Instant deadline) {
    const Result<Poller::Batch> batch = poller->wait(deadline);
    const Instant end = now();
    EXPECT_TRUE(batch);
    EXPECT_TRUE(!batch || (batch->empty() && !batch->woken()));
    EXPECT_GE(end, deadline);
    return end - deadline;
  }
};

TEST_P(WaitTest, P30_T01_a_look_at_nothing_returns_at_once) {
  const Pair pair = unix_pair();
  watch(pair.a.get(), Interest::readable);
  const int waits = kernel.waits;
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(look().empty());
  EXPECT_EQ(kernel.waits - waits, 1000);
}

TEST_P(WaitTest, P30_T01_a_deadline_that_has_passed_is_a_look) {
  const Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  for (const Instant passed : {Instant{}, now(), after(now(), -1s), after(immediately, 1ns)})
    EXPECT_TRUE(poller->wait(passed)->empty());
  put(pair.b.get(), "x");
  const Result<Poller::Batch> batch = poller->wait(after(now(), -1s));
  ASSERT_TRUE(batch);
  ASSERT_FALSE(batch->empty());
  EXPECT_EQ((*batch->begin()).token, token);
}

TEST_P(WaitTest, P30_T02_a_wait_with_nothing_registered_sleeps) {
  with_every_clock([&] {
    ASSERT_EQ(poller->size(), 0u);
    const int waits = kernel.waits;
    const Duration used = thread_cpu_time();
    overshoot(after(now(), 50ms));
    EXPECT_LE(kernel.waits - waits, 2);
    EXPECT_LT(thread_cpu_time() - used, 25ms);
  });
}

TEST_P(WaitTest, P31_T03_a_wait_never_ends_early) {
  with_every_clock([&] {
    const Pair pair = unix_pair();
    watch(pair.a.get(), Interest::readable);
    for (const Duration span : {Duration(1us), Duration(500us), Duration(999us), Duration(1ms),
                                Duration(1500us), Duration(10ms)}) {
      Duration worst{};
      for (int i = 0; i < 5; ++i) worst = std::max(worst, overshoot(after(now(), span)));
      RecordProperty("overshoot_ns_of_" + std::to_string(span.count()) + "ns",
                     std::to_string(worst.count()));
    }
  });
}

TEST_P(WaitTest, P31_T04_a_wait_does_not_spin_towards_its_end) {
  with_every_clock([&] {
    for (const Duration span :
         {Duration(1us), Duration(999us), Duration(1500us), Duration(10'000'001ns)}) {
      const int waits = kernel.waits;
      overshoot(after(now(), span));
      EXPECT_LE(kernel.waits - waits, 2) << span.count();
    }
  });
}

// A process that was stopped: readiness and the deadline are both there when it continues.
TEST_P(WaitTest, P31_what_came_during_an_interruption_is_reported_after_the_deadline) {
  with_every_clock([&] {
    for (int round = 0; round < 3; ++round) {
      const Pair pair = unix_pair();
      const Token token = watch(pair.a.get(), Interest::readable);
      const Instant deadline = after(now(), 10ms);
      kernel.interruption = [&] {
        put(pair.b.get(), "in time");
        while (now() < deadline) std::this_thread::sleep_for(1ms);
      };
      const Result<Poller::Batch> batch = poller->wait(deadline);
      ASSERT_TRUE(batch);
      EXPECT_FALSE(kernel.interruption);
      EXPECT_EQ(std::ranges::distance(batch->begin(), batch->end()), 1);
      EXPECT_TRUE(poller->remove(token));
    }
  });
}

TEST_P(WaitTest, P31_T05_no_deadline_is_too_far) {
  with_every_clock([&] {
    for (const Instant deadline : {after(now(), 24h * 30), after(now(), Duration::max()),
                                   Instant(never - Duration(1)), never}) {
      SCOPED_TRACE(deadline.time_since_epoch().count());
      std::thread other([&] {
        std::this_thread::sleep_for(5ms);  // so that the wait has most likely begun
        poller->wake();
      });
      const Result<Poller::Batch> batch = poller->wait(deadline);
      other.join();
      ASSERT_TRUE(batch);
      EXPECT_TRUE(batch->woken()) << "it ended by itself";
      EXPECT_TRUE(batch->empty());
    }
  });
}

TEST_P(WaitTest, P32_T06_signals_neither_end_nor_lengthen_a_wait) {
  const SignalHandler handler(SIGUSR1, count_signal);
  with_every_clock([&] {
    handled = 0;
    const SignalStorm storm(SIGUSR1);
    const Instant start = now();
    int waits = 0;
    for (; waits < 3 || handled < 20; ++waits) {
      overshoot(after(now(), 50ms));
      ASSERT_LT(now(), after(start, patience)) << "after " << waits << " waits";
    }
    RecordProperty("waits", waits);
  });
}

TEST_P(WaitTest, P32_T06_signals_cost_no_event) {
  const SignalHandler handler(SIGUSR1, count_signal);
  const SignalStorm storm(SIGUSR1);
  const Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  for (int i = 0; i < 200; ++i) {
    put(pair.b.get(), "x");
    ASSERT_EQ(ready(token, patience), Ready::readable);
    EXPECT_EQ(drain(pair.a.get()), 1u);
    proceed(token, Interest::readable);
  }
}

TEST_P(WaitTest, P32_T07_a_signal_ends_the_wait_of_those_who_want_that) {
  const SignalHandler handler(SIGUSR1, count_signal);
  open(kernel, {.return_on_signal = true});
  const SignalStorm storm(SIGUSR1);
  const Result<Poller::Batch> batch = poller->wait(after(now(), patience));
  ASSERT_FALSE(batch);
  EXPECT_EQ(batch.error(), std::errc::interrupted);
}

TEST_P(WaitTest, P32_T07_a_wait_ended_by_a_signal_costs_no_event) {
  const SignalHandler handler(SIGUSR1, count_signal);
  open(kernel, {.return_on_signal = true});
  const Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  const SignalStorm storm(SIGUSR1);
  for (int i = 0; i < 200; ++i) {
    put(pair.b.get(), "x");
    const Instant deadline = after(now(), patience);
    bool seen = false;
    while (!seen && now() < deadline) {
      const Result<Poller::Batch> batch = poller->wait(deadline);
      if (batch)
        for (const Event& event : *batch) seen = seen || event.token == token;
      else
        ASSERT_EQ(batch.error(), std::errc::interrupted);
    }
    ASSERT_TRUE(seen) << i;
    EXPECT_EQ(drain(pair.a.get()), 1u);
    proceed(token, Interest::readable);
  }
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(WaitTest);

}  // namespace
}  // namespace duolu::test
