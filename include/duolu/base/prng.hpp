// Public. Layer: base. Reproducible pseudo-random numbers: the same on every compiler and library.
#pragma once

#include <cstdint>

#include "duolu/base/check.hpp"

namespace duolu {

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
/// One 64-bit word of state; the sequence depends on the seed alone. Not for secrets: those come
/// from getrandom(2). Not thread-safe.
class Prng {
 public:
  explicit constexpr Prng(std::uint64_t seed) noexcept : state_(seed) {}

  /// The next 64 bits.
  constexpr std::uint64_t next() noexcept {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }

  /// A number in [0, n), n > 0. The bias is at most n / 2^64.
  constexpr std::uint64_t below(std::uint64_t n) noexcept {
    DUOLU_CHECK(n > 0);
    return next() % n;
  }

  /// A number in [low, high], both included; low <= high.
  constexpr std::uint64_t between(std::uint64_t low, std::uint64_t high) noexcept {
    DUOLU_CHECK(low <= high);
    const std::uint64_t count = high - low + 1;
    return count == 0 ? next() : low + below(count);  // 0: all 2^64 of them
  }

  /// True in `numerator` of `denominator` cases.
  constexpr bool chance(std::uint32_t numerator, std::uint32_t denominator) noexcept {
    return below(denominator) < numerator;
  }

 private:
  std::uint64_t state_;
};

}  // namespace duolu
