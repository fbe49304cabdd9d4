// The server under failures that this machine would not show by itself, on every backend and
// trigger.
#include "apps/server.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "duolu/base/prng.hpp"
#include "duolu/testing/fault.hpp"
#include "support/allocations.hpp"
#include "support/conformance.hpp"
#include "support/engines.hpp"

namespace duolu::apps {
namespace {

using namespace std::chrono_literals;
using test::EngineCell;

/// Long past anything that works, so that a hang ends as a failure.
constexpr int guard_seconds = 30;

std::unique_ptr<Service> make_service(std::string_view name) {
  for (const ServiceKind& kind : services())
    if (kind.name == name) return kind.make(real_host());
  return nullptr;
}

/// Makes a call that blocks, again where it is interrupted: a ring that this thread has closed does
/// that once, without a signal (io_ring_exit_work), to a call with a time limit of its own.
template <typename Call>
ssize_t uninterrupted(Call call) {
  ssize_t done = 0;
  do done = call();
  while (done < 0 && errno == EINTR);
  return done;
}

/// A blocking client, whose calls end with EAGAIN after the guard time.
class Client {
 public:
  explicit Client(const Address& server)
      : fd_(real_kernel(), ::socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval guard{.tv_sec = guard_seconds, .tv_usec = 0};
    ::setsockopt(fd(), SOL_SOCKET, SO_RCVTIMEO, &guard, sizeof guard);
    ::setsockopt(fd(), SOL_SOCKET, SO_SNDTIMEO, &guard, sizeof guard);
    if (uninterrupted([&] { return ::connect(fd(), server.data(), server.size()); }) != 0)
      ADD_FAILURE() << "connect: " << errno;
  }

  [[nodiscard]] int fd() const { return fd_.get(); }
  void send(std::string_view text) const {
    EXPECT_EQ(uninterrupted([&] { return ::send(fd(), text.data(), text.size(), MSG_NOSIGNAL); }),
              static_cast<ssize_t>(text.size()));
  }
  /// What one recv(2) gives: bytes, 0 at the end, -1 with errno.
  ssize_t receive_into(std::span<char> buffer, int flags = 0) const {
    return uninterrupted([&] { return ::recv(fd(), buffer.data(), buffer.size(), flags); });
  }
  /// Exactly so many bytes, or what came before the end or the guard.
  [[nodiscard]] std::string receive(std::size_t size) const {
    std::string text(size, '\0');
    std::size_t received = 0;
    while (received < size) {
      const ssize_t got = receive_into(std::span(text).subspan(received), MSG_WAITALL);
      if (got <= 0) break;
      received += static_cast<std::size_t>(got);
    }
    text.resize(received);
    return text;
  }
  [[nodiscard]] bool is_closed() const {
    char byte;
    const ssize_t got = receive_into({&byte, 1});
    return got == 0 || (got < 0 && errno == ECONNRESET);
  }
  void close() { fd_.reset(); }

 private:
  Fd fd_;
};

class ServerTest : public testing::TestWithParam<EngineCell> {
 protected:
  void prepare(ServerOptions options = {.grace = 0s},
               std::unique_ptr<Service> what = make_service("echo")) {
    server.reset();  // before its loop and its service
    loop.reset();    // before its engine
    service = std::move(what);
    auto made = GetParam().make(kernel, {.buffer_size = service->read_size()});
    ASSERT_TRUE(made) << made.error().message();
    engine = std::move(*made);
    loop.emplace(*engine);
    server.emplace(*loop, *service, options, journal);
    const auto bound = server->listen(parse_endpoint("127.0.0.1:0").value());
    ASSERT_TRUE(bound) << bound.error().error.message();
    address = bound->front();
  }

  void launch() {
    thread = std::thread([this] {
      const test::CountsAllocations counted;
      Result<Totals> result = server->run();
      EXPECT_TRUE(result) << result.error().message();
      if (result) totals = *result;
    });
  }

  void start(ServerOptions options = {.grace = 0s},
             std::unique_ptr<Service> what = make_service("echo")) {
    prepare(std::move(options), std::move(what));
    launch();
  }

  Totals stop() {
    if (thread.joinable()) {
      server->stop();
      thread.join();
    }
    return totals;
  }

  void TearDown() override { stop(); }

