// Clauses P1, P5, P20, P30: what "ready" means, for every kind of descriptor.
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <thread>

#include "duolu/base/prng.hpp"
#include "support/descriptors.hpp"
#include "support/scenario.hpp"

namespace duolu::test {
namespace {

class ReadinessTest : public Scenario {};

TEST_P(ReadinessTest, P20_P21_P25_L01_a_fresh_connection_is_writable_and_not_readable) {
  for (const Kind& kind : two_way_kinds()) {
    SCOPED_TRACE(kind.name);
    const Pair pair = kind.make();
    const Token a = watch(pair.a.get(), Interest::readable | Interest::writable);
    EXPECT_EQ(told(a), Ready::writable);
    ASSERT_TRUE(poller->remove(a));
    const Token b = watch(pair.b.get(), Interest::readable | Interest::writable);
    EXPECT_EQ(told(b), Ready::writable);
    ASSERT_TRUE(poller->remove(b));
  }
}

TEST_P(ReadinessTest, P20_P21_P25_L01_a_fresh_one_way_channel_is_writable_and_not_readable) {
  for (const Kind& kind : every_kind()) {
    SCOPED_TRACE(kind.name);
    const Pair pair = kind.make();
    const Token reader = watch(pair.a.get(), Interest::readable);
    EXPECT_EQ(ready(reader), Ready::none);
    const Token writer = watch(pair.b.get(), Interest::writable);
    EXPECT_EQ(told(writer), Ready::writable);
    ASSERT_TRUE(poller->remove(reader));
    ASSERT_TRUE(poller->remove(writer));
  }
}

TEST_P(ReadinessTest, P20_P22_P26_L02_readable_until_everything_was_read) {
  for (const Kind& kind : every_kind()) {
    SCOPED_TRACE(kind.name);
    const Pair pair = kind.make();
    const Token token = watch(pair.a.get(), Interest::readable);
    EXPECT_EQ(ready(token), Ready::none);

    put(pair.b.get(), "abc");
    put(pair.b.get(), "def");
    EXPECT_EQ(told(token), Ready::readable);

    std::array<char, 3> part;
    ASSERT_EQ(::read(pair.a.get(), part.data(), part.size()), 3);
    rearm(token, Interest::readable);
    EXPECT_EQ(told(token), Ready::readable) << "half of it is still there";

    EXPECT_EQ(drain(pair.a.get()), 3u);
    rearm(token, Interest::readable);
    EXPECT_EQ(ready(token), Ready::none) << "all of it was read";

    put(pair.b.get(), "more");
    EXPECT_EQ(told(token), Ready::readable);
    EXPECT_EQ(drain(pair.a.get()), 4u);
    proceed(token, Interest::readable);
    put(pair.b.get(), "again");
    EXPECT_EQ(told(token), Ready::readable);
    ASSERT_TRUE(poller->remove(token));
  }
}

TEST_P(ReadinessTest, P20_P21_P25_L03_both_directions_come_in_one_report) {
  for (const Kind& kind : two_way_kinds()) {
    SCOPED_TRACE(kind.name);
    const Pair pair = kind.make();
    put(pair.b.get(), "x");
    ASSERT_TRUE(settled(pair.a.get(), POLLIN | POLLOUT));
    const Token token = watch(pair.a.get(), Interest::readable | Interest::writable);
    const std::vector<Event> found = events(patience);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].token, token);
    EXPECT_EQ(found[0].ready, Ready::readable | Ready::writable);
    ASSERT_TRUE(poller->remove(token));
  }
}

TEST_P(ReadinessTest, P5_L04_only_the_directions_asked_for_are_reported) {
  for (const Kind& kind : two_way_kinds()) {
    SCOPED_TRACE(kind.name);
    const Pair pair = kind.make();
    const Token token = watch(pair.a.get(), Interest::readable);
    EXPECT_EQ(ready(token), Ready::none) << "writable, but nobody asked";
    put(pair.b.get(), "x");
    EXPECT_EQ(told(token), Ready::readable);
    ASSERT_TRUE(poller->modify(token, Interest::writable));
    EXPECT_EQ(told(token), Ready::writable) << "readable, but nobody asks any more";
    ASSERT_TRUE(poller->modify(token, Interest::priority));
    expect_idle(settle_time);
    ASSERT_TRUE(poller->remove(token));
  }
}

