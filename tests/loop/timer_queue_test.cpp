// Clauses TI1 to TI4 of timer_queue.hpp, against a model.
#include "duolu/loop/timer_queue.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "duolu/base/prng.hpp"
#include "support/allocations.hpp"

namespace duolu {
namespace {

using namespace std::chrono_literals;

constexpr Instant at(Duration span) { return Instant(span); }

TEST(TimerQueue, TI1_timers_come_out_by_deadline_then_in_the_order_of_arming) {
  TimerQueue queue;
  std::array<Timer, 6> timers;
  const Duration deadlines[] = {5ms, 1ms, 5ms, 3ms, 1ms, 5ms};
  for (std::size_t i = 0; i < timers.size(); ++i) queue.arm(timers[i], at(deadlines[i]));
  EXPECT_EQ(queue.next(), at(1ms));
  EXPECT_EQ(queue.take_due(at(1ms) - 1ns), nullptr);
  for (const std::size_t expected : {1U, 4U, 3U, 0U, 2U, 5U})
    EXPECT_EQ(queue.take_due(at(5ms)), &timers[expected]);
  EXPECT_EQ(queue.take_due(never), nullptr);
  EXPECT_EQ(queue.next(), never);
}

TEST(TimerQueue, TI2_a_cancelled_timer_does_not_come_out_and_can_be_armed_again) {
  TimerQueue queue;
  Timer a;
  Timer b;
  queue.arm(a, at(1s));
  queue.arm(b, at(2s));
  queue.cancel(a);
  queue.cancel(a);
  EXPECT_FALSE(a.armed());
  EXPECT_EQ(queue.next(), at(2s));
  EXPECT_EQ(queue.take_due(at(3s)), &b);
  EXPECT_FALSE(b.armed());
  queue.arm(a, immediately);
  EXPECT_EQ(queue.take_due(immediately), &a);
}

TEST(TimerQueue, TI3_arming_an_armed_timer_moves_it_behind_its_equals) {
  TimerQueue queue;
  Timer a;
  Timer b;
  queue.arm(a, at(1s));
  queue.arm(b, at(2s));
  queue.arm(a, at(2s));
  EXPECT_EQ(queue.size(), 2U);
  EXPECT_EQ(queue.take_due(at(2s)), &b);
  EXPECT_EQ(queue.take_due(at(2s)), &a);
}

TEST(TimerQueue, TI4_only_more_timers_at_a_time_take_memory) {
  TimerQueue queue;
  std::array<Timer, 100> timers;
  queue.reserve(timers.size());
  const test::CountsAllocations counted;
  const std::uint64_t before = test::allocations();
  for (int round = 1; round <= 10; ++round) {
    for (Timer& timer : timers) queue.arm(timer, at(round * 1ms));
    for (std::size_t i = 0; i < 50; ++i) queue.cancel(timers[i]);
    while (queue.take_due(never) != nullptr) {
    }
  }
  EXPECT_EQ(test::allocations(), before);
}

TEST(TimerQueue, a_deadline_that_never_comes_comes_out_when_asked_for_never) {
  TimerQueue queue;
  Timer timer;
  queue.arm(timer, never);
  EXPECT_EQ(queue.take_due(never - 1ns), nullptr);
  EXPECT_EQ(queue.take_due(never), &timer);
}

void destroy_while_armed() {
  TimerQueue queue;
  const auto timer = std::make_unique<Timer>();
  queue.arm(*timer, never);
}

TEST(TimerQueueDeathTest, an_armed_timer_must_not_be_destroyed) {
  EXPECT_DEATH(destroy_while_armed(), "armed");
}

TEST(TimerQueue, TI1_TI2_TI3_random_work_agrees_with_a_model) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Prng prng(seed);
    TimerQueue queue;
    std::vector<std::unique_ptr<Timer>> timers(1 + prng.below(200));
    for (auto& timer : timers) timer = std::make_unique<Timer>();
    std::map<std::pair<Instant, std::uint64_t>, Timer*> model;  // deadline and order
    const auto forget = [&](const Timer* timer) {
      std::erase_if(model, [timer](const auto& entry) { return entry.second == timer; });
    };
    // Few different deadlines, so that many are equal.
    const std::uint64_t spread = 1 + prng.below(300);
    for (std::uint64_t step = 0; step < 2000; ++step) {
      Timer& timer = *timers[prng.below(timers.size())];
      const Instant instant = at(Duration(static_cast<std::int64_t>(prng.below(spread))));
      switch (prng.below(4)) {
        case 0:
        case 1:
          queue.arm(timer, instant);
          forget(&timer);
          model[{instant, step}] = &timer;
          break;
        case 2:
          queue.cancel(timer);
          forget(&timer);
          break;
        default: {
          Timer* expected = nullptr;
          if (!model.empty() && model.begin()->first.first <= instant) {
            expected = model.begin()->second;
            model.erase(model.begin());
          }
          ASSERT_EQ(queue.take_due(instant), expected) << "seed " << seed << ", step " << step;
        }
      }
      ASSERT_EQ(queue.size(), model.size());
      ASSERT_EQ(queue.next(), model.empty() ? never : model.begin()->first.first);
    }
    while (Timer* timer = queue.take_due(never)) {
      ASSERT_EQ(timer, model.begin()->second);
      model.erase(model.begin());
    }
    ASSERT_TRUE(model.empty());
  }
}

}  // namespace
}  // namespace duolu
