// The rules F1 to F5 of fault.hpp, and Pollers under faults.
#include "duolu/kernel/fault.hpp"

#include <gtest/gtest.h>

#include <cerrno>

namespace duolu::test {
namespace {

TEST(FaultKernel, counts_calls_and_failures) {
  FaultKernel kernel(real_kernel());
  kernel.fail(Call::getpeername, 2, ENOBUFS);
  EXPECT_EQ(kernel.getpeername(-1, nullptr, nullptr), -EBADF);
  EXPECT_EQ(kernel.getpeername(-1, nullptr, nullptr), -ENOBUFS);
  EXPECT_EQ(kernel.getpeername(-1, nullptr, nullptr), -EBADF);
  EXPECT_EQ(kernel.calls(Call::getpeername), 3U);
  EXPECT_EQ(kernel.injected(), 1U);
}

}  // namespace
}  // namespace duolu::test
