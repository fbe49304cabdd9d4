// What a readiness engine does beyond the clauses of Engine: a request ends at once if it can
// (EN1), with a budget (EN6), and messages cost no more system calls than they need.
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "duolu/testing/fault.hpp"
#include "support/endpoints.hpp"
#include "support/engine_fixture.hpp"

namespace duolu::test {
namespace {

class ReadinessTest : public EngineFixture {
 protected:
  [[nodiscard]] static const BackendTraits& traits() { return GetParam().kind->poller->traits; }
  /// How it registers descriptors.
  [[nodiscard]] static Trigger trigger() {
    return GetParam().trigger.value_or(traits().native_edge ? Trigger::edge : Trigger::level);
  }
};
DUOLU_EVERY_READINESS_ENGINE(ReadinessTest);

TEST_P(ReadinessTest, EN1_what_is_there_is_received_at_once) {
  Pair pair = tcp_pair();
  Descriptor& descriptor = open(std::move(pair.a));
  put(pair.b.get(), "one");
  ASSERT_TRUE(settled(descriptor.fd, POLLIN));
  std::string got(8, ' ');
  ASSERT_TRUE(engine->recv(descriptor, got.data(), got.size()));
  EXPECT_EQ(descriptor.in.result, 3);
  EXPECT_EQ(got.substr(0, 3), "one");
  ASSERT_TRUE(engine->send(descriptor, "two", 3));
  EXPECT_EQ(descriptor.out.result, 0);
  EXPECT_FALSE(engine->has_finished());
}

TEST_P(ReadinessTest, EN6_what_exceeds_the_budget_ends_too_but_later) {
  start(real_kernel(), {.budget = 3});
  Pair pair = tcp_pair();
  Descriptor& descriptor = open(std::move(pair.a));
  put(pair.b.get(), "abcdefgh");
  ASSERT_TRUE(settled(descriptor.fd, POLLIN));
  char byte = 0;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(engine->recv(descriptor, &byte, 1)) << round;
    ASSERT_FALSE(engine->recv(descriptor, &byte, 1));
    EXPECT_EQ(byte, round == 0 ? 'd' : 'h');
    ASSERT_TRUE(engine->wait(never));  // does not wait: there is something to take
    EXPECT_EQ(take(), &descriptor.in);
    EXPECT_EQ(descriptor.in.result, 1);
  }
}

TEST_P(ReadinessTest, what_cannot_be_waited_for_stays_the_callers) {
  char name[] = "/tmp/duolu-engine-XXXXXX";
  const Fd file(real_kernel(), ::mkstemp(name));
  ::unlink(name);
  const auto opened = engine->open(file.get(), DescriptorKind::socket);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().value(), EPERM);
  EXPECT_GE(::fcntl(file.get(), F_GETFD), 0);
}

TEST_P(ReadinessTest, EN1_what_the_poller_has_lost_ends_with_an_error) {
  FaultKernel faults(real_kernel());
  start(faults);
  Pair pair = unix_pair();
  Descriptor& descriptor = open(std::move(pair.a), DescriptorKind::socket);
  std::string got(8, ' ');
  const std::string much(4 * 1024 * 1024, 'x');
  ASSERT_FALSE(engine->recv(descriptor, got.data(), got.size()));
  ASSERT_FALSE(engine->send(descriptor, much.data(), much.size()));
  // A change that the kernel's own set refuses shows that the file is closed.
  const bool tells = traits().kernel_set && trigger() != Trigger::edge;
  faults.fail(Call::epoll_ctl, 1, EBADF);
  ASSERT_TRUE(engine->wait(immediately));
  std::map<const Op*, int> ended;
  while (const Op* const op = take()) ended[op] = op->result;
  if (!tells) {
    EXPECT_TRUE(ended.empty());
    engine->cancel(descriptor.in);
    engine->cancel(descriptor.out);
    while (take() != nullptr) {
    }
    return stop();
  }
  EXPECT_EQ(ended, (std::map<const Op*, int>{{&descriptor.in, -EBADF}, {&descriptor.out, -EBADF}}));
  EXPECT_EQ(transmit(descriptor, much), -EBADF);
  put(pair.b.get(), "rest");
  EXPECT_EQ(receive(descriptor, got), 4);  // trying still tells what is there
  EXPECT_EQ(receive(descriptor, got), -EBADF);
  stop();
}

