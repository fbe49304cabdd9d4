// Connecting to several addresses, and to one's own, on every backend.
#include "duolu/net/connect.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "duolu/testing/forwarding.hpp"
#include "support/endpoints.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

constexpr Duration long_time = 1h;  // is not waited for

Address numeric(const std::string& text) {
  return resolve(real_kernel(), parse_endpoint(text).value()).value().front();
}
Address address_of(const sockaddr_in& address) {
  return {reinterpret_cast<const sockaddr*>(&address), sizeof address};
}

/// Notes whom it is asked to connect to, and when; `fails` says with what, 0 for what is true.
class WatchingKernel : public ForwardingKernel {
 public:
  std::vector<std::string> asked;
  std::vector<Instant> when;
  std::function<int(const Address&)> fails = [](const Address&) { return 0; };
  std::uintptr_t lowest = std::numeric_limits<std::uintptr_t>::max();  ///< Of the stack.
  std::uintptr_t highest = 0;

  int socket(int, int type, int protocol) noexcept override {
    // How deep the stack is: the frame, since under AddressSanitizer locals may be elsewhere.
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    lowest = std::min(lowest, here);
    highest = std::max(highest, here);
    ++sockets;
    if (refuse_sockets) return -EMFILE;
    return ForwardingKernel::socket(AF_INET, type, protocol);  // of whatever family
  }
  int connect(int fd, const sockaddr* address, socklen_t size) noexcept override {
    const Address to(address, size);
    asked.push_back(to.to_string());
    when.push_back(now());
    const int error = fails(to);
    return error != 0 ? -error : ForwardingKernel::connect(fd, address, size);
  }
  bool refuse_sockets = false;
  int sockets = 0;
};

struct HasKernel {
  WatchingKernel kernel;
};
class ConnectTest : protected HasKernel, public LoopFixture {
 protected:
  ConnectTest() : LoopFixture(HasKernel::kernel) {}

  Result<Stream> connect_to(std::vector<Address> addresses, Duration stagger) {
    ConnectOptions options;
    options.stagger = stagger;
    return loop.run(connect(loop, std::move(addresses), options));
  }
};
DUOLU_EVERY_ENGINE(ConnectTest);

TEST_P(ConnectTest, the_families_take_turns) {
  kernel.fails = [](const Address&) { return ECONNREFUSED; };
  const auto order = [&](std::vector<std::string> texts) {
    kernel.asked.clear();
    std::vector<Address> addresses;
    for (const std::string& text : texts) addresses.push_back(numeric(text));
    EXPECT_EQ(connect_to(addresses, long_time).error().value(), ECONNREFUSED);
    return kernel.asked;
  };
  using Texts = std::vector<std::string>;
  EXPECT_EQ(order({"[::1]:1", "[::1]:2", "[::1]:3", "127.0.0.1:1", "127.0.0.1:2"}),
            (Texts{"tcp://[::1]:1", "tcp://127.0.0.1:1", "tcp://[::1]:2", "tcp://127.0.0.1:2",
                   "tcp://[::1]:3"}));
  EXPECT_EQ(order({"127.0.0.1:1", "[::1]:1", "[::1]:2"}),
            (Texts{"tcp://127.0.0.1:1", "tcp://[::1]:1", "tcp://[::1]:2"}));
}

TEST_P(ConnectTest, a_failure_begins_the_next_attempt) {
  const Listener good = tcp_listener();
  const Address refusing = address_of(closed_port());
  const Result<Stream> stream =
      connect_to({refusing, refusing, address_of(good.address)}, long_time);
  ASSERT_TRUE(stream) << stream.error().message();
  EXPECT_EQ(kernel.asked.size(), 3U);
}

// One that fails after it had to wait.
TEST_P(ConnectTest, a_later_failure_begins_the_next_attempt) {
  const Listener good = tcp_listener();
  int calls = 0;
  kernel.fails = [&](const Address&) { return ++calls == 1 ? EAGAIN : calls == 2 ? EIO : 0; };
  const Result<Stream> stream =
      connect_to({numeric("127.0.0.1:1"), address_of(good.address)}, long_time);
  ASSERT_TRUE(stream) << stream.error().message();
  EXPECT_EQ(kernel.asked.size(), 3U);
}

TEST_P(ConnectTest, once_one_has_won_no_other_is_begun) {
  const Listener good = tcp_listener();
  EXPECT_TRUE(connect_to(std::vector(3, address_of(good.address)), long_time));
  EXPECT_EQ(kernel.sockets, 1);
}

