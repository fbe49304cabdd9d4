// Clause P7 and row D2: descriptors that are closed under their registration.
#include <vector>

#include "support/conformance.hpp"
#include "support/endpoints.hpp"

namespace duolu::test {
namespace {

class VanishTest : public Conformance {};

TEST_P(VanishTest, P7_D2_is_reported_in_the_wait_that_notices_it_beside_what_is_ready) {
  Pair ready_pair = unix_pair();
  Pair gone_pair = unix_pair();
  const Token others = watch(ready_pair.a.get(), Interest::writable);
  const Token gone = watch(gone_pair.a.get(), Interest::readable);
  gone_pair.a.reset();
  // The kernel's own set notices when it is asked for a change.
  if (!traits().notices_close) {
    ASSERT_TRUE(poller->modify(gone, Interest::writable));
  }
  Ready seen_of_gone = Ready::none;
  Ready seen_of_others = Ready::none;
  for (const Event& event : events())
    (event.token == gone ? seen_of_gone : seen_of_others) |= event.ready;
  EXPECT_TRUE(any(seen_of_gone, Ready::invalid)) << to_string(seen_of_gone);
  EXPECT_EQ(seen_of_others, Ready::writable);

  EXPECT_EQ(ready(gone), Ready::none);
  const Result<> modified = poller->modify(gone, Interest::readable);
  ASSERT_FALSE(modified);
  EXPECT_EQ(modified.error(), std::errc::bad_file_descriptor);
  EXPECT_TRUE(poller->remove(gone));
  EXPECT_TRUE(poller->remove(others));
}

TEST_P(VanishTest, P7_P33_does_not_keep_a_woken_wait_from_the_others) {
  Pair ready_pair = unix_pair();
  Pair gone_pair = unix_pair();
  const Token others = watch(ready_pair.a.get(), Interest::writable);
  const Token gone = watch(gone_pair.a.get(), Interest::readable);
  gone_pair.a.reset();
  poller->wake();
  const Result<Poller::Batch> batch = poller->wait(immediately);
  ASSERT_TRUE(batch);
  EXPECT_TRUE(batch->woken());
  Ready seen = Ready::none;
  for (const Event& event : *batch)
    if (event.token == others) seen |= event.ready;
  EXPECT_EQ(seen, Ready::writable);
  EXPECT_TRUE(poller->remove(gone));
}

TEST_P(VanishTest, P4_P7_who_is_removed_before_the_report_is_not_in_it_and_a_successor_is) {
  open(real_kernel(), {.batch = 1});
  std::vector<Pair> pairs;
  std::vector<Token> tokens;
  for (int i = 0; i < 3; ++i) {
    pairs.push_back(unix_pair());
    tokens.push_back(watch(pairs.back().a.get(), Interest::readable));
  }
  for (Pair& pair : pairs) pair.a.reset();
  for (const Token token : tokens) EXPECT_TRUE(poller->modify(token, Interest::writable));
  EXPECT_EQ(events().size(), 1U);
  for (const Token token : tokens) EXPECT_TRUE(poller->remove(token));
  // It takes a slot of theirs, is closed too, and reported once.
  Pair next = unix_pair();
  const Token successor = watch(next.a.get(), Interest::readable);
  expect_silent();
  next.a.reset();
  EXPECT_TRUE(poller->modify(successor, Interest::writable));
  EXPECT_EQ(ready(successor), Ready::invalid | Ready::writable);
  expect_silent();
  EXPECT_TRUE(poller->remove(successor));
}

TEST_P(VanishTest, P5_P7_in_a_pause_is_reported_when_it_ends) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  pair.a.reset();
  ASSERT_TRUE(poller->modify(token, Interest::none));
  EXPECT_EQ(ready(token), Ready::none);
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_TRUE(any(ready(token), Ready::invalid));
  EXPECT_FALSE(poller->modify(token, Interest::readable));
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(VanishTest);

}  // namespace
}  // namespace duolu::test
