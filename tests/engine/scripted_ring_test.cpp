// The ring engine on a ring that does by a script what the kernel does rarely. Its other tests run
// on such rings too (engines.hpp); here are many seeds, and requests that are cancelled meanwhile.
#include "support/scripted_ring.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "duolu/base/prng.hpp"
#include "duolu/engine/engines.hpp"
#include "support/conformance.hpp"
#include "support/endpoints.hpp"

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
  bool lends = false;  ///< The server returns what it received in the buffer that it came in.
  std::string held{};
  iovec part{};
  msghdr message{};

  [[nodiscard]] bool done() const { return back.size() == bytes.size(); }
};

class EchoSweep {
 public:
  EchoSweep(const EngineKind& kind, std::uint64_t seed)
      : prng_(seed),
        kernel_(real_kernel(), seed, seed % 2 == 0),
        engine_(kind.make(kernel_, {.budget = 4, .buffer_size = 512, .buffers = 3}).value()) {}
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
    EXPECT_GT(kernel_.played(), 0U);
  }

 private:
  void cancel_one() {
    Echo& echo = echoes_[prng_.below(echoes_.size())];
    if (echo.client == nullptr) return;
    Op& op = prng_.chance(1, 2) ? echo.client->in : echo.client->out;
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
      EXPECT_EQ(op.result, 0);
      server_receives(echo);
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
    echo.sent += op.moved;
  }

  void server_receives(Echo& echo) {
    if (engine_->recv_lent(*echo.server)) server_received(echo);
  }
  void server_received(Echo& echo) {
    const int got = echo.server->in.result;
    ASSERT_GE(got, 0);
    if (got == 0) {  // the client has everything
      EXPECT_TRUE(echo.done());
      engine_->close(*std::exchange(echo.server, nullptr));
      --open_;
      return;
    }
    LentBuffer& buffer = Engine::lent(*echo.server);
    bool now = false;
    if (echo.lends) {
      now = engine_->send_lent(*echo.server, buffer);
    } else {
      echo.held.assign(buffer.bytes(), static_cast<std::size_t>(got));
      Engine::give_back(buffer);
      now = engine_->send(*echo.server, echo.held.data(), echo.held.size());
    }
    if (now) server_receives(echo);
  }

  Prng prng_;
  ScriptedRing kernel_;
  std::unique_ptr<Engine> engine_;
  std::vector<Echo> echoes_ = std::vector<Echo>(4);
  std::size_t open_ = echoes_.size();
  std::map<const Op*, Echo*> of_;
};

TEST(ScriptedRingTest, EN1_EN5_EN7_EN9_every_byte_comes_back_whatever_the_ring_does) {
  const EngineKind* const kind = find_engine("uring");
  if (kind == nullptr) GTEST_SKIP() << "this build has no uring";
  for (std::uint64_t seed = 1; seed <= 200 && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    EchoSweep(*kind, seed).run();
  }
}

}  // namespace
}  // namespace duolu::test
