// Public. Layer: engine. How an engine is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "duolu/poll/event.hpp"

namespace duolu {

/// How an engine is made.
struct EngineOptions {
  /// How many requests may end at once between two waits (EN6). Not negative.
  int budget = 256;
  /// Bytes of a lent buffer, at least 1. A message that fills it costs one more system call, to see
  /// whether there is more: so choose it larger than most messages.
  std::size_t buffer_size = std::size_t{32} * 1024;
  /// Most buffers lent at a time (EN9). Each is allocated when it is first needed.
  std::size_t buffers = 256;
  /// How an engine over a Poller registers descriptors. Empty: cheapest_trigger(). It changes the
  /// costs and not the results, with one exception: an error that stays, since no read removes it,
  /// such as a socket's error queue (IP_RECVERR), keeps wait() from sleeping while a request reads
  /// there, except with the edges of epoll.
  std::optional<Trigger> trigger{};
  /// What an engine over io_uring does without although the kernel has it: bits of ring::Feature
  /// (kernel/ring.hpp). It changes the costs and not the results.
  std::uint32_t ring_without = 0;
};

}  // namespace duolu
