#include "duolu/engine/engines.hpp"
#include "duolu/loop/loop.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/loop/timer_queue.hpp"
#include "loop.hpp"

namespace loops {
namespace {

using namespace duolu;

struct Loops {
  std::unique_ptr<Engine> engine = make_engine(real_kernel()).value();
  Loop loop{*engine};
};

// --- timers, without a loop

struct Alarm : Timer {
  void (*call)(std::size_t& called);
};

std::vector<Alarm> alarms(std::size_t count) {
  std::vector<Alarm> all(count);
  for (Alarm& alarm : all) alarm.call = [](std::size_t& called) { ++called; };
  return all;
}

void arm(TimerQueue& queue, std::vector<Alarm>& all, Instant start,
         const std::vector<std::chrono::milliseconds>& timeouts) {
  for (std::size_t i = 0; i < all.size(); ++i) queue.arm(all[i], after(start, timeouts[i]));
}

double timers_cancel(std::size_t count) {
  const auto timeouts = timeouts_to_cancel(count);
  std::vector<Alarm> all = alarms(count);
  TimerQueue queue;
  Stopwatch watch;
  arm(queue, all, real_kernel().now(), timeouts);
  for (Alarm& alarm : all) queue.cancel(alarm);
  watch.pause();
  expect(queue.size() == 0, "timers are left");
  return watch.nanoseconds_each(count);
}

double timers_fire(std::size_t count) {
  const auto timeouts = timeouts_to_fire(count);
  std::vector<Alarm> all = alarms(count);
  TimerQueue queue;
  std::size_t called = 0;
  Stopwatch watch;
  const Clock::time_point end = Clock::now() + last_to_fire;
  arm(queue, all, real_kernel().now(), timeouts);
  watch.pause();
  spin_until(end + std::chrono::milliseconds(1));
  watch.resume();
  const Instant now = real_kernel().now();
  while (Timer* const due = queue.take_due(now)) static_cast<Alarm*>(due)->call(called);
  watch.pause();
  expect(called == count, "timers did not fire");
  return watch.nanoseconds_each(count);
}

// --- coroutines that sleep

struct Ends {
  std::size_t woken = 0;
  std::size_t cancelled = 0;
};

Task<> sleeper(Loop* loop, Instant until, Ends* ends) {
  // Named, since there would be no variable here otherwise: docs/gcc12.md, `condition`.
  const bool woken = co_await loop->sleep_until(until);
  ++(woken ? ends->woken : ends->cancelled);
}

void spawn_sleepers(Loop& loop, Scope& scope,
                    const std::vector<std::chrono::milliseconds>& timeouts, Ends& ends) {
  const Instant start = loop.kernel().now();
  for (const auto timeout : timeouts) scope.spawn(sleeper(&loop, after(start, timeout), &ends));
}

double sleeps_cancel(std::size_t count) {
  const auto timeouts = timeouts_to_cancel(count);
  Loops on;
  Ends ends;
  Stopwatch watch;
  on.loop.run(with_scope([&](Scope& scope) -> Task<> {
    spawn_sleepers(on.loop, scope, timeouts, ends);
    scope.cancel();
    co_return;
  }));
  watch.pause();
  expect(ends.cancelled == count, "not all were cancelled");
  return watch.nanoseconds_each(count);
}

double sleeps_fire(std::size_t count) {
  const auto timeouts = timeouts_to_fire(count);
  Loops on;
  Ends ends;
  Stopwatch watch;
  on.loop.run(with_scope([&](Scope& scope) -> Task<> {
    const Clock::time_point end = Clock::now() + last_to_fire;
    spawn_sleepers(on.loop, scope, timeouts, ends);
    watch.pause();
    spin_until(end + std::chrono::milliseconds(1));
    watch.resume();
    co_return;
  }));
  watch.pause();
  expect(ends.woken == count, "not all were woken");
  return watch.nanoseconds_each(count);
}

// --- posting

class PostedLoop : private Loops {
 public:
  template <class Work>
  void post(Work work) {
    loop.post(std::move(work));
  }
  void run() {
    while (!stopped_) expect(loop.turn(never).has_value(), "waiting failed");
  }
  void stop() { stopped_ = true; }

 private:
  bool stopped_ = false;
};

// --- spawning, and awaiting

Task<> count_one(std::size_t* ended) {
  ++*ended;
  co_return;
}

Task<> sleep_and_count_one(Loop* loop, std::size_t* ended) {
  (void)co_await loop->sleep_for(Duration::zero());
  ++*ended;
}

/// Spawns what `make` makes, batch by batch.
template <class Make>
double spawn_all(std::size_t count, Make make) {
  Loops on;
  std::size_t ended = 0;
  Stopwatch watch;
  for (std::size_t done = 0; done < count; done += batch)
    on.loop.run(with_scope([&](Scope& scope) -> Task<> {
      for (std::size_t i = 0; i < batch; ++i) scope.spawn(make(&on.loop, &ended));
      co_return;
    }));
  watch.pause();
  expect(ended == count, "not all have ended");
  return watch.nanoseconds_each(count);
}

double spawn(std::size_t count) {
  return spawn_all(count, [](Loop*, std::size_t* ended) { return count_one(ended); });
}

double spawn_sleep(std::size_t count) { return spawn_all(count, sleep_and_count_one); }

Task<std::size_t> number(std::size_t value) { co_return value; }

Task<> await_numbers(std::size_t count, std::size_t* sum) {
  for (std::size_t i = 0; i < count; ++i) *sum += co_await number(i);
}

double await(std::size_t count) {
  Loops on;
  std::size_t sum = 0;
  Stopwatch watch;
  on.loop.run(await_numbers(count, &sum));
  watch.pause();
  expect(sum == count * (count - 1) / 2, "a wrong sum");
  return watch.nanoseconds_each(count);
}

}  // namespace

std::vector<Way> duolu_ways() {
  return {{"timers-cancel", "duolu TimerQueue", timers_cancel},
          {"timers-fire", "duolu TimerQueue", timers_fire},
          {"sleeps-cancel", "duolu Loop::sleep_until", sleeps_cancel},
          {"sleeps-fire", "duolu Loop::sleep_until", sleeps_fire},
          {"post-latency", "duolu Loop::post", post_latency<PostedLoop>},
          {"post-bulk", "duolu Loop::post", post_bulk<PostedLoop>},
          {"spawn", "duolu Scope::spawn", spawn},
          {"spawn-sleep", "duolu Scope::spawn", spawn_sleep},
          {"await", "duolu Task", await}};
}

}  // namespace loops
