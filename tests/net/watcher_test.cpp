// Watcher: descriptors of other code.
#include "duolu/net/watcher.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <utility>

#include "duolu/loop/within.hpp"
#include "duolu/net/datagram.hpp"
#include "duolu/task/together.hpp"
#include "support/endpoints.hpp"
#include "support/loop_fixture.hpp"

namespace duolu::test {
namespace {

using namespace std::chrono_literals;

using WatcherTest = LoopFixture;
DUOLU_EVERY_ENGINE_AND_TRIGGER(WatcherTest);

TEST_P(WatcherTest, WA1_WA4_it_reports_what_other_code_may_do_next) {
  Pair fds = tcp_pair();
  const Watcher watcher = Watcher::open(loop, fds.a.get()).value();
  loop.run([&]() -> Task<> {
    for (int round = 0; round < 3; ++round) {
      EXPECT_TRUE(co_await watcher.writable());
      const Result<> early = co_await within(1ms, watcher.readable());
      EXPECT_FALSE(early);
      put(fds.b.get(), "bytes");
      EXPECT_TRUE(co_await watcher.readable());
      EXPECT_TRUE(co_await watcher.readable());  // nothing was read: it still is
      char bytes[8];
      EXPECT_EQ(::recv(fds.a.get(), bytes, sizeof bytes, MSG_DONTWAIT), 5);
    }
    fds.b.reset();
    EXPECT_TRUE(co_await watcher.readable());  // the end
  });
}

TEST_P(WatcherTest, WA1_the_end_of_a_process_is_waited_for) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::usleep(20'000);
    ::_exit(7);
  }
  const Fd pidfd(real_kernel(), static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  if (!pidfd) GTEST_SKIP() << "this kernel has no pidfd_open";
  const Watcher watcher = Watcher::open(loop, pidfd.get()).value();
  int status = 0;
  loop.run([&]() -> Task<> {
    EXPECT_TRUE(co_await watcher.readable());
    EXPECT_EQ(::waitpid(child, &status, WNOHANG), child);
  });
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST_P(WatcherTest, WA2_a_cancelled_wait_ends) {
  Pair fds = unix_pair();
  const Watcher watcher = Watcher::open(loop, fds.a.get()).value();
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn([](const Watcher* from) -> Task<> {
      const Result<> ready = co_await from->readable();
      EXPECT_EQ(ready.error(), std::errc::operation_canceled);
    }(&watcher));
    scope.cancel();
    co_return;
  }));
}

TEST_P(WatcherTest, WA3_the_descriptor_stays_as_it_was) {
  Pair fds = unix_pair();
  const int flags = ::fcntl(fds.a.get(), F_GETFL);
  {
    Watcher first = Watcher::open(loop, fds.a.get()).value();
    const Watcher moved = std::move(first);
    const Result<Watcher> another = Watcher::open(loop, fds.a.get());
    if (GetParam().kind->poller != nullptr) {
      ASSERT_FALSE(another);
      EXPECT_EQ(another.error(), std::errc::file_exists);
    } else {
      EXPECT_TRUE(another);  // nothing is registered before there is a request
    }
  }
  EXPECT_EQ(::fcntl(fds.a.get(), F_GETFL), flags);
  EXPECT_TRUE(Watcher::open(loop, fds.a.get()));
  EXPECT_EQ(Watcher::open(loop, 1'000'000).error(), std::errc::bad_file_descriptor);
}

TEST_P(WatcherTest, WA4_a_regular_file_is_always_ready) {
  ScratchDirectory directory;
  const std::string path = directory.path("file");
  const Fd file(real_kernel(), ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const Watcher watcher = Watcher::open(loop, file.get()).value();
  loop.run([&]() -> Task<> {
    EXPECT_TRUE(co_await watcher.readable());
    EXPECT_TRUE(co_await watcher.writable());
  });
}

using AdoptTest = LoopFixture;
DUOLU_EVERY_ENGINE(AdoptTest);

TEST_P(AdoptTest, a_datagram_socket_is_adopted) {
  Pair fds = udp_pair();
  Datagram to = Datagram::open(loop, std::move(fds.a)).value();
  const Address where = to.address();
  put(fds.b.get(), "one");
  loop.run([&]() -> Task<> {
    char buffer[8];
    const Result<Received> got = co_await to.receive(buffer);
    EXPECT_TRUE(got && got->size == 3);
  });
  EXPECT_NE(where.port(), 0);
  EXPECT_EQ(Datagram::open(loop, tcp_pair().a).error(), std::errc::invalid_argument);
}

}  // namespace
}  // namespace duolu::test
