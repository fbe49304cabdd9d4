#include "task.hpp"
std::coroutine_handle<> parked;
struct Later {
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> waiter) const { parked = waiter; }
  bool await_resume() const { return true; }
};
Later later() { return {}; }
bool went_on = false;
Task<int> outer() {  // no variable in it
  if (co_await later()) went_on = true;
  co_return 1;
}
int main() {
  auto task = outer();
  task.run();
  parked.resume();
  std::printf("%s\n", went_on ? "right" : "never went on");
  return went_on ? 0 : 1;
}
