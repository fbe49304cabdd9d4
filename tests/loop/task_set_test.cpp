// Clauses TS1 to TS4 of task_set.hpp.
#include "duolu/loop/task_set.hpp"

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "duolu/loop/within.hpp"
#include "duolu/task/flag.hpp"
#include "support/allocations.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

struct Named : TaskSet::Member {
  explicit Named(std::string text) : name(std::move(text)) {}
  std::string name;
};

/// Keeps what its members ended with.
class Recording final : public TaskSet {
 public:
  using TaskSet::TaskSet;
  [[nodiscard]] std::string order() const {
    std::string names;
    for (const Member* each = first(); each != nullptr; each = each->next())
      names += static_cast<const Named*>(each)->name;
    return names;
  }
  std::vector<std::string> ends;
  TaskSet* then = nullptr;  ///< Where those that have ended start again, once.
  Flag* rest = nullptr;     ///< And wait for.

 private:
  static Task<> wait_for(Flag* flag) { (void)co_await flag->wait(); }

  void ended(Member& member, Result<> returned, std::exception_ptr exception) noexcept override {
    std::string how = "ok";
    if (!returned) how = returned.error().message();
    if (exception) how = "threw";
    ends.push_back(static_cast<Named&>(member).name + " " + how);
    EXPECT_EQ(member.set(), nullptr);
    if (TaskSet* const next = std::exchange(then, nullptr))
      next->start(member, wait_for(rest), {"again", {}});
  }
};

class TaskSetTest : public LoopFixture {};
DUOLU_EVERY_ENGINE(TaskSetTest);

Task<> wait_for(Flag* flag) { (void)co_await flag->wait(); }
Task<Result<>> give(Result<> result) { co_return result; }
Task<> sleep_for_ever() { co_await sleep(Duration::max()); }
Task<Result<>> throws_after(Flag* flag) {
  (void)co_await flag->wait();
  throw std::runtime_error("inside");
}

Task<> runs_at_once() {
  Recording set(*co_await this_chain());
  Named a("a");
  Flag flag;
  EXPECT_FALSE(set.start(a, wait_for(&flag), {"a", {}}));
  EXPECT_EQ(set.size(), 1U);
  EXPECT_EQ(a.set(), &set);
  flag.set();
  EXPECT_EQ(set.size(), 1U);
  for (int turns = 0; turns < 10 && set.size() > 0; ++turns) co_await yield();
  EXPECT_EQ(set.size(), 0U);
}

TEST_P(TaskSetTest, TS1_a_task_runs_at_once_until_it_waits) { loop.run(runs_at_once()); }

Task<> ends_are_reported(Loop* loop) {
  Recording set(*co_await this_chain());
  Recording other(*co_await this_chain());
  Named a("a");
  Named b("b");
  Named c("c");
  Flag flag;
  EXPECT_TRUE(set.start(a, give({}), {"a", {}}));
  EXPECT_TRUE(set.start(b, give(fail(EPIPE)), {"b", {}}));
  set.start(c, throws_after(&flag), {"c", {}});
  set.then = &other;
  set.rest = &flag;
  set.start(a, wait_for(&flag), {"a", {}});
  a.chain.cancel();  // and stays so
  (void)co_await loop->sleep_for(1ms);
  EXPECT_EQ(other.size(), 0U);  // cancelled, it has not waited again
  flag.set();
  (void)co_await loop->sleep_for(1ms);
  const std::vector<std::string> expected{"a ok", "b " + errno_code(EPIPE).message(), "a ok",
                                          "c threw"};
  EXPECT_EQ(set.ends, expected);
  EXPECT_EQ(other.ends, std::vector<std::string>{"a ok"});
}

TEST_P(TaskSetTest, TS2_what_a_task_gave_is_reported_and_its_member_may_start_again) {
  loop.run(ends_are_reported(&loop));
}

Task<> ends_a_sleeper(Loop* loop) {
  Recording set(*co_await this_chain());
  Named a("a");
  EXPECT_FALSE(set.start(a, sleep_for_ever(), {"a", {}}));
  a.chain.cancel();
  (void)co_await loop->sleep_for(1ms);
  EXPECT_EQ(set.ends, std::vector<std::string>{"a " + errno_code(ECANCELED).message()});
}

TEST_P(TaskSetTest, TS2_TA7_a_task_that_a_cancelled_sleep_ended_gave_an_error) {
  loop.run(ends_a_sleeper(&loop));
}

Task<> keeps_order(Loop* loop) {
  Recording set(*co_await this_chain());
  Recording other(*co_await this_chain());
  Named a("a");
  Named b("b");
  Named c("c");
  Flag flag;
  set.start(a, wait_for(&flag), {"a", {}});
  set.start(b, wait_for(&flag), {"b", {}});
  set.start(c, wait_for(&flag), {"c", {}});
  set.move_here(a);
  EXPECT_EQ(set.order(), "bca");
  {
    const CountsAllocations counted;
    const std::uint64_t before = allocations();
    other.move_here(c);
    other.move_here(b);
    EXPECT_EQ(allocations(), before);
  }
  EXPECT_EQ(set.order(), "a");
  EXPECT_EQ(other.order(), "cb");
  EXPECT_EQ(c.set(), &other);
  flag.set();
  (void)co_await loop->sleep_for(1ms);
  EXPECT_EQ(set.size() + other.size(), 0U);
  EXPECT_EQ(other.ends.size(), 2U);  // where it is when it ends
}

TEST_P(TaskSetTest, TS3_TS4_members_move_to_the_end_without_memory) {
  loop.run(keeps_order(&loop));
}

using TaskSetDeathTest = LoopFixture;
DUOLU_EVERY_ENGINE(TaskSetDeathTest);

TEST_P(TaskSetDeathTest, TS1_a_member_is_in_one_set_and_a_set_outlives_its_tasks) {
  const auto misuse = [](bool twice) -> Task<> {
    auto set = std::make_unique<Recording>(*co_await this_chain());
    Named a("a");
    Flag flag;
    set->start(a, wait_for(&flag), {"a", {}});
    if (twice) set->start(a, wait_for(&flag), {"a", {}});
    set.reset();
  };
  const auto in_a_loop = [&](bool twice) {
    const auto over = GetParam().make(real_kernel()).value();
    Loop(*over).run(misuse(twice));
  };
  EXPECT_DEATH(in_a_loop(true), "member.set");
  EXPECT_DEATH(in_a_loop(false), "before its tasks have ended");
}

}  // namespace
}  // namespace duolu::test
