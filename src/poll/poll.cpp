// poll(2): the set is an array of ours, handed over whole in every wait.
//
// What the kernel does that shaped this file:
//   - Hang-up and error are reported whatever was asked for. So a slot that wants nothing (paused,
//     fired, silent until drained) keeps its place under a negative number, which the kernel skips.
//   - A closed descriptor is reported as POLLNVAL again in every call: it is reported once as
//     invalid, and then skipped.
//   - The result is a count; who is ready has to be looked for. The search goes on where the last
//     one stopped, and places are kept while a registration lives: it is the order of turns when
//     more is ready than a batch holds (P34).
//   - An array longer than RLIMIT_NOFILE is EINVAL: wait() returns it.

#include <poll.h>
#include <time.h>

#include <cerrno>
#include <memory>

#include "duolu/poll/backends.hpp"
#include "identity.hpp"
#include "poll_bits.hpp"

namespace duolu {
namespace {

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
    slot(index).backend = static_cast<std::uint32_t>(fds_.size());
    fds_.push_back({.fd = -1, .events = 0, .revents = 0});
    slots_of_.push_back(index);
    update(index);
    return {};
  }

  /// Changes what is asked for the slot.
  void update(std::uint32_t index) noexcept override {
    const Slot& s = slot(index);
    const Interest want = wanted(s, true);
    fds_[s.backend].fd = want == Interest::none ? -1 : s.fd;
    fds_[s.backend].events = poll_events(want);
  }

  void detach(std::uint32_t index, bool) noexcept override {
    const std::uint32_t place = slot(index).backend;
    fds_[place] = fds_.back();
    slots_of_[place] = slots_of_.back();
    slot(slots_of_[place]).backend = place;
    fds_.pop_back();
    slots_of_.pop_back();
  }

  int harvest(std::span<RawEvent> out, const timespec* timeout) noexcept override {
    int ready = kernel().ppoll(fds_.data(), fds_.size(), timeout);
    if (ready <= 0) return ready;
    if (fds_[0].revents != 0) {
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
  std::vector<std::uint32_t> slots_of_;   ///< The slot of each place in fds_.
  std::vector<FileIdentity> identities_;  ///< By slot.
  std::size_t next_ = 1;                  ///< Where the next search begins.
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
