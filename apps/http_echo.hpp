// Answers HTTP/1.1 requests with their own text: implements a part of RFC 9112 correctly, and
// refuses the rest.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "duolu/kernel/host.hpp"

namespace duolu::apps {

/// The Date field of answers, in the form of RFC 9110, 5.6.7; composed once a second.
class HttpDate {
 public:
  /// `host` outlives this.
  explicit HttpDate(Host& host) noexcept : host_(host) {}

  /// "Sun, 06 Nov 1994 08:49:37 GMT"; valid until the next call.
  [[nodiscard]] std::string_view now();

 private:
  Host& host_;
  std::int64_t second_ = -1;  ///< Since 1970: of text_.
  std::array<char, 29> text_{};
};

/// The parser and the answers of one connection. Input may be in pieces of any size: except for the
/// sizes of chunks, the answers do not depend on them. Memory: the head of the request being read,
/// at most 16 KiB.
///
/// The body of each answer is the request as received, head and body (for a chunked request with
/// its chunk framing). Answers begin as soon as a head is complete. Refused, with the connection
/// closed: 400 malformed, or framing that two parsers could understand differently (RFC 9112, 6.3
/// and 11.2); 414 a request line over 16 KiB; 417; 431 a head over 16 KiB; 501 a transfer coding
/// other than chunked, or a method that long; 505 a version other than 1.x.
class HttpEcho {
 public:
  /// `date` outlives this.
  explicit HttpEcho(HttpDate& date) noexcept : date_(&date) {}

  /// Takes `input` and appends the answer to `output`. False: there will be no more answers, close
  /// after sending.
  bool consume(std::span<const char> input, std::vector<char>& output);

  /// Whether a request has begun (empty lines count) and its head is not yet complete.
  [[nodiscard]] bool in_head() const noexcept { return begun_ && state_ == State::head; }

  static constexpr std::size_t max_head = std::size_t{16} * 1024;

 private:
  enum class State : std::uint8_t {
    head,
    body,        ///< `left_` bytes of a body with Content-Length.
    chunk_size,  ///< The line with a chunk's size.
    chunk_data,  ///< `left_` bytes of a chunk.
    chunk_end,   ///< The CRLF after a chunk's data.
    trailer,     ///< Trailer lines up to an empty one.
    closed,
  };

  std::size_t take_head(std::span<const char> input, std::vector<char>& output);
  std::size_t take_body(std::span<const char> input, std::vector<char>& output);
  std::size_t take_chunked(std::span<const char> input, std::vector<char>& output);
  /// One byte of a chunked body's framing. False: malformed.
  bool take_framing(char c);
  bool end_of_framing_line();
  void start_answer(std::vector<char>& output);
  void end_request();
  void refuse(std::string_view status, std::vector<char>& output);
  [[nodiscard]] std::string_view too_long() const;
  /// The status to refuse the head with, or empty.
  std::string_view parse_head();
  std::string_view parse_field(std::string_view line);
  std::string_view parse_framing(std::string_view name, std::string_view value);

  HttpDate* date_;
  State state_ = State::head;
  bool begun_ = false;
  std::string line_{};  ///< The head, or the framing line, read so far.
  std::uint64_t left_ = 0;
  bool head_only_ = false;  ///< The request was HEAD: the answer has no body.
  bool keep_alive_ = true;
  bool chunked_ = false;
  bool has_length_ = false;
  bool has_host_ = false;
  bool expects_continue_ = false;
  bool version_1_0_ = false;
};

}  // namespace duolu::apps
