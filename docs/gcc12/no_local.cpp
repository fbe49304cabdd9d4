#include <coroutine>
#include <cstdio>

// Without a variable in its outermost block, a body whose condition awaits is not run at all.
struct Task {
  struct promise_type {
    Task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {}
  };
  std::coroutine_handle<promise_type> handle;
};
struct Yes {
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  bool await_resume() const noexcept { return true; }
};

Task with(int* ran) {
  const int one = 1;
  if (co_await Yes()) *ran += one;
}
Task without(int* ran) {
  if (co_await Yes()) *ran += 1;
}

int main() {
  int ran_with = 0;
  int ran_without = 0;
  const Task one = with(&ran_with);
  const Task other = without(&ran_without);
  one.handle.resume();
  other.handle.resume();
  one.handle.destroy();
  other.handle.destroy();
  if (ran_with == 1 && ran_without == 1) return 0;
  std::printf("body not run\n");
  return 1;
}