// A poll request of io_uring for it is not woken.
TEST_P(ReadinessTest, P20_urgent_data_ends_a_wait_for_it) {
  const Pair pair = tcp_pair();
  const Token token = watch(pair.a.get(), Interest::priority);
  EXPECT_TRUE(look().empty());
  std::thread sender([&] {
    std::this_thread::sleep_for(5ms);
    EXPECT_EQ(::send(pair.b.get(), "!", 1, MSG_OOB), 1);
  });
  EXPECT_EQ(told(token), Ready::priority);
  sender.join();
}

/// The channel of one kind of descriptor is filled, then emptied by its reader.
class BackpressureTest : public Scenario {
 protected:
  void run(std::string_view name, std::chrono::milliseconds way = 40ms) {
    const auto kinds = every_kind();
    const auto kind =
        std::find_if(kinds.begin(), kinds.end(), [&](const Kind& one) { return one.name == name; });
    ASSERT_NE(kind, kinds.end());
    const Pair pair = kind->make();
    const Token token = watch(pair.b.get(), Interest::writable);
    EXPECT_EQ(told(token), Ready::writable);
    fill_up(pair.b.get(), way);
    rearm(token, Interest::writable);
    expect_idle(settle_time);

    proceed(token, Interest::writable);
    const Instant deadline = after(real_kernel().now(), patience);
    Ready found = Ready::none;
    while (found == Ready::none && real_kernel().now() < deadline) {
      drain(pair.a.get());
      found = ready(token, 10ms);
    }
    EXPECT_EQ(found, Ready::writable);
    EXPECT_GT(::write(pair.b.get(), "x", 1), 0);
  }
};

TEST_P(BackpressureTest, P20_P21_P26_L05_unix_stream) { run("unix stream"); }
TEST_P(BackpressureTest, P20_P21_P26_L05_unix_seqpacket) { run("unix seqpacket"); }
TEST_P(BackpressureTest, P20_P21_P26_L05_unix_datagram) { run("unix datagram"); }
TEST_P(BackpressureTest, P20_P21_P26_L05_tcp) { run("tcp", 250ms); }  // delayed acknowledgements
TEST_P(BackpressureTest, P20_P21_P26_L05_pipe) { run("pipe"); }
TEST_P(BackpressureTest, P20_P21_P26_L05_fifo) { run("fifo"); }
TEST_P(BackpressureTest, P20_P21_P26_L05_terminal) { run("terminal"); }

TEST_P(ReadinessTest, P20_P21_P26_L05_the_low_water_mark_of_a_socket_is_respected) {
  const Pair pair = tcp_pair();
  const int low = 4;  // SO_SNDLOWAT cannot be set on Linux; this is its reading counterpart
  ASSERT_EQ(::setsockopt(pair.a.get(), SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low), 0);
  const Token token = watch(pair.a.get(), Interest::readable);
  put(pair.b.get(), "abc");
  EXPECT_EQ(ready(token), Ready::none);
  put(pair.b.get(), "d");
  EXPECT_EQ(told(token), Ready::readable);
  EXPECT_EQ(drain(pair.a.get()), 4u);
}

TEST_P(ReadinessTest, P20_P22_P26_L06_a_listener_is_readable_for_every_waiting_connection) {
  const Listener listener = tcp_listener();
  const Token token = watch(listener.fd.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::none);
  constexpr int clients = 3;
  std::vector<Attempt> waiting;
  for (int i = 0; i < clients; ++i) {
    waiting.push_back(begin_connect(listener.address));
    ASSERT_TRUE(settled(waiting.back().fd.get(), POLLOUT));
  }
  for (int i = 0; i < clients; ++i) {
    EXPECT_EQ(told(token), Ready::readable) << i;
    EXPECT_EQ(accept_one(listener.fd).error, 0) << i;
    rearm(token, Interest::readable);
  }
  EXPECT_EQ(accept_one(listener.fd).error, -EAGAIN);
  proceed(token, Interest::readable);
  expect_idle(settle_time);

  const Attempt late = begin_connect(listener.address);
  EXPECT_EQ(told(token), Ready::readable);
  EXPECT_EQ(accept_one(listener.fd).error, 0);
}

