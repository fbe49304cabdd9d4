// Clauses P20 to P27: level, edge and oneshot.
#include "support/conformance.hpp"

namespace duolu::test {
namespace {

class TriggerTest : public Conformance {};

TEST_P(TriggerTest, P20_P21_P25_L01_a_fresh_pair_is_writable_and_not_readable) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable | Interest::writable);
  EXPECT_EQ(ready(token), Ready::writable);
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(TriggerTest);

}  // namespace
}  // namespace duolu::test
