// The C face of the Poller: words translated, nothing decided.
//
// Every function is noexcept, so that an exception that slipped past would end the process here
// and not unwind through frames that know nothing of C++.

#include "duolu/poll/poller.h"

#include <cerrno>
#include <chrono>
#include <memory>
#include <new>
#include <string_view>

#include "duolu/base/check.hpp"
#include "duolu/poll/backends.hpp"

using duolu::Interest;
using duolu::Ready;
using duolu::Token;
using duolu::Trigger;

static_assert(DUOLU_READABLE == static_cast<std::uint32_t>(Interest::readable));
static_assert(DUOLU_PRIORITY == static_cast<std::uint32_t>(Interest::priority));
static_assert(DUOLU_WRITABLE == static_cast<std::uint32_t>(Interest::writable));
static_assert(DUOLU_READABLE == static_cast<std::uint32_t>(Ready::readable));
static_assert(DUOLU_PRIORITY == static_cast<std::uint32_t>(Ready::priority));
static_assert(DUOLU_WRITABLE == static_cast<std::uint32_t>(Ready::writable));
static_assert(DUOLU_ERROR == static_cast<std::uint32_t>(Ready::error));
static_assert(DUOLU_HANGUP == static_cast<std::uint32_t>(Ready::hangup));
static_assert(DUOLU_INVALID == static_cast<std::uint32_t>(Ready::invalid));
static_assert(DUOLU_READ_CLOSED == static_cast<std::uint32_t>(Ready::read_closed));
static_assert(DUOLU_LEVEL == static_cast<std::uint32_t>(Trigger::level));
static_assert(DUOLU_EDGE == static_cast<std::uint32_t>(Trigger::edge));
static_assert(DUOLU_ONESHOT == static_cast<std::uint32_t>(Trigger::oneshot));
static_assert(DUOLU_BATCH_MAX == duolu::PollerOptions::max_batch);

struct duolu_poller {
  std::unique_ptr<duolu::Poller> poller;
  std::size_t batch;
};

namespace {

constexpr std::uint32_t all_directions = DUOLU_READABLE | DUOLU_PRIORITY | DUOLU_WRITABLE;

/// The C++ types are narrower than the C ones: what they cannot hold is checked here, what they
/// can is left to the Poller.
bool fits(std::uint32_t interest, std::uint32_t trigger) noexcept {
  return (interest & ~all_directions) == 0 && trigger <= DUOLU_ONESHOT;
}

/// A Result as 0 or a negative errno value. All errors of a Poller are errno values (result.hpp).
template <class T>
int code(const duolu::Result<T>& result) noexcept {
  return result ? 0 : -result.error().value();
}

/// Runs `work`, which returns 0, a count or a negative errno value.
template <class Work>
int guarded(Work work) noexcept {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  }
}

duolu::Poller& cpp(const duolu_poller* poller) noexcept {
  DUOLU_CHECK(poller != nullptr);
  return *poller->poller;
}

}  // namespace

// The names are those of string literals in backends.def, so data() ends with a zero.

const char* duolu_backend_name(size_t index) {
  return index < duolu::backends().size() ? duolu::backends()[index].name.data() : nullptr;
}

const char* duolu_poller_backend_name(const duolu_poller* poller) {
  return cpp(poller).name().data();
}

int duolu_poller_new(const char* backend, size_t batch, uint32_t options, duolu_poller** made) {
  if (made == nullptr) return -EINVAL;
  *made = nullptr;
  if (batch == 0 || batch > DUOLU_BATCH_MAX) return -EINVAL;
  if ((options & ~DUOLU_RETURN_ON_SIGNAL) != 0) return -EINVAL;
  return guarded([&] {
    auto wrapper = std::make_unique<duolu_poller>(nullptr, batch);
    auto poller = duolu::make_poller(
        duolu::real_kernel(), backend != nullptr ? backend : "auto",
        {.batch = batch, .return_on_signal = (options & DUOLU_RETURN_ON_SIGNAL) != 0});
    if (!poller) return code(poller);
    wrapper->poller = std::move(*poller);
    *made = wrapper.release();
    return 0;
  });
}

void duolu_poller_free(duolu_poller* poller) { delete poller; }

int duolu_poller_fd(const duolu_poller* poller) { return cpp(poller).fd(); }

int duolu_poller_add(duolu_poller* poller, int fd, uint32_t interest, uint32_t trigger,
                     uint64_t data, uint64_t* token) {
  duolu::Poller& p = cpp(poller);
  if (!fits(interest, trigger)) return -EINVAL;
  return guarded([&] {
    const duolu::Result<Token> added =
        p.add(fd, static_cast<Interest>(interest), static_cast<Trigger>(trigger), data);
    if (added && token != nullptr) *token = static_cast<uint64_t>(*added);
    return code(added);
  });
}

int duolu_poller_modify(duolu_poller* poller, uint64_t token, uint32_t interest, uint32_t trigger) {
  duolu::Poller& p = cpp(poller);
  if (!fits(interest, trigger)) return -EINVAL;
  return guarded([&] {
    return code(
        p.modify(Token{token}, static_cast<Interest>(interest), static_cast<Trigger>(trigger)));
  });
}

int duolu_poller_set_data(duolu_poller* poller, uint64_t token, uint64_t data) {
  duolu::Poller& p = cpp(poller);
  return guarded([&] { return code(p.set_data(Token{token}, data)); });
}

int duolu_poller_remove(duolu_poller* poller, uint64_t token) {
  duolu::Poller& p = cpp(poller);
  return guarded([&] { return code(p.remove(Token{token})); });
}

void duolu_poller_drained(duolu_poller* poller, uint64_t token, uint32_t directions) {
  cpp(poller).drained(Token{token}, static_cast<Interest>(directions & all_directions));
}

int duolu_poller_wait(duolu_poller* poller, duolu_event* events, size_t capacity, int64_t timeout,
                      int* woken) {
  duolu::Poller& p = cpp(poller);
  if (woken != nullptr) *woken = 0;
  if (events == nullptr || capacity < poller->batch || timeout < DUOLU_FOREVER) return -EINVAL;
  return guarded([&] {
    const duolu::Instant deadline = timeout == DUOLU_FOREVER ? duolu::never
                                    : timeout == 0
                                        ? duolu::immediately
                                        : duolu::after(p.kernel().now(), duolu::Duration(timeout));
    const duolu::Result<duolu::Poller::Batch> batch = p.wait(deadline);
    if (!batch) return code(batch);
    std::size_t count = 0;
    for (const duolu::Event& event : *batch) {
      DUOLU_CHECK(count < capacity);
      events[count++] = {static_cast<uint64_t>(event.token), event.data,
                         static_cast<uint32_t>(event.ready)};
    }
    if (woken != nullptr) *woken = batch->woken() ? 1 : 0;
    return static_cast<int>(count);
  });
}

void duolu_poller_wake(duolu_poller* poller) { cpp(poller).wake(); }
