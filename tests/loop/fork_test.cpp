// Clauses LO14, OF7 and SG6: what is left of a loop, a pool and signals in a forked child.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "duolu/loop/offload.hpp"
#include "duolu/loop/signals.hpp"
#include "duolu/testing/forwarding.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

/// How a forked child ended that did `body`, as waitpid(2) says; 0 if well. One that hangs is ended
/// by SIGALRM.
int in_child(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);
    body();
    ::_exit(0);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

/// Holds up who wakes a loop until it is let go.
class SlowWake final : public ForwardingKernel {
 public:
  ssize_t write(int fd, const void* buffer, std::size_t size) noexcept override {
    if (holds) {
      inside = true;
      while (holds) std::this_thread::yield();
    }
    return ForwardingKernel::write(fd, buffer, size);
  }
  std::atomic<bool> holds = false;
  std::atomic<bool> inside = false;
};

struct World {
  World(const EngineCell& cell, Kernel& kernel)
      : engine(cell.make(kernel).value()), loop(std::make_unique<Loop>(*engine)) {}
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Loop> loop;
};

class ForkTest : public LoopFixture {
 protected:
  World another(Kernel& kernel = real_kernel()) { return {GetParam(), kernel}; }
};
DUOLU_EVERY_ENGINE(ForkTest);

Task<int> offloaded(OffloadPool* pool) {
  const Result<int> result = co_await offload(*pool, [] { return 7; });
  co_return result.value();
}

TEST_P(ForkTest, OF7_a_pool_is_destroyed_in_a_child_without_its_threads) {
  auto pool = OffloadPool::start(real_kernel(), 2).value();
  EXPECT_EQ(loop.run(offloaded(pool.get())), 7);  // the threads are there, and wait
  EXPECT_EQ(in_child([&] { pool.reset(); }), 0);
  EXPECT_EQ(loop.run(offloaded(pool.get())), 7);
}

TEST_P(ForkTest, OF7_a_child_has_pools_of_its_own) {
#if DUOLU_ASAN || DUOLU_TSAN
  GTEST_SKIP() << "sanitizers start no threads in a child of a process that has some";
#endif
  const auto pool = OffloadPool::start(real_kernel(), 1).value();
  EXPECT_EQ(loop.run(offloaded(pool.get())), 7);  // its thread is there
  EXPECT_EQ(in_child([&] {
              const World own = another();
              const auto own_pool = OffloadPool::start(real_kernel(), 1).value();
              ::_exit(own.loop->run(offloaded(own_pool.get())) == 7 ? 0 : 1);
            }),
            0);
}

using ForkDeathTest = ForkTest;
TEST_P(ForkDeathTest, OF7_offload_to_a_pool_of_the_parents_aborts) {
  const auto pool = OffloadPool::start(real_kernel(), 1).value();
  // A death test forks: what runs in it is a child already.
  EXPECT_DEATH(
      {
        const World own = another();
        (void)own.loop->run(offloaded(pool.get()));
      },
      "OffloadPool is used in a forked child");
}
DUOLU_EVERY_ENGINE(ForkDeathTest);

TEST_P(ForkTest, LO14_a_loop_is_destroyed_in_a_child_whoever_held_its_lock) {
  SlowWake kernel;
  World world = another(kernel);
  kernel.holds = true;
  std::thread other([&] { world.loop->post([] {}); });
  while (!kernel.inside) std::this_thread::yield();  // it holds the lock
  EXPECT_EQ(in_child([&] {
              world.loop.reset();
              world.engine.reset();
            }),
            0);
  kernel.holds = false;
  other.join();
  EXPECT_TRUE(world.loop->turn(never));
  EXPECT_EQ(world.loop->statistics().posts, 1U);
}

TEST_P(ForkTest, LO14_LO11_a_watchdog_is_destroyed_in_a_child_without_its_thread) {
  World world = another();
  world.loop->watch_stalls(1h, [](const Stall&) {});
  ASSERT_TRUE(world.loop->start_watchdog([](const Stall&) {}));
  EXPECT_EQ(in_child([&] { world.loop.reset(); }), 0);
}

TEST_P(ForkTest, LO14_LO11_who_lets_go_in_a_child_does_not_wait_for_a_watchdog) {
  World world = another();
  world.loop->watch_stalls(1ms, [](const Stall&) {});
  std::atomic<bool> reports = false;
  std::atomic<bool> started = false;
  ASSERT_TRUE(world.loop->start_watchdog([&](const Stall&) {
    reports = true;
    while (!started) std::this_thread::yield();
  }));
  pid_t child = -1;
  world.loop->post([&] {
    while (!reports) std::this_thread::yield();  // it holds the lock
    child = ::fork();
    if (child == 0) ::alarm(30);
    started = true;
  });
  EXPECT_TRUE(world.loop->turn(never));
  if (child == 0) ::_exit(0);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_P(ForkTest, SG6_signals_of_the_parents_are_destroyed_and_own_ones_work) {
  SlowWake kernel;
  World world = another(kernel);
  auto signals = std::make_unique<Signals>(*world.loop, std::initializer_list<int>{SIGUSR1});
  kernel.holds = true;
  std::thread other([] { ASSERT_EQ(::pthread_kill(::pthread_self(), SIGUSR1), 0); });
  while (!kernel.inside) std::this_thread::yield();  // it is in the handler
  EXPECT_EQ(in_child([&] {
              kernel.holds = false;
              signals.reset();
              const World own = another();
              Signals own_signals(*own.loop, {SIGUSR1});
              if (::raise(SIGUSR1) != 0) ::_exit(2);
              const Result<int> number = own.loop->run(own_signals.next());
              ::_exit(number && *number == SIGUSR1 ? 0 : 1);
            }),
            0);
  kernel.holds = false;
  other.join();
  EXPECT_EQ(world.loop->run(signals->next()), SIGUSR1);
}

}  // namespace
}  // namespace duolu::test
