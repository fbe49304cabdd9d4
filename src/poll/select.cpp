// select(2): three bitmaps of ours, copied for every wait because the kernel writes into them.
//
// What the kernel does that shaped this file:
//   - The limit of 1024 is the C library's fd_set. The Linux call takes bitmaps of any length, so
//     they are our own (bitmap.hpp).
//   - A set bit says "readable", not why: data, end, hang-up and error look alike. So the ready
//     descriptors, and only they, are passed to poll(2), which distinguishes these without waiting
//     (poll_bits.hpp): one more call for each wait that found something.
//   - One closed descriptor makes the whole call fail with EBADF. poll(2) finds it; it is reported
//     as invalid and leaves the sets, and the others are not affected.
//   - A hang-up sets the bit for reading, an error those for reading and writing. A registration
//     for priority alone gets neither (docs/contracts.md, D3).

#include <fcntl.h>
#include <poll.h>
#include <time.h>

#include <bit>
#include <cerrno>
#include <memory>

#include "bitmap.hpp"
#include "duolu/kernel/time_left.hpp"
#include "duolu/poll/backends.hpp"
#include "duolu/poll/select.hpp"
#include "identity.hpp"
#include "poll_bits.hpp"

namespace duolu {
namespace {

class SelectPoller final : public Poller {
 public:
  SelectPoller(Kernel& kernel, PollerOptions options) : Poller(kernel, options, true) {}

  Result<> open() {
    if (Result<> waker = open_waker(); !waker) return waker;
    if (wake_fd() > max_select_fd) return fail(EMFILE);
    make_room(wake_fd());
    want_[0].set(wake_fd());
    highest_ = wake_fd();
    return {};
  }

  std::string_view name() const noexcept override { return "select"; }

 private:
  void make_room(int fd) {
    const std::size_t words = Bitmap::words_for(fd);
    for (Bitmap& set : want_) set.grow(words);
    for (Bitmap& set : found_) set.grow(words);
  }

  Result<> attach(std::uint32_t index, std::uint32_t twin) override {
    const int fd = slot(index).fd;
    const Result<FileIdentity> identity = identify_pollable(kernel(), fd);
    if (!identity) return fail(identity.error());
    if (fd > max_select_fd) return fail(EMFILE);
    if (twin != 0 && identities_[twin] == *identity) return fail(EEXIST);
    identities_.resize(std::max<std::size_t>(identities_.size(), slot_count()));
    identities_[index] = *identity;
    asked_.reserve(identities_.capacity());
    make_room(fd);
    update(index);
    return {};
  }

  void update(std::uint32_t index) noexcept override {
    mark(slot(index).fd, wanted(slot(index), true));
  }

  void detach(std::uint32_t index, bool replaced) noexcept override {
    if (!replaced) mark(slot(index).fd, Interest::none);
  }

  void mark(int fd, Interest want) noexcept {
    static constexpr Interest directions[] = {Interest::readable, Interest::writable,
                                              Interest::priority};
    if (want != Interest::none) highest_ = std::max(highest_, fd);
    for (std::size_t i = 0; i < 3; ++i) {
      if (any(want, directions[i]))
        want_[i].set(fd);
      else
        want_[i].clear(fd);
    }
  }

  int harvest(std::span<RawEvent> out, const timespec* timeout) noexcept override {
    shrink();
    const std::size_t words = Bitmap::words_for(highest_);
    for (std::size_t i = 0; i < 3; ++i) found_[i].copy(want_[i], words);
    int ready = kernel().pselect(highest_ + 1, found_[0].data(), found_[1].data(), found_[2].data(),
                                 timeout);
    if (ready == -EBADF) return drop_closed();
    if (ready <= 0) return ready;
    const bool woken = found_[0].has(wake_fd());
    found_[0].clear(wake_fd());
    collect(words, out.size() - 1);
    const int told = tell(out);
    if (woken && told >= 0) drain_waker();  // else the next wait finds it again
    return told;
  }

  /// Lowers `highest_` past words in which no bit is set.
  void shrink() noexcept {
    std::size_t words = Bitmap::words_for(highest_);
    while (words > Bitmap::words_for(wake_fd()) &&
           (want_[0][words - 1] | want_[1][words - 1] | want_[2][words - 1]) == 0)
      --words;
    highest_ = std::min(highest_, static_cast<int>(words * Bitmap::word_bits) - 1);
  }

  /// Puts up to `room` of the found descriptors into `asked_`, from where the last search ended.
  void collect(std::size_t words, std::size_t room) noexcept {
    asked_.clear();
    const auto first = static_cast<std::size_t>(next_ <= highest_ ? next_ : 0);
    const std::size_t first_word = first / Bitmap::word_bits;
    const unsigned long low =
        (1UL << (first % Bitmap::word_bits)) - 1;  // what comes before `first`
    for (std::size_t step = 0; step <= words; ++step) {
      const std::size_t word = (first_word + step) % words;
      unsigned long bits = found_[0][word] | found_[1][word] | found_[2][word];
      if (step == 0) bits &= ~low;
      if (step == words) bits &= low;
      for (; bits != 0; bits &= bits - 1) {
        const int fd = static_cast<int>(word * Bitmap::word_bits) + std::countr_zero(bits);
        if (asked_.size() == room) {
          next_ = fd;
          return;
        }
        asked_.push_back(
            {.fd = fd, .events = poll_events(wanted(slot(find(fd)), true)), .revents = 0});
      }
    }
    next_ = 0;
  }

