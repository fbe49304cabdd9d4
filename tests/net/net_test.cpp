// Clauses ST1 to ST4, and what is built on streams: readers, connecting, datagrams, standard input
// and output; on every backend.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ios>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "duolu/loop/within.hpp"
#include "duolu/net/connect.hpp"
#include "duolu/net/datagram.hpp"
#include "duolu/net/listener.hpp"
#include "duolu/net/reader.hpp"
#include "duolu/net/standard.hpp"
#include "duolu/task/together.hpp"
#include "duolu/testing/fault.hpp"
#include "support/endpoints.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

Address address_of(const sockaddr_in& address) {
  return {reinterpret_cast<const sockaddr*>(&address), sizeof address};
}
Address unix_address(const std::string& path) {
  return resolve(real_kernel(), parse_endpoint("unix://" + path).value()).value().front();
}
const Address loopback = resolve(real_kernel(), parse_endpoint("127.0.0.1:0").value()).value()[0];

class NetTest : public LoopFixture {
 protected:
  Stream adopt(Fd& fd) { return Stream::open(loop, std::move(fd)).value(); }
  std::pair<Stream, Stream> pair(Pair fds) { return {adopt(fds.a), adopt(fds.b)}; }
};
DUOLU_EVERY_ENGINE_AND_TRIGGER(NetTest);

Task<> write_and_end(Stream& stream, std::vector<std::string> pieces) {
  for (const std::string& piece : pieces) EXPECT_TRUE(co_await stream.write_all(piece));
  EXPECT_TRUE(stream.close_writing());
}

TEST_P(NetTest, ST2_parts_leases_and_exact_reads_carry_every_byte) {
  auto [a, b] = pair(tcp_pair());
  const std::string large(3'000'000, 'x');
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn([](Stream& to, const std::string* middle) -> Task<> {
      EXPECT_TRUE(co_await to.write_all("<", *middle, "", ">"));
      EXPECT_TRUE(to.close_writing());
    }(a, &large));
    char first = 0;
    EXPECT_TRUE(co_await b.read_exact(std::span(&first, 1)));
    EXPECT_EQ(first, '<');
    std::size_t size = 0;
    std::string last;
    for (;;) {
      Result<Lease> lease = co_await b.read_lease();
      if (!lease || !*lease) break;
      EXPECT_LE(lease->bytes().size(), engine->buffer_size());
      size += lease->text().size();
      last = lease->text();
    }
    EXPECT_EQ(size, large.size() + 1);
    EXPECT_TRUE(last.ends_with('>'));
    char more[2];
    const Result<> short_of = co_await b.read_exact(more);
    EXPECT_EQ(short_of.error(), StreamError::ended);
  }));
}

TEST_P(NetTest, LO12_requests_say_what_they_wait_for) {
  auto [a, b] = pair(tcp_pair());
  auto [reader, silent] = pair(tcp_pair());
  auto [unnamed, peer] = pair(unix_pair());
  duolu::Listener listener = duolu::Listener::open(loop, loopback).value();
  const std::string much(std::size_t{64} << 20U, 'x');  // more than buffers may hold
  Datagram datagram = Datagram::open(loop, loopback).value();
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn([](Stream* s) -> Task<> {
      char byte = 0;
      (void)co_await s->read(&byte, 1);
    }(&reader));
    scope.spawn([](Stream* s) -> Task<> { (void)co_await s->read_lease(); }(&unnamed));
    scope.spawn([](Stream* s, const std::string* text) -> Task<> {
      (void)co_await s->write_all(*text);
    }(&a, &much));
    scope.spawn([](Stream* s, const std::string* text) -> Task<> {
      (void)co_await s->write_all(*text, "");
    }(&b, &much));
    scope.spawn([](duolu::Listener* l) -> Task<> { (void)co_await l->accept(); }(&listener));
    scope.spawn([](Datagram* d) -> Task<> {
      char byte = 0;
      (void)co_await d->receive(std::span(&byte, 1));
    }(&datagram));
    (void)co_await loop.sleep_for(20ms);  // all it could has been written by now
    std::vector<std::string> found;
    for (const TaskReport& report : loop.tasks())
      if (report.depth == 1) found.push_back(report.waits);
    const auto numbered = [](const std::string& name, int fd) {
      return name + " (descriptor " + std::to_string(fd) + ")";
    };
    EXPECT_EQ(found.size(), 6U);
    if (found.size() < 6) co_return scope.cancel();
    EXPECT_EQ(found[0], "to read from " + numbered(reader.peer().to_string(), reader.fd()));
    EXPECT_EQ(found[1], "to read from " + numbered("unix:", unnamed.fd()));
    EXPECT_TRUE(found[2].starts_with("to write ")) << found[2];
    EXPECT_TRUE(found[2].ends_with(" bytes to " + numbered(a.peer().to_string(), a.fd())));
    EXPECT_EQ(found[3], "to write to " + numbered(b.peer().to_string(), b.fd()));
    EXPECT_TRUE(found[4].starts_with("for a connection to " + listener.address().to_string()));
    EXPECT_TRUE(found[5].starts_with("for a datagram to udp://127.0.0.1:")) << found[5];
    scope.cancel();
  }));
}

