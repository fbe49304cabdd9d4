// Clause LO12: the tree of what waits for what, on every backend.
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "duolu/loop/offload.hpp"
#include "duolu/loop/signals.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/task/channel.hpp"
#include "duolu/task/flag.hpp"
#include "duolu/task/semaphore.hpp"
#include "duolu/task/together.hpp"
#include "support/loop_fixture.hpp"
#include "support/movable_clock.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

class TreeTest : public LoopFixture {
 protected:
  /// The tree as lines: depth, name, what it waits for; "c" if cancelled.
  std::vector<std::string> tree() {
    std::vector<std::string> lines;
    for (const TaskReport& report : loop.tasks()) {
      const std::string name = report.origin.name != nullptr ? report.origin.name : "-";
      lines.push_back(std::string(static_cast<std::size_t>(report.depth), ' ') + name + ": " +
                      report.waits + (report.cancelled ? " c" : ""));
    }
    return lines;
  }
  TaskReport report_of(std::string_view name) {
    for (const TaskReport& report : loop.tasks())
      if (report.origin.name != nullptr && report.origin.name == name) return report;
    ADD_FAILURE() << name << " is not there";
    return {};
  }
  using Lines = std::vector<std::string>;
};
DUOLU_EVERY_ENGINE(TreeTest);

Task<> await_flag(Flag* flag) { (void)co_await flag->wait(); }
Task<int> await_flag_for(Flag* flag, int value) {
  (void)co_await flag->wait();
  co_return value;
}

TEST_P(TreeTest, LO12_nothing_runs_nothing_is_told) { EXPECT_TRUE(loop.tasks().empty()); }

TEST_P(TreeTest, LO12_what_there_is_to_wait_for) {
  const std::unique_ptr<OffloadPool> pool = OffloadPool::start(real_kernel(), 1).value();
  Signals signals(loop, {SIGUSR1});
  Flag flag;
  Flag end;
  Semaphore none(0);
  Channel<int> full(0);
  Channel<int> empty(1);
  std::atomic<bool> begun = false;
  std::atomic<bool> over = false;
  Task<> all = with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(await_flag(&flag), "flag");
    scope.spawn([](Semaphore* s) -> Task<> { (void)co_await s->acquire(); }(&none), "semaphore");
    scope.spawn([](Channel<int>* c) -> Task<> { (void)co_await c->send(1); }(&full), "send");
    scope.spawn([](Channel<int>* c) -> Task<> { (void)co_await c->receive(); }(&empty), "receive");
    scope.spawn([](Loop* l) -> Task<> { (void)co_await l->sleep_for(1h); }(&loop), "sleep");
    scope.spawn([](Loop* l) -> Task<> { (void)co_await l->sleep_until(never); }(&loop), "for ever");
    scope.spawn([](Signals* s) -> Task<> { (void)co_await s->next(); }(&signals), "signal");
    scope.spawn(
        [](OffloadPool* p, std::atomic<bool>* here, std::atomic<bool>* done) -> Task<> {
          auto work = [here, done] {
            *here = true;
            while (!*done) std::this_thread::sleep_for(1ms);
          };
          (void)co_await offload(*p, work);
        }(pool.get(), &begun, &over),
        "offload");
    scope.spawn(
        [](Loop* l, Flag* f) -> Task<> {
          (void)co_await within(*l, 1h, [](Flag* of) -> Task<Result<>> {
            (void)co_await of->wait();
            co_return Result<>();
          }(f));
        }(&loop, &flag),
        "within");
    scope.spawn(
        [](Flag* f, Flag* other) -> Task<> {
          (void)co_await when_all(await_flag_for(f, 1), await_flag_for(other, 2));
        }(&flag, &end),
        "all");
    scope.spawn(
        [](Flag* f, Flag* other) -> Task<> {
          (void)co_await first_of(await_flag_for(f, 1), await_flag_for(other, 2));
        }(&flag, &end),
        "first");
    scope.spawn([](Flag* f) -> Task<> { co_await shielded(await_flag(f)); }(&flag), "shielded");
    (void)co_await end.wait();
    EXPECT_EQ(tree().at(0), "-: ");  // this one runs
    scope.cancel();
  });
  Chain chain;
  chain.set_origin({"main", {}});
  loop.start(all, chain);
  EXPECT_EQ(
      tree(),
      (Lines{"main: for a flag", " flag: for a flag", " semaphore: for a permit of a semaphore",
             " send: for room in a channel", " receive: for a value from a channel",
             " sleep: for a time", " for ever: for nothing but to be cancelled",
             " signal: for a signal", " offload: for work on another thread",
             " within: for a task with a deadline", "  within: for a flag",
             " all: for several tasks", "  all: for a flag", "  all: for a flag",
             " first: for the first of several tasks", "  first: for a flag", "  first: for a flag",
             " shielded: for a shielded task", "  shielded: for a flag"}));
  EXPECT_GT(report_of("sleep").left, 59min);
  EXPECT_LE(report_of("within").left, 1h);
  EXPECT_FALSE(report_of("for ever").left);
  EXPECT_FALSE(report_of("flag").since);

  while (!begun) std::this_thread::sleep_for(1ms);
  end.set();  // one of two is enough for "first", and has "all" wait for the other
  chain.set_origin({});
  ASSERT_TRUE(loop.turn(immediately));
  const Lines later = tree();
  EXPECT_EQ(later.at(0), "-: for the tasks of its scope");
  EXPECT_EQ(std::count(later.begin(), later.end(), " offload: for work on another thread c"), 1);
  EXPECT_EQ(std::count(later.begin(), later.end(), " shielded: for a shielded task c"), 1);
  EXPECT_EQ(std::count(later.begin(), later.end(), "  shielded: for a flag"), 1);
  over = true;
  flag.set();
  while (!all.promise().done()) ASSERT_TRUE(loop.turn(never));
  EXPECT_TRUE(loop.tasks().empty());
}

