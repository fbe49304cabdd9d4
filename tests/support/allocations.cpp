#include "support/allocations.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

thread_local bool counted = false;
thread_local bool failing = false;
std::atomic<std::uint64_t> calls{0};

void* allocate_or_null(std::size_t size) noexcept {
  if (counted) calls.fetch_add(1, std::memory_order_relaxed);
  if (failing) return nullptr;
  return std::malloc(size != 0 ? size : 1);
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
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace duolu::test {

CountsAllocations::CountsAllocations() noexcept { counted = true; }
CountsAllocations::~CountsAllocations() { counted = false; }
FailsAllocations::FailsAllocations() noexcept { failing = true; }
FailsAllocations::~FailsAllocations() { failing = false; }
std::uint64_t allocations() noexcept { return calls.load(); }

}  // namespace duolu::test