/// Runs turns as another event loop would: only when it is told to. Silence for long is a failure.
void embed(Loop& loop, const Task<>& task) {
  const Instant guard = after(real_kernel().now(), patience);
  while (!task.promise().done()) {
    const Instant now = real_kernel().now();
    ASSERT_LT(now, guard) << "it is not told";
    const Instant until = std::clamp(loop.deadline(), now, guard);
    pollfd watched{.fd = loop.fd(), .events = POLLIN, .revents = 0};
    const int ms = static_cast<int>((until - now + 999us) / 1ms);
    ASSERT_GE(::poll(&watched, 1, ms), 0);
    ASSERT_TRUE(loop.turn(immediately));
  }
}

Task<> talk_to_itself(Stream* a, Stream* b, const std::string* much) {
  auto writing = [](Stream* to, const std::string* bytes) -> Task<> {
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(co_await to->write_all("word"));
    EXPECT_TRUE(co_await to->write_all(*bytes));
  }(a, much);
  auto reading = [](Stream* from, std::size_t size) -> Task<> {
    while (size > 0) {
      const Result<Lease> lease = co_await from->read_lease();
      EXPECT_TRUE(lease && *lease);
      if (!lease || !*lease) co_return;
      size -= lease->text().size();
    }
  }(b, 20 + much->size());
  auto both = when_all(std::move(reading), std::move(writing));
  co_await std::move(both);
}

TEST_P(NetTest, LO9_another_loop_is_told_of_requests) {
  if (loop.fd() < 0) return;  // nothing to watch: LoopTest has what there is to do then
  const std::string much(std::size_t{4} << 20U, 'x');
  for (const auto make : {tcp_pair, +[] { return unix_pair(); }}) {
    auto [a, b] = pair(make());
    Task<> talking = talk_to_itself(&a, &b, &much);
    Chain chain;
    loop.start(talking, chain);
    embed(loop, talking);
  }
}

TEST_P(NetTest, LO12_a_request_to_connect_names_its_target) {
  // A backlog that is full, so that it waits.
  const test::Listener full = tcp_listener(0);
  std::vector<Attempt> filling;
  for (int i = 0; i < 4; ++i) filling.push_back(begin_connect(full.address));
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn([](Loop* on, Address to) -> Task<> { (void)co_await connect(*on, to); }(
                                             &loop, address_of(full.address)));
    (void)co_await loop.sleep_for(10ms);
    const std::vector<TaskReport> reports = loop.tasks();
    std::string all;
    for (const TaskReport& report : reports) all += report.waits + "\n";
    EXPECT_NE(all.find("to connect to " + address_of(full.address).to_string()), std::string::npos)
        << all;
    scope.cancel();
  }));
}

