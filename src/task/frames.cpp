#include "duolu/task/frames.hpp"

#include <array>
#include <cstdint>
#include <mutex>
#include <new>
#include <utility>

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
constexpr std::size_t largest = 1024;  // what is larger is rare, and malloc's
constexpr std::size_t chunk_size = 65'536;
constexpr int most_at_once = 64;  // between a thread and the shared lists

struct Free {
  Free* next;
};
/// What is left of a chunk whose thread has ended.
struct Rest {
  Rest* next;
  std::size_t size;
};
static_assert(sizeof(Rest) <= grain);

/// The lists, and the rest of the newest chunk. Trivial, so that reaching it takes no call.
struct Lists {
  std::array<Free*, largest / grain + 1> free;
  char* rest;
  std::size_t rest_size;
};
constinit thread_local Lists lists{};
/// Who has given so many more frames than it took gets them from others, and they get them back.
constinit thread_local std::ptrdiff_t hand_on_below = 0;

/// All chunks, so that leak checkers find them, and what no thread has: of those that have ended,
/// and of those that get the frames of others.
struct Shared {
  std::mutex mutex;
  Free* chunks = nullptr;
  std::array<Free*, largest / grain + 1> orphans{};
  Rest* rests = nullptr;

  /// With the lock.
  void take_lists() noexcept {
    for (std::size_t i = 0; i < lists.free.size(); ++i) {
      while (Free* const frame = lists.free[i]) {
        lists.free[i] = frame->next;
        frame->next = orphans[i];
        orphans[i] = frame;
      }
    }
  }
};
Shared& shared() {
  static auto* const kept = new Shared;  // outlives every thread
  return *kept;
}

/// Gives the lists away when the thread ends.
struct Heir {
  Heir() = default;
  Heir(const Heir&) = delete;
  Heir& operator=(const Heir&) = delete;
  ~Heir() {
    const std::scoped_lock guard(shared().mutex);
    shared().take_lists();
    if (lists.rest_size == 0) return;
    shared().rests = new (lists.rest) Rest{shared().rests, lists.rest_size};
    lists.rest_size = 0;
  }
};
void leave_to_heirs() { static thread_local const Heir heir; }

[[gnu::noinline, gnu::cold]] void* refill(std::size_t index) {
  leave_to_heirs();
  const std::size_t size = index * grain;
  const std::scoped_lock guard(shared().mutex);
  if (Free* const orphans = shared().orphans[index]) {
    Free* last = orphans;
    for (int i = 1; i < most_at_once && last->next != nullptr; ++i) last = last->next;
    shared().orphans[index] = std::exchange(last->next, nullptr);
    lists.free[index] = orphans->next;
    return orphans;
  }
  if (lists.rest_size < size) {  // what was left of the last chunk, less than a frame, is given up
    Rest** found = &shared().rests;
    while (*found != nullptr && (*found)->size < size) found = &(*found)->next;
    if (Rest* const rest = *found) {
      *found = rest->next;
      lists.rest = reinterpret_cast<char*>(rest);
      lists.rest_size = rest->size;
    } else {
      void* const chunk = ::operator new(chunk_size);
      shared().chunks = new (chunk) Free{shared().chunks};
      lists.rest = static_cast<char*>(chunk) + grain;
      lists.rest_size = chunk_size - grain;
    }
  }
  void* const frame = lists.rest;
  lists.rest += size;
  lists.rest_size -= size;
  return frame;
}

[[gnu::noinline, gnu::cold]] void hand_on() noexcept {
  leave_to_heirs();
  if (hand_on_below < 0) {
    const std::scoped_lock guard(shared().mutex);
    shared().take_lists();
  }
  hand_on_below = in_use - most_at_once;
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
  const bool wandered = --in_use < hand_on_below;
  const std::size_t index = (size + grain - 1) / grain;
  if (index >= lists.free.size()) [[unlikely]]
    return ::operator delete(frame, size);
  lists.free[index] = new (frame) Free{lists.free[index]};
  if (wandered) [[unlikely]]
    hand_on();
}

#else

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

}  // namespace duolu
