#include "duolu/poll/poller.hpp"

#include "duolu/poll/poller.h"
#include "bits.hpp"

static_assert(1'000 + 1'000 == 2'000);
const char* raw = R"x(std::cerr << "::close(1)"; assert(0))x";

void Poller::use(Kernel& kernel, Stream& stream) {
  kernel.close(1);
  stream.read(2);
  Poller::close(3);
}