Task<> innermost(Flag* flag) { (void)co_await flag->wait(); }
Task<> middle(Flag* flag) { co_await innermost(flag); }
Task<> outermost(Flag* flag) { co_await middle(flag); }

TEST_P(TreeTest, LO12_where_it_waits_from_the_inside_out) {
  Flag flag;
  const unsigned line = __LINE__ + 2;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(outermost(&flag));
    const std::vector<TaskReport> all = loop.tasks();
    EXPECT_EQ(all.size(), 2U);
    EXPECT_TRUE(all[0].waits.empty());
    EXPECT_EQ(all[0].origin.where.line(), line - 1);
    EXPECT_EQ(all[1].origin.where.line(), line);
    EXPECT_EQ(all[1].depth, 1);
    EXPECT_EQ(all[1].stack.size(), 3U);
    const char* const names[] = {"innermost", "middle", "outermost"};
    for (std::size_t i = 0; i < 3 && i < all[1].stack.size(); ++i) {
      EXPECT_NE(std::string_view(all[1].stack[i].function_name()).find(names[i]),
                std::string_view::npos)
          << all[1].stack[i].function_name();
      EXPECT_TRUE(std::string_view(all[1].stack[i].file_name()).ends_with("tree_test.cpp"));
    }
    const std::string text = to_string(all[1]);
    EXPECT_TRUE(text.starts_with("  tree_test.cpp:" + std::to_string(line) +
                                 ": waits for a flag; at tree_test.cpp:"))
        << text;
    EXPECT_NE(text.find(" (innermost), tree_test.cpp:"), std::string::npos) << text;
    EXPECT_TRUE(text.ends_with(" (outermost)")) << text;
    flag.set();
    co_return;
  }));
}

Task<> with_inner_scope(Flag* first, Flag* second) {
  co_await with_scope([=](Scope& scope) -> Task<> {
    scope.spawn(await_flag(first), "inner one");
    scope.spawn(await_flag(second), "inner two");
    co_return;
  });
}

TEST_P(TreeTest, LO12_scopes_in_scopes_in_the_order_in_which_they_began) {
  Flag first;
  Flag second;
  Flag body;
  loop.run(with_scope([&](Scope& outer) -> Task<> {
    outer.spawn(with_inner_scope(&first, &second), "one");
    outer.spawn(with_inner_scope(&first, &second), "two");
    outer.spawn(await_flag(&second), "three");
    EXPECT_EQ(tree(),
              (Lines{"-: ", " one: for the tasks of its scope", "  inner one: for a flag",
                     "  inner two: for a flag", " two: for the tasks of its scope",
                     "  inner one: for a flag", "  inner two: for a flag", " three: for a flag"}));
    first.set();
    for (int turn = 0; turn < 2; ++turn) (void)co_await loop.sleep_for(0ms);  // they go on behind
    EXPECT_EQ(tree(), (Lines{"-: ", " one: for the tasks of its scope", "  inner two: for a flag",
                             " two: for the tasks of its scope", "  inner two: for a flag",
                             " three: for a flag"}));
    second.set();
  }));
}

