#include "task.hpp"
Task<int> value(int x) { co_return x; }
Task<int> outer() {
  if (co_await value(1) == 1) co_return 1;
  co_return 2;
}
int main() {
  if (outer().run() == 1) return verdict();
  std::printf("wrong value\n");
  return 1;
}
