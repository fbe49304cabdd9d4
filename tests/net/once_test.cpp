// What the kernel tells once and two directions can ask for; and what a socket's own type and
// options change. On every backend.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "duolu/net/connect.hpp"
#include "duolu/net/datagram.hpp"
#include "duolu/net/listener.hpp"
#include "duolu/net/standard.hpp"
#include "duolu/testing/fault.hpp"
#include "duolu/testing/forwarding.hpp"
#include "support/endpoints.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

const Address loopback = resolve(real_kernel(), parse_endpoint("127.0.0.1:0").value()).value()[0];

class OnceNetTest : public LoopFixture {};
DUOLU_EVERY_ENGINE_AND_TRIGGER(OnceNetTest);

Task<> write_much(Stream* to, std::error_code* why) {
  const std::string much(16 << 20, 'x');
  const Result<> written = co_await to->write_all(much);
  EXPECT_FALSE(written);
  if (!written) *why = written.error();
}

/// Reads to the end, whatever that is: an error, or none.
Task<> read_to_the_end(Stream* from, std::size_t* size, std::error_code* why) {
  char buffer[1000];
  for (;;) {
    const Result<std::size_t> got = co_await from->read(buffer);
    if (!got) *why = got.error();
    if (!got || *got == 0) co_return;
    *size += *got;
  }
}

