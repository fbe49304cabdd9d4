// Cancelled after any number of turns, wherever everybody is by then: every task ends, nothing is
// left over, and nothing that was received is lost. With every engine, and on every ring. And peers
// that stall delay nobody else.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "duolu/loop/offload.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/net/connect.hpp"
#include "duolu/net/datagram.hpp"
#include "duolu/net/listener.hpp"
#include "duolu/net/reader.hpp"
#include "duolu/task/channel.hpp"
#include "duolu/task/semaphore.hpp"
#include "duolu/task/together.hpp"
#include "duolu/testing/fault.hpp"
#include "support/descriptors.hpp"
#include "support/endpoints.hpp"
#include "support/loop_fixture.hpp"
#include "support/scripted_ring.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

const Address anywhere = resolve(real_kernel(), parse_endpoint("127.0.0.1:0").value()).value()[0];

class SweepTest : public testing::TestWithParam<EngineCell> {
 protected:
  using Make = std::function<Task<>(Loop&)>;

  /// Runs `make`'s task again and again, cancelled before it begins, and after 0, 1, 2 ... turns,
  /// until it ends by itself twice in a row: as things are; with requests that end one a turn; and
  /// with a kernel that transfers in parts, says EAGAIN and interrupts, or whose ring does what
  /// rings do rarely. In `least` places at least.
  void sweep(int least, const Make& make) {
    EngineOptions hesitant;
    hesitant.budget = 1;
    hesitant.buffers = 2;
    hesitant.buffer_size = 4096;
    int cut = 0;
    if (GetParam().scripted) {
      for (std::uint64_t seed = 0; seed <= 4; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        ScriptedRing ring(real_kernel(), seed);
        cut += sweep_over(ring, hesitant, make);
      }
    } else {
      cut += sweep_over(real_kernel(), EngineOptions(), make);
      cut += sweep_over(real_kernel(), hesitant, make);
      for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        FaultKernel faults(real_kernel(), seed);
        faults.set_rates({.short_transfers = 200, .eagain = 200, .eintr = 200});
        cut += sweep_over(faults, hesitant, make);
      }
    }
    EXPECT_GE(cut, least) << "it was cut short in few places";
  }

 private:
  /// In how many places it was cut short.
  static int sweep_over(Kernel& kernel, const EngineOptions& options, const Make& make) {
    const std::set<int> before = open_descriptors();
    int cut = 0;
    int unharmed = 0;
    for (int turns = -1; turns < 2000 && unharmed < 2; ++turns) {
      SCOPED_TRACE(testing::Message() << "cancelled after " << turns << " turns");
      const auto engine = GetParam().make(kernel, options).value();
      Loop loop(*engine);
      Chain chain;
      if (turns < 0) chain.cancel();
      {
        Task<> task = make(loop);
        loop.start(task, chain);
        for (int i = 0; i < turns && !task.promise().done(); ++i)
          EXPECT_TRUE(loop.turn(after(real_kernel().now(), 5ms)));
        // Wherever they are, it can be told (LO12).
        for (const TaskReport& report : loop.tasks()) EXPECT_FALSE(to_string(report).empty());
        unharmed = task.promise().done() && turns >= 0 ? unharmed + 1 : 0;
        if (!task.promise().done()) ++cut;
        chain.cancel();
        for (const TaskReport& report : loop.tasks()) EXPECT_FALSE(to_string(report).empty());
        const Instant guard = after(real_kernel().now(), patience);
        while (!task.promise().done() && real_kernel().now() < guard) EXPECT_TRUE(loop.turn(guard));
        task.promise().take();
      }
      EXPECT_EQ(frames_in_use(), 0);
      if (HasFailure()) break;
    }
    EXPECT_EQ(unharmed, 2) << "it never ended by itself";
    EXPECT_EQ(open_descriptors(), before);
    return cut;
  }
};
DUOLU_EVERY_ENGINE_TRIGGER_AND_RING(SweepTest);

Task<Result<>> echo(Stream stream) {
  while (Lease lease = co_await try_(stream.read_lease()))
    co_await try_(stream.write_all(std::move(lease)));
  co_return {};
}

Task<> serve(duolu::Listener* listener, Scope* scope) {
  for (;;) {
    Result<Stream> stream = co_await listener->accept();
    if (!stream) co_return;
    scope->spawn(echo(std::move(*stream)));
  }
}

