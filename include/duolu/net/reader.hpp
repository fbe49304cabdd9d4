// Public. Layer: net. Reads a stream by delimiter or size, with a buffer in between.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "duolu/net/stream.hpp"

namespace duolu {

/// Reads lines, messages, whatever ends with a delimiter or has a known size. What arrives behind
/// it stays in here for the next call, and so does everything when a call is cancelled: nothing is
/// lost. Takes memory as it is needed, `limit` bytes and one at most: the byte behind a piece of
/// that size tells whether the stream ends there. What a byte costs does not grow with how much
/// came before it.
class Reader {
 public:
  /// `stream` outlives this, and is read by nobody else. `limit`: the longest piece, its delimiter
  /// included; 1 at least.
  explicit Reader(Stream& stream, std::size_t limit = std::size_t{64} * 1024)
      : stream_(&stream), limit_(limit) {}

  /// Everything up to and with `delimiter`, which is not empty. At the end of the stream: what is
  /// left, without delimiter, and then nothing (empty). The text is good until the next call.
  /// Errors: read()'s; StreamError::too_long if the delimiter does not come in time: then what is
  /// there can be had with take().
  [[nodiscard]] Task<Result<std::string_view>> read_until(std::string_view delimiter);
  /// Exactly `size` bytes, at most the limit; good until the next call. Errors: read()'s;
  /// StreamError::ended; StreamError::too_long.
  [[nodiscard]] Task<Result<std::string_view>> read_exact(std::size_t size);
  /// What has been received and not been given out; now it has.
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
  std::size_t begin_ = 0;  ///< Of what has not been given out, in buffer_.
  std::size_t end_ = 0;
};

}  // namespace duolu
