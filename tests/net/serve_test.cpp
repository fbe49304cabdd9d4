// serve(), connect() of a text, and what needs no Loop to be named: clauses SV1 to SV7.
#include "duolu/net/serve.hpp"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "duolu/loop/scope.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/net/connect.hpp"
#include "duolu/task/together.hpp"
#include "support/loop_fixture.hpp"
#include "support/sanitizers.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

using Kind = ServeEvent::Kind;

Task<Result<>> echo(Stream client) {
  while (Lease bytes = co_await try_(client.read_lease()))
    co_await try_(client.write_all(std::move(bytes)));
  co_return {};
}

/// Says something, and hears it back.
Task<Result<std::string>> ask(Stream* stream, std::string text) {
  co_await try_(stream->write_all(text));
  std::string answer(text.size(), '\0');
  co_await try_(stream->read_exact(answer));
  co_return answer;
}

Task<Result<>> nothing_more(Stream* stream) {
  std::array<char, 16> bytes;
  const std::size_t size = co_await try_(stream->read(bytes));
  co_return size == 0 ? Result<>() : fail(EBADMSG);
}

class ServeTest : public LoopFixture {
 protected:
  ServeTest() {
    options.report = [this](const ServeEvent& event) {
      events.push_back(event);
      if (event.kind == Kind::listening) where.push_back(event.address.to_string());
    };
  }

  /// Serves on `endpoint` while `client` runs, which may cancel `server`.
  template <class Handler>
  Result<> serve_while(std::string endpoint, Handler handler,
                       std::function<Task<Result<>>()> client) {
    Result<> served = fail(EINVAL);
    Result<> asked = fail(EINVAL);
    loop.run([&]() -> Task<> {
      co_await with_scope([&](Scope& scope) -> Task<> {
        scope.spawn([&]() -> Task<> {
          server = co_await this_chain();
          served = co_await serve(endpoint, handler, options);
          server = nullptr;
        });
        scope.spawn([&]() -> Task<> {
          asked = co_await within(20s, client());
          if (server != nullptr) server->cancel();
        });
        co_return;
      });
    });
    EXPECT_TRUE(asked) << asked.error().message();
    return served;
  }
  [[nodiscard]] std::size_t count(Kind kind) const {
    std::size_t found = 0;
    for (const ServeEvent& event : events) found += event.kind == kind ? 1U : 0U;
    return found;
  }

  ServeOptions options;
  std::vector<ServeEvent> events;
  std::vector<std::string> where;
  Chain* server = nullptr;
};

DUOLU_EVERY_ENGINE(ServeTest);

TEST_P(ServeTest, SV1_SV2_every_address_of_a_name_is_served) {
  const Result<> served = serve_while("localhost:0", echo, [&]() -> Task<Result<>> {
    const std::size_t addresses =
        resolve(real_kernel(), parse_endpoint("localhost:0").value()).value().size();
    EXPECT_LE(where.size(), addresses);
    EXPECT_GE(where.size(), 1U);
    std::string port;
    for (const std::string& each : where) {
      Stream stream = co_await try_(connect(each));
      const std::string answer = co_await try_(ask(&stream, "hello " + each));
      EXPECT_EQ(answer, "hello " + each);
      if (port.empty()) port = each.substr(each.rfind(':'));
      EXPECT_EQ(each.substr(each.rfind(':')), port);
    }
    Stream by_name = co_await try_(connect("localhost" + port));
    EXPECT_EQ(co_await ask(&by_name, "by name"), "by name");
    co_return Result<>();
  });
  EXPECT_TRUE(served);
  EXPECT_EQ(count(Kind::failed) + count(Kind::threw), 0U);
}

TEST_P(ServeTest, SV1_what_cannot_be_had_is_explained) {
  const duolu::Listener taken = duolu::Listener::open(loop, "127.0.0.1:0").value();
  const std::string there = taken.address().to_string();
  const auto ended = [this](const std::string& endpoint) {
    const Result<> served = loop.run(serve(endpoint, echo, options));
    return served ? "success" : loop.explanation(served.error());
  };
  EXPECT_EQ(ended(there), "cannot listen on " + there + ": Address already in use");
  EXPECT_NE(ended("tcp://nowhere").find("port"), std::string::npos) << ended("tcp://nowhere");
  EXPECT_EQ(ended("unix:///nowhere/at/all"),
            "cannot listen on unix:///nowhere/at/all: No such file or directory");
  const std::string path_too_long = "unix:///tmp/" + std::string(120, 'x');
  EXPECT_EQ(ended(path_too_long), "cannot listen on " + path_too_long + ": File name too long");
  EXPECT_EQ(ended("unix:///dev/null"), "cannot listen on unix:///dev/null: File exists");
  EXPECT_TRUE(events.empty());
}

