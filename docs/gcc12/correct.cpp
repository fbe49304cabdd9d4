#include <memory>
#include <vector>
#include "task.hpp"
struct Pair {
  Counted a;
  int b;
};
Task<int> value(int x) { co_return x; }
Task<Counted> counted() { co_return Counted(); }
Task<Pair> pair() { co_return Pair{Counted(), 2}; }
int take(std::unique_ptr<int> p, int x) { return *p + x; }
Task<int> by_value(std::unique_ptr<int> p, Counted) { co_return *p; }
Task<int> outer() {
  int sum = take(std::make_unique<int>(1), co_await value(1));
  if (auto r = co_await value(1); r == 1) ++sum;
  for (int i = 0; co_await value(i) < 3; ++i) ++sum;
  switch (co_await value(2)) {
    case 2: ++sum; break;
    default: sum = -100;
  }
  if (co_await value(1) == 1 && co_await value(2) == 2) ++sum;
  auto [a, b] = co_await pair();
  for (int x : std::vector<int>{1, 2}) sum += co_await value(x);
  sum += co_await by_value(std::make_unique<int>(3), Counted());
  sum += co_await by_value(std::make_unique<int>(3), co_await counted());
  try {
    sum += co_await value(b);
    throw 1;
  } catch (int) {
    ++sum;
  }
  co_return sum;
}
int main() {
  int s = outer().run();
  if (s != 20) std::printf("wrong sum %d\n", s);
  return verdict();
}