TEST_P(NetTest, half_closed_the_other_direction_goes_on) {
  auto [a, b] = pair(unix_pair());
  loop.run([](Stream& from, Stream& to) -> Task<> {
    EXPECT_TRUE(from.close_writing());
    char byte = 0;
    EXPECT_EQ((co_await to.read(&byte, 1)).value(), 0U);
    EXPECT_TRUE(co_await to.write_all("still"));
    char text[8];
    EXPECT_EQ((co_await from.read(text)).value(), 5U);
  }(a, b));
}

TEST_P(NetTest, a_reader_gives_pieces_and_keeps_the_rest) {
  auto [a, b] = pair(tcp_pair());
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(write_and_end(a, {"one\r\ntw", "o\r", "\n\r\n12345", "rest"}));
    Reader reader(b);
    EXPECT_EQ((co_await reader.read_until("\r\n")).value(), "one\r\n");
    EXPECT_EQ((co_await reader.read_until("\r\n")).value(), "two\r\n");
    EXPECT_EQ((co_await reader.read_until("\r\n")).value(), "\r\n");
    EXPECT_EQ((co_await reader.read_exact(5)).value(), "12345");
    EXPECT_EQ((co_await reader.read_until("\r\n")).value(), "rest");
    EXPECT_EQ((co_await reader.read_until("\r\n")).value(), "");
    EXPECT_EQ((co_await reader.read_exact(1)).error(), StreamError::ended);
  }));
}

TEST_P(NetTest, a_reader_has_a_limit) {
  auto [a, b] = pair(tcp_pair());
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(write_and_end(a, {std::string(10, 'x') + "\nand more"}));
    Reader reader(b, 10);
    EXPECT_EQ((co_await reader.read_until("\n")).error(), StreamError::too_long);
    EXPECT_EQ((co_await reader.read_exact(11)).error(), StreamError::too_long);
    std::string all(reader.take());
    while (all.size() < 11) all += (co_await reader.read_exact(1)).value();
    EXPECT_EQ(all, std::string(10, 'x') + "\n");
    EXPECT_EQ((co_await reader.read_until("\n")).value(), "and more");
  }));
}

TEST_P(NetTest, ST2_a_cancelled_reader_loses_nothing) {
  auto [a, b] = pair(tcp_pair());
  Reader reader(b);
  loop.run(with_scope([&](Scope&) -> Task<> {
    co_await with_scope([&](Scope& scope) -> Task<> {
      scope.spawn([](Reader& from) -> Task<> {
        const Result<std::string_view> line = co_await from.read_until("\n");
        EXPECT_EQ(line.error().value(), ECANCELED);
      }(reader));
      EXPECT_TRUE(co_await a.write_all("half a "));
      (void)co_await loop.sleep_for(1ms);
      scope.cancel();
    });
    EXPECT_TRUE(co_await a.write_all("line\n"));
    EXPECT_EQ((co_await reader.read_until("\n")).value(), "half a line\n");
  }));
}

Task<> greet_one(duolu::Listener& listener) {
  Result<Stream> stream = co_await listener.accept();
  EXPECT_TRUE(stream);
  if (stream) {
    EXPECT_TRUE(co_await stream->write_all("hello"));
  }
}

TEST_P(NetTest, connects_to_tcp_and_unix_addresses) {
  ScratchDirectory scratch;
  for (const Address& where : {loopback, unix_address(scratch.path("socket"))}) {
    duolu::Listener listener = duolu::Listener::open(loop, where).value();
    loop.run(with_scope([&](Scope& scope) -> Task<> {
      scope.spawn(greet_one(listener));
      Result<Stream> stream = co_await connect(loop, listener.address());
      EXPECT_TRUE(stream);
      if (!stream) co_return;
      EXPECT_EQ(stream->peer().to_string(), listener.address().to_string());
      char text[8];
      EXPECT_TRUE(co_await stream->read_exact(std::span(text, 5)));
    }));
  }
}

