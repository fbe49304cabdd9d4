// What every backend shares: the table of registrations and the course of one wait.
//
// Invariants:
//   1. by_fd_[fd] == i  <=>  slots_[i] is the live registration of that number.
//   2. A slot's `unusual` has every bit except those that accepted() allows and that do not mean an
//      end; all bits while the slot is free, paused or dead. Batch checks it and the token only.
//   3. A token is (generation << 32 | slot). A free slot has the next generation but no index, and
//      token 0 names slot 0, which is never used: a batch skips events of both.
//   4. Kernel state changes in attach, detach and, for every modify, once in apply_changes: changes
//      that cancel out between two waits never reach the kernel.
//   5. add allocates all the memory that a registration will ever need, so that no other call can
//      run out of it half way.

#include "duolu/poll/poller.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <utility>

#include "duolu/base/check.hpp"
#include "duolu/kernel/time_left.hpp"

namespace duolu {
namespace {

static_assert(sizeof(detail::Slot) == 32);  // an index becomes an address by a shift

constexpr auto invalid_bit = static_cast<std::uint32_t>(Ready::invalid);
constexpr std::uint32_t all_terminal =
    static_cast<std::uint32_t>(Ready::error | Ready::hangup | Ready::invalid);
constexpr auto both = static_cast<std::uint32_t>(Ready::readable | Ready::writable);
constexpr std::uint32_t directions = both | static_cast<std::uint32_t>(Ready::priority);

/// A harvest that does not block is rarely interrupted, and this often only by injected faults.
constexpr std::size_t most_interrupts = 16;

bool valid(Interest interest, Trigger trigger) noexcept {
  constexpr Interest all = Interest::readable | Interest::priority | Interest::writable;
  return (interest - all) == Interest::none && trigger <= Trigger::oneshot;
}

/// What may be reported for each interest (P5, P6).
constexpr std::array<std::uint32_t, 8> accepted_for = [] {
  std::array<std::uint32_t, 8> bits{};
  for (std::uint32_t interest = 1; interest < bits.size(); ++interest) {
    bits[interest] = interest | all_terminal;
    if ((interest & static_cast<std::uint32_t>(Ready::readable)) != 0)
      bits[interest] |= static_cast<std::uint32_t>(Ready::read_closed);
  }
  return bits;
}();

/// What may be reported of a registration.
std::uint32_t accepted(const detail::Slot& slot) noexcept {
  const std::uint32_t bits = accepted_for[static_cast<std::uint8_t>(slot.interest)];
  // Only this one report: the kernel may keep reporting the file while a dup of it lives.
  return slot.dead ? bits & invalid_bit : bits;
}

/// Whether an event of a live registration has a direction that the kernel was not asked for: then
/// it comes from another registration in the kernel with the same token.
bool is_foreign(const detail::Slot& slot, std::uint32_t ready) noexcept {
  return (ready & ~accepted(slot) & directions) != 0;
}

/// The bits without which an event of a live registration is reported as it is.
std::uint32_t unusual_for(Interest interest) noexcept {
  return ~accepted_for[static_cast<std::uint8_t>(interest)] | all_terminal;
}

}  // namespace

void detail::SlotList::reserve(std::size_t capacity) {
  if (capacity <= capacity_) return;
  auto larger = std::make_unique_for_overwrite<std::uint32_t[]>(capacity);
  std::copy(begin(), end(), larger.get());
  numbers_ = std::move(larger);
  capacity_ = capacity;
}

Poller::Poller(Kernel& kernel, PollerOptions options, bool emulates_edge)
    : kernel_(kernel),
      emulates_edge_(emulates_edge),
      return_on_signal_(options.return_on_signal),
      raw_(options.batch + 1),
      waker_(kernel) {}

// --- registrations

std::uint32_t Poller::find(int fd) const noexcept {
  const auto number = static_cast<std::size_t>(fd);
  return number < by_fd_.size() ? by_fd_[number] : 0;
}

detail::Slot* Poller::lookup(Token token) noexcept {
  const std::uint32_t index = slot_of(token);
  if (index >= slots_.size() || token_of(index) != token) return nullptr;
  return &slots_[index];
}

Result<> Poller::reserve_for(int fd) {
  const auto number = static_cast<std::size_t>(fd);
  if (number >= by_fd_.size()) {
    // A number that is not open must not take memory for all numbers below it.
    if (const int flags = kernel_.fcntl(fd, F_GETFD, 0); flags < 0) return fail(-flags);
    by_fd_.resize(std::max(number + 1, by_fd_.size() * 2));
  }
  if (free_ == 0 && slots_.size() == slots_.capacity()) slots_.reserve(slots_.size() * 2);
  changes_.reserve(slots_.capacity());
  invalid_.reserve(slots_.capacity());
  return {};
}

std::uint32_t Poller::take_slot() noexcept {
  std::uint32_t index = free_;
  if (index != 0) {
    free_ = static_cast<std::uint32_t>(slots_[index].data);
  } else {
    index = slot_count();
    slots_.emplace_back();
  }
  slots_[index].token ^= Slot::nobody ^ index;
  return index;
}

void Poller::free_slot(std::uint32_t index) noexcept {
  Slot& old = slots_[index];
  const std::uint64_t next = (old.token >> 32U) + 1;
  const bool changed = old.changed;
  const bool listed = old.listed;
  old = Slot{};
  if (next <= UINT32_MAX) old.token = next << 32U | Slot::nobody;
  // Its entries in changes_ and invalid_ stay, for the slot's next registration: both lists may be
  // long, and are not searched.
  old.changed = changed;
  old.listed = listed;
  old.data = free_;
  free_ = index;
}

Result<Token> Poller::add(int fd, Interest interest, Trigger trigger, std::uint64_t data) {
  check_process();
  if (!valid(interest, trigger)) return fail(EINVAL);
  if (fd < 0) return fail(EBADF);
  if (waker_.owns(fd) || owns(fd)) return fail(EINVAL);
  const std::uint32_t twin = find(fd);
  // A twin that was found closed is no duplicate, whatever file has its number now.
  const bool twin_lives = twin != 0 && !slots_[twin].dead;
  std::uint32_t index = 0;
  Result<> attached;
  try {
    if (Result<> reserved = reserve_for(fd); !reserved) return fail(reserved.error());
    index = take_slot();
    Slot& fresh = slots_[index];
    fresh.fd = fd;
    fresh.data = data;
    fresh.interest = interest;
    fresh.trigger = trigger;
    fresh.unusual = unusual_for(interest);
    attached = attach(index, twin_lives ? twin : 0);
  } catch (const std::bad_alloc&) {
    attached = fail(ENOMEM);
  }
  if (!attached) {
    if (index != 0) free_slot(index);
    return fail(attached.error());
  }
  if (twin != 0) {  // closed without remove, and its number reused: the old token is dead (P4)
    detach(twin, true);
    free_slot(twin);
    --size_;
  }
  by_fd_[static_cast<std::size_t>(fd)] = index;
  ++size_;
  return token_of(index);
}

inline void Poller::change(Slot& slot) noexcept {
  if (slot.changed) return;
  slot.changed = true;
  changes_.push(static_cast<std::uint32_t>(slot.token));
}

inline Result<> Poller::alter(Slot* known, Interest interest, Trigger trigger) {
  if (!valid(interest, trigger)) return fail(EINVAL);
  if (known == nullptr) return fail(ENOENT);
  if (known->dead) return fail(EBADF);
  Slot& s = *known;
  s.fired = false;
  if (trigger == Trigger::level) {
    s.pending = Interest::none;
  } else {
    // Which directions are to be reported again if they are ready (P22, P24).
    const Interest again =
        trigger == Trigger::oneshot || trigger != s.trigger || interest == s.interest
            ? interest
            : interest - s.interest;
    s.pending = (emulates_edge_ ? s.pending - again : s.pending | again) & interest;
  }
  s.interest = interest;
  s.trigger = trigger;
  s.unusual = unusual_for(interest);
  change(s);
  return {};
}

Result<> Poller::modify(Token token, Interest interest) {
  Slot* known = lookup(token);
  return alter(known, interest, known != nullptr ? known->trigger : Trigger::level);
}

Result<> Poller::modify(Token token, Interest interest, Trigger trigger) {
  return alter(lookup(token), interest, trigger);
}

Result<> Poller::set_data(Token token, std::uint64_t data) {
  Slot* known = lookup(token);
  if (known == nullptr) return fail(ENOENT);
  known->data = data;
  return {};
}

Result<> Poller::remove(Token token) {
  const Slot* known = lookup(token);
  if (known == nullptr) return fail(ENOENT);
  const std::uint32_t index = slot_of(token);
  // In a forked child the kernel's registrations are the parent's, which still uses them (P37).
  detach(index, forks_ != fork_count());
  by_fd_[static_cast<std::size_t>(known->fd)] = 0;
  free_slot(index);
  --size_;
  return {};
}

void Poller::drained_emulated(Token token, Interest drained) noexcept {
  Slot* known = lookup(token);
  if (known == nullptr || known->trigger != Trigger::edge) return;
  if (!any(known->pending, drained)) return;
  known->pending = known->pending - drained;
  change(*known);
}

// --- changes

void Poller::apply_changes() noexcept {
  for (const std::uint32_t index : changes_) {
    Slot& s = slots_[index];
    s.changed = false;
    // A rebuild registers all of them.
    if (s.fd >= 0 && !s.dead && !needs_rebuild_) update(index);
  }
  changes_.clear();
}

Interest Poller::wanted(const Slot& slot, bool emulates_edge) noexcept {
  if (slot.dead || slot.fired) return Interest::none;
  if (emulates_edge && slot.trigger == Trigger::edge) return slot.interest - slot.pending;
  return slot.interest;
}

void Poller::report(std::uint32_t index, std::uint32_t ready, RawEvent& out) noexcept {
  Slot& s = slots_[index];
  out = {ready, static_cast<std::uint64_t>(token_of(index))};
  if (s.trigger == Trigger::oneshot) s.fired = true;
  if (s.trigger == Trigger::edge) {
    // An end is reported in every direction that is wanted, so all of them go silent.
    const auto told = (ready & all_terminal) != 0 ? s.interest : static_cast<Interest>(ready & 7U);
    s.pending = (s.pending | told) & s.interest;
  }
  if (s.trigger != Trigger::level) update(index);
}

void Poller::invalidate(std::uint32_t index) noexcept {
  Slot& s = slots_[index];
  if (s.dead) return;
  s.dead = true;
  s.unusual = ~0U;
  if (s.listed) return;
  s.listed = true;
  invalid_.push_back(index);
}

std::size_t Poller::report_invalid(std::size_t count) noexcept {
  while (!invalid_.empty() && count < raw_.size() - 1) {
    const std::uint32_t index = invalid_.back();
    invalid_.pop_back();
    slots_[index].listed = false;
    if (!slots_[index].dead) continue;  // freed since
    raw_[count++] = {invalid_bit, static_cast<std::uint64_t>(token_of(index))};
  }
  return count;
}

// --- waiting

Result<> Poller::renew() {
  needs_rebuild_ = true;
  Result<> rebuilt = rebuild();
  needs_rebuild_ = !rebuilt;
  return rebuilt;
}

Poller::Sight Poller::look(std::size_t count) noexcept {
  Sight sight;
  for (std::size_t i = 0; i < count && (suspect_ || !sight.live); ++i) {
    const std::uint64_t token = raw_[i].token;
    const std::uint32_t ready = raw_[i].ready;
    const Slot& s = slots_[static_cast<std::uint32_t>(token)];
    if (s.token != token) {
      sight.stale = sight.stale || token != 0;
      continue;
    }
    if ((ready & s.unusual) == 0) [[likely]] {
      sight.live = sight.live || ready != 0;
      continue;
    }
    if ((ready & accepted(s)) != 0)
      sight.live = true;
    else
      sight.stale = sight.stale || (s.dead && (ready & invalid_bit) == 0);
    sight.stale = sight.stale || (!s.dead && is_foreign(s, ready));
  }
  suspect_ = false;
  return sight;
}

std::size_t Poller::keep_live(std::size_t count) noexcept {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const Slot& s = slots_[static_cast<std::uint32_t>(raw_[i].token)];
    if (s.token == raw_[i].token && (raw_[i].ready & accepted(s)) != 0) raw_[kept++] = raw_[i];
  }
  return kept;
}

