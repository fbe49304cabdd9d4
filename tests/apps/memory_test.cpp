// The server without memory: it accepts nobody whom it could not serve, drops nobody, and ends in
// good order. Its thread has a limit; what it needs beyond that, it has reserved.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "apps/server.hpp"
#include "support/allocations.hpp"
#include "support/engines.hpp"

namespace duolu::apps {
namespace {

using namespace std::chrono_literals;
using test::EngineCell;

constexpr int guard_ms = 20'000;

class MemoryTest : public testing::TestWithParam<EngineCell> {
 protected:
  struct Outcome {
    int answered = 0;
    int dropped = 0;
    Totals totals{};
  };

  /// Serves `count` clients, who come together and leave one by one when they were answered, while
  /// the server's thread may take `limit` bytes; then stops, with `stay` of them still there.
  Outcome serve(std::string_view name, std::string_view request, std::size_t limit,
                std::size_t count, std::size_t stay) {
    Outcome outcome;
    Journal journal{Verbosity::quiet, false, "test"};
    const auto kind = std::find_if(services().begin(), services().end(),
                                   [&](const ServiceKind& each) { return each.name == name; });
    const std::unique_ptr<Service> service = kind->make(real_host());
    const auto engine =
        GetParam().make(real_kernel(), {.buffer_size = service->read_size()}).value();
    Loop loop(*engine);
    Server server(loop, *service, {.grace = 5s}, journal);
    const Address where = server.listen(parse_endpoint("127.0.0.1:0").value()).value().front();
    std::thread thread([&] {
      const test::LimitsAllocations limited(limit);
      outcome.totals = server.run().value();
      used = static_cast<std::ptrdiff_t>(limit) - test::LimitsAllocations::left();
    });
    talk(where, request, count, stay, outcome);
    server.stop();
    for (const pollfd& each : clients) {
      if (each.fd < 0) continue;
      char bytes[512];
      while (::recv(each.fd, bytes, sizeof bytes, 0) > 0) {  // until the server closes its side
      }
      ::close(each.fd);
    }
    thread.join();
    clients.clear();
    return outcome;
  }

  std::ptrdiff_t used = 0;  ///< By the server, in the end.

 private:
  void talk(const Address& where, std::string_view request, std::size_t count, std::size_t stay,
            Outcome& outcome) {
    for (std::size_t i = 0; i < count; ++i) {
      const int fd = ::socket(where.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
      ASSERT_EQ(::connect(fd, where.data(), where.size()), 0);
      ASSERT_EQ(::send(fd, request.data(), request.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(request.size()));
      clients.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    }
    std::size_t left = count;
    while (left > 0) {
      ASSERT_GT(::poll(clients.data(), clients.size(), guard_ms), 0) << left << " wait for ever";
      for (pollfd& each : clients) {
        if (each.fd < 0 || each.revents == 0) continue;
        char bytes[512];
        const ssize_t got = ::recv(each.fd, bytes, sizeof bytes, MSG_DONTWAIT);
        ++(got > 0 ? outcome.answered : outcome.dropped);
        if (--left < stay) {
          each.events = 0;
          each.revents = 0;
        } else {
          ::close(each.fd);
          each.fd = -1;
        }
      }
    }
  }

  std::vector<pollfd> clients;
};
DUOLU_EVERY_ENGINE_AND_TRIGGER(MemoryTest);

TEST_P(MemoryTest, whatever_it_has_nobody_is_dropped_and_it_ends_in_order) {
  constexpr std::size_t crowd = 12;
  for (const std::string_view name : {"echo", "http-echo"}) {
    const std::string_view request = name == "echo" ? "hello" : "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (std::size_t limit = 0; limit < 160'000; limit += 19'973) {
      SCOPED_TRACE(testing::Message() << name << ", " << limit << " bytes");
      const Outcome outcome = serve(name, request, limit, crowd, 1);
      EXPECT_EQ(outcome.answered, static_cast<int>(crowd));
      EXPECT_EQ(outcome.dropped, 0);
      EXPECT_EQ(outcome.totals.accepted, crowd);
      EXPECT_EQ(outcome.totals.failed, 0U);
      EXPECT_EQ(outcome.totals.cut, 0U);
      if (HasFailure()) return;
    }
  }
}

TEST_P(MemoryTest, what_begins_a_connection_serves_more_than_one) {
  constexpr std::size_t crowd = 8;  // who all stay
  for (const std::string_view name : {"echo", "http-echo"}) {
    SCOPED_TRACE(name);
    const std::string_view request = name == "echo" ? "hello" : "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const Outcome outcome = serve(name, request, 0, crowd, crowd);
    EXPECT_EQ(outcome.answered, static_cast<int>(crowd));
    EXPECT_EQ(outcome.totals.failed, 0U);
    EXPECT_EQ(outcome.totals.peak, crowd);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace duolu::apps