TEST_P(ReadinessTest, P1_P20_L07_a_client_that_is_gone_before_accept_blocks_nobody) {
  const Listener listener = tcp_listener();
  const Token token = watch(listener.fd.get(), Interest::readable);
  Attempt client = begin_connect(listener.address);
  EXPECT_EQ(told(token), Ready::readable);
  close_with_reset(client.fd);
  // Linux hands the dead connection out; other systems have nothing, or say ECONNABORTED.
  const Accepted dead = accept_one(listener.fd);
  if (dead.error == 0) {
    char byte;
    ASSERT_TRUE(settled(dead.fd.get(), POLLHUP));
    EXPECT_EQ(::read(dead.fd.get(), &byte, 1), -1);
    EXPECT_EQ(errno, ECONNRESET);
  } else {
    EXPECT_TRUE(dead.error == -EAGAIN || dead.error == -ECONNABORTED) << dead.error;
  }
  EXPECT_EQ(accept_one(listener.fd).error, -EAGAIN);
  proceed(token, Interest::readable);
  expect_idle(settle_time);
}

TEST_P(ReadinessTest, P1_P20_L07_a_connection_that_another_one_took_blocks_nobody) {
  const Listener listener = tcp_listener();
  const Fd other_process = duplicate(listener.fd.get());
  const Token token = watch(listener.fd.get(), Interest::readable);
  const Attempt client = begin_connect(listener.address);
  EXPECT_EQ(told(token), Ready::readable);
  const Accepted taken = accept_one(other_process);
  EXPECT_EQ(taken.error, 0);
  EXPECT_EQ(accept_one(listener.fd).error, -EAGAIN);
  proceed(token, Interest::readable);
  expect_idle(settle_time);
}

TEST_P(ReadinessTest, P20_P21_P25_L08_a_datagram_without_a_byte_is_readable) {
  const Pair pair = udp_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  ASSERT_EQ(::send(pair.b.get(), "", 0, 0), 0);
  EXPECT_EQ(told(token), Ready::readable);
  char byte = 0;
  EXPECT_EQ(::recv(pair.a.get(), &byte, 1, 0), 0);
  EXPECT_EQ(::recv(pair.a.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, EAGAIN);
  proceed(token, Interest::readable);
  expect_idle(settle_time);
}

/// A UDP header and a payload whose checksum is wrong, sent by hand. Needs CAP_NET_RAW.
ssize_t send_with_bad_checksum(int raw, const sockaddr_in& to) {
  const std::array<std::uint16_t, 5> packet = {htons(9), to.sin_port, htons(10), htons(0x1234),
                                               0x4242};
  sockaddr_in address = to;
  address.sin_port = 0;
  return ::sendto(raw, packet.data(), sizeof packet, 0, reinterpret_cast<const sockaddr*>(&address),
                  sizeof address);
}

TEST_P(ReadinessTest, P1_P20_L08_a_datagram_with_a_bad_checksum_blocks_nobody) {
  const int raw = ::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_UDP);
  if (raw < 0) GTEST_SKIP() << "a raw socket needs CAP_NET_RAW: " << std::strerror(errno);
  const Fd sender(real_kernel(), raw);
  const Fd socket(real_kernel(), ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const Token token = watch(socket.get(), Interest::readable);

  ASSERT_EQ(send_with_bad_checksum(raw, address), 10);
  // Readable or not is the kernel's choice; what matters is that the read does not block, and that
  // nothing is left to report after it.
  const Ready found = ready(token);
  EXPECT_TRUE(found == Ready::none || found == Ready::readable) << to_string(found);
  std::array<char, 16> buffer;
  EXPECT_EQ(::recv(socket.get(), buffer.data(), buffer.size(), 0), -1);
  EXPECT_EQ(errno, EAGAIN);
  proceed(token, Interest::readable);
  expect_idle(settle_time);

  ASSERT_EQ(::sendto(socket.get(), "good", 4, 0, reinterpret_cast<sockaddr*>(&address), size), 4);
  EXPECT_EQ(told(token), Ready::readable);
  EXPECT_EQ(::recv(socket.get(), buffer.data(), buffer.size(), 0), 4);
}

TEST_P(ReadinessTest, P5_P20_P22_P26_L09_unread_data_is_reported_after_a_pause) {
  for (const Kind& kind : every_kind()) {
    SCOPED_TRACE(kind.name);
    const Pair pair = kind.make();
    const Token token = watch(pair.a.get(), Interest::readable);
    put(pair.b.get(), "x");
    EXPECT_EQ(told(token), Ready::readable);
    ASSERT_TRUE(poller->modify(token, Interest::none));
    expect_idle(settle_time);
    ASSERT_TRUE(poller->modify(token, Interest::readable));
    EXPECT_EQ(told(token), Ready::readable);
    ASSERT_TRUE(poller->remove(token));
  }
}

TEST_P(ReadinessTest, P5_P20_P22_P26_L09_a_high_descriptor_comes_back_after_a_pause) {
  const Pair pair = unix_pair();
  constexpr int high = 900;  // words away from the poller's own descriptors
  const Fd moved = on_number(pair.a.get(), high);
  put(pair.b.get(), "x");
  const Token token = watch(high, Interest::readable);
  EXPECT_EQ(told(token), Ready::readable);
  ASSERT_TRUE(poller->modify(token, Interest::none));
  expect_idle(settle_time);
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_EQ(told(token), Ready::readable);
  EXPECT_EQ(drain(high), 1u);
  proceed(token, Interest::readable);
  EXPECT_EQ(ready(token), Ready::none);
  put(pair.b.get(), "y");
  EXPECT_EQ(told(token), Ready::readable);
}

TEST_P(ReadinessTest, P4_P5_L10_what_is_not_registered_never_fires) {
  const Pair removed = unix_pair();
  const Pair never_added = unix_pair();
  const Pair watched = unix_pair();
  const Token gone = watch(removed.a.get(), Interest::readable | Interest::writable);
  const Token token = watch(watched.a.get(), Interest::readable);
  ASSERT_TRUE(poller->remove(gone));
  for (const Pair* pair : {&removed, &never_added, &watched}) put(pair->b.get(), "x");
  const std::vector<Event> found = events(patience);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].token, token);
  EXPECT_EQ(drain(watched.a.get()), 1u);
  proceed(token, Interest::readable);
  expect_idle(settle_time);
}

