#include "apps/http_echo.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <iterator>
#include <utility>

namespace duolu::apps {
namespace {

constexpr std::string_view bad_request = "400 Bad Request";
constexpr std::size_t kept_of_a_head = 4096;
constexpr std::string_view not_implemented = "501 Not Implemented";

/// RFC 9110, 5.6.2: the characters of a method or a field name.
bool is_token(std::string_view text) {
  static constexpr std::string_view others = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           others.find(c) != std::string_view::npos;
  });
}

/// RFC 3986, 3.2.2 and 3.2.3: the characters of a Host field, each checked alone.
bool is_host(std::string_view text) {
  static constexpr std::string_view others = "-._~%!$&'()*+,;=:[]";
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           others.find(c) != std::string_view::npos;
  });
}

/// Visible characters, space, tab and obs-text, but no control characters.
bool is_field_text(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return lower(x) == lower(y);
  });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// Whether a comma-separated list has `wanted` among its members.
bool lists(std::string_view list, std::string_view wanted) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    if (equal_ignoring_case(trim(list.substr(0, comma)), wanted)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

/// RFC 9110, 7.1, and RFC 9112, 3.2: whether the target has the form that the method needs. The
/// rest of a URI is not checked: it is returned as it is.
bool is_target(std::string_view target, std::string_view method) {
  if (target == "*") return method == "OPTIONS";
  if (target.starts_with('/')) return true;
  const std::size_t colon = target.find(':');  // after a scheme (RFC 3986, 3.1), or a CONNECT's
  return colon != std::string_view::npos && colon > 0 &&
         target.substr(0, colon).find_first_of("/?#[]@") == std::string_view::npos;
}

void append(std::vector<char>& output, std::string_view text) {
  output.insert(output.end(), text.begin(), text.end());
}

}  // namespace

std::string_view HttpDate::now() {
  const auto second =
      std::chrono::floor<std::chrono::seconds>(std::chrono::sys_time<Duration>(host_.real_time()));
  const std::string_view text(text_.data(), text_.size());
  if (std::exchange(second_, second.time_since_epoch().count()) == second_) return text;
  static constexpr std::string_view days = "SunMonTueWedThuFriSat";
  static constexpr std::string_view months = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const auto day = std::chrono::floor<std::chrono::days>(second);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(second - day);
  fmt::format_to_n(text_.data(), text_.size(), "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
                   days.substr(std::size_t{3} * std::chrono::weekday(day).c_encoding(), 3),
                   static_cast<unsigned>(date.day()),
                   months.substr(std::size_t{3} * (static_cast<unsigned>(date.month()) - 1), 3),
                   static_cast<int>(date.year()), time.hours().count(), time.minutes().count(),
                   time.seconds().count());
  return text;
}

bool HttpEcho::consume(std::span<const char> input, std::vector<char>& output) {
  while (!input.empty() && state_ != State::closed) {
    std::size_t taken = 0;
    if (state_ == State::head)
      taken = take_head(input, output);
    else if (state_ == State::body)
      taken = take_body(input, output);
    else
      taken = take_chunked(input, output);
    input = input.subspan(taken);
  }
  return state_ != State::closed;
}

std::size_t HttpEcho::take_head(std::span<const char> input, std::vector<char>& output) {
  begun_ = true;
  for (std::size_t i = 0; i < input.size(); ++i) {
    // Empty lines before a request are to be ignored (RFC 9112, 2.2).
    if (line_.empty() && (input[i] == '\r' || input[i] == '\n')) continue;
    line_ += input[i];
    if (line_.size() > max_head) {
      refuse(too_long(), output);
      return input.size();
    }
    if (input[i] != '\n' || !(line_.ends_with("\n\r\n") || line_.ends_with("\n\n"))) continue;
    if (const std::string_view status = parse_head(); !status.empty()) {
      refuse(status, output);
      return input.size();
    }
    start_answer(output);
    return i + 1;
  }
  return input.size();
}

