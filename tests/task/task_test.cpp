// Clauses TA1 to TA6 of task.hpp.
#include "duolu/task/task.hpp"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/barrier.hpp"

namespace duolu {
namespace {

/// Something outside that a task waits for.
class Gate {
 public:
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) noexcept { waiter_ = waiter; }
  void await_resume() const noexcept {}
  [[nodiscard]] bool waited_for() const noexcept { return waiter_ != nullptr; }
  void open() { std::exchange(waiter_, nullptr).resume(); }

 private:
  std::coroutine_handle<> waiter_;
};

/// Runs a task that waits for nothing.
template <class T>
T run(Task<T> task) {
  EXPECT_TRUE(task.promise().run());
  return task.promise().take();
}

class TaskTest : public testing::Test {
 protected:
  ~TaskTest() override { EXPECT_EQ(frames_in_use(), 0); }
};

Task<int> number(int value) { co_return value; }
Task<int> sum(int a, int b) { co_return co_await number(a) + co_await number(b); }
Task<> set(bool& flag) {
  flag = true;
  co_return;
}
Task<std::unique_ptr<std::string>> make(std::unique_ptr<std::string> text) { co_return text; }
Task<int> later(Gate& gate, int value) {
  co_await gate;
  co_return value;
}
Task<> throw_it() {
  throw std::runtime_error("thrown");
  co_return;
}

TEST_F(TaskTest, TA1_a_task_is_lazy_and_may_be_left) {
  bool flag = false;
  {
    const Task<> never_run = set(flag);
  }
  EXPECT_FALSE(flag);
  run(set(flag));
  EXPECT_TRUE(flag);
  auto text = std::make_shared<int>(1);
  {
    const auto task = [](std::shared_ptr<int> kept) -> Task<int> { co_return *kept; }(text);
    EXPECT_EQ(text.use_count(), 2);
  }
  EXPECT_EQ(text.use_count(), 1);
}

TEST_F(TaskTest, TA3_awaiting_gives_what_was_returned) {
  EXPECT_EQ(run(sum(2, 3)), 5);
  EXPECT_EQ(*run(make(std::make_unique<std::string>("moved"))), "moved");
}

Task<std::string> catch_it() {
  try {
    co_await throw_it();
  } catch (const std::runtime_error& error) {
    co_return error.what();
  }
  co_return "nothing came";
}

TEST_F(TaskTest, TA3_awaiting_throws_what_was_thrown) {
  EXPECT_EQ(run(catch_it()), "thrown");
  EXPECT_THROW(run(throw_it()), std::runtime_error);
}

Task<int> twice(Gate& gate) {
  Task<int> first = later(gate, 1);
  const int one = co_await std::move(first);
  co_return one + co_await later(gate, 2);
}

TEST_F(TaskTest, TA2_the_awaiting_task_goes_on_when_the_other_has_ended) {
  Gate gate;
  const Task<int> task = twice(gate);
  EXPECT_FALSE(task.promise().run());
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(task.promise().done());
    ASSERT_TRUE(gate.waited_for());
    gate.open();
  }
  EXPECT_TRUE(task.promise().done());
  EXPECT_EQ(task.promise().take(), 3);
}

TEST_F(TaskTest, whoever_runs_it_is_told_of_the_end) {
  Gate gate;
  struct End : detail::TaskEnd {
    int count = 0;
    const detail::TaskPromise* which = nullptr;
  } end;
  end.ended = [](detail::TaskEnd& self, detail::TaskPromise& which) {
    static_cast<End&>(self).which = &which;
    ++static_cast<End&>(self).count;
  };
  const Task<int> task = twice(gate);
  task.promise().on_end(end);
  task.promise().run();
  gate.open();
  EXPECT_EQ(end.count, 0);
  gate.open();
  EXPECT_EQ(end.count, 1);
  EXPECT_EQ(end.which, &task.promise());
}

// --- try_

Task<Result<int>> maybe(Gate* gate, int error) {
  if (gate != nullptr) co_await *gate;
  if (error != 0) co_return fail(error);
  co_return 7;
}

