// Public. Layer: net. Reads a stream by delimiter or size, with a buffer in between.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "duolu/net/stream.hpp"

namespace duolu {

/// Reads lines, messages, and anything else that ends with a delimiter or has a known size. Bytes
/// received beyond it are kept for the next call, and when a call is cancelled all bytes are kept:
/// nothing is lost. Allocates memory as needed, at most `limit` bytes and one: the byte behind a
/// piece of that size shows whether the stream ends there. The cost of a byte does not grow with
/// the number of bytes before it.
class Reader {
 public:
  /// `stream` outlives this, and is read only here. `limit`: the size of the longest piece with its
  /// delimiter; at least 1.
  explicit Reader(Stream& stream, std::size_t limit = std::size_t{64} * 1024)
      : stream_(&stream), limit_(limit) {}

  /// Everything up to and including `delimiter`, which is not empty. At the end of the stream: what
  /// is left, without delimiter, and then an empty text. The text is valid until the next call.
  /// Errors: as read(); StreamError::too_long if there is no delimiter within the limit: take()
  /// returns what was received.
  Task<Result<std::string_view>> read_until(std::string_view delimiter);
  /// Exactly `size` bytes, at most the limit; valid until the next call. Errors: as read();
  /// StreamError::ended; StreamError::too_long.
  Task<Result<std::string_view>> read_exact(std::size_t size);
  /// What has been received and not been returned; if that is nothing, the next bytes that come: at
  /// most one more than the limit. Empty at the end of the stream; valid until the next call.
  /// Errors: as read().
  Task<Result<std::string_view>> read_some();
  /// Returns, and removes, what has been received and not been returned yet.
  [[nodiscard]] std::string_view take() noexcept { return give(unread().size()); }

 private:
  [[nodiscard]] std::string_view unread() const noexcept {
    return {buffer_.data() + begin_, end_ - begin_};
  }
  void make_room();
  /// Receives more; false at the end of the stream.
  Task<Result<bool>> fill();
  std::string_view give(std::size_t size) noexcept;

  Stream* stream_;
  std::size_t limit_;
  std::string buffer_;
  std::size_t begin_ = 0;  ///< Where what has not been returned begins in buffer_.
  std::size_t end_ = 0;
};

}  // namespace duolu
