// The report of `duolu lab`: as text, at most 80 columns wide, and as JSON, which
// docs/schema/duolu.lab-1.json describes. docs/lab.md explains both.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "apps/lab_models.hpp"
#include "apps/machine.hpp"
#include "duolu/lab/measure.hpp"
#include "duolu/lab/results.hpp"

namespace duolu::apps {

/// A measurement: how it was made, and its results.
struct LabRun {
  struct Model {
    std::string name;
    std::string kind;
    std::string summary;
    std::string missing;  ///< Why it does not work here; empty if it does.
  };

  std::vector<std::string> command;  ///< The command that repeats it, word by word.
  std::string pace;                  ///< "quick" or "default".
  std::vector<Model> models;         ///< The chosen ones.
  std::vector<MachineFact> machine;
  lab::Plan plan;
  std::vector<std::string> notes;  ///< What was left out or is different here, a sentence each.
  lab::Results results;
};

[[nodiscard]] std::string to_text(const LabRun& run);
[[nodiscard]] std::string to_json(const LabRun& run);

/// The progress, in one line of less than `columns`.
[[nodiscard]] std::string to_line(const lab::LabProgress& progress, std::size_t columns);

/// A bar of `width` columns for 1; shares are rounded, and more than nothing is at least one mark.
[[nodiscard]] std::string bar(double share, std::size_t width);

}  // namespace duolu::apps
