// Private. A set of descriptor numbers as select(2) takes it, of any size.
#pragma once

#include <algorithm>
#include <climits>
#include <cstddef>
#include <vector>

namespace duolu {

/// fd_set is an array of `unsigned long` whose bits count from the low end, FD_SETSIZE of them.
/// Only the C library fixes that size: Linux reads as many words as `count` needs. Other systems do
/// have the limit, and `max_select_fd` is within it.
class Bitmap {
 public:
  static constexpr std::size_t word_bits = sizeof(unsigned long) * CHAR_BIT;

  void grow(std::size_t words) { words_.resize(std::max(words_.size(), words)); }
  void set(int fd) noexcept { words_[word(fd)] |= bit(fd); }
  void clear(int fd) noexcept { words_[word(fd)] &= ~bit(fd); }
  [[nodiscard]] bool has(int fd) const noexcept { return (words_[word(fd)] & bit(fd)) != 0; }
  [[nodiscard]] unsigned long* data() noexcept { return words_.data(); }
  [[nodiscard]] unsigned long operator[](std::size_t word) const noexcept { return words_[word]; }
  /// Copies the first `words` words of `other`.
  void copy(const Bitmap& other, std::size_t words) noexcept {
    std::copy_n(other.words_.begin(), words, words_.begin());
  }

  [[nodiscard]] static std::size_t words_for(int fd) noexcept { return word(fd) + 1; }

 private:
  static std::size_t word(int fd) noexcept { return static_cast<std::size_t>(fd) / word_bits; }
  static unsigned long bit(int fd) noexcept {
    return 1UL << (static_cast<std::size_t>(fd) % word_bits);
  }

  std::vector<unsigned long> words_;
};

/// The highest descriptor number that pselect accepts.
#ifdef __linux__
inline constexpr int max_select_fd = INT_MAX - 1;
#else
inline constexpr int max_select_fd = 1023;  // POSIX's least FD_SETSIZE; systems may have more
#endif

}  // namespace duolu
