#include "task.hpp"
struct Options {
  Counted host;
  int port = 0;
};
Task<int> connect(Options options) { co_return options.port; }
Task<int> outer() { co_return co_await connect({.host = Counted(), .port = 1}); }
int main() {
  outer().run();
  return verdict();
}
