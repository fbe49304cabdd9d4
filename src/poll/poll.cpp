// poll(2): the set is an array of ours, passed whole in every wait.
//
// What the kernel does that shaped this file:
//   - Hang-up and error are reported whatever was asked for. So a slot that wants nothing (paused,
//     fired, silent until drained) keeps its place with a negative number, which the kernel skips.
//   - A closed descriptor is reported as POLLNVAL again in every call: it is reported once as
//     invalid, and then skipped.
//   - The result is a count; the ready entries have to be searched for. When more is ready than a
//     batch holds, entries take turns in the order of the array (P34). So the search begins where
//     the last one stopped, and a removal leaves a hole. Before an entry is added at the end, the
//     array is rotated to begin where the search does, so that the new entry comes after all
//     others. Both cost a wait no more than the kernel's own walk through the array.
//   - An array longer than RLIMIT_NOFILE fails with EINVAL. Then it is passed in parts; while none
//     is ready only the first is waited for, and events of the others are found 10 ms later (D7).

#include <poll.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "duolu/poll/backends.hpp"
#include "identity.hpp"
#include "poll_bits.hpp"

namespace duolu {
namespace {

constexpr long part_wait_ns = 10'000'000;

class PollPoller final : public Poller {
 public:
  PollPoller(Kernel& kernel, PollerOptions options) : Poller(kernel, options, true) {}

  Result<> open() {
    if (Result<> waker = open_waker(); !waker) return waker;
    fds_.push_back({.fd = wake_fd(), .events = POLLIN, .revents = 0});
    slots_of_.push_back(0);
    return {};
  }

  std::string_view name() const noexcept override { return "poll"; }

 private:
  Result<> attach(std::uint32_t index, std::uint32_t twin) override {
    const Result<FileIdentity> identity = identify_pollable(kernel(), slot(index).fd);
    if (!identity) return fail(identity.error());
    if (twin != 0 && identities_[twin] == *identity) return fail(EEXIST);
    identities_.resize(std::max<std::size_t>(identities_.size(), slot_count()));
    identities_[index] = *identity;
    fds_.reserve(identities_.capacity());
    slots_of_.reserve(identities_.capacity());
    turn();
    slot(index).backend = static_cast<std::uint32_t>(fds_.size());
    fds_.push_back({.fd = -1, .events = 0, .revents = 0});
    slots_of_.push_back(index);
    update(index);
    return {};
  }

  /// Changes what poll(2) is asked about the slot.
  void update(std::uint32_t index) noexcept override {
    const Slot& s = slot(index);
    const Interest want = wanted(s, true);
    fds_[s.backend].fd = want == Interest::none ? -1 : s.fd;
    fds_[s.backend].events = poll_events(want);
  }

  void detach(std::uint32_t index, bool) noexcept override {
    const std::uint32_t place = slot(index).backend;
    fds_[place] = {.fd = -1, .events = 0, .revents = 0};
    slots_of_[place] = 0;
    if (++holes_ > fds_.size() / 2) close_holes();
  }

  /// Rotates the array to begin, after the wake-up descriptor, where the next search does.
  void turn() noexcept {
    if (next_ < fds_.size() && next_ > 1) {
      const auto by = static_cast<std::ptrdiff_t>(next_);
      std::rotate(fds_.begin() + 1, fds_.begin() + by, fds_.end());
      std::rotate(slots_of_.begin() + 1, slots_of_.begin() + by, slots_of_.end());
      for (std::uint32_t place = 1; place < fds_.size(); ++place) note_place(place);
    }
    next_ = 1;
  }
  void close_holes() noexcept {
    std::uint32_t end = 1;
    std::size_t next = 1;
    for (std::size_t place = 1; place < fds_.size(); ++place) {
      if (place == next_) next = end;
      if (slots_of_[place] == 0) continue;
      fds_[end] = fds_[place];
      slots_of_[end] = slots_of_[place];
      note_place(end++);
    }
    fds_.resize(end);
    slots_of_.resize(end);
    next_ = next;
    holes_ = 0;
  }
  void note_place(std::uint32_t place) noexcept {
    if (slots_of_[place] != 0) slot(slots_of_[place]).backend = place;
  }

