// Echoes whose requests are cancelled at random: with every engine, and with the ring engine on a
// ring that does by a script what the kernel does rarely, for many seeds.
#include "support/scripted_ring.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "duolu/base/prng.hpp"
#include "duolu/engine/engines.hpp"
#include "support/conformance.hpp"
#include "support/descriptors.hpp"
#include "support/endpoints.hpp"
#include "support/engines.hpp"

namespace duolu::test {
namespace {

/// A client that sends `bytes` and wants them back, and the server that returns them.
struct Echo {
  Descriptor* client = nullptr;
  Descriptor* server = nullptr;
  std::string bytes;
  std::string back;
  std::string buffer = std::string(1000, ' ');
  std::size_t sent = 0;
  std::size_t until = 0;  ///< What `sent` will be once the request has succeeded.
  bool lends = false;     ///< The server returns what it received in the buffer that it came in.
  std::string held{};     ///< What the server returns, from `returned` on.
  std::size_t returned = 0;
  iovec part{};
  msghdr message{};

  [[nodiscard]] bool done() const { return back.size() == bytes.size(); }
};

class EchoSweep {
 public:
  /// On `kernel`, without the features `without` if the engine has a ring.
  EchoSweep(const EngineCell& cell, Kernel& kernel, std::uint64_t seed, std::uint32_t without = 0)
      : prng_(seed),
        engine_(cell.make(kernel,
                          {.budget = 4, .buffer_size = 512, .buffers = 3, .ring_without = without})
                    .value()) {}
  EchoSweep(const EchoSweep&) = delete;
  EchoSweep& operator=(const EchoSweep&) = delete;

