// Public. Layer: engine. The list of engines: which ones exist, which work here, how to make one.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "duolu/base/result.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/engine/options.hpp"
#include "duolu/poll/backends.hpp"

namespace duolu {

/// One engine of the list.
struct EngineKind {
  std::string_view name;     ///< As given to make_engine() and `--backend`.
  std::string_view summary;  ///< One line: its strength and its weakness.
  /// The poller that the readiness engine uses here; null for an engine of another kind.
  const Backend* poller = nullptr;
  // Of an engine of another kind: its own, called by the functions below.
  Probe (*native_probe)(Kernel& kernel) = nullptr;
  Result<std::unique_ptr<Engine>> (*native_make)(Kernel& kernel, EngineOptions options) = nullptr;

  /// Tries its system calls on `kernel`; leaves nothing open. A ring that it made may interrupt a
  /// later blocking call of this thread (kernel/ring.hpp).
  [[nodiscard]] Probe probe(Kernel& kernel) const {
    return poller != nullptr ? poller->probe(kernel) : native_probe(kernel);
  }
  /// A new engine, or why not. `kernel` outlives it.
  [[nodiscard]] Result<std::unique_ptr<Engine>> make(Kernel& kernel,
                                                     EngineOptions options = {}) const;
};

/// Every engine this build has, best first: one over each poller of backends(), under its name, and
/// those of src/engine/engines.def.
[[nodiscard]] std::span<const EngineKind> engines();

/// The engine of that name, or nullptr.
[[nodiscard]] const EngineKind* find_engine(std::string_view name);

/// The result of choose_engine().
struct EngineChoice {
  const EngineKind* kind = nullptr;  ///< Null: no engine has that name, or none works here.
  /// For people: which one and why, and why not the ones before it. If `kind` is null, what is
  /// wrong, and what would be accepted.
  std::string why;
};
/// The engine of that name, without a probe; for "auto" the first one that works on `kernel`.
[[nodiscard]] EngineChoice choose_engine(Kernel& kernel, std::string_view name = "auto");

/// A new engine by name; "auto" takes the first that works. `kernel` outlives it.
/// Errors: EINVAL if there is no engine of that name, ENOSYS if none works, otherwise the engine's
/// own error (EMFILE, ENOMEM ...).
[[nodiscard]] Result<std::unique_ptr<Engine>> make_engine(Kernel& kernel,
                                                          std::string_view name = "auto",
                                                          EngineOptions options = {});

}  // namespace duolu
