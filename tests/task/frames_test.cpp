// Memory for coroutine frames: frames.hpp.
#include "duolu/task/frames.hpp"

#include <gtest/gtest.h>
#include <malloc.h>

#include <cstddef>
#include <thread>
#include <vector>

#include "support/allocations.hpp"
#include "support/sanitizers.hpp"

namespace duolu::test {
namespace {

constexpr std::ptrdiff_t mebibyte = std::ptrdiff_t{1} << 20U;
std::ptrdiff_t allocated() { return static_cast<std::ptrdiff_t>(::mallinfo2().uordblks); }

std::vector<void*> take(std::size_t count, std::size_t size) {
  std::vector<void*> frames;
  frames.reserve(count);
  for (std::size_t i = 0; i < count; ++i) frames.push_back(take_frame(size));
  return frames;
}
/// In an order that ends no chunk before most of the others.
void give_scattered(const std::vector<void*>& frames, std::size_t size) {
  constexpr std::size_t step = 257;
  for (std::size_t first = 0; first < step; ++first)
    for (std::size_t i = first; i < frames.size(); i += step) give_frame(frames[i], size);
}

/// Frames of other tests' threads serve none of these.
template <class Work>
void in_a_thread(Work work) {
  std::jthread thread(work);
}

TEST(Frames, of_a_crowd_that_has_left_are_given_back) {
  in_a_thread([] {
    void* const stays = take_frame(256);
    const std::ptrdiff_t before = allocated();
    for (int round = 0; round < 3; ++round) {
      give_scattered(take(20'000, 256), 256);  // 5 MB
      EXPECT_LT(allocated() - before, mebibyte);
      EXPECT_EQ(frames_in_use(), 1);
    }
    give_frame(stays, 256);
  });
}

TEST(Frames, of_a_crowd_that_wandered_are_given_back) {
  const std::ptrdiff_t before = allocated();
  std::vector<void*> frames;
  in_a_thread([&] { frames = take(20'000, 320); });
  in_a_thread([&] { give_scattered(frames, 320); });
  frames = {};
  EXPECT_LT(allocated() - before, mebibyte);
}

#if !DUOLU_ASAN  // under which each frame is an allocation (frames.cpp)
TEST(Frames, few_of_them_stay_for_the_next) {
  in_a_thread([] {
    give_scattered(take(500, 256), 256);
    const std::uint64_t before = allocations();
    const CountsAllocations counted;
    for (int round = 0; round < 10; ++round)
      for (int i = 0; i < 500; ++i) give_frame(take_frame(256), 256);
    EXPECT_EQ(allocations(), before);
  });
}
#endif

// Under AddressSanitizer there are none (frames.cpp).
#if !DUOLU_ASAN
TEST(Frames, without_memory_are_cut_anew_in_other_sizes) {
  in_a_thread([] {
    give_scattered(take(900, 208), 208);  // three chunks
    std::vector<void*> frames;
    frames.reserve(1000);
    {
      const FailsAllocations none;
      // What is left of a chunk, and two chunks: but for malloc's own front they come back alike.
      EXPECT_NO_THROW(frames.push_back(take_frame(1024)));
    }
    for (void* frame : frames) give_frame(frame, 1024);
  });
}

TEST(Frames, room_for_more_is_known) {
  in_a_thread([] {
    EXPECT_FALSE(frames_have_room(64));  // no chunk yet
    void* const first = take_frame(64);
    EXPECT_TRUE(frames_have_room(32'768));
    EXPECT_FALSE(frames_have_room(65'536));
    give_frame(first, 64);
    std::vector<void*> frames = take(200, 1008);  // three chunks and a part of a fourth
    EXPECT_FALSE(frames_have_room(100'800));
    for (std::size_t i = 0; i < 100; ++i) give_frame(frames[i], 1008);
    EXPECT_TRUE(frames_have_room(100'800));
    const FailsAllocations none;
    for (std::size_t i = 0; i < 100; ++i) EXPECT_NO_THROW(frames[i] = take_frame(1008));
    for (void* frame : frames) give_frame(frame, 1008);
  });
}

TEST(Frames, without_memory_larger_ones_serve) {
  in_a_thread([] {
    std::vector<void*> frames = take(130, 1008);  // two chunks and more
    void* const stays = frames.back();
    frames.pop_back();
    for (std::size_t i = 0; i < frames.size(); i += 2) give_frame(frames[i], 1008);
    const FailsAllocations none;
    for (std::size_t i = 0; i < frames.size(); i += 2) EXPECT_NO_THROW(frames[i] = take_frame(96));
    for (std::size_t i = 0; i < frames.size(); ++i) give_frame(frames[i], i % 2 == 0 ? 96U : 1008U);
    give_frame(stays, 1008);
  });
}
#endif

// With one frame of each thread in use meanwhile, so that no chunk can go back.
TEST(Frames, of_threads_that_have_ended_serve_the_next) {
  std::vector<void*> in_use;
  in_use.reserve(200);
  std::ptrdiff_t before = 0;
  for (int round = 0; round < 200; ++round) {
    in_a_thread([&in_use] {
      in_use.push_back(take_frame(640));
      give_scattered(take(80, 640), 640);  // a chunk is for 102
    });
    if (round == 10) before = allocated();
  }
  EXPECT_LT(allocated() - before, mebibyte);  // 190 times 50 KB without inheritance
  for (void* frame : in_use) give_frame(frame, 640);
}

}  // namespace
}  // namespace duolu::test
