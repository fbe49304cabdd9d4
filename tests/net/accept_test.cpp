// Clauses AC2 and AC4 to AC6: what lacks while a connection is accepted is waited for, and found in
// whichever moment it comes back.
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "duolu/net/listener.hpp"
#include "duolu/testing/fault.hpp"
#include "support/allocations.hpp"
#include "support/endpoints.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

const Address loopback = resolve(real_kernel(), parse_endpoint("127.0.0.1:0").value()).value()[0];

struct HasFaults {
  FaultKernel kernel{real_kernel(), 1};
};

/// A listener whose accept() waits, until a test runs turns.
class AcceptTest : protected HasFaults, public LoopFixture {
 protected:
  AcceptTest() : LoopFixture(HasFaults::kernel) {
    const Address bound = listener.address();
    std::memcpy(&where, bound.data(), sizeof where);
    listener.on_error([this](std::error_code error) {
      no_memory.reset();
      told.push_back(error);
      if (on_told) on_told();
    });
  }
  ~AcceptTest() override {
    if (!accepting) return;
    chain->cancel();
    while (!done()) turn();
  }

  /// Begins accept().
  void begin() {
    accepting.reset();
    chain.emplace();
    accepting.emplace(listener.accept());
    loop.start(*accepting, *chain);
  }
  [[nodiscard]] bool done() const { return accepting->promise().done(); }
  void turn(Instant deadline = immediately) { ASSERT_TRUE(loop.turn(deadline)); }
  /// Turns until accept() has ended, or failed once more.
  void turn_until_told_or_done() {
    const std::size_t before = told.size();
    const Instant guard = after(real_kernel().now(), patience);
    while (!done() && told.size() == before && real_kernel().now() < guard) turn(guard);
  }
  /// A client in the backlog, that the next turn finds there.
  Attempt client() {
    Attempt made = begin_connect(where);
    pollfd connected{.fd = made.fd.get(), .events = POLLOUT, .revents = 0};
    EXPECT_EQ(::poll(&connected, 1, 20'000), 1);
    return made;
  }
  /// Has the engine fail so often to take a descriptor: without memory.
  void fail_to_open(int times) {
    listener.only_if([this, times]() mutable {
      if (times-- > 0) no_memory.emplace();
      return std::error_code();
    });
  }

  duolu::Listener listener = duolu::Listener::open(loop, loopback).value();
  sockaddr_in where{};
  std::vector<std::error_code> told;
  std::function<void()> on_told;
  std::optional<FailsAllocations> no_memory;
  std::optional<Chain> chain;
  std::optional<Task<Result<Stream>>> accepting;
};
DUOLU_EVERY_ENGINE_AND_TRIGGER(AcceptTest);

/// Where taking a descriptor needs memory each time.
class ReadinessAcceptTest : public AcceptTest {};
DUOLU_EVERY_READINESS_ENGINE(ReadinessAcceptTest);

TEST_P(AcceptTest, AC2_what_the_report_frees_is_not_forgotten) {
  on_told = [this] { listener.freed(); };
  kernel.fail(Call::accept, 1, EMFILE);
  const Attempt waits = client();
  begin();
  while (!done()) turn(after(real_kernel().now(), patience));
  EXPECT_TRUE(accepting->promise().take());
  EXPECT_EQ(told.size(), 1U);
  EXPECT_EQ(loop.statistics().timers, 0U);  // no pause
}

TEST_P(AcceptTest, AC2_what_is_freed_in_the_turn_that_lacked_it_is_not_forgotten) {
  begin();
  if (GetParam().kind->poller != nullptr) turn();  // what a ring has accepted cannot fail any more
  const Attempt waits = client();
  kernel.fail(Call::accept, 1, EMFILE);
  Chain other;
  Task<> frees = [](Loop* in, duolu::Listener* to) -> Task<> {
    (void)co_await in->sleep_until(immediately);  // deadlines go before requests
    to->freed();
  }(&loop, &listener);
  loop.start(frees, other);
  while (!done()) turn(after(real_kernel().now(), patience));
  EXPECT_TRUE(accepting->promise().take());
  EXPECT_EQ(told.size(), 1U);
  EXPECT_EQ(loop.statistics().timers, 1U);  // of the other task
}

TEST_P(AcceptTest, AC2_what_was_freed_before_does_not_end_each_pause) {
  kernel.fail_always(Call::accept, ENFILE);
  const Attempt waits = client();
  listener.freed();
  begin();
  while (told.empty()) turn(after(real_kernel().now(), patience));
  listener.freed();
  const std::uint64_t calls = kernel.calls(Call::accept);
  for (int i = 0; i < 10; ++i) turn();
  EXPECT_LE(kernel.calls(Call::accept), calls + 1);
  kernel.clear();
}

TEST_P(AcceptTest, AC2_pauses_double_and_are_short_again_after_an_accept) {
  for (int round = 0; round < 2; ++round) {
    kernel.fail_always(Call::accept, EMFILE);
    const Attempt waits = client();
    begin();
    Duration pause = 100ms;
    for (int i = 0; i < 2; ++i, pause *= 2) {
      const Instant before = real_kernel().now();
      turn_until_told_or_done();
      const std::size_t count = told.size();
      while (engine->due()) turn();
      if (told.size() > count) break;  // this machine is very slow
      EXPECT_GE(loop.deadline(), after(before, pause));
      EXPECT_LE(loop.deadline(), after(real_kernel().now(), pause));
    }
    kernel.clear();
    listener.freed();
    while (!done()) turn(after(real_kernel().now(), patience));
    EXPECT_TRUE(accepting->promise().take());
  }
}

TEST_P(ReadinessAcceptTest, AC4_what_the_engine_has_no_room_for_is_kept) {
  on_told = [this] { listener.freed(); };
  const Attempt waits = client();
  fail_to_open(2);
  begin();
  while (!done()) turn(after(real_kernel().now(), patience));
  Result<Stream> stream = accepting->promise().take();
  ASSERT_TRUE(stream);
  EXPECT_EQ(told.size(), 2U);
  EXPECT_EQ(kernel.calls(Call::accept), 1U);
  put(waits.fd.get(), "here");
  char bytes[4];
  EXPECT_TRUE(loop.run([](Stream* from, std::span<char> to) -> Task<Result<>> {
    co_return co_await from->read_exact(to);
  }(&*stream, bytes)));
  EXPECT_EQ(std::string_view(bytes, 4), "here");
}

TEST_P(ReadinessAcceptTest, AC1_AC4_what_is_kept_when_it_is_cancelled_comes_next) {
  const Attempt waits = client();
  fail_to_open(1);
  begin();
  while (told.empty()) turn(after(real_kernel().now(), patience));
  chain->cancel();
  while (!done()) turn(after(real_kernel().now(), patience));
  EXPECT_EQ(accepting->promise().take().error().value(), ECANCELED);
  begin();
  while (!done()) turn(after(real_kernel().now(), patience));
  EXPECT_TRUE(accepting->promise().take());
  EXPECT_EQ(kernel.calls(Call::accept), 1U);
}

TEST_P(AcceptTest, AC5_a_connection_waits_until_it_may_be_had) {
  int asked = 0;
  listener.only_if([&] { return ++asked < 3 ? errno_code(ENOMEM) : std::error_code(); });
  begin();
  turn();
  EXPECT_EQ(asked, 0);  // nobody has come
  on_told = [this] { listener.freed(); };
  const Attempt waits = client();
  while (!done()) turn(after(real_kernel().now(), patience));
  EXPECT_TRUE(accepting->promise().take());
  EXPECT_EQ(told, std::vector(2, errno_code(ENOMEM)));
}

TEST_P(AcceptTest, AC6_pausing_takes_no_memory) {
  const Attempt waits = client();
  kernel.fail(Call::accept, 1, ENOMEM, 2);
  told.reserve(10);
  begin();
  const FailsAllocations none;
  for (int i = 0; i < 2; ++i) turn_until_told_or_done();
  EXPECT_EQ(told.size(), 2U);
  EXPECT_FALSE(done());
  EXPECT_GT(loop.deadline(), immediately);
}

}  // namespace
}  // namespace duolu::test
