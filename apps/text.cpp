#include "apps/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>

namespace duolu::apps {
namespace {

struct Unit {
  std::string_view suffix;
  double factor;
};

/// A non-negative number with one of `units` after it, multiplied.
template <std::size_t N>
std::optional<double> parse_quantity(std::string_view text, const Unit (&units)[N]) {
  if (text.starts_with('-')) return std::nullopt;  // -0 is a number too
  // Not std::from_chars: libc++ 19 has none for double. strtod would also take "inf" and "1e3".
  const std::string digits(text.substr(0, text.find_first_not_of("0123456789.")));
  char* end = nullptr;
  const double number = std::strtod(digits.c_str(), &end);
  if (end == digits.c_str() || !std::isfinite(number)) return std::nullopt;
  const std::string_view suffix = text.substr(static_cast<std::size_t>(end - digits.c_str()));
  for (const Unit& unit : units)
    if (unit.suffix == suffix) return number * unit.factor;
  return std::nullopt;
}

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
  static constexpr Unit units[] = {{"", 1e9},  {"ns", 1},   {"us", 1e3},  {"ms", 1e6},
                                   {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
  const std::optional<double> nanoseconds = parse_quantity(text, units);
  constexpr double hundred_years = 100.0 * 366 * 24 * 3600e9;
  if (!nanoseconds || *nanoseconds > hundred_years) return std::nullopt;
  return Duration(std::llround(*nanoseconds));
}

std::optional<std::uint64_t> parse_count(std::string_view text) {
  static constexpr Unit units[] = {{"", 1},    {"k", 1e3},    {"K", 1e3},       {"M", 1e6},
                                   {"G", 1e9}, {"KiB", 1024}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
  const std::optional<double> count = parse_quantity(text, units);
  if (!count || *count > 9e15) return std::nullopt;
  const double whole = std::round(*count);  // 1.001 times 1000 is not quite 1001
  if (std::abs(*count - whole) > whole * 1e-14) return std::nullopt;
  return static_cast<std::uint64_t>(whole);
}

std::optional<double> parse_rate(std::string_view text) {
  static constexpr Unit units[] = {{"", 1}, {"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}};
  double span = 1;
  if (const std::size_t slash = text.find('/'); slash != std::string_view::npos) {
    const std::string_view unit = text.substr(slash + 1);
    if (unit != "s" && unit != "m" && unit != "h") return std::nullopt;
    span = unit == "s" ? 1 : unit == "m" ? 60 : 3600;
    text = text.substr(0, slash);
  }
  const std::optional<double> count = parse_quantity(text, units);
  if (!count || *count <= 0) return std::nullopt;
  return *count / span;
}

std::optional<std::string> unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      plain += text[i];
      continue;
    }
    if (++i == text.size()) return std::nullopt;
    switch (text[i]) {
      case 'r': plain += '\r'; break;
      case 'n': plain += '\n'; break;
      case 't': plain += '\t'; break;
      case '0': plain += '\0'; break;
      case '\\':
      case '"':
      case '\'': plain += text[i]; break;
      case 'x': {
        if (i + 2 >= text.size()) return std::nullopt;
        const int high = hex_digit(text[i + 1]);
        const int low = hex_digit(text[i + 2]);
        if (high < 0 || low < 0) return std::nullopt;
        plain += static_cast<char>(high * 16 + low);
        i += 2;
        break;
      }
      default: return std::nullopt;
    }
  }
  return plain;
}

std::string escape(std::string_view bytes, std::size_t limit) {
  std::string safe;
  for (const char c : bytes.substr(0, limit)) {
    switch (c) {
      case '\r': safe += "\\r"; break;
      case '\n': safe += "\\n"; break;
      case '\t': safe += "\\t"; break;
      case '\\': safe += "\\\\"; break;
      case '"': safe += "\\\""; break;
      default:
        if (c >= 0x20 && c < 0x7f)
          safe += c;
        else
          safe += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  if (bytes.size() > limit) safe += "...";
  return safe;
}

std::string shell_quote(std::string_view word) {
  const auto is_plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           std::string_view("_@%+=:,./-").contains(c);
  };
  const auto is_printable = [](char c) { return c >= 0x20 && c < 0x7f; };
  if (!word.empty() && std::all_of(word.begin(), word.end(), is_plain)) return std::string(word);
  const bool printable = std::all_of(word.begin(), word.end(), is_printable);
  std::string quoted = printable ? "'" : "$'";
  for (const char c : word) {
    if (!is_printable(c))
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else if (c == '\'')
      quoted += printable ? "'\\''" : "\\'";
    else if (c == '\\' && !printable)
      quoted += "\\\\";
    else
      quoted += c;
  }
  return quoted + "'";
}

std::string counted(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string to_text(Duration duration) {
  const auto count = static_cast<double>(duration.count());
  if (duration >= std::chrono::seconds(1000)) return fmt::format("{:.0f}s", count / 1e9);
  if (duration >= std::chrono::seconds(1)) return fmt::format("{:.4g}s", count / 1e9);
  if (duration >= std::chrono::milliseconds(1)) return fmt::format("{:.4g}ms", count / 1e6);
  return fmt::format("{:.4g}us", count / 1e3);
}

std::string wrapped(std::string line, std::string_view text, std::size_t indent) {
  std::string rows;
  bool empty = true;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    if (!empty && line.size() + 1 + word.size() > line_width) {
      rows += line + '\n';
      line.assign(indent, ' ');
      empty = true;
    }
    if (!empty) line += ' ';
    line += word;
    empty = false;
  }
  return rows + line + '\n';
}

}  // namespace duolu::apps
