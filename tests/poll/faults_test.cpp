// Pollers over a kernel that fails: the contract holds, only later. See fault.hpp for the faults.
#include <dirent.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "duolu/testing/fault.hpp"
#include "support/conformance.hpp"

namespace duolu::test {
namespace {

constexpr FaultRates often{
    .short_transfers = 300, .eagain = 300, .eintr = 300, .delayed_readiness = 300};
constexpr FaultRates always{
    .short_transfers = 1000, .eagain = 1000, .eintr = 1000, .delayed_readiness = 1000};
constexpr Duration hang = 30s;

std::size_t open_descriptors() {
  std::size_t count = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) std::abort();
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

/// The byte at a position of the stream that side 0 or 1 sends.
unsigned char byte_at(int side, std::size_t position) {
  return static_cast<unsigned char>((position * 2654435761U >> 13U) + position +
                                    static_cast<std::size_t>(side) * 77);
}

/// Sends both ways at once over one pair, through one poller, and checks every byte and the ends.
class Exchange {
 public:
  Exchange(FaultKernel& kernel, Poller& poller, Trigger trigger, const Pair& pair, std::size_t size)
      : kernel_(kernel), poller_(poller), trigger_(trigger), size_(size), block_(block_size) {
    sides_[0].fd = pair.a.get();
    sides_[1].fd = pair.b.get();
  }

  /// Empty if all is well, otherwise what went wrong.
  std::string run() {
    for (Side& side : sides_) {
      const Result<Token> token =
          poller_.add(side.fd, Interest::readable | Interest::writable, trigger_, index(side));
      if (!token) return "add: " + token.error().message();
      side.token = *token;
    }
    // Every wait hands something out; 64 for every byte is beyond what any schedule needs.
    for (std::size_t turn = 0; trouble_.empty() && !(sides_[0].ended && sides_[1].ended); ++turn) {
      if (turn > 64 * size_) return "spins";
      Result<Poller::Batch> batch = poller_.wait(after(real_kernel().now(), hang));
      if (!batch) return "wait: " + batch.error().message();
      if (batch->empty()) return "hangs: " + state();
      for (const Event& event : *batch) serve(sides_[event.data], event);
    }
    for (Side& side : sides_)
      if (!poller_.remove(side.token)) return "remove";
    return trouble_;
  }

 private:
  static constexpr std::size_t block_size = 16384;

  struct Side {
    int fd = -1;
    Token token{};
    std::size_t sent = 0;
    std::size_t received = 0;
    bool ended = false;  ///< Read to the end.
  };

  std::uint64_t index(const Side& side) const {
    return static_cast<std::uint64_t>(&side - sides_.data());
  }
  std::string state() const {
    std::string text;
    for (const Side& side : sides_)
      text += "sent " + std::to_string(side.sent) + " received " + std::to_string(side.received) +
              (side.ended ? " ended; " : "; ");
    return text;
  }
  Interest wanted(const Side& side) const {
    Interest want = side.ended ? Interest::none : Interest::readable;
    if (side.sent < size_) want |= Interest::writable;
    return want;
  }

  void serve(Side& side, const Event& event) {
    const Interest before = wanted(side);
    if (event.readable() && !side.ended) receive(side, event);
    if (event.writable() && side.sent < size_) send(side);
    const Interest now = wanted(side);
    if ((now != before || trigger_ == Trigger::oneshot) && !poller_.modify(side.token, now))
      trouble_ = "modify";
  }

  void receive(Side& side, const Event& event) {
    const int from = 1 - static_cast<int>(index(side));
    for (;;) {
      const ssize_t got = kernel_.recv(side.fd, block_.data(), block_.size(), 0);
      if (got == -EINTR) continue;
      if (got == -EAGAIN) return poller_.drained(side.token, Interest::readable);
      if (got < 0) return fail("recv " + std::to_string(-got));
      if (got == 0) {
        side.ended = true;
        if (side.received != size_) fail("ends early");
        return;
      }
      const auto count = static_cast<std::size_t>(got);
      for (std::size_t i = 0; i < count; ++i)
        if (block_[i] != byte_at(from, side.received + i)) return fail("wrong byte");
      side.received += count;
      if (side.received > size_) return fail("too much");
      if (count < block_.size() && event.short_means_drained())
        return poller_.drained(side.token, Interest::readable);
      if (trigger_ == Trigger::level) return;
    }
  }

