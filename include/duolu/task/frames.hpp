// Public. Layer: task. Memory for coroutine frames: free lists of each thread, by size.
//
// A server creates and destroys the same few coroutines for every connection; malloc would cost a
// hundred instructions for each, and a header in front of it. Here frames are kept in free lists by
// size, in multiples of 16 bytes, which are filled from chunks of 64 KiB. When most of a large
// number of frames (at least 1,024) have been freed, or there is no memory for another chunk, the
// chunks without a frame in use go back to operator delete. The free frames of a thread that ends
// are taken over by the next threads whose lists are empty.
//
// A frame may be freed by another thread than allocated it: a thread that frees more than it
// allocates passes frames on, 64 at a time. Under AddressSanitizer every frame comes from operator
// new, so that use after free is detected.
#pragma once

#include "duolu/base/standard.hpp"

#include <cstddef>

namespace duolu {

/// Memory for `size` bytes, aligned to 16. May throw std::bad_alloc.
[[nodiscard]] void* take_frame(std::size_t size);
/// Gives back what take_frame(size) returned.
void give_frame(void* frame, std::size_t size) noexcept;
/// Frees the chunks of which every frame is free and in the lists of this thread or of threads that
/// have ended: for callers that have run out of memory. Returns whether there were any.
bool trim_frames() noexcept;
/// Whether this thread can take frames of so many bytes in all without asking operator new; it
/// looks at frames of all sizes, so those that are needed may be others. True where frames are not
/// kept.
[[nodiscard]] bool frames_have_room(std::size_t bytes) noexcept;
/// Gives memory back to the system when most of a crowd has left: of connections, or of anything
/// else that has some memory each. malloc keeps what lies between pieces that are in use, so that a
/// process would stay as large as the crowd was. Costs nothing but comparisons with fewer than
/// 1,024, and then one malloc_trim(3) (glibc only), which looks at all free memory of the process,
/// each time three quarters have left.
class CrowdMemory {
 public:
  /// One has come, and there are `count` now.
  void grew(std::size_t count) noexcept {
    if (count >= crowd && trim_below_ < count / 4) trim_below_ = count / 4;
  }
  /// One has left, and there are `count` now.
  void shrank(std::size_t count) noexcept {
    if (count < trim_below_) trim(count);
  }

 private:
  static constexpr std::size_t crowd = 1024;  // whose memory is worth giving back
  void trim(std::size_t count) noexcept;

  std::size_t trim_below_ = 0;
};
/// How many frames this thread has taken, less those it has given back: 0 when all tasks have
/// ended. (A frame that another thread gives back is counted there.)
[[nodiscard]] std::ptrdiff_t frames_in_use() noexcept;

}  // namespace duolu