TEST_P(ReadinessTest, P20_P21_P26_P30_L11_exactly_the_ready_ones_of_a_hundred_are_reported) {
  constexpr std::size_t count = 100;
  Prng random(0x4c3131);
  std::vector<Pair> pairs;
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < count; ++i) {
    pairs.push_back(unix_pair());
    tokens.push_back(watch(pairs[i].a.get(), Interest::readable, i));
  }
  for (int round = 0; round < 50; ++round) {
    SCOPED_TRACE(round);
    std::set<std::uint64_t> expected;
    for (std::size_t i = 0; i < count; ++i) {
      if (!random.chance(1, static_cast<std::uint32_t>(1 + random.below(10)))) continue;
      expected.insert(i);
      put(pairs[i].b.get(), "x");
    }
    std::multiset<std::uint64_t> found;
    auto batch = poller->wait(immediately);
    ASSERT_TRUE(batch);
    for (const Event& event : *batch) {
      EXPECT_EQ(event.ready, Ready::readable);
      EXPECT_EQ(event.token, tokens[event.data]);
      found.insert(event.data);
    }
    EXPECT_TRUE(std::ranges::equal(found, expected));
    for (const std::uint64_t i : expected) {
      EXPECT_EQ(drain(pairs[i].a.get()), 1u);
      proceed(tokens[i], Interest::readable);
    }
  }
}

TEST_P(ReadinessTest, P20_P21_P26_L12_eventfd) {
  const Fd fd(real_kernel(), ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  const Token token = watch(fd.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::none);
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(fd.get(), &one, sizeof one), 8);
  EXPECT_EQ(told(token), Ready::readable);
  EXPECT_EQ(drain(fd.get()), 8u);
  rearm(token, Interest::readable);
  expect_idle(settle_time);

  ASSERT_TRUE(poller->modify(token, Interest::writable));
  EXPECT_EQ(told(token), Ready::writable);
  const std::uint64_t almost_all = ~std::uint64_t{0} - 1;
  ASSERT_EQ(::write(fd.get(), &almost_all, sizeof almost_all), 8);
  rearm(token, Interest::writable);
  EXPECT_EQ(ready(token), Ready::none) << "the counter is full";
  proceed(token, Interest::writable);
  EXPECT_EQ(drain(fd.get()), 8u);
  EXPECT_EQ(told(token), Ready::writable);
}

