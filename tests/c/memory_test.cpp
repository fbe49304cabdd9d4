// Memory that runs out: every allocation of every call of the C interface fails once. The call says
// -ENOMEM, nothing is left behind, and the same call works afterwards.
//
// Replacing operator new here replaces it in libduolu_c.so too, since the library leaves it to the
// program.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "duolu/poll/poller.h"
#include "support/param_name.hpp"

namespace {

/// How many allocations succeed before one fails; negative: all of them.
thread_local int left = -1;

/// Lets allocation number `nth` of this thread fail, for as long as it lives.
class FailAt {
 public:
  explicit FailAt(int nth) { left = nth; }
  FailAt(const FailAt&) = delete;
  FailAt& operator=(const FailAt&) = delete;
  ~FailAt() { left = -1; }
};

}  // namespace

// Not inline: g++ 12 takes malloc and free, once it sees them at a call, for a mismatched pair.
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (left == 0) throw std::bad_alloc();
  if (left > 0) --left;
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

class MemoryTest : public testing::TestWithParam<std::string> {
 protected:
  static constexpr int pairs = 40;  // enough that every table has to grow on the way
  static constexpr std::size_t batch = 64;

  void SetUp() override {
    fds_.resize(2 * pairs);
    for (int i = 0; i < pairs; ++i)
      ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, &fds_[2U * unsigned(i)]), 0);
  }
  void TearDown() override {
    duolu_poller_free(poller_);
    for (const int fd : fds_) ::close(fd);
  }

  /// Repeats a call, letting its first allocation fail, then its second, until it needs no more.
  template <class Call>
  void until_it_works(Call call) {
    for (int nth = 0;; ++nth) {
      int result = 0;
      {
        const FailAt failing(nth);
        result = call();
      }
      if (result != -ENOMEM) {
        ASSERT_GE(result, 0);
        return;
      }
      ++failures_;
      if (poller_ != nullptr) {
        ASSERT_EQ(duolu_poller_wait(poller_, events_.data(), batch, 0, nullptr), 0);
      }
      ASSERT_LT(nth, 100) << "it fails without an allocation that failed";
    }
  }

  std::vector<int> fds_;
  std::vector<std::uint64_t> tokens_ = std::vector<std::uint64_t>(2 * pairs);
  std::vector<duolu_event> events_ = std::vector<duolu_event>(batch);
  duolu_poller* poller_ = nullptr;
  int failures_ = 0;
};

TEST_P(MemoryTest, a_call_that_fails_leaves_nothing_behind) {
  until_it_works([&] { return duolu_poller_new(GetParam().c_str(), batch, 0, &poller_); });
  ASSERT_NE(poller_, nullptr);
  EXPECT_GE(failures_, 2);
  // Paused, so that a later modify has to make room. A wait after each failure meets the tables in
  // the state it left them in.
  for (std::size_t i = 0; i < fds_.size(); ++i)
    until_it_works(
        [&] { return duolu_poller_add(poller_, fds_[i], 0, DUOLU_LEVEL, i, &tokens_[i]); });
  EXPECT_GE(failures_, 5);
  for (std::size_t i = 0; i < fds_.size(); ++i)
    until_it_works(
        [&] { return duolu_poller_modify(poller_, tokens_[i], DUOLU_WRITABLE, DUOLU_ONESHOT); });
  std::vector<int> seen(fds_.size());
  for (int wait = 0; wait < 2; ++wait) {
    int count = 0;
    until_it_works(
        [&] { return count = duolu_poller_wait(poller_, events_.data(), batch, 0, nullptr); });
    for (int i = 0; i < count; ++i) ++seen[events_[unsigned(i)].data];
  }
  EXPECT_EQ(seen, std::vector<int>(fds_.size(), 1));
}

TEST_P(MemoryTest, descriptors_that_were_closed_are_reported) {
  ASSERT_EQ(duolu_poller_new(GetParam().c_str(), batch, 0, &poller_), 0);
  for (std::size_t i = 0; i < fds_.size(); ++i)
    ASSERT_EQ(duolu_poller_add(poller_, fds_[i], DUOLU_WRITABLE, DUOLU_LEVEL, i, &tokens_[i]), 0);
  for (std::size_t i = 0; i < batch; ++i) ::close(std::exchange(fds_[i], -1));
  for (std::size_t i = 0; i < batch; ++i)
    ASSERT_EQ(duolu_poller_modify(poller_, tokens_[i], DUOLU_READABLE, DUOLU_LEVEL), 0);
  std::size_t invalid = 0;
  for (int wait = 0; wait < 4; ++wait) {
    int count = 0;
    until_it_works(
        [&] { return count = duolu_poller_wait(poller_, events_.data(), batch, 0, nullptr); });
    for (int i = 0; i < count; ++i)
      if ((events_[unsigned(i)].ready & DUOLU_INVALID) != 0) ++invalid;
  }
  EXPECT_EQ(invalid, batch);
}

std::vector<std::string> every_backend() {
  std::vector<std::string> names;
  for (std::size_t i = 0; duolu_backend_name(i) != nullptr; ++i)
    names.emplace_back(duolu_backend_name(i));
  return names;
}

INSTANTIATE_TEST_SUITE_P(C, MemoryTest, testing::ValuesIn(every_backend()),
                         [](const auto& backend) {
                           return duolu::test::param_name(backend.param);
                         });

}  // namespace
