// Clauses EN1 to EN8, for the engine over every backend.
#include "duolu/engine/engine.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "duolu/base/prng.hpp"
#include "duolu/kernel/fault.hpp"
#include "support/endpoints.hpp"

namespace duolu::test {
namespace {

class EngineTest : public testing::TestWithParam<const Backend*> {
 protected:
  EngineTest() { start(real_kernel()); }
  ~EngineTest() override {
    for (Descriptor* descriptor : open_) engine->close(*descriptor);
  }

  void start(Kernel& with, int budget = default_budget) {
    engine.reset();
    kernel = &with;
    poller = GetParam()->make(with, {}).value();
    engine = make_readiness_engine(*poller, budget);
  }
  Descriptor& open(Fd fd, DescriptorKind kind = DescriptorKind::tcp) {
    Descriptor* const descriptor = engine->open(fd.get(), kind).value();
    (void)fd.release();
    open_.push_back(descriptor);
    return *descriptor;
  }
  void close(Descriptor& descriptor) {
    engine->close(descriptor);
    std::erase(open_, &descriptor);
  }
  /// Waits until this one has ended; its result. Nothing else may end.
  int result_of(const Op& op) {
    const Instant guard = after(real_kernel().now(), patience);
    while (!engine->has_finished()) {
      if (real_kernel().now() >= guard) {
        ADD_FAILURE() << "nothing ends";
        return -ETIME;
      }
      EXPECT_TRUE(engine->wait(guard));
    }
    EXPECT_EQ(engine->take_finished(), &op);
    return op.result;
  }
  int receive(Descriptor& descriptor, std::string& out, std::size_t size = 4096) {
    out.resize(size);
    const int got = engine->recv(descriptor, out.data(), size) ? descriptor.in.result
                                                               : result_of(descriptor.in);
    out.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return got;
  }
  int transmit(Descriptor& descriptor, const std::string& bytes) {
    return engine->send(descriptor, bytes.data(), bytes.size()) ? descriptor.out.result
                                                                : result_of(descriptor.out);
  }

