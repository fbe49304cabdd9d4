// Text that people type and read: quantities with suffixes, escapes, bytes escaped for a terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "duolu/base/time.hpp"

namespace duolu::apps {

/// "250ms", "1.5s", "2m", "1h", "10us"; a bare number is seconds. Nullopt for anything else, for
/// negative values and for more than a hundred years.
std::optional<Duration> parse_duration(std::string_view text);

/// "1500", "10k", "2M" (thousands), "64KiB", "1GiB" (1024). Nullopt for anything else.
std::optional<std::uint64_t> parse_count(std::string_view text);

/// A rate, in times a second: "20k", "0.5", "10/s", "10/m", "100/h". Nullopt for anything else and
/// for 0.
std::optional<double> parse_rate(std::string_view text);

/// Resolves \r \n \t \0 \\ \" \' and \xHH, as in C. Nullopt if an escape is not one of these.
std::optional<std::string> unescape(std::string_view text);

/// The first `limit` bytes as printable ASCII. Everything else, the backslash and the quote become
/// escapes that unescape() reads. "..." follows if there was more.
std::string escape(std::string_view bytes, std::size_t limit = SIZE_MAX);

/// A word for a shell: quoted if necessary, in printable ASCII ($'\xHH').
std::string shell_quote(std::string_view word);

/// "1 connection", "2 connections".
std::string counted(std::uint64_t count, std::string_view noun);

/// "1.5s", "20ms": for people.
std::string to_text(Duration duration);

/// Columns of a line for people, where nothing else is known.
inline constexpr std::size_t line_width = 80;

/// `line` followed by the words of `text`, broken into lines of line_width, of which the later ones
/// are indented. With a newline at the end.
std::string wrapped(std::string line, std::string_view text, std::size_t indent);

}  // namespace duolu::apps
