// What the loop benchmark uses of a library: timers, posting from another thread, coroutines.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

namespace loops {

/// A library's way to do a task.
struct Way {
  std::string task;
  std::string name;
  /// Does it `count` times. Returns the nanoseconds each. Ends the program if it was not done.
  std::function<double(std::size_t count)> run;
};

std::vector<Way> duolu_ways();
std::vector<Way> libuv_ways();
std::vector<Way> asio_ways();

/// Prints what went wrong and ends the program.
[[noreturn]] void die(const char* what);
/// Every run checks that its work was done.
inline void expect(bool right, const char* what) {
  if (!right) die(what);
}

// --- time

using Clock = std::chrono::steady_clock;

class Stopwatch {
 public:
  void pause() { spent_ += Clock::now() - start_; }
  void resume() { start_ = Clock::now(); }
  /// For a stopped watch.
  [[nodiscard]] double nanoseconds_each(std::size_t count) const {
    return std::chrono::duration<double, std::nano>(spent_).count() / static_cast<double>(count);
  }

 private:
  Clock::time_point start_ = Clock::now();
  Clock::duration spent_{};
};

inline void spin_until(Clock::time_point instant) {
  while (Clock::now() < instant) {
  }
}

// --- timers

/// Timeouts in whole milliseconds, which all libraries have, in no order; the same in every run.
/// Those that are to fire are due soon; waiting for that is outside the measured time.
std::vector<std::chrono::milliseconds> timeouts_to_cancel(std::size_t count);
std::vector<std::chrono::milliseconds> timeouts_to_fire(std::size_t count);
inline constexpr std::chrono::milliseconds last_to_fire{200};

// --- coroutines

/// How many are started before the loop runs, where a library starts them there.
inline constexpr std::size_t batch = 1000;

// --- posting: `Loop` has post(work) for any thread, and run() and stop() for its own

/// Posts `count` times while the loop sleeps. Returns the median time from post() to the call.
template <class Loop>
double post_latency(std::size_t count) {
  Loop loop;
  std::vector<double> spans;
  std::atomic<std::size_t> called = 0;
  std::jthread poster([&] {
    for (std::size_t i = 0; i < count; ++i) {
      // Long enough for the loop to sleep again, too short for a deep sleep state of the processor.
      spin_until(Clock::now() + std::chrono::microseconds(30));
      loop.post([&, posted = Clock::now()] {
        const std::chrono::duration<double, std::nano> span = Clock::now() - posted;
        spans.push_back(span.count());
        called.store(called.load(std::memory_order_relaxed) + 1, std::memory_order_release);
      });
      while (called.load(std::memory_order_acquire) != i + 1) {
      }
    }
    loop.post([&] { loop.stop(); });
  });
  loop.run();
  expect(spans.size() == count, "post: some were not called");
  std::ranges::nth_element(spans, spans.begin() + static_cast<std::ptrdiff_t>(count / 2));
  return spans[count / 2];
}

/// Posts as fast as possible, while the loop makes the calls.
template <class Loop>
double post_bulk(std::size_t count) {
  Loop loop;
  std::size_t called = 0;
  Stopwatch watch;
  std::jthread poster([&] {
    for (std::size_t i = 0; i < count; ++i) {
      loop.post([&] {
        if (++called == count) loop.stop();
      });
    }
  });
  loop.run();
  watch.pause();
  expect(called == count, "post: some were not called");
  return watch.nanoseconds_each(count);
}

}  // namespace loops
