#include "task.hpp"
#define TRY(x)              \
  ({                        \
    auto r = (x);           \
    if (r < 0) co_return r; \
    r;                      \
  })
Task<int> one() { co_return 1; }
Task<int> outer() {
  int x = TRY(co_await one());
  co_return x;
}
int main() {
  if (outer().run() != 1) std::puts("wrong");
  return verdict();
}
