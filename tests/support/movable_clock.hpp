// A clock that goes on by itself, and that a test moves: then nothing needs to take long.
#pragma once

#include "duolu/testing/forwarding.hpp"

namespace duolu::test {

class MovableClock final : public ForwardingKernel {
 public:
  Duration moved{};
  int readings = 0;
  Instant now() noexcept override {
    ++readings;
    return ForwardingKernel::now() + moved;
  }
};

}  // namespace duolu::test