  /// One call, unless RLIMIT_NOFILE was lowered below the number found: then poll(2) refuses the
  /// list, and each descriptor gets its own call. At a limit of 0, the bitmaps are used instead.
  int ask_poll() noexcept {
    const timespec zero{};
    int result = kernel().ppoll(asked_.data(), asked_.size(), &zero);
    if (result != -EINVAL) return result;
    for (pollfd& one : asked_) {
      result = kernel().ppoll(&one, 1, &zero);
      if (result == -EINVAL) one.revents = from_bitmaps(one);
      if (result < 0 && result != -EINVAL) return result;
    }
    return 0;
  }
  [[nodiscard]] short from_bitmaps(const pollfd& one) const noexcept {
    const int found = (found_[0].has(one.fd) ? POLLIN : 0) | (found_[1].has(one.fd) ? POLLOUT : 0) |
                      (found_[2].has(one.fd) ? POLLPRI : 0);
    return static_cast<short>(found & one.events);
  }

  /// Gets the exact state of the collected descriptors from poll(2), and reports it.
  int tell(std::span<RawEvent> out) noexcept {
    if (asked_.empty()) return 0;
    if (const int result = ask_poll(); result < 0) return result;
    std::size_t kept = 0;
    for (const pollfd& asked : asked_) {
      const std::uint32_t index = find(asked.fd);
      if ((asked.revents & POLLNVAL) != 0)
        drop(index);
      else if (asked.revents != 0)
        report(index, static_cast<std::uint32_t>(asked.revents), out[kept++]);
    }
    return static_cast<int>(kept);
  }

  /// After EBADF: finds the closed ones. Returns -EBADF if the poller's own descriptor is closed.
  int drop_closed() noexcept {
    if (kernel().fcntl(wake_fd(), F_GETFD, 0) == -EBADF) return -EBADF;
    for (std::uint32_t index = 1; index < slot_count(); ++index) {
      const Slot& s = slot(index);
      if (s.fd < 0 || wanted(s, true) == Interest::none) continue;
      pollfd one{.fd = s.fd, .events = 0, .revents = 0};
      const timespec zero{};
      if (kernel().ppoll(&one, 1, &zero) > 0 && (one.revents & POLLNVAL) != 0) drop(index);
    }
    return 0;
  }

  void drop(std::uint32_t index) noexcept {
    invalidate(index);
    mark(slot(index).fd, Interest::none);
  }

  Bitmap want_[3];                        ///< Readable, writable, exceptional: what is asked for.
  Bitmap found_[3];                       ///< The kernel's copy, and its answer.
  std::vector<FileIdentity> identities_;  ///< By slot.
  std::vector<pollfd> asked_;
  int highest_ = 0;
  int next_ = 0;  ///< Where the next search begins.
};

}  // namespace

Result<std::unique_ptr<Poller>> make_select_poller(Kernel& kernel, PollerOptions options) {
  auto poller = std::make_unique<SelectPoller>(kernel, options);
  if (Result<> opened = poller->open(); !opened) return fail(opened.error());
  return poller;
}

Probe probe_select_poller(Kernel& kernel) {
  const timespec zero{};
  const int result = kernel.pselect(0, nullptr, nullptr, nullptr, &zero);
  if (result == 0) return {.reason = "pselect works"};
  return {.error = errno_code(-result),
          .reason = "pselect: " + errno_code(-result).message(),
          .advice = "a seccomp filter forbids it; nothing is left to wait with"};
}

Result<Selected> select(std::span<const int> readable, std::span<const int> writable,
                        std::span<const int> exceptional, std::optional<AnyDuration> timeout,
                        Kernel& kernel) {
  const std::span<const int> lists[3] = {readable, writable, exceptional};
  Bitmap want[3];
  int highest = -1;
  for (const std::span<const int>& list : lists)
    for (const int fd : list) {
      if (fd < 0) return fail(EBADF);
      if (fd > max_select_fd) return fail(EMFILE);
      highest = std::max(highest, fd);
    }
  // Linux reads only as far as its table of open files, and leaves the bits behind it as they are.
  // If the highest number is open, the table reaches at least that far.
  if (highest >= 0 && kernel.fcntl(highest, F_GETFD, 0) < 0) return fail(EBADF);
  const std::size_t words = highest < 0 ? 0 : Bitmap::words_for(highest);
  for (std::size_t i = 0; i < 3; ++i) {
    want[i].grow(words);
    for (const int fd : lists[i]) want[i].set(fd);
  }
  const Instant deadline = timeout ? after(kernel.now(), *timeout) : never;
  Bitmap found[3] = {want[0], want[1], want[2]};
  for (;;) {
    for (std::size_t i = 0; i < 3; ++i) found[i].copy(want[i], words);
    timespec storage;
    const timespec* left = nullptr;
    const bool passed = time_left(kernel, deadline, storage, left);
    const int ready =
        kernel.pselect(highest + 1, found[0].data(), found[1].data(), found[2].data(), left);
    if (ready < 0 && ready != -EINTR) return fail(-ready);
    if (ready > 0) break;
    if (ready == 0 && (passed || kernel.now() >= deadline)) return Selected{};
  }
  Selected selected;
  std::vector<int>* results[3] = {&selected.readable, &selected.writable, &selected.exceptional};
  for (std::size_t i = 0; i < 3; ++i)
    for (const int fd : lists[i])
      if (found[i].has(fd)) results[i]->push_back(fd);
  return selected;
}

}  // namespace duolu