TEST_P(NetTest, connecting_fails_with_the_reason) {
  ScratchDirectory scratch;
  loop.run([](Loop& in, Address nobody, Address nowhere) -> Task<> {
    EXPECT_EQ((co_await connect(in, nobody)).error().value(), ECONNREFUSED);
    EXPECT_EQ((co_await connect(in, nowhere)).error().value(), ENOENT);
    std::vector<Address> none;
    EXPECT_EQ((co_await connect(in, none)).error().value(), EADDRNOTAVAIL);
  }(loop, address_of(closed_port()), unix_address(scratch.path("nothing"))));
}

TEST_P(NetTest, a_full_unix_backlog_is_waited_for) {
  ScratchDirectory scratch;
  const Address where = unix_address(scratch.path("full"));
  Fd listener = listen_on(real_kernel(), where, 0).value();
  const Fd first(real_kernel(), ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(first.get(), where.data(), where.size()), 0);
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn([](Loop& in, int fd) -> Task<> {
      (void)co_await in.sleep_for(5ms);
      for (int i = 0; i < 2;) {
        const Fd taken(real_kernel(), ::accept(fd, nullptr, nullptr));
        if (taken)
          ++i;
        else
          (void)co_await in.sleep_for(1ms);
      }
    }(loop, listener.get()));
    EXPECT_TRUE(co_await connect(loop, where));
  }));
}

// The first address refuses; the second is a listener with a full backlog, where nothing answers;
// the third one is good.
TEST_P(NetTest, the_first_address_that_answers_wins) {
  Listener black_hole = tcp_listener(0);
  std::vector<Attempt> filling;
  for (int i = 0; i < 4; ++i) filling.push_back(begin_connect(black_hole.address));
  duolu::Listener good = duolu::Listener::open(loop, loopback).value();
  const std::vector<Address> all{address_of(closed_port()), address_of(black_hole.address),
                                 good.address()};
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(greet_one(good));
    ConnectOptions soon;
    soon.stagger = 10ms;
    Result<Stream> stream = co_await connect(loop, all, soon);
    EXPECT_TRUE(stream);
    if (stream) {
      EXPECT_EQ(stream->peer().to_string(), good.address().to_string());
    }
  }));
}

TEST_P(NetTest, names_are_looked_up_beside_the_loop) {
  duolu::Listener listener = duolu::Listener::open(loop, loopback).value();
  const std::unique_ptr<OffloadPool> pool = OffloadPool::start(real_kernel(), 1).value();
  Endpoint endpoint = parse_endpoint("localhost:0").value();
  endpoint.port = listener.address().port();
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(greet_one(listener));
    const auto addresses = co_await resolve(*pool, real_kernel(), endpoint);
    EXPECT_TRUE(addresses);
    EXPECT_FALSE(addresses->empty());
    EXPECT_TRUE(co_await connect(loop, *pool, endpoint));
    Endpoint nowhere = endpoint;
    nowhere.host = "no.such.host.invalid";
    const Result<Stream> none = co_await connect(loop, *pool, nowhere);
    EXPECT_FALSE(none);
  }));
}

TEST_P(NetTest, a_connect_that_hangs_is_cancelled) {
  Listener black_hole = tcp_listener(0);
  std::vector<Attempt> filling;
  for (int i = 0; i < 4; ++i) filling.push_back(begin_connect(black_hole.address));
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn([](Loop& in, Address where) -> Task<> {
      std::vector<Address> addresses(2, where);
      const Result<Stream> stream = co_await connect(in, addresses);
      EXPECT_EQ(stream.error().value(), ECANCELED);
    }(loop, address_of(black_hole.address)));
    (void)co_await loop.sleep_for(2ms);
    scope.cancel();
  }));
}

