// Clause P37: what a poller does in a forked child, and what it leaves alone there.
#include <sys/eventfd.h>
#include <sys/wait.h>

#include <functional>

#include "support/scenario.hpp"

namespace duolu::test {
namespace {

class ForkTest : public Scenario {
 protected:
  /// Runs `body` in a forked child; how it ended, as waitpid(2) says.
  static int in_child(const std::function<void()>& body) {
    const pid_t child = ::fork();
    if (child == 0) {
      body();
      ::_exit(0);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  }
};

TEST_P(ForkTest, P37_remove_and_destruction_in_a_child_leave_the_parents_registrations) {
  const Pair removed = unix_pair();
  const Pair kept = unix_pair();
  const Token first = watch(removed.a.get(), Interest::readable, 1);
  const Token second = watch(kept.a.get(), Interest::readable, 2);
  EXPECT_TRUE(look().empty());
  const int status = in_child([&] {
    bool good = poller->remove(first).has_value();
    good = good && poller->modify(second, Interest::writable).has_value() && poller->size() == 1;
    poller.reset();
    ::_exit(good ? 0 : 1);
  });
  EXPECT_EQ(status, 0);
  put(removed.b.get(), "x");
  put(kept.b.get(), "x");
  std::map<Token, Ready> seen;
  for (const Event& event : events()) seen[event.token] = event.ready;
  EXPECT_EQ(seen, (std::map<Token, Ready>{{first, Ready::readable}, {second, Ready::readable}}));
  EXPECT_EQ(poller->size(), 2U);
}

TEST_P(ForkTest, P37_a_poller_made_in_the_child_works_beside_the_inherited_one) {
  const Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  const int status = in_child([&] {
    const Pair own = unix_pair();
    const auto fresh = another(kernel);
    const Token there = watch_in(*fresh, own.a.get(), Interest::readable);
    put(own.b.get(), "x");
    bool good = false;
    const Result<Poller::Batch> batch = fresh->wait(immediately);
    if (batch)
      for (const Event& event : *batch) good = event.token == there;
    fresh->wake();
    good = good && fresh->wait(immediately)->woken() && fresh->remove(there).has_value();
    ::_exit(good ? 0 : 1);
  });
  EXPECT_EQ(status, 0);
  put(pair.b.get(), "x");
  EXPECT_EQ(ready(token), Ready::readable);
}

using ForkDeathTest = ForkTest;

TEST_P(ForkDeathTest, P37_adding_and_waiting_in_a_child_abort_with_a_sentence) {
  const Pair pair = unix_pair();
  const Pair other = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  // A death test forks: what runs in it is a child already.
  EXPECT_DEATH((void)poller->add(other.a.get(), Interest::readable), "used in a forked child");
  EXPECT_DEATH((void)poller->wait(immediately), "used in a forked child");
  put(pair.b.get(), "x");
  EXPECT_EQ(ready(token), Ready::readable);
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(ForkTest);
DUOLU_EVERY_BACKEND_AND_TRIGGER(ForkDeathTest);

}  // namespace
}  // namespace duolu::test