TEST_P(TreeTest, LO12_who_was_woken_waits_no_more) {
  Flag flag;
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(await_flag(&flag), "woken");
    EXPECT_EQ(tree(), (Lines{"-: ", " woken: for a flag"}));
    flag.set();
    EXPECT_EQ(tree(), (Lines{"-: ", " woken: "}));
    co_return;
  }));
}

TEST_P(TreeTest, LO12_of_tasks_begun_by_hand_those_with_scopes) {
  Flag flag;
  Chain one;
  Chain other;
  Task<> scoped = with_inner_scope(&flag, &flag);
  Task<> plain = await_flag(&flag);
  loop.start(scoped, one);
  loop.start(plain, other);
  EXPECT_EQ(tree(), (Lines{"-: for the tasks of its scope", " inner one: for a flag",
                           " inner two: for a flag"}));
  flag.set();
  while (!scoped.promise().done() || !plain.promise().done()) ASSERT_TRUE(loop.turn(never));
}

TEST(TreeTimes, LO12_since_when_it_waits) {
  for (const EngineCell& cell : every_engine()) {
    SCOPED_TRACE(cell.name());
    MovableClock kernel;
    const auto engine = cell.make(kernel).value();
    Loop loop(*engine);
    Flag flag;
    const auto age = [&](std::size_t at) {
      return loop.tasks().at(at).since.value_or(Duration(-1));
    };
    loop.run(with_scope([&](Scope& scope) -> Task<> {
      scope.spawn(await_flag(&flag), "unwatched");
      kernel.moved += 1h;
      EXPECT_EQ(age(1), Duration(-1));
      loop.watch_stalls(Duration::max(), [](const Stall&) {});
      (void)co_await loop.sleep_for(1ms);
      scope.spawn(await_flag(&flag), "watched");
      EXPECT_EQ(age(1), Duration(-1));  // it has begun before anybody watched
      EXPECT_EQ(age(2), 0s);
      kernel.moved += 10s;
      (void)co_await loop.sleep_for(1ms);
      EXPECT_GE(age(2), 10s);
      EXPECT_LT(age(2), 15s);
      const std::string text = to_string(loop.tasks().at(2));
      EXPECT_NE(text.find("watched: waits for a flag, for 1"), std::string::npos) << text;
      flag.set();
      flag.reset();
      kernel.moved += 10s;
      scope.spawn(await_flag(&flag), "again");
      (void)co_await loop.sleep_for(1ms);
      EXPECT_EQ(loop.tasks().size(), 2U);  // the first two have gone on, and have ended
      flag.set();
    }));
    loop.watch_stalls({}, {});
  }
}

TEST(TreeTimes, LO12_a_deadline_that_passes_wakes_nobody) {
  for (const EngineCell& cell : every_engine()) {
    SCOPED_TRACE(cell.name());
    MovableClock kernel;
    const auto engine = cell.make(kernel).value();
    Loop loop(*engine);
    Flag flag;
    loop.watch_stalls(Duration::max(), [](const Stall&) {});
    loop.run(with_scope([&](Scope& scope) -> Task<> {
      scope.spawn(
          [](Loop* on, Flag* of) -> Task<> {
            // It does not end when it is asked to.
            (void)co_await within(*on, 20s, shielded([](Flag* f) -> Task<Result<>> {
              (void)co_await f->wait();
              co_return Result<>();
            }(of)));
          }(&loop, &flag),
          "waits");
      for (int i = 0; i < 3; ++i) {
        kernel.moved += 15s;
        (void)co_await loop.sleep_for(1ms);
      }
      EXPECT_GE(loop.tasks().at(1).since, 45s);
      flag.set();
    }));
  }
}

}  // namespace
}  // namespace duolu::test
