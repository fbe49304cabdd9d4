// As in ../servers/peers/asio.hpp: with the hint of one thread where there is one, and timers that
// know their executor's type.
#define ASIO_STANDALONE
#define ASIO_NO_DEPRECATED
#define ASIO_HAS_CO_AWAIT  // clang has it too, which Asio 1.22 does not detect
#include <asio.hpp>
#include <deque>

#include "loop.hpp"

namespace loops {
namespace {

using Executor = asio::io_context::executor_type;
using Timer = asio::basic_waitable_timer<Clock, asio::wait_traits<Clock>, Executor>;
template <class T>
using Awaitable = asio::awaitable<T, Executor>;
constexpr asio::use_awaitable_t<Executor> use_awaitable;
using Milliseconds = std::vector<std::chrono::milliseconds>;

struct Timers {
  explicit Timers(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) all.emplace_back(context);
  }

  asio::io_context context{ASIO_CONCURRENCY_HINT_UNSAFE};
  std::deque<Timer> all;
  std::size_t fired = 0;
  std::size_t cancelled = 0;

  void ended(const asio::error_code& error) { ++(error ? cancelled : fired); }
};

/// Returns when all are due; waits for that outside the measured time.
void await_all_due(Clock::time_point start, Stopwatch& watch) {
  watch.pause();
  spin_until(start + last_to_fire + std::chrono::milliseconds(1));
  watch.resume();
}

// --- timers with callbacks

void arm(Timers& timers, const Milliseconds& timeouts, Clock::time_point start) {
  for (std::size_t i = 0; i < timeouts.size(); ++i) {
    timers.all[i].expires_at(start + timeouts[i]);
    timers.all[i].async_wait([&timers](asio::error_code error) { timers.ended(error); });
  }
}

double timers_cancel(std::size_t count) {
  const auto timeouts = timeouts_to_cancel(count);
  Timers timers(count);
  Stopwatch watch;
  arm(timers, timeouts, Clock::now());
  for (Timer& timer : timers.all) timer.cancel();
  timers.context.run();
  watch.pause();
  expect(timers.cancelled == count, "not all were cancelled");
  return watch.nanoseconds_each(count);
}

double timers_fire(std::size_t count) {
  const auto timeouts = timeouts_to_fire(count);
  Timers timers(count);
  Stopwatch watch;
  const Clock::time_point start = Clock::now();
  arm(timers, timeouts, start);
  await_all_due(start, watch);
  timers.context.run();
  watch.pause();
  expect(timers.fired == count, "not all fired");
  return watch.nanoseconds_each(count);
}

// --- coroutines that sleep

/// All timers of coroutines: they are in the frames, and listed here so that they can be cancelled.
struct Sleepers {
  explicit Sleepers(std::size_t count) : timers(count) {}

  asio::io_context context{ASIO_CONCURRENCY_HINT_UNSAFE};
  std::vector<Timer*> timers;
  std::size_t woken = 0;
  std::size_t cancelled = 0;
};

Awaitable<void> sleeper(Sleepers* sleepers, std::size_t index, Clock::time_point until) {
  Timer timer(sleepers->context, until);
  sleepers->timers[index] = &timer;
  asio::error_code error;
  co_await timer.async_wait(asio::redirect_error(use_awaitable, error));
  ++(error ? sleepers->cancelled : sleepers->woken);
}

void spawn_sleepers(Sleepers& sleepers, const Milliseconds& timeouts, Clock::time_point start) {
  for (std::size_t i = 0; i < timeouts.size(); ++i)
    asio::co_spawn(sleepers.context, sleeper(&sleepers, i, start + timeouts[i]), asio::detached);
}

double sleeps_cancel(std::size_t count) {
  const auto timeouts = timeouts_to_cancel(count);
  Sleepers sleepers(count);
  Stopwatch watch;
  spawn_sleepers(sleepers, timeouts, Clock::now());
  sleepers.context.poll();  // they start, and sleep
  for (Timer* timer : sleepers.timers) timer->cancel();
  sleepers.context.run();
  watch.pause();
  expect(sleepers.cancelled == count, "not all were cancelled");
  return watch.nanoseconds_each(count);
}

double sleeps_fire(std::size_t count) {
  const auto timeouts = timeouts_to_fire(count);
  Sleepers sleepers(count);
  Stopwatch watch;
  const Clock::time_point start = Clock::now();
  spawn_sleepers(sleepers, timeouts, start);
  sleepers.context.poll();
  await_all_due(start, watch);
  sleepers.context.run();
  watch.pause();
  expect(sleepers.woken == count, "not all were woken");
  return watch.nanoseconds_each(count);
}

// --- posting

class PostedLoop {
 public:
  template <class Work>
  void post(Work work) {
    asio::post(context_, std::move(work));
  }
  void run() { context_.run(); }
  void stop() { context_.stop(); }

 private:
  asio::io_context context_{1};  // one thread runs it, and any may post
  asio::executor_work_guard<Executor> stays_ = asio::make_work_guard(context_);
};

// --- spawning, and awaiting

Awaitable<void> count_one(std::size_t* ended) {
  ++*ended;
  co_return;
}

Awaitable<void> sleep_and_count_one(asio::io_context* context, std::size_t* ended) {
  Timer timer(*context, Clock::duration::zero());
  asio::error_code error;
  co_await timer.async_wait(asio::redirect_error(use_awaitable, error));
  ++*ended;
}

/// Spawns what `make` makes, batch by batch.
template <class Make>
double spawn_all(std::size_t count, Make make) {
  asio::io_context context{ASIO_CONCURRENCY_HINT_UNSAFE};
  std::size_t ended = 0;
  Stopwatch watch;
  for (std::size_t done = 0; done < count; done += batch) {
    for (std::size_t i = 0; i < batch; ++i)
      asio::co_spawn(context, make(&context, &ended), asio::detached);
    context.run();
    context.restart();
  }
  watch.pause();
  expect(ended == count, "not all have ended");
  return watch.nanoseconds_each(count);
}

double spawn(std::size_t count) {
  return spawn_all(count, [](asio::io_context*, std::size_t* ended) { return count_one(ended); });
}

double spawn_sleep(std::size_t count) { return spawn_all(count, sleep_and_count_one); }

Awaitable<std::size_t> number(std::size_t value) { co_return value; }

Awaitable<void> await_numbers(std::size_t count, std::size_t* sum) {
  for (std::size_t i = 0; i < count; ++i) *sum += co_await number(i);
}

double await(std::size_t count) {
  asio::io_context context{ASIO_CONCURRENCY_HINT_UNSAFE};
  std::size_t sum = 0;
  Stopwatch watch;
  asio::co_spawn(context, await_numbers(count, &sum), asio::detached);
  context.run();
  watch.pause();
  expect(sum == count * (count - 1) / 2, "a wrong sum");
  return watch.nanoseconds_each(count);
}

}  // namespace

std::vector<Way> asio_ways() {
  return {{"timers-cancel", "Asio steady_timer", timers_cancel},
          {"timers-fire", "Asio steady_timer", timers_fire},
          {"sleeps-cancel", "Asio steady_timer", sleeps_cancel},
          {"sleeps-fire", "Asio steady_timer", sleeps_fire},
          {"post-latency", "Asio post", post_latency<PostedLoop>},
          {"post-bulk", "Asio post", post_bulk<PostedLoop>},
          {"spawn", "Asio co_spawn", spawn},
          {"spawn-sleep", "Asio co_spawn", spawn_sleep},
          {"await", "Asio awaitable", await}};
}

}  // namespace loops