  void send(Side& side) {
    while (side.sent < size_) {
      const std::size_t count = std::min(block_.size(), size_ - side.sent);
      for (std::size_t i = 0; i < count; ++i)
        block_[i] = byte_at(static_cast<int>(index(side)), side.sent + i);
      const ssize_t moved = kernel_.send(side.fd, block_.data(), count, MSG_NOSIGNAL);
      if (moved == -EINTR) continue;
      if (moved == -EAGAIN) return poller_.drained(side.token, Interest::writable);
      if (moved <= 0) return fail("send " + std::to_string(-moved));
      side.sent += static_cast<std::size_t>(moved);
      if (static_cast<std::size_t>(moved) < count)
        return poller_.drained(side.token, Interest::writable);
    }
    if (kernel_.shutdown(side.fd, SHUT_WR) != 0) fail("shutdown");
  }

  void fail(std::string what) {
    if (trouble_.empty()) trouble_ = std::move(what);
  }

  FaultKernel& kernel_;
  Poller& poller_;
  const Trigger trigger_;
  const std::size_t size_;
  std::array<Side, 2> sides_{};
  std::vector<unsigned char> block_;
  std::string trouble_;
};

class FaultsTest : public Conformance {
 protected:
  void SetUp() override {}
  ~FaultsTest() override { poller.reset(); }  // before the kernel it was made with

  /// Opens `poller` on a kernel that fails.
  FaultKernel& open_faulty(std::uint64_t seed, PollerOptions options = {}) {
    poller.reset();
    kernel_.emplace(real_kernel(), seed);
    open(*kernel_, options);
    return *kernel_;
  }

  /// One exchange over a fresh poller and pair. Counts the faults.
  void exchange(std::uint64_t seed, FaultRates rates, bool tcp, std::size_t size) {
    FaultKernel kernel(real_kernel(), seed);
    const auto made = GetParam().backend->make(kernel, {});
    ASSERT_TRUE(made);
    kernel.set_rates(rates);
    const Pair pair = tcp ? tcp_pair() : unix_pair();
    Exchange both_ways(kernel, **made, trigger(), pair, size);
    ASSERT_EQ(both_ways.run(), "") << (tcp ? "tcp" : "unix") << ", seed " << seed;
    injected += kernel.injected();
  }

  std::uint64_t injected = 0;

