#include "task.hpp"
template <class Fn>
Task<int> call(Fn fn) {
  co_return fn();
}
Task<int> outer() {
  Counted counted;
  co_return co_await call([kept = counted] { return static_cast<int>(sizeof kept); });
}
int main() {
  outer().run();
  return verdict();
}
