// Layer: load. Counts of values over a wide range with a bounded relative error: an HdrHistogram.
//
// The layout is Gil Tene's (http://hdrhistogram.org): values up to 2047 have a place each; above,
// every doubling of the value has 1024 places. So two values share a place only if they differ by
// less than 0.1 % (three significant digits), whether they are microseconds or minutes, and
// recording is an index and an increment.
#pragma once

#include "duolu/base/standard.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace duolu {

/// Counts of values from 0 to `highest`, three significant digits. The caller decides what values
/// mean; the load engine records nanoseconds. Not thread-safe: one for each thread, then merge().
class Histogram {
 public:
  /// An hour in nanoseconds.
  static constexpr std::uint64_t default_highest = 3'600'000'000'000;

  /// Allocates all its memory now: 8 bytes a place, 276 KiB for an hour in nanoseconds. `highest`
  /// is at least 2 and less than 2^62.
  explicit Histogram(std::uint64_t highest = default_highest);

  /// Counts `value` once, or `times` times. A value above `highest` counts as `highest`.
  void record(std::uint64_t value, std::uint64_t times = 1) noexcept;
  /// Adds the counts of `other`. They keep their values if this `highest` is at least as large.
  void merge(const Histogram& other) noexcept;

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t highest() const noexcept { return highest_; }
  /// The smallest and the largest value recorded, exact; 0 if there is none.
  [[nodiscard]] std::uint64_t min() const noexcept { return count_ != 0 ? min_ : 0; }
  [[nodiscard]] std::uint64_t max() const noexcept { return max_; }
  /// Computed from the middles of places, within min() and max(); 0 if there is no value.
  [[nodiscard]] double mean() const noexcept;
  /// The value below which `percent` (0 to 100) of all are, rounded up to the largest value of its
  /// place, but at most max(): other implementations call it the value at a percentile.
  [[nodiscard]] std::uint64_t percentile(double percent) const noexcept;

  /// HdrHistogram's V2 format, compressed (zlib) and in base64: its log files and tools use it.
  [[nodiscard]] std::string encode() const;
  /// Reads encode()'s text, from this or another implementation (three significant digits, lowest
  /// value 1). Nullopt if it is something else. min() and max() are then as accurate as the places.
  [[nodiscard]] static std::optional<Histogram> decode(std::string_view text);
  /// The same without compression and base64.
  [[nodiscard]] static std::optional<Histogram> decode_plain(std::string_view bytes);

  /// Whether both have the same counts in the same places.
  bool operator==(const Histogram& other) const noexcept;

 private:
  [[nodiscard]] std::size_t used() const noexcept;

  std::uint64_t highest_;
  std::vector<std::uint64_t> places_;
  std::uint64_t count_ = 0;
  std::uint64_t min_ = UINT64_MAX;
  std::uint64_t max_ = 0;
};

}  // namespace duolu
