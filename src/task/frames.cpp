#include "duolu/task/frames.hpp"

#ifdef __linux__
#include <malloc.h>
#endif

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <iterator>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define DUOLU_POOLED_FRAMES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DUOLU_POOLED_FRAMES 0
#endif
#endif
#ifndef DUOLU_POOLED_FRAMES
#define DUOLU_POOLED_FRAMES 1
#endif

namespace duolu {
namespace {

constinit thread_local std::ptrdiff_t in_use = 0;

#if DUOLU_POOLED_FRAMES

constexpr std::size_t grain = 16;
constexpr std::size_t largest = 1024;  // larger frames are rare: they come from operator new
constexpr std::size_t chunk_size = 65'536;
constexpr int most_at_once = 64;  // between a thread and the shared lists
// Fewer frames take half a megabyte at most: not worth looking for chunks that could be freed.
constexpr std::ptrdiff_t few = 1024;

struct Free {
  Free* next;
};
using FreeLists = std::array<Free*, largest / grain + 1>;

/// The header of a chunk of 64 KiB that frames of any size are cut from.
struct alignas(grain) Chunk {
  Chunk* next_left = nullptr;  ///< In Shared::left.
  std::uint32_t used = sizeof(Chunk);
  std::uint32_t frames = 0;  ///< How many were cut from it.
  std::uint32_t found = 0;   ///< How many of these are free; only while collect() counts.
  bool has_thread = false;   ///< A thread cuts from it.

  [[nodiscard]] bool fits(std::size_t size) const noexcept { return chunk_size - used >= size; }
  void* cut(std::size_t size) noexcept {
    void* const frame = reinterpret_cast<char*>(this) + used;
    used += static_cast<std::uint32_t>(size);
    ++frames;
    return frame;
  }
};
static_assert(alignof(Chunk) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);

/// A thread's lists, and the chunk it cuts from. Trivial, so that accessing it takes no call.
struct Lists {
  FreeLists free;
  Chunk* chunk;
};
constinit thread_local Lists lists{};
/// With fewer frames in use than this, there may be chunks to free; see look().
constinit thread_local std::ptrdiff_t look_below = 0;

/// All chunks, and the free frames of no thread: they come from threads that have ended, and from
/// threads that free more than they allocate. Accessed under the lock.
struct Shared {
  std::mutex mutex;
  std::vector<Chunk*> chunks;  ///< By address.
  FreeLists orphans{};
  std::size_t orphaned = 0;         ///< Frames in them.
  std::size_t collect_above = few;  ///< Collect when `orphaned` exceeds this.
  Chunk* left = nullptr;            ///< Chunks whose thread has ended.

  Chunk& chunk_of(const void* frame) noexcept {
    return **std::prev(std::upper_bound(chunks.begin(), chunks.end(), frame, std::less<>()));
  }

  /// Frees the chunks of which every frame is in the lists of this thread or in `orphans`. Returns
  /// whether there were any.
  bool collect() noexcept {
    for (const FreeLists* all : {&lists.free, &orphans})
      for (const Free* frame : *all)
        for (; frame != nullptr; frame = frame->next) ++chunk_of(frame).found;
    const auto unused = [](const Chunk& chunk) {
      return chunk.found == chunk.frames && (!chunk.has_thread || &chunk == lists.chunk);
    };
    const bool any = std::any_of(chunks.begin(), chunks.end(),
                                 [&](const Chunk* chunk) { return unused(*chunk); });
    if (any) {
      orphaned = 0;
      for (FreeLists* all : {&lists.free, &orphans})
        for (Free*& first : *all)
          for (Free** link = &first; *link != nullptr;) {
            if (unused(chunk_of(*link))) {
              *link = (*link)->next;
            } else {
              link = &(*link)->next;
              if (all == &orphans) ++orphaned;
            }
          }
      for (Chunk** link = &left; *link != nullptr;)
        if (unused(**link))
          *link = (*link)->next_left;
        else
          link = &(*link)->next_left;
    }
    auto kept = chunks.begin();
    Chunk* const own = lists.chunk;
    for (Chunk* const chunk : chunks) {
      if (unused(*chunk)) {
        if (chunk == own) lists.chunk = nullptr;
        ::operator delete(chunk);
      } else {
        chunk->found = 0;
        *kept++ = chunk;
      }
    }
    chunks.erase(kept, chunks.end());
    collect_above = std::max<std::size_t>(few, 2 * orphaned);
    return any;
  }

  void take_lists() noexcept {
    for (std::size_t i = 0; i < lists.free.size(); ++i) {
      while (Free* const frame = lists.free[i]) {
        lists.free[i] = frame->next;
        frame->next = orphans[i];
        orphans[i] = frame;
        ++orphaned;
      }
    }
    if (orphaned > collect_above) collect();
  }

  /// Takes up to most_at_once frames out of `orphans`. Returns the first one, linked; null if there
  /// is none.
  Free* give_orphans(std::size_t index) noexcept {
    Free* const first = orphans[index];
    if (first == nullptr) return nullptr;
    Free* last = first;
    --orphaned;
    for (int i = 1; i < most_at_once && last->next != nullptr; ++i) {
      last = last->next;
      --orphaned;
    }
    orphans[index] = std::exchange(last->next, nullptr);
    return first;
  }