 private:
  std::optional<FaultKernel> kernel_;
};

TEST_P(FaultsTest, every_byte_arrives_over_unix_sockets) {
  for (std::uint64_t seed = 0; seed < 100 && !HasFatalFailure(); ++seed)
    exchange(seed, often, false, 256 * 1024);
  EXPECT_GT(injected, 100U * 10);
}

TEST_P(FaultsTest, every_byte_arrives_over_tcp) {
  for (std::uint64_t seed = 0; seed < 100 && !HasFatalFailure(); ++seed)
    exchange(seed, often, true, 256 * 1024);
  EXPECT_GT(injected, 100U * 10);
}

TEST_P(FaultsTest, every_byte_arrives_when_every_call_is_struck) {
  for (std::uint64_t seed = 0; seed < 10 && !HasFatalFailure(); ++seed)
    for (const bool tcp : {false, true}) exchange(seed, always, tcp, 32 * 1024);
}

TEST_P(FaultsTest, every_byte_arrives_under_each_fault_alone) {
  for (const FaultRates rates : {FaultRates{.short_transfers = 1000}, FaultRates{.eagain = 1000},
                                 FaultRates{.eintr = 1000}, FaultRates{.delayed_readiness = 1000}})
    for (std::uint64_t seed = 0; seed < 3 && !HasFatalFailure(); ++seed)
      for (const bool tcp : {false, true}) exchange(seed, rates, tcp, 32 * 1024);
}

TEST_P(FaultsTest, the_same_seed_makes_the_same_calls) {
  std::array<std::vector<std::uint64_t>, 2> counts;
  for (std::vector<std::uint64_t>& count : counts) {
    FaultKernel kernel(real_kernel(), 42);
    const auto made = GetParam().backend->make(kernel, {});
    ASSERT_TRUE(made);
    kernel.set_rates(often);
    const Pair pair = unix_pair();
    Exchange both_ways(kernel, **made, trigger(), pair, 64 * 1024);
    ASSERT_EQ(both_ways.run(), "");
    for (std::size_t call = 0; call < static_cast<std::size_t>(Call::count_); ++call)
      count.push_back(kernel.calls(static_cast<Call>(call)));
    count.push_back(kernel.injected());
  }
  EXPECT_EQ(counts[0], counts[1]);
}

// --- waiting

TEST_P(FaultsTest, P31_P32_a_storm_of_interruptions_does_not_shorten_a_wait) {
  FaultKernel& kernel = open_faulty(3);
  kernel.set_rates({.eintr = 1000});
  const Pair pair = unix_pair();
  watch(pair.a.get(), Interest::readable);
  for (const Duration span : {Duration(300us), Duration(1700us), Duration(20ms)}) {
    const Instant deadline = after(real_kernel().now(), span);
    const Result<Poller::Batch> batch = poller->wait(deadline);
    ASSERT_TRUE(batch);
    EXPECT_TRUE(batch->empty());
    EXPECT_FALSE(batch->woken());
    EXPECT_GE(real_kernel().now(), deadline);
  }
  EXPECT_GE(kernel.injected(), 9U);
}

TEST_P(FaultsTest, P31_withheld_readiness_does_not_shorten_a_wait) {
  FaultKernel& kernel = open_faulty(3);
  kernel.set_rates({.delayed_readiness = 1000});
  const Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const Token token = watch(pair.a.get(), Interest::readable);
  for (int round = 0; round < 10; ++round) {
    EXPECT_EQ(ready(token, hang), Ready::readable);
    rearm(token, Interest::readable);
  }
  if (traits().wait_call == "io_uring_enter") return;  // F6: no completion is delayed
  EXPECT_GE(kernel.injected(), 10U);
}

TEST_P(FaultsTest, P32_return_on_signal_returns_an_injected_interruption) {
  FaultKernel& kernel = open_faulty(0, {.return_on_signal = true});
  kernel.set_rates({.eintr = 1000});
  const Result<Poller::Batch> batch = poller->wait(after(real_kernel().now(), hang));
  ASSERT_FALSE(batch);
  EXPECT_EQ(batch.error(), std::errc::interrupted);
}

// --- wake-ups

/// Wakes from another thread, each after the one before was seen.
void expect_wakes_arrive(Poller& poller, int rounds) {
  std::atomic<int> seen{0};
  std::jthread waker([&] {
    for (int round = 0; round < rounds; ++round) {
      poller.wake();
      for (int now = seen; now <= round; now = seen) seen.wait(now);
    }
  });
  for (int round = 0; round < rounds; ++round) {
    bool woken = false;
    Result<Poller::Batch> batch = poller.wait(after(real_kernel().now(), hang));
    if (batch) woken = batch->woken();
    EXPECT_TRUE(woken) << "round " << round;
    seen = woken ? round + 1 : rounds;
    seen.notify_all();
    if (!woken) return;
  }
}

TEST_P(FaultsTest, P33_wakes_arrive_under_random_faults) {
  for (const FaultRates& rates : {often, always}) {
    FaultKernel& kernel = open_faulty(11);
    kernel.set_rates(rates);
    const Pair pair = unix_pair();
    watch(pair.a.get(), Interest::readable);
    expect_wakes_arrive(*poller, 300);
  }
}

class WakePipeTest : public FaultsTest {
 protected:
  void open_without_eventfd(PollerOptions options = {}) {
    kernel.fail_always(Call::eventfd, ENOSYS);
    open(kernel, options);
    ASSERT_EQ(kernel.calls(Call::pipe), 1U);
  }
  ~WakePipeTest() override { poller.reset(); }  // before the kernel it was made with

  FaultKernel kernel{real_kernel(), 5};
};

TEST_P(WakePipeTest, T13_a_wake_before_the_wait_ends_it_and_wakes_merge) {
  open_without_eventfd();
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 10; ++i) poller->wake();
    Result<Poller::Batch> batch = poller->wait(after(real_kernel().now(), hang));
    ASSERT_TRUE(batch);
    EXPECT_TRUE(batch->woken());
    EXPECT_TRUE(batch->empty());
    batch = poller->wait(after(real_kernel().now(), 5ms));
    ASSERT_TRUE(batch);
    EXPECT_FALSE(batch->woken());
  }
}

TEST_P(WakePipeTest, T13_more_wakes_than_a_pipe_holds) {
  open_without_eventfd();
  for (int round = 0; round < 20'000; ++round) {
    poller->wake();
    Result<Poller::Batch> batch = poller->wait(immediately);
    ASSERT_TRUE(batch);
    ASSERT_TRUE(batch->woken());
  }
}

