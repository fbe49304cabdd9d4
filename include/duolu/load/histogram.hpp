// Layer: load. Counts of values over a wide range with a bounded relative error: an HdrHistogram.
//
// The arrangement is Gil Tene's (http://hdrhistogram.org): values up to 2047 have a place each;
// above, every doubling of the value has 1024 places. So two values share a place only if they
// differ by less than 0.1 % (three significant digits), whether they are microseconds or minutes,
// and recording is an index and an increment.
#pragma once

#include "duolu/base/standard.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace duolu {

/// Counts of values from 0 to `highest`, three significant digits. What the values mean is the
/// caller's; the load engine records nanoseconds. Not thread-safe: one each, then merge().
class Histogram {
 public:
  /// An hour in nanoseconds.
  static constexpr std::uint64_t default_highest = 3'600'000'000'000;

  /// Takes all its memory now: 8 bytes a place, 276 KiB for an hour in nanoseconds. `highest` is
  /// at least 2 and less than 2^62.
  explicit Histogram(std::uint64_t highest = default_highest);

  /// Counts `value` once, or `times` times. One above `highest` counts as `highest`.
  void record(std::uint64_t value, std::uint64_t times = 1) noexcept;
  /// Adds what another one counted. Nothing is lost if this one's `highest` is as large.
  void merge(const Histogram& other) noexcept;

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t highest() const noexcept { return highest_; }
  /// The smallest and the largest value recorded, as they were; 0 if there is none.
  [[nodiscard]] std::uint64_t min() const noexcept { return count_ != 0 ? min_ : 0; }
  [[nodiscard]] std::uint64_t max() const noexcept { return max_; }
  /// Of the middles of the places, between min() and max(); 0 if there is none.
  [[nodiscard]] double mean() const noexcept;
  /// The largest value that shares its place with the value below which `percent` (0 to 100) of
  /// all are, but never more than max(): what other implementations call the value at a percentile.
  [[nodiscard]] std::uint64_t percentile(double percent) const noexcept;

  /// HdrHistogram's V2 format, compressed (zlib) and in base64: what its log files hold and its
  /// tools read.
  [[nodiscard]] std::string encode() const;
  /// Reads encode()'s text, from this or another implementation (three significant digits, lowest
  /// value 1). Nothing if it is something else. min() and max() come back as accurate as the
  /// places.
  [[nodiscard]] static std::optional<Histogram> decode(std::string_view text);
  /// The same without compression and base64.
  [[nodiscard]] static std::optional<Histogram> decode_plain(std::string_view bytes);

  /// The same counts in the same places.
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