  [[nodiscard]] std::uint64_t waits() const {
    return kernel.calls(Call::pselect) + kernel.calls(Call::ppoll) +
           kernel.calls(Call::epoll_wait) + kernel.calls(Call::epoll_pwait2) +
           kernel.calls(Call::io_uring_enter);
  }

  FaultKernel kernel{real_kernel(), 7};
  Journal journal{Verbosity::quiet, false, "test"};
  std::unique_ptr<Service> service;
  std::unique_ptr<Engine> engine;
  std::optional<Loop> loop;
  std::optional<Server> server;
  Address address;
  std::thread thread;
  Totals totals;
};

/// What the kernel answers to calls of accept(2), recv(2) and send(2), which a ring does without.
class ServerCallsTest : public ServerTest {};

DUOLU_EVERY_ENGINE_AND_TRIGGER(ServerTest);
DUOLU_EVERY_READINESS_ENGINE(ServerCallsTest);

// --- accepting

TEST_P(ServerCallsTest, an_error_of_accept_costs_nobody_the_connection) {
  start();
  for (const int error : {ECONNABORTED, EPROTO, EINTR, ENETDOWN, EHOSTUNREACH, ETIMEDOUT, EPERM,
                          EACCES, ENOSYS, EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
    SCOPED_TRACE(errno_code(error).message());
    kernel.reset_counts();
    kernel.fail(Call::accept, 1, error);
    const Client client(address);
    client.send("still here");
    EXPECT_EQ(client.receive(10), "still here");
    // The failure, the connection, the bottom of the backlog; and a turn for nothing.
    EXPECT_LE(kernel.calls(Call::accept), 6U);
  }
  EXPECT_EQ(stop().failed, 0U);
}

/// Whatever the error is: a client who waits costs next to no calls, those who are in are served,
/// and the client is let in when the error is over.
void lasting_error(FaultKernel& kernel, const Address& address, int error,
                   const std::function<std::uint64_t()>& waits) {
  SCOPED_TRACE(errno_code(error).message());
  const Client inside(address);
  inside.send("a");
  ASSERT_EQ(inside.receive(1), "a");
  kernel.reset_counts();
  kernel.fail_always(Call::accept, error);
  const Client outside(address);
  outside.send("b");
  const Instant end = after(real_kernel().now(), 400ms);
  std::uint64_t messages = 0;
  for (; real_kernel().now() < end; ++messages) {
    inside.send("c");
    ASSERT_EQ(inside.receive(1), "c");
    std::this_thread::sleep_for(5ms);
  }
  // After 0, 100, 300 and 700 ms.
  EXPECT_LE(kernel.calls(Call::accept), 8U);
  EXPECT_LE(waits(), 2 * messages + 20);  // select asks poll for the details
  kernel.clear();
  EXPECT_EQ(outside.receive(1), "b");
}

TEST_P(ServerCallsTest, a_lasting_error_of_accept_does_not_spin) {
  start();
  // No descriptor; and one that a security module gives, which leaves the connection in the
  // backlog as well.
  for (const int error : {EMFILE, EACCES})
    lasting_error(kernel, address, error, [this] { return waits(); });
}

TEST_P(ServerCallsTest, many_failures_between_connections_lose_none) {
  start();
  Prng random(8);
  std::vector<Client> clients;
  for (int i = 0; i < 60; ++i) {
    if (random.chance(1, 2))
      kernel.fail(Call::accept, 1 + random.below(3), random.chance(1, 2) ? ECONNABORTED : EINTR,
                  1 + random.below(100));
    clients.emplace_back(address).send("hello");
  }
  for (const Client& client : clients) EXPECT_EQ(client.receive(5), "hello");
  EXPECT_EQ(stop().accepted, 60U);
}

TEST_P(ServerCallsTest, a_connection_the_poller_does_not_take_yet_is_kept) {
  prepare();
  const Client first(address);
  first.send("a");
  kernel.fail(test::call_named(GetParam().kind->poller->traits.register_call), 1, ENOMEM);
  launch();
  EXPECT_EQ(first.receive(1), "a");
  const Totals all = stop();
  EXPECT_EQ(all.failed, 0U);
  EXPECT_EQ(all.accepted, 1U);
}

// --- transfers

/// The byte at a position of the stream of connection `id`.
char coded(std::size_t id, std::size_t position) {
  return static_cast<char>(position ^ (position >> 8U) * 31 ^ (position >> 16U) * 17 ^ id * 59);
}

/// Sends and receives on many connections at once until all of it came back; no threads.
void exchange(const Address& address, std::size_t connections, std::size_t size, Prng& random) {
  struct Flow {
    Client client;
    std::size_t sent = 0;
    std::size_t received = 0;
    bool ended = false;
  };
  std::vector<Flow> flows;
  std::vector<pollfd> fds;
  for (std::size_t i = 0; i < connections; ++i) {
    fds.push_back({.fd = flows.emplace_back(Client(address)).client.fd(),
                   .events = POLLIN | POLLOUT,
                   .revents = 0});
  }
  std::size_t open = connections;
  std::string piece;
  while (open > 0) {
    ASSERT_GT(::poll(fds.data(), fds.size(), guard_seconds * 1000), 0) << open << " are stuck";
    for (std::size_t i = 0; i < connections; ++i) {
      Flow& flow = flows[i];
      if ((fds[i].revents & POLLOUT) != 0) {
        piece.resize(std::min<std::size_t>(size - flow.sent, 1 + random.below(20'000)));
        for (std::size_t k = 0; k < piece.size(); ++k) piece[k] = coded(i, flow.sent + k);
        const ssize_t sent =
            ::send(fds[i].fd, piece.data(), piece.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) flow.sent += static_cast<std::size_t>(sent);
        if (flow.sent == size) {
          ::shutdown(fds[i].fd, SHUT_WR);
          fds[i].events = POLLIN;
        }
      }
      if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0 || random.chance(1, 4)) continue;
      piece.resize(1 + random.below(30'000));
      const ssize_t got = ::recv(fds[i].fd, piece.data(), piece.size(), MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) continue;
      ASSERT_GE(got, 0) << errno_code(errno).message() << " after " << flow.received;
      for (std::size_t k = 0; k < static_cast<std::size_t>(got); ++k)
        ASSERT_EQ(piece[k], coded(i, flow.received + k)) << "at " << flow.received + k;
      flow.received += static_cast<std::size_t>(got);
      if (got != 0) continue;
      ASSERT_EQ(flow.received, size) << "of connection " << i;
      fds[i].fd = -1;
      --open;
    }
  }
}

TEST_P(ServerCallsTest, every_byte_comes_back_in_order_through_a_bad_kernel) {
  prepare();
  kernel.set_rates({.short_transfers = 300, .eagain = 200, .eintr = 150, .delayed_readiness = 150});
  launch();
  // How many calls it takes, and so how many faults there are, is up to the scheduler.
  std::uint64_t clients = 0;
  for (std::uint64_t seed = 1; seed <= 3 || (kernel.injected() < 1000 && seed <= 30); ++seed) {
    SCOPED_TRACE(seed);
    Prng random(seed);
    exchange(address, 20, 150'000, random);
    if (HasFatalFailure()) return;
    clients += 20;
  }
  EXPECT_GE(kernel.injected(), 1000U);
  kernel.clear();
  const Totals all = stop();
  EXPECT_EQ(all.accepted, clients);
  EXPECT_EQ(all.bytes_in, clients * 150'000U);
  EXPECT_EQ(all.bytes_out, all.bytes_in);
  EXPECT_EQ(all.failed, 0U);
  EXPECT_EQ(all.cut, 0U);
}

TEST_P(ServerTest, bytes_behind_urgent_data_are_answered_too) {
  start();
  const Client client(address);
  client.send("x");
  ASSERT_EQ(client.receive(1), "x");
  std::string expected;
  for (int round = 0; round < 50; ++round) {
    // A read stops at the urgent byte: it is short although more is there.
    client.send("before");
    ASSERT_EQ(::send(client.fd(), "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
    client.send("behind");
    ASSERT_EQ(client.receive(12), "beforebehind") << "in round " << round;
  }
}

TEST_P(ServerCallsTest, a_broken_connection_is_counted_and_disturbs_nobody) {
  start();
  const Client good(address);
  for (const auto& [call, error] : {std::pair{Call::recv, ECONNRESET},
                                    {Call::recv, ETIMEDOUT},
                                    {Call::send, EPIPE},
                                    {Call::send, ECONNRESET}}) {
    const Client bad(address);
    bad.send("a");
    ASSERT_EQ(bad.receive(1), "a");
    kernel.fail(call, 1, error);
    bad.send("b");
    EXPECT_TRUE(bad.is_closed());
    good.send("c");
    EXPECT_EQ(good.receive(1), "c");
  }
  EXPECT_EQ(stop().failed, 4U);
}

// --- memory

TEST_P(ServerTest, a_message_allocates_nothing) {
  constexpr std::size_t connections = 100;
  constexpr std::size_t rounds = 100;
  start();
  std::vector<Client> clients;
  const std::string message(64, 'm');
  for (std::size_t i = 0; i < connections; ++i) clients.emplace_back(address);
  const auto ping_pong = [&] {
    for (const Client& client : clients) client.send(message);
    for (const Client& client : clients) ASSERT_EQ(client.receive(message.size()), message);
  };
  ping_pong();  // by the end of it every client was accepted, which does allocate
  ASSERT_GT(test::allocations(), 0U) << "nothing is counted";
  // Lists in the poller grow to what a turn may hold; when the first such turn comes is chance. An
  // allocation a message, or one in a thousand, would be in every stretch of 10,000 messages.
  std::uint64_t made = 1;
  for (int attempt = 0; attempt < 5 && made != 0; ++attempt) {
    const std::uint64_t before = test::allocations();
    for (std::size_t round = 0; round < rounds; ++round) ping_pong();
    if (HasFatalFailure()) return;
    made = test::allocations() - before;
  }
  EXPECT_EQ(made, 0U) << "in " << connections * rounds << " messages";
}

// --- time

/// Sends small pieces without end, so that a reader who keeps up never fills the socket.
class Drip final : public Service {
 public:
  Reply answer(State*, std::span<char>, std::vector<char>&) override { return {}; }
  bool produces() const override { return true; }
  std::span<const char> produce(State*, std::vector<char>& scratch) override {
    scratch.assign(16, 'd');
    return scratch;
  }
};

TEST_P(ServerTest, who_is_sent_to_is_not_idle) {
  start({.idle_timeout = 300ms, .grace = 0s}, std::make_unique<Drip>());
  const Client client(address);
  const Instant end = after(real_kernel().now(), 1s);
  std::string buffer(1 << 20, '\0');
  while (real_kernel().now() < end) ASSERT_GT(client.receive_into(buffer), 0);
}

TEST_P(ServerTest, stopping_ends_a_service_that_sends_without_end) {
  start({.grace = 20s}, make_service("chargen"));
  kernel.set_rates({.short_transfers = 1000});  // something is always left, and it always moves
  std::atomic<bool> over{false};
  const Client client(address);
  ASSERT_FALSE(client.receive(100'000).empty());
  std::thread reader([&] {
    std::string buffer(1 << 20, '\0');
    while (client.receive_into(buffer) > 0) {
    }
    over = true;
  });
  const Instant begin = real_kernel().now();
  server->stop();
  // What the socket held is still to be read, so the reader may take longer than the server.
  const Totals all = stop();
  EXPECT_EQ(all.cut, 0U);
  EXPECT_LT(real_kernel().now() - begin, 15s);
  ::shutdown(client.fd(), SHUT_RDWR);
  reader.join();
  EXPECT_TRUE(over);
}

TEST_P(ServerTest, stop_before_run_ends_it_at_once) {
  prepare({.grace = 60s});
  server->stop();
  launch();
  const Instant begin = real_kernel().now();
  stop();
  EXPECT_LT(real_kernel().now() - begin, 50s);
}

TEST_P(ServerTest, who_sends_is_not_idle_and_who_does_not_is) {
  start({.idle_timeout = 400ms, .grace = 0s});
  const Client busy(address);
  const Client idle(address);
  const Instant begin = real_kernel().now();
  std::thread watcher([&] {
    EXPECT_TRUE(idle.is_closed());
    EXPECT_GE(real_kernel().now() - begin, 400ms);
  });
  while (real_kernel().now() < after(begin, 1200ms)) {
    busy.send("x");
    ASSERT_EQ(busy.receive(1), "x");
    std::this_thread::sleep_for(5ms);
  }
  watcher.join();
  EXPECT_EQ(stop().failed, 0U);
}

/// While it stops, whoever is quiet for 200 ms is closed.
TEST_P(ServerTest, who_sends_while_it_stops_is_not_quiet) {
  for (const char* const name : {"echo", "upper"}) {
    start({.grace = 60s}, make_service(name));
    Client busy(address);
    Client idle(address);
    for (const Client* const each : {&busy, &idle}) {
      each->send("0");
      ASSERT_EQ(each->receive(1), "0");
    }
    server->stop();
    const Instant begin = real_kernel().now();
    std::uint64_t bytes = 2;
    for (; real_kernel().now() < after(begin, 500ms); ++bytes) {
      busy.send("1");
      ASSERT_EQ(busy.receive(1), "1") << name;
    }
    EXPECT_TRUE(idle.is_closed());
    EXPECT_TRUE(busy.is_closed());
    busy.close();
    idle.close();
    const Totals at_end = stop();
    EXPECT_EQ(at_end.cut, 0U);
    EXPECT_EQ(at_end.bytes_out, bytes);
  }
}

TEST_P(ServerTest, what_a_peer_did_not_take_was_not_sent) {
  start({.grace = 0s});
  const Client client(address);
  const std::string piece(1'000'000, 'x');
  pollfd writable{.fd = client.fd(), .events = POLLOUT, .revents = 0};
  while (::poll(&writable, 1, 500) == 1)  // until nothing moves any more
    (void)::send(client.fd(), piece.data(), piece.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  const Totals at_end = stop();
  EXPECT_EQ(at_end.cut, 1U);
  EXPECT_GT(at_end.bytes_out, 0U);
  EXPECT_LT(at_end.bytes_out, at_end.bytes_in);
  EXPECT_LE(at_end.bytes_in - at_end.bytes_out, 64U * 1024);  // one answer
}

TEST_P(ServerTest, idle_connections_do_not_wake_it) {
  start();
  std::vector<Client> clients;
  for (int i = 0; i < 50; ++i) {
    clients.emplace_back(address).send("x");
    ASSERT_EQ(clients.back().receive(1), "x");
  }
  std::this_thread::sleep_for(50ms);
  const std::uint64_t before = waits();
  std::this_thread::sleep_for(500ms);
  EXPECT_EQ(waits(), before);
}

TEST_P(ServerTest, a_short_idle_timeout_costs_nothing_while_nobody_is_there) {
  start({.idle_timeout = 1us, .grace = 0s});
  const Client first(address);
  EXPECT_TRUE(first.is_closed());
  std::this_thread::sleep_for(50ms);
  const std::uint64_t before = waits();
  std::this_thread::sleep_for(300ms);
  EXPECT_LE(waits() - before, 3U);  // the linger of the first one ends
  const Client second(address);
  EXPECT_TRUE(second.is_closed());
}

// --- handlers

/// Throws at "boom", holds the loop at "hold".
class Bad final : public Service {
 public:
  Reply answer(State*, std::span<char> input, std::vector<char>&) override {
    const std::string_view text(input.data(), input.size());
    if (text == "boom") throw std::runtime_error("no\x1b way");
    if (text == "hold") std::this_thread::sleep_for(200ms);
    return {.bytes = input};
  }
};

TEST_P(ServerTest, an_exception_ends_its_connection_and_is_reported) {
  journal = Journal(Verbosity::normal, false, "test");
  testing::internal::CaptureStderr();
  start({.grace = 0s}, std::make_unique<Bad>());
  const Client good(address);
  const Client bad(address);
  bad.send("boom");
  EXPECT_TRUE(bad.is_closed());
  good.send("still here");
  EXPECT_EQ(good.receive(10), "still here");
  EXPECT_EQ(stop().failed, 1U);
  const std::string told = testing::internal::GetCapturedStderr();
  EXPECT_NE(told.find("its handler threw: no\\x1b way"), std::string::npos) << told;
}

TEST_P(ServerTest, who_holds_the_loop_is_named) {
  journal = Journal(Verbosity::normal, false, "test");
  testing::internal::CaptureStderr();
  start({.grace = 0s, .stall = 20ms}, std::make_unique<Bad>());
  const Client client(address);
  client.send("x");
  ASSERT_EQ(client.receive(1), "x");
  client.send("hold");
  EXPECT_EQ(client.receive(4), "hold");
  stop();
  const std::string told = testing::internal::GetCapturedStderr();
  EXPECT_NE(told.find("connection held the loop for "), std::string::npos) << told;
  EXPECT_NE(told.find(" ms (request, from "), std::string::npos) << told;
  // The watchdog, while it did.
  EXPECT_NE(told.find("connection has been holding the loop for "), std::string::npos) << told;
}

}  // namespace
}  // namespace duolu::apps