TEST_P(WakePipeTest, T13_wakes_from_another_thread_arrive) {
  open_without_eventfd();
  expect_wakes_arrive(*poller, 300);
}

TEST_P(WakePipeTest, T13_wakes_from_another_thread_arrive_under_random_faults) {
  open_without_eventfd();
  for (const FaultRates& rates : {often, always}) {
    kernel.set_rates(rates);
    expect_wakes_arrive(*poller, 300);
  }
}

TEST_P(WakePipeTest, T13_a_wake_takes_no_event_away) {
  open_without_eventfd({.batch = 1});
  const Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const Token token = watch(pair.a.get(), Interest::readable);
  poller->wake();
  bool woken = false;
  Ready found = Ready::none;
  for (int round = 0; round < 2 && (!woken || found == Ready::none); ++round) {
    Result<Poller::Batch> batch = poller->wait(after(real_kernel().now(), hang));
    ASSERT_TRUE(batch);
    woken = woken || batch->woken();
    for (const Event& event : *batch) {
      EXPECT_EQ(event.token, token);
      found |= event.ready;
    }
  }
  EXPECT_TRUE(woken);
  EXPECT_EQ(found, Ready::readable);
}

TEST_P(WakePipeTest, T13_P33_a_wake_that_fills_the_batch_doubles_no_event) {
  open_without_eventfd({.batch = 2});
  const Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const Token token = watch(pair.a.get(), Interest::readable);
  poller->wake();
  Result<Poller::Batch> batch = poller->wait(after(real_kernel().now(), hang));
  ASSERT_TRUE(batch);
  EXPECT_TRUE(batch->woken());
  std::size_t count = 0;
  for (const Event& event : *batch) {
    EXPECT_EQ(event.token, token);
    ++count;
  }
  EXPECT_EQ(count, 1U);
}

TEST_P(WakePipeTest, T13_a_signal_handler_wakes) {
  static Poller* woken_by_signal;
  open_without_eventfd();
  kernel.set_rates(often);
  woken_by_signal = poller.get();
  struct sigaction catcher{};
  struct sigaction before{};
  catcher.sa_handler = [](int) { woken_by_signal->wake(); };
  ASSERT_EQ(::sigaction(SIGALRM, &catcher, &before), 0);
  const itimerval every_1ms{.it_interval = {.tv_sec = 0, .tv_usec = 1000},
                            .it_value = {.tv_sec = 0, .tv_usec = 1000}};
  const itimerval off{};
  ASSERT_EQ(::setitimer(ITIMER_REAL, &every_1ms, nullptr), 0);
  for (int round = 0; round < 20; ++round) {
    Result<Poller::Batch> batch = poller->wait(after(real_kernel().now(), hang));
    EXPECT_TRUE(batch && batch->woken());
  }
  ASSERT_EQ(::setitimer(ITIMER_REAL, &off, nullptr), 0);
  ASSERT_EQ(::sigaction(SIGALRM, &before, nullptr), 0);
}

// --- descriptors that run out

TEST_P(FaultsTest, a_poller_that_cannot_be_made_leaves_nothing_behind) {
  for (const Call call : {Call::eventfd, Call::pipe, Call::epoll_create, Call::epoll_ctl}) {
    const std::size_t before = open_descriptors();
    {
      FaultKernel kernel(real_kernel());
      kernel.fail_always(call, EMFILE);
      if (call == Call::pipe) kernel.fail_always(Call::eventfd, EMFILE);
      const auto made = GetParam().backend->make(kernel, {});
      const bool needed = call == Call::pipe || (call != Call::eventfd && traits().kernel_set) ||
                          (call == Call::epoll_create && traits().holds_files);
      EXPECT_EQ(made.has_value(), !needed) << to_string(call);
      if (!made) {
        EXPECT_EQ(made.error(), std::errc::too_many_files_open);
        const Probe probe = GetParam().backend->probe(kernel);
        EXPECT_EQ(probe.works(), !traits().kernel_set && !traits().holds_files);
        if (!probe.works()) {
          EXPECT_NE(probe.advice, "");
        }
      }
    }
    EXPECT_EQ(open_descriptors(), before) << to_string(call);
  }
}

