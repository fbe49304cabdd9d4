#include "support/allocations.hpp"

#include <malloc.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

namespace {

thread_local bool counted = false;
thread_local bool failing = false;
thread_local bool limited = false;
thread_local std::ptrdiff_t left_of_the_limit = 0;
std::atomic<std::uint64_t> calls{0};

void* take(std::size_t size) noexcept {
  if (failing) return nullptr;
  if (limited && left_of_the_limit < static_cast<std::ptrdiff_t>(size)) return nullptr;
  void* const memory = std::malloc(size != 0 ? size : 1);
  if (limited) left_of_the_limit -= static_cast<std::ptrdiff_t>(::malloc_usable_size(memory));
  return memory;
}
void release(void* memory) noexcept {
  if (limited) left_of_the_limit += static_cast<std::ptrdiff_t>(::malloc_usable_size(memory));
  std::free(memory);
}

/// As the standard says: while there is a handler, it may find some.
void* allocate_or_null(std::size_t size) noexcept {
  if (counted) calls.fetch_add(1, std::memory_order_relaxed);
  for (;;) {
    if (void* memory = take(size)) return memory;
    const std::new_handler handler = std::get_new_handler();
    if (handler == nullptr) return nullptr;
    try {
      handler();
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }
}
void* allocate(std::size_t size) {
  if (void* memory = allocate_or_null(size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

// Every form of new that the program has ends in one of these. Not the aligned ones: nothing here
// is aligned beyond what malloc gives. Never inlined: g++ 12 at -O1 takes a free() that it sees
// beside a new that it does not see through for a mistake.
[[gnu::noinline]] void* operator new(std::size_t size) { return allocate(size); }
[[gnu::noinline]] void* operator new[](std::size_t size) { return allocate(size); }
// The library's own would call the ones above; a sanitizer's does not.
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate_or_null(size);
}
[[gnu::noinline]] void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return allocate_or_null(size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { release(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { release(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { release(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept { release(memory); }

namespace duolu::test {

SparesAllocations::SparesAllocations() noexcept
    : counted_(std::exchange(counted, false)),
      failing_(std::exchange(failing, false)),
      limited_(std::exchange(limited, false)) {}
SparesAllocations::~SparesAllocations() {
  counted = counted_;
  failing = failing_;
  limited = limited_;
}

CountsAllocations::CountsAllocations() noexcept { counted = true; }
CountsAllocations::~CountsAllocations() { counted = false; }
FailsAllocations::FailsAllocations() noexcept { failing = true; }
FailsAllocations::~FailsAllocations() { failing = false; }
LimitsAllocations::LimitsAllocations(std::size_t bytes) noexcept {
  left_of_the_limit = static_cast<std::ptrdiff_t>(bytes);
  limited = true;
}
LimitsAllocations::~LimitsAllocations() { limited = false; }
std::ptrdiff_t LimitsAllocations::left() noexcept { return left_of_the_limit; }
std::uint64_t allocations() noexcept { return calls.load(); }

}  // namespace duolu::test
