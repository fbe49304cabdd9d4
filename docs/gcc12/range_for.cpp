#include "task.hpp"

int numbers[] = {1, 2, 3};

struct Holder {
  const int* begin() const { return numbers; }
  const int* end() const { return numbers + 3; }
  const Holder& self() const { return *this; }
  Counted counted;
};

int main() {
  int dead = 0;
  for (int number : Holder().self()) dead += Counted::alive == 0 ? 1 : 0 * number;
  std::printf("%s\n", dead == 0 ? "right" : "range destroyed before the first turn");
  return dead != 0;
}
