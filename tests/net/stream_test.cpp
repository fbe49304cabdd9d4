// Streams and listeners awaited by tasks, on every backend.
#include "duolu/net/listener.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "duolu/base/prng.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/task/together.hpp"
#include "duolu/testing/fault.hpp"
#include "support/endpoints.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

class StreamTest : public LoopFixture {
 protected:
  std::pair<Stream, Stream> pair() {
    Pair fds = tcp_pair();
    return {adopt(fds.a), adopt(fds.b)};
  }
  Stream adopt(Fd& fd) {
    Descriptor& descriptor = *engine->open(fd.get(), DescriptorKind::tcp).value();
    (void)fd.release();
    return Stream(descriptor);
  }
  duolu::Listener listen() {
    const Endpoint endpoint = parse_endpoint("127.0.0.1:0").value();
    return duolu::Listener::open(loop, resolve(real_kernel(), endpoint).value().front()).value();
  }
};
DUOLU_EVERY_ENGINE_AND_TRIGGER(StreamTest);

Task<Result<>> echo(Stream stream) {
  char buffer[1000];
  for (;;) {
    const std::size_t size = co_await try_(stream.read(buffer));
    if (size == 0) co_return {};
    co_await try_(stream.write_all(std::string_view(buffer, size)));
  }
}

TEST_P(StreamTest, ST3_bytes_of_any_container_are_written) {
  loop.run([this]() -> Task<> {
    auto [from, to] = pair();
    const std::vector<unsigned char> numbers = {'a', 'b', 0};
    const std::array<std::byte, 2> raw = {std::byte{'c'}, std::byte{'d'}};
    EXPECT_TRUE(co_await to.write_all(numbers));
    EXPECT_TRUE(co_await to.write_all(raw));
    EXPECT_TRUE(co_await to.write_all(std::span<const char>("ef", 2)));
    EXPECT_TRUE(co_await to.write_all("gh"));
    char got[9];
    EXPECT_TRUE(co_await from.read_exact(got));
    EXPECT_EQ(std::string_view(got, 9), std::string_view("ab\0cdefgh", 9));
  });
}

TEST_P(StreamTest, a_chain_may_be_cancelled_when_its_task_and_the_loop_have_gone) {
  Chain chain;
  {
    const auto over_it = GetParam().make(real_kernel()).value();
    Loop on(*over_it);
    Pair pair = tcp_pair();
    Stream stream = Stream::open(on, std::move(pair.a)).value();
    Task<> task = [](Stream* from) -> Task<> {
      char byte = 0;
      EXPECT_EQ(co_await from->read(std::span(&byte, 1)), 1U);
    }(&stream);
    on.start(task, chain);
    put(pair.b.get(), "x");
    while (!task.promise().done()) ASSERT_TRUE(on.turn(never));
  }
  chain.cancel();
}

Task<> handle(Stream stream) { (void)co_await echo(std::move(stream)); }

Task<> serve(duolu::Listener& listener, Scope& scope) {
  while (Result<Stream> stream = co_await listener.accept())
    scope.spawn(handle(std::move(*stream)));
}

Task<Result<std::string>> read_all(Stream& stream, std::size_t size) {
  std::string all;
  std::string piece(777, ' ');
  while (all.size() < size) {
    const std::size_t got = co_await try_(stream.read(piece));
    if (got == 0) break;
    all.append(piece, 0, got);
  }
  co_return all;
}

std::string random_bytes(std::uint64_t seed, std::size_t size) {
  Prng prng(seed);
  std::string bytes(size, ' ');
  for (char& byte : bytes) byte = static_cast<char>(prng.next());
  return bytes;
}

