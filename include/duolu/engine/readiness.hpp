// Public. Layer: engine. The engine over a Poller of your own. make_engine() of engines.hpp makes
// one by name, with its poller.
#pragma once

#include <memory>

#include "duolu/engine/engine.hpp"
#include "duolu/engine/options.hpp"

namespace duolu {

class Poller;

/// Edge where the kernel has edge-triggered reports (epoll), level elsewhere.
[[nodiscard]] Trigger cheapest_trigger(const Poller& poller) noexcept;

/// An engine over any Poller, which has no other user from then on, and outlives the engine.
[[nodiscard]] std::unique_ptr<Engine> make_readiness_engine(Poller& poller,
                                                            EngineOptions options = {});
/// The same, and the engine owns the poller (not null).
[[nodiscard]] std::unique_ptr<Engine> make_readiness_engine(std::unique_ptr<Poller> poller,
                                                            EngineOptions options = {});

}  // namespace duolu
