// Clause P4 with a dup that lives on: the kernel may hold a dead registration, and the poller has
// to make a new set. What the others see of that.
#include <poll.h>

#include "support/conformance.hpp"

namespace duolu::test {
namespace {

class RebuildTest : public Conformance {
 protected:
  /// Leaves the kernel with a registration that nothing can name, and that reports in every wait.
  Fd orphan(Pair& pair) {
    const Token token = watch(pair.a.get(), Interest::readable);
    Fd ghost(real_kernel(), ::fcntl(pair.a.get(), F_DUPFD_CLOEXEC, 0));
    pair.a.reset();
    EXPECT_TRUE(poller->remove(token));
    put(pair.b.get(), "x");
    return ghost;
  }
};

TEST_P(RebuildTest, P4_P25_a_oneshot_that_has_reported_an_end_is_not_told_it_again) {
  Pair ended = unix_pair();
  const auto fired = poller->add(ended.a.get(), Interest::readable, Trigger::oneshot);
  ASSERT_TRUE(fired);
  ended.b.reset();
  EXPECT_EQ(ready(*fired), Ready::readable | Ready::hangup | Ready::read_closed);

  Pair orphaned = unix_pair();
  const Fd ghost = orphan(orphaned);
  EXPECT_TRUE(events().empty());
  EXPECT_TRUE(events().empty());
  ASSERT_TRUE(poller->modify(*fired, Interest::readable));
  EXPECT_EQ(ready(*fired), Ready::readable | Ready::hangup | Ready::read_closed);
}

TEST_P(RebuildTest, P7_P25_a_oneshot_that_has_reported_and_vanished_is_told_when_armed) {
  Pair vanished = unix_pair();
  const auto fired = poller->add(vanished.a.get(), Interest::writable, Trigger::oneshot);
  ASSERT_TRUE(fired);
  EXPECT_EQ(ready(*fired), Ready::writable);
  Pair orphaned = unix_pair();
  const Fd ghost = orphan(orphaned);
  vanished.a.reset();
  EXPECT_TRUE(events().empty());
  EXPECT_TRUE(events().empty());
  ASSERT_TRUE(poller->modify(*fired, Interest::writable));
  EXPECT_TRUE(any(ready(*fired), Ready::invalid));
}

TEST_P(RebuildTest, P4_the_kernel_is_rid_of_a_dead_registration) {
  Pair orphaned = unix_pair();
  const Fd ghost = orphan(orphaned);
  EXPECT_TRUE(events().empty());
  if (poller->fd() < 0) return;  // no set of the kernel's, and nothing to be rid of
  // Nothing is registered, so the poller, watched from outside, has nothing to say.
  pollfd outside{.fd = poller->fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&outside, 1, 0), 0);
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(RebuildTest);

}  // namespace
}  // namespace duolu::test