Task<> client(Stream stream, std::uint64_t seed, int& right) {
  const std::string sent = random_bytes(seed, 1 + seed * 20'011);
  co_await with_scope([&](Scope& scope) -> Task<> {
    scope.spawn([](Stream& to, const std::string* bytes) -> Task<> {
      EXPECT_TRUE(co_await to.write_all(*bytes));
    }(stream, &sent));
    const Result<std::string> back = co_await read_all(stream, sent.size());
    if (back && *back == sent) ++right;
  });
}

TEST_P(StreamTest, many_clients_are_echoed_every_byte) {
  duolu::Listener listener = listen();
  const Address address = listener.address();
  int right = 0;
  loop.run(with_scope([&](Scope& server) -> Task<> {
    server.spawn(serve(listener, server));
    co_await with_scope([&](Scope& clients) -> Task<> {
      for (std::uint64_t i = 0; i < 30; ++i) {
        Fd fd(real_kernel(), ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::connect(fd.get(), address.data(), address.size()), 0);
        EXPECT_EQ(::fcntl(fd.get(), F_SETFL, O_NONBLOCK), 0);
        clients.spawn(client(adopt(fd), i, right));
      }
      co_return;
    });
    server.cancel();
  }));
  EXPECT_EQ(right, 30);
}

TEST_P(StreamTest, LO7_requests_that_had_to_wait_are_counted) {
  Pair fds = tcp_pair();
  Stream stream = adopt(fds.a);
  loop.post([&] { put(fds.b.get(), "word"); });
  EXPECT_EQ(loop.run(read_all(stream, 4)).value(), "word");
  EXPECT_EQ(loop.statistics().finished, 1U);
  EXPECT_EQ(loop.statistics().idle, 0U);
}

TEST_P(StreamTest, LO8_who_waited_for_a_request_is_named) {
  Pair fds = tcp_pair();
  Stream stream = adopt(fds.a);
  std::vector<Stall> stalls;
  // Everything is long enough.
  loop.watch_stalls({}, [&](const Stall& stall) { stalls.push_back(stall); });
  loop.post([&] { put(fds.b.get(), "word"); });
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn([](Stream* from) -> Task<> { (void)co_await read_all(*from, 4); }(&stream),
                "reader");
    co_return;
  }));
  ASSERT_EQ(stalls.size(), 3U);  // the beginning, the post, and it
  EXPECT_EQ(stalls.back().cause, Stall::Cause::request);
  EXPECT_STREQ(stalls.back().origin.name, "reader");
}

TEST_P(StreamTest, ST1_the_end_and_errors_are_results) {
  Pair fds = tcp_pair();
  Stream stream = adopt(fds.a);
  fds.b.reset();
  loop.run([](Stream& ended) -> Task<> {
    char byte = 0;
    EXPECT_EQ(co_await ended.read(std::span(&byte, 1)), 0U);
  }(stream));
  Pair others = tcp_pair();
  Stream broken = adopt(others.a);
  close_with_reset(others.b);
  loop.run([](Stream& reset) -> Task<> {
    char byte = 0;
    const Result<std::size_t> got = co_await reset.read(std::span(&byte, 1));
    EXPECT_EQ(got ? 0 : got.error().value(), ECONNRESET);
    const Result<> sent = co_await reset.write_all("x");
    EXPECT_EQ(sent ? 0 : sent.error().value(), EPIPE);
  }(broken));
}

TEST_P(StreamTest, ST3_a_write_ends_when_everything_was_taken) {
  auto [a, b] = pair();
  const std::string much = random_bytes(3, std::size_t{64} << 20U);
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    bool ended = false;
    scope.spawn([](Stream* to, const std::string* bytes, bool* over) -> Task<> {
      EXPECT_TRUE(co_await to->write_all(*bytes));
      *over = true;
    }(&a, &much, &ended));
    (void)co_await loop.sleep_for(20ms);
    EXPECT_FALSE(ended);  // nobody reads: it waits, and nobody else does
    const Result<std::string> got = co_await read_all(b, much.size());
    EXPECT_TRUE(got && *got == much);
  }));
}

/// On a loop of its own: a death test forks, and no other is used in a forked child (P37).
void close_while_it_is_read(const EngineCell& cell, Fd fd) {
  const auto engine = cell.make(real_kernel()).value();
  Loop loop(*engine);
  Stream stream = Stream::open(loop, std::move(fd)).value();
  char byte = 0;
  Task<> reading = [](Stream* from, char* to) -> Task<> { (void)co_await from->read(to, 1); }(
                                                  &stream, &byte);
  Chain chain;
  loop.start(reading, chain);
  stream.close();
}

