// Clause P6 on sockets: resets, the outcome of connect, urgent data, and errors that are told
// beside the data.
#include <time.h>  // linux/errqueue.h needs it and does not say so

#include <linux/errqueue.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#include <cerrno>
#include <thread>

#include "support/scenario.hpp"

namespace duolu::test {
namespace {

constexpr Interest both = Interest::readable | Interest::writable;

class SocketErrorTest : public Scenario {
 protected:
  static ssize_t receive(int fd, int flags = 0) {
    std::array<char, 64> buffer;
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), flags);
    return got < 0 ? -errno : got;
  }
  static std::string receive_text(int fd) {
    std::array<char, 64> buffer;
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
    return got < 0 ? std::strerror(errno) : std::string(buffer.data(), static_cast<size_t>(got));
  }
};

TEST_P(SocketErrorTest, P6_H03_a_reset_is_an_error_and_a_hangup) {
  Pair pair = tcp_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::none);
  close_with_reset(pair.b);
  ASSERT_TRUE(settled(pair.a.get(), POLLERR | POLLHUP));
  rearm(token, Interest::readable);
  EXPECT_EQ(told(token), Ready::readable | Ready::error | Ready::hangup | Ready::read_closed);
  EXPECT_EQ(receive(pair.a.get()), -ECONNRESET);
  EXPECT_EQ(receive(pair.a.get()), 0) << "told once";
}

TEST_P(SocketErrorTest, P6_H03_the_error_of_a_reset_can_be_taken_once) {
  Pair pair = tcp_pair();
  close_with_reset(pair.b);
  ASSERT_TRUE(settled(pair.a.get(), POLLERR | POLLHUP));
  const Token token = watch(pair.a.get(), both);
  EXPECT_EQ(told(token),
            Ready::readable | Ready::writable | Ready::error | Ready::hangup | Ready::read_closed);
  EXPECT_EQ(take_error(pair.a.get()), ECONNRESET);
  EXPECT_EQ(take_error(pair.a.get()), 0);
  rearm(token, both);
  EXPECT_EQ(told(token), Ready::readable | Ready::writable | Ready::hangup | Ready::read_closed);
}

TEST_P(SocketErrorTest, P6_H15_a_refused_connect_is_told_in_one_report) {
  const Attempt attempt = begin_connect(closed_port());
  ASSERT_EQ(attempt.result, -EINPROGRESS);
  ASSERT_TRUE(settled(attempt.fd.get(), POLLERR | POLLHUP));
  const Token token = watch(attempt.fd.get(), both);
  const std::vector<Event> found = events(patience);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].token, token);
  EXPECT_EQ(found[0].ready,
            Ready::readable | Ready::writable | Ready::error | Ready::hangup | Ready::read_closed);
  EXPECT_EQ(take_error(attempt.fd.get()), ECONNREFUSED);
  if (trigger() != Trigger::level) {
    expect_idle(settle_time);
  }
}

TEST_P(SocketErrorTest, P6_H15_a_refused_connect_ends_the_wait_for_it) {
  const Attempt attempt = begin_connect(closed_port());
  ASSERT_EQ(attempt.result, -EINPROGRESS);
  const Token token = watch(attempt.fd.get(), Interest::writable);
  const Ready found = told(token);
  EXPECT_TRUE(any(found, Ready::writable)) << to_string(found);
  EXPECT_TRUE(any(found, Ready::error)) << to_string(found);
  EXPECT_EQ(take_error(attempt.fd.get()), ECONNREFUSED);
}

TEST_P(SocketErrorTest, P6_H16_a_connect_that_succeeds_makes_writable) {
  const Listener listener = tcp_listener();
  const Attempt attempt = begin_connect(listener.address);
  ASSERT_TRUE(attempt.result == 0 || attempt.result == -EINPROGRESS) << attempt.result;
  const Token token = watch(attempt.fd.get(), both);
  EXPECT_EQ(told(token), Ready::writable);
  EXPECT_EQ(take_error(attempt.fd.get()), 0);
  sockaddr_in peer{};
  socklen_t size = sizeof peer;
  ASSERT_EQ(::getpeername(attempt.fd.get(), reinterpret_cast<sockaddr*>(&peer), &size), 0);
  EXPECT_EQ(peer.sin_port, listener.address.sin_port);
}