TEST_P(NetTest, datagrams_come_with_their_sender) {
  ScratchDirectory scratch;
  for (const bool local : {false, true}) {
    const Address here = local ? unix_address(scratch.path("a")) : loopback;
    const Address there = local ? unix_address(scratch.path("b")) : loopback;
    Datagram a = Datagram::open(loop, here).value();
    Datagram b = Datagram::open(loop, there).value();
    loop.run([](Datagram& from, Datagram& to) -> Task<> {
      EXPECT_TRUE(co_await from.send("one", to.address()));
      EXPECT_TRUE(co_await from.send("", to.address()));
      EXPECT_TRUE(co_await from.send("longer than the buffer", to.address()));
      char buffer[8];
      const Result<Received> one = co_await to.receive(buffer);
      EXPECT_EQ(std::string_view(buffer, one->size), "one");
      EXPECT_EQ(one->from.to_string(), from.address().to_string());
      const bool is_unix = one->from.family() == AF_UNIX;
      EXPECT_TRUE(one->from.to_string().starts_with(is_unix ? "unix:///" : "udp://127.0.0.1:"));
      const Result<Received> none = co_await to.receive(buffer);
      EXPECT_EQ(none->size, 0U);
      const Result<Received> cut = co_await to.receive(buffer);
      EXPECT_TRUE(cut->truncated);
      EXPECT_EQ(cut->size, sizeof buffer);
      EXPECT_TRUE(to.connect(one->from));
      EXPECT_TRUE(co_await to.send("back"));
      EXPECT_EQ((co_await from.receive(buffer))->size, 4U);
    }(a, b));
  }
}

TEST_P(NetTest, a_cancelled_receive_loses_no_datagram) {
  Datagram a = Datagram::open(loop, loopback).value();
  loop.run(with_scope([&](Scope&) -> Task<> {
    co_await with_scope([&](Scope& scope) -> Task<> {
      scope.spawn([](Datagram& from) -> Task<> {
        char buffer[8];
        EXPECT_EQ((co_await from.receive(buffer)).error().value(), ECANCELED);
      }(a));
      scope.cancel();
      co_return;
    });
    EXPECT_TRUE(co_await a.send("kept", a.address()));
    char buffer[8];
    EXPECT_EQ((co_await a.receive(buffer))->size, 4U);
  }));
}

TEST_P(NetTest, pipes_terminals_and_files_are_streams) {
  for (const auto make : {fifo_pair, pty_pair}) {
    auto [in, out] = pair(make());
    loop.run(with_scope([&](Scope& scope) -> Task<> {
      scope.spawn([](Stream& to) -> Task<> {
        EXPECT_TRUE(co_await to.write_all("first ", "second"));
      }(out));
      char text[12];
      EXPECT_TRUE(co_await in.read_exact(text));
      EXPECT_EQ(std::string_view(text, sizeof text), "first second");
      EXPECT_EQ(in.close_writing().error().value(), ENOTSOCK);
    }));
  }
}

TEST_P(NetTest, standard_input_is_read_without_changing_it_for_others) {
  for (const Kind& kind : every_kind()) {
    if (std::string_view(kind.name).find("datagram") != std::string_view::npos ||
        std::string_view(kind.name) == "udp" || std::string_view(kind.name) == "seqpacket")
      continue;
    SCOPED_TRACE(kind.name);
    Pair fds = kind.make();
    if (std::string_view(kind.name) == "terminal") std::swap(fds.a, fds.b);  // not its master
    const int flags = ::fcntl(fds.a.get(), F_GETFL) & ~O_NONBLOCK;
    ASSERT_EQ(::fcntl(fds.a.get(), F_SETFL, flags), 0);
    {
      StandardStream in = StandardStream::open(loop, fds.a.get()).value();
      put(fds.b.get(), "typed");
      loop.run([](Stream* from) -> Task<> {
        char text[5];
        EXPECT_TRUE(co_await from->read_exact(text));
        EXPECT_EQ(std::string_view(text, 5), "typed");
      }(&*in));
      struct stat status{};
      ASSERT_EQ(::fstat(fds.a.get(), &status), 0);
      if (!S_ISSOCK(status.st_mode)) {
        EXPECT_EQ(::fcntl(fds.a.get(), F_GETFL) & O_NONBLOCK, 0);
      }
    }
    EXPECT_EQ(::fcntl(fds.a.get(), F_GETFL), flags);
  }
}

