// Private. Layer: load. The bytes to send and to receive: each one shows where it belongs.
//
// One table of random bytes, repeated every `period` bytes; each connection begins at an offset of
// its own. A byte that is lost, doubled, swapped or of another connection shifts what follows. A
// shift is found unless it is a multiple of the period: a prime, so no message size divides it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "duolu/base/prng.hpp"

namespace duolu {

class Payload {
 public:
  /// The most bytes that slice() returns.
  static constexpr std::size_t most = 65'536;
  static constexpr std::size_t period = 65'521;

  explicit Payload(std::uint64_t seed) : table_(period + most) {
    Prng prng(seed);
    for (std::size_t i = 0; i < period; ++i) table_[i] = static_cast<char>(prng.next());
    // Byte by byte: `most` is longer than the period, so this copies bytes that it has just
    // written, which std::copy and memmove(3) do not.
    for (std::size_t i = period; i < table_.size(); ++i) table_[i] = table_[i - period];
  }

  /// The bytes at `position` of a connection's stream, at most `size` of them.
  [[nodiscard]] std::string_view slice(std::uint64_t connection, std::uint64_t position,
                                       std::uint64_t size) const noexcept {
    const std::uint64_t start = (position + connection * stride) % period;
    return {table_.data() + start, std::min<std::uint64_t>(size, most)};
  }

 private:
  static constexpr std::uint64_t stride = 7'919;  // neighbours are far apart

  std::vector<char> table_;
};

}  // namespace duolu