// Changes of what is asked for are system calls with epoll. In the steady state there are none but
// oneshot's.
TEST_P(ReadinessTest, messages_change_nothing_that_is_asked_for) {
  FaultKernel counter(real_kernel());
  start(counter);
  Pair pair = tcp_pair();
  Descriptor& descriptor = open(std::move(pair.a));
  std::string got(64, ' ');
  for (int message = 0; message < 20; ++message) {
    if (message == 10) counter.reset_counts();
    ASSERT_FALSE(engine->recv(descriptor, got.data(), got.size()));
    put(pair.b.get(), "ping");
    EXPECT_EQ(result_of(descriptor.in), 4);
    EXPECT_EQ(transmit(descriptor, "pong"), 0);
    EXPECT_EQ(::recv(pair.b.get(), got.data(), got.size(), 0), 4);
  }
  const bool anew = trigger() == Trigger::oneshot && traits().kernel_set;
  EXPECT_EQ(counter.calls(Call::epoll_ctl), anew ? 10U : 0U);
  EXPECT_EQ(counter.calls(Call::recv), 10U);
  EXPECT_EQ(counter.calls(Call::send), 10U);
  EXPECT_EQ(counter.calls(Call::epoll_pwait2) + counter.calls(Call::epoll_wait) +
                counter.calls(Call::io_uring_enter) +
                std::max(counter.calls(Call::ppoll), counter.calls(Call::pselect)),
            10U);  // select asks poll, too
  stop();          // before the counter goes
}

TEST_P(ReadinessTest, EN6_sends_that_end_at_once_have_a_budget) {
  start(real_kernel(), {.budget = 3});
  Pair source = tcp_pair();
  Pair sink = tcp_pair();
  Descriptor& in = open(std::move(source.a));
  Descriptor& out = open(std::move(sink.a));
  for (const bool lent : {false, true}) {
    SCOPED_TRACE(lent);
    for (int round = 0; round < 2; ++round) {
      LentBuffer* const buffer = lent ? &lend(in, source.b.get(), "x") : nullptr;
      if (buffer != nullptr) Engine::give_back(*buffer);
      ASSERT_TRUE(engine->wait(immediately));
      for (int i = 0; i < 3; ++i) EXPECT_TRUE(engine->send(out, "y", 1)) << i;
      bool now = false;
      if (lent) {
        // Its budget is another wait's, so that receiving takes nothing of this one's.
        ASSERT_TRUE(engine->wait(immediately));
        LentBuffer& last = lend(in, source.b.get(), "x");
        while (engine->send(out, "y", 1)) {
        }
        ASSERT_TRUE(engine->wait(never));  // does not wait: there is something to take
        EXPECT_EQ(take(), &out.out);
        for (int i = 0; i < 3; ++i) EXPECT_TRUE(engine->send(out, "y", 1)) << i;
        now = engine->send_lent(out, last);
      } else {
        now = engine->send(out, "y", 1);
      }
      ASSERT_FALSE(now);
      ASSERT_TRUE(engine->wait(never));
      EXPECT_EQ(take(), &out.out);
      EXPECT_EQ(out.out.result, 0);
    }
  }
}

// EN9: who waits for a buffer is taken out of the queue in no more time than it takes to find him.
TEST(StarvedReaders, are_cancelled_in_time_that_grows_with_their_number_only) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  const auto count = static_cast<std::size_t>(std::min<rlim_t>(limit.rlim_max, 40'000) - 100);
  const auto engine =
      readiness_engines().front().make(real_kernel(), {.buffer_size = 64, .buffers = 1}).value();
  Pair pair = unix_pair();
  put(pair.b.get(), "x");
  std::vector<Descriptor*> readers;
  for (std::size_t i = 0; i < count; ++i) {
    const int copy = ::fcntl(pair.a.get(), F_DUPFD_CLOEXEC, 0);
    ASSERT_GE(copy, 0);
    readers.push_back(engine->open(copy, DescriptorKind::socket).value());
  }
  ASSERT_TRUE(engine->recv_lent(*readers[0]));
  for (std::size_t i = 1; i < count; ++i) ASSERT_FALSE(engine->recv_lent(*readers[i]));
  const Duration begin = thread_cpu_time();
  for (std::size_t i = count; i-- > 1;) engine->cancel(readers[i]->in);
  EXPECT_LT(thread_cpu_time() - begin, 100ms) << count << " readers";  // a search took 100 times it
  for (Op* op = engine->take_finished(); op != nullptr; op = op->next) op->state = Op::State::idle;
  Engine::give_back(Engine::lent(*readers[0]));
  for (Descriptor* reader : readers) engine->close(*reader);
  limit.rlim_cur = before;
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
}

}  // namespace
}  // namespace duolu::test
