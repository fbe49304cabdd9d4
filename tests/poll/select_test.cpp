// duolu::select, the function.
#include "duolu/poll/select.hpp"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <thread>

#include "support/counting_kernel.hpp"
#include "support/descriptors.hpp"
#include "support/endpoints.hpp"
#include "support/signals.hpp"

namespace duolu::test {
namespace {

using Fds = std::vector<int>;

const Fds none{};

Instant now() { return real_kernel().now(); }

void expect_nothing(const Result<Selected>& result) {
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result->readable, none);
  EXPECT_EQ(result->writable, none);
  EXPECT_EQ(result->exceptional, none);
}

TEST(Select, GivesThreeListsInTheOrderGiven) {
  const Pair first = tcp_pair();
  const Pair second = tcp_pair();
  const Pair third = tcp_pair();
  put(first.b.get(), "x");
  put(third.b.get(), "x");
  ASSERT_EQ(::send(second.b.get(), "!", 1, MSG_OOB), 1);
  fill_up(third.a.get(), 250ms);
  ASSERT_TRUE(settled(first.a.get(), POLLIN));
  ASSERT_TRUE(settled(second.a.get(), POLLPRI));
  ASSERT_TRUE(settled(third.a.get(), POLLIN));
  const Fds all = {third.a.get(), first.a.get(), second.a.get()};
  const Result<Selected> result = select(all, all, all, patience);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->readable, (Fds{third.a.get(), first.a.get()}));
  EXPECT_EQ(result->writable, (Fds{first.a.get(), second.a.get()}));
  EXPECT_EQ(result->exceptional, (Fds{second.a.get()}));
}

TEST(Select, ReportsEachListOnlyWhatWasAskedInIt) {
  const Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const Fds fds = {pair.a.get()};
  const Result<Selected> readable = select(fds, none, none, patience);
  ASSERT_TRUE(readable);
  EXPECT_EQ(readable->readable, fds);
  EXPECT_EQ(readable->writable, none);
  const Result<Selected> writable = select(none, fds, none, patience);
  ASSERT_TRUE(writable);
  EXPECT_EQ(writable->readable, none);
  EXPECT_EQ(writable->writable, fds);
  expect_nothing(select(none, none, fds, Duration{}));
}

TEST(Select, WaitsForEverWithoutATimeout) {
  const Pair pair = unix_pair();
  const Fds fds = {pair.a.get()};
  std::thread other([&] {
    std::this_thread::sleep_for(20ms);  // so that the wait has most likely begun
    put(pair.b.get(), "x");
  });
  const Result<Selected> result = select(fds, none, none);
  other.join();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->readable, fds);
}

TEST(Select, ATimeoutThatPassesGivesThreeEmptyListsAndNeverEarly) {
  const Pair pair = unix_pair();
  const Fds fds = {pair.a.get()};
  for (const Duration timeout :
       {Duration(1us), Duration(500us), Duration(999us), Duration(1500us), Duration(10ms)}) {
    const Instant start = now();
    expect_nothing(select(fds, none, fds, timeout));
    EXPECT_GE(now() - start, timeout);
  }
}

TEST(Select, ZeroAndLessOnlyLook) {
  const Pair pair = unix_pair();
  const Fds fds = {pair.a.get()};
  CountingKernel kernel;
  for (const Duration timeout : {Duration{}, Duration(-1), Duration(-1h), Duration::min()}) {
    expect_nothing(select(fds, none, none, timeout, kernel));
    const Result<Selected> result = select(none, fds, none, timeout, kernel);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->writable, fds);
  }
  EXPECT_EQ(kernel.waits, 8);
}

TEST(Select, NoTimeoutIsTooLong) {
  const Pair pair = unix_pair();
  const Fds fds = {pair.a.get()};
  for (const Duration timeout : {Duration(24h * 30), Duration::max()}) {
    std::thread other([&] {
      std::this_thread::sleep_for(5ms);  // so that the wait has most likely begun
      put(pair.b.get(), "x");
    });
    const Result<Selected> result = select(fds, none, none, timeout);
    other.join();
    ASSERT_TRUE(result);
    EXPECT_EQ(result->readable, fds);
    EXPECT_EQ(drain(pair.a.get()), 1u);
  }
}

