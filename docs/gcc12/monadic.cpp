#include <expected>

int main() {
  std::expected<int, int> one = 1;
  return one.and_then([](int x) -> std::expected<int, int> { return x - 1; }).value();
}
