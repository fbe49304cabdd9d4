// What sends: parts, sizes, budgets, cancelled requests, and peers whose queue is full. Clauses
// EN2, EN5, EN7, EN9, for every engine.
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "duolu/engine/engine.hpp"
#include "duolu/testing/fault.hpp"
#include "duolu/testing/forwarding.hpp"
#include "support/allocations.hpp"
#include "support/endpoints.hpp"
#include "support/engine_fixture.hpp"

namespace duolu::test {
namespace {

/// Takes whatever it is given, and looks at none of it.
class BottomlessKernel final : public ForwardingKernel {
 public:
  ssize_t sendmsg(int, const msghdr* message, int) noexcept override {
    return static_cast<ssize_t>(message->msg_iov[0].iov_len);
  }
};

class SendTest : public EngineFixture {
 protected:
  ~SendTest() override { stop(); }  // before the kernels go

  FaultKernel faults{real_kernel()};
  BottomlessKernel bottomless;
};
DUOLU_EVERY_ENGINE_TRIGGER_AND_RING(SendTest);

msghdr message_of(std::vector<iovec>& parts) {
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  return message;
}

// A pipe in packet mode (pipe(2), O_DIRECT) shows what was one write.
TEST_P(SendTest, EN7_parts_go_out_in_one_write_to_a_pipe) {
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_DIRECT | O_NONBLOCK | O_CLOEXEC), 0);
  const Fd reader(real_kernel(), fds[0]);
  Descriptor& out = open(Fd(real_kernel(), fds[1]), DescriptorKind::file);
  std::string texts[] = {"", "one", "", "two", "three\n"};
  std::vector<iovec> parts;
  for (std::string& text : texts) parts.push_back({text.data(), text.size()});
  msghdr message = message_of(parts);
  EXPECT_EQ(ended(engine->sendmsg(out, message), out.out), 0);
  EXPECT_EQ(out.out.moved, 12U);
  char packet[64];
  ASSERT_EQ(::read(reader.get(), packet, sizeof packet), 12);
  EXPECT_EQ(std::string_view(packet, 12), "onetwothree\n");
}

// IOV_MAX is 1,024 in Linux.
TEST_P(SendTest, EN7_more_parts_than_one_call_takes_are_sent_all_the_same) {
  for (const std::size_t count : {1024U, 1025U, 5000U}) {
    for (const auto make : {tcp_pair, +[] { return unix_pair(); }, pipe_pair}) {
      SCOPED_TRACE(testing::Message() << count << " parts");
      Pair pair = make();
      const DescriptorKind kind = make == pipe_pair  ? DescriptorKind::file
                                  : make == tcp_pair ? DescriptorKind::tcp
                                                     : DescriptorKind::socket;
      Descriptor& out = open(std::move(pair.b), kind);
      std::string letters(count, ' ');
      std::vector<iovec> parts;
      for (std::size_t i = 0; i < count; ++i) {
        letters[i] = static_cast<char>('a' + i % 26);
        parts.push_back({&letters[i], 1});
      }
      msghdr message = message_of(parts);
      EXPECT_EQ(ended(engine->sendmsg(out, message), out.out), 0);
      EXPECT_EQ(out.out.moved, count);
      std::string got;
      while (got.size() < count) {
        ASSERT_TRUE(settled(pair.a.get(), POLLIN));
        char buffer[8192];
        const ssize_t size = ::read(pair.a.get(), buffer, sizeof buffer);
        ASSERT_GT(size, 0);
        got.append(buffer, static_cast<std::size_t>(size));
      }
      EXPECT_EQ(got, letters);
    }
  }
}

TEST_P(SendTest, EN7_a_message_of_too_many_parts_is_refused_and_not_torn) {
  for (const int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    Pair pair = unix_pair(type);
    Descriptor& out = open(std::move(pair.b), DescriptorKind::socket);
    char byte = 'x';
    std::vector<iovec> parts(1025, iovec{&byte, 1});
    msghdr message = message_of(parts);
    EXPECT_EQ(ended(engine->sendmsg(out, message), out.out), -EMSGSIZE);
    EXPECT_EQ(drain(pair.a.get()), 0U);
  }
}

TEST_P(SendTest, EN7_more_than_four_gigabytes_are_counted) {
  // A real ring does not ask this kernel.
  if (GetParam().kind->poller == nullptr && !GetParam().scripted) return;
  start(bottomless);
  Pair pair = tcp_pair();
  Descriptor& out = open(std::move(pair.b));
  char none = 0;
  std::vector<iovec> parts(5, iovec{&none, std::size_t{3} << 29U});
  msghdr message = message_of(parts);
  EXPECT_EQ(ended(engine->sendmsg(out, message), out.out), 0);
  EXPECT_EQ(out.out.moved, std::uint64_t{15} << 29U);
}