TEST_P(ReadinessTest, P20_P21_P26_L12_timerfd) {
  const Fd fd(real_kernel(), ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  const Token token = watch(fd.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::none) << "not armed";
  for (int i = 0; i < 2; ++i) {
    const itimerspec soon{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = 1'000'000}};
    ASSERT_EQ(::timerfd_settime(fd.get(), 0, &soon, nullptr), 0);
    EXPECT_EQ(told(token), Ready::readable);
    EXPECT_EQ(drain(fd.get()), 8u);
    proceed(token, Interest::readable);
    EXPECT_EQ(ready(token), Ready::none);
  }
}

TEST_P(ReadinessTest, P20_P21_P26_L12_signalfd) {
  sigset_t signals;
  sigset_t before;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGUSR2);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &signals, &before), 0);
  {
    const Fd fd(real_kernel(), ::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));
    const Token token = watch(fd.get(), Interest::readable);
    EXPECT_EQ(ready(token), Ready::none);
    for (int i = 0; i < 2; ++i) {
      ASSERT_EQ(::raise(SIGUSR2), 0);
      EXPECT_EQ(told(token), Ready::readable);
      signalfd_siginfo info{};
      EXPECT_EQ(::read(fd.get(), &info, sizeof info), static_cast<ssize_t>(sizeof info));
      EXPECT_EQ(info.ssi_signo, static_cast<std::uint32_t>(SIGUSR2));
      EXPECT_EQ(drain(fd.get()), 0u);
      proceed(token, Interest::readable);
      EXPECT_EQ(ready(token), Ready::none);
    }
    ASSERT_TRUE(poller->remove(token));
  }
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
}

TEST_P(ReadinessTest, P20_P21_P26_L12_inotify) {
  ScratchDirectory scratch;
  const Fd fd(real_kernel(), ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  ASSERT_GE(::inotify_add_watch(fd.get(), scratch.root().c_str(), IN_CREATE), 0);
  const Token token = watch(fd.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::none);
  for (const char* name : {"first", "second"}) {
    const Fd made(real_kernel(),
                  ::open(scratch.path(name).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    ASSERT_TRUE(made);
    EXPECT_EQ(told(token), Ready::readable);
    EXPECT_GT(drain(fd.get()), 0u);
    proceed(token, Interest::readable);
    EXPECT_EQ(ready(token), Ready::none);
  }
}

TEST_P(ReadinessTest, P20_P21_P25_L12_pidfd) {
  Pair life = pipe_pair();  // the child lives until this is closed
  const pid_t child = ::fork();
  if (child == 0) {
    life.b.reset();
    char byte;
    pollfd end{.fd = life.a.get(), .events = POLLIN, .revents = 0};
    ::poll(&end, 1, -1);
    ::_exit(::read(life.a.get(), &byte, 1) == 0 ? 7 : 8);
  }
  ASSERT_GT(child, 0);
  {
    const Fd fd(real_kernel(), static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
    EXPECT_TRUE(fd) << std::strerror(errno);
    const Token token = watch(fd.get(), Interest::readable);
    EXPECT_EQ(ready(token), Ready::none);
    life.b.reset();
    EXPECT_TRUE(any(told(token), Ready::readable));
    ASSERT_TRUE(poller->remove(token));
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

TEST_P(ReadinessTest, P20_P30_what_was_taken_between_two_waits_is_not_reported) {
  for (const Kind& kind : two_way_kinds()) {
    SCOPED_TRACE(kind.name);
    const Pair pair = kind.make();
    const Token token = watch(pair.a.get(), Interest::readable);
    for (int round = 0; round < 2; ++round) {
      EXPECT_EQ(ready(token, 0ns), Ready::none);
      put(pair.b.get(), "x");
      ASSERT_TRUE(settled(pair.a.get(), POLLIN));
      EXPECT_EQ(drain(pair.a.get()), 1U);
    }
    EXPECT_EQ(ready(token, 0ns), Ready::none);
    put(pair.b.get(), "x");
    EXPECT_EQ(told(token), Ready::readable);
    ASSERT_TRUE(poller->remove(token));
  }
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(ReadinessTest);
DUOLU_EVERY_BACKEND_AND_TRIGGER(BackpressureTest);

}  // namespace
}  // namespace duolu::test
