#include "task.hpp"
struct Awaiter {
  Counted c;
  int x;
  bool await_ready() { return true; }
  void await_suspend(std::coroutine_handle<>) {}
  int await_resume() { return x; }
};
Task<int> outer() { co_return co_await Awaiter{Counted(), 1}; }
int main() {
  outer().run();
  return verdict();
}