TEST_P(SocketErrorTest, P6_H16_a_connect_that_is_done_at_once_makes_writable) {
  ScratchDirectory scratch;
  const std::string path = scratch.path("socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  const auto make = [] {
    return Fd(real_kernel(), ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  };
  const Fd listener = make();
  ASSERT_EQ(::bind(listener.get(), generic, sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 4), 0);
  const Token waiting = watch(listener.get(), Interest::readable);
  EXPECT_EQ(ready(waiting), Ready::none);
  const Fd client = make();
  ASSERT_EQ(::connect(client.get(), generic, sizeof address), 0);
  EXPECT_EQ(told(waiting), Ready::readable);
  ASSERT_TRUE(poller->remove(waiting));
  const Token token = watch(client.get(), both);
  EXPECT_EQ(told(token), Ready::writable);
  EXPECT_EQ(take_error(client.get()), 0);
}

TEST_P(SocketErrorTest, P31_H17_a_connect_nobody_answers_ends_at_its_deadline) {
  // A full accept queue drops what comes: to the client, a host that does not answer.
  const Listener full = tcp_listener(0);
  std::vector<Attempt> attempts;
  for (int i = 0; i < 8; ++i) attempts.push_back(begin_connect(full.address));
  Fd last = std::move(attempts.back().fd);
  ASSERT_EQ(attempts.back().result, -EINPROGRESS);
  const Token token = watch(last.get(), Interest::writable);
  const Instant deadline = after(real_kernel().now(), 100ms);
  const Result<Poller::Batch> batch = poller->wait(deadline);
  ASSERT_TRUE(batch);
  EXPECT_TRUE(batch->empty());
  EXPECT_GE(real_kernel().now(), deadline);
  ASSERT_TRUE(poller->remove(token));
  last.reset();
  expect_idle();
}

TEST_P(SocketErrorTest, P6_H18_a_socket_that_was_never_connected_is_hung_up) {
  for (const int domain : {AF_INET, AF_UNIX}) {
    SCOPED_TRACE(domain);
    const Fd fd(real_kernel(), ::socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const Token token = watch(fd.get(), both);
    EXPECT_EQ(told(token), Ready::readable | Ready::writable | Ready::hangup);
    ASSERT_TRUE(poller->modify(token, Interest::readable));
    rearm(token, Interest::readable);  // edge: it was wanted and told before
    EXPECT_EQ(told(token), Ready::readable | Ready::hangup);
    ASSERT_TRUE(poller->modify(token, Interest::writable));
    rearm(token, Interest::writable);  // edge: it was wanted and told before
    EXPECT_EQ(told(token), Ready::writable | Ready::hangup);
    ASSERT_TRUE(poller->remove(token));
  }
}

TEST_P(SocketErrorTest, P6_H19_a_listener_that_is_shut_down_hangs_up) {
  const Listener listener = tcp_listener();
  const Token token = watch(listener.fd.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::none);
  ASSERT_EQ(::shutdown(listener.fd.get(), SHUT_RD), 0);
  EXPECT_EQ(told(token), Ready::readable | Ready::hangup);
  EXPECT_EQ(accept_one(listener.fd).error, -EINVAL);
}

TEST_P(SocketErrorTest, P6_H19_a_listener_that_is_shut_down_ends_the_wait_under_way) {
  const Listener listener = tcp_listener();
  const Token token = watch(listener.fd.get(), Interest::readable);
  std::thread other([&] {
    std::this_thread::sleep_for(5ms);  // so that the wait has most likely begun; both are right
    ::shutdown(listener.fd.get(), SHUT_RD);
  });
  EXPECT_EQ(told(token), Ready::readable | Ready::hangup);
  other.join();
}

TEST_P(SocketErrorTest, P5_P6_H20_an_unreachable_datagram_peer_is_an_error_until_it_is_taken) {
  for (const bool by_receiving : {true, false}) {
    SCOPED_TRACE(by_receiving);
    Pair pair = udp_pair();
    pair.b.reset();
    const Token token = watch(pair.a.get(), Interest::readable);
    EXPECT_EQ(ready(token), Ready::none);
    ASSERT_EQ(::send(pair.a.get(), "x", 1, 0), 1);
    EXPECT_EQ(told(token), Ready::readable | Ready::error);
    if (by_receiving)
      EXPECT_EQ(receive(pair.a.get()), -ECONNREFUSED);
    else
      EXPECT_EQ(take_error(pair.a.get()), ECONNREFUSED);
    EXPECT_EQ(receive(pair.a.get()), -EAGAIN);
    proceed(token, Interest::readable);
    expect_idle();
    ASSERT_TRUE(poller->remove(token));
  }
}

TEST_P(SocketErrorTest, P5_H21_ordinary_data_that_ends_a_wait_is_not_urgent) {
  for (const Interest interest :
       {Interest::readable | Interest::priority, Interest(Interest::priority)}) {
    const Pair pair = tcp_pair();
    const Token token = watch(pair.a.get(), interest);
    EXPECT_EQ(ready(token, 0ns), Ready::none);
    std::thread other([&] {
      std::this_thread::sleep_for(5ms);  // so that the wait has most likely begun; both are right
      put(pair.b.get(), "x");
    });
    if (any(interest, Interest::readable))
      EXPECT_EQ(told(token), Ready::readable);
    else
      EXPECT_EQ(ready(token), Ready::none);
    other.join();
    ASSERT_TRUE(poller->remove(token));
  }
}

TEST_P(SocketErrorTest, P5_H21_urgent_data_is_priority_and_not_readable) {
  const Pair pair = tcp_pair();
  constexpr Interest interest = Interest::readable | Interest::priority;
  const Token token = watch(pair.a.get(), interest);
  EXPECT_EQ(ready(token), Ready::none);
  ASSERT_EQ(::send(pair.b.get(), "!", 1, MSG_OOB), 1);
  EXPECT_EQ(told(token), Ready::priority);
  EXPECT_EQ(::sockatmark(pair.a.get()), 1);
  EXPECT_EQ(receive(pair.a.get(), MSG_OOB), 1);
  EXPECT_EQ(receive(pair.a.get()), -EAGAIN);
  proceed(token, interest);
  expect_idle(settle_time);

  put(pair.b.get(), "x");
  EXPECT_EQ(told(token), Ready::readable);
}

TEST_P(SocketErrorTest, P5_H21_the_place_of_urgent_data_is_marked) {
  const Pair pair = tcp_pair();
  constexpr Interest interest = Interest::readable | Interest::priority;
  put(pair.b.get(), "ab");
  ASSERT_EQ(::send(pair.b.get(), "!", 1, MSG_OOB), 1);
  put(pair.b.get(), "cd");
  ASSERT_TRUE(settled(pair.a.get(), POLLIN | POLLPRI));
  const Token token = watch(pair.a.get(), interest);
  const std::vector<Event> found = events(patience);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].ready, Ready::readable | Ready::priority);
  EXPECT_FALSE(found[0].short_means_drained());
  EXPECT_EQ(::sockatmark(pair.a.get()), 0);
  EXPECT_EQ(receive_text(pair.a.get()), "ab") << "a read stops at the mark";
  EXPECT_EQ(::sockatmark(pair.a.get()), 1);
  EXPECT_EQ(receive(pair.a.get(), MSG_OOB), 1);
  rearm(token, interest);
  EXPECT_EQ(told(token), Ready::readable);
  EXPECT_EQ(receive_text(pair.a.get()), "cd");
}