TEST_P(ServeTest, SV2_errors_and_exceptions_of_handlers_end_nobody_else) {
  int served = 0;
  const Result<> ended = serve_while(
      "127.0.0.1:0",
      [&served](Stream client) -> Task<Result<>> {
        const int number = ++served;
        std::array<char, 1> byte;
        co_await try_(client.read(byte));
        if (number == 1) co_return fail(EPROTO);
        if (number == 2) throw std::runtime_error("the second");
        co_await try_(client.write_all("third"));
        co_return Result<>();
      },
      [&]() -> Task<Result<>> {
        for (int i = 0; i < 2; ++i) {
          Stream stream = co_await try_(connect(where[0]));
          co_await try_(stream.write_all("x"));
          (void)co_await nothing_more(&stream);
        }
        Stream third = co_await try_(connect(where[0]));
        co_await try_(third.write_all("x"));
        std::array<char, 5> answer;
        co_await try_(third.read_exact(answer));
        EXPECT_EQ(std::string(answer.data(), answer.size()), "third");
        co_return Result<>();
      });
  EXPECT_TRUE(ended);
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(to_string(events[1]), "a connection to " + where[0] + " ended: Protocol error");
  EXPECT_EQ(to_string(events[2]), "a handler on " + where[0] + " threw: the second");
}

TEST_P(ServeTest, SV2_a_handler_may_return_nothing) {
  int ended = 0;
  EXPECT_TRUE(serve_while(
      "127.0.0.1:0",
      [&ended](Stream client) -> Task<> {
        (void)co_await client.write_all("hi");
        ++ended;
      },
      [&]() -> Task<Result<>> {
        Stream stream = co_await try_(connect(where[0]));
        std::array<char, 2> answer;
        co_await try_(stream.read_exact(answer));
        co_return co_await nothing_more(&stream);
      }));
  EXPECT_EQ(ended, 1);
}

// Two listeners and room for one: neither keeps the room from the other.
TEST_P(ServeTest, SV3_no_more_than_max_connections_are_served) {
  options.max_connections = 1;
  int now = 0;
  int most = 0;
  EXPECT_TRUE(serve_while(
      "localhost:0",
      [&](Stream client) -> Task<Result<>> {
        most = std::max(most, ++now);
        const Result<> ended = co_await echo(std::move(client));
        --now;
        co_return ended;
      },
      [&]() -> Task<Result<>> {
        Stream first = co_await try_(connect(where.back()));
        (void)co_await try_(ask(&first, "first"));
        Stream second = co_await try_(connect(where.front()));
        const Result<std::string> early = co_await within(30ms, ask(&second, "2"));
        EXPECT_EQ(early.error(), std::errc::timed_out);
        first.close();
        std::array<char, 1> byte;
        co_await try_(second.read_exact(byte));
        EXPECT_EQ(byte[0], '2');
        co_return Result<>();
      }));
  EXPECT_EQ(most, 1);
}

TEST_P(ServeTest, SV7_a_connection_waits_until_it_is_admitted) {
  int served_now = 0;
  int asked = 0;
  options.admit = [&] {
    ++asked;
    return served_now == 0 ? std::error_code() : errno_code(ENOMEM);
  };
  EXPECT_TRUE(serve_while(
      "127.0.0.1:0",
      [&](Stream client) -> Task<Result<>> {
        ++served_now;
        const Result<> ended = co_await echo(std::move(client));
        --served_now;
        co_return ended;
      },
      [&]() -> Task<Result<>> {
        Stream first = co_await try_(connect(where.front()));
        EXPECT_EQ(co_await try_(ask(&first, "one")), "one");
        Stream second = co_await try_(connect(where.front()));
        while (asked < 2) co_await sleep(1ms);
        EXPECT_EQ(served_now, 1);
        first.close();
        EXPECT_EQ(co_await try_(ask(&second, "two")), "two");
        co_return {};
      }));
  const auto paused = std::count_if(events.begin(), events.end(), [](const ServeEvent& event) {
    return event.kind == Kind::paused && event.error == errno_code(ENOMEM);
  });
  EXPECT_GE(paused, 1);
}

TEST_P(ServeTest, SV4_when_it_is_cancelled_connections_have_time_to_finish) {
  options.grace = 20s;
  Result<> left = fail(EINVAL);
  const Result<> served = serve_while("127.0.0.1:0", echo, [&]() -> Task<Result<>> {
    Stream stream = co_await try_(connect(where[0]));
    (void)co_await try_(ask(&stream, "before"));
    server->cancel();
    // The listener goes in a later turn; what was in the backlog is reset.
    Result<Stream> refused = co_await connect(where[0]);
    while (refused || refused.error() == std::errc::connection_reset)
      refused = co_await connect(where[0]);
    EXPECT_EQ(refused.error(), std::errc::connection_refused);
    const std::string after = co_await try_(ask(&stream, "after"));
    EXPECT_EQ(after, "after");
    left = {};
    co_return Result<>();
  });
  EXPECT_TRUE(served);
  EXPECT_TRUE(left);
  EXPECT_EQ(count(Kind::cut) + count(Kind::failed), 0U);
}

