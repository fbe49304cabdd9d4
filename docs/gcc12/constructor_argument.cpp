#include "task.hpp"
struct Options {
  explicit Options(int p) : port(p) {}
  Counted host;
  int port;
};
Task<int> connect(Options options) { co_return options.port; }
Task<int> outer() { co_return co_await connect(Options(1)); }
int main() {
  outer().run();
  return verdict();
}