/// Whether a wake-up ends a wait: at its deadline the batch says so too, but that is too late.
bool is_woken(Poller& poller) {
  const Instant deadline = after(real_kernel().now(), hang);
  const Result<Poller::Batch> batch = poller.wait(deadline);
  return batch && batch->woken() && real_kernel().now() < deadline;
}

TEST_P(FaultsTest, P7_a_closed_one_is_told_although_waiting_fails) {
  FaultKernel& kernel = open_faulty(0);
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  pair.a.reset();
  ASSERT_TRUE(poller->modify(token, Interest::readable | Interest::writable));
  kernel.fail(call_named(traits().wait_call), 1, ENOMEM);
  int invalid = 0;
  for (int round = 0; round < 2; ++round)
    if (const Result<Poller::Batch> batch = poller->wait(immediately))
      for (const Event& event : *batch) invalid += event.invalid() ? 1 : 0;
  EXPECT_GE(invalid, 1);
}

TEST_P(FaultsTest, P33_a_wake_up_is_not_lost_when_waiting_fails) {
  FaultKernel& kernel = open_faulty(0);
  const Pair pair = unix_pair();
  watch(pair.a.get(), Interest::readable);
  put(pair.b.get(), "x");
  for (const Call call : {Call::ppoll, Call::pselect, Call::epoll_pwait2}) {
    poller->wake();
    kernel.fail(call, 1, ENOMEM);
    const Result<Poller::Batch> failed = poller->wait(immediately);
    kernel.clear();
    // Nothing but the wake-up ends this one, where that of before did not.
    drain(pair.a.get());
    EXPECT_TRUE((failed && failed->woken()) || is_woken(*poller));
    put(pair.b.get(), "x");
  }
}

TEST_P(FaultsTest, R22_a_limit_met_by_add_comes_through_and_the_poller_goes_on) {
  FaultKernel& kernel = open_faulty(0);
  const Pair pair = unix_pair();
  const Pair other = unix_pair();
  const Token first = watch(pair.a.get(), Interest::readable);
  const int error = traits().kernel_set ? ENOSPC : ENOMEM;
  kernel.fail(call_named(traits().register_call), 1, error);
  const Result<Token> refused = poller->add(other.a.get(), Interest::readable, trigger());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), errno_code(error));
  EXPECT_EQ(poller->size(), 1U);
  put(pair.b.get(), "x");
  put(other.b.get(), "x");
  EXPECT_EQ(ready(first), Ready::readable);
  const Token second = watch(other.a.get(), Interest::readable, 9);
  EXPECT_EQ(poller->size(), 2U);
  EXPECT_EQ(ready(second), Ready::readable);
}