  Kernel* kernel = nullptr;
  std::unique_ptr<Poller> poller;
  std::unique_ptr<Engine> engine;
  std::vector<Descriptor*> open_;
};

INSTANTIATE_TEST_SUITE_P(, EngineTest, testing::ValuesIn([] {
                           std::vector<const Backend*> all;
                           for (const Backend& backend : backends()) all.push_back(&backend);
                           return all;
                         }()),
                         [](const auto& suite) { return std::string(suite.param->name); });

TEST_P(EngineTest, EN1_what_is_there_is_received_at_once_and_what_is_not_later) {
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
  EXPECT_EQ(engine->take_finished(), nullptr);
  put(pair.b.get(), "two");
  EXPECT_EQ(result_of(descriptor.in), 3);
  EXPECT_EQ(got.substr(0, 3), "two");
  EXPECT_EQ(engine->take_finished(), nullptr);
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

// The trap of edge-triggering: the data and the end come as one edge, and the read is short.
TEST_P(EngineTest, EN2_the_end_behind_data_is_found) {
  for (const DescriptorKind kind : {DescriptorKind::tcp, DescriptorKind::other}) {
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
  EXPECT_EQ(engine->take_finished(), nullptr);
  ASSERT_FALSE(engine->recv(descriptor, got.data(), got.size()));
  engine->cancel(descriptor.in);
  engine->cancel(descriptor.in);
  put(pair.b.get(), "kept");
  EXPECT_EQ(result_of(descriptor.in), -ECANCELED);
  EXPECT_EQ(engine->take_finished(), nullptr);
  EXPECT_EQ(receive(descriptor, got), 4);
  EXPECT_EQ(got, "kept");
  // Finished before it is cancelled: the result is the real one.
  got.resize(8);
  ASSERT_FALSE(engine->recv(descriptor, got.data(), got.size()));
  put(pair.b.get(), "too late");
  while (!engine->has_finished()) ASSERT_TRUE(engine->wait(never));
  engine->cancel(descriptor.in);
  EXPECT_EQ(result_of(descriptor.in), 8);
}

TEST_P(EngineTest, EN5_a_cancelled_send_says_how_much_went_out) {
  Pair pair = tcp_pair();
  Descriptor& descriptor = open(std::move(pair.a));
  const std::string sent(32 << 20, 'x');
  ASSERT_FALSE(engine->send(descriptor, sent.data(), sent.size()));
  engine->cancel(descriptor.out);
  EXPECT_EQ(result_of(descriptor.out), -ECANCELED);
  const std::uint32_t moved = descriptor.out.moved;
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

TEST_P(EngineTest, EN6_what_exceeds_the_budget_ends_too_but_later) {
  start(real_kernel(), 3);
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
    EXPECT_EQ(engine->take_finished(), &descriptor.in);
    EXPECT_EQ(descriptor.in.result, 1);
  }
}

TEST_P(EngineTest, accepts_and_connects) {
  Listener listener = tcp_listener();
  Descriptor& door = open(std::move(listener.fd), DescriptorKind::other);
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

TEST_P(EngineTest, both_directions_at_once) {
  Pair pair = unix_pair();
  Descriptor& a = open(std::move(pair.a), DescriptorKind::other);
  Descriptor& b = open(std::move(pair.b), DescriptorKind::other);
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
      while (const Op* op = engine->take_finished()) {
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

TEST_P(EngineTest, what_cannot_be_waited_for_stays_the_callers) {
  char name[] = "/tmp/duolu-engine-XXXXXX";
  const Fd file(real_kernel(), ::mkstemp(name));
  ::unlink(name);
  const auto opened = engine->open(file.get(), DescriptorKind::other);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().value(), EPERM);
  EXPECT_GE(::fcntl(file.get(), F_GETFD), 0);
}

// Random sizes in both directions over many connections, with a kernel that transfers in parts,
// says EAGAIN, interrupts, and reports late: every byte arrives, in order.
TEST_P(EngineTest, EN1_EN2_EN7_every_byte_arrives_under_random_faults) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    FaultKernel faults(real_kernel(), seed);
    start(faults, 4);
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
    };
    std::vector<Stream> streams;
    std::map<const Op*, Stream*> senders;
    std::map<const Op*, Stream*> receivers;
    for (int i = 0; i < 5; ++i) {
      Pair pair = tcp_pair();
      Descriptor& a = open(std::move(pair.a));
      Descriptor& b = open(std::move(pair.b));
      for (auto [from, to] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
        std::string bytes(prng.between(1, 300'000), ' ');
        for (char& byte : bytes) byte = static_cast<char>(prng.next());
        streams.push_back({from, to, std::move(bytes), {}, 0, std::string(10'000, ' ')});
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
        if (!engine->send(*s.from, from, size)) return;
        ASSERT_EQ(s.from->out.result, 0);
      }
    };
    const auto receive_more = [&](Stream& s) {
      while (s.received.size() < s.bytes.size()) {
        if (!engine->recv(*s.to, s.buffer.data(), prng.between(1, s.buffer.size()))) return;
        ASSERT_GT(s.to->in.result, 0);
        s.received.append(s.buffer, 0, static_cast<std::size_t>(s.to->in.result));
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
      while (const Op* op = engine->take_finished()) {
        if (const auto sender = senders.find(op); sender != senders.end()) {
          ASSERT_EQ(op->result, 0);
          send_more(*sender->second);
        } else {
          Stream& s = *receivers.at(op);
          ASSERT_GT(op->result, 0);
          s.received.append(s.buffer, 0, static_cast<std::size_t>(op->result));
          receive_more(s);
        }
      }
    }
    for (const Stream& s : streams) ASSERT_EQ(s.received, s.bytes);
    while (engine->take_finished() != nullptr) {
    }
    while (!open_.empty()) {
      ASSERT_EQ(open_.back()->out.state, Op::State::idle);
      close(*open_.back());
    }
    engine.reset();
    poller.reset();
  }
  start(real_kernel());
}

}  // namespace
}  // namespace duolu::test
