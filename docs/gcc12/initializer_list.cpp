#include <initializer_list>
#include "task.hpp"
int sum(std::initializer_list<int> l) {
  int s = 0;
  for (int x : l) s += x;
  return s;
}
Task<int> one() { co_return 1; }
Task<int> outer() { co_return sum({co_await one(), co_await one()}); }
int main() {
  if (outer().run() != 2) std::puts("wrong sum");
  return verdict();
}