  /// Gives this thread a chunk with room for `size`. The rest of its previous chunk, less than a
  /// frame, stays unused until that whole chunk is freed.
  void change_chunk(std::size_t size) {
    Chunk** link = &left;
    while (*link != nullptr && !(*link)->fits(size)) link = &(*link)->next_left;
    Chunk* next = *link;
    if (next != nullptr)
      *link = std::exchange(next->next_left, nullptr);
    else
      next = make_chunk();
    next->has_thread = true;
    if (lists.chunk != nullptr) lists.chunk->has_thread = false;
    lists.chunk = next;
  }
  Chunk* make_chunk() {
    if (chunks.size() == chunks.capacity()) chunks.reserve(2 * chunks.size() + 16);
    auto* const chunk = new (::operator new(chunk_size)) Chunk;
    chunks.insert(std::upper_bound(chunks.begin(), chunks.end(), chunk, std::less<>()), chunk);
    return chunk;
  }
  /// Puts this thread's chunk into `left`, for the next thread that needs one.
  void leave_chunk() noexcept {
    if (lists.chunk == nullptr) return;
    lists.chunk->has_thread = false;
    lists.chunk->next_left = std::exchange(left, lists.chunk);
    lists.chunk = nullptr;
  }
};
Shared& shared() {
  static auto* const kept = new Shared;  // outlives every thread
  return *kept;
}

/// Hands the lists to Shared when the thread ends.
struct Heir {
  Heir() = default;
  Heir(const Heir&) = delete;
  Heir& operator=(const Heir&) = delete;
  ~Heir() {
    const std::scoped_lock guard(shared().mutex);
    shared().leave_chunk();
    shared().take_lists();
    if (shared().orphaned > few) shared().collect();
  }
};
void leave_to_heirs() { static thread_local const Heir heir; }

/// When there is no memory for another chunk: a larger free frame serves as well.
void* take_larger(std::size_t index) noexcept {
  for (FreeLists* all : {&lists.free, &shared().orphans})
    for (std::size_t i = index; i < all->size(); ++i) {
      Free*& first = (*all)[i];
      if (first == nullptr) continue;
      if (all == &shared().orphans) --shared().orphaned;
      return std::exchange(first, first->next);
    }
  return nullptr;
}

[[gnu::noinline, gnu::cold]] void* refill(std::size_t index) {
  leave_to_heirs();
  const std::size_t size = index * grain;
  const std::scoped_lock guard(shared().mutex);
  if (in_use >= few) look_below = std::max(look_below, in_use / 4);
  if (Free* const orphans = shared().give_orphans(index)) {
    lists.free[index] = orphans->next;
    return orphans;
  }
  if (lists.chunk == nullptr || !lists.chunk->fits(size)) {
    try {
      shared().change_chunk(size);
    } catch (const std::bad_alloc&) {
      if (void* const frame = take_larger(index)) return frame;
      if (!shared().collect()) throw;
      shared().change_chunk(size);
    }
  }
  return lists.chunk->cut(size);
}

/// Called when `in_use` has fallen below `look_below`. If it is negative, the thread frees frames
/// that others allocate: its lists go to the shared ones. Otherwise it uses far fewer frames than
/// it did: unused chunks are freed when a quarter of many frames is left in use, and then, with
/// few, each time a quarter of these has been freed, since one frame keeps a whole chunk.
[[gnu::noinline, gnu::cold]] void look() noexcept {
  leave_to_heirs();
  const std::scoped_lock guard(shared().mutex);
  if (in_use >= 0) {
    (void)shared().collect();
    look_below = in_use >= few ? in_use / 4 : in_use - in_use / 4;
  } else {
    if (look_below < 0) shared().take_lists();
    look_below = in_use - most_at_once;
  }
}

#endif

}  // namespace

#if DUOLU_POOLED_FRAMES

void* take_frame(std::size_t size) {
  const std::size_t index = (size + grain - 1) / grain;
  void* frame = nullptr;
  if (index >= lists.free.size()) [[unlikely]] {
    frame = ::operator new(size);
  } else if (Free* const first = lists.free[index]) [[likely]] {
    lists.free[index] = first->next;
    frame = first;
  } else {
    frame = refill(index);
  }
  ++in_use;
  return frame;
}

void give_frame(void* frame, std::size_t size) noexcept {
  const bool looks = --in_use < look_below;
  const std::size_t index = (size + grain - 1) / grain;
  if (index >= lists.free.size()) [[unlikely]]
    return ::operator delete(frame, size);
  lists.free[index] = new (frame) Free{lists.free[index]};
  if (looks) [[unlikely]]
    look();
}

bool trim_frames() noexcept {
  const std::scoped_lock guard(shared().mutex);
  return shared().collect();
}

bool frames_have_room(std::size_t bytes) noexcept {
  std::size_t room = lists.chunk != nullptr ? chunk_size - lists.chunk->used : 0;
  for (std::size_t index = 1; index < lists.free.size(); ++index)
    for (const Free* frame = lists.free[index]; frame != nullptr && room < bytes;
         frame = frame->next)
      room += index * grain;
  return room >= bytes;
}

#else

bool trim_frames() noexcept { return false; }

bool frames_have_room(std::size_t /*bytes*/) noexcept { return true; }

void* take_frame(std::size_t size) {
  void* const frame = ::operator new(size);
  ++in_use;
  return frame;
}

void give_frame(void* frame, std::size_t size) noexcept {
  --in_use;
  ::operator delete(frame, size);
}

#endif

std::ptrdiff_t frames_in_use() noexcept { return in_use; }

void CrowdMemory::trim([[maybe_unused]] std::size_t count) noexcept {
  trim_below_ = count / 4;
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace duolu