TEST_P(NetTest, accept_errors_are_told_apart) {
  for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM})
    EXPECT_EQ(accept_error(errno_code(error)), AcceptError::resources) << error;
  for (const int error : {ECONNABORTED, EPROTO, ENOPROTOOPT, ENETDOWN, ENETUNREACH, EHOSTDOWN,
                          EHOSTUNREACH, ENONET, ETIMEDOUT})
    EXPECT_EQ(accept_error(errno_code(error)), AcceptError::connection) << error;
  for (const int error : {EBADF, EPERM, EACCES, EINVAL})
    EXPECT_EQ(accept_error(errno_code(error)), AcceptError::listener) << error;
  // The same number in another category is another error.
  EXPECT_EQ(accept_error(std::error_code(EMFILE, std::iostream_category())), AcceptError::listener);
  EXPECT_EQ(accept_error(StreamError::refused), AcceptError::connection);
}

TEST_P(NetTest, ST3_whether_all_was_sent_can_be_asked) {
  auto [a, b] = pair(tcp_pair());
  const std::string large(8'000'000, 'x');  // more than the sockets hold
  loop.run([](Stream& from, Stream& to, const std::string* text) -> Task<> {
    EXPECT_TRUE(from.sent_all());
    co_await with_scope([&](Scope& scope) -> Task<> {
      scope.spawn([&]() -> Task<> { EXPECT_TRUE(co_await from.write_all(*text)); });
      EXPECT_FALSE(from.sent_all());
      std::string all(text->size(), '\0');
      EXPECT_TRUE(co_await to.read_exact(all));
    });
    EXPECT_TRUE(from.sent_all());
  }(a, b, &large));
}

TEST_P(NetTest, ST2_how_much_was_sent_can_be_asked) {
  auto [a, b] = pair(tcp_pair());
  const std::string large(8'000'000, 'x');  // more than the sockets hold
  loop.run([](Loop& in, Stream& from, Stream& to, const std::string* text) -> Task<> {
    EXPECT_EQ((co_await within(in, 50ms, from.write_all(*text))).error(), std::errc::timed_out);
    const std::size_t sent = from.sent();
    EXPECT_GT(sent, 0U);
    EXPECT_LT(sent, text->size());
    EXPECT_FALSE(from.sent_all());
    EXPECT_TRUE(from.close_writing());
    std::size_t received = 0;
    for (;;) {
      Result<Lease> lease = co_await to.read_lease();
      if (!lease || !*lease) break;
      received += lease->bytes().size();
    }
    EXPECT_EQ(received, sent);
  }(loop, a, b, &large));
  Chain cancelled;
  cancelled.cancel();
  loop.run(
      [](Stream& from) -> Task<> {
        EXPECT_EQ((co_await from.write_all("never")).error(), std::errc::operation_canceled);
        EXPECT_EQ(from.sent(), 0U);
      }(a),
      cancelled);
}

struct HasFaults {
  FaultKernel kernel{real_kernel(), 1};
};
class FaultyNetTest : protected HasFaults, public LoopFixture {
 protected:
  FaultyNetTest() : LoopFixture(HasFaults::kernel) {}
};
DUOLU_EVERY_ENGINE_AND_TRIGGER(FaultyNetTest);

/// Where the poller has no room.
using ReadinessNetTest = FaultyNetTest;
DUOLU_EVERY_READINESS_ENGINE(ReadinessNetTest);

