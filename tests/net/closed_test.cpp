// What is used after it was closed or moved from, or when the process has nearly ended.
#include <cstdlib>
#include <string>
#include <utility>

#include "duolu/net/connect.hpp"
#include "duolu/net/datagram.hpp"
#include "duolu/net/listener.hpp"
#include "duolu/net/stream.hpp"
#include "support/endpoints.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

const Address loopback = resolve(real_kernel(), parse_endpoint("127.0.0.1:0").value()).value()[0];

using ClosedDeathTest = LoopFixture;
DUOLU_EVERY_ENGINE(ClosedDeathTest);

constexpr const char* named =
    "check failed: a Stream, Listener or Datagram is used that was closed";

TEST_P(ClosedDeathTest, a_stream_says_so) {
  Pair fds = unix_pair();
  Stream first = Stream::open(loop, std::move(fds.a)).value();
  Stream second = std::move(first);
  EXPECT_TRUE(second);
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): what this is about
  Stream never_opened;
  second.close();
  second.close();
  char bytes[4];
  for (Stream* const stream : {&first, &second, &never_opened}) {
    EXPECT_DEATH((void)stream->read(bytes), named);
    EXPECT_DEATH((void)stream->read_lease(), named);
    EXPECT_DEATH((void)stream->write_all("text"), named);
    EXPECT_DEATH(
        loop.run([](Stream* to) -> Task<> { (void)co_await to->write_all("a", "b"); }(stream)),
        named);
    EXPECT_DEATH((void)loop.run(stream->read_exact(bytes)), named);
    EXPECT_DEATH((void)stream->close_writing(), named);
    EXPECT_DEATH((void)stream->peer(), named);
    EXPECT_DEATH((void)stream->address(), named);
    EXPECT_DEATH((void)stream->fd(), named);
    EXPECT_DEATH((void)stream->sent(), named);
    EXPECT_DEATH((void)stream->sent_all(), named);
    EXPECT_DEATH((void)stream->kernel(), named);
  }
}

TEST_P(ClosedDeathTest, a_listener_and_a_datagram_say_so) {
  duolu::Listener listener = duolu::Listener::open(loop, loopback).value();
  const duolu::Listener other = std::move(listener);
  EXPECT_DEATH((void)listener.accept(), named);  // NOLINT(bugprone-use-after-move)
  EXPECT_DEATH((void)listener.address(), named);
  EXPECT_DEATH((void)listener.kernel(), named);
  Datagram datagram = Datagram::open(loop, loopback).value();
  Datagram moved = std::move(datagram);
  EXPECT_DEATH((void)datagram.address(), named);  // NOLINT(bugprone-use-after-move)
  EXPECT_DEATH((void)datagram.fd(), named);
  EXPECT_DEATH((void)datagram.connect(loopback), named);
  EXPECT_DEATH(loop.run([](Datagram* from) -> Task<> {
    char bytes[4];
    (void)co_await from->receive(bytes);
  }(&datagram)),
               named);
  EXPECT_DEATH(loop.run([](Datagram* to) -> Task<> {
    (void)co_await to->send("text", loopback);
  }(&datagram)),
               named);
  EXPECT_NE(moved.fd(), -1);
}

/// Looks at errors when nearly every static object is gone.
struct Last {
  std::error_code stream;
  std::error_code resolver;
  ~Last() {
    const bool good = stream.message() == "the stream ended too early" &&
                      resolver.category().name() == std::string("resolver") &&
                      !resolver.message().empty();
    std::_Exit(good ? 3 : 4);
  }
};

void look_at_errors_at_exit() {
  static Last last;  // made before the categories, and so destroyed after them
  last.stream = StreamError::ended;
  last.resolver = resolve(real_kernel(), Endpoint{.host = std::string(300, 'x')}).error();
  std::exit(5);
}

TEST(ErrorsDeathTest, can_be_read_when_the_process_exits) {
  EXPECT_EXIT(look_at_errors_at_exit(), testing::ExitedWithCode(3), "");
}

/// The Streams of a loop that is static, and waits for them when a task exits.
void exit_while_a_static_stream_is_read(const EngineCell& cell) {
  leave_tasks_behind();
  static const auto engine = cell.make(real_kernel()).value();
  static Loop loop(*engine);
  Pair fds = unix_pair();
  static Stream stream = Stream::open(loop, std::move(fds.a)).value();
  static duolu::Listener listener = duolu::Listener::open(loop, loopback).value();
  loop.run(with_scope([](Scope& scope) -> Task<> {
    scope.spawn([]() -> Task<> { (void)co_await stream.read_lease(); });
    scope.spawn([]() -> Task<> { (void)co_await listener.accept(); });
    std::exit(3);
    co_return;
  }));
}

TEST_P(ClosedDeathTest, LO13_ST4_static_streams_are_destroyed_while_a_task_exits) {
  EXPECT_EXIT(exit_while_a_static_stream_is_read(GetParam()), testing::ExitedWithCode(3), "^$");
}

}  // namespace
}  // namespace duolu::test