  int harvest(std::span<RawEvent> out, const timespec* timeout) noexcept override {
    int ready = kernel().ppoll(fds_.data(), fds_.size(), timeout);
    if (ready == -EINVAL) ready = ask_in_parts(timeout);
    if (ready <= 0) return ready;
    if (fds_[0].revents != 0) {
      if ((fds_[0].revents & POLLNVAL) != 0) return -EBADF;  // as in every later wait
      drain_waker();
      --ready;
    }
    std::size_t found = 0;
    std::size_t at = next_ < fds_.size() && next_ != 0 ? next_ : 1;
    for (std::size_t seen = 1; seen < fds_.size() && ready > 0 && found < out.size() - 1; ++seen) {
      if (fds_[at].revents != 0) {
        --ready;
        out[found++] = {static_cast<std::uint32_t>(fds_[at].revents), slots_of_[at]};
      }
      if (++at == fds_.size()) at = 1;
    }
    next_ = at;
    return settle(out.first(found));
  }

  /// ppoll of an array that is longer than the limit. May return 0 before the timeout has passed.
  int ask_in_parts(const timespec* timeout) noexcept {
    close_holes();
    rlimit limit{};
    if (const int result = kernel().getrlimit(RLIMIT_NOFILE, &limit); result < 0) return result;
    if (limit.rlim_cur == 0) return sleep(timeout);
    const std::size_t part = std::min<rlim_t>(limit.rlim_cur, fds_.size());
    const timespec zero{};
    int ready = 0;
    for (std::size_t at = 0; at < fds_.size(); at += part) {
      const int found = kernel().ppoll(&fds_[at], std::min(part, fds_.size() - at), &zero);
      if (found < 0) return found;
      ready += found;
    }
    if (ready != 0) return ready;
    const timespec wait = a_little(timeout);
    return wait.tv_nsec == 0 ? 0 : kernel().ppoll(fds_.data(), part, &wait);
  }
  /// Where poll(2) takes no entry at all: sleeps a little; wait() checks for wake() afterwards.
  int sleep(const timespec* timeout) noexcept {
    if (const timespec wait = a_little(timeout); wait.tv_nsec != 0)
      (void)sleep_until(kernel(), after(kernel().now(), Duration(wait.tv_nsec)));
    return 0;
  }
  static timespec a_little(const timespec* timeout) noexcept {
    timespec wait{.tv_sec = 0, .tv_nsec = part_wait_ns};
    if (timeout != nullptr && timeout->tv_sec == 0)
      wait.tv_nsec = std::min(wait.tv_nsec, timeout->tv_nsec);
    return wait;
  }

  /// Turns (revents, slot) into reports.
  int settle(std::span<RawEvent> out) noexcept {
    std::size_t kept = 0;
    for (const RawEvent raw : out) {
      const auto index = static_cast<std::uint32_t>(raw.token);
      if ((raw.ready & POLLNVAL) != 0) {
        invalidate(index);
        update(index);
      } else {
        report(index, raw.ready, out[kept++]);
      }
    }
    return static_cast<int>(kept);
  }

  std::vector<pollfd> fds_;               ///< [0] is the wake-up descriptor.
  std::vector<std::uint32_t> slots_of_;   ///< The slot of each place in fds_; 0 for a hole.
  std::vector<FileIdentity> identities_;  ///< By slot.
  std::size_t next_ = 1;                  ///< Where the next search begins.
  std::size_t holes_ = 0;                 ///< Places of registrations that were removed.
};

}  // namespace

Result<std::unique_ptr<Poller>> make_poll_poller(Kernel& kernel, PollerOptions options) {
  auto poller = std::make_unique<PollPoller>(kernel, options);
  if (Result<> opened = poller->open(); !opened) return fail(opened.error());
  return poller;
}

Probe probe_poll_poller(Kernel& kernel) {
  const timespec zero{};
  const int result = kernel.ppoll(nullptr, 0, &zero);
  if (result == 0) return {.reason = "ppoll works"};
  return {.error = errno_code(-result),
          .reason = "ppoll: " + errno_code(-result).message(),
          .advice = "a seccomp filter forbids it; use --backend select"};
}

}  // namespace duolu
