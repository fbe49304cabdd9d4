// libuv has no coroutines, and its uv_async_send() wakes without passing work, several times in
// one. So posted work is in a queue beside it, as users of libuv write it.
#include <uv.h>

#include <mutex>

#include "loop.hpp"

namespace loops {
namespace {

/// A loop with timers that have not been started.
class Timers {
 public:
  explicit Timers(std::size_t count) : timers_(count) {
    expect(uv_loop_init(&loop_) == 0, "uv_loop_init");
    for (uv_timer_t& timer : timers_) {
      uv_timer_init(&loop_, &timer);
      timer.data = this;
    }
  }
  Timers(const Timers&) = delete;
  Timers& operator=(const Timers&) = delete;
  ~Timers() {
    for (uv_timer_t& timer : timers_) uv_close(reinterpret_cast<uv_handle_t*>(&timer), nullptr);
    uv_run(&loop_, UV_RUN_DEFAULT);
    uv_loop_close(&loop_);
  }

  void start(const std::vector<std::chrono::milliseconds>& timeouts) {
    uv_update_time(&loop_);
    for (std::size_t i = 0; i < timers_.size(); ++i)
      uv_timer_start(
          &timers_[i], [](uv_timer_t* timer) { ++static_cast<Timers*>(timer->data)->fired_; },
          static_cast<std::uint64_t>(timeouts[i].count()), 0);
  }
  void stop() {
    for (uv_timer_t& timer : timers_) uv_timer_stop(&timer);
  }
  void run() { uv_run(&loop_, UV_RUN_DEFAULT); }
  [[nodiscard]] bool any_left() const { return uv_loop_alive(&loop_) != 0; }
  [[nodiscard]] std::size_t fired() const { return fired_; }

 private:
  uv_loop_t loop_;
  std::vector<uv_timer_t> timers_;
  std::size_t fired_ = 0;
};

double timers_cancel(std::size_t count) {
  const auto timeouts = timeouts_to_cancel(count);
  Timers timers(count);
  Stopwatch watch;
  timers.start(timeouts);
  timers.stop();
  watch.pause();
  expect(!timers.any_left(), "timers are left");
  return watch.nanoseconds_each(count);
}

double timers_fire(std::size_t count) {
  const auto timeouts = timeouts_to_fire(count);
  Timers timers(count);
  Stopwatch watch;
  const Clock::time_point end = Clock::now() + last_to_fire;
  timers.start(timeouts);
  watch.pause();
  spin_until(end + std::chrono::milliseconds(1));
  watch.resume();
  timers.run();
  watch.pause();
  expect(timers.fired() == count, "timers did not fire");
  return watch.nanoseconds_each(count);
}

class PostedLoop {
 public:
  PostedLoop() {
    expect(uv_loop_init(&loop_) == 0, "uv_loop_init");
    expect(uv_async_init(&loop_, &async_,
                         [](uv_async_t* async) {
                           static_cast<PostedLoop*>(async->data)->call_posted();
                         }) == 0,
           "uv_async_init");
    async_.data = this;
  }
  PostedLoop(const PostedLoop&) = delete;
  PostedLoop& operator=(const PostedLoop&) = delete;
  ~PostedLoop() {
    uv_close(reinterpret_cast<uv_handle_t*>(&async_), nullptr);
    uv_run(&loop_, UV_RUN_DEFAULT);
    uv_loop_close(&loop_);
  }

  template <class Work>
  void post(Work work) {
    {
      const std::scoped_lock guard(mutex_);
      posted_.push_back(std::move(work));
    }
    uv_async_send(&async_);
  }
  void run() { uv_run(&loop_, UV_RUN_DEFAULT); }
  void stop() { uv_stop(&loop_); }

 private:
  void call_posted() {
    std::vector<std::move_only_function<void()>> work;
    {
      const std::scoped_lock guard(mutex_);
      work.swap(posted_);
    }
    for (auto& each : work) each();
  }

  uv_loop_t loop_;
  uv_async_t async_;
  std::mutex mutex_;
  std::vector<std::move_only_function<void()>> posted_;
};

}  // namespace

std::vector<Way> libuv_ways() {
  return {{"timers-cancel", "libuv uv_timer", timers_cancel},
          {"timers-fire", "libuv uv_timer", timers_fire},
          {"post-latency", "libuv uv_async", post_latency<PostedLoop>},
          {"post-bulk", "libuv uv_async, a queue", post_bulk<PostedLoop>}};
}

}  // namespace loops