TEST_P(FaultsTest, P8_P25_a_change_that_the_kernel_fails_to_take_is_not_forgotten) {
  for (const int error : {ENOMEM, ENOSPC, EINTR}) {
    SCOPED_TRACE(error);
    FaultKernel& kernel = open_faulty(0);
    const Pair pair = unix_pair();
    const Token token = watch(pair.a.get(), Interest::readable);
    EXPECT_TRUE(poller->wait(immediately)->empty());
    ASSERT_TRUE(poller->modify(token, Interest::readable | Interest::writable));
    kernel.fail(Call::epoll_ctl, 1, error);
    Ready seen = Ready::none;
    for (int round = 0; round < 3 && seen == Ready::none; ++round)
      if (const Result<Poller::Batch> batch = poller->wait(immediately))
        for (const Event& event : *batch) seen |= event.ready;
    EXPECT_EQ(seen, Ready::writable);
    EXPECT_TRUE(poller->modify(token, Interest::readable));
    put(pair.b.get(), "x");
    EXPECT_EQ(ready(token), Ready::readable);
  }
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(FaultsTest);
DUOLU_EVERY_BACKEND_AND_TRIGGER(WakePipeTest);

#ifndef DUOLU_POSIX_ONLY

// --- a ring whose calls fail, and one that is full

std::unique_ptr<Poller> ring_poller(Kernel& kernel) {
  Result<std::unique_ptr<Poller>> made = make_poller(kernel, "uring-poll");
  return made ? *std::move(made) : nullptr;
}

TEST(UringPollFaults, P2_P7_P8_every_call_may_fail_once) {
  for (const int error : {EBUSY, EAGAIN, EINTR, ENOMEM})
    for (std::uint64_t call = 1; call <= 12; ++call) {
      SCOPED_TRACE(std::to_string(error) + " at call " + std::to_string(call));
      FaultKernel kernel(real_kernel());
      const auto poller = ring_poller(kernel);
      if (poller == nullptr) GTEST_SKIP() << "no io_uring here";
      Pair pair = unix_pair();
      const Token token = poller->add(pair.a.get(), Interest::readable, Trigger::level).value();
      kernel.fail(Call::io_uring_enter, call, error);
      const auto report = [&] {
        for (int round = 0; round < 3; ++round)
          if (const Result<Poller::Batch> batch = poller->wait(immediately))
            for (const Event& event : *batch)
              if (event.token == token) return event.ready;
        return Ready::none;
      };
      EXPECT_EQ(report(), Ready::none);
      put(pair.b.get(), "x");
      EXPECT_EQ(report(), Ready::readable);
      ASSERT_TRUE(poller->modify(token, Interest::readable | Interest::writable));
      EXPECT_EQ(report(), Ready::readable | Ready::writable);
      ASSERT_TRUE(poller->modify(token, Interest::priority));
      EXPECT_EQ(report(), Ready::none);
      ASSERT_TRUE(poller->remove(token));
      pair.a.reset();
      char byte;
      EXPECT_TRUE(::recv(pair.b.get(), &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET);
      EXPECT_EQ(poller->size(), 0U);
    }
}

// More registrations than entries in the queues: each is asked about, cancelled and reported.
TEST(UringPollFaults, P5_P34_more_registrations_than_the_ring_has_entries) {
  const auto poller = ring_poller(real_kernel());
  if (poller == nullptr) GTEST_SKIP() << "no io_uring here";
  constexpr std::size_t count = 10'000;
  const Pair pair = unix_pair();
  std::vector<Fd> copies;
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < count; ++i) {
    copies.emplace_back(real_kernel(), ::fcntl(pair.a.get(), F_DUPFD_CLOEXEC, 3));
    ASSERT_TRUE(copies.back()) << "needs a descriptor limit of " << count;
    tokens.push_back(
        poller->add(copies.back().get(), Interest::readable, Trigger::level, i).value());
  }
  const auto reported = [&](Ready ready) {
    std::vector<bool> seen(count);
    std::size_t different = 0;
    for (std::size_t rounds = 0; rounds < 4 * count && different < count; ++rounds) {
      const Poller::Batch batch = poller->wait(immediately).value();
      for (const Event& event : batch) {
        EXPECT_EQ(event.ready, ready);
        if (!seen[event.data]) ++different;
        seen[event.data] = true;
      }
    }
    return different;
  };
  EXPECT_TRUE(poller->wait(immediately)->empty());
  for (const Token token : tokens) ASSERT_TRUE(poller->modify(token, Interest::writable));
  EXPECT_EQ(reported(Ready::writable), count);
  for (const Token token : tokens) ASSERT_TRUE(poller->modify(token, Interest::none));
  EXPECT_TRUE(poller->wait(immediately)->empty());
  for (const Token token : tokens) ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_TRUE(poller->wait(immediately)->empty());
  put(pair.b.get(), "x");
  EXPECT_EQ(reported(Ready::readable), count);
  for (const Token token : tokens) ASSERT_TRUE(poller->remove(token));
  EXPECT_EQ(poller->size(), 0U);
}

// --- epoll on kernels that lack something

TEST(EpollFaults, P31_without_epoll_pwait2_milliseconds_are_rounded_up) {
  for (const int error : {ENOSYS, EPERM}) {  // too old; a filter that does not know the call
    FaultKernel kernel(real_kernel());
    kernel.fail_always(Call::epoll_pwait2, error);
    const auto poller = make_poller(kernel, "epoll").value();
    for (const Duration span :
         {Duration(100us), Duration(999us), Duration(1001us), Duration(5ms)}) {
      const Instant deadline = after(real_kernel().now(), span);
      const Result<Poller::Batch> batch = poller->wait(deadline);
      ASSERT_TRUE(batch) << batch.error().message();
      EXPECT_TRUE(batch->empty());
      EXPECT_GE(real_kernel().now(), deadline);
    }
    EXPECT_EQ(kernel.calls(Call::epoll_pwait2), 1U);  // asked once
    EXPECT_GE(kernel.calls(Call::epoll_wait), 4U);
    EXPECT_LE(kernel.calls(Call::epoll_wait), 8U);  // and no spinning
    const Pair pair = unix_pair();
    put(pair.b.get(), "x");
    ASSERT_TRUE(poller->add(pair.a.get(), Interest::readable, Trigger::edge, 7));
    std::size_t events = 0;
    const Poller::Batch batch = poller->wait(after(real_kernel().now(), hang)).value();
    for (const Event& event : batch) events += event.data == 7 ? 1 : 0;
    EXPECT_EQ(events, 1U);
    expect_wakes_arrive(*poller, 10);
  }
}

TEST(EpollFaults, every_byte_arrives_without_epoll_pwait2_and_eventfd) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge, Trigger::oneshot})
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      FaultKernel kernel(real_kernel(), seed);
      kernel.fail_always(Call::epoll_pwait2, ENOSYS);
      kernel.fail_always(Call::eventfd, ENOSYS);
      const auto poller = make_poller(kernel, "epoll").value();
      kernel.set_rates(often);
      const Pair pair = unix_pair();
      Exchange both_ways(kernel, *poller, trigger, pair, 64 * 1024);
      ASSERT_EQ(both_ways.run(), "") << to_string(trigger) << ", seed " << seed;
    }
}

