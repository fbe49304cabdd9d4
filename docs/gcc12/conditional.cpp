#include "task.hpp"
Task<Counted> make() { co_return Counted(); }
Task<int> outer(bool c) {
  Counted x = c ? co_await make() : co_await make();
  (void)x;
  co_return 1;
}
int main() {
  outer(true).run();
  outer(false).run();
  return verdict();
}
