// Clauses EN1 to EN11, for every engine: a request may end at once or later. What a readiness
// engine does beyond them is in readiness_test.cpp.
#include "duolu/engine/engine.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "duolu/base/prng.hpp"
#include "duolu/testing/fault.hpp"
#include "support/allocations.hpp"
#include "support/conformance.hpp"
#include "support/endpoints.hpp"
#include "support/engine_fixture.hpp"

namespace duolu::test {
namespace {

using EngineTest = EngineFixture;
DUOLU_EVERY_ENGINE_TRIGGER_AND_RING(EngineTest);

TEST_P(EngineTest, EN1_what_is_there_is_received_and_what_is_not_later) {
  Pair pair = tcp_pair();
  Descriptor& descriptor = open(std::move(pair.a));
  put(pair.b.get(), "one");
  ASSERT_TRUE(settled(descriptor.fd, POLLIN));
  std::string got;
  EXPECT_EQ(receive(descriptor, got), 3);
  EXPECT_EQ(got, "one");
  got.resize(8);
  ASSERT_FALSE(engine->recv(descriptor, got.data(), got.size()));
  ASSERT_TRUE(engine->wait(immediately));
  EXPECT_EQ(take(), nullptr);
  put(pair.b.get(), "two");
  EXPECT_EQ(result_of(descriptor.in), 3);
  EXPECT_EQ(got.substr(0, 3), "two");
  EXPECT_EQ(take(), nullptr);
}

TEST_P(EngineTest, EN2_the_end_and_errors_are_results) {
  Pair ends = tcp_pair();
  Descriptor& ended = open(std::move(ends.a));
  ends.b.reset();
  std::string got;
  EXPECT_EQ(receive(ended, got), 0);
  EXPECT_EQ(receive(ended, got), 0);

  Pair broken = tcp_pair();
  Descriptor& reset = open(std::move(broken.a));
  got.resize(8);
  ASSERT_FALSE(engine->recv(reset, got.data(), got.size()));
  close_with_reset(broken.b);
  EXPECT_EQ(result_of(reset.in), -ECONNRESET);
  EXPECT_EQ(transmit(reset, "x"), -EPIPE);
}

TEST_P(EngineTest, EN3_EN4_wait_collects_and_the_caller_takes_in_the_order_of_ending) {
  std::vector<Pair> pairs;
  std::vector<Descriptor*> descriptors;
  std::vector<std::string> buffers(3, std::string(8, '-'));
  for (std::string& buffer : buffers) {
    pairs.push_back(tcp_pair());
    descriptors.push_back(&open(std::move(pairs.back().a)));
    ASSERT_FALSE(engine->recv(*descriptors.back(), buffer.data(), buffer.size()));
  }
  for (const std::size_t i : {2U, 0U, 1U}) {
    put(pairs[i].b.get(), "ended");
    // Returns at once when something is to be taken already.
    const Instant guard = after(real_kernel().now(), patience);
    do ASSERT_TRUE(engine->wait(never));
    while (descriptors[i]->in.outstanding() && real_kernel().now() < guard);
  }
  for (const std::size_t i : {2U, 0U, 1U}) {
    EXPECT_EQ(buffers[i].substr(0, 6), "ended-");
    EXPECT_EQ(take(), &descriptors[i]->in);
    buffers[i].clear();  // it is the caller's again
    buffers[i].shrink_to_fit();
  }
  EXPECT_EQ(take(), nullptr);
}

// The trap of edge-triggering: the data and the end come as one edge, and the read is short.
TEST_P(EngineTest, EN2_the_end_behind_data_is_found) {
  for (const DescriptorKind kind : {DescriptorKind::tcp, DescriptorKind::socket}) {
    Pair pair = tcp_pair();
    Descriptor& descriptor = open(std::move(pair.a), kind);
    std::string got(64, ' ');
    ASSERT_FALSE(engine->recv(descriptor, got.data(), got.size()));
    put(pair.b.get(), "last words");
    pair.b.reset();
    ASSERT_TRUE(settled(descriptor.fd, POLLIN | POLLRDHUP));
    EXPECT_EQ(result_of(descriptor.in), 10);
    EXPECT_EQ(receive(descriptor, got), 0);
  }
}

TEST_P(EngineTest, EN2_what_is_behind_urgent_data_is_found) {
  Pair pair = tcp_pair();
  Descriptor& descriptor = open(std::move(pair.a));
  std::string got(64, ' ');
  ASSERT_FALSE(engine->recv(descriptor, got.data(), got.size()));
  put(pair.b.get(), "before");
  ASSERT_EQ(::send(pair.b.get(), "!", 1, MSG_OOB), 1);
  put(pair.b.get(), "behind");
  std::string all = got.substr(0, static_cast<std::size_t>(result_of(descriptor.in)));
  while (all.size() < 12) {
    ASSERT_GT(receive(descriptor, got), 0);
    all += got;
  }
  EXPECT_EQ(all, "beforebehind");
}

TEST_P(EngineTest, EN7_a_send_ends_when_all_of_it_is_gone) {
  Pair pair = tcp_pair();
  Descriptor& descriptor = open(std::move(pair.a));
  std::string sent(8 << 20, ' ');
  Prng prng(1);
  for (char& byte : sent) byte = static_cast<char>(prng.next());
  ASSERT_FALSE(engine->send(descriptor, sent.data(), sent.size()));
  EXPECT_LT(descriptor.out.moved, sent.size());
  std::string received;
  std::jthread reader([&, fd = pair.b.get()] {
    char buffer[65'536];
    while (received.size() < sent.size()) {
      pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
      if (::poll(&one, 1, 10'000) <= 0) return;
      const ssize_t got = ::recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
      if (got > 0) received.append(buffer, static_cast<std::size_t>(got));
    }
  });
  EXPECT_EQ(result_of(descriptor.out), 0);
  EXPECT_EQ(descriptor.out.moved, sent.size());
  reader.join();
  EXPECT_EQ(received, sent);
}

TEST_P(EngineTest, EN5_a_cancelled_request_ends_once_and_takes_no_byte) {
  Pair pair = tcp_pair();
  Descriptor& descriptor = open(std::move(pair.a));
  std::string got(8, ' ');
  engine->cancel(descriptor.in);  // nothing to cancel
  EXPECT_EQ(take(), nullptr);
  ASSERT_FALSE(engine->recv(descriptor, got.data(), got.size()));
  engine->cancel(descriptor.in);
  engine->cancel(descriptor.in);
  put(pair.b.get(), "kept");
  // An engine may submit both in its next wait, and the bytes have come by then.
  const int result = result_of(descriptor.in);
  EXPECT_TRUE(result == -ECANCELED || result == 4) << result;
  EXPECT_EQ(take(), nullptr);
  if (result == 4) {
    got.resize(4);
  } else {
    EXPECT_EQ(receive(descriptor, got), 4);
  }
  EXPECT_EQ(got, "kept");
  // Finished before it is cancelled: the result is the real one.
  got.resize(8);
  ASSERT_FALSE(engine->recv(descriptor, got.data(), got.size()));
  put(pair.b.get(), "too late");
  while (!has_finished()) ASSERT_TRUE(engine->wait(never));
  engine->cancel(descriptor.in);
  EXPECT_EQ(result_of(descriptor.in), 8);
}

// Of a ring, such a result ends a request that was submitted together with its cancellation.
TEST_P(EngineTest, EN5_a_cancelled_request_that_was_to_be_made_again_ends_as_cancelled) {
  FaultKernel faults(real_kernel());
  for (const int error : {EINTR, EAGAIN}) {
    SCOPED_TRACE(error);
    start(faults);
    Pair pair = unix_pair();
    fill(pair.a.get());
    Descriptor& descriptor = open(std::move(pair.a), DescriptorKind::socket);
    char byte = 'x';
    faults.fail(Call::recv, 1, error);
    ASSERT_FALSE(engine->recv(descriptor, &byte, 1));
    engine->cancel(descriptor.in);
    EXPECT_EQ(result_of(descriptor.in), -ECANCELED);
    faults.fail(Call::send, 1, error);
    ASSERT_FALSE(engine->send(descriptor, &byte, 1));
    engine->cancel(descriptor.out);
    EXPECT_EQ(result_of(descriptor.out), -ECANCELED);
    EXPECT_EQ(descriptor.out.moved, 0U);
  }
  EXPECT_EQ(faults.injected(), 4U);
  stop();
}

// Other code takes the datagram after a ring has reported it, which is during any system call
// without defer-taskrun; the cancellation then finds no poll to end.
TEST_P(EngineTest, EN5_a_request_that_polls_is_cancelled_after_the_poll_has_ended) {
  Pair pair = udp_pair();
  Descriptor& descriptor = open(std::move(pair.a), DescriptorKind::datagram);
  char byte = 0;
  iovec part{.iov_base = &byte, .iov_len = 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ASSERT_FALSE(engine->recvmsg(descriptor, message));
  EXPECT_TRUE(engine->wait(immediately));
  put(pair.b.get(), "x");
  ASSERT_TRUE(settled(descriptor.fd, POLLIN));
  EXPECT_EQ(::recv(descriptor.fd, &byte, 1, MSG_DONTWAIT), 1);
  engine->cancel(descriptor.in);
  EXPECT_EQ(result_of(descriptor.in), -ECANCELED);
}

TEST_P(EngineTest, EN5_a_cancelled_send_says_how_much_went_out) {
  Pair pair = tcp_pair();
  Descriptor& descriptor = open(std::move(pair.a));
  const std::string sent(32 << 20, 'x');
  ASSERT_FALSE(engine->send(descriptor, sent.data(), sent.size()));
  engine->cancel(descriptor.out);
  EXPECT_EQ(result_of(descriptor.out), -ECANCELED);
  const std::uint64_t moved = descriptor.out.moved;
  EXPECT_GT(moved, 0U);
  close(descriptor);
  std::size_t received = 0;
  char buffer[65'536];
  for (ssize_t got = 1; got != 0;) {
    ASSERT_TRUE(settled(pair.b.get(), POLLIN));
    got = ::recv(pair.b.get(), buffer, sizeof buffer, 0);
    ASSERT_GE(got, 0);
    received += static_cast<std::size_t>(got);
  }
  EXPECT_EQ(received, moved);
}

TEST_P(EngineTest, accepts_and_connects) {
  Listener listener = tcp_listener();
  Descriptor& door = open(std::move(listener.fd), DescriptorKind::socket);
  const auto* address = reinterpret_cast<const sockaddr*>(&listener.address);
  for (int i = 0; i < 5; ++i) {
    Descriptor& client = open(Fd(real_kernel(), real_kernel().socket(AF_INET, SOCK_STREAM, 0)));
    EXPECT_EQ(engine->connect(client, address, sizeof listener.address) ? client.out.result
                                                                        : result_of(client.out),
              0);
    const int accepted = engine->accept(door) ? door.in.result : result_of(door.in);
    ASSERT_GE(accepted, 0);
    Descriptor& server = open(Fd(real_kernel(), accepted));
    EXPECT_EQ(transmit(client, "hello"), 0);
    std::string got;
    EXPECT_EQ(receive(server, got), 5);
    EXPECT_EQ(got, "hello");
  }
  ASSERT_FALSE(engine->accept(door));
  engine->cancel(door.in);
  EXPECT_EQ(result_of(door.in), -ECANCELED);

  const sockaddr_in nobody = closed_port();
  Descriptor& refused = open(Fd(real_kernel(), real_kernel().socket(AF_INET, SOCK_STREAM, 0)));
  EXPECT_EQ(engine->connect(refused, reinterpret_cast<const sockaddr*>(&nobody), sizeof nobody)
                ? refused.out.result
                : result_of(refused.out),
            -ECONNREFUSED);
}

/// How many connections wait in the backlog of a listener.
std::size_t backlog_of(int listener) {
  tcp_info about{};
  socklen_t size = sizeof about;
  EXPECT_EQ(::getsockopt(listener, IPPROTO_TCP, TCP_INFO, &about, &size), 0);
  return about.tcpi_unacked;
}

/// Of a socket, or of its peer.
std::uint16_t port_of(int fd, bool peer) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  auto* const out = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(peer ? ::getpeername(fd, out, &size) : ::getsockname(fd, out, &size), 0);
  return address.sin_port;
}

/// Clients of one listener, by their port, until they are accepted.
class Clients {
 public:
  explicit Clients(const sockaddr_in& address) : address_(address) {}

  /// Connects, until so many wait to be accepted.
  void fill_up(std::size_t count) {
    while (waiting.size() < count) {
      Fd fd = connect();
      ASSERT_TRUE(fd) << errno;
      const std::uint16_t port = port_of(fd.get(), false);
      waiting[port] = std::move(fd);
    }
  }
  [[nodiscard]] Fd connect() const {
    Fd fd(real_kernel(), ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto* address = reinterpret_cast<const sockaddr*>(&address_);
    return ::connect(fd.get(), address, sizeof address_) == 0 ? std::move(fd) : Fd();
  }
  /// One was accepted, as `fd`.
  void accepted(int fd) {
    ASSERT_GE(fd, 0);
    const Fd server(real_kernel(), fd);
    EXPECT_EQ(waiting.erase(port_of(fd, true)), 1U) << "of nobody, or twice";
  }

  std::map<std::uint16_t, Fd> waiting{};

 private:
  sockaddr_in address_;
};

TEST_P(EngineTest, EN17_connections_that_nobody_requests_are_few_and_reset) {
  Listener listener = tcp_listener();
  Clients clients(listener.address);
  Descriptor& door = open(std::move(listener.fd), DescriptorKind::socket);
  // In bursts, which an engine may learn from.
  for (int burst = 0; burst < 3; ++burst) {
    clients.fill_up(60);
    for (int i = 0; i < 30; ++i)
      clients.accepted(engine->accept(door) ? door.in.result : result_of(door.in));
  }
  EXPECT_TRUE(engine->wait(after(real_kernel().now(), 5ms)));
  EXPECT_LE(clients.waiting.size(), backlog_of(door.fd) + 16);
  close(door);
  for (const auto& [port, client] : clients.waiting) {
    ASSERT_TRUE(settled(client.get(), POLLERR));
    EXPECT_EQ(take_error(client.get()), ECONNRESET);
  }
}

TEST_P(EngineTest, EN17_a_listener_that_was_closed_accepts_nothing) {
  Listener listener = tcp_listener();
  Clients clients(listener.address);
  Descriptor& door = open(std::move(listener.fd), DescriptorKind::socket);
  clients.fill_up(60);
  while (!clients.waiting.empty())
    clients.accepted(engine->accept(door) ? door.in.result : result_of(door.in));
  close(door);
  EXPECT_FALSE(clients.connect());
}

TEST_P(EngineTest, EN17_nothing_is_accepted_after_a_cancelled_accept) {
  Listener listener = tcp_listener();
  Clients clients(listener.address);
  Descriptor& door = open(std::move(listener.fd), DescriptorKind::socket);
  clients.fill_up(60);
  while (!clients.waiting.empty())
    clients.accepted(engine->accept(door) ? door.in.result : result_of(door.in));
  ASSERT_FALSE(engine->accept(door));
  engine->cancel(door.in);
  EXPECT_EQ(result_of(door.in), -ECANCELED);
  clients.fill_up(20);
  EXPECT_TRUE(engine->wait(after(real_kernel().now(), 5ms)));
  EXPECT_EQ(backlog_of(door.fd), 20U);
  while (!clients.waiting.empty())
    clients.accepted(engine->accept(door) ? door.in.result : result_of(door.in));
}

TEST_P(EngineTest, both_directions_at_once) {
  Pair pair = unix_pair();
  Descriptor& a = open(std::move(pair.a), DescriptorKind::socket);
  Descriptor& b = open(std::move(pair.b), DescriptorKind::socket);
  const std::string large(4 << 20, 'x');
  std::string got(65'536, ' ');
  ASSERT_FALSE(engine->send(a, large.data(), large.size()));
  std::size_t received = 0;
  bool sending = true;
  while (received < large.size()) {
    if (engine->recv(b, got.data(), got.size())) {
      received += static_cast<std::size_t>(b.in.result);
      continue;
    }
    while (b.in.state != Op::State::idle) {
      ASSERT_TRUE(engine->wait(never));
      while (const Op* op = take()) {
        if (op == &a.out) sending = false;
        if (op == &b.in) received += static_cast<std::size_t>(op->result);
      }
    }
  }
  EXPECT_EQ(sending ? result_of(a.out) : 0, 0);
  EXPECT_EQ(a.out.result, 0);
}

TEST_P(EngineTest, EN8_another_thread_wakes_it) {
  const std::jthread waker([this] { engine->wake(); });
  EXPECT_TRUE(engine->wait(never).value());
  EXPECT_FALSE(engine->wait(immediately).value());
}

TEST_P(EngineTest, EN8_other_threads_may_make_it_and_destroy_it) {
  Pair pair = tcp_pair();
  Descriptor* descriptor = nullptr;
  std::jthread([&] {
    start(real_kernel());
    descriptor = &open(std::move(pair.a));
  }).join();
  std::jthread([&] {
    std::string got;
    put(pair.b.get(), "here");
    EXPECT_EQ(receive(*descriptor, got), 4);
    EXPECT_EQ(transmit(*descriptor, got), 0);
    close(*descriptor);
  }).join();
  char echoed[5] = "";
  EXPECT_EQ(::recv(pair.b.get(), echoed, 4, 0), 4);
  EXPECT_STREQ(echoed, "here");
  stop();
}

TEST_P(EngineTest, EN7_a_regular_file_is_written_and_read_at_its_position) {
  FaultKernel faults(real_kernel());
  start(faults);
  ScratchDirectory directory;
  const std::string path = directory.path("file");
  const std::string text(100'000, 't');
  Fd writes(real_kernel(), ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  Fd reads(real_kernel(), ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  Descriptor& out = open(std::move(writes), DescriptorKind::file);
  Descriptor& in = open(std::move(reads), DescriptorKind::file);
  const auto calls = [&] { return faults.calls(Call::read) + faults.calls(Call::write); };
  const std::size_t before = calls();
  EXPECT_EQ(transmit(out, "begins "), 0);
  EXPECT_EQ(transmit(out, text), 0);
  std::string got;
  EXPECT_EQ(receive(in, got, 7), 7);
  EXPECT_EQ(got, "begins ");
  std::string rest;
  while (ended(engine->recv_lent(in), in.in) > 0) {
    LentBuffer& lent = Engine::lent(in);
    rest.append(lent.bytes(), lent.size);
    Engine::give_back(lent);
  }
  EXPECT_EQ(in.in.result, 0);
  EXPECT_EQ(rest, text);
  // Where the kernel performs requests, none of them makes the loop wait for a disk.
  if (GetParam().kind->poller == nullptr && !GetParam().scripted &&
      (GetParam().ring_without & ring::buffer_ring) == 0) {
    EXPECT_EQ(calls(), before);
  } else {
    EXPECT_GT(calls(), before);
  }
  stop();
}

TEST_P(EngineTest, EN9_without_memory_for_a_buffer_it_waits_for_another_one) {
  Pair one = tcp_pair();
  Pair other = tcp_pair();
  Pair third = tcp_pair();
  Descriptor& at_once = open(std::move(one.a));
  Descriptor& later = open(std::move(other.a));
  Descriptor& holder = open(std::move(third.a));
  put(one.b.get(), "here");
  put(third.b.get(), "x");
  ASSERT_TRUE(settled(at_once.fd, POLLIN));
  ASSERT_TRUE(settled(holder.fd, POLLIN));
  ASSERT_EQ(ended(engine->recv_lent(holder), holder.in), 1);
  {
    const FailsAllocations none;
    EXPECT_FALSE(engine->recv_lent(later));  // there is nothing to receive: it keeps no buffer
    EXPECT_FALSE(engine->recv_lent(at_once));
    (void)engine->wait(immediately);
    EXPECT_EQ(engine->take_finished(), nullptr);
    Engine::give_back(Engine::lent(holder));
    EXPECT_EQ(result_of(at_once.in), 4);
    EXPECT_TRUE(later.in.outstanding());
    put(other.b.get(), "there");
    ASSERT_TRUE(settled(later.fd, POLLIN));
    (void)engine->wait(immediately);
    EXPECT_EQ(engine->take_finished(), nullptr);
    LentBuffer& lent = Engine::lent(at_once);
    EXPECT_EQ(std::string_view(lent.bytes(), lent.size), "here");
    Engine::give_back(lent);
    EXPECT_EQ(result_of(later.in), 5);
    Engine::give_back(Engine::lent(later));
  }
}

TEST_P(EngineTest, EN9_a_receive_with_nothing_to_receive_keeps_no_buffer_from_a_pipe) {
  start(real_kernel(), {.buffers = 1});
  Pair idle = tcp_pair();
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
  const Fd writer(real_kernel(), fds[1]);
  Descriptor& waiting = open(std::move(idle.a));
  Descriptor& reader = open(Fd(real_kernel(), fds[0]), DescriptorKind::file);
  EXPECT_FALSE(engine->recv_lent(waiting));
  ASSERT_TRUE(engine->wait(immediately));
  ASSERT_EQ(::write(writer.get(), "here", 4), 4);
  EXPECT_EQ(ended(engine->recv_lent(reader), reader.in), 4);
  Engine::give_back(Engine::lent(reader));
  put(idle.b.get(), "there");
  EXPECT_EQ(result_of(waiting.in), 5);
  Engine::give_back(Engine::lent(waiting));
}

TEST_P(EngineTest, a_forked_child_that_closes_its_copies_takes_no_buffer_from_its_parent) {
  if (GetParam().late) return;  // it cancels in its next wait, and a child has none
  constexpr std::size_t crowd = 60;
  std::vector<Pair> pairs;
  std::vector<Descriptor*> all;
  for (std::size_t i = 0; i < crowd; ++i) {
    pairs.push_back(unix_pair());
    all.push_back(&open(std::move(pairs.back().a), DescriptorKind::socket));
  }
  const auto receive_all = [&] {
    for (const Pair& pair : pairs) put(pair.b.get(), "x");
    for (std::size_t ended = 0; ended < crowd;) {
      ASSERT_TRUE(engine->wait(after(real_kernel().now(), patience)));
      ASSERT_TRUE(has_finished());
      for (; Op* const op = take(); ++ended) ASSERT_EQ(op->result, 1);
    }
    for (const Descriptor* each : all) Engine::give_back(Engine::lent(*each));
  };
  for (int round = 0; round < 4; ++round) {
    for (Descriptor* each : all) ASSERT_FALSE(engine->recv_lent(*each));
    ASSERT_TRUE(engine->wait(immediately));
    if (round == 3) {  // by now the engine knows how many buffers are needed at once
      const pid_t child = ::fork();
      if (child == 0) {
        for (Descriptor* each : all) engine->cancel(each->in);
        while (take() != nullptr) {
        }
        for (Descriptor* each : all) engine->close(*each);
        ::_exit(0);
      }
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      ASSERT_EQ(status, 0);
    }
    receive_all();
  }
}

TEST_P(EngineTest, EN9_without_memory_for_the_first_buffer_it_ends) {
  Pair one = tcp_pair();
  Pair other = tcp_pair();
  Descriptor& at_once = open(std::move(one.a));
  Descriptor& later = open(std::move(other.a));
  put(one.b.get(), "here");
  ASSERT_TRUE(settled(at_once.fd, POLLIN));
  {
    const FailsAllocations none;
    EXPECT_FALSE(engine->recv_lent(later));
    EXPECT_FALSE(engine->recv_lent(at_once));
    while (later.in.state != Op::State::idle || at_once.in.state != Op::State::idle) {
      ASSERT_TRUE(engine->wait(never));
      while (take() != nullptr) {
      }
    }
  }
  EXPECT_EQ(later.in.result, -ENOMEM);
  EXPECT_EQ(at_once.in.result, -ENOMEM);
  ASSERT_EQ(ended(engine->recv_lent(at_once), at_once.in),
            4);  // nothing was lost, and nobody waits for a buffer
  LentBuffer& lent = Engine::lent(at_once);
  EXPECT_EQ(std::string_view(lent.bytes(), lent.size), "here");
  Engine::give_back(lent);
}

TEST_P(EngineTest, buffers_of_those_who_have_left_are_given_back) {
  constexpr std::size_t crowd = 50;
  Descriptor& stays = open(tcp_pair().a);
  const auto before = static_cast<std::ptrdiff_t>(::mallinfo2().uordblks);
  {
    std::vector<Pair> pairs;
    std::vector<Descriptor*> all;
    for (std::size_t i = 0; i < crowd; ++i) {
      pairs.push_back(tcp_pair());
      put(pairs.back().b.get(), "x");
      all.push_back(engine->open(pairs.back().a.get(), DescriptorKind::tcp).value());
      (void)pairs.back().a.release();
      ASSERT_TRUE(settled(all.back()->fd, POLLIN));
      ASSERT_EQ(ended(engine->recv_lent(*all.back()), all.back()->in), 1);
    }
    for (Descriptor* each : all) Engine::give_back(Engine::lent(*each));
    for (Descriptor* each : all) engine->close(*each);
  }
  // One for `stays`, and what the poller keeps; not 50 buffers.
  EXPECT_LT(static_cast<std::ptrdiff_t>(::mallinfo2().uordblks) - before,
            static_cast<std::ptrdiff_t>(5 * engine->buffer_size()));
  (void)stays;
}

// As above, but one of the buffers is in use when the others are given back: without
// defer-taskrun, the kernel receives during any system call.
TEST_P(EngineTest, EN9_what_arrives_while_the_others_leave_is_not_lost) {
  constexpr std::size_t crowd = 50;
  Pair pair = tcp_pair();
  Descriptor& stays = open(std::move(pair.a));
  std::vector<Pair> pairs;
  std::vector<Descriptor*> all;
  for (std::size_t i = 0; i < crowd; ++i) {
    pairs.push_back(tcp_pair());
    put(pairs.back().b.get(), "x");
    all.push_back(engine->open(pairs.back().a.get(), DescriptorKind::tcp).value());
    (void)pairs.back().a.release();
  }
  // Each has received, and waits for more.
  std::size_t waiting = 0;
  for (Descriptor* each : all)
    while (engine->recv_lent(*each)) Engine::give_back(Engine::lent(*each)), ++waiting;
  const auto give_back_received = [&] {
    EXPECT_TRUE(engine->wait(after(real_kernel().now(), 5ms)));
    while (Op* const op = take()) {
      if (op == &stays.in || op->result <= 0) continue;
      Descriptor& one =
          **std::find_if(all.begin(), all.end(), [&](Descriptor* each) { return &each->in == op; });
      Engine::give_back(Engine::lent(one));
      ++waiting;
      EXPECT_FALSE(engine->recv_lent(one));
    }
  };
  const Instant guard = after(real_kernel().now(), patience);
  while (waiting < crowd && real_kernel().now() < guard) give_back_received();
  ASSERT_EQ(waiting, crowd);
  EXPECT_FALSE(engine->recv_lent(stays));
  give_back_received();  // submits them
  for (Descriptor* each : all) engine->cancel(each->in);
  for (Descriptor* each : all)
    while (each->in.state != Op::State::idle && real_kernel().now() < guard) give_back_received();
  put(pair.b.get(), "late");
  for (Descriptor* each : all) engine->close(*each);
  ASSERT_EQ(result_of(stays.in), 4);
  LentBuffer& lent = Engine::lent(stays);
  EXPECT_EQ(std::string(lent.bytes(), lent.size), "late");
  Engine::give_back(lent);
}

TEST_P(EngineTest, EN9_a_lent_buffer_holds_what_was_received) {
  start(real_kernel(), {.buffer_size = 64, .buffers = 1});
  for (const Kind& kind : two_way_kinds()) {
    SCOPED_TRACE(kind.name);
    Pair pair = kind.make();
    Descriptor& descriptor = open(std::move(pair.a), DescriptorKind::socket);
    for (int i = 0; i < 3; ++i) {
      const bool early = i == 0;
      if (early) {
        put(pair.b.get(), "lent");
        ASSERT_TRUE(settled(descriptor.fd, POLLIN));
      }
      const bool now = engine->recv_lent(descriptor);
      EXPECT_TRUE(early || !now);
      if (!early) put(pair.b.get(), "lent");
      ASSERT_EQ(now ? descriptor.in.result : result_of(descriptor.in), 4);
      LentBuffer& lent = Engine::lent(descriptor);
      EXPECT_EQ(std::string_view(lent.bytes(), lent.size), "lent");
      EXPECT_EQ(&LentBuffer::of(lent.bytes()), &lent);
      Engine::give_back(lent);
    }
    // Neither the end nor a cancelled request keeps a buffer.
    ASSERT_FALSE(engine->recv_lent(descriptor));
    engine->cancel(descriptor.in);
    EXPECT_EQ(result_of(descriptor.in), -ECANCELED);
    ASSERT_FALSE(engine->recv_lent(descriptor));
    pair.b.reset();
    const bool datagrams = std::string_view(kind.name).find("datagram") != std::string_view::npos;
    if (datagrams) engine->cancel(descriptor.in);  // they have no end
    EXPECT_LE(result_of(descriptor.in), 0);
  }
}

TEST_P(EngineTest, EN9_who_needs_one_buffer_more_waits_in_order) {
  start(real_kernel(), {.buffer_size = 64, .buffers = 2});
  std::vector<Pair> pairs;
  std::vector<Descriptor*> readers;
  for (int i = 0; i < 5; ++i) {
    Pair pair = tcp_pair();
    put(pair.b.get(), std::string(1, static_cast<char>('0' + i)));
    ASSERT_TRUE(settled(pair.a.get(), POLLIN));
    readers.push_back(&open(std::move(pair.a)));
    pairs.push_back(std::move(pair));
  }
  for (Descriptor* reader : {readers[0], readers[1]})
    EXPECT_EQ(ended(engine->recv_lent(*reader), reader->in), 1);
  for (int i = 2; i < 5; ++i) EXPECT_FALSE(engine->recv_lent(*readers[static_cast<unsigned>(i)]));
  ASSERT_TRUE(engine->wait(immediately));
  EXPECT_EQ(take(), nullptr);
  // The middle one gives up; the others are served as buffers come back.
  engine->cancel(readers[3]->in);
  EXPECT_EQ(result_of(readers[3]->in), -ECANCELED);
  engine->give_back(Engine::lent(*readers[0]));
  ASSERT_EQ(result_of(readers[2]->in), 1);
  EXPECT_EQ(*readers[2]->in.data, '2');
  ASSERT_TRUE(engine->wait(immediately));
  EXPECT_EQ(take(), nullptr);
  engine->give_back(Engine::lent(*readers[1]));
  ASSERT_EQ(result_of(readers[4]->in), 1);
  EXPECT_EQ(*readers[4]->in.data, '4');
  engine->give_back(Engine::lent(*readers[2]));
  engine->give_back(Engine::lent(*readers[4]));
  // The byte of the one that gave up is still there.
  std::string got;
  EXPECT_EQ(receive(*readers[3], got), 1);
  EXPECT_EQ(got, "3");
}

TEST_P(EngineTest, EN9_who_waits_for_a_buffer_is_not_overtaken) {
  start(real_kernel(), {.buffer_size = 64, .buffers = 1});
  Pair much = tcp_pair();
  Pair little = tcp_pair();
  put(much.b.get(), std::string(1000, 'm'));
  put(little.b.get(), "l");
  ASSERT_TRUE(settled(much.a.get(), POLLIN));
  ASSERT_TRUE(settled(little.a.get(), POLLIN));
  Descriptor& greedy = open(std::move(much.a));
  Descriptor& modest = open(std::move(little.a));
  ASSERT_EQ(ended(engine->recv_lent(greedy), greedy.in), 64);
  ASSERT_FALSE(engine->recv_lent(modest));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(engine->wait(immediately));  // until it is at rest
  EXPECT_EQ(take(), nullptr);
  EXPECT_FALSE(engine->due());
  engine->give_back(Engine::lent(greedy));
  EXPECT_TRUE(engine->due());  // though no descriptor says so
  EXPECT_FALSE(engine->recv_lent(greedy));
  ASSERT_EQ(result_of(modest.in), 1);
  ASSERT_TRUE(engine->wait(immediately));
  EXPECT_EQ(take(), nullptr);
  engine->give_back(Engine::lent(modest));
  ASSERT_EQ(result_of(greedy.in), 64);
  engine->give_back(Engine::lent(greedy));
}

TEST_P(EngineTest, EN10_a_buffer_goes_back_to_its_engine) {
  const auto other = GetParam().make(real_kernel(), {.buffer_size = 64, .buffers = 1}).value();
  const auto lend = [&](Descriptor& from) {
    if (other->recv_lent(from)) return from.in.result;
    while (!other->has_finished()) EXPECT_TRUE(other->wait(never));
    other->take_finished()->state = Op::State::idle;
    return from.in.result;
  };
  Pair source = tcp_pair();
  Pair sink = tcp_pair();
  put(source.b.get(), "across");
  ASSERT_TRUE(settled(source.a.get(), POLLIN));
  Descriptor& in = *other->open(source.a.get(), DescriptorKind::tcp).value();
  (void)source.a.release();
  Descriptor& out = open(std::move(sink.a));
  ASSERT_EQ(lend(in), 6);
  ASSERT_EQ(ended(engine->send_lent(out, Engine::lent(in)), out.out), 0);
  put(source.b.get(), "again");
  ASSERT_TRUE(settled(in.fd, POLLIN));
  ASSERT_TRUE(other->wait(immediately));
  ASSERT_EQ(lend(in), 5);  // its only one is there again
  Engine::give_back(Engine::lent(in));
  other->close(in);
}

TEST_P(EngineTest, EN10_peers_that_do_not_read_keep_no_buffer) {
  start(real_kernel(), {.buffer_size = 4096, .buffers = 1});
  Pair source = tcp_pair();
  Descriptor& in = open(std::move(source.a));
  struct Stalled {
    Descriptor* out;
    Fd peer;
    std::string sent;
  };
  std::vector<Stalled> stalled;
  for (int i = 0; i < 4; ++i) {
    Pair pair = unix_pair();  // of TCP more goes out later, into the peer's growing buffer
    stalled.push_back({&open(std::move(pair.a), DescriptorKind::socket), std::move(pair.b), {}});
  }
  const auto lend = [&] {
    put(source.b.get(), std::string(4096, static_cast<char>('a' + stalled.size())));
    std::string got;
    for (;;) {
      EXPECT_TRUE(settled(in.fd, POLLIN));
      if ((engine->recv_lent(in) ? in.in.result : result_of(in.in)) == 4096) return;
      got.assign(in.in.data, static_cast<std::size_t>(in.in.result));
      engine->give_back(Engine::lent(in));
      put(source.b.get(), got);
    }
  };
  for (Stalled& one : stalled) {
    for (;;) {
      lend();
      one.sent.append(in.in.data, 4096);
      if (engine->send_lent(*one.out, Engine::lent(in))) continue;
      ASSERT_TRUE(engine->wait(immediately));
      if (take() == nullptr) break;  // else it was only the budget
    }
  }
  lend();  // four wait for their peers, and the only buffer is free
  engine->give_back(Engine::lent(in));
  engine->cancel(stalled[0].out->out);
  EXPECT_EQ(result_of(stalled[0].out->out), -ECANCELED);
  EXPECT_LT(stalled[0].out->out.moved, 4096U);
  for (std::size_t i = 1; i < stalled.size(); ++i) {
    Stalled& one = stalled[i];
    std::string got;
    std::string buffer(65'536, ' ');
    while (got.size() < one.sent.size()) {
      ASSERT_TRUE(settled(one.peer.get(), POLLIN));
      const ssize_t size = ::recv(one.peer.get(), buffer.data(), buffer.size(), 0);
      ASSERT_GT(size, 0);
      got.append(buffer, 0, static_cast<std::size_t>(size));
      ASSERT_TRUE(engine->wait(immediately));
    }
    EXPECT_TRUE(got == one.sent);
    EXPECT_EQ(result_of(one.out->out), 0);
  }
}

TEST_P(EngineTest, EN11_what_nobody_waits_for_lets_it_sleep) {
  Pair unread = tcp_pair();
  Pair ended = tcp_pair();
  Pair reset = tcp_pair();
  Pair roomy = tcp_pair();
  Descriptor& out = open(std::move(roomy.a));
  for (Pair* pair : {&unread, &ended, &reset}) {
    Descriptor& descriptor = open(std::move(pair->a));
    std::string first(1, ' ');  // somebody has waited before
    ASSERT_FALSE(engine->recv(descriptor, first.data(), 1));
    put(pair->b.get(), "1");
    EXPECT_EQ(result_of(descriptor.in), 1);
  }
  const std::string much(std::size_t{8} << 20U, 'x');
  ASSERT_FALSE(engine->send(out, much.data(), much.size()));  // and is going to have room
  std::string buffer(much.size(), ' ');
  for (std::size_t got = 0; got < much.size();) {
    const ssize_t size = ::recv(roomy.b.get(), buffer.data(), buffer.size(), 0);
    if (size > 0) got += static_cast<std::size_t>(size);
    ASSERT_TRUE(engine->wait(immediately));
  }
  EXPECT_EQ(take(), &out.out);
  put(unread.b.get(), "and more");
  ended.b.reset();
  close_with_reset(reset.b);

  // A batch brings all that has come; and they may come one after the other.
  int early = 0;
  for (int waits = 0; waits < 20; ++waits) {
    const Instant deadline = after(real_kernel().now(), 5ms);
    ASSERT_TRUE(engine->wait(deadline));
    EXPECT_EQ(take(), nullptr);
    if (real_kernel().now() < deadline) ++early;
  }
  EXPECT_LE(early, 8);
}

TEST_P(EngineTest, EN7_parts_are_sent_one_after_the_other) {
  for (const DescriptorKind kind :
       {DescriptorKind::tcp, DescriptorKind::socket, DescriptorKind::file}) {
    SCOPED_TRACE(static_cast<int>(kind));
    Pair pair = kind == DescriptorKind::tcp ? tcp_pair() : unix_pair();
    Descriptor& a = open(std::move(pair.a), kind);
    Descriptor& b = open(std::move(pair.b), kind);
    std::string texts[] = {"", "one", std::string(12'000'000, '2'), "", "three"};
    iovec parts[std::size(texts)];
    std::string whole;
    for (std::size_t i = 0; i < std::size(texts); ++i) {
      parts[i] = {texts[i].data(), texts[i].size()};
      whole += texts[i];
    }
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = std::size(parts);
    bool sent = engine->sendmsg(a, message);
    std::string got;
    std::string buffer(100'000, ' ');
    while (got.size() < whole.size()) {
      if (engine->recv(b, buffer.data(), buffer.size())) {
        got.append(buffer, 0, static_cast<std::size_t>(b.in.result));
        continue;
      }
      while (b.in.state != Op::State::idle) {
        ASSERT_TRUE(engine->wait(never));
        while (const Op* op = take()) {
          if (op == &a.out) sent = true;
          if (op == &b.in) got.append(buffer, 0, static_cast<std::size_t>(op->result));
        }
      }
    }
    EXPECT_TRUE(got == whole);
    EXPECT_EQ(sent ? a.out.result : result_of(a.out), 0);
    EXPECT_EQ(a.out.moved, whole.size());
  }
}

TEST_P(EngineTest, EN2_a_datagram_comes_with_its_sender_and_its_size) {
  Pair pair = udp_pair();
  sockaddr_in sender{};
  socklen_t size = sizeof sender;
  ASSERT_EQ(::getsockname(pair.b.get(), reinterpret_cast<sockaddr*>(&sender), &size), 0);
  Descriptor& a = open(std::move(pair.a), DescriptorKind::socket);
  Descriptor& b = open(std::move(pair.b), DescriptorKind::socket);
  for (const std::string& text : {std::string("short"), std::string(100, 'x'), std::string()}) {
    std::string bytes = text;
    iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
    msghdr out{};
    out.msg_iov = &part;
    out.msg_iovlen = 1;
    EXPECT_EQ(engine->sendmsg(b, out) ? b.out.result : result_of(b.out), 0);

    char buffer[10];
    iovec room{.iov_base = buffer, .iov_len = sizeof buffer};
    sockaddr_in from{};
    msghdr in{};
    in.msg_iov = &room;
    in.msg_iovlen = 1;
    in.msg_name = &from;
    in.msg_namelen = sizeof from;
    const int got = engine->recvmsg(a, in) ? a.in.result : result_of(a.in);
    EXPECT_EQ(got, static_cast<int>(text.size()));
    EXPECT_EQ((in.msg_flags & MSG_TRUNC) != 0, text.size() > sizeof buffer);
    EXPECT_EQ(from.sin_port, sender.sin_port);
    EXPECT_EQ(std::string_view(buffer, std::min(text.size(), sizeof buffer)), text.substr(0, 10));
  }
}

TEST_P(EngineTest, EN2_a_full_unix_peer_is_an_error_when_nobody_can_wait_for_it) {
  for (const bool connected : {false, true}) {
    SCOPED_TRACE(connected);
    Pair pair = unix_pair(SOCK_DGRAM);
    sockaddr_un name{};
    socklen_t size = sizeof name;
    Fd peer(real_kernel(), ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    name.sun_family = AF_UNIX;
    ASSERT_EQ(::bind(peer.get(), reinterpret_cast<sockaddr*>(&name), sizeof(sa_family_t)), 0);
    ASSERT_EQ(::getsockname(peer.get(), reinterpret_cast<sockaddr*>(&name), &size), 0);
    Fd own(real_kernel(), ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (connected) {
      ASSERT_EQ(::connect(own.get(), reinterpret_cast<sockaddr*>(&name), size), 0);
    }
    Descriptor& from = open(std::move(own), DescriptorKind::socket);
    char byte = 'x';
    iovec part{.iov_base = &byte, .iov_len = 1};
    int ended = 0;
    for (int sent = 0; ended == 0; ++sent) {
      ASSERT_LT(sent, 100'000);
      msghdr message{};
      part = {.iov_base = &byte, .iov_len = 1};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      if (!connected) {
        message.msg_name = &name;
        message.msg_namelen = size;
      }
      if (engine->sendmsg(from, message)) continue;
      const Instant guard = after(real_kernel().now(), connected ? 20ms : patience);
      while (!has_finished() && real_kernel().now() < guard) ASSERT_TRUE(engine->wait(guard));
      const Op* const op = take();
      if (op == nullptr) {
        ASSERT_TRUE(connected);  // for that one the kernel lets it wait
        engine->cancel(from.out);
        ended = result_of(from.out);
      } else if (op->result < 0) {
        ended = op->result;
      }
    }
    EXPECT_EQ(ended, connected ? -ECANCELED : -ENOBUFS);
  }
}

TEST_P(EngineTest, EN2_pipes_and_terminals_and_files_are_read_and_written) {
  for (const auto make : {fifo_pair, pty_pair}) {
    Pair pair = make();
    Descriptor& in = open(std::move(pair.a), DescriptorKind::file);
    Descriptor& out = open(std::move(pair.b), DescriptorKind::file);
    std::string got(64, ' ');
    ASSERT_FALSE(engine->recv(in, got.data(), got.size()));
    ASSERT_EQ(transmit(out, "hello"), 0);
    EXPECT_EQ(result_of(in.in), 5);
    EXPECT_EQ(got.substr(0, 5), "hello");
    ASSERT_FALSE(engine->recv(in, got.data(), got.size()));
    close(out);
    const int end = result_of(in.in);  // of a terminal whose other side is gone: EIO
    EXPECT_TRUE(end == 0 || end == -EIO) << end;
  }
  char name[] = "/tmp/duolu-engine-XXXXXX";
  Fd file(real_kernel(), ::mkstemp(name));
  ::unlink(name);
  Descriptor& descriptor = open(std::move(file), DescriptorKind::file);
  EXPECT_EQ(transmit(descriptor, "in a file"), 0);
  ASSERT_EQ(::lseek(descriptor.fd, 0, SEEK_SET), 0);
  std::string got;
  EXPECT_EQ(receive(descriptor, got), 9);
  EXPECT_EQ(got, "in a file");
  EXPECT_EQ(receive(descriptor, got), 0);
}

TEST_P(EngineTest, EN13_a_released_descriptor_is_open_and_has_what_had_arrived) {
  Pair pair = tcp_pair();
  Descriptor& first = open(std::move(pair.a));
  std::string got;
  put(pair.b.get(), "one");
  EXPECT_EQ(receive(first, got), 3);
  put(pair.b.get(), "two");
  std::erase(open_, &first);
  Result<Fd> given = engine->release(first);
  ASSERT_TRUE(given);
  ASSERT_TRUE(settled(given->get(), POLLIN));
  Descriptor& again = open(std::move(*given));
  EXPECT_EQ(receive(again, got), 3);
  EXPECT_EQ(got, "two");
}

TEST_P(EngineTest, EN13_a_broken_connection_is_not_released) {
  Pair pair = tcp_pair();
  Descriptor& broken = open(std::move(pair.a));
  close_with_reset(pair.b);
  ASSERT_TRUE(settled(broken.fd, POLLERR));
  EXPECT_EQ(transmit(broken, "the reset is reported here"), -ECONNRESET);
  const Result<Fd> given = engine->release(broken);
  ASSERT_FALSE(given);
  EXPECT_EQ(given.error(), std::errc::connection_reset);
  std::string got;
  EXPECT_EQ(receive(broken, got), -ECONNRESET);
}

TEST_P(EngineTest, EN14_polling_ends_when_a_call_would_not_block_and_makes_none) {
  Pair pair = tcp_pair();
  Descriptor& descriptor = open(std::move(pair.a), DescriptorKind::file);
  for (int round = 0; round < 3; ++round) {
    const bool at_once = engine->poll_in(descriptor);
    ASSERT_FALSE(at_once);
    ASSERT_TRUE(engine->wait(immediately));
    EXPECT_EQ(take(), nullptr);
    EXPECT_EQ(ended(engine->poll_out(descriptor), descriptor.out), 0);
    put(pair.b.get(), "one");
    EXPECT_EQ(result_of(descriptor.in), 0);
    EXPECT_EQ(ended(engine->poll_in(descriptor), descriptor.in), 0);  // it still is
    char bytes[8];
    ASSERT_EQ(::recv(descriptor.fd, bytes, sizeof bytes, 0), 3);
  }
  fill_up(descriptor.fd, 100ms);
  ASSERT_FALSE(engine->poll_out(descriptor));
  engine->cancel(descriptor.out);
  EXPECT_EQ(result_of(descriptor.out), -ECANCELED);
  ASSERT_FALSE(engine->poll_out(descriptor));
  pair.b.reset();
  EXPECT_EQ(result_of(descriptor.out), 0);
  EXPECT_EQ(ended(engine->poll_in(descriptor), descriptor.in), 0);
}

TEST_P(EngineTest, EN15_bytes_that_are_not_requested_stay_in_the_kernel) {
  constexpr std::size_t buffer_size = 4096;
  start(real_kernel(), {.buffer_size = buffer_size, .buffers = 4});
  const auto fill_in_pieces = [](const Fd& fd) {
    const std::string piece(1000, 'p');
    std::size_t sent = 0;
    while (::send(fd.get(), piece.data(), piece.size(), MSG_DONTWAIT) > 0) sent += piece.size();
    return sent;
  };
  const Pair unread = unix_pair();
  const std::size_t room = fill_in_pieces(unread.b);
  Pair pair = unix_pair();
  Descriptor& descriptor = open(std::move(pair.a), DescriptorKind::socket);
  engine->give_back(lend(descriptor, pair.b.get(), "the engine has begun to receive"));
  std::size_t sent = 0;
  for (int round = 0; round < 10; ++round) {
    sent += fill_in_pieces(pair.b);
    ASSERT_TRUE(engine->wait(immediately));
  }
  EXPECT_GE(sent, room);
  EXPECT_LE(sent, room + buffer_size);
}

// Random sizes in both directions over many connections, with a kernel that transfers in parts,
// says EAGAIN, interrupts, and reports late: every byte arrives, in order.
TEST_P(EngineTest, EN1_EN2_EN7_every_byte_arrives_under_random_faults) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    FaultKernel faults(real_kernel(), seed);
    start(faults, {.budget = 4, .buffer_size = 4096, .buffers = 3});
    faults.set_rates(
        {.short_transfers = 200, .eagain = 200, .eintr = 200, .delayed_readiness = 200});
    Prng prng(seed);
    struct Stream {
      Descriptor* from;
      Descriptor* to;
      std::string bytes;
      std::string received;
      std::size_t sent = 0;
      std::string buffer;
      bool lent;
      iovec part{};
      msghdr message{};
    };
    std::vector<Stream> streams;
    std::map<const Op*, Stream*> senders;
    std::map<const Op*, Stream*> receivers;
    for (int i = 0; i < 5; ++i) {
      Pair pair = i % 2 == 0 ? tcp_pair() : unix_pair();
      const auto kind = static_cast<DescriptorKind>(i % 3);
      Descriptor& a = open(std::move(pair.a), i % 2 == 0 ? DescriptorKind::tcp : kind);
      Descriptor& b = open(std::move(pair.b), i % 2 == 0 ? DescriptorKind::tcp : kind);
      for (auto [from, to] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
        std::string bytes(prng.between(1, 300'000), ' ');
        for (char& byte : bytes) byte = static_cast<char>(prng.next());
        streams.push_back(
            {from, to, std::move(bytes), {}, 0, std::string(10'000, ' '), prng.between(0, 1) == 1});
      }
    }
    for (Stream& stream : streams) {
      senders[&stream.from->out] = &stream;
      receivers[&stream.to->in] = &stream;
    }
    std::size_t size = 0;
    const auto send_more = [&](Stream& s) {
      while (s.sent < s.bytes.size()) {
        size = std::min<std::size_t>(prng.between(1, 50'000), s.bytes.size() - s.sent);
        const char* const from = s.bytes.data() + s.sent;
        s.sent += size;
        s.part = {const_cast<char*>(from), size};
        s.message = {};
        s.message.msg_iov = &s.part;
        s.message.msg_iovlen = 1;
        const bool now =
            s.lent ? engine->sendmsg(*s.from, s.message) : engine->send(*s.from, from, size);
        if (!now) return;
        ASSERT_EQ(s.from->out.result, 0);
      }
    };
    const auto keep = [&](Stream& s) {
      ASSERT_GT(s.to->in.result, 0);
      s.received.append(s.to->in.data, static_cast<std::size_t>(s.to->in.result));
      if (s.lent) engine->give_back(Engine::lent(*s.to));
    };
    const auto receive_more = [&](Stream& s) {
      while (s.received.size() < s.bytes.size()) {
        const bool now =
            s.lent ? engine->recv_lent(*s.to)
                   : engine->recv(*s.to, s.buffer.data(), prng.between(1, s.buffer.size()));
        if (!now) return;
        keep(s);
      }
    };
    for (Stream& stream : streams) {
      send_more(stream);
      receive_more(stream);
    }
    const auto unfinished = [&] {
      for (const Stream& s : streams)
        if (s.received.size() < s.bytes.size()) return true;
      return false;
    };
    const Instant guard = after(real_kernel().now(), patience);
    while (unfinished()) {
      ASSERT_LT(real_kernel().now(), guard);
      ASSERT_TRUE(engine->wait(guard));
      while (const Op* op = take()) {
        if (const auto sender = senders.find(op); sender != senders.end()) {
          ASSERT_EQ(op->result, 0);
          send_more(*sender->second);
        } else {
          Stream& s = *receivers.at(op);
          keep(s);
          receive_more(s);
        }
      }
    }
    for (const Stream& s : streams) ASSERT_EQ(s.received, s.bytes);
    while (take() != nullptr) {
    }
    while (!open_.empty()) {
      ASSERT_EQ(open_.back()->out.state, Op::State::idle);
      close(*open_.back());
    }
    engine.reset();
  }
  start(real_kernel());
}

FileOp file_request(FileOp::Kind kind, int fd, std::string& bytes, std::uint64_t offset = 0) {
  FileOp op;
  op.kind = kind;
  op.fd = fd;
  op.offset = offset;
  op.data = bytes.data();
  op.size = static_cast<std::uint32_t>(bytes.size());
  return op;
}

TEST_P(EngineTest, EN16_requests_about_a_file_end_later_or_are_refused) {
  const bool performs = GetParam().kind->poller == nullptr && !GetParam().late &&
                        (GetParam().ring_without & ring::files) == 0;
  const Fd file(real_kernel(), ::memfd_create("test", MFD_CLOEXEC));
  std::string written = "written";
  FileOp write = file_request(FileOp::Kind::write, file.get(), written);
  ASSERT_EQ(engine->start_file(write), performs);
  if (!performs) return;
  EXPECT_FALSE(engine->has_finished());
  EXPECT_EQ(result_of(write), 7);
  // Many at the same time, of one file.
  std::vector<std::string> bytes(7, std::string(1, '-'));
  std::vector<FileOp> reads;
  for (std::string& one : bytes)
    reads.push_back(file_request(FileOp::Kind::read, file.get(), one, reads.size()));
  for (FileOp& read : reads) ASSERT_TRUE(engine->start_file(read));
  const Instant guard = after(real_kernel().now(), patience);
  for (std::size_t left = reads.size(); left > 0 && real_kernel().now() < guard;) {
    ASSERT_TRUE(engine->wait(guard));
    while (const Op* const op = take()) {
      EXPECT_EQ(op->result, 1);
      --left;
    }
  }
  std::string got;
  for (const std::string& one : bytes) got += one;
  EXPECT_EQ(got, written);
  FileOp bad = file_request(FileOp::Kind::read, -1, got);
  ASSERT_TRUE(engine->start_file(bad));
  EXPECT_EQ(result_of(bad), -EBADF);
}

TEST_P(EngineTest, EN16_EN5_a_cancelled_request_about_a_file_ends_once) {
  const Fd file(real_kernel(), ::memfd_create("test", MFD_CLOEXEC));
  ASSERT_EQ(::write(file.get(), "content", 7), 7);
  for (const bool submitted : {false, true}) {
    std::string bytes(7, '-');
    FileOp read = file_request(FileOp::Kind::read, file.get(), bytes);
    if (!engine->start_file(read)) return;
    EXPECT_TRUE(!submitted || engine->wait(immediately));
    engine->cancel(read);
    engine->cancel(read);
    const int result = result_of(read);
    EXPECT_TRUE(result == 7 || result == -ECANCELED) << result;
    EXPECT_EQ(bytes, result == 7 ? "content" : "-------");
    engine->cancel(read);
    ASSERT_TRUE(engine->wait(immediately));
    EXPECT_EQ(take(), nullptr);
  }
}

// K7: the number of a descriptor that a ring makes is the engine's concern.
TEST_P(EngineTest, EN16_K7_a_file_is_not_opened_under_the_number_of_a_standard_one) {
  const Fd kept(real_kernel(), ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  std::string path = "/dev/null";
  FileOp open = file_request(FileOp::Kind::open, -1, path);
  open.flags = O_RDONLY | O_CLOEXEC;
  open.size = 0;
  ::close(STDIN_FILENO);
  const bool performs = engine->start_file(open);
  const int result = performs ? result_of(open) : STDERR_FILENO + 1;
  if (performs) ::close(result);
  const bool taken = ::fcntl(STDIN_FILENO, F_GETFD) >= 0;
  if (kept) (void)::dup2(kept.get(), STDIN_FILENO);
  EXPECT_GT(result, STDERR_FILENO);
  EXPECT_FALSE(taken);
}

TEST_P(EngineTest, K7_a_connection_is_not_accepted_under_the_number_of_a_standard_one) {
  const Fd kept(real_kernel(), ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  Listener listener = tcp_listener();
  Clients clients(listener.address);
  Descriptor& door = open(std::move(listener.fd), DescriptorKind::socket);
  clients.fill_up(1);
  ::close(STDIN_FILENO);
  const int result = engine->accept(door) ? door.in.result : result_of(door.in);
  const bool taken = ::fcntl(STDIN_FILENO, F_GETFD) >= 0;
  if (kept) (void)::dup2(kept.get(), STDIN_FILENO);
  EXPECT_GT(result, STDERR_FILENO);
  EXPECT_FALSE(taken);
  if (result > STDERR_FILENO) ::close(result);
}

// A ring has room for 512 submissions, and the kernel takes none while it has no memory.
TEST_P(EngineTest, EN1_more_requests_than_there_is_room_for) {
  FaultKernel faults(real_kernel());
  start(faults);
  constexpr std::size_t count = 300;
  std::vector<Pair> pairs;
  std::vector<Descriptor*> all;
  std::vector<std::array<char, 8>> buffers(2 * count);
  for (std::size_t i = 0; i < count; ++i) {
    pairs.push_back(unix_pair());
    for (Fd* end : {&pairs.back().a, &pairs.back().b}) {
      all.push_back(engine->open(end->get(), DescriptorKind::socket).value());
      (void)end->release();
    }
  }
  faults.fail(Call::io_uring_enter, 1, EAGAIN, 100);
  std::size_t received = 0;
  for (std::size_t i = 0; i < all.size(); ++i)
    received += engine->recv(*all[i], buffers[i].data(), buffers[i].size()) ? 1U : 0U;
  for (Descriptor* each : all) (void)engine->send(*each, "x", 1);
  const Instant guard = after(real_kernel().now(), patience);
  const auto sends = [&] {
    return std::ranges::any_of(all, [](const Descriptor* each) { return each->out.outstanding(); });
  };
  while ((received < all.size() || sends()) && real_kernel().now() < guard) {
    (void)engine->wait(after(real_kernel().now(), 5ms));
    while (const Op* const op = take())
      if (op->code == Op::Code::recv) received += op->result == 1 ? 1U : 0U;
  }
  EXPECT_EQ(received, all.size());
  for (Descriptor* each : all) engine->close(*each);
  stop();
}

}  // namespace
}  // namespace duolu::test
