// What `duolu talk` makes of bytes: how replies are shown, whether they are what was expected, and
// how lines that are typed end. No I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace duolu::apps {

/// Makes a peer's bytes safe for a terminal, piece by piece: printable text (UTF-8), newline and
/// tab come out as they are, "\r\n" (HTTP, SMTP, Redis) as a newline, everything else as escape()
/// writes it. So do the characters that nobody sees but the terminal: controls of Unicode, and
/// those that turn the direction of text.
class SafeText {
 public:
  /// Appends `bytes` to `out`. The begin of a character is kept until the rest of it comes.
  void add(std::string_view bytes, std::string& out);
  /// There is no rest.
  void end(std::string& out);

 private:
  std::string begun_;          ///< Of a character of several bytes.
  std::size_t character_ = 0;  ///< How many it has.
  bool after_return_ = false;  ///< A "\r" that may belong to the end of a line.
};

/// The replies of one connection, as they are shown.
class Transcript {
 public:
  enum class Form : std::uint8_t { safe, raw, hex };

  /// `mark` stands before each line; with one, lines come out whole, up to 4 KiB long (what is
  /// longer is broken), so that several connections can be told apart.
  Transcript(Form form, std::string mark) : form_(form), mark_(std::move(mark)) {}

  /// What to show now that these bytes have come; may be nothing yet.
  [[nodiscard]] std::string add(std::string_view bytes);
  /// What to show at the end of the stream.
  [[nodiscard]] std::string end();

 private:
  [[nodiscard]] std::string hex(std::string_view bytes);
  [[nodiscard]] std::string marked(std::string_view text);

  Form form_;
  std::string mark_;
  SafeText safe_;
  std::uint64_t offset_ = 0;  ///< In the stream, for hex.
  std::string line_;          ///< Marked ones: what has no end yet.
};

/// Looks for texts in a stream, one behind the other.
class Expectation {
 public:
  /// `texts` outlives this; none of them is empty.
  explicit Expectation(const std::vector<std::string>& texts) : texts_(&texts) {}

  void add(std::string_view bytes);
  [[nodiscard]] bool met() const noexcept { return found_ == texts_->size(); }
  /// If not met(): what did not come ("within 2s"), and what came instead. For people.
  [[nodiscard]] std::string complaint(std::string_view when) const;

 private:
  const std::vector<std::string>* texts_;
  std::size_t found_ = 0;
  std::uint64_t skipped_ = 0;  ///< Since the last one found, and no longer in `recent_`.
  std::string recent_;         ///< What came since; its end, if that is long.
};

/// Replaces the newlines of what is typed.
class LineEnds {
 public:
  /// `delimiter` stands where a newline did. With `crlf` it is "\r\n", and a newline that has its
  /// carriage return already is left alone.
  LineEnds(std::string delimiter, bool crlf)
      : delimiter_(crlf ? "\r\n" : std::move(delimiter)), crlf_(crlf) {}

  /// `bytes`, or a copy in `space` with other ends.
  [[nodiscard]] std::string_view apply(std::string_view bytes, std::string& space);

 private:
  std::string delimiter_;
  bool crlf_;
  bool after_return_ = false;
};

}  // namespace duolu::apps