TEST_P(ReadinessNetTest, a_connection_that_there_is_no_room_for_is_closed_and_told_apart) {
  duolu::Listener listener = duolu::Listener::open(loop, loopback).value();
  sockaddr_in where{};
  const Address bound = listener.address();
  std::memcpy(&where, bound.data(), sizeof where);
  const Attempt first = begin_connect(where);
  kernel.fail(call_named(GetParam().kind->poller->traits.register_call), 1, ENOMEM);
  loop.run([](duolu::Listener& from, const sockaddr_in* to) -> Task<> {
    const Result<Stream> refused = co_await from.accept_once();
    EXPECT_EQ(refused.error(), StreamError::refused);
    EXPECT_NE(refused.error(), StreamError::ended);
    EXPECT_EQ(accept_error(refused.error()), AcceptError::connection);
    EXPECT_EQ(refused.error().message(),
              "the engine cannot take the connection: Cannot allocate memory");
    const Attempt second = begin_connect(*to);
    EXPECT_TRUE(co_await from.accept_once());
  }(listener, &where));
  char byte = 0;
  EXPECT_EQ(::recv(first.fd.get(), &byte, 1, 0), 0);
}

TEST_P(FaultyNetTest, AC1_AC3_errors_about_one_connection_are_passed_over_and_told) {
  duolu::Listener listener = duolu::Listener::open(loop, loopback).value();
  std::vector<std::error_code> told;
  listener.on_error([&](std::error_code error) { told.push_back(error); });
  const Address bound = listener.address();
  kernel.fail(Call::accept, 1, ECONNABORTED, 3);
  loop.run(with_scope([&](Scope&) -> Task<> {
    const Result<Stream> client = co_await connect(loop, bound);
    EXPECT_TRUE(client);
    const Result<Stream> accepted = co_await listener.accept();
    EXPECT_TRUE(accepted);
  }));
  EXPECT_EQ(told, std::vector(3, errno_code(ECONNABORTED)));
}

TEST_P(FaultyNetTest, AC1_cancelling_loses_no_connection) {
  duolu::Listener listener = duolu::Listener::open(loop, loopback).value();
  for (const bool paused : {false, true}) {
    SCOPED_TRACE(paused);
    if (paused) kernel.fail_always(Call::accept, EMFILE);
    Attempt client;
    loop.run(with_scope([&](Scope& scope) -> Task<> {
      scope.spawn([](duolu::Listener* from) -> Task<> {
        EXPECT_EQ((co_await from->accept()).error().value(), ECANCELED);
      }(&listener));
      if (paused) {
        sockaddr_in where{};
        const Address bound = listener.address();
        std::memcpy(&where, bound.data(), sizeof where);
        client = begin_connect(where);
        (void)co_await loop.sleep_for(20ms);
      }
      scope.cancel();
    }));
    kernel.clear();
    if (paused) {
      EXPECT_TRUE(loop.run(listener.accept()));
    }
  }
}

TEST_P(FaultyNetTest, AC2_what_lasts_is_waited_for_until_something_is_freed_or_for_a_while) {
  duolu::Listener listener = duolu::Listener::open(loop, loopback).value();
  const Address bound = listener.address();
  sockaddr_in where{};
  std::memcpy(&where, bound.data(), sizeof where);
  for (const int error : {EMFILE, ENOMEM, EACCES}) {
    SCOPED_TRACE(error);
    int told = 0;
    listener.on_error([&](std::error_code why) {
      EXPECT_EQ(why.value(), error);
      ++told;
    });
    kernel.reset_counts();
    kernel.fail_always(Call::accept, error);
    const Attempt first = begin_connect(where);
    const Instant begin = real_kernel().now();
    loop.run(with_scope([&](Scope& scope) -> Task<> {
      scope.spawn(
          [](duolu::Listener* from) -> Task<> { EXPECT_TRUE(co_await from->accept()); }(&listener));
      (void)co_await loop.sleep_for(250ms);  // tried after 0, 100 and 300 ms
      EXPECT_LE(kernel.calls(Call::accept), 3U);
      EXPECT_GE(told, 1);
      kernel.clear();
      listener.freed();
    }));
    // Not after the pause of 200 ms that had begun, unless this machine is very slow.
    if (real_kernel().now() - begin < 290ms) {
      EXPECT_LE(told, 2);
    }
  }
}

}  // namespace
}  // namespace duolu::test
