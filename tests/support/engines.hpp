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
#include <thread>
#include <utility>
#include <vector>

#include "duolu/engine/engines.hpp"
#include "duolu/kernel/ring.hpp"
#include "support/late_engine.hpp"
#include "support/param_name.hpp"

namespace duolu::test {

struct EngineCell {
  const EngineKind* kind = nullptr;
  std::optional<Trigger> trigger{};  ///< Of a readiness engine; none: its own choice.
  bool late = false;                 ///< A LateEngine over it.
  std::uint32_t ring_without = 0;    ///< Of a ring: EngineOptions::ring_without.
  std::string_view without_name{};   ///< What that is.
  bool scripted = false;             ///< On a ScriptedRing, which EngineFixture makes.

  [[nodiscard]] std::string name() const {
    std::string name = param_name(kind->name);
    if (trigger) name.append("_").append(to_string(*trigger));
    if (late) name += "_late";
    if (ring_without != 0) name.append("_without_").append(param_name(without_name));
    if (scripted) name += "_scripted";
    return name;
  }
  [[nodiscard]] Result<std::unique_ptr<Engine>> make(Kernel& kernel,
                                                     EngineOptions options = {}) const {
    options.trigger = trigger;
    options.ring_without |= ring_without;
    Result<std::unique_ptr<Engine>> made = kind->make(kernel, options);
    if (made && late) return std::make_unique<LateEngine>(*std::move(made));
    return made;
  }
};

inline void PrintTo(const EngineCell& cell, std::ostream* out) { *out << cell.name(); }

/// The rows of the table that work here.
inline std::vector<EngineCell> engine_rows() {
  // In a thread that ends: some time after a ring was closed, the kernel interrupts a blocking call
  // of the thread that made it (io_ring_exit_work), with EINTR and without a signal.
  static const std::vector<EngineCell> working = [] {
    std::vector<EngineCell> cells;
    std::thread([&cells] {
      for (const EngineKind& kind : engines())
        if (kind.probe(real_kernel()).works()) cells.push_back({.kind = &kind});
    }).join();
    return cells;
  }();
  return working;
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
/// Engines over io_uring, each without one of the features that it can do without, and without all
/// of them: as on the kernels that lack them.
inline std::vector<EngineCell> older_rings() {
  std::vector<EngineCell> cells;
  for (const EngineCell& row : engine_rows()) {
    if (row.kind->poller != nullptr) continue;
    std::uint32_t all = 0;
    for (const ring::FeatureName& each : ring::feature_names()) {
      all |= each.feature;
      EngineCell cell = row;
      cell.without_name = each.name;
      cell.ring_without = each.feature;
      // Used only where the other one is not.
      if (each.feature == ring::coop_taskrun) cell.ring_without |= ring::defer_taskrun;
      cells.push_back(cell);
    }
    EngineCell oldest = row;
    oldest.without_name = "any";
    oldest.ring_without = all;
    cells.push_back(oldest);
  }
  return cells;
}
/// every_engine(), and the readiness engines with the other triggers.
inline std::vector<EngineCell> every_engine_and_trigger() {
  std::vector<EngineCell> cells = every_engine();
  for (const EngineCell& cell : readiness_engines())
    if (cell.trigger) cells.push_back(cell);
  return cells;
}

/// Engines over io_uring, on rings in plain memory.
inline std::vector<EngineCell> scripted_rings() {
  std::vector<EngineCell> cells;
  for (const EngineKind& kind : engines())
    if (kind.poller == nullptr) cells.push_back({.kind = &kind, .scripted = true});
  return cells;
}

/// All of these.
inline std::vector<EngineCell> every_engine_trigger_and_ring() {
  std::vector<EngineCell> cells = every_engine_and_trigger();
  for (const EngineCell& cell : older_rings()) cells.push_back(cell);
  for (const EngineCell& cell : scripted_rings()) cells.push_back(cell);
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
#define DUOLU_EVERY_ENGINE_TRIGGER_AND_RING(suite) \
  DUOLU_IN_CELLS(suite, duolu::test::every_engine_trigger_and_ring())
#define DUOLU_EVERY_READINESS_ENGINE(suite) DUOLU_IN_CELLS(suite, duolu::test::readiness_engines())
