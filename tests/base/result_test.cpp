#include "duolu/base/result.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

namespace duolu {
namespace {

TEST(Fail, carries_the_errno) {
  const Result<int> failed = fail(EPIPE);
  EXPECT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error(), std::errc::broken_pipe);
  const Result<> passed_on = fail(failed.error());
  EXPECT_EQ(passed_on.error(), std::errc::broken_pipe);
}

TEST(FailDeathTest, of_no_error_aborts_and_says_where) {
  EXPECT_DEATH((void)fail(0), "result_test.cpp:.*0 is none");
  EXPECT_DEATH((void)fail(std::error_code()), "result_test.cpp:.*0 is none");
}

struct Witness {
  ~Witness() { ++destroyed; }
  static inline int destroyed = 0;
  int value = 5;
};

TEST(Immortal, is_made_and_not_destroyed) {
  {
    const detail::Immortal<Witness> one;
    EXPECT_EQ(one.value.value, 5);
  }
  EXPECT_EQ(Witness::destroyed, 0);
}

}  // namespace
}  // namespace duolu
