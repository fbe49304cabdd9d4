#include "duolu/base/function.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <type_traits>
#include <utility>

namespace duolu::test {
namespace {

static_assert(!std::is_copy_constructible_v<Function<void()>>);
static_assert(std::is_nothrow_move_constructible_v<Function<void()>>);
static_assert(!std::is_constructible_v<Function<int()>, void (*)()>);  // it returns no int

TEST(FunctionTest, holds_none_until_it_is_given_one) {
  Function<int()> function;
  EXPECT_FALSE(function);
  EXPECT_FALSE(Function<int()>(nullptr));
  EXPECT_FALSE(Function<int()>(static_cast<int (*)()>(nullptr)));
  function = [] { return 7; };
  ASSERT_TRUE(function);
  EXPECT_EQ(function(), 7);
}

TEST(FunctionTest, arguments_are_forwarded_and_state_is_kept) {
  Function<int(std::unique_ptr<int>, int&)> function = [calls = 0](std::unique_ptr<int> add,
                                                                   int& sum) mutable {
    sum += *add;
    return ++calls;
  };
  int sum = 1;
  EXPECT_EQ(function(std::make_unique<int>(2), sum), 1);
  EXPECT_EQ(function(std::make_unique<int>(3), sum), 2);
  EXPECT_EQ(sum, 6);
}

/// Counts what is alive of a callable that is small, or `big` and thus not stored inside.
template <std::size_t Size>
struct Counted {
  explicit Counted(int* counter) noexcept : alive(counter) { ++*alive; }
  Counted(Counted&& other) noexcept : alive(other.alive) { ++*alive; }
  Counted& operator=(Counted&&) = delete;
  ~Counted() { --*alive; }
  int operator()() const { return *alive; }
  int* alive;
  std::array<char, Size> room{};
};

template <std::size_t Size>
void moves_and_destroys_once() {
  int alive = 0;
  {
    Function<int()> first = Counted<Size>(&alive);
    EXPECT_EQ(alive, 1);
    Function<int()> second = std::move(first);
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that it is empty is what is tested
    EXPECT_EQ(second(), 1);
    Function<int()>& same = second;
    second = std::move(same);
    EXPECT_EQ(second(), 1);
    first = std::move(second);
    EXPECT_EQ(first(), 1);
    first = [] { return 0; };  // destroys what it held
    EXPECT_EQ(alive, 0);
    second = Counted<Size>(&alive);
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
}

TEST(FunctionTest, a_small_one_is_moved_and_destroyed_once) { moves_and_destroys_once<1>(); }
TEST(FunctionTest, a_big_one_is_moved_and_destroyed_once) { moves_and_destroys_once<100>(); }

}  // namespace
}  // namespace duolu::test
