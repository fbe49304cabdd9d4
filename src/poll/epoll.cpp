// epoll: the kernel keeps the set, and the cost of a wait grows with what is ready.
//
// What the kernel does that shaped this file:
//   - A registration belongs to (number, open file description). Closing the number does not end it
//     while a dup or a forked child holds the description, and then no call can name it to delete
//     it. Its events carry a token of an earlier generation; rebuild() makes a new set. When the
//     same file gets the number again, EEXIST and MOD refer to the old registration. So from the
//     moment one may have been left behind (haunted_), the file of every new registration is
//     recorded, until there is a new set. A number that the old set does not know was closed: it is
//     not added to the new set, whatever file has the number now.
//   - Hang-up and error cannot be masked: ADD and MOD force both bits. Only a oneshot registration
//     that has fired is silent. So a paused slot is armed as oneshot without any direction: a
//     hang-up costs at most one wake-up, which wait() does not report, and then the kernel is
//     silent. The slot stays in the set, so EEXIST still tells a duplicate from a reused number.
//   - An edge-triggered eventfd reports every write, whether or not it was read. So a wake-up costs
//     its write, and no read here. A pipe fills up, so it is emptied.
//   - epoll_pwait2 takes nanoseconds and exists since Linux 5.11; without it, milliseconds are
//     rounded up. Seccomp filters older than the call fail it with EPERM, which it never returns.
//   - A caller that watches the set with its own epoll has registered an open file, not a number: a
//     new set under the old number (dup3) would be silent there for ever. So fd() returns another
//     set, with ours as its only member, which stays when ours is replaced. A set inside another
//     costs the kernel one more wake-up per event, so it is made only when fd() is called.

#include <sys/epoll.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <memory>
#include <utility>

#include "duolu/poll/backends.hpp"
#include "identity.hpp"

namespace duolu {
namespace {

static_assert(sizeof(detail::RawEvent) == sizeof(epoll_event));
static_assert(offsetof(detail::RawEvent, token) == offsetof(epoll_event, data));
static_assert(static_cast<std::uint32_t>(Ready::readable) == EPOLLIN);
static_assert(static_cast<std::uint32_t>(Ready::priority) == EPOLLPRI);
static_assert(static_cast<std::uint32_t>(Ready::writable) == EPOLLOUT);
static_assert(static_cast<std::uint32_t>(Ready::error) == EPOLLERR);
static_assert(static_cast<std::uint32_t>(Ready::hangup) == EPOLLHUP);
static_assert(static_cast<std::uint32_t>(Ready::read_closed) == EPOLLRDHUP);

/// The event bits to register for a slot.
std::uint32_t kernel_bits(const detail::Slot& slot) noexcept {
  if (slot.interest == Interest::none || slot.fired) return EPOLLONESHOT;
  std::uint32_t bits = static_cast<std::uint32_t>(slot.interest);
  if (any(slot.interest, Interest::readable)) bits |= EPOLLRDHUP;
  if (slot.trigger == Trigger::edge) bits |= EPOLLET;
  if (slot.trigger == Trigger::oneshot) bits |= EPOLLONESHOT;
  return bits;
}

int timeout_ms(const timespec* timeout) noexcept {
  if (timeout == nullptr) return -1;
  if (timeout->tv_sec >= INT_MAX / 1000) return INT_MAX;
  return static_cast<int>(timeout->tv_sec * 1000 + (timeout->tv_nsec + 999'999) / 1'000'000);
}

class EpollPoller final : public Poller {
 public:
  EpollPoller(Kernel& kernel, PollerOptions options) : Poller(kernel, options, false) {}

  Result<> open() {
    if (Result<> waker = open_waker(); !waker) return waker;
    wakes_by_pipe_ = has_wake_pipe();
    return open_set();
  }

  std::string_view name() const noexcept override { return "epoll"; }
  int fd() const noexcept override {
    if (!front_) open_front();
    return front_.get();
  }

 private:
  bool owns(int fd) const noexcept override { return fd == set_.get() || fd == front_.get(); }

  void open_front() const noexcept {
    Fd made(kernel(), kernel().epoll_create());
    if (made && show(made.get(), set_.get()) == 0) front_ = std::move(made);
  }
  /// Makes `front` readable whenever `set` is.
  int show(int front, int set) const noexcept {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = 0}};
    return kernel().epoll_ctl(front, EPOLL_CTL_ADD, set, &event);
  }
  void close_set() noexcept {
    // Explicitly: while a forked child keeps the set open, it would stay a member.
    if (front_ && set_) kernel().epoll_ctl(front_.get(), EPOLL_CTL_DEL, set_.get(), nullptr);
    set_.reset();
  }

  int control(int operation, std::uint32_t index) noexcept {
    Slot& s = slot(index);
    epoll_event event{.events = kernel_bits(s),
                      .data = {.u64 = static_cast<std::uint64_t>(token_of(index))}};
    s.backend = event.events;
    s.pending = Interest::none;
    has_oneshot_ = has_oneshot_ || s.trigger == Trigger::oneshot;
    return kernel().epoll_ctl(set_.get(), operation, s.fd, &event);
  }

  Result<> open_set() {
    int made = kernel().epoll_create();
    if (made == -EMFILE && set_) {  // rebuilding with every descriptor in use: close ours first
      close_set();
      made = kernel().epoll_create();
    }
    if (made < 0) return fail(-made);
    Fd fresh(kernel(), made);
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u64 = 0}};
    if (const int result = kernel().epoll_ctl(made, EPOLL_CTL_ADD, wake_fd(), &event); result < 0)
      return fail(-result);
    if (front_)
      if (const int result = show(front_.get(), made); result < 0) return fail(-result);
    close_set();
    set_ = std::move(fresh);
    return {};
  }