std::uint32_t Poller::second_look(const RawEvent& raw) noexcept {
  const Slot& s = slots_[static_cast<std::uint32_t>(raw.token)];
  if (s.token != raw.token) {
    if (raw.token != 0) suspect_ = true;
    return 0;
  }
  std::uint32_t ready = raw.ready & accepted(s);
  if ((ready == 0 && s.dead) || is_foreign(s, raw.ready)) suspect_ = true;
  // P6: an end is reported in all wanted directions: the next read or write returns it.
  if ((ready & all_terminal) != 0) ready |= static_cast<std::uint32_t>(s.interest) & both;
  return ready;
}

void Poller::check_process() const noexcept {
  if (forks_ != fork_count()) [[unlikely]]
    check_failed("a Poller is used in a forked child, and has to be made anew there (P37)");
}

Result<Poller::Batch> Poller::wait(Instant deadline) {
  check_process();
  apply_changes();
  const std::span<RawEvent> all = raw_;
  std::size_t in_vain = 0;
  bool renewed_in_vain = false;
  for (;;) {
    if (needs_rebuild_)
      if (Result<> renewed = renew(); !renewed) return fail(renewed.error());
    timespec storage;
    const timespec* timeout = nullptr;
    const bool passed = time_left(kernel_, deadline, storage, timeout);
    const std::size_t invalid = report_invalid(0);
    if (invalid != 0) {
      storage = {};
      timeout = &storage;
    }
    // The last place of the array is reserved for the wake-up.
    const int found = invalid < all.size() - 1 ? harvest(all.subspan(invalid), timeout) : 0;
    if (found < 0 && found != -EINTR && invalid == 0) return fail(-found);
    std::size_t count = invalid + static_cast<std::size_t>(found > 0 ? found : 0);
    // The harvest itself may have found closed descriptors. If it found nothing else, select did
    // not get to look at the others: the next iteration does, and reports all (P7, P33).
    if (found > 0) count = report_invalid(count);
    if (found <= 0 && invalid == 0 && !invalid_.empty()) continue;
    const Sight sight = look(count);
    if (sight.stale) {  // no handler has run since: the kernel holds removed registrations (P4)
      const Result<> renewed = renew();
      // If there is something to report, the next wait tries again: it may not be found twice.
      if (!renewed && !sight.live && !waker_.pending()) return fail(renewed.error());
      // A new set notices closed descriptors: they are reported in the places of stale events.
      if (sight.live) count = report_invalid(keep_live(count));
    }
    const bool woken = waker_.take();
    if (sight.live || woken) return Batch(this, count, woken);
    if (found == -EINTR && return_on_signal_) return fail(EINTR);
    // Events that are not reported (paused, removed) have left the kernel's list by now; another
    // harvest finds the events behind them. Each registration causes this once, besides
    // interruptions. If it happens more often, the kernel holds a registration that no slot has,
    // and a new set may not have it. Whatever the kernel does then, the deadline counts (P31).
    if (found != 0 || invalid != 0 || !invalid_.empty()) {
      if (++in_vain <= 2 * size_ + most_interrupts) continue;
      if (found > 0 && !renewed_in_vain) {
        renewed_in_vain = needs_rebuild_ = true;
        in_vain = 0;
        continue;
      }
    }
    if (passed || kernel_.now() >= deadline) return Batch(this, 0, false);
  }
}

}  // namespace duolu