/// The status for the part that is too long (RFC 9112, 3).
std::string_view HttpEcho::too_long() const {
  const std::string_view line = std::string_view(line_).substr(0, line_.find('\n'));
  if (line.size() < line_.size()) return "431 Request Header Fields Too Large";
  const std::size_t space = line.find(' ');
  if (!is_token(line.substr(0, space))) return bad_request;
  return space == std::string_view::npos ? not_implemented : "414 URI Too Long";
}

std::string_view HttpEcho::parse_head() {
  left_ = 0;
  chunked_ = has_length_ = has_host_ = expects_continue_ = false;
  std::string_view rest = line_;
  const auto next_line = [&rest] {
    const std::size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
  };
  const std::string_view request = next_line();
  const std::size_t first = request.find(' ');
  const std::size_t last = request.rfind(' ');
  if (first == std::string_view::npos || first == last) return bad_request;
  const std::string_view method = request.substr(0, first);
  const std::string_view target = request.substr(first + 1, last - first - 1);
  const std::string_view version = request.substr(last + 1);
  if (!is_token(method) || target.empty() || !is_field_text(target) ||
      target.find_first_of(" \t") != std::string_view::npos)
    return bad_request;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (version.size() != 8 || !version.starts_with("HTTP/") || !is_digit(version[5]) ||
      version[6] != '.' || !is_digit(version[7]))
    return bad_request;
  if (version[5] != '1') return "505 HTTP Version Not Supported";
  if (!is_target(target, method)) return bad_request;
  version_1_0_ = version[7] == '0';
  keep_alive_ = !version_1_0_;
  head_only_ = method == "HEAD";
  for (std::string_view line = next_line(); !line.empty(); line = next_line())
    if (const std::string_view status = parse_field(line); !status.empty()) return status;
  if (!version_1_0_ && !has_host_) return bad_request;
  if (chunked_ && (has_length_ || version_1_0_)) return bad_request;
  // 200 would promise a tunnel, and must not have a body (RFC 9110, 9.3.6).
  if (method == "CONNECT") return not_implemented;
  return {};
}

std::string_view HttpEcho::parse_field(std::string_view line) {
  const std::size_t colon = line.find(':');
  // Parsers differ on a space before the colon and on folded lines (RFC 9112, 5.1 and 5.2).
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return bad_request;
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim(line.substr(colon + 1));
  if (!is_field_text(value)) return bad_request;
  if (equal_ignoring_case(name, "host")) {
    if (has_host_ || !is_host(value)) return bad_request;
    has_host_ = true;
  } else if (equal_ignoring_case(name, "connection")) {
    if (lists(value, "close")) keep_alive_ = false;
  } else if (equal_ignoring_case(name, "expect")) {
    if (!equal_ignoring_case(value, "100-continue")) return "417 Expectation Failed";
    expects_continue_ = !version_1_0_;
  }
  return parse_framing(name, value);
}

std::string_view HttpEcho::parse_framing(std::string_view name, std::string_view value) {
  if (equal_ignoring_case(name, "transfer-encoding")) {
    if (chunked_) return bad_request;
    if (!equal_ignoring_case(value, "chunked")) return not_implemented;
    chunked_ = true;
  } else if (equal_ignoring_case(name, "content-length")) {
    std::uint64_t length = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), length);
    if (value.empty() || error != std::errc() || end != value.data() + value.size() ||
        length > (std::uint64_t{1} << 62U) || (has_length_ && length != left_))
      return bad_request;
    has_length_ = true;
    left_ = length;
  }
  return {};
}

