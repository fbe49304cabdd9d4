#include "duolu/base/exception.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace duolu {
namespace {

TEST(MessageOf, is_what_the_exception_says) {
  EXPECT_EQ(message_of(std::make_exception_ptr(std::out_of_range("too far"))), "too far");
  EXPECT_EQ(message_of(std::make_exception_ptr(7)), "something that is no std::exception");
}

}  // namespace
}  // namespace duolu
