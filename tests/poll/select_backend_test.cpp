// What only the select backend could get wrong: its bitmaps end at the highest wanted number.
#include <fcntl.h>

#include "support/conformance.hpp"

namespace duolu::test {
namespace {

TEST(SelectBackend, P5_a_high_descriptor_is_watched_again_after_a_pause) {
  auto poller = find_backend("select")->make(real_kernel(), {}).value();
  Pair pair = unix_pair();
  const Fd high(real_kernel(), ::fcntl(pair.a.get(), F_DUPFD_CLOEXEC, 700));
  ASSERT_GE(high.get(), 700);
  const Token token = poller->add(high.get(), Interest::readable).value();
  ASSERT_TRUE(poller->modify(token, Interest::none));
  put(pair.b.get(), "x");
  EXPECT_TRUE(poller->wait(immediately).value().empty());  // here the bitmaps shrink
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_FALSE(poller->wait(immediately).value().empty());
}

}  // namespace
}  // namespace duolu::test