void HttpEcho::start_answer(std::vector<char>& output) {
  if (expects_continue_ && (chunked_ || left_ > 0)) append(output, "HTTP/1.1 100 Continue\r\n\r\n");
  fmt::format_to(std::back_inserter(output),
                 "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
                 "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nDate: {}\r\n{}",
                 date_->now(), keep_alive_ ? "" : "Connection: close\r\n");
  if (chunked_)
    append(output, "Transfer-Encoding: chunked\r\n\r\n");
  else
    fmt::format_to(std::back_inserter(output), "Content-Length: {}\r\n\r\n", line_.size() + left_);
  if (!head_only_) {
    if (chunked_) fmt::format_to(std::back_inserter(output), "{:x}\r\n", line_.size());
    append(output, line_);
    if (chunked_) append(output, "\r\n");
  }
  line_.clear();
  // The memory of a long head is freed, since that of its answer may have to be kept.
  if (line_.capacity() > kept_of_a_head) line_.shrink_to_fit();
  if (chunked_)
    state_ = State::chunk_size;
  else if (left_ > 0)
    state_ = State::body;
  else
    end_request();
}

std::size_t HttpEcho::take_body(std::span<const char> input, std::vector<char>& output) {
  const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size()));
  if (!head_only_) append(output, {input.data(), taken});
  left_ -= taken;
  if (left_ == 0) end_request();
  return taken;
}

std::size_t HttpEcho::take_chunked(std::span<const char> input, std::vector<char>& output) {
  std::size_t taken = 0;
  bool malformed = false;
  while (taken < input.size() && state_ != State::head && state_ != State::closed) {
    if (state_ == State::chunk_data) {
      const auto step =
          static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size() - taken));
      taken += step;
      left_ -= step;
      if (left_ == 0) state_ = State::chunk_end;
    } else if (!take_framing(input[taken++])) {
      malformed = true;
      state_ = State::closed;
    }
  }
  if (!head_only_) {
    fmt::format_to(std::back_inserter(output), "{:x}\r\n", taken);
    append(output, {input.data(), taken});
    append(output, "\r\n");
    // The answer to a malformed request has begun: it fails by a missing last chunk.
    if ((state_ == State::head || state_ == State::closed) && !malformed)
      append(output, "0\r\n\r\n");
  }
  return malformed ? input.size() : taken;
}

bool HttpEcho::take_framing(char c) {
  line_ += c;
  if (c != '\n') return line_.size() <= max_head;
  if (!line_.ends_with("\r\n")) return false;
  const bool good = end_of_framing_line();
  line_.clear();
  return good;
}

bool HttpEcho::end_of_framing_line() {
  const std::string_view line = std::string_view(line_).substr(0, line_.size() - 2);
  if (state_ == State::trailer) {
    if (line.empty()) {
      end_request();
      return true;
    }
    const std::size_t colon = line.find(':');
    return colon != std::string_view::npos && is_token(line.substr(0, colon)) &&
           is_field_text(line);
  }
  if (state_ == State::chunk_end) {
    state_ = State::chunk_size;
    return line.empty();
  }
  const std::size_t extension = line.find(';');
  std::string_view size = line.substr(0, extension);
  // "Bad" white space may stand before an extension, and only there (RFC 9112, 7.1.1).
  while (extension != std::string_view::npos && (size.ends_with(' ') || size.ends_with('\t')))
    size.remove_suffix(1);
  const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), left_, 16);
  if (size.empty() || error != std::errc() || end != size.data() + size.size()) return false;
  if (left_ > (std::uint64_t{1} << 62U) || !is_field_text(line)) return false;
  state_ = left_ == 0 ? State::trailer : State::chunk_data;
  return true;
}

void HttpEcho::end_request() {
  line_.clear();
  begun_ = false;
  state_ = keep_alive_ ? State::head : State::closed;
}

void HttpEcho::refuse(std::string_view status, std::vector<char>& output) {
  fmt::format_to(std::back_inserter(output),
                 "HTTP/1.1 {}\r\nContent-Type: text/plain; charset=utf-8\r\nDate: {}\r\n"
                 "Connection: close\r\nContent-Length: {}\r\n\r\n",
                 status, date_->now(), status.size() + 1);
  if (!line_.starts_with("HEAD ")) fmt::format_to(std::back_inserter(output), "{}\n", status);
  line_.clear();
  state_ = State::closed;
}

}  // namespace duolu::apps