struct Trace {
  explicit Trace(std::string& out) : out_(out) {}
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;
  ~Trace() { out_ += "destroyed;"; }
  std::string& out_;
};

Task<Result<std::string>> inner(Gate* gate, int error, std::string& trace) {
  const Trace local(trace);
  const int value = co_await try_(maybe(gate, error));
  trace += "went on;";
  co_return std::to_string(value);
}

Task<Result<>> outer(Gate* gate, int error, std::string& trace) {
  const std::string text = co_await try_(inner(gate, error, trace));
  trace += text + ";";
  co_await try_(Result<>());
  co_return {};
}

TEST_F(TaskTest, TA4_try_gives_the_value) {
  for (const bool wait : {false, true}) {
    Gate gate;
    std::string trace;
    const Task<Result<>> task = outer(wait ? &gate : nullptr, 0, trace);
    EXPECT_EQ(task.promise().run(), !wait);
    if (wait) gate.open();
    ASSERT_TRUE(task.promise().done());
    EXPECT_TRUE(task.promise().take().has_value());
    EXPECT_EQ(trace, "went on;destroyed;7;");
  }
}

TEST_F(TaskTest, TA4_try_ends_the_task_with_the_error) {
  for (const bool wait : {false, true}) {
    Gate gate;
    std::string trace;
    {
      const Task<Result<>> task = outer(wait ? &gate : nullptr, EPIPE, trace);
      EXPECT_EQ(task.promise().run(), !wait);
      if (wait) gate.open();
      ASSERT_TRUE(task.promise().done());
      EXPECT_EQ(task.promise().take().error().value(), EPIPE);
    }
    EXPECT_EQ(trace, "destroyed;");
  }
}

Task<Result<int>> try_a_result(Result<int> result) {
  co_return 1 + co_await try_(std::move(result));
}

TEST_F(TaskTest, TA4_try_takes_results_too) {
  EXPECT_EQ(run(try_a_result(4)).value(), 5);
  EXPECT_EQ(run(try_a_result(fail(EIO))).error().value(), EIO);
}

/// An error_code that says success, where there is no value.
Task<Result<std::string>> zero(Gate* gate) {
  if (gate != nullptr) co_await *gate;
  co_return std::unexpected(std::error_code());
}
Task<Result<>> nothing_of_zero(Gate* gate) {
  if (gate != nullptr) co_await *gate;
  co_return std::unexpected(std::error_code());
}
Task<Result<int>> try_zero(Gate* gate, bool with_value, bool* went_on) {
  if (with_value) {
    const std::string value = co_await try_(zero(gate));
    EXPECT_EQ(value, "");
  } else {
    co_await try_(nothing_of_zero(gate));
  }
  *went_on = true;
  co_return 1;
}
Task<Result<>> try_twice(Gate* gate, bool with_value, bool* went_on) {
  co_await try_(try_zero(gate, with_value, went_on));
  *went_on = true;
  co_return Result<>();
}

TEST_F(TaskTest, TA4_an_error_without_a_number_ends_the_task_too) {
  for (const bool wait : {false, true})
    for (const bool with_value : {false, true}) {
      Gate gate;
      bool went_on = false;
      const Task<Result<>> task = try_twice(wait ? &gate : nullptr, with_value, &went_on);
      EXPECT_EQ(task.promise().run(), !wait);
      if (wait) gate.open();
      ASSERT_TRUE(task.promise().done());
      EXPECT_FALSE(went_on);
      EXPECT_TRUE(task.promise().failed());
      const Result<> result = task.promise().take();
      EXPECT_FALSE(result.has_value());
      EXPECT_EQ(result.error().value(), 0);
    }
}

Task<int&> refer_to(Gate* gate, int& target) {
  if (gate != nullptr) co_await *gate;
  co_return target;
}
Task<> add_one(Gate* gate, int& target) {
  int& same = co_await refer_to(gate, target);
  ++same;
}

