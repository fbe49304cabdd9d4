// The cells that tests of engines, and of all that is above them, run in: the table of engines,
// each made through its row; the readiness engine with the triggers that it would not choose
// itself; and an engine that is as late as it may be.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "duolu/engine/engines.hpp"
#include "support/late_engine.hpp"

namespace duolu::test {

struct EngineCell {
  const EngineKind* kind = nullptr;
  std::optional<Trigger> trigger{};  ///< Of a readiness engine; none: its own choice.
  bool late = false;                 ///< A LateEngine over it.

  [[nodiscard]] std::string name() const {
    std::string name(kind->name);
    if (trigger) name.append("_").append(to_string(*trigger));
    if (late) name += "_late";
    return name;
  }
  [[nodiscard]] Result<std::unique_ptr<Engine>> make(Kernel& kernel,
                                                     EngineOptions options = {}) const {
    options.trigger = trigger;
    Result<std::unique_ptr<Engine>> made = kind->make(kernel, options);
    if (made && late) return std::make_unique<LateEngine>(*std::move(made));
    return made;
  }
};

inline void PrintTo(const EngineCell& cell, std::ostream* out) { *out << cell.name(); }

/// The rows of the table. What they promise beyond the clauses of Engine, such as that a request
/// ends at once when it can, is tested on these.
inline std::vector<EngineCell> engine_rows() {
  std::vector<EngineCell> cells;
  for (const EngineKind& kind : engines()) cells.push_back({.kind = &kind});
  return cells;
}
/// The readiness engines with every trigger, those of the table included.
inline std::vector<EngineCell> readiness_engines() {
  std::vector<EngineCell> cells;
  for (const EngineCell& row : engine_rows()) {
    if (row.kind->poller == nullptr) continue;
    cells.push_back(row);
    const Trigger own = row.kind->poller->traits.native_edge ? Trigger::edge : Trigger::level;
    for (const Trigger trigger : {Trigger::level, Trigger::edge, Trigger::oneshot})
      if (trigger != own) cells.push_back({.kind = row.kind, .trigger = trigger});
  }
  return cells;
}
/// For what holds for any engine: the rows and a late engine, over the best one.
inline std::vector<EngineCell> every_engine() {
  std::vector<EngineCell> cells = engine_rows();
  cells.push_back({.kind = cells.front().kind, .late = true});
  return cells;
}
/// The same, and the readiness engines with the other triggers.
inline std::vector<EngineCell> every_engine_and_trigger() {
  std::vector<EngineCell> cells = every_engine();
  for (const EngineCell& cell : readiness_engines())
    if (cell.trigger) cells.push_back(cell);
  return cells;
}

}  // namespace duolu::test

#define DUOLU_IN_CELLS(suite, cells)                          \
  INSTANTIATE_TEST_SUITE_P(, suite, testing::ValuesIn(cells), \
                           [](const auto& cell) { return cell.param.name(); })
/// Runs the TEST_Ps of `suite` in the cells of the function of that name.
#define DUOLU_EVERY_ENGINE(suite) DUOLU_IN_CELLS(suite, duolu::test::every_engine())
#define DUOLU_EVERY_ENGINE_AND_TRIGGER(suite) \
  DUOLU_IN_CELLS(suite, duolu::test::every_engine_and_trigger())
#define DUOLU_EVERY_ENGINE_ROW(suite) DUOLU_IN_CELLS(suite, duolu::test::engine_rows())
#define DUOLU_EVERY_READINESS_ENGINE(suite) DUOLU_IN_CELLS(suite, duolu::test::readiness_engines())
