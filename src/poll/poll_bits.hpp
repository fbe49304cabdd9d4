// Private. poll(2)'s bits for Interest and Ready: the same values on every system we know.
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
#ifdef POLLRDHUP  // Linux only; elsewhere only a read that returns 0 shows the end
  if (any(interest, Interest::readable)) events |= POLLRDHUP;
#endif
  return static_cast<short>(events);
}

}  // namespace duolu
