// The fixture for tests that follow a descriptor through its life on one poller, counting what the
// poller asks of the kernel.
#pragma once

#include "support/conformance.hpp"
#include "support/counting_kernel.hpp"
#include "support/endpoints.hpp"

namespace duolu::test {

class Scenario : public Conformance {
 protected:
  void SetUp() override { open(kernel); }
  void TearDown() override { poller.reset(); }

  /// What the next report of the token says, however long it takes to come.
  Ready told(Token token) {
    const Instant deadline = after(real_kernel().now(), patience);
    while (real_kernel().now() < deadline)
      if (const Ready found = ready(token, patience); found != Ready::none) return found;
    ADD_FAILURE() << "nothing was reported";
    return Ready::none;
  }

  /// What a wait reports that does not wait.
  std::vector<Event> look() {
    std::vector<Event> found;
    Result<Poller::Batch> batch = poller->wait(immediately);
    EXPECT_TRUE(batch) << batch.error().message();
    if (batch)
      for (const Event& event : *batch) found.push_back(event);
    return found;
  }

  /// Goes on as a program does that met EAGAIN: edge says drained, oneshot arms again.
  void proceed(Token token, Interest interest) {
    if (trigger() == Trigger::edge) poller->drained(token, interest);
    if (trigger() == Trigger::oneshot) {
      ASSERT_TRUE(poller->modify(token, interest));
    }
  }

  /// That nothing at all is reported for a while, and that the wait for it sleeps: a few calls to
  /// the kernel, hardly any processor time.
  void expect_idle(Duration limit = 50ms) {
    const int waits = kernel.waits;
    const Duration used = thread_cpu_time();
    EXPECT_TRUE(events(limit).empty());
    EXPECT_LE(kernel.waits - waits, 6);
    EXPECT_LT(thread_cpu_time() - used, std::max(limit / 4, Duration(20ms)));
  }

  CountingKernel kernel;
};

}  // namespace duolu::test
