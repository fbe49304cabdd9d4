// What the kernel tells once and two directions can ask for. Clause EN12, for every
// engine.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "duolu/engine/engine.hpp"
#include "duolu/testing/fault.hpp"
#include "support/endpoints.hpp"
#include "support/engine_fixture.hpp"

namespace duolu::test {
namespace {

class OnceTest : public EngineFixture {
 protected:
  ~OnceTest() override { stop(); }  // before the kernel goes

  int receive_any(Descriptor& descriptor, bool lent, std::size_t& size) {
    static std::string buffer(1000, ' ');
    const bool now = lent ? engine->recv_lent(descriptor)
                          : engine->recv(descriptor, buffer.data(), buffer.size());
    const int got = now ? descriptor.in.result : result_of(descriptor.in);
    if (got > 0) size += static_cast<std::size_t>(got);
    if (got > 0 && lent) Engine::give_back(Engine::lent(descriptor));
    return got;
  }

  FaultKernel faults{real_kernel()};
};
DUOLU_EVERY_ENGINE_TRIGGER_AND_RING(OnceTest);

TEST_P(OnceTest, EN12_a_reset_that_the_writer_was_told_is_no_end_to_the_reader) {
  const std::string much(16 << 20, 'x');
  for (const bool lent : {false, true}) {
    for (const std::size_t size : {0U, 10U, 30'000U}) {
      SCOPED_TRACE(testing::Message() << size << (lent ? " lent" : ""));
      Pair pair = tcp_pair();
      Descriptor& descriptor = open(std::move(pair.a));
      ASSERT_FALSE(engine->send(descriptor, much.data(), much.size()));
      put(pair.b.get(), std::string(size, 'd'));
      close_with_reset(pair.b);
      EXPECT_EQ(result_of(descriptor.out), -ECONNRESET);
      std::size_t received = 0;
      int last = 1;
      while (last > 0) last = receive_any(descriptor, lent, received);
      EXPECT_EQ(last, -ECONNRESET);
      EXPECT_EQ(received, size);
      EXPECT_EQ(receive_any(descriptor, lent, received), -ECONNRESET);  // as often as it is asked
      EXPECT_EQ(transmit(descriptor, "x"), -EPIPE);
      close(descriptor);
    }
  }
}

TEST_P(OnceTest, EN12_a_reset_ends_a_reader_and_a_writer_that_wait) {
  const std::string much(16 << 20, 'x');
  for (const bool lent : {false, true}) {
    Pair pair = tcp_pair();
    Descriptor& descriptor = open(std::move(pair.a));
    char byte = 0;
    ASSERT_FALSE(engine->send(descriptor, much.data(), much.size()));
    ASSERT_FALSE(lent ? engine->recv_lent(descriptor) : engine->recv(descriptor, &byte, 1));
    close_with_reset(pair.b);
    const Instant guard = after(real_kernel().now(), patience);
    for (int ended = 0; ended < 2;) {
      ASSERT_LT(real_kernel().now(), guard);
      ASSERT_TRUE(engine->wait(guard));
      while (const Op* op = take()) {
        EXPECT_LT(op->result, 0);
        ++ended;
      }
    }
    std::size_t received = 0;
    EXPECT_EQ(receive_any(descriptor, lent, received), -ECONNRESET);
    close(descriptor);
  }
}

TEST_P(OnceTest, EN12_a_reset_that_came_in_place_of_a_message_is_told_again) {
  start(faults);
  for (const bool lent : {false, true}) {
    Pair pair = tcp_pair();
    Descriptor& descriptor = open(std::move(pair.a));
    char byte = 0;
    ASSERT_FALSE(lent ? engine->recv_lent(descriptor) : engine->recv(descriptor, &byte, 1));
    faults.fail(Call::recv, 1, ECONNRESET);
    put(pair.b.get(), "x");
    EXPECT_EQ(result_of(descriptor.in), -ECONNRESET);
    std::size_t received = 0;
    while (receive_any(descriptor, lent, received) > 0) {
    }
    EXPECT_EQ(received, 1U);
    EXPECT_EQ(descriptor.in.result, -ECONNRESET);
  }
}

// Closing with unread data resets a Unix socket.
TEST_P(OnceTest, EN12_a_unix_peer_that_closed_on_unread_data_did_not_end_the_stream) {
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    Pair pair = unix_pair(type);
    Descriptor& descriptor = open(std::move(pair.a), DescriptorKind::socket);
    EXPECT_EQ(transmit(descriptor, "unread"), 0);
    pair.b.reset();
    if (type == SOCK_SEQPACKET) {
      EXPECT_EQ(transmit(descriptor, "x"), -ECONNRESET);
    }
    std::size_t received = 0;
    EXPECT_EQ(receive_any(descriptor, false, received), -ECONNRESET);
    EXPECT_EQ(receive_any(descriptor, true, received), -ECONNRESET);
  }
}

// Not every error of a write is one of the connection.
TEST_P(OnceTest, EN12_after_an_end_that_the_peer_made_it_stays_an_end) {
  for (const int error : {ENOBUFS, ENOMEM, EMSGSIZE}) {
    SCOPED_TRACE(error);
    start(faults);
    Pair pair = tcp_pair();
    Descriptor& descriptor = open(std::move(pair.a));
    faults.fail(Call::send, 1, error);
    EXPECT_EQ(transmit(descriptor, "x"), -error);
    put(pair.b.get(), "all of it");
    ASSERT_EQ(::shutdown(pair.b.get(), SHUT_WR), 0);
    std::size_t received = 0;
    while (receive_any(descriptor, false, received) > 0) {
    }
    EXPECT_EQ(received, 9U);
    EXPECT_EQ(descriptor.in.result, 0);
    // Its other direction breaks after that: what came was whole all the same.
    char unread = 0;
    pair.b.reset();
    while (transmit(descriptor, "y") == 0) ASSERT_TRUE(settled(descriptor.fd, POLLHUP));
    EXPECT_EQ(descriptor.out.result, -EPIPE);
    EXPECT_EQ(
        engine->recv(descriptor, &unread, 1) ? descriptor.in.result : result_of(descriptor.in), 0);
  }
}

}  // namespace
}  // namespace duolu::test
