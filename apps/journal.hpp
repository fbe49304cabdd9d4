// What `duolu serve` tells while it runs: lines for people on standard error, or, with --json, one
// JSON object a line on standard output. Peers' bytes come out escaped in both.
#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace duolu::apps {

/// Writes a line and does not care whether that worked: where nobody reads any more (EPIPE, ENOSPC)
/// there is nobody to tell.
void write_line(std::FILE* stream, std::string line);
/// The same of what is no whole line.
void write_text(std::FILE* stream, std::string_view text);

enum class Verbosity : unsigned char { quiet, normal, verbose };

class Journal {
 public:
  Journal(Verbosity verbosity, bool json, std::string schema)
      : verbosity_(verbosity), json_(json), schema_(std::move(schema)) {}

  /// Whether an entry of that importance is wanted: ask before composing one for every message.
  [[nodiscard]] bool wants(Verbosity importance) const { return verbosity_ >= importance; }

  /// One entry. `text` is the line for people; `fields` the same as data, under its event's name.
  void say(Verbosity importance, std::string_view event, const std::string& text,
           const nlohmann::ordered_json& fields = nlohmann::ordered_json::object());

 private:
  Verbosity verbosity_;
  bool json_;
  std::string schema_;
};

}  // namespace duolu::apps
