// How often operator new is called: for tests of what takes no memory. Including this replaces it
// in the whole program (allocations.cpp).
#pragma once

#include <cstdint>

namespace duolu::test {

/// While one lives in a thread, the calls of that thread are counted.
class CountsAllocations {
 public:
  CountsAllocations() noexcept;
  CountsAllocations(const CountsAllocations&) = delete;
  CountsAllocations& operator=(const CountsAllocations&) = delete;
  ~CountsAllocations();
};

/// While one lives in a thread, the calls of that thread fail.
class FailsAllocations {
 public:
  FailsAllocations() noexcept;
  FailsAllocations(const FailsAllocations&) = delete;
  FailsAllocations& operator=(const FailsAllocations&) = delete;
  ~FailsAllocations();
};

/// What has been counted so far, in all threads.
[[nodiscard]] std::uint64_t allocations() noexcept;

}  // namespace duolu::test