Task<Result<>> ask(Loop* loop, Address where) {
  Stream stream = co_await try_(connect(*loop, where));
  Reader reader(stream);
  for (int i = 0; i < 3; ++i) {
    const std::string text(static_cast<std::size_t>(1 + i * 20'000), 'x');
    co_await try_(stream.write_all(text, "\n"));
    const std::string_view line = co_await try_(reader.read_until("\n"));
    EXPECT_EQ(line.size(), text.size() + 1);
  }
  co_return stream.close_writing();
}

TEST_P(SweepTest, a_server_and_its_clients) {
  sweep(99, [](Loop& loop) {
    return with_scope([&loop](Scope& scope) -> Task<> {
      duolu::Listener listener = duolu::Listener::open(loop, anywhere).value();
      const Address where = listener.address();
      co_await with_scope([&](Scope& server) -> Task<> {
        server.spawn(serve(&listener, &server));
        co_await with_scope([&](Scope& clients) -> Task<> {
          for (int i = 0; i < 3; ++i) clients.spawn(ask(&loop, where));
          co_return;
        });
        server.cancel();
      });
      EXPECT_EQ(scope.size(), 0U);
    });
  });
}

Task<Result<>> play(Datagram* from, Datagram* to, int rounds) {
  char buffer[16];
  for (int i = 0; i < rounds; ++i) {
    co_await try_(from->send("ball", to->address()));
    const Received received = co_await try_(to->receive(buffer));
    EXPECT_EQ(received.size, 4U);
  }
  co_return Result<>();
}

TEST_P(SweepTest, datagrams) {
  sweep(20, [](Loop& loop) {
    return with_scope([&loop](Scope&) -> Task<> {
      Datagram a = Datagram::open(loop, anywhere).value();
      Datagram b = Datagram::open(loop, anywhere).value();
      (void)co_await play(&a, &b, 5);
    });
  });
}

Task<> produce(Loop* loop, Channel<int>* channel) {
  for (int i = 0; i < 20; ++i) {
    (void)co_await loop->sleep_until(immediately);
    const Result<> sent = co_await channel->send(i);
    if (!sent) break;
  }
  channel->close();
}

Task<> consume(Channel<int>* channel, Semaphore* places, int* last) {
  for (;;) {
    const Result<int> value = co_await channel->receive();
    if (!value) co_return;
    EXPECT_GT(*value, *last);
    *last = *value;
    const auto place = co_await places->acquire();
    if (!place) co_return;
  }
}

TEST_P(SweepTest, tasks_that_wait_for_each_other) {
  sweep(99, [](Loop& loop) {
    return with_scope([&loop](Scope&) -> Task<> {
      Channel<int> channel(2);
      Semaphore places(1);
      int last = -1;
      auto both = when_all(produce(&loop, &channel), consume(&channel, &places, &last));
      co_await std::move(both);
    });
  });
}

TEST_P(SweepTest, deadlines_and_work_on_threads) {
  const std::unique_ptr<OffloadPool> pool = OffloadPool::start(real_kernel(), 2).value();
  sweep(6, [&](Loop& loop) {
    return with_scope([&](Scope& scope) -> Task<> {
      for (int i = 0; i < 4; ++i)
        scope.spawn([](Loop* in, OffloadPool* on, int number) -> Task<> {
          const Result<int> same =
              co_await within(*in, 20s, offload(*on, [number] { return number; }));
          if (same) {
            EXPECT_EQ(*same, number);
          } else {
            EXPECT_EQ(same.error().value(), ECANCELED);
          }
          (void)co_await in->sleep_for(1ms);
        }(&loop, pool.get(), i));
      co_return;
    });
  });
}

// Clause EN10 from above: four times as many peers that never read as there are buffers to lend,
// and one that does.
TEST(StalledPeers, do_not_delay_the_others) {
  for (const EngineCell& cell : every_engine_and_trigger()) {
    SCOPED_TRACE(cell.name());
    EngineOptions few;
    few.buffers = 4;
    few.buffer_size = 4096;
    const auto engine = cell.make(real_kernel(), few).value();
    Loop loop(*engine);
    duolu::Listener listener = duolu::Listener::open(loop, anywhere).value();
    const Address where = listener.address();
    int answers = 0;
    loop.run(with_scope([&](Scope& scope) -> Task<> {
      scope.spawn(serve(&listener, &scope));
      for (int i = 0; i < 16; ++i)
        scope.spawn([](Loop* in, Address to) -> Task<> {
          Result<Stream> stream = co_await connect(*in, to);
          EXPECT_TRUE(stream);
          if (!stream) co_return;
          const std::string much(std::size_t{16} << 20U, 'x');
          (void)co_await stream->write_all(much);  // until it is cancelled: nobody reads the echo
        }(&loop, where));
      (void)co_await loop.sleep_for(50ms);  // by now most likely all of them stall
      Result<Stream> good = co_await connect(loop, where);
      EXPECT_TRUE(good);
      char buffer[5];
      for (int i = 0; good && i < 100; ++i) {
        EXPECT_TRUE(co_await good->write_all("hello"));
        const Result<> read = co_await within(loop, 20s, good->read_exact(buffer));
        EXPECT_TRUE(read);
        if (read) ++answers;
      }
      scope.cancel();
    }));
    EXPECT_EQ(answers, 100);
  }
}

}  // namespace
}  // namespace duolu::test
