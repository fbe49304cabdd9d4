// How `duolu talk` processes bytes: shows replies, compares them with the expected ones, and ends
// typed lines. No I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace duolu::apps {

/// Makes a peer's bytes safe for a terminal, piece by piece: printable text (UTF-8), newline and
/// tab stay as they are, "\r\n" (HTTP, SMTP, Redis) becomes a newline, everything else is escaped
/// as by escape(). That includes invisible characters: controls of Unicode, and those that change
/// the direction of text.
class SafeText {
 public:
  /// Appends `bytes` to `out`. An incomplete character is kept until the rest of it arrives.
  void add(std::string_view bytes, std::string& out);
  /// The input has ended: escapes what is incomplete.
  void end(std::string& out);

 private:
  std::string begun_;          ///< The bytes so far of an incomplete character.
  std::size_t character_ = 0;  ///< How many bytes it will have.
  bool after_return_ = false;  ///< A "\r" that may belong to the end of a line.
};

/// Formats the replies of one connection.
class Transcript {
 public:
  enum class Form : std::uint8_t { safe, raw, hex };

  /// `mark` precedes each line. With a mark, only whole lines are returned (after 4 KiB they are
  /// broken), so that the lines of several connections do not mix.
  Transcript(Form form, std::string mark) : form_(form), mark_(std::move(mark)) {}

  /// The text to show for these bytes; may be empty for now.
  [[nodiscard]] std::string add(std::string_view bytes);
  /// The text to show at the end of the stream.
  [[nodiscard]] std::string end();

 private:
  [[nodiscard]] std::string hex(std::string_view bytes);
  [[nodiscard]] std::string marked(std::string_view text);

  Form form_;
  std::string mark_;
  SafeText safe_;
  std::uint64_t offset_ = 0;  ///< In the stream, for hex.
  std::string line_;          ///< With a mark: the incomplete last line.
};

/// Searches a stream for texts, one after the other.
class Expectation {
 public:
  /// `texts` outlives this; none of them is empty.
  explicit Expectation(const std::vector<std::string>& texts) : texts_(&texts) {}

  void add(std::string_view bytes);
  [[nodiscard]] bool met() const noexcept { return found_ == texts_->size(); }
  /// If not met(): what did not arrive ("within 2s"), and what did. For people.
  [[nodiscard]] std::string complaint(std::string_view when) const;

 private:
  const std::vector<std::string>* texts_;
  std::size_t found_ = 0;
  std::uint64_t skipped_ = 0;  ///< Bytes since the last match that are no longer in `recent_`.
  std::string recent_;         ///< The bytes since the last match, or the last of them.
};

/// Replaces the newlines of typed text.
class LineEnds {
 public:
  /// `delimiter` replaces each newline. With `crlf` it is "\r\n", and a newline that already has
  /// its carriage return is not replaced.
  LineEnds(std::string delimiter, bool crlf)
      : delimiter_(crlf ? "\r\n" : std::move(delimiter)), crlf_(crlf) {}

  /// `bytes`, or a copy in `space` with newlines replaced.
  [[nodiscard]] std::string_view apply(std::string_view bytes, std::string& space);

 private:
  std::string delimiter_;
  bool crlf_;
  bool after_return_ = false;
};

}  // namespace duolu::apps
