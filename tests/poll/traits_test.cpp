// The rows of src/poll/backends.def say what their backends do. What closed descriptors, select's
// sets and lowered limits come to is tested where their clauses are.
#include "duolu/testing/fault.hpp"
#include "support/conformance.hpp"

namespace duolu::test {
namespace {

class TraitsTest : public Conformance {
 protected:
  void SetUp() override { open(kernel); }
  void TearDown() override { poller.reset(); }  // before the kernel it uses

  FaultKernel kernel{real_kernel()};
};

TEST_P(TraitsTest, D1_D5_the_row_says_where_edges_come_from_and_whether_there_is_a_descriptor) {
  EXPECT_EQ(traits().native_edge, !poller->emulates_edge());
  EXPECT_EQ(traits().has_fd, poller->fd() >= 0);
  EXPECT_EQ(poller->name(), GetParam().backend->name);
}

TEST_P(TraitsTest, P8_the_row_says_which_calls_register_and_wait) {
  const Pair pair = unix_pair();
  const Call registers = call_named(traits().register_call);
  kernel.reset_counts();
  const Token token = watch(pair.a.get(), Interest::readable);
  EXPECT_EQ(kernel.calls(registers), 1U);
  expect_silent(0ns);
  EXPECT_EQ(kernel.calls(call_named(traits().wait_call)), 2U);
  kernel.reset_counts();
  ASSERT_TRUE(poller->modify(token, Interest::writable));
  EXPECT_EQ(ready(token, 0ns), Ready::writable);
  EXPECT_EQ(kernel.calls(registers), traits().kernel_set ? 1U : 0U);
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(TraitsTest);

}  // namespace
}  // namespace duolu::test
