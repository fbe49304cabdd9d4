#include "task.hpp"
struct Chain {
  struct promise_type {
    std::coroutine_handle<> next = std::noop_coroutine();
    Chain get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    struct Final {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> h) noexcept {
        return h.promise().next;
      }
      void await_resume() noexcept {}
    };
    Final final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
  std::coroutine_handle<promise_type> h;
  bool await_ready() { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> w) {
    h.promise().next = w;
    return h;
  }
  void await_resume() { h.destroy(); }
};
Chain child() { co_return; }
Chain loop() {
  for (int i = 0; i < 1'000'000; ++i) co_await child();
}
int main() {
  Chain c = loop();
  c.h.resume();
  c.h.destroy();
  return verdict();
}