TEST_P(ServeTest, SV4_those_who_do_not_finish_are_cut) {
  options.grace = 10ms;
  bool cancelled = false;
  EXPECT_TRUE(serve_while(
      "127.0.0.1:0",
      [&](Stream client) -> Task<Result<>> {
        const Result<> ended = co_await echo(std::move(client));
        cancelled = ended.error() == std::errc::operation_canceled;
        co_return ended;
      },
      [&]() -> Task<Result<>> {
        Stream stream = co_await try_(connect(where[0]));
        (void)co_await try_(ask(&stream, "stays"));
        server->cancel();
        co_return co_await nothing_more(&stream);
      }));
  EXPECT_TRUE(cancelled);
  EXPECT_EQ(count(Kind::cut), 1U);
  EXPECT_EQ(count(Kind::failed), 0U) << "to be cut is no error of the handler's";
}

TEST_P(ServeTest, SV5_the_file_of_a_unix_address_goes_with_it) {
  const std::string path =
      "/tmp/duolu-serve-" + std::to_string(::getpid()) + "." + GetParam().name();
  ::unlink(path.c_str());
  struct stat status{};
  EXPECT_TRUE(serve_while("unix://" + path, echo, [&]() -> Task<Result<>> {
    EXPECT_EQ(::lstat(path.c_str(), &status), 0);
    Stream stream = co_await try_(connect("unix://" + path));
    EXPECT_EQ(co_await ask(&stream, "hi"), "hi");
    co_return Result<>();
  }));
  EXPECT_EQ(::lstat(path.c_str(), &status), -1);
  // Another one's stays.
  EXPECT_TRUE(serve_while("unix://" + path, echo, [&]() -> Task<Result<>> {
    EXPECT_EQ(::rename(path.c_str(), (path + "~").c_str()), 0);
    EXPECT_EQ(::symlink("another", path.c_str()), 0);
    co_return Result<>();
  }));
  EXPECT_EQ(::lstat(path.c_str(), &status), 0);
  ::unlink(path.c_str());
  ::unlink((path + "~").c_str());
}

TEST_P(ServeTest, it_takes_listeners_that_are_open) {
  duolu::Listener listener = duolu::Listener::open(loop, "127.0.0.1:0").value();
  const std::string there = listener.address().to_string();
  const Result<> ended = loop.run([&]() -> Task<Result<>> {
    const auto first =
        co_await first_of(serve(std::move(listener), echo), task_of([&]() -> Task<Result<>> {
                            Stream stream = co_await try_(connect(there));
                            EXPECT_EQ(co_await ask(&stream, "hi"), "hi");
                            co_return Result<>();
                          }));
    co_return std::get<1>(first);
  });
  EXPECT_TRUE(ended) << ended.error().message();
}

/// Pages of this process that are in memory, in bytes.
std::size_t resident() {
  std::size_t all = 0;
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> all >> pages;
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

TEST(ServeMemory, SV6_the_memory_of_a_crowd_that_has_left_goes_back) {
  if (DUOLU_ASAN || DUOLU_TSAN) GTEST_SKIP() << "a sanitizer keeps what is freed";
  constexpr int count = 1200;
  constexpr std::size_t held_by_each = 16'384;
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlim_t before = std::exchange(limit.rlim_cur, limit.rlim_max);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  const std::unique_ptr<Loop> loop = make_loop({}).value();
  const std::string name = "unix://@duolu-serve-memory-" + std::to_string(::getpid());
  const Address where = resolve(real_kernel(), parse_endpoint(name).value()).value().front();
  std::vector<std::unique_ptr<char>> between;  // what stays between the pieces that are freed
  int now = 0;
  std::size_t most = 0;
  const Result<> ended = loop->run([&]() -> Task<Result<>> {
    const auto first = co_await first_of(
        serve(name,
              [&](Stream client) -> Task<Result<>> {
                const std::vector<char> held(held_by_each, 'x');
                between.push_back(std::make_unique<char>());
                ++now;
                char byte = 0;
                (void)co_await client.read(std::span(&byte, 1));
                --now;
                co_return Result<>();
              }),
        task_of([&]() -> Task<Result<>> {
          std::vector<Fd> clients;
          co_await sleep(1ms);
          for (int i = 0; i < count; ++i) {
            clients.emplace_back(real_kernel(), ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
            if (::connect(clients.back().get(), where.data(), where.size()) < 0)
              co_return fail(errno);
          }
          while (now < count) co_await sleep(1ms);
          most = resident();
          clients.clear();
          while (now > 0) co_await sleep(1ms);
          co_return Result<>();
        }));
    co_return std::get<1>(first);
  });
  EXPECT_TRUE(ended) << ended.error().message();
  EXPECT_LT(resident() + count * held_by_each / 2, most);
  limit.rlim_cur = before;
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
}

}  // namespace
}  // namespace duolu::test