TEST_P(SendTest, EN2_a_connect_that_was_interrupted_goes_on) {
  for (const bool local : {false, true}) {
    SCOPED_TRACE(local);
    start(faults);
    Listener tcp = tcp_listener();
    sockaddr_un name{};
    socklen_t size = sizeof name;
    const Fd door(real_kernel(), ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    name.sun_family = AF_UNIX;
    ASSERT_EQ(::bind(door.get(), reinterpret_cast<sockaddr*>(&name), sizeof(sa_family_t)), 0);
    ASSERT_EQ(::listen(door.get(), 1), 0);
    ASSERT_EQ(::getsockname(door.get(), reinterpret_cast<sockaddr*>(&name), &size), 0);
    Descriptor& client =
        open(Fd(real_kernel(), real_kernel().socket(local ? AF_UNIX : AF_INET, SOCK_STREAM, 0)),
             local ? DescriptorKind::socket : DescriptorKind::tcp);
    faults.fail(Call::connect, 1, EINTR);
    const bool now = local ? engine->connect(client, reinterpret_cast<sockaddr*>(&name), size)
                           : engine->connect(client, reinterpret_cast<sockaddr*>(&tcp.address),
                                             sizeof tcp.address);
    EXPECT_FALSE(now);
    EXPECT_EQ(result_of(client.out), 0);
    EXPECT_EQ(transmit(client, "x"), 0);
  }
}

// The rest of what a stalled peer did not take is in a buffer of its own (EN10).
TEST_P(SendTest, EN5_the_buffer_of_a_cancelled_send_comes_back) {
  start(real_kernel(), {.buffer_size = 4096, .buffers = 1});
  Pair source = tcp_pair();
  Descriptor& in = open(std::move(source.a));
  Pair sink = unix_pair();
  fill(sink.a.get());
  Descriptor& out = open(std::move(sink.a), DescriptorKind::socket);
  std::uint64_t before = 0;
  for (int i = 0; i < 20; ++i) {
    if (i == 10) before = allocations();
    const CountsAllocations counts;
    LentBuffer& buffer = lend(in, source.b.get(), "never");
    ASSERT_FALSE(engine->send_lent(out, buffer));
    engine->cancel(out.out);
    ASSERT_EQ(result_of(out.out), -ECANCELED);
  }
  EXPECT_EQ(allocations(), before);
}

// Room for the writer and data for the reader come as one report: neither may be lost with the
// other.
TEST_P(SendTest, EN5_ST2_after_a_cancelled_send_the_next_one_goes_out) {
  for (const bool lent : {false, true}) {
    SCOPED_TRACE(lent);
    Pair pair = tcp_pair();
    Descriptor& descriptor = open(std::move(pair.a));
    const std::string much(16 << 20, 'x');
    ASSERT_FALSE(engine->send(descriptor, much.data(), much.size()));
    engine->cancel(descriptor.out);
    ASSERT_EQ(result_of(descriptor.out), -ECANCELED);
    std::string got(64, ' ');
    ASSERT_FALSE(lent ? engine->recv_lent(descriptor)
                      : engine->recv(descriptor, got.data(), got.size()));
    // The peer reads everything and answers, and both are there before the next wait.
    std::string buffer(1 << 20, ' ');
    for (std::uint64_t read = 0; read < descriptor.out.moved;) {
      ASSERT_TRUE(settled(pair.b.get(), POLLIN));
      const ssize_t size = ::recv(pair.b.get(), buffer.data(), buffer.size(), 0);
      ASSERT_GT(size, 0);
      read += static_cast<std::uint64_t>(size);
    }
    ASSERT_TRUE(settled(descriptor.fd, POLLOUT));
    put(pair.b.get(), "answer");
    ASSERT_TRUE(settled(descriptor.fd, POLLIN | POLLOUT));
    ASSERT_EQ(result_of(descriptor.in), 6);
    if (lent) Engine::give_back(Engine::lent(descriptor));
    EXPECT_EQ(transmit(descriptor, "next"), 0);
    close(descriptor);
  }
}

// In a crowd that writes to one Unix socket, each is told of room that another one takes.
TEST_P(SendTest, EN2_who_is_told_of_room_in_vain_waits_on) {
  start(faults);
  Pair pair = unix_pair(SOCK_DGRAM);
  Descriptor& out = open(std::move(pair.a), DescriptorKind::socket);
  char byte = 'x';
  std::vector<iovec> parts{{&byte, 1}};
  msghdr message = message_of(parts);
  faults.fail(Call::sendmsg, 1, EAGAIN, 500);
  EXPECT_EQ(ended(engine->sendmsg(out, message), out.out), 0);
  EXPECT_GT(faults.calls(Call::sendmsg), 500U);
}

struct NamedPeer {
  Fd fd{real_kernel(), ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  sockaddr_un name{};
  socklen_t size = sizeof name;
  NamedPeer() {
    name.sun_family = AF_UNIX;
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof(sa_family_t)), 0);
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &size), 0);
  }
};