TEST_F(TaskTest, TA3_a_task_gives_a_reference) {
  for (const bool wait : {false, true}) {
    Gate gate;
    int target = 1;
    const Task<> task = add_one(wait ? &gate : nullptr, target);
    EXPECT_EQ(task.promise().run(), !wait);
    if (wait) gate.open();
    task.promise().take();
    EXPECT_EQ(target, 2);
  }
}

/// As a lambda with a capture: its coroutine refers to this object.
class Says {
 public:
  Says(Gate& gate, std::string text) : gate_(gate), text_(std::move(text)) {}
  Task<std::string> operator()() const {
    co_await gate_;
    co_return text_;
  }

 private:
  Gate& gate_;
  std::string text_;
};

TEST_F(TaskTest, TA1_task_of_keeps_what_gives_the_task) {
  Gate gate;
  const std::string text(100, 'n');
  const Task<std::string> task = task_of(Says(gate, text));
  EXPECT_FALSE(task.promise().run());
  gate.open();
  EXPECT_EQ(task.promise().take(), text);
}

Task<int> count_failures(Gate& gate, int rounds) {
  int failures = 0;
  for (int i = 0; i < rounds; ++i) {
    const Result<int> result = co_await maybe(i % 2 == 0 ? &gate : nullptr, i % 3 == 0 ? EIO : 0);
    if (!result) ++failures;
  }
  co_return failures;
}

TEST_F(TaskTest, a_result_is_a_value_without_try) {
  Gate gate;
  const Task<int> task = count_failures(gate, 12);
  task.promise().run();
  while (gate.waited_for()) gate.open();
  EXPECT_EQ(task.promise().take(), 4);
}

Task<Result<int>> throwing_result() {
  throw std::logic_error("not a result");
  co_return 1;
}
Task<Result<int>> try_what_throws() { co_return co_await try_(throwing_result()); }

TEST_F(TaskTest, TA3_TA4_an_exception_passes_through_try) {
  EXPECT_THROW((void)run(try_what_throws()), std::logic_error);
}

// --- stack

/// Where the stack is: the frame itself, since under AddressSanitizer locals may be elsewhere.
[[gnu::noinline]] const char* stack_here() {
  return static_cast<const char*>(__builtin_frame_address(0));
}

Task<> measured(Gate* gate, const char* base, std::size_t& deepest) {
  if (gate != nullptr) co_await *gate;
  deepest = std::max(deepest, static_cast<std::size_t>(base - stack_here()));
}

Task<> many(Gate* gate, int rounds, const char* base, std::size_t& deepest) {
  for (int i = 0; i < rounds; ++i) co_await measured(gate, base, deepest);
}

TEST_F(TaskTest, TA6_a_million_tasks_one_after_another_take_no_more_stack_than_ten) {
  const char* const base = stack_here();
  std::size_t few = 0;
  std::size_t lots = 0;
  run(many(nullptr, 10, base, few));
  run(many(nullptr, 1'000'000, base, lots));
  EXPECT_EQ(lots, few);
}

TEST_F(TaskTest, TA6_nor_does_waiting_a_million_times) {
  const auto drive = [](int rounds) {
    const char* const base = stack_here();
    std::size_t deepest = 0;
    Gate gate;
    const Task<> task = many(&gate, rounds, base, deepest);
    task.promise().run();
    while (gate.waited_for()) gate.open();
    EXPECT_TRUE(task.promise().done());
    return deepest;
  };
  EXPECT_EQ(drive(1'000'000), drive(10));
}

Task<Result<int>> nested(Gate& gate, int depth) {
  if (depth > 0) co_return co_await try_(nested(gate, depth - 1));
  co_await gate;
  co_return fail(ECONNRESET);
}

TEST_F(TaskTest, TA6_an_error_ends_a_thousand_nested_tasks_without_recursion) {
  Gate gate;
  const Task<Result<int>> task = nested(gate, 1000);
  task.promise().run();
  gate.open();
  EXPECT_EQ(task.promise().take().error().value(), ECONNRESET);
}