TEST_P(SocketErrorTest, P5_H21_urgent_data_in_line_is_readable_too) {
  const Pair pair = tcp_pair();
  const int on = 1;
  ASSERT_EQ(::setsockopt(pair.a.get(), SOL_SOCKET, SO_OOBINLINE, &on, sizeof on), 0);
  constexpr Interest interest = Interest::readable | Interest::priority;
  const Token token = watch(pair.a.get(), interest);
  EXPECT_EQ(ready(token), Ready::none);
  ASSERT_EQ(::send(pair.b.get(), "!", 1, MSG_OOB), 1);
  EXPECT_EQ(told(token), Ready::readable | Ready::priority);
  EXPECT_EQ(receive_text(pair.a.get()), "!");
}

TEST_P(SocketErrorTest, P5_H22_urgent_data_nobody_asked_for_does_not_spin) {
  const Pair pair = tcp_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::none);
  ASSERT_EQ(::send(pair.b.get(), "!", 1, MSG_OOB), 1);
  ASSERT_TRUE(settled(pair.a.get(), POLLPRI));
  expect_idle(200ms);
  rearm(token, Interest::readable);
  expect_idle(settle_time);
  ASSERT_TRUE(poller->modify(token, Interest::priority));
  EXPECT_EQ(told(token), Ready::priority);
}

