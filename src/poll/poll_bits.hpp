// Private. poll(2)'s words for ours: on every system we know they have the same values.
#pragma once

#include <poll.h>

#include "duolu/poll/event.hpp"

namespace duolu {

static_assert(static_cast<int>(Ready::readable) == POLLIN);
static_assert(static_cast<int>(Ready::priority) == POLLPRI);
static_assert(static_cast<int>(Ready::writable) == POLLOUT);
static_assert(static_cast<int>(Ready::error) == POLLERR);
static_assert(static_cast<int>(Ready::hangup) == POLLHUP);
static_assert(static_cast<int>(Ready::invalid) == POLLNVAL);
#ifdef POLLRDHUP
static_assert(static_cast<int>(Ready::read_closed) == POLLRDHUP);
#endif

/// What to ask poll(2) for.
inline short poll_events(Interest interest) noexcept {
  int events = static_cast<int>(interest);
#ifdef POLLRDHUP  // Linux's; elsewhere an end of stream is told by a read that returns 0
  if (any(interest, Interest::readable)) events |= POLLRDHUP;
#endif
  return static_cast<short>(events);
}

}  // namespace duolu
