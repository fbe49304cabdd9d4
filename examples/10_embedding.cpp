// duolu within another event loop, here libuv's: that one watches the descriptor of duolu's loop
// and has a timer for its next deadline, and both do their work in one thread.
//   10_embedding [BACKEND]       one that has a descriptor: epoll
#include <uv.h>

#include <algorithm>
#include <cstdio>

#include "duolu/loop/loop.hpp"

namespace {

using namespace duolu;

/// duolu's loop, as a guest of libuv's, until `task` has ended.
class Guest {
 public:
  Guest(uv_loop_t* host, Loop& loop, Task<> task) : loop_(loop), task_(std::move(task)) {
    uv_poll_init(host, &readable_, loop.fd());
    uv_timer_init(host, &deadline_);
    readable_.data = deadline_.data = this;
    uv_poll_start(&readable_, UV_READABLE,
                  [](uv_poll_t* handle, int, int) { static_cast<Guest*>(handle->data)->turn(); });
    loop.start(task_, chain_);
    set_deadline();
  }

 private:
  void turn() {
    if (!loop_.turn(immediately)) uv_stop(readable_.loop);
    set_deadline();
  }
  void set_deadline() {
    if (task_.promise().done()) {
      uv_close(reinterpret_cast<uv_handle_t*>(&readable_), nullptr);
      uv_close(reinterpret_cast<uv_handle_t*>(&deadline_), nullptr);
      return;
    }
    const Instant deadline = loop_.deadline();
    uv_timer_stop(&deadline_);
    if (deadline == never) return;
    uv_update_time(deadline_.loop);  // or it would count from when it last waited
    const Duration left = std::max(deadline, loop_.kernel().now()) - loop_.kernel().now();
    const auto left_ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    uv_timer_start(
        &deadline_, [](uv_timer_t* timer) { static_cast<Guest*>(timer->data)->turn(); },
        static_cast<std::uint64_t>(std::max<long>(left_ms, 0)), 0);
  }

  Loop& loop_;
  Chain chain_;
  Task<> task_;
  uv_poll_t readable_{};
  uv_timer_t deadline_{};
};

Task<> count(Loop* loop) {
  for (int i = 1; i <= 3; ++i) {
    const bool slept = co_await loop->sleep_for(std::chrono::milliseconds(2));
    if (!slept) co_return;
    std::printf("duolu: slept %d\n", i);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto made = make_loop({.backend = argc > 1 ? argv[1] : "auto"}).value();
  Loop& loop = *made;
  if (loop.fd() < 0) return std::puts("this backend has no descriptor to watch"), 1;
  loop.post([] { std::puts("duolu: posted"); });
  const Guest guest(uv_default_loop(), loop, count(&loop));
  uv_timer_t timer;
  uv_timer_init(uv_default_loop(), &timer);
  uv_timer_start(&timer, [](uv_timer_t*) { std::puts("libuv: timer"); }, 1, 0);
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  std::puts("both have ended");
}
