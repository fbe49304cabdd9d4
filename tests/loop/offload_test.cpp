// Clauses OF1 to OF6 and OF8 (OF7: fork_test.cpp) of offload.hpp, on every backend.
#include "duolu/loop/offload.hpp"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "duolu/loop/within.hpp"
#include "duolu/task/together.hpp"
#include "duolu/testing/fault.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

/// Work that waits here until the test lets it go on.
class Barrier {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void await(int waiting) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= waiting; });
  }
  void open() {
    const std::scoped_lock guard(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

class OffloadTest : public LoopFixture {
 protected:
  std::unique_ptr<OffloadPool> pool_of(int threads) {
    return OffloadPool::start(real_kernel(), threads).value();
  }
};
DUOLU_EVERY_ENGINE(OffloadTest);

Task<Result<int>> square(OffloadPool* pool, int value) {
  co_return co_await offload(*pool, [value] { return value * value; });
}

TEST_P(OffloadTest, OF1_gives_what_was_returned) {
  const auto pool = pool_of(2);
  EXPECT_EQ(pool->threads(), 2U);
  EXPECT_EQ(loop.run(square(pool.get(), 7)).value(), 49);
  loop.run([](OffloadPool* on) -> Task<> {
    const std::thread::id here = std::this_thread::get_id();
    const Result<std::thread::id> there =
        co_await offload(*on, [] { return std::this_thread::get_id(); });
    EXPECT_NE(*there, here);
    EXPECT_EQ(std::this_thread::get_id(), here);
    const Result<> nothing = co_await offload(*on, [] {});
    EXPECT_TRUE(nothing);
    const Result<int> failed = co_await offload(*on, []() -> Result<int> { return fail(EIO); });
    EXPECT_EQ(failed.error().value(), EIO);
    auto text = std::make_unique<std::string>("moved");
    auto work = [kept = std::move(text)]() mutable { return std::move(kept); };
    const auto same = co_await offload(*on, std::move(work));
    EXPECT_EQ(**same, "moved");
  }(pool.get()));
}

Task<Result<int>> throw_there(OffloadPool* pool, bool with_try) {
  const auto work = []() -> Result<int> { throw std::runtime_error("there"); };
  if (with_try) co_return co_await try_(offload(*pool, work));
  co_return co_await offload(*pool, work);
}

TEST_P(OffloadTest, OF1_throws_what_was_thrown) {
  const auto pool = pool_of(1);
  for (const bool with_try : {false, true})
    EXPECT_THROW((void)loop.run(throw_there(pool.get(), with_try)), std::runtime_error);
}

Task<Result<std::string>> try_both(OffloadPool* pool, bool* went_on) {
  const int value = co_await try_(offload(*pool, [] { return 3; }));
  *went_on = true;
  co_await try_(offload(*pool, [value]() -> Result<> { return fail(value); }));
  co_return "not here";
}

TEST_P(OffloadTest, OF1_TA4_try_gives_the_value_or_ends_the_task) {
  const auto pool = pool_of(1);
  bool went_on = false;
  EXPECT_EQ(loop.run(try_both(pool.get(), &went_on)).error().value(), 3);
  EXPECT_TRUE(went_on);
}

Task<> note_order(OffloadPool* pool, int number, std::vector<int>* order) {
  const Result<> done = co_await offload(*pool, [=] { order->push_back(number); });
  EXPECT_TRUE(done);
}

TEST_P(OffloadTest, OF2_work_begins_in_order) {
  const auto pool = pool_of(1);
  std::vector<int> order;
  std::vector<Task<>> tasks;
  for (int i = 0; i < 100; ++i) tasks.push_back(note_order(pool.get(), i, &order));
  loop.run(when_all(std::move(tasks)));
  ASSERT_EQ(order.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

Task<> count_at_a_time(OffloadPool* pool, std::atomic<int>* now, std::atomic<int>* most) {
  const Result<> done = co_await offload(*pool, [=] {
    const int here = ++*now;
    int before = *most;
    while (before < here && !most->compare_exchange_weak(before, here)) {
    }
    std::this_thread::yield();
    --*now;
  });
  EXPECT_TRUE(done);
}

TEST_P(OffloadTest, OF2_as_much_at_a_time_as_there_are_threads) {
  const auto pool = pool_of(3);
  std::atomic<int> now = 0;
  std::atomic<int> most = 0;
  std::vector<Task<>> tasks;
  for (int i = 0; i < 300; ++i) tasks.push_back(count_at_a_time(pool.get(), &now, &most));
  loop.run(when_all(std::move(tasks)));
  EXPECT_LE(most, 3);
  EXPECT_GE(most, 1);
}

TEST_P(OffloadTest, OF2_all_threads_work) {
  const auto pool = pool_of(3);
  Barrier barrier;
  std::vector<Task<>> tasks;
  for (int i = 0; i < 3; ++i)
    tasks.push_back([](OffloadPool* on, Barrier* at) -> Task<> {
      (void)co_await offload(*on, [at] { at->pass(); });
    }(pool.get(), &barrier));
  std::jthread opener([&] {
    barrier.await(3);  // all three at a time
    barrier.open();
  });
  loop.run(when_all(std::move(tasks)));
}

// --- cancellation

struct Outcome {
  std::atomic<bool> called = false;
  Result<int> result = 0;
};

Task<> pass_barrier(OffloadPool* pool, Barrier* barrier, Outcome* outcome) {
  outcome->result = co_await offload(*pool, [=] {
    outcome->called = true;
    barrier->pass();
    return 5;
  });
}

TEST_P(OffloadTest, OF3_cancelled_before) {
  const auto pool = pool_of(1);
  Barrier barrier;
  Outcome outcome;
  Chain chain;
  chain.cancel();
  loop.run(pass_barrier(pool.get(), &barrier, &outcome), chain);
  EXPECT_EQ(outcome.result.error(), std::errc::operation_canceled);
  EXPECT_FALSE(outcome.called);
}

TEST_P(OffloadTest, OF3_what_has_not_begun_never_does_and_what_has_is_waited_for) {
  const auto pool = pool_of(1);
  Barrier barrier;
  Outcome running;
  Outcome queued;
  Outcome other;
  loop.run(with_scope([&](Scope& outer) -> Task<> {
    outer.spawn(with_scope([&](Scope& scope) -> Task<> {
      scope.spawn(pass_barrier(pool.get(), &barrier, &running));
      barrier.await(1);
      scope.cancel();
      co_return;
    }));
    co_await with_scope([&](Scope& scope) -> Task<> {
      scope.spawn(pass_barrier(pool.get(), &barrier, &queued));
      outer.spawn(pass_barrier(pool.get(), &barrier, &other));
      scope.cancel();
      co_return;
    });
    EXPECT_EQ(queued.result.error(), std::errc::operation_canceled);
    EXPECT_EQ(outer.size(), 2U) << "the one that runs, and the one behind it";
    barrier.open();
  }));
  EXPECT_EQ(running.result.value(), 5);
  EXPECT_FALSE(queued.called);
  EXPECT_EQ(other.result.value(), 5);
}

TEST_P(OffloadTest, OF3_what_takes_a_stop_token_is_told) {
  const auto pool = pool_of(1);
  const auto until_stopped = [](OffloadPool* on, std::atomic<bool>* begun) -> Task<Result<int>> {
    co_return co_await offload(*on, [begun](StopToken token) {
      *begun = true;
      while (!token.stop_requested()) std::this_thread::yield();
      return 6;
    });
  };
  std::atomic<bool> begun = false;
  Chain chain;
  std::jthread canceller([&] {
    while (!begun) std::this_thread::yield();
    loop.post([&] { chain.cancel(); });
  });
  EXPECT_EQ(loop.run(until_stopped(pool.get(), &begun), chain).value(), 6);
}

TEST_P(OffloadTest, OF3_a_deadline) {
  const auto pool = pool_of(1);
  loop.run([](Loop* on, OffloadPool* in) -> Task<> {
    const Result<int> result =
        co_await within(*on, 1ms, offload(*in, [](StopToken token) -> Result<int> {
          while (!token.stop_requested()) std::this_thread::yield();
          return fail(ECANCELED);
        }));
    EXPECT_EQ(result.error(), std::errc::timed_out);
  }(&loop, pool.get()));
}

TEST_P(OffloadTest, OF3_cancelling_at_any_moment_loses_nobody) {
  const auto pool = pool_of(2);
  for (int round = 0; round < 200; ++round) {
    std::atomic<int> called = 0;
    int given = 0;
    int cancelled = 0;
    loop.run(with_scope([&](Scope& scope) -> Task<> {
      for (int i = 0; i < 8; ++i)
        scope.spawn([](OffloadPool* on, std::atomic<int>* calls, int* good, int* bad) -> Task<> {
          const Result<> result = co_await offload(*on, [calls] { ++*calls; });
          ++*(result ? good : bad);
        }(pool.get(), &called, &given, &cancelled));
      for (int turns = round % 4; turns > 0; --turns) (void)co_await loop.sleep_until(immediately);
      scope.cancel();
    }));
    EXPECT_EQ(given + cancelled, 8);
    EXPECT_EQ(called, given);
  }
}

// --- threads

TEST(OffloadPool, OF4_fewer_threads_if_there_are_no_more) {
  for (const int there : {1, 2, 3}) {
    FaultKernel kernel(real_kernel());
    kernel.fail(Call::pthread_create, static_cast<std::uint64_t>(there) + 1, EAGAIN, 100);
    {
      const auto pool = OffloadPool::start(kernel, 4);
      ASSERT_TRUE(pool);
      EXPECT_EQ((*pool)->threads(), static_cast<std::size_t>(there));
    }
    EXPECT_EQ(kernel.calls(Call::pthread_join), static_cast<std::uint64_t>(there));
  }
  FaultKernel kernel(real_kernel());
  kernel.fail_always(Call::pthread_create, EAGAIN);
  EXPECT_EQ(OffloadPool::start(kernel, 4).error(), std::errc::resource_unavailable_try_again);
  EXPECT_EQ(kernel.calls(Call::pthread_join), 0U);
}

TEST_P(OffloadTest, OF4_they_have_the_signal_mask_of_who_starts_the_pool) {
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR2);
  sigset_t before;
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
  const auto pool = pool_of(1);
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
  loop.run([](OffloadPool* on) -> Task<> {
    const Result<sigset_t> mask = co_await offload(*on, [] {
      sigset_t here;
      ::pthread_sigmask(SIG_SETMASK, nullptr, &here);
      return here;
    });
    for (const int signal : {SIGTERM, SIGINT, SIGCHLD, SIGPIPE, SIGUSR1})
      EXPECT_EQ(sigismember(&*mask, signal), 0) << signal;
    EXPECT_EQ(sigismember(&*mask, SIGUSR2), 1);
  }(pool.get()));
}

TEST_P(OffloadTest, OF4_a_program_that_is_started_there_can_be_ended) {
  const auto pool = pool_of(1);
  const Result<pid_t> started = loop.run([](OffloadPool* on) -> Task<Result<pid_t>> {
    co_return co_await offload(*on, []() -> Result<pid_t> {
      char name[] = "sleep";
      char span[] = "60";
      char* const arguments[] = {name, span, nullptr};
      pid_t child = 0;
      const int error = ::posix_spawnp(&child, name, nullptr, nullptr, arguments, environ);
      if (error != 0) return fail(error);
      return child;
    });
  }(pool.get()));
  ASSERT_TRUE(started);
  ASSERT_EQ(::kill(*started, SIGTERM), 0);
  // A program with the signal blocked would end by itself much later, and with 0.
  int status = 0;
  ASSERT_EQ(::waitpid(*started, &status, 0), *started);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) << status;
}

TEST_P(OffloadTest, OF1_TA4_an_error_without_a_number_ends_the_task) {
  const auto pool = pool_of(1);
  bool went_on = false;
  const Result<int> result = loop.run([](OffloadPool* on, bool* further) -> Task<Result<int>> {
    const int value = co_await try_(
        offload(*on, []() -> Result<int> { return std::unexpected(std::error_code()); }));
    *further = true;
    co_return value;
  }(pool.get(), &went_on));
  EXPECT_FALSE(result.has_value());
  EXPECT_FALSE(went_on);
}

TEST_P(OffloadTest, OF5_the_function_is_destroyed_on_the_thread_of_the_loop) {
  const auto pool = pool_of(1);
  struct Witness {
    explicit Witness(std::thread::id* into) : destroyed(into) {}
    Witness(Witness&& other) noexcept : destroyed(std::exchange(other.destroyed, nullptr)) {}
    Witness& operator=(Witness&&) = delete;
    ~Witness() {
      if (destroyed != nullptr) *destroyed = std::this_thread::get_id();
    }
    void operator()() const {}
    std::thread::id* destroyed;
  };
  std::thread::id destroyed;
  loop.run([](OffloadPool* on, std::thread::id* into) -> Task<> {
    const Result<> done = co_await offload(*on, Witness(into));
    EXPECT_TRUE(done);
  }(pool.get(), &destroyed));
  EXPECT_EQ(destroyed, std::this_thread::get_id());
}

/// A loop of its own, on a thread of its own, that works in a pool it shares.
void use_pool(const EngineCell& cell, OffloadPool* pool, int rounds, std::atomic<int>* done) {
  for (int round = 0; round < rounds; ++round) {
    const auto engine = cell.make(real_kernel()).value();
    Loop loop(*engine);
    std::vector<Task<Result<int>>> tasks;
    for (int i = 0; i < 20; ++i) tasks.push_back(square(pool, i));
    const std::vector<Result<int>> results = loop.run(when_all(std::move(tasks)));
    for (int i = 0; i < 20; ++i) EXPECT_EQ(results[static_cast<std::size_t>(i)].value(), i * i);
    *done += 20;
  }  // the loop ends as soon as the last one has arrived
}

TEST_P(OffloadTest, OF2_LO3_many_loops_share_a_pool) {
  const auto pool = pool_of(3);
  std::atomic<int> done = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 6; ++i)
    threads.emplace_back([&] { use_pool(GetParam(), pool.get(), 50, &done); });
  threads.clear();
  EXPECT_EQ(done, 6 * 50 * 20);
}

void leave_work_behind() {
  const auto engine = make_engine(real_kernel()).value();
  Loop loop(*engine);
  Barrier barrier;
  Outcome outcomes[2];
  auto pool = OffloadPool::start(real_kernel(), 1).value();
  Chain chains[2];
  std::vector<Task<>> tasks;
  for (int i = 0; i < 2; ++i) {
    tasks.push_back(pass_barrier(pool.get(), &barrier, &outcomes[i]));
    chains[i].run_in(&loop.ready());
    tasks.back().promise().enter(&chains[i]);
    tasks.back().promise().run();
    barrier.await(1);
  }
  pool = nullptr;
}

/// Keeps what it is given until the test has it performed; or performs it at once.
class WorkersByHand final : public Workers {
 public:
  explicit WorkersByHand(bool at_once) : at_once_(at_once) {}
  void submit(OffloadJob& job) noexcept override {
    if (at_once_) return job.perform();
    jobs.push_back(&job);
  }
  bool withdraw(OffloadJob& job) noexcept override { return std::erase(jobs, &job) != 0; }

  std::vector<OffloadJob*> jobs;

 private:
  const bool at_once_;
};

Task<Result<int>> note_thread(std::thread::id* into) {
  const auto work = [into] {
    *into = std::this_thread::get_id();
    return 5;
  };
  co_return co_await offload(work);
}

TEST_P(OffloadTest, OF8_workers_decide_when_and_on_which_thread) {
  WorkersByHand workers(false);
  loop.set_workers(workers);
  EXPECT_EQ(loop.workers(), &workers);
  std::thread::id ran{};
  Chain chain;
  Task<Result<int>> task = note_thread(&ran);
  loop.start(task, chain);
  ASSERT_TRUE(loop.turn(immediately));
  ASSERT_EQ(workers.jobs.size(), 1U);
  EXPECT_EQ(ran, std::thread::id());
  workers.jobs.front()->perform();
  EXPECT_EQ(ran, std::this_thread::get_id());
  EXPECT_FALSE(task.promise().done()) << "it is resumed in a turn";
  while (!task.promise().done()) ASSERT_TRUE(loop.turn(never));
  EXPECT_EQ(task.promise().take(), 5);
}

TEST_P(OffloadTest, OF8_work_may_be_performed_within_submit) {
  WorkersByHand workers(true);
  loop.set_workers(workers);
  std::thread::id ran{};
  for (int i = 0; i < 2; ++i) EXPECT_EQ(loop.run(note_thread(&ran)), 5);
  EXPECT_EQ(ran, std::this_thread::get_id());
}

TEST_P(OffloadTest, OF3_OF8_cancelling_withdraws_what_has_not_begun) {
  WorkersByHand workers(false);
  loop.set_workers(workers);
  std::thread::id ran{};
  Chain chain;
  Task<Result<int>> task = note_thread(&ran);
  loop.start(task, chain);
  ASSERT_EQ(workers.jobs.size(), 1U);
  chain.cancel();
  EXPECT_TRUE(workers.jobs.empty());
  while (!task.promise().done()) ASSERT_TRUE(loop.turn(never));
  EXPECT_EQ(task.promise().take().error(), errno_code(ECANCELED));
  EXPECT_EQ(ran, std::thread::id());
}

TEST(OffloadDeathTest, OF6_the_pool_outlives_who_awaits_it) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(leave_work_behind(), "an OffloadPool is destroyed before");
}

}  // namespace
}  // namespace duolu::test
