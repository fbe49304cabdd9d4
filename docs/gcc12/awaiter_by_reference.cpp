// await_transform hands on an awaiter that must stay where it is, by reference.
#include <coroutine>
#include <cstdio>
#include <exception>

struct Awaiter {
  Awaiter() = default;
  Awaiter(const Awaiter&) { copied = true; }
  bool await_ready() { return true; }
  void await_suspend(std::coroutine_handle<>) {}
  void await_resume() {}
  static inline bool copied = false;
};

struct Task {
  struct promise_type {
    Task get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
    Awaiter&& await_transform(Awaiter&& a) { return static_cast<Awaiter&&>(a); }
  };
};

Task wait() { co_await Awaiter(); }

int main() {
  wait();
  std::printf("%s\n", Awaiter::copied ? "copied" : "right");
  return Awaiter::copied;
}
