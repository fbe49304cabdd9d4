// Clauses RQ1 to RQ3, FL1 to FL4, SE1 to SE5 and CH1 to CH7.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "duolu/task/channel.hpp"
#include "duolu/task/flag.hpp"
#include "duolu/task/ready.hpp"
#include "duolu/task/semaphore.hpp"
#include "support/allocations.hpp"
#include "support/by_hand.hpp"

namespace duolu::test {
namespace {

using Log = std::vector<std::string>;

// --- Flag

using FlagTest = ByHand;

Task<> await_flag(Flag& flag, std::string name, Log& log) {
  const bool set = co_await flag.wait();
  log.push_back(name + (set ? " set" : " cancelled"));
}

TEST_F(FlagTest, FL1_a_set_flag_is_not_waited_for) {
  Flag flag(true);
  Log log;
  start(await_flag(flag, "a", log));
  EXPECT_EQ(log, (Log{"a set"}));
  flag.reset();
  EXPECT_FALSE(flag.is_set());
  start(await_flag(flag, "b", log));
  EXPECT_EQ(log.size(), 1U);
  flag.set();
  go_on();
  EXPECT_EQ(log, (Log{"a set", "b set"}));
}

TEST_F(FlagTest, FL2_FL4_RQ1_RQ2_all_go_on_in_order_and_later) {
  Log log;
  {
    Flag flag;
    for (const char* name : {"a", "b", "c"}) start(await_flag(flag, name, log));
    flag.set();
    flag.set();
    flag.reset();
    EXPECT_EQ(log, Log{});
    go_on(1);
    EXPECT_EQ(log, (Log{"a set"}));
  }  // it may go now
  go_on();
  EXPECT_EQ(log, (Log{"a set", "b set", "c set"}));
}

TEST_F(FlagTest, RQ3_waiting_takes_no_memory) {
  Flag flag;
  for (int i = 0; i < 100; ++i)
    start([](Flag* of) -> Task<> {
      for (int times = 0; times < 3; ++times) (void)co_await of->wait();
    }(&flag));
  const CountsAllocations counted;
  const std::uint64_t before = allocations();
  for (int times = 0; times < 3; ++times) {
    flag.set();
    flag.reset();
    go_on();
  }
  EXPECT_EQ(allocations(), before);
  Channel<int> takes_some(100);
  EXPECT_GT(allocations(), before);  // so they are counted
}

TEST_F(FlagTest, FL3_cancelled_before_while_and_after) {
  Flag flag;
  Log log;
  flag.set();
  start_cancelled(await_flag(flag, "before", log));
  EXPECT_EQ(log, (Log{"before cancelled"}));
  flag.reset();
  log.clear();
  start(await_flag(flag, "first", log));
  Chain& middle = start(await_flag(flag, "middle", log));
  Chain& last = start(await_flag(flag, "last", log));
  middle.cancel();
  middle.cancel();
  EXPECT_EQ(log, Log{});
  flag.set();
  last.cancel();  // it was woken before
  go_on();
  EXPECT_EQ(log, (Log{"middle cancelled", "first set", "last set"}));
}

TEST_F(FlagTest, FL2_who_waits_again_waits_for_the_next_time) {
  Flag flag;
  int woken = 0;
  start([](Flag* of, int* count) -> Task<> {
    for (int i = 0; i < 3; ++i, ++*count) (void)co_await of->wait();
  }(&flag, &woken));
  for (int i = 1; i <= 3; ++i) {
    flag.set();
    flag.reset();
    go_on();
    EXPECT_EQ(woken, i);
  }
}

void destroy_flag_that_is_waited_for() {
  ReadyQueue ready;
  Chain chain;
  chain.run_in(&ready);
  Log log;
  auto flag = std::make_unique<Flag>();
  const Task<> task = await_flag(*flag, "", log);
  task.promise().enter(&chain);
  task.promise().run();
  flag.reset();
  flag = nullptr;
}

TEST(FlagDeathTest, who_waits_must_not_be_left) {
  EXPECT_DEATH(destroy_flag_that_is_waited_for(), "a Flag, Semaphore or Channel is destroyed that");
}

// --- Semaphore

using SemaphoreTest = ByHand;

Task<> hold(Semaphore& semaphore, Flag* until, std::string name, Log& log) {
  const Result<Semaphore::Permit> permit = co_await semaphore.acquire();
  if (!permit) {
    EXPECT_EQ(permit.error(), std::errc::operation_canceled);
    log.push_back(name + " cancelled");
    co_return;
  }
  log.push_back(name + " in");
  if (until != nullptr) (void)co_await until->wait();
  log.push_back(name + " out");
}

TEST_F(SemaphoreTest, SE1_SE3_as_many_as_there_are_permits) {
  Semaphore semaphore(2);
  Flag a;
  Flag b;
  Log log;
  start(hold(semaphore, &a, "a", log));
  start(hold(semaphore, &b, "b", log));
  start(hold(semaphore, nullptr, "c", log));
  EXPECT_EQ(log, (Log{"a in", "b in"}));
  EXPECT_EQ(semaphore.available(), 0U);
  EXPECT_FALSE(semaphore.try_acquire());
  b.set();
  go_on();
  EXPECT_EQ(log, (Log{"a in", "b in", "b out", "c in", "c out"}));
  a.set();
  go_on();
  EXPECT_EQ(semaphore.available(), 2U);
}

TEST_F(SemaphoreTest, SE2_SE5_nobody_overtakes) {
  Semaphore semaphore(1);
  Log log;
  std::optional<Semaphore::Permit> permit = semaphore.try_acquire();
  ASSERT_TRUE(permit);
  Flag hold_a;
  start(hold(semaphore, &hold_a, "a", log));
  start(hold(semaphore, nullptr, "b", log));
  permit->release();
  EXPECT_FALSE(*permit);
  EXPECT_EQ(log, Log{});
  EXPECT_EQ(semaphore.available(), 0U);  // a's
  EXPECT_FALSE(semaphore.try_acquire());
  start(hold(semaphore, nullptr, "c", log));
  go_on();
  EXPECT_EQ(log, (Log{"a in"}));
  hold_a.set();
  go_on();
  EXPECT_EQ(log, (Log{"a in", "a out", "b in", "b out", "c in", "c out"}));
}

TEST_F(SemaphoreTest, SE4_cancelled_before_while_and_after) {
  Semaphore semaphore(1);
  Log log;
  start_cancelled(hold(semaphore, nullptr, "before", log));
  EXPECT_EQ(semaphore.available(), 1U);
  std::optional<Semaphore::Permit> permit = semaphore.try_acquire();
  Chain& a = start(hold(semaphore, nullptr, "a", log));
  Chain& b = start(hold(semaphore, nullptr, "b", log));
  start(hold(semaphore, nullptr, "c", log));
  a.cancel();
  permit->release();
  b.cancel();  // it has the permit by now
  go_on();
  EXPECT_EQ(log, (Log{"before cancelled", "a cancelled", "b in", "b out", "c in", "c out"}));
  EXPECT_EQ(semaphore.available(), 1U);
}

Task<Result<>> take_with_try(Semaphore* semaphore, Log* log) {
  const Semaphore::Permit permit = co_await try_(semaphore->acquire());
  log->push_back("in");
  co_return {};
}
Task<> log_result(Task<Result<>> task, Log* log) {
  const Result<> result = co_await std::move(task);
  log->push_back(result ? "good" : result.error().message());
}

TEST_F(SemaphoreTest, SE4_TA4_try_gives_the_permit_or_ends_the_task) {
  Semaphore semaphore(1);
  Log log;
  start(log_result(take_with_try(&semaphore, &log), &log));
  start_cancelled(log_result(take_with_try(&semaphore, &log), &log));
  EXPECT_EQ(log, (Log{"in", "good", "Operation canceled"}));
  log.clear();
  std::optional<Semaphore::Permit> permit = semaphore.try_acquire();
  start(log_result(take_with_try(&semaphore, &log), &log)).cancel();
  start(log_result(take_with_try(&semaphore, &log), &log));
  EXPECT_EQ(log, Log{});
  permit.reset();
  go_on();
  EXPECT_EQ(log, (Log{"Operation canceled", "in", "good"}));
}

TEST_F(SemaphoreTest, SE3_a_permit_moves) {
  Semaphore semaphore(2);
  Semaphore::Permit a = *semaphore.try_acquire();
  Semaphore::Permit b = *semaphore.try_acquire();
  a = std::move(b);
  EXPECT_EQ(semaphore.available(), 1U);
  b = std::move(a);
  EXPECT_EQ(semaphore.available(), 1U);
  b.release();
  b.release();
  EXPECT_EQ(semaphore.available(), 2U);
}

// --- Channel

using ChannelTest = ByHand;
using Text = std::unique_ptr<std::string>;

Text text(const char* of) { return std::make_unique<std::string>(of); }

std::string outcome(const Result<>& result) { return result ? "sent" : result.error().message(); }

Task<> send_one(Channel<Text>& channel, Text value, Log& log) {
  const std::string name = *value;
  const Result<> sent = co_await channel.send(std::move(value));
  EXPECT_EQ(value == nullptr, sent.has_value());  // CH5: else it is still here
  log.push_back(name + ": " + outcome(sent));
}

Task<> receive_all(Channel<Text>& channel, std::string name, Log& log) {
  for (;;) {
    const Result<Text> value = co_await channel.receive();
    log.push_back(name + ": " + (value ? **value : value.error().message()));
    if (!value) co_return;
  }
}

TEST_F(ChannelTest, CH1_CH2_CH3_values_in_order_and_a_bound) {
  for (const std::size_t capacity : {0U, 1U, 2U, 3U, 10U}) {
    Channel<Text> channel(capacity);
    Log log;
    for (const char* each : {"a", "b", "c"}) start(send_one(channel, text(each), log));
    EXPECT_EQ(log.size(), std::min<std::size_t>(capacity, 3));
    EXPECT_EQ(channel.size(), log.size());
    EXPECT_EQ(channel.capacity(), capacity);
    log.clear();
    start(receive_all(channel, "r", log));
    Log received = log;
    std::erase_if(received, [](const std::string& line) { return line[0] != 'r'; });
    EXPECT_EQ(received, (Log{"r: a", "r: b", "r: c"}));
    go_on();
    EXPECT_EQ(log.size(), 3 + 3 - std::min<std::size_t>(capacity, 3));
    channel.close();
    go_on();
    EXPECT_EQ(log.back(), "r: Broken pipe");
  }
}

TEST_F(ChannelTest, CH2_CH3_room_belongs_to_who_waited_for_it) {
  Channel<Text> channel(1);
  Log log;
  for (const char* each : {"a", "b"}) start(send_one(channel, text(each), log));
  start([](Channel<Text>* from, Log* into) -> Task<> {
    const Result<Text> value = co_await from->receive();
    into->push_back("r: " + **value);
  }(&channel, &log));
  EXPECT_EQ(channel.size(), 1U);  // b is in it, though its sender has not gone on
  start(send_one(channel, text("c"), log));
  go_on();
  EXPECT_EQ(log, (Log{"a: sent", "r: a", "b: sent"}));
  log.clear();
  start(receive_all(channel, "r", log));
  channel.close();
  go_on();
  EXPECT_EQ(log, (Log{"r: b", "r: c", "c: sent", "r: Broken pipe"}));
}

TEST_F(ChannelTest, CH3_CH7_receivers_are_served_in_order_and_later) {
  Channel<Text> channel(1);
  Log log;
  start(receive_all(channel, "r1", log));
  start(receive_all(channel, "r2", log));
  for (const char* each : {"a", "b", "c"}) start(send_one(channel, text(each), log));
  EXPECT_EQ(log, (Log{"a: sent", "b: sent", "c: sent"}));
  log.clear();
  go_on();
  EXPECT_EQ(log, (Log{"r1: a", "r1: c", "r2: b"}));
  log.clear();
  channel.close();
  channel.close();
  EXPECT_EQ(log, Log{});
  go_on();
  EXPECT_EQ(log, (Log{"r1: Broken pipe", "r2: Broken pipe"}));
}

TEST_F(ChannelTest, CH4_close_lets_receivers_drain_and_senders_keep_their_values) {
  Channel<Text> channel(2);
  Log log;
  for (const char* each : {"a", "b", "c"}) start(send_one(channel, text(each), log));
  EXPECT_FALSE(channel.closed());
  channel.close();
  EXPECT_TRUE(channel.closed());
  go_on();
  start(send_one(channel, text("d"), log));
  EXPECT_EQ(log, (Log{"a: sent", "b: sent", "c: Broken pipe", "d: Broken pipe"}));
  log.clear();
  start(receive_all(channel, "r", log));
  EXPECT_EQ(log, (Log{"r: a", "r: b", "r: Broken pipe"}));
}

TEST_F(ChannelTest, CH5_a_cancelled_send_has_not_happened) {
  Channel<Text> channel(1);
  Log log;
  start_cancelled(send_one(channel, text("before"), log));
  start(send_one(channel, text("a"), log));
  Chain& while_waiting = start(send_one(channel, text("b"), log));
  Chain& after_sending = start(send_one(channel, text("c"), log));
  while_waiting.cancel();
  start(receive_all(channel, "r", log));
  after_sending.cancel();
  go_on();
  EXPECT_EQ(log, (Log{"before: Operation canceled", "a: sent", "r: a", "r: c",
                      "b: Operation canceled", "c: sent"}));
  channel.close();
  go_on();
}

TEST_F(ChannelTest, CH5_a_cancelled_receive_takes_nothing) {
  Channel<Text> channel(1);
  Log log;
  Chain& while_waiting = start(receive_all(channel, "while", log));
  Chain& after_receiving = start(receive_all(channel, "after", log));
  while_waiting.cancel();
  start(send_one(channel, text("a"), log));
  after_receiving.cancel();  // a is its own already
  go_on();
  EXPECT_EQ(log,
            (Log{"a: sent", "while: Operation canceled", "after: a", "after: Operation canceled"}));
  log.clear();
  start(send_one(channel, text("b"), log));
  start_cancelled(receive_all(channel, "before", log));
  EXPECT_EQ(log, (Log{"b: sent", "before: Operation canceled"}));
  EXPECT_EQ(channel.size(), 1U);
}

Task<Result<>> pass_on(Channel<int>* from, Channel<int>* to) {
  for (;;) {
    const int value = co_await try_(from->receive());
    co_await try_(to->send(value));
  }
}
Task<> log_pass_on(Channel<int>* from, Channel<int>* to, Log* log) {
  const Result<> result = co_await pass_on(from, to);
  log->push_back(outcome(result));
}

TEST_F(ChannelTest, CH5_TA4_try_ends_the_task) {
  Channel<int> from(0);
  Channel<int> to(1);
  Log log;
  Chain& cancelled = start(log_pass_on(&from, &to, &log));
  start(log_pass_on(&from, &to, &log));
  cancelled.cancel();
  go_on();
  start([](Channel<int>* channel) -> Task<> {
    for (int i = 1; i <= 2; ++i) EXPECT_TRUE(co_await channel->send(i));
  }(&from));
  go_on();
  EXPECT_EQ(to.size(), 1U);
  to.close();
  go_on();
  EXPECT_EQ(log, (Log{"Operation canceled", "Broken pipe"}));
  EXPECT_EQ(from.size(), 0U);
}

TEST_F(ChannelTest, CH8_trying_never_waits_and_overtakes_nobody) {
  Channel<std::unique_ptr<int>> channel(1);
  EXPECT_FALSE(channel.try_receive());
  auto one = std::make_unique<int>(1);
  EXPECT_TRUE(channel.try_send(std::move(one)));
  auto two = std::make_unique<int>(2);
  EXPECT_FALSE(channel.try_send(std::move(two)));
  EXPECT_TRUE(two);  // it is still here

  start([](Channel<std::unique_ptr<int>>* to, std::unique_ptr<int>* value) -> Task<> {
    EXPECT_TRUE(co_await to->send(std::move(*value)));
  }(&channel, &two));
  EXPECT_EQ(**channel.try_receive(), 1);
  auto three = std::make_unique<int>(3);
  EXPECT_FALSE(channel.try_send(std::move(three)));  // the room was his who waited
  go_on();
  EXPECT_EQ(**channel.try_receive(), 2);

  int got = 0;
  start([](Channel<std::unique_ptr<int>>* from, int* value) -> Task<> {
    *value = **co_await from->receive();
  }(&channel, &got));
  EXPECT_TRUE(channel.try_send(std::move(three)));
  EXPECT_FALSE(channel.try_receive());  // it belongs to who waited
  go_on();
  EXPECT_EQ(got, 3);

  channel.close();
  EXPECT_FALSE(channel.try_send(std::make_unique<int>(4)));
  EXPECT_FALSE(channel.try_receive());

  Channel<int> copies(2);
  const int value = 5;
  EXPECT_TRUE(copies.try_send(value));
  EXPECT_TRUE(copies.try_send(6));
  copies.close();
  EXPECT_EQ(copies.try_receive(), 5);
  EXPECT_EQ(copies.try_receive(), 6);
  EXPECT_FALSE(copies.try_receive());

  Channel<int> handing(0);
  EXPECT_FALSE(handing.try_send(1));  // nobody receives
  start([](Channel<int>* to) -> Task<> { EXPECT_TRUE(co_await to->send(7)); }(&handing));
  EXPECT_EQ(handing.try_receive(), 7);
  go_on();
}

TEST_F(ChannelTest, CH1_CH6_random_traffic_loses_nothing) {
  for (std::size_t capacity = 0; capacity < 4; ++capacity) {
    Channel<int> channel(capacity);
    std::vector<int> got;
    constexpr int senders = 5;
    constexpr int each = 200;
    int left = senders;
    for (int i = 0; i < 3; ++i)
      start([](Channel<int>* from, std::vector<int>* into) -> Task<> {
        while (const Result<int> value = co_await from->receive()) into->push_back(*value);
      }(&channel, &got));
    for (int i = 0; i < senders; ++i)
      start([](Channel<int>* to, int number, int* open) -> Task<> {
        for (int k = 0; k < each; ++k) EXPECT_TRUE(co_await to->send(number * each + k));
        if (--*open == 0) to->close();
      }(&channel, i, &left));
    go_on();
    ASSERT_EQ(got.size(), std::size_t{senders} * each);
    std::sort(got.begin(), got.end());
    for (int i = 0; i < senders * each; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], i);
  }
}

// --- stack

/// Where the stack is: the frame itself, since under AddressSanitizer locals may be elsewhere.
[[gnu::noinline]] const char* stack_here() {
  return static_cast<const char*>(__builtin_frame_address(0));
}

struct Depth {
  const char* base = stack_here();
  std::size_t deepest = 0;
  void note() { deepest = std::max(deepest, static_cast<std::size_t>(base - stack_here())); }
};

Task<> serve(Channel<int>& in, Channel<int>& out, int rounds, Depth& depth) {
  for (int i = 0; i < rounds; ++i) {
    EXPECT_TRUE(co_await out.send(i));
    const Result<int> back = co_await in.receive();
    depth.note();
    if (!back || *back != i) ADD_FAILURE() << i;
  }
  out.close();
}
Task<> give_back(Channel<int>& in, Channel<int>& out, Depth& depth) {
  while (const Result<int> value = co_await in.receive()) {
    EXPECT_TRUE(co_await out.send(*value));
    depth.note();
  }
}

TEST_F(ChannelTest, RQ1_TA6_a_million_messages_back_and_forth_take_no_more_stack_than_ten) {
  for (const std::size_t capacity : {0U, 1U}) {
    const auto drive = [&](int rounds) {
      Channel<int> there(capacity);
      Channel<int> back(capacity);
      Depth depth;
      start(serve(back, there, rounds, depth));
      start(give_back(there, back, depth));
      go_on();
      return depth.deepest;
    };
    const std::size_t few = drive(10);
    EXPECT_EQ(drive(1'000'000), few);
  }
}

void wait_on_a_chain_that_nobody_runs() {
  Chain chain;
  Flag flag;
  Log log;
  const Task<> task = await_flag(flag, "", log);
  task.promise().enter(&chain);
  task.promise().run();
}

TEST(WaitingDeathTest, a_chain_that_nobody_runs_cannot_wait_for_others) {
  EXPECT_DEATH(wait_on_a_chain_that_nobody_runs(), "needs a Loop");
}

}  // namespace
}  // namespace duolu::test
