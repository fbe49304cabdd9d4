// A clock that stands still until a test moves it, from any thread. Waits take the time they take:
// what compares instants sees only what the test has moved, however busy the machine is.
#pragma once

#include <atomic>

#include "duolu/testing/forwarding.hpp"

namespace duolu::test {

class StoppedClock final : public ForwardingKernel {
 public:
  void move(Duration span) { moved_ += span.count(); }
  Instant now() noexcept override { return begin_ + Duration(moved_.load()); }

 private:
  const Instant begin_ = ForwardingKernel::now();
  std::atomic<Duration::rep> moved_{0};
};

}  // namespace duolu::test