void read_by_two(const EngineCell& cell, Fd fd) {
  const auto engine = cell.make(real_kernel()).value();
  Loop loop(*engine);
  Stream stream = Stream::open(loop, std::move(fd)).value();
  char byte = 0;
  loop.run([&]() -> Task<> {
    (void)co_await when_all(stream.read(&byte, 1),
                            [&]() -> Task<> { (void)co_await stream.read(&byte, 1); });
  });
}

void outlive_the_loop(const EngineCell& cell, Fd fd) {
  Stream stream;
  const auto engine = cell.make(real_kernel()).value();
  Loop loop(*engine);
  stream = Stream::open(loop, std::move(fd)).value();
}

using StreamDeathTest = StreamTest;
TEST_P(StreamDeathTest, ST4_a_stream_closes_its_descriptor_and_not_while_it_is_awaited) {
  Pair fds = tcp_pair();
  const int number = fds.a.get();
  {
    const Stream stream = adopt(fds.a);
  }
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
  EXPECT_EQ(errno, EBADF);
  Pair others = tcp_pair();
  EXPECT_DEATH(close_while_it_is_read(GetParam(), std::move(others.a)),
               "closed while a task waits for it");
  EXPECT_DEATH(read_by_two(GetParam(), tcp_pair().a), "two tasks read descriptor [0-9]+ at once");
  EXPECT_DEATH(outlive_the_loop(GetParam(), tcp_pair().a), "a Stream, .* outlives its loop");
}
DUOLU_EVERY_ENGINE_AND_TRIGGER(StreamDeathTest);

TEST_P(StreamTest, ST2_a_cancelled_read_takes_no_byte) {
  auto [a, b] = pair();
  loop.run(with_scope([&](Scope& outer) -> Task<> {
    std::string got;
    co_await with_scope([&](Scope& scope) -> Task<> {
      scope.spawn([](Stream& stream) -> Task<> {
        char buffer[8];
        const Result<std::size_t> read = co_await stream.read(buffer);
        EXPECT_EQ(read.error().value(), ECANCELED);
      }(a));
      scope.cancel();
      co_return;
    });
    EXPECT_TRUE(co_await b.write_all("kept"));
    const Result<std::string> kept = co_await read_all(a, 4);
    EXPECT_EQ(kept.value(), "kept");
    EXPECT_EQ(outer.size(), 0U);
  }));
}

TEST_P(StreamTest, ST6_a_released_descriptor_continues_in_another_loop) {
  auto [a, b] = pair();
  loop.run([&]() -> Task<> { EXPECT_TRUE(co_await b.write_all("unread")); });
  Result<Fd> fd = a.release();
  ASSERT_TRUE(fd);
  EXPECT_FALSE(a);
  const auto others = GetParam().make(real_kernel()).value();
  Loop other(*others);
  Stream there = Stream::open(other, *std::move(fd)).value();
  std::string got(6, ' ');
  other.run([&]() -> Task<> { EXPECT_TRUE(co_await there.read_exact(got)); });
  EXPECT_EQ(got, "unread");
}

TEST_P(StreamTest, ST6_a_broken_stream_is_not_released) {
  Pair fds = tcp_pair();
  Stream stream = adopt(fds.a);
  close_with_reset(fds.b);
  ASSERT_TRUE(settled(stream.fd(), POLLERR));
  loop.run([&]() -> Task<> { EXPECT_FALSE(co_await stream.write_all("x")); });
  const Result<Fd> fd = stream.release();
  ASSERT_FALSE(fd);
  EXPECT_EQ(fd.error(), std::errc::connection_reset);
  EXPECT_TRUE(stream);
}

