// The report of `duolu load`: as text, at most 80 columns wide, and as JSON, which
// docs/schema/duolu.load-1.json and duolu.load-error-1.json describe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "duolu/load/load.hpp"

namespace duolu::apps {

/// A run: how it was made, and its result.
struct Run {
  std::vector<std::string> command;  ///< The command that repeats it, word by word.
  LoadOptions options;
  std::string backend;
  LoadReport report;
};

[[nodiscard]] std::string to_text(const Run& run);
[[nodiscard]] std::string to_json(const Run& run);
/// The output of --json when there was no run: `error` is the line for people.
[[nodiscard]] std::string error_json(const std::vector<std::string>& command,
                                     std::string_view error, int exit_code);

/// The progress of a run, in one line of less than `columns`: items that do not fit are left out.
[[nodiscard]] std::string to_line(const LoadProgress& progress, std::size_t columns);

}  // namespace duolu::apps