  Result<> attach(std::uint32_t index, std::uint32_t twin) override {
    if (!set_) return fail(EMFILE);  // a rebuild failed: the next wait tries again
    note_file(index, haunted_ || twin != 0);
    int result = control(EPOLL_CTL_ADD, index);
    // The kernel has this very file registered, but no slot does: it was removed after its number
    // was closed, while a dup lived, and now has the same number again. Take over its registration.
    if (result == -EEXIST && (twin == 0 || is_replaced(twin)))
      result = control(EPOLL_CTL_MOD, index);
    if (result < 0) return fail(-result);
    return {};
  }

  void note_file(std::uint32_t index, bool needed) {
    if (needed && index >= files_.size()) files_.resize(slot_count());
    if (index >= files_.size()) return;
    files_[index] =
        needed ? identify(kernel(), slot(index).fd).value_or(FileIdentity{}) : FileIdentity{};
  }
  /// Whether the number of a slot is known to have another file than when it was added.
  bool is_replaced(std::uint32_t index) noexcept {
    if (index >= files_.size() || files_[index] == FileIdentity{}) return false;
    const Result<FileIdentity> now = identify(kernel(), slot(index).fd);
    return now && *now != files_[index];
  }

  void update(std::uint32_t index) noexcept override {
    const Slot& s = slot(index);
    if (kernel_bits(s) != s.backend || s.pending != Interest::none) tell(index);
  }

  [[gnu::noinline]] void tell(std::uint32_t index) noexcept {
    const int result = control(EPOLL_CTL_MOD, index);
    if (result >= 0) return;
    const bool closed = is_closed(result);
    haunted_ = haunted_ || closed;
    // While a dup lives the kernel keeps reporting the old file, so a pause needs a new set; the
    // close is reported when the pause ends (P5). A change that the kernel has no memory for must
    // not be lost: a new set includes it, or the wait returns the error.
    if (closed && wanted(slot(index), false) != Interest::none)
      invalidate(index);
    else
      needs_rebuild();
  }
  /// Whether a MOD failed because the number is closed or has another file, also if that is one
  /// that cannot be watched (EPERM) or the set itself (EINVAL).
  static bool is_closed(int result) noexcept {
    return result == -EBADF || result == -ENOENT || result == -EPERM || result == -EINVAL;
  }

  void detach(std::uint32_t index, bool replaced) noexcept override {
    // Failure means that the descriptor was closed before: then the kernel has dropped it already,
    // or rebuild() will.
    if (replaced || kernel().epoll_ctl(set_.get(), EPOLL_CTL_DEL, slot(index).fd, nullptr) < 0)
      haunted_ = true;
  }

  int harvest(std::span<RawEvent> out, const timespec* timeout) noexcept override {
    const std::size_t room = out.size() - 1;
    int found = ask(out.first(room), timeout);
    if (found > 0 && (has_oneshot_ || wakes_by_pipe_))
      look_through(out.first(static_cast<std::size_t>(found)));
    if (found == static_cast<int>(room)) {  // full: a wake-up takes no event's place (P33)
      const bool woken = std::any_of(out.begin(), out.begin() + found,
                                     [](const RawEvent& raw) { return raw.token == 0; });
      const timespec zero{};
      if (woken && ask(out.last(1), &zero) == 1) {
        if (has_oneshot_ || wakes_by_pipe_) look_through(out.last(1));
        // The kernel may return a level that was just harvested: it gets no second entry.
        const auto same = std::find_if(out.begin(), out.end() - 1, [&](const RawEvent& raw) {
          return raw.token == out.back().token;
        });
        if (same != out.end() - 1)
          same->ready |= out.back().ready;
        else
          ++found;
      }
    }
    return found;
  }

