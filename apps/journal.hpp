// What `duolu serve` reports while it runs: lines for people on standard error, or, with --json,
// one JSON object a line on standard output. Peers' bytes are escaped in both.
#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "apps/log.hpp"

namespace duolu::apps {

/// Writes a line to stdout or stderr, as Log::write(): never blocks, and drops what a slow reader
/// does not take. An error (EPIPE, ENOSPC) is ignored: there is nowhere to report it.
void write_line(std::FILE* stream, std::string line);
/// The same for text that is not a whole line.
void write_text(std::FILE* stream, std::string_view text);

enum class Verbosity : unsigned char { quiet, normal, verbose };

class Journal {
 public:
  Journal(Verbosity verbosity, bool json, std::string schema);

  /// Whether an entry of that importance is written: check before composing one for every message.
  [[nodiscard]] bool wants(Verbosity importance) const { return verbosity_ >= importance; }

  /// One entry. `text` is the line for people; `fields` the same as data, under its event's name.
  void say(Verbosity importance, std::string_view event, const std::string& text,
           const nlohmann::ordered_json& fields = nlohmann::ordered_json::object());

  /// Whether entries wait for a slow reader: then call flush() until it returns true.
  [[nodiscard]] bool behind() const { return log_->behind(); }
  bool flush() { return log_->flush(); }
  /// At the end: waits for the reader until `deadline`. If events could not be written to standard
  /// output, which is an error (lost logs for people are not), returns a line about it; else "".
  [[nodiscard]] std::string finish(Instant deadline);

 private:
  Log* log_;
  bool told_error_ = false;  ///< A write error was reported: once for as long as it lasts.
  Verbosity verbosity_;
  bool json_;
  std::string schema_;
};

}  // namespace duolu::apps
