// Private. Layer: load. When messages of an open loop are to start, independent of the server.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "duolu/base/prng.hpp"
#include "duolu/base/time.hpp"
#include "duolu/load/load.hpp"

namespace duolu {

/// A sequence of intended starts. It reads no clock: a late start does not delay the ones after it.
class Schedule {
 public:
  /// Nothing ever starts.
  Schedule() = default;
  /// `rate` starts a second from `start` on.
  Schedule(Instant start, double rate, Arrivals arrivals, std::uint64_t seed) noexcept
      : start_(start), gap_ns_(1e9 / rate), arrivals_(arrivals), prng_(seed) {
    if (arrivals_ == Arrivals::poisson) offset_ns_ = gap();
  }

  /// When the next message is to start.
  [[nodiscard]] Instant next() const noexcept {
    // At the slowest rates a few gaps are longer than any Duration.
    constexpr double longest_ns = 9e18;
    return after(start_, Duration(static_cast<std::int64_t>(std::min(offset_ns_, longest_ns))));
  }
  void advance() noexcept {
    // Computed from the start, so that a gap with a fraction of a nanosecond does not drift.
    ++count_;
    offset_ns_ = arrivals_ == Arrivals::constant ? static_cast<double>(count_) * gap_ns_
                                                 : offset_ns_ + gap();
  }

 private:
  /// Exponentially distributed, from the 53 bits a double holds; never the logarithm of 0.
  double gap() noexcept {
    const double uniform = (static_cast<double>(prng_.next() >> 11U) + 0.5) * 0x1p-53;
    return -std::log(uniform) * gap_ns_;
  }

  Instant start_ = never;
  double gap_ns_ = 0;
  Arrivals arrivals_ = Arrivals::constant;
  Prng prng_{0};
  std::uint64_t count_ = 0;
  double offset_ns_ = 0;
};

}  // namespace duolu
