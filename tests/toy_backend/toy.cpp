// The smallest backend: poll(2), with an array that every wait makes anew. Not for use: it shows
// that a file and a row are all that a backend takes. The row is in CMakeLists.txt.
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "duolu/poll/backends.hpp"
#include "identity.hpp"
#include "poll_bits.hpp"

namespace duolu {
namespace {

class ToyPoller final : public Poller {
 public:
  ToyPoller(Kernel& kernel, PollerOptions options) : Poller(kernel, options, true) {}

  Result<> open() { return open_waker(); }
  std::string_view name() const noexcept override { return "toy"; }

 private:
  Result<> attach(std::uint32_t index, std::uint32_t twin) override {
    const Result<FileIdentity> identity = identify_pollable(kernel(), slot(index).fd);
    if (!identity) return fail(identity.error());
    if (const auto other = watched_.find(twin); twin != 0 && other != watched_.end())
      if (other->second == *identity) return fail(EEXIST);
    fds_.reserve(watched_.size() + 2);
    slots_of_.reserve(watched_.size() + 2);
    watched_.emplace(index, *identity);
    return {};
  }
  void update(std::uint32_t) noexcept override {}  // harvest() looks
  void detach(std::uint32_t index, bool) noexcept override { watched_.erase(index); }

  int harvest(std::span<RawEvent> out, const timespec* timeout) noexcept override {
    fds_.assign(1, {.fd = wake_fd(), .events = POLLIN, .revents = 0});
    slots_of_.assign(1, 0);
    // Takes turns (P34): begins behind the one that was reported last.
    const auto begin = watched_.upper_bound(last_);
    for (auto at = begin; at != watched_.end(); ++at) ask_for(at->first);
    for (auto at = watched_.begin(); at != begin; ++at) ask_for(at->first);
    const int ready = kernel().ppoll(fds_.data(), fds_.size(), timeout);
    if (ready <= 0) return ready;
    if ((fds_[0].revents & POLLNVAL) != 0) return -EBADF;
    if (fds_[0].revents != 0) drain_waker();
    std::size_t found = 0;
    for (std::size_t i = 1; i < fds_.size() && found < out.size() - 1; ++i) {
      if (fds_[i].revents == 0) continue;
      last_ = slots_of_[i];
      if ((fds_[i].revents & POLLNVAL) != 0)
        invalidate(last_);
      else
        report(last_, static_cast<std::uint32_t>(fds_[i].revents), out[found++]);
    }
    return static_cast<int>(found);
  }
  void ask_for(std::uint32_t index) noexcept {
    const Interest want = wanted(slot(index), true);
    if (want == Interest::none) return;
    fds_.push_back({.fd = slot(index).fd, .events = poll_events(want), .revents = 0});
    slots_of_.push_back(index);
  }

  std::map<std::uint32_t, FileIdentity> watched_;  ///< By slot.
  std::vector<pollfd> fds_;                        ///< Of one wait.
  std::vector<std::uint32_t> slots_of_;            ///< The slot of each of them.
  std::uint32_t last_ = 0;                         ///< The slot that was reported last.
};

}  // namespace

Result<std::unique_ptr<Poller>> make_toy_poller(Kernel& kernel, PollerOptions options) {
  auto poller = std::make_unique<ToyPoller>(kernel, options);
  if (Result<> opened = poller->open(); !opened) return fail(opened.error());
  return poller;
}

Probe probe_toy_poller(Kernel&) { return {.reason = "ppoll works"}; }

}  // namespace duolu