TEST_P(OnceNetTest, ST5_a_reset_is_an_error_to_the_reader_whoever_was_told_first) {
  for (const std::size_t size : {0U, 10U, 30'000U}) {
    for (const bool at_once : {false, true}) {
      SCOPED_TRACE(testing::Message() << size << (at_once ? " at the same time" : ""));
      Pair fds = tcp_pair();
      Stream stream = Stream::open(loop, std::move(fds.a)).value();
      loop.post([&] {
        put(fds.b.get(), std::string(size, 'd'));
        close_with_reset(fds.b);
      });
      std::size_t received = 0;
      std::error_code writers;
      std::error_code readers;
      loop.run(with_scope([&](Scope& scope) -> Task<> {
        if (at_once) scope.spawn(read_to_the_end(&stream, &received, &readers));
        co_await write_much(&stream, &writers);
        if (!at_once) co_await read_to_the_end(&stream, &received, &readers);
      }));
      EXPECT_TRUE(writers);
      EXPECT_EQ(readers, std::errc::connection_reset);
      EXPECT_EQ(received, size);
    }
  }
}

// What an ICMP message says of one datagram is told to whoever asks first, of the socket.
TEST_P(OnceNetTest, an_error_of_an_earlier_datagram_is_told_to_the_receiver_and_stops_no_other) {
  for (const bool waits : {false, true}) {
    SCOPED_TRACE(waits);
    Datagram a = Datagram::open(loop, loopback).value();
    Address where;
    {
      const Datagram gone = Datagram::open(loop, loopback).value();
      where = gone.address();
    }
    ASSERT_TRUE(a.connect(where));
    std::error_code told;
    std::string answer;
    const auto receive = [](Datagram* from, std::error_code* why, std::string* text) -> Task<> {
      char buffer[16];
      const Result<Received> got = co_await from->receive(buffer);
      if (got)
        text->assign(buffer, got->size);
      else
        *why = got.error();
    };
    loop.run(with_scope([&](Scope& scope) -> Task<> {
      if (waits) scope.spawn(receive(&a, &told, &answer));
      EXPECT_TRUE(co_await a.send("lost"));
      // Where send() ends in a later turn, a receive that waits has taken the error by then.
      if (!waits || !GetParam().late) {
        EXPECT_TRUE(settled(a.fd(), POLLERR));
      }
      Datagram b = Datagram::open(loop, where).value();
      EXPECT_TRUE(co_await a.send("sent"));
      if (!waits) co_await receive(&a, &told, &answer);
      while (!told && answer.empty()) (void)co_await loop.sleep_until(immediately);
      char buffer[16];
      const Result<Received> got = co_await b.receive(buffer);
      EXPECT_EQ(std::string_view(buffer, got->size), "sent");
      std::error_code none;
      for (int i = 0; i < 2; ++i) {
        answer.clear();
        scope.spawn(receive(&a, &none, &answer));  // finds nothing, and waits
        EXPECT_TRUE(co_await b.send("answer", got->from));
        while (answer.empty() && !none) (void)co_await loop.sleep_until(immediately);
      }
      EXPECT_FALSE(none) << "told twice";
    }));
    EXPECT_EQ(told, std::errc::connection_refused);
    EXPECT_EQ(answer, "answer");
  }
}

// The error of the message itself, which is no earlier one's, is what send() ends with.
TEST_P(OnceNetTest, a_unix_datagram_to_a_peer_that_has_gone_is_refused) {
  ScratchDirectory scratch;
  const auto named = [](const std::string& path) {
    return resolve(real_kernel(), parse_endpoint("unix://" + path).value()).value().front();
  };
  Datagram a = Datagram::open(loop, named(scratch.path("a"))).value();
  {
    const Datagram b = Datagram::open(loop, named(scratch.path("b"))).value();
    ASSERT_TRUE(a.connect(b.address()));
  }
  loop.run([](Datagram* from) -> Task<> {
    EXPECT_EQ((co_await from->send("x")).error(), std::errc::connection_refused);
    EXPECT_TRUE(co_await from->send("own", from->address()));
    char buffer[8];
    EXPECT_EQ((co_await from->receive(buffer)).value().size, 3U);  // and no error that was kept
  }(&a));
}

TEST_P(OnceNetTest, a_crowd_that_sends_to_one_connected_unix_peer_is_served) {
  ScratchDirectory scratch;
  const Address where =
      resolve(real_kernel(), parse_endpoint("unix://" + scratch.path("one")).value()).value()[0];
  Datagram one = Datagram::open(loop, where).value();
  sockaddr_un unnamed{};
  unnamed.sun_family = AF_UNIX;
  std::vector<Datagram> crowd;
  for (int i = 0; i < 100; ++i) {
    crowd.push_back(
        Datagram::open(loop, Address(reinterpret_cast<sockaddr*>(&unnamed), sizeof(sa_family_t)))
            .value());
    ASSERT_TRUE(crowd.back().connect(where));
  }
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    for (Datagram& from : crowd)
      scope.spawn([](Datagram* sender) -> Task<> {
        for (int i = 0; i < 5; ++i) {
          const Result<> sent = co_await sender->send("hello");
          EXPECT_TRUE(sent) << sent.error().message();
        }
      }(&from));
    char buffer[8];
    for (int i = 0; i < 500; ++i) {
      EXPECT_TRUE(co_await one.receive(buffer));
      (void)co_await loop.sleep_until(immediately);  // so that each is told of the room
    }
  }));
}

// inetd gives a datagram socket as standard input.
TEST_P(OnceNetTest, a_datagram_socket_as_a_stream_loses_no_message) {
  for (const bool standard : {false, true}) {
    SCOPED_TRACE(standard);
    Pair pair = udp_pair();
    const int fd = pair.a.get();
    Stream own;
    std::vector<StandardStream> shared;
    if (standard)
      shared.push_back(StandardStream::open(loop, fd).value());
    else
      own = Stream::open(loop, std::move(pair.a)).value();
    loop.post([&] {
      put(pair.b.get(), "one");
      put(pair.b.get(), "two");
    });
    std::string all;
    loop.run([](Stream* from, std::string* to) -> Task<> {
      char buffer[64];
      for (int i = 0; i < 2; ++i) to->append(buffer, (co_await from->read(buffer)).value());
    }(standard ? &*shared.front() : &own, &all));
    EXPECT_EQ(all, "onetwo");
  }
}