void destroy_while_waiting() {
  Gate gate;
  const Task<int> task = later(gate, 1);
  task.promise().run();
}

void await_twice() {
  const Task<int> task = number(1);
  task.promise().run();
  task.promise().run();
}

void await_what_was_moved() {
  Task<int> task = number(1);
  const Task<int> other = std::move(task);
  (void)run(std::move(task));  // NOLINT(bugprone-use-after-move): what this is about
}

using TaskDeathTest = TaskTest;

TEST_F(TaskDeathTest, TA5_a_task_that_waits_must_not_be_destroyed) {
  EXPECT_DEATH(destroy_while_waiting(), "a task is destroyed that waits for something");
}

TEST_F(TaskDeathTest, TA2_a_task_runs_once) {
  EXPECT_DEATH(await_twice(), "a task is awaited, spawned or run twice");
  EXPECT_DEATH(await_what_was_moved(), "a task is awaited, spawned or run that was moved");
}

// --- frames

TEST(Frames, are_used_again_and_never_shared) {
  const std::ptrdiff_t before = frames_in_use();
  std::vector<std::pair<void*, std::size_t>> taken;
  for (std::size_t size = 1; size < 2000; size += 7) {
    void* const frame = take_frame(size);
    std::memset(frame, static_cast<int>(size), size);
    taken.emplace_back(frame, size);
  }
  EXPECT_EQ(frames_in_use() - before, static_cast<std::ptrdiff_t>(taken.size()));
  for (const auto& [frame, size] : taken) {
    const auto* bytes = static_cast<const unsigned char*>(frame);
    EXPECT_EQ(bytes[0], static_cast<unsigned char>(size));
    EXPECT_EQ(bytes[size - 1], static_cast<unsigned char>(size));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(frame) % 16, 0U);
    give_frame(frame, size);
  }
  EXPECT_EQ(frames_in_use(), before);
}

constexpr std::ptrdiff_t mebibyte = std::ptrdiff_t{1} << 20U;
std::ptrdiff_t allocated() { return static_cast<std::ptrdiff_t>(::mallinfo2().uordblks); }

TEST(Frames, that_wander_come_back) {
  constexpr int rounds = 1000;  // of 100 frames: 25 MB
  test::Barrier both(2);
  std::vector<void*> wandering;
  const std::ptrdiff_t before = allocated();
  std::thread takes([&] {
    for (int round = 0; round < rounds; ++round) {
      for (int i = 0; i < 100; ++i) wandering.push_back(take_frame(256));
      both.arrive_and_wait();
      both.arrive_and_wait();
    }
  });
  std::thread gives([&] {
    for (int round = 0; round < rounds; ++round) {
      both.arrive_and_wait();
      for (void* frame : wandering) give_frame(frame, 256);
      wandering.clear();
      both.arrive_and_wait();
    }
  });
  takes.join();
  gives.join();
  EXPECT_LT(allocated() - before, mebibyte);
}

TEST(Frames, of_threads_that_live_side_by_side_serve_the_next) {
  std::ptrdiff_t before = 0;
  for (int round = 0; round < 200; ++round) {
    test::Barrier both(2);
    const auto work = [&both] {
      void* const frame = take_frame(320);
      both.arrive_and_wait();
      give_frame(frame, 320);
    };
    std::thread one(work);
    std::thread other(work);
    one.join();
    other.join();
    if (round == 10) before = allocated();
  }
  EXPECT_LT(allocated() - before, mebibyte);  // a chunk a round would be 12
}

TEST(Frames, of_a_thread_that_ended_serve_the_next) {
  for (int round = 0; round < 100; ++round) {
    std::jthread([] {
      std::vector<void*> frames;
      for (int i = 0; i < 100; ++i) frames.push_back(take_frame(100));
      for (void* frame : frames) give_frame(frame, 100);
      EXPECT_EQ(frames_in_use(), 0);
    });
  }
}

}  // namespace
}  // namespace duolu
