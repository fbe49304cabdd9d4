// What `duolu serve` tells while it runs: lines for people on standard error, or, with --json, one
// JSON object a line on standard output. Peers' bytes come out escaped in both.
#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "apps/log.hpp"

namespace duolu::apps {

/// Writes a line to stdout or stderr, as Log::write(): never blocks, and drops what a reader who
/// stalls does not take. An error (EPIPE, ENOSPC) is ignored: there is nobody to tell.
void write_line(std::FILE* stream, std::string line);
/// The same of what is no whole line.
void write_text(std::FILE* stream, std::string_view text);

enum class Verbosity : unsigned char { quiet, normal, verbose };

class Journal {
 public:
  Journal(Verbosity verbosity, bool json, std::string schema);

  /// Whether an entry of that importance is wanted: ask before composing one for every message.
  [[nodiscard]] bool wants(Verbosity importance) const { return verbosity_ >= importance; }

  /// One entry. `text` is the line for people; `fields` the same as data, under its event's name.
  void say(Verbosity importance, std::string_view event, const std::string& text,
           const nlohmann::ordered_json& fields = nlohmann::ordered_json::object());

  /// Whether entries wait for a reader who is slow: call flush() until it says that none does.
  [[nodiscard]] bool behind() const { return log_->behind(); }
  bool flush() { return log_->flush(); }
  /// At the end: gives the reader until `deadline`. Events that could not be written to standard
  /// output are an error of the program (logs for people are not): a line that says so; else empty.
  [[nodiscard]] std::string finish(Instant deadline);

 private:
  Log* log_;
  bool told_error_ = false;  ///< Of writing; an error that lasts is told once.
  Verbosity verbosity_;
  bool json_;
  std::string schema_;
};

}  // namespace duolu::apps