/// Notes what would block close(2), and who asked for SO_LINGER.
class LingerKernel final : public ForwardingKernel {
 public:
  int blocking_closes = 0;
  int asked = 0;
  int getsockopt(int fd, int level, int name, void* value, socklen_t* size) noexcept override {
    if (level == SOL_SOCKET && name == SO_LINGER) ++asked;
    return ForwardingKernel::getsockopt(fd, level, name, value, size);
  }
  int close(int fd) noexcept override {
    linger set{};
    socklen_t size = sizeof set;
    if (ForwardingKernel::getsockopt(fd, SOL_SOCKET, SO_LINGER, &set, &size) == 0 &&
        set.l_onoff != 0 && set.l_linger > 0)
      ++blocking_closes;
    return ForwardingKernel::close(fd);
  }
};
struct HasLinger {
  LingerKernel kernel;
};
class LingerTest : protected HasLinger, public LoopFixture {
 protected:
  LingerTest() : LoopFixture(HasLinger::kernel) {}
};
DUOLU_EVERY_ENGINE_AND_TRIGGER(LingerTest);

TEST_P(LingerTest, ST4_closing_does_not_block_whatever_SO_LINGER_says) {
  Pair fds = tcp_pair();
  Stream stream = Stream::open(loop, std::move(fds.a)).value();
  const linger long_wait{.l_onoff = 1, .l_linger = 1};
  ASSERT_EQ(::setsockopt(stream.fd(), SOL_SOCKET, SO_LINGER, &long_wait, sizeof long_wait), 0);
  const std::string text = "all of it";
  loop.run([](Stream* to, const std::string* bytes) -> Task<> {
    EXPECT_TRUE(co_await to->write_all(*bytes));
  }(&stream, &text));
  stream.close();
  EXPECT_EQ(kernel.blocking_closes, 0);
  ASSERT_TRUE(settled(fds.b.get(), POLLIN | POLLRDHUP));
  EXPECT_EQ(drain(fds.b.get()), text.size());  // what was written has come, and then the end
}

TEST_P(LingerTest, ST4_closing_with_a_linger_of_zero_resets) {
  Pair fds = tcp_pair();
  Stream stream = Stream::open(loop, std::move(fds.a)).value();
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ASSERT_EQ(::setsockopt(stream.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
  stream.close();
  ASSERT_TRUE(settled(fds.b.get(), POLLERR));
  EXPECT_EQ(take_error(fds.b.get()), ECONNRESET);
}

/// One connection accepted by each way there is, with the ends that connected.
Task<> accept_each_way(duolu::Listener* listener, std::vector<Stream>* made) {
  Loop& loop = co_await this_loop();
  const std::vector<Address> address{listener->address()};
  made->push_back((co_await connect(loop, address)).value());
  made->push_back((co_await listener->accept_once()).value());
  made->push_back((co_await connect(loop, address)).value());
  made->push_back((co_await listener->accept()).value());
}

TEST_P(LingerTest, ST4_closing_does_not_block_when_the_listener_lingers) {
  Fd fd = std::move(tcp_listener().fd);
  const linger long_wait{.l_onoff = 1, .l_linger = 1};
  ASSERT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &long_wait, sizeof long_wait), 0);
  duolu::Listener listener = duolu::Listener::open(loop, std::move(fd)).value();
  std::vector<Stream> made;
  loop.run(accept_each_way(&listener, &made));
  made.clear();
  EXPECT_EQ(kernel.blocking_closes, 0);
}

TEST_P(LingerTest, ST4_closing_makes_no_call_for_a_socket_that_only_the_library_has_seen) {
  duolu::Listener listener = duolu::Listener::open(loop, loopback).value();
  std::vector<Stream> made;
  loop.run(accept_each_way(&listener, &made));
  const int number = made.back().fd();
  made.clear();
  EXPECT_GE(number, 0);
  EXPECT_EQ(kernel.asked, 1);  // for the one whose number was given out
}

}  // namespace
}  // namespace duolu::test
