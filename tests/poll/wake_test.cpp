// Clause P33: wake().
#include <signal.h>
#include <sys/wait.h>

#include <semaphore>
#include <thread>

#include "support/scenario.hpp"
#include "support/signals.hpp"

namespace duolu::test {
namespace {

std::array<std::atomic<Poller*>, 3> to_wake;
std::atomic<int> handled;
static_assert(std::atomic<Poller*>::is_always_lock_free);

void wake_from_handler(int) {
  handled.fetch_add(1, std::memory_order_relaxed);
  for (std::atomic<Poller*>& each : to_wake)
    if (Poller* const sleeper = each.load(std::memory_order_acquire)) sleeper->wake();
}

class WakeTest : public Scenario {
 protected:
  void SetUp() override {
    Scenario::SetUp();
    handled = 0;
  }
  void TearDown() override {
    for (std::atomic<Poller*>& each : to_wake) each = nullptr;
    Scenario::TearDown();
  }

  /// T13: whether the system has eventfd or only pipes, a wake-up is the same.
  template <class Body>
  void with_every_waker(Body body, PollerOptions options = {}) {
    for (const bool eventfd : {true, false}) {
      SCOPED_TRACE(eventfd ? "eventfd" : "pipe");
      kernel.has_eventfd = eventfd;
      open(kernel, options);
      body();
    }
  }