/// Takes one message off the error queue; where it came from, or -errno.
int take_notice(int fd) {
  std::array<char, 256> control;
  msghdr message{};
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (::recvmsg(fd, &message, MSG_ERRQUEUE) < 0) return -errno;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr) return -ENOMSG;
  sock_extended_err error{};
  std::memcpy(&error, CMSG_DATA(header), sizeof error);
  return error.ee_origin;
}

TEST_P(SocketErrorTest, P6_H23_a_notice_beside_the_data_is_an_error_that_ends_nothing) {
  const Pair pair = tcp_pair();
  const int on = 1;
  ASSERT_EQ(::setsockopt(pair.a.get(), SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on), 0);
  const Token token = watch(pair.a.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::none);
  const std::string block(4096, 'x');
  ASSERT_EQ(::send(pair.a.get(), block.data(), block.size(), MSG_ZEROCOPY), 4096);
  ASSERT_TRUE(settled(pair.b.get(), POLLIN));
  EXPECT_EQ(drain(pair.b.get()), 4096u);

  EXPECT_EQ(told(token), Ready::readable | Ready::error);
  EXPECT_EQ(take_error(pair.a.get()), 0) << "the connection is well";
  EXPECT_EQ(receive(pair.a.get()), -EAGAIN);
  EXPECT_EQ(take_notice(pair.a.get()), SO_EE_ORIGIN_ZEROCOPY);
  EXPECT_EQ(take_notice(pair.a.get()), -EAGAIN);
  proceed(token, Interest::readable);
  expect_idle();

  put(pair.b.get(), "still here");
  EXPECT_EQ(told(token), Ready::readable);
  EXPECT_EQ(receive_text(pair.a.get()), "still here");
}

TEST_P(SocketErrorTest, P6_H23_a_datagram_error_queue_is_told_and_emptied) {
  Pair pair = udp_pair();
  const int on = 1;
  ASSERT_EQ(::setsockopt(pair.a.get(), IPPROTO_IP, IP_RECVERR, &on, sizeof on), 0);
  pair.b.reset();
  const Token token = watch(pair.a.get(), Interest::readable);
  ASSERT_EQ(::send(pair.a.get(), "x", 1, 0), 1);
  EXPECT_EQ(told(token), Ready::readable | Ready::error);
  EXPECT_EQ(receive(pair.a.get()), -ECONNREFUSED);
  EXPECT_EQ(take_notice(pair.a.get()), SO_EE_ORIGIN_ICMP);
  EXPECT_EQ(receive(pair.a.get()), -EAGAIN);
  proceed(token, Interest::readable);
  expect_idle();
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(SocketErrorTest);

}  // namespace
}  // namespace duolu::test