TEST_P(StreamTest, a_listener_is_adopted) {
  test::Listener socket = tcp_listener();
  const Address where(reinterpret_cast<const sockaddr*>(&socket.address), sizeof socket.address);
  duolu::Listener listener = duolu::Listener::open(loop, std::move(socket.fd)).value();
  EXPECT_EQ(listener.address().to_string(), where.to_string());
  const Attempt connecting = begin_connect(socket.address);
  loop.run([&]() -> Task<> { EXPECT_TRUE(co_await listener.accept()); });
  const auto wrong = duolu::Listener::open(loop, tcp_pair().a);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error(), std::errc::invalid_argument);
}

// Only TCP's short transfers mean that there is no more: of MPTCP another call has to say so.
TEST_P(StreamTest, an_adopted_listener_knows_what_its_connections_are) {
  const EngineCell& cell = GetParam();
  if (cell.kind->poller == nullptr) return;  // it relies on no short transfer
  if (cell.trigger.value_or(
          cell.kind->poller->traits.native_edge ? Trigger::edge : Trigger::level) != Trigger::edge)
    return;                   // levels are reported again: every short transfer is trusted
  constexpr int mptcp = 262;  // IPPROTO_MPTCP
  Fd socket(real_kernel(), ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, mptcp));
  if (!socket) GTEST_SKIP() << "no MPTCP here";
  const Address any = resolve(real_kernel(), parse_endpoint("127.0.0.1:0").value()).value()[0];
  ASSERT_EQ(::bind(socket.get(), any.data(), any.size()), 0);
  ASSERT_EQ(::listen(socket.get(), 1), 0);
  FaultKernel kernel(real_kernel());
  const auto engine_of_it = cell.make(kernel).value();
  Loop counted(*engine_of_it);
  duolu::Listener listener = duolu::Listener::open(counted, std::move(socket)).value();
  const Address where = listener.address();
  const Fd client(real_kernel(), ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, mptcp));
  ASSERT_EQ(::connect(client.get(), where.data(), where.size()), 0);
  put(client.get(), "abc");
  counted.run([&]() -> Task<> {
    Result<Stream> stream = co_await listener.accept();
    EXPECT_TRUE(stream);
    EXPECT_TRUE(settled(stream->fd(), POLLIN));
    char buffer[10];
    EXPECT_EQ(co_await stream->read(buffer), 3U);
    const std::uint64_t calls = kernel.calls(Call::recv);
    const Result<std::size_t> none = co_await within(1ms, stream->read(buffer));
    EXPECT_EQ(none.error(), std::errc::timed_out);
    EXPECT_GT(kernel.calls(Call::recv), calls);
  });
}

// What is cancelled after any number of turns, wherever everybody is by then, ends, leaves no task
// and no descriptor behind, and has received only what was sent.
TEST_P(StreamTest, cancelled_after_any_number_of_turns_nothing_is_left) {
  for (int turns = 0; turns < 40; ++turns) {
    auto [a, b] = pair();
    const std::string sent = random_bytes(1, 1'500'000);
    std::string back;
    Chain chain;
    Task<> all = with_scope([&](Scope& scope) -> Task<> {
      scope.spawn(handle(std::move(b)));
      scope.spawn([](Stream& stream, const std::string* bytes) -> Task<> {
        (void)co_await stream.write_all(*bytes);
      }(a, &sent));
      char buffer[5000];
      while (back.size() < sent.size()) {
        const Result<std::size_t> got = co_await a.read(buffer);
        if (!got) co_return;
        back.append(buffer, *got);
      }
      scope.cancel();
    });
    all.promise().enter(&chain);
    bool ended = all.promise().run();
    for (int i = 0; i < turns && !all.promise().done(); ++i)
      ASSERT_TRUE(loop.turn(after(real_kernel().now(), 10ms)));
    chain.cancel();
    for (int guard = 0; !all.promise().done(); ++guard) {
      ASSERT_LT(guard, 100) << "not everything was cancelled";
      ASSERT_TRUE(loop.turn(after(real_kernel().now(), 1s)));
    }
    ended = ended || all.promise().done();
    all.promise().take();
    EXPECT_TRUE(ended);
    EXPECT_TRUE(sent.starts_with(back));
  }
}

}  // namespace
}  // namespace duolu::test