TEST(Select, EmptyListsWithATimeoutJustSleep) {
  const Instant start = now();
  const Duration used = thread_cpu_time();
  expect_nothing(select(none, none, none, 50ms));
  EXPECT_GE(now() - start, 50ms);
  EXPECT_LT(thread_cpu_time() - used, 25ms);
  expect_nothing(select(none, none, none, Duration{}));
}

TEST(Select, SignalsNeitherEndNorShortenNorLengthen) {
  const SignalHandler handler(SIGUSR1, [](int) {});
  const SignalStorm storm(SIGUSR1);
  for (int i = 0; i < 3; ++i) {
    const Instant start = now();
    expect_nothing(select(none, none, none, 50ms));
    EXPECT_GE(now() - start, 50ms);
    EXPECT_LT(now() - start, patience);
  }
}

TEST(Select, ADescriptorThatIsNotOpenIsAnError) {
  Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const int open = pair.b.get();
  const int closed = pair.a.get();
  pair.a.reset();
  for (const int bad : {-1, closed, 1023, 5000}) {
    SCOPED_TRACE(bad);
    ASSERT_FALSE(is_open(bad));
    const Fds fds = {open, bad};
    for (const Result<Selected>& result :
         {select(fds, none, none, 1s), select(none, fds, none, 1s), select(none, none, fds, 1s)}) {
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error(), std::errc::bad_file_descriptor);
    }
  }
}

TEST(Select, DuplicatesComeBackAsOftenAsTheyWereGiven) {
  const Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const int fd = pair.a.get();
  const Fds fds = {fd, pair.b.get(), fd};
  const Result<Selected> result = select(fds, fds, none, patience);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->readable, (Fds{fd, fd}));
  EXPECT_EQ(result->writable, fds);
}

TEST(Select, DescriptorsAboveFdSetSize) {
  const DescriptorLimit limit(4096);
  ASSERT_TRUE(limit.held()) << "the hard limit of descriptors is " << limit.hard();
  const Pair pair = tcp_pair();
  std::vector<Fd> high;
  Fds fds;
  for (const int number : {1023, 1024, 1025, 2047, 4000}) {
    high.push_back(on_number(pair.a.get(), number));
    fds.push_back(number);
  }
  expect_nothing(select(fds, none, fds, Duration{}));
  put(pair.b.get(), "x");
  const Result<Selected> result = select(fds, fds, fds, patience);
  ASSERT_TRUE(result);
  ASSERT_TRUE(settled(4000, POLLIN));
  EXPECT_EQ(result->writable, fds);
  EXPECT_EQ(result->exceptional, none);
  const Result<Selected> readable = select(fds, none, none, patience);
  ASSERT_TRUE(readable);
  EXPECT_EQ(readable->readable, fds);
}

TEST(Select, RegularFilesAreAlwaysReady) {
  ScratchDirectory scratch;
  const Fd file(real_kernel(),
                ::open(scratch.path("empty").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_TRUE(file);
  const Fds fds = {file.get()};
  const Result<Selected> result = select(fds, fds, none);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->readable, fds);
  EXPECT_EQ(result->writable, fds);
}

TEST(Select, AnEndOfStreamIsReadable) {
  Pair pair = tcp_pair();
  const Fds fds = {pair.a.get()};
  expect_nothing(select(fds, none, none, Duration{}));
  pair.b.reset();
  const Result<Selected> result = select(fds, none, none);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->readable, fds);
  char byte;
  EXPECT_EQ(::read(pair.a.get(), &byte, 1), 0);
}

TEST(Select, UrgentDataIsExceptionalAndNotReadable) {
  const Pair pair = tcp_pair();
  const Fds fds = {pair.a.get()};
  ASSERT_EQ(::send(pair.b.get(), "!", 1, MSG_OOB), 1);
  const Result<Selected> result = select(fds, none, fds);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->readable, none);
  EXPECT_EQ(result->exceptional, fds);
  char byte = 0;
  EXPECT_EQ(::recv(pair.a.get(), &byte, 1, MSG_OOB), 1);
  EXPECT_EQ(byte, '!');
  expect_nothing(select(fds, none, fds, Duration{}));
}

TEST(Select, LeavesNoDescriptorBehind) {
  const Pair pair = unix_pair();
  const Fds fds = {pair.a.get(), pair.b.get()};
  const std::set<int> before = open_descriptors();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(select(fds, fds, fds, Duration{}));
  EXPECT_EQ(open_descriptors(), before);
}

}  // namespace
}  // namespace duolu::test