/// A poller whose kernel holds a registration that nothing can name any more, and that reports.
class FailingRebuild : public testing::Test {
 protected:
  FailingRebuild() {
    removed_ = poller->add(gone_.a.get(), Interest::readable, Trigger::level, 1).value();
    kept = poller->add(live.a.get(), Interest::readable, Trigger::level, 2).value();
    removed_edge_ = poller->add(gone_edge_.a.get(), Interest::readable, Trigger::edge, 3).value();
  }
  void lose_one() { lose(gone_, removed_); }
  /// One that reports once.
  void lose_an_edge() { lose(gone_edge_, removed_edge_); }
  /// What a wait that only looks says of `kept`; none if nothing.
  Ready look() {
    Ready seen = Ready::none;
    const Poller::Batch batch = poller->wait(immediately).value();
    for (const Event& event : batch) seen = event.token == kept ? event.ready : Ready::invalid;
    return seen;
  }

  FaultKernel kernel{real_kernel()};
  std::unique_ptr<Poller> poller = make_poller(kernel, "epoll").value();
  const Pair live = unix_pair();
  Token kept{};

 private:
  void lose(const Pair& pair, Token token) {
    put(pair.b.get(), "x");
    kernel.fail(Call::epoll_ctl, 1, EBADF);  // as when a dup lives on
    ASSERT_TRUE(poller->remove(token));
  }

  const Pair gone_ = unix_pair();
  const Pair gone_edge_ = unix_pair();
  Token removed_{};
  Token removed_edge_{};
};

TEST_F(FailingRebuild, P4_one_that_runs_out_of_memory_is_finished_by_a_later_wait) {
  lose_one();
  for (const int error : {ENOMEM, ENOSPC}) {
    // The old set is asked for both registrations; the new one is told of the wake-up, then `kept`.
    kernel.fail(Call::epoll_ctl, error == ENOMEM ? 4 : 2, error);  // the second time none is old
    const auto failed = poller->wait(immediately);
    ASSERT_FALSE(failed.has_value());
    EXPECT_EQ(failed.error(), errno_code(error));
  }
  put(live.b.get(), "x");
  EXPECT_EQ(look(), Ready::readable);
}

TEST_F(FailingRebuild, P4_without_a_set_registrations_are_kept_until_there_is_one_again) {
  lose_one();
  put(live.b.get(), "x");
  const Pair other = unix_pair();
  for (int round = 0; round < 3; ++round) {
    kernel.fail(Call::epoll_create, 1, EMFILE);
    kernel.fail(Call::epoll_create, 2, EMFILE);  // another thread has taken the number
    const auto failed = poller->wait(immediately);
    kernel.clear();
    if (round == 0) continue;  // it found the other one ready, and could say so
    ASSERT_FALSE(failed.has_value()) << round;
    EXPECT_EQ(failed.error(), errno_code(EMFILE));
    ASSERT_TRUE(poller->modify(kept, Interest::readable | Interest::writable));
    const Result<Token> refused = poller->add(other.a.get(), Interest::readable);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error(), errno_code(EMFILE));
  }
  EXPECT_EQ(look(), Ready::readable | Ready::writable);
  ASSERT_TRUE(poller->modify(kept, Interest::readable));
  EXPECT_EQ(look(), Ready::readable);
  EXPECT_TRUE(poller->add(other.a.get(), Interest::readable));
  drain(live.a.get());
  expect_wakes_arrive(*poller, 10);
}