  // [ask]
  int ask(std::span<RawEvent> out, const timespec* timeout) noexcept {
    auto* events = reinterpret_cast<epoll_event*>(out.data());
    const int room = static_cast<int>(out.size());
    if (has_pwait2_) {
      const int found = kernel().epoll_pwait2(set_.get(), events, room, timeout);
      if (found != -ENOSYS && found != -EPERM) return found;
      has_pwait2_ = false;
    }
    return kernel().epoll_wait(set_.get(), events, room, timeout_ms(timeout));
  }
  // [/ask]

  /// Records which oneshots the kernel has disarmed, and empties the wake-up pipe. A rebuild adds a
  /// fired oneshot without any direction, but its hang-up cannot be masked: it is not reported
  /// again (P25).
  void look_through(std::span<RawEvent> events) noexcept {
    for (RawEvent& raw : events) {
      const Token token{raw.token};
      if (raw.token == 0) {
        if (wakes_by_pipe_) drain_waker();
        continue;
      }
      Slot& s = slot(slot_of(token));
      if (token_of(slot_of(token)) != token || s.trigger != Trigger::oneshot) continue;
      if (s.fired) {
        // It asked the kernel for no direction, so an event with one is another registration's.
        if ((raw.ready & (EPOLLIN | EPOLLPRI | EPOLLOUT)) != 0) needs_rebuild();
        raw.ready = EPOLLONESHOT;  // a bit that no interest has
      }
      s.fired = true;
      s.backend = EPOLLONESHOT;
    }
  }

  Result<> rebuild() override {
    if (set_) find_closed();
    if (Result<> opened = open_set(); !opened) return opened;
    for (std::uint32_t index = 1; index < slot_count(); ++index) {
      const Slot& s = slot(index);
      if (s.fd < 0 || s.dead || s.backend == gone) continue;
      const int result = control(EPOLL_CTL_ADD, index);
      // It is open, but the kernel has no memory. In half a set, the other half would seem closed.
      if (result == -ENOMEM || result == -ENOSPC) {
        close_set();
        return fail(-result);
      }
      if (result < 0 && wanted(s, false) != Interest::none) invalidate(index);
    }
    haunted_ = false;
    files_.clear();
    return {};
  }

  /// Marks the slots whose number no longer has the file that the set holds under it.
  void find_closed() noexcept {
    for (std::uint32_t index = 1; index < slot_count(); ++index) {
      Slot& s = slot(index);
      if (s.fd < 0 || s.dead) continue;
      if (!is_replaced(index) && !is_closed(control(EPOLL_CTL_MOD, index))) continue;
      s.backend = gone;
      if (wanted(s, false) != Interest::none) invalidate(index);
    }
  }

  /// In a slot's `backend`: not in the set; the next change will find it closed.
  static constexpr std::uint32_t gone = ~0U;

  Fd set_;
  mutable Fd front_;  ///< What fd() returns; made at its first call.
  bool has_pwait2_ = true;
  bool has_oneshot_ = false;  ///< There was a oneshot registration: events are looked through.
  bool wakes_by_pipe_ = false;
  bool haunted_ = false;             ///< The kernel may hold a registration that no slot has.
  std::vector<FileIdentity> files_;  ///< By slot, if added while `haunted_`; else zero.
};

}  // namespace

Result<std::unique_ptr<Poller>> make_epoll_poller(Kernel& kernel, PollerOptions options) {
  auto poller = std::make_unique<EpollPoller>(kernel, options);
  if (Result<> opened = poller->open(); !opened) return fail(opened.error());
  return poller;
}

Probe probe_epoll_poller(Kernel& kernel) {
  const Result<std::unique_ptr<Poller>> made = make_epoll_poller(kernel, {.batch = 1});
  if (made) return {.reason = "epoll_create1 and epoll_ctl work"};
  Probe probe{.error = made.error(), .reason = "opening an epoll set: " + made.error().message()};
  if (made.error() == std::errc::function_not_supported ||
      made.error() == std::errc::operation_not_permitted)
    probe.advice = "a seccomp filter or an old kernel forbids it; use --backend poll";
  else
    probe.advice = "raise the descriptor limit (ulimit -n) or close some";
  return probe;
}

}  // namespace duolu