  struct Woken {
    bool woken = false;
    std::vector<Event> events{};
  };
  Woken wait(Instant deadline) {
    Woken result;
    const Result<Poller::Batch> batch = poller->wait(deadline);
    EXPECT_TRUE(batch) << batch.error().message();
    if (!batch) return result;
    result.woken = batch->woken();
    for (const Event& event : *batch) result.events.push_back(event);
    return result;
  }
  /// Waits for a wake; not for ever, so that a lost one fails instead of hanging.
  bool woken() { return wait(after(real_kernel().now(), patience)).woken; }
  /// Whether a wake is due, and nothing else to report.
  bool woken_now() {
    const Woken result = wait(immediately);
    EXPECT_TRUE(result.events.empty());
    return result.woken;
  }
};

TEST_P(WakeTest, P33_T08_T13_a_wake_before_the_wait_ends_it) {
  with_every_waker([&] {
    EXPECT_FALSE(woken_now());
    poller->wake();
    const Woken result = wait(never);
    EXPECT_TRUE(result.woken);
    EXPECT_TRUE(result.events.empty());
    EXPECT_FALSE(woken_now()) << "one wait a wake";
    expect_idle(settle_time);
    poller->wake();
    EXPECT_TRUE(woken_now()) << "a look is told too";
    EXPECT_FALSE(woken_now());
    expect_idle(settle_time);
  });
}

TEST_P(WakeTest, P33_T09_T13_a_wake_from_a_thread_ends_the_wait_under_way) {
  with_every_waker([&] {
    constexpr int rounds = 1000;
    std::binary_semaphore turn{0};
    std::thread other([&] {
      for (int i = 0; i < rounds; ++i) {
        turn.acquire();
        if (i % 100 == 0) std::this_thread::sleep_for(1ms);  // let the wait begin now and then
        poller->wake();
      }
    });
    int seen = 0;
    for (int i = 0; i < rounds; ++i) {
      turn.release();
      if (woken()) ++seen;
    }
    other.join();
    EXPECT_EQ(seen, rounds) << "a wake was lost";
    EXPECT_FALSE(woken_now());
  });
}

TEST_P(WakeTest, P33_T10_T13_a_million_wakes_are_one) {
  with_every_waker([&] {
    for (int i = 0; i < 1'000'000; ++i) poller->wake();
    EXPECT_TRUE(woken());
    EXPECT_FALSE(woken_now());
    expect_idle(settle_time);
  });
}

TEST_P(WakeTest, P33_T10_T13_wakes_from_many_threads_are_one) {
  with_every_waker([&] {
    std::vector<std::thread> others;
    for (int i = 0; i < 4; ++i)
      others.emplace_back([&] {
        for (int k = 0; k < 50'000; ++k) poller->wake();
      });
    for (std::thread& other : others) other.join();
    EXPECT_TRUE(woken());
    EXPECT_FALSE(woken_now());
  });
}

TEST_P(WakeTest, P33_T10_T13_no_number_of_wakes_fills_anything_up) {
  with_every_waker([&] {
    // A pipe holds 8192 of what one wake writes.
    for (int i = 0; i < 20'000; ++i) {
      poller->wake();
      ASSERT_TRUE(woken_now()) << i;
    }
    expect_idle(settle_time);
    poller->wake();
    EXPECT_TRUE(woken());
  });
}

TEST_P(WakeTest, P33_T11_T13_a_signal_handler_in_the_waiting_thread_wakes) {
  with_every_waker([&] {
    to_wake[0] = poller.get();
    {
      const SignalHandler handler(SIGUSR1, wake_from_handler);
      const SignalStorm storm(SIGUSR1);
      for (int i = 0; i < 20; ++i) EXPECT_TRUE(woken());
    }
    to_wake[0] = nullptr;
    EXPECT_GE(handled, 1);
  });
}

TEST_P(WakeTest, P33_T11_T13_a_signal_handler_in_another_thread_wakes) {
  with_every_waker([&] {
    to_wake[0] = poller.get();
    const SignalHandler handler(SIGUSR1, wake_from_handler);
    std::binary_semaphore turn{0};
    constexpr int rounds = 100;
    std::thread other([&] {
      for (int i = 0; i < rounds; ++i) {
        turn.acquire();
        ::raise(SIGUSR1);
      }
    });
    int seen = 0;
    for (int i = 0; i < rounds; ++i) {
      turn.release();
      if (woken()) ++seen;
    }
    other.join();
    to_wake[0] = nullptr;
    EXPECT_EQ(seen, rounds);
  });
}

TEST_P(WakeTest, P33_T11_a_handler_that_wakes_ends_a_wait_that_ends_on_signals) {
  open(kernel, {.return_on_signal = true});
  to_wake[0] = poller.get();
  const SignalHandler handler(SIGUSR1, wake_from_handler);
  const SignalStorm storm(SIGUSR1);
  // Either answer tells that the handler ran; the wake must not be lost to the error.
  const Instant deadline = after(real_kernel().now(), patience);
  bool woken = false;
  while (!woken && real_kernel().now() < deadline) {
    const Result<Poller::Batch> batch = poller->wait(deadline);
    if (batch)
      woken = batch->woken();
    else
      ASSERT_EQ(batch.error(), std::errc::interrupted);
  }
  to_wake[0] = nullptr;
  EXPECT_TRUE(woken);
}

TEST_P(WakeTest, P33_T12_T13_a_storm_of_wakes_starves_no_event) {
  for (const std::size_t batch : {std::size_t{1}, std::size_t{256}}) {
    SCOPED_TRACE(batch);
    with_every_waker(
        [&] {
          const Pair pair = unix_pair();
          const Token token = watch(pair.a.get(), Interest::readable);
          std::atomic<bool> done = false;
          std::thread other([&] {
            while (!done.load(std::memory_order_relaxed)) poller->wake();
          });
          int seen = 0;
          constexpr int rounds = 500;
          for (int i = 0; i < rounds; ++i) {
            put(pair.b.get(), "x");
            const Woken result = wait(after(real_kernel().now(), patience));
            if (result.events.size() == 1 && result.events[0].token == token) ++seen;
            drain(pair.a.get());
            proceed(token, Interest::readable);
          }
          done = true;
          other.join();
          EXPECT_EQ(seen, rounds) << "what is ready before a wait is in its batch";
        },
        {.batch = batch});
  }
}

TEST_P(WakeTest, P33_P34_T08_T13_a_wake_takes_no_events_place) {
  for (const std::size_t batch : {std::size_t{1}, std::size_t{8}}) {
    for (const bool wake_first : {true, false}) {
      SCOPED_TRACE(std::to_string(batch) + (wake_first ? " wake first" : " wake last"));
      with_every_waker(
          [&] {
            std::vector<Pair> pairs;
            for (std::size_t i = 0; i < batch; ++i) {
              pairs.push_back(unix_pair());
              watch(pairs.back().a.get(), Interest::readable);
            }
            if (wake_first) poller->wake();
            for (const Pair& pair : pairs) put(pair.b.get(), "x");
            if (!wake_first) poller->wake();
            const Woken result = wait(never);
            EXPECT_TRUE(result.woken);
            EXPECT_EQ(result.events.size(), batch);
          },
          {.batch = batch});
    }
  }
}

TEST_P(WakeTest, P33_T13_always_full_batches_hide_no_wake) {
  with_every_waker(
      [&] {
        std::vector<Pair> pairs;
        std::vector<Token> tokens;
        for (std::size_t i = 0; i < 5; ++i) {
          pairs.push_back(unix_pair());
          tokens.push_back(watch(pairs.back().a.get(), Interest::writable));
        }
        for (int i = 0; i < 100; ++i) {
          if (i % 3 == 0) poller->wake();
          const Woken result = wait(after(real_kernel().now(), patience));
          EXPECT_EQ(result.woken, i % 3 == 0) << i;
          EXPECT_EQ(result.events.size(), 2u) << i;
          for (const Token token : tokens) rearm(token, Interest::writable);
        }
      },
      {.batch = 2});
}

TEST_P(WakeTest, P33_T14_T13_a_forked_child_wakes_nobody) {
  with_every_waker([&] {
    const pid_t child = ::fork();
    if (child == 0) {
      for (int i = 0; i < 100; ++i) poller->wake();
      ::_exit(0);
    }
    ASSERT_GT(child, 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    EXPECT_FALSE(woken_now());
    const int waits = kernel.waits;
    EXPECT_FALSE(wait(after(real_kernel().now(), 50ms)).woken);
    EXPECT_EQ(kernel.waits - waits, 1) << "not even inside the kernel";
    poller->wake();
    EXPECT_TRUE(woken());
  });
}

TEST_P(WakeTest, P33_T17_a_signal_reaches_every_poller_its_handler_wakes) {
  std::vector<std::unique_ptr<Poller>> pollers;
  {
    const SignalHandler handler(SIGUSR1, wake_from_handler);
    for (std::size_t i = 0; i < to_wake.size(); ++i) {
      auto made = GetParam().backend->make(kernel, {});
      ASSERT_TRUE(made);
      pollers.push_back(std::move(*made));
      to_wake[i] = pollers.back().get();
    }
    for (int round = 1; round <= 100; ++round) {
      ASSERT_EQ(::raise(SIGUSR1), 0);
      EXPECT_EQ(handled, round) << "none merged: each was handled before the next was sent";
      for (const auto& each : pollers) EXPECT_TRUE(each->wait(never)->woken());
      for (const auto& each : pollers) EXPECT_FALSE(each->wait(immediately)->woken());
    }
    for (std::atomic<Poller*>& each : to_wake) each = nullptr;
  }
  struct sigaction restored{};
  ASSERT_EQ(::sigaction(SIGUSR1, nullptr, &restored), 0);
  EXPECT_EQ(restored.sa_handler, SIG_DFL);
}

TEST_P(WakeTest, P33_T17_the_end_of_a_child_is_told_through_its_signal) {
  to_wake[0] = poller.get();
  const SignalHandler handler(SIGCHLD, wake_from_handler);
  for (int i = 0; i < 3; ++i) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(40 + i);
    ASSERT_GT(child, 0);
    int status = 0;
    pid_t reaped = 0;
    const Instant deadline = after(real_kernel().now(), patience);
    // In slices: ThreadSanitizer puts a handler off when its signal comes just before the wait.
    bool was_woken = false;
    while ((reaped == 0 || !was_woken) && real_kernel().now() < deadline) {
      was_woken = wait(after(real_kernel().now(), 200ms)).woken || was_woken;
      if (reaped == 0) reaped = ::waitpid(child, &status, WNOHANG);
    }
    EXPECT_TRUE(was_woken);
    EXPECT_EQ(reaped, child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 40 + i);
  }
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(WakeTest);

}  // namespace
}  // namespace duolu::test