TEST_P(ConnectTest, what_is_connected_sends_at_once) {
  const Listener good = tcp_listener();
  const Result<Stream> stream = loop.run(connect(loop, address_of(good.address)));
  ASSERT_TRUE(stream) << stream.error().message();
  int value = 0;
  socklen_t size = sizeof value;
  ASSERT_EQ(real_kernel().getsockopt(stream->fd(), IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
  EXPECT_EQ(value, 1);
}

/// Performs what it is given at once.
class CountingWorkers final : public Workers {
 public:
  void submit(OffloadJob& job) noexcept override {
    ++jobs;
    job.perform();
  }
  bool withdraw(OffloadJob&) noexcept override { return false; }
  int jobs = 0;
};

TEST_P(ConnectTest, OF8_names_are_looked_up_by_the_workers_of_the_loop) {
  const Listener good = tcp_listener();
  CountingWorkers workers;
  loop.set_workers(workers);
  const std::string port = std::to_string(address_of(good.address).port());
  EXPECT_TRUE(loop.run(connect("localhost:" + port)));
  EXPECT_EQ(workers.jobs, 1);
}

TEST_P(ConnectTest, the_error_is_that_of_the_last_failure) {
  int calls = 0;
  kernel.fails = [&](const Address&) { return ++calls == 3 ? EHOSTUNREACH : ENETUNREACH; };
  const Address any = numeric("127.0.0.1:1");
  EXPECT_EQ(connect_to({any, any, any}, long_time).error().value(), EHOSTUNREACH);
}

/// A port where nothing answers: its backlog is full.
struct BlackHole {
  Listener listener = tcp_listener(0);
  std::vector<Attempt> filling;
  BlackHole() {
    for (int i = 0; i < 4; ++i) filling.push_back(begin_connect(listener.address));
  }
  [[nodiscard]] Address address() const { return address_of(listener.address); }
};

TEST_P(ConnectTest, time_begins_the_next_attempt_and_never_early) {
  const BlackHole hole;
  const Listener good = tcp_listener();
  const Result<Stream> stream =
      connect_to({hole.address(), hole.address(), address_of(good.address)}, 20ms);
  ASSERT_TRUE(stream) << stream.error().message();
  ASSERT_EQ(kernel.when.size(), 3U);
  EXPECT_GE(kernel.when[1] - kernel.when[0], 20ms);
  EXPECT_GE(kernel.when[2] - kernel.when[1], 20ms);
}

// The second one fails, and so begins the third. The time of the second has ended with it: the
// fourth has to wait for that of the third.
TEST_P(ConnectTest, a_turn_comes_once) {
  const BlackHole hole;
  const Listener good = tcp_listener();
  const Address refusing = address_of(closed_port());
  const Result<Stream> stream =
      connect_to({hole.address(), refusing, hole.address(), address_of(good.address)}, 30ms);
  ASSERT_TRUE(stream) << stream.error().message();
  ASSERT_EQ(kernel.when.size(), 4U);
  EXPECT_GE(kernel.when[1] - kernel.when[0], 30ms);
  EXPECT_GE(kernel.when[3] - kernel.when[2], 30ms);
}

TEST_P(ConnectTest, two_failures_begin_two_attempts) {
  const BlackHole hole;
  const Listener good = tcp_listener();
  int calls = 0;
  kernel.fails = [&](const Address&) { return ++calls <= 3 ? ECONNREFUSED : 0; };
  const Address any = numeric("127.0.0.1:1");
  const Result<Stream> stream =
      connect_to({any, any, any, hole.address(), address_of(good.address)}, 30ms);
  ASSERT_TRUE(stream) << stream.error().message();
  ASSERT_EQ(kernel.when.size(), 5U);
  EXPECT_GE(kernel.when[4] - kernel.when[3], 30ms);
}

TEST_P(ConnectTest, attempts_that_fail_at_once_take_no_stack) {
  kernel.refuse_sockets = true;
  const std::vector<Address> many(2000, numeric("127.0.0.1:1"));
  EXPECT_EQ(connect_to(many, long_time).error().value(), EMFILE);
  EXPECT_LT(kernel.highest - kernel.lowest, 16U * 1024);
}

TEST_P(ConnectTest, cancelled_before_it_begins_it_asks_nobody) {
  Chain cancelled;
  cancelled.cancel();
  const std::vector<Address> many(20, numeric("127.0.0.1:1"));
  EXPECT_EQ(loop.run(connect(loop, many), cancelled).error().value(), ECANCELED);
  EXPECT_TRUE(kernel.asked.empty());
  EXPECT_LE(kernel.sockets, 1);
}

// --- a socket that meets itself

/// Gives every socket that is connected the address that it is connected to, as the system does
/// when that port is next.
class MirrorKernel final : public WatchingKernel {
 public:
  bool mirrors = true;
  int connect(int fd, const sockaddr* address, socklen_t size) noexcept override {
    if (std::exchange(mirrors, false)) {
      EXPECT_EQ(ForwardingKernel::bind(fd, address, size), 0);
    }
    return WatchingKernel::connect(fd, address, size);
  }
};

struct HasMirror {
  MirrorKernel kernel;
};
class MirrorTest : protected HasMirror, public LoopFixture {
 protected:
  MirrorTest() : LoopFixture(HasMirror::kernel) {}
};
DUOLU_EVERY_ENGINE(MirrorTest);

TEST_P(MirrorTest, nobody_connects_to_itself) {
  const Address nobody = address_of(closed_port());
  EXPECT_EQ(loop.run(connect(loop, nobody)).error().value(), ECONNREFUSED);
  // The port is free at once, whoever wants it, without SO_REUSEADDR too.
  const Fd server(real_kernel(), real_kernel().socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(real_kernel().bind(server.get(), nobody.data(), nobody.size()), 0);
}

TEST_P(MirrorTest, it_is_a_failure_that_begins_the_next_attempt) {
  const Listener good = tcp_listener();
  ConnectOptions options;
  options.stagger = long_time;
  const std::vector<Address> both{address_of(closed_port()), address_of(good.address)};
  const Result<Stream> stream = loop.run(connect(loop, both, options));
  ASSERT_TRUE(stream) << stream.error().message();
  EXPECT_FALSE(is_connected_to_itself(kernel, stream->fd(), both[1]));
}

// The same port at another address is another end.
TEST_P(MirrorTest, the_same_port_elsewhere_is_no_mirror) {
  kernel.mirrors = false;
  const Listener good = tcp_listener();
  Address own = numeric("127.0.0.2:0");
  own.set_port(address_of(good.address).port());
  const Fd client(real_kernel(), real_kernel().socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_EQ(real_kernel().bind(client.get(), own.data(), own.size()), 0);
  const Address to = address_of(good.address);
  (void)real_kernel().connect(client.get(), to.data(), to.size());
  EXPECT_FALSE(is_connected_to_itself(kernel, client.get(), to));
}

}  // namespace
}  // namespace duolu::test
