// Clause LO13: exit(3) in a task, with everything static.
#include <signal.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <thread>

#include "duolu/loop/offload.hpp"
#include "duolu/loop/signals.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/task/channel.hpp"
#include "duolu/task/flag.hpp"
#include "duolu/task/semaphore.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

struct World {
  explicit World(const EngineCell& cell)
      : engine(cell.make(real_kernel()).value()),
        loop(*engine),
        pool(OffloadPool::start(real_kernel(), 1).value()),
        signals(loop, {SIGUSR1}) {}
  std::unique_ptr<Engine> engine;
  Loop loop;
  std::unique_ptr<OffloadPool> pool;
  Signals signals;
  Flag flag;
  Semaphore permits{1};
  Channel<int> channel{1};
  std::optional<Task<Result<int>>> begun_by_hand;
  Chain chain;
};

Task<Result<int>> sleeps(World* in) {
  const bool slept = co_await in->loop.sleep_for(1h);
  co_return slept ? 1 : 0;
}

/// One of everything there is to wait for.
Task<> wait_for_everything(World* in) {
  co_await with_scope([in](Scope& scope) -> Task<> {
    Result<Semaphore::Permit> permit = co_await in->permits.acquire();
    scope.spawn([in]() -> Task<> { (void)co_await in->flag.wait(); });
    scope.spawn([in]() -> Task<> { (void)co_await in->permits.acquire(); });
    scope.spawn([in]() -> Task<> { (void)co_await in->channel.receive(); });
    scope.spawn([in]() -> Task<> { (void)co_await in->signals.next(); });
    scope.spawn([in]() -> Task<> { (void)co_await within(in->loop, 1h, sleeps(in)); });
    scope.spawn([in]() -> Task<> {  // runs until then
      (void)co_await offload(*in->pool, [] {
        while (!exiting()) std::this_thread::yield();
      });
    });
    scope.spawn([in]() -> Task<> {  // and this never begins
      (void)co_await offload(*in->pool, [] {});
    });
    in->loop.start(in->begun_by_hand.emplace(sleeps(in)), in->chain);
    const bool slept = co_await in->loop.sleep_for(1ms);
    in->flag.set();  // who waited for it is about to go on
    std::exit(slept ? 3 : 4);
  });
}

void exit_in_a_task(const EngineCell& cell) {
  leave_tasks_behind();
  static World world(cell);
  world.loop.run(wait_for_everything(&world));
}

class ExitDeathTest : public LoopFixture {};
DUOLU_EVERY_ENGINE(ExitDeathTest);

TEST_P(ExitDeathTest, LO13_a_task_exits_with_everything_static) {
  EXPECT_EXIT(exit_in_a_task(GetParam()), testing::ExitedWithCode(3), "^$");
}

TEST_P(ExitDeathTest, LO13_and_so_does_posted_work) {
  EXPECT_EXIT(
      {
        static World world(GetParam());
        world.loop.post([] { std::exit(3); });
        (void)world.loop.run(sleeps(&world));
      },
      testing::ExitedWithCode(3), "^$");
}

TEST_P(ExitDeathTest, a_loop_is_not_destroyed_with_tasks_otherwise) {
  EXPECT_DEATH(
      {
        auto world = std::make_unique<World>(GetParam());
        world->loop.start(world->begun_by_hand.emplace(sleeps(world.get())), world->chain);
        world.reset();
      },
      "check failed");
}

}  // namespace
}  // namespace duolu::test