// Not connected, a Unix socket waits for its own buffer only.
TEST_P(SendTest, EN2_for_room_in_its_own_buffer_a_unix_socket_waits) {
  NamedPeer peer;
  Descriptor& out =
      open(Fd(real_kernel(), ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
           DescriptorKind::socket);
  std::string large(100'000, 'x');
  const auto send = [&] {
    static std::vector<iovec> parts;
    static msghdr message;
    parts = {{large.data(), large.size()}};
    message = message_of(parts);
    message.msg_name = &peer.name;
    message.msg_namelen = peer.size;
    return engine->sendmsg(out, message);
  };
  // Whether it has ended at once, or in a few waits that do not sleep.
  const auto ends = [&](bool at_once) {
    for (int looks = 0; !at_once && looks < 5; ++looks) {
      EXPECT_TRUE(engine->wait(immediately));
      at_once = take() != nullptr;
    }
    return at_once;
  };
  int sent = 0;
  while (ends(send())) ++sent;
  ASSERT_GT(sent, 0);
  ASSERT_LT(sent, 10);  // net.unix.max_dgram_qlen: the peer's queue has room
  ASSERT_TRUE(engine->wait(immediately));
  ASSERT_EQ(take(), nullptr);
  std::string buffer(large.size(), ' ');
  for (; sent > 0; --sent) {
    ASSERT_EQ(::recv(peer.fd.get(), buffer.data(), buffer.size(), 0), 100'000);
  }
  EXPECT_EQ(result_of(out.out), 0);
  EXPECT_EQ(::recv(peer.fd.get(), buffer.data(), buffer.size(), 0), 100'000);
}

TEST_P(SendTest, EN2_a_full_unix_peer_with_room_again_is_sent_to) {
  start(faults);
  NamedPeer peer;
  Descriptor& out =
      open(Fd(real_kernel(), ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
           DescriptorKind::socket);
  char byte = 'x';
  for (int round = 0; round < 200; ++round) {
    std::vector<iovec> parts{{&byte, 1}};
    msghdr message = message_of(parts);
    message.msg_name = &peer.name;
    message.msg_namelen = peer.size;
    faults.fail(Call::sendmsg, 1, EAGAIN);  // it was full, and is not any more
    ASSERT_EQ(ended(engine->sendmsg(out, message), out.out), 0) << round;
    ASSERT_EQ(::recv(peer.fd.get(), &byte, 1, 0), 1);
  }
}

TEST_P(SendTest, EN9_after_the_last_who_waits_has_given_up_the_next_one_is_served) {
  start(real_kernel(), {.buffer_size = 64, .buffers = 1});
  std::vector<Pair> pairs;
  std::vector<Descriptor*> readers;
  for (int i = 0; i < 4; ++i) {
    pairs.push_back(tcp_pair());
    put(pairs.back().b.get(), "x");
    ASSERT_TRUE(settled(pairs.back().a.get(), POLLIN));
    readers.push_back(&open(std::move(pairs.back().a)));
  }
  ASSERT_EQ(ended(engine->recv_lent(*readers[0]), readers[0]->in), 1);
  ASSERT_FALSE(engine->recv_lent(*readers[1]));
  ASSERT_FALSE(engine->recv_lent(*readers[2]));
  engine->cancel(readers[2]->in);
  EXPECT_EQ(result_of(readers[2]->in), -ECANCELED);
  ASSERT_FALSE(engine->recv_lent(*readers[3]));
  for (const std::size_t i : {0U, 1U, 3U}) {
    if (i > 0) {
      ASSERT_EQ(result_of(readers[i]->in), 1);
    }
    Engine::give_back(Engine::lent(*readers[i]));
  }
}

TEST_P(SendTest, EN9_an_empty_datagram_keeps_no_buffer) {
  start(real_kernel(), {.buffer_size = 64, .buffers = 1});
  Pair pair = unix_pair(SOCK_DGRAM);
  Descriptor& descriptor = open(std::move(pair.a), DescriptorKind::datagram);
  for (int i = 0; i < 3; ++i) {
    ASSERT_FALSE(engine->recv_lent(descriptor));
    ASSERT_EQ(::send(pair.b.get(), "", 0, 0), 0);
    ASSERT_EQ(result_of(descriptor.in), 0) << i;
  }
}

}  // namespace
}  // namespace duolu::test
