// How often operator new is called: for tests of what takes no memory. Including this replaces it
// in the whole program (allocations.cpp).
#pragma once

#include <cstddef>
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

/// While one lives in a thread, what that thread has may not grow by more than so many bytes.
class LimitsAllocations {
 public:
  explicit LimitsAllocations(std::size_t bytes) noexcept;
  LimitsAllocations(const LimitsAllocations&) = delete;
  LimitsAllocations& operator=(const LimitsAllocations&) = delete;
  ~LimitsAllocations();
  /// Of them, in this thread.
  [[nodiscard]] static std::ptrdiff_t left() noexcept;
};

/// While one lives in a thread, nothing of the above concerns that thread: for what stands for the
/// kernel, which takes no memory of the program.
class SparesAllocations {
 public:
  SparesAllocations() noexcept;
  SparesAllocations(const SparesAllocations&) = delete;
  SparesAllocations& operator=(const SparesAllocations&) = delete;
  ~SparesAllocations();

 private:
  bool counted_;
  bool failing_;
  bool limited_;
};

/// What has been counted so far, in all threads.
[[nodiscard]] std::uint64_t allocations() noexcept;

}  // namespace duolu::test