  void run() {
    for (std::size_t i = 0; i < 4; ++i) {
      Echo& echo = echoes_[i];
      Pair pair = i % 2 == 0 ? tcp_pair() : unix_pair();
      const auto kind = i % 2 == 0 ? DescriptorKind::tcp : DescriptorKind::socket;
      const int yes = 1;  // small parts would wait for acknowledgements
      for (const int fd : {pair.a.get(), pair.b.get()})
        (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
      echo.client = engine_->open(pair.a.release(), kind).value();
      echo.server = engine_->open(pair.b.release(), kind).value();
      echo.lends = prng_.chance(1, 2);
      echo.bytes.resize(prng_.between(1, 6000));
      for (char& byte : echo.bytes) byte = static_cast<char>(prng_.next());
      of_[&echo.client->in] = of_[&echo.client->out] = &echo;
      of_[&echo.server->in] = of_[&echo.server->out] = &echo;
    }
    for (Echo& echo : echoes_) {
      client_receives(echo);
      client_sends(echo);
      server_receives(echo);
    }
    const Instant guard = after(real_kernel().now(), patience);
    while (open_ > 0 && !testing::Test::HasFailure()) {
      ASSERT_LT(real_kernel().now(), guard) << "lost";
      const Result<bool> waited = engine_->wait(guard);
      if (!waited) {
        ASSERT_EQ(waited.error().value(), ENOMEM);
      }
      for (Op* op = engine_->take_finished(); op != nullptr;) {
        Op* const next = op->next;
        op->state = Op::State::idle;
        ended(*op);
        op = next;
      }
      if (prng_.chance(1, 4)) cancel_one();
    }
  }

 private:
  void cancel_one() {
    Echo& echo = echoes_[prng_.below(echoes_.size())];
    Descriptor* const end = prng_.chance(1, 2) ? echo.client : echo.server;
    if (end == nullptr) return;
    Op& op = prng_.chance(1, 2) ? end->in : end->out;
    if (op.outstanding()) engine_->cancel(op);
  }

  void ended(Op& op) {
    Echo& echo = *of_.at(&op);
    if (echo.client != nullptr && &op == &echo.client->in) {
      client_received(echo);
      if (!echo.done()) client_receives(echo);
    } else if (echo.client != nullptr && &op == &echo.client->out) {
      client_sent(echo);
      client_sends(echo);
    } else if (&op == &echo.server->in) {
      server_received(echo);
    } else {
      server_sent(echo);
    }
    if (echo.client != nullptr && echo.done() && !echo.client->in.outstanding() &&
        !echo.client->out.outstanding())
      engine_->close(*std::exchange(echo.client, nullptr));
  }

  void client_receives(Echo& echo) {
    while (!echo.done()) {
      if (!engine_->recv(*echo.client, echo.buffer.data(), prng_.between(1, echo.buffer.size())))
        return;
      client_received(echo);
    }
  }
  void client_received(Echo& echo) {
    const int got = echo.client->in.result;
    if (got == -ECANCELED) return;
    ASSERT_GT(got, 0);
    echo.back.append(echo.buffer.data(), static_cast<std::size_t>(got));
    ASSERT_EQ(echo.bytes.compare(0, echo.back.size(), echo.back), 0);
  }
  void client_sends(Echo& echo) {
    while (echo.sent < echo.bytes.size()) {
      const std::size_t size = prng_.between(1, echo.bytes.size() - echo.sent);
      char* const from = echo.bytes.data() + echo.sent;
      echo.until = echo.sent + size;
      echo.part = {from, size};
      echo.message = {};
      echo.message.msg_iov = &echo.part;
      echo.message.msg_iovlen = 1;
      if (!(prng_.chance(1, 2) ? engine_->send(*echo.client, from, size)
                               : engine_->sendmsg(*echo.client, echo.message)))
        return;
      client_sent(echo);
    }
  }
  void client_sent(Echo& echo) {
    const Op& op = echo.client->out;
    ASSERT_TRUE(op.result == 0 || op.result == -ECANCELED) << op.result;
    echo.sent = op.result == 0 ? echo.until : echo.sent + op.moved;
  }

  void server_receives(Echo& echo) {
    if (engine_->recv_lent(*echo.server)) server_received(echo);
  }
  void server_received(Echo& echo) {
    const int got = echo.server->in.result;
    if (got == -ECANCELED) return server_receives(echo);
    ASSERT_GE(got, 0);
    if (got == 0) {  // the client has everything
      EXPECT_TRUE(echo.done());
      engine_->close(*std::exchange(echo.server, nullptr));
      --open_;
      return;
    }
    LentBuffer& buffer = Engine::lent(*echo.server);
    echo.held.assign(buffer.bytes(), static_cast<std::size_t>(got));
    echo.returned = 0;
    if (echo.lends) {
      if (engine_->send_lent(*echo.server, buffer)) server_sent(echo);
    } else {
      Engine::give_back(buffer);
      server_sends(echo);
    }
  }
  void server_sends(Echo& echo) {
    if (engine_->send(*echo.server, echo.held.data() + echo.returned,
                      echo.held.size() - echo.returned))
      server_sent(echo);
  }
  void server_sent(Echo& echo) {
    const Op& op = echo.server->out;
    ASSERT_TRUE(op.result == 0 || op.result == -ECANCELED) << op.result;
    echo.returned = op.result == 0 ? echo.held.size() : echo.returned + op.moved;
    if (echo.returned < echo.held.size())
      server_sends(echo);  // of a lent buffer, from the copy
    else
      server_receives(echo);
  }

  Prng prng_;
  std::unique_ptr<Engine> engine_;
  std::vector<Echo> echoes_ = std::vector<Echo>(4);
  std::size_t open_ = echoes_.size();
  std::map<const Op*, Echo*> of_;
};

TEST(ScriptedRingTest, EN1_EN5_EN7_EN9_every_byte_comes_back_whatever_the_ring_does) {
  const EngineKind* const kind = find_engine("uring");
  if (kind == nullptr) GTEST_SKIP() << "this build has no uring";
  const EngineCell cell{.kind = kind};
  for (std::uint64_t seed = 1; seed <= 200 && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    ScriptedRing kernel(real_kernel(), seed, seed % 2 == 0);
    // Each set of the features that this ring has: those that a ring without them shows.
    const auto without = static_cast<std::uint32_t>(seed % 3 == 0 ? Prng(seed).next() : 0);
    EchoSweep(cell, kernel, seed, without).run();
    EXPECT_GT(kernel.played(), 0U);
  }
}

// Of a crowd some have received, but the queue had no room for all of their completions. The others
// leave, and buffers are taken back from the kernel.
TEST(ScriptedRingTest, EN9_what_the_queue_had_no_room_for_is_not_lost) {
  const EngineKind* const kind = find_engine("uring");
  if (kind == nullptr) GTEST_SKIP() << "this build has no uring";
  constexpr std::size_t crowd = 50;
  constexpr std::size_t staying = 8;
  ScriptedRing kernel(real_kernel(), 0);
  const auto engine = kind->make(kernel, {.buffer_size = 64}).value();
  std::vector<Fd> peers;
  std::vector<Descriptor*> all;
  std::map<const Op*, std::size_t> place;
  for (std::size_t i = 0; i < crowd; ++i) {
    Pair pair = tcp_pair();
    all.push_back(engine->open(pair.a.release(), DescriptorKind::tcp).value());
    peers.push_back(std::move(pair.b));
    place[&all[i]->in] = i;
  }
  // Their completions, or those that are there in a moment.
  const auto finished = [&](std::size_t most) {
    std::map<std::size_t, int> results;
    while (results.size() < most) {
      if (!engine->wait(after(real_kernel().now(), patience))) break;
      Op* op = engine->take_finished();
      if (op == nullptr) break;
      for (Op* next = nullptr; op != nullptr; op = next) {
        next = op->next;
        op->state = Op::State::idle;
        results[place.at(op)] = op->result;
      }
    }
    return results;
  };
  // All receive at once, so that the kernel is given a buffer for each.
  for (std::size_t i = 0; i < crowd; ++i) put(peers[i].get(), "x");
  for (Descriptor* each : all) ASSERT_TRUE(settled(each->fd, POLLIN));
  for (Descriptor* each : all) EXPECT_FALSE(engine->recv_lent(*each));
  ASSERT_EQ(finished(crowd).size(), crowd);
  for (Descriptor* each : all) Engine::give_back(Engine::lent(*each));
  for (Descriptor* each : all) EXPECT_FALSE(engine->recv_lent(*each));
  ASSERT_TRUE(engine->wait(immediately));  // all are submitted
  for (std::size_t i = staying; i < crowd; ++i) engine->cancel(all[i]->in);
  ASSERT_EQ(finished(crowd - staying).size(), crowd - staying);

  const auto message = [](std::size_t of) { return "message " + std::to_string(of); };
  for (std::size_t i = 0; i < staying; ++i) put(peers[i].get(), message(i));
  for (std::size_t i = 0; i < staying; ++i) ASSERT_TRUE(settled(all[i]->fd, POLLIN));
  kernel.limit_queues(2);
  std::map<std::size_t, int> received = finished(1);
  ASSERT_EQ(received.size(), 2U);
  for (std::size_t i = staying; i < crowd; ++i) engine->close(*all[i]);
  received.merge(finished(staying - 2));
  ASSERT_EQ(received.size(), staying);
  for (const auto& [of, size] : received) {
    LentBuffer& buffer = Engine::lent(*all[of]);
    EXPECT_EQ(std::string_view(buffer.bytes(), static_cast<std::size_t>(size)), message(of));
    Engine::give_back(buffer);
    engine->close(*all[of]);
  }
}

TEST(EchoSweepTest, EN1_EN5_EN7_EN9_every_byte_comes_back_whoever_is_cancelled) {
  for (const EngineCell& cell : every_engine_trigger_and_ring()) {
    if (cell.scripted) continue;
    SCOPED_TRACE(cell.name());
    const std::set<int> before = open_descriptors();
    for (std::uint64_t seed = 1; seed <= 20 && !HasFailure(); ++seed) {
      SCOPED_TRACE(testing::Message() << "seed " << seed);
      EchoSweep(cell, real_kernel(), seed).run();
    }
    EXPECT_EQ(open_descriptors(), before);
  }
}

}  // namespace
}  // namespace duolu::test