TEST_F(FailingRebuild, P5_a_pause_that_needs_one_is_not_forgotten) {
  Pair pair = unix_pair();
  const Token paused = poller->add(pair.a.get(), Interest::readable).value();
  const Fd ghost(real_kernel(), ::fcntl(pair.a.get(), F_DUPFD_CLOEXEC, 0));
  pair.a.reset();
  put(pair.b.get(), "x");
  ASSERT_TRUE(poller->modify(paused, Interest::none));
  for (int round = 0; round < 3; ++round) {
    kernel.fail(Call::epoll_create, 1, ENFILE);
    const auto failed = poller->wait(immediately);  // which would spin for ever
    ASSERT_FALSE(failed.has_value());
    EXPECT_EQ(failed.error(), errno_code(ENFILE));
  }
  EXPECT_EQ(look(), Ready::none);
}

TEST_F(FailingRebuild, P7_what_is_changed_after_half_of_one_is_not_called_closed) {
  lose_one();
  kernel.fail(Call::epoll_ctl, 4, ENOSPC);  // two are asked for, the wake-up is added, then `kept`
  ASSERT_FALSE(poller->wait(immediately).has_value());
  ASSERT_TRUE(poller->modify(kept, Interest::writable));
  EXPECT_EQ(look(), Ready::writable);
  EXPECT_TRUE(poller->modify(kept, Interest::readable));
}

TEST_F(FailingRebuild, P25_a_oneshot_found_together_with_what_needs_one_is_told) {
  const Pair pair = unix_pair();
  lose_one();
  const Token once = poller->add(pair.a.get(), Interest::readable, Trigger::oneshot, 3).value();
  put(pair.b.get(), "x");
  int told = 0;
  for (int round = 0; round < 3; ++round) {
    kernel.fail(Call::epoll_create, 1, ENFILE);
    if (const Result<Poller::Batch> batch = poller->wait(immediately))
      for (const Event& event : *batch) told += event.token == once ? 1 : 0;
    kernel.clear();
  }
  EXPECT_EQ(told, 1);
}

TEST_F(FailingRebuild, P33_a_wake_up_found_together_with_what_needs_one_is_told) {
  lose_an_edge();
  poller->wake();
  kernel.fail(Call::epoll_create, 1, ENFILE);
  const Result<Poller::Batch> first = poller->wait(immediately);
  EXPECT_TRUE((first && first->woken()) || is_woken(*poller));
}

TEST(EpollFaults, P4_a_dead_registration_is_got_rid_of_even_without_a_free_descriptor) {
  for (const bool no_descriptor : {false, true}) {
    FaultKernel kernel(real_kernel());
    const auto poller = make_poller(kernel, "epoll").value();
    const Pair dead = unix_pair();
    const Pair live = unix_pair();
    put(dead.b.get(), "x");
    put(live.b.get(), "x");
    const Token token = poller->add(dead.a.get(), Interest::readable, Trigger::level, 1).value();
    ASSERT_TRUE(poller->add(live.a.get(), Interest::readable, Trigger::level, 2));
    kernel.fail(Call::epoll_ctl, 1, EBADF);  // the kernel keeps it, as when a dup lives on
    ASSERT_TRUE(poller->remove(token));
    pollfd outside{.fd = poller->fd(), .events = POLLIN, .revents = 0};
    kernel.reset_counts();
    if (no_descriptor) kernel.fail(Call::epoll_create, 1, EMFILE);
    for (int round = 0; round < 3; ++round) {
      const Poller::Batch batch = poller->wait(after(real_kernel().now(), hang)).value();
      for (const Event& event : batch) EXPECT_EQ(event.data, 2U);
    }
    EXPECT_EQ(kernel.calls(Call::epoll_create), no_descriptor ? 2U : 1U);
    drain(live.a.get());
    EXPECT_EQ(::poll(&outside, 1, 0), 0);  // from outside it is seen as before
    poller->wake();
    EXPECT_EQ(::poll(&outside, 1, 0), 1);
    EXPECT_TRUE(poller->wait(immediately)->woken());
    expect_wakes_arrive(*poller, 10);
  }
}

#endif

}  // namespace
}  // namespace duolu::test
