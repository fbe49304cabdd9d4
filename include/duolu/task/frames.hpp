// Public. Layer: task. Memory for coroutine frames: free lists of each thread, by size.
//
// A server makes and ends the same few coroutines for every connection; malloc would cost a hundred
// instructions for each and a header in front of it. Here a frame is taken from, and given back to,
// a list of its size in multiples of 16 bytes; the lists are filled from chunks of 64 KiB. When
// most of a crowd of frames (1,024 at least) is given back, or there is no memory for another
// chunk, the chunks of which no frame is in use go back to operator delete. What a thread has when
// it ends goes to the next ones that run out.
//
// A frame may be given back by another thread than took it: one that gets more than it takes hands
// them on, 64 at a time. Under AddressSanitizer every frame comes from operator new, so that it
// sees use after free.
#pragma once

#include "duolu/base/standard.hpp"

#include <cstddef>

namespace duolu {

/// Memory for `size` bytes, aligned to 16. May throw std::bad_alloc.
[[nodiscard]] void* take_frame(std::size_t size);
/// Gives back what take_frame(size) gave.
void give_frame(void* frame, std::size_t size) noexcept;
/// Gives back the chunks of which every frame is free, as far as this thread and those that have
/// ended have them: for whoever has no memory. Whether there were any.
bool trim_frames() noexcept;
/// How many frames this thread has taken and not given back (frames that wandered between threads
/// count where they are taken and given): 0 when everything has ended.
[[nodiscard]] std::ptrdiff_t frames_in_use() noexcept;

}  // namespace duolu
