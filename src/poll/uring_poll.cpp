// io_uring's poll requests: the kernel keeps one for each registration, and a wait submits requests
// and collects what became of them in one system call.
//
// What the kernel does that shaped this file:
//   - A poll request is level-triggered when it is submitted. Each is used once: a registration is
//     asked about anew after its report, which costs an entry in shared memory and, since the next
//     wait submits it, no system call (docs/decisions/0015-oneshot-polls.md).
//   - The result of a request that had to wait is what the file said when it woke the request: it
//     may have changed since, lacks what came later, and has POLLPRI for ordinary data of a socket.
//     So it is reported only if the request was submitted by the wait that collects it. An earlier
//     request was woken perhaps before the wait began: it is only a hint, and the registration is
//     asked about again, with the others of the same wait.
//   - POLLRDHUP cannot be masked. Where it holds and only POLLOUT or POLLPRI is asked for, a
//     request would end at once, again and again. And urgent data wakes no request for POLLPRI
//     without POLLIN (IO_ASYNC_POLL_COMMON). Such registrations go into an epoll set, which the
//     ring watches; ppoll(2) says what holds when it reports one.
//   - A request holds the open file, also when its number is closed (D2): the peer sees no end. So
//     removals are submitted at once, and end the request before remove() returns.
//   - Completions that need more than a few steps come in small groups: an enter() may leave some
//     for the next one.
//   - When an enter() submits and is interrupted, it does not return EINTR.
//
// Registrations to be asked about are in a queue, which keeps their turns (P34): a wait takes as
// many from its head as can still be reported, and appends those that it has reported.

#include <poll.h>
#include <sys/epoll.h>
#include <time.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "duolu/kernel/fork.hpp"
#include "duolu/kernel/ring.hpp"
#include "duolu/poll/backends.hpp"
#include "identity.hpp"
#include "poll_bits.hpp"

namespace duolu {
namespace {

/// How often remove() and the destructor look for the ends of requests. Each time there are more of
/// them, unless the kernel has no memory.
constexpr int most_looks = 1024;

/// Where the index of a slot is, in user data: the epoll set.
constexpr std::uint32_t aside = ~0U;

class UringPoller final : public Poller {
 public:
  UringPoller(Kernel& kernel, PollerOptions options)
      : Poller(kernel, options, true), return_on_signal_(options.return_on_signal) {}
  UringPoller(const UringPoller&) = delete;
  UringPoller& operator=(const UringPoller&) = delete;
  ~UringPoller() override {
    if (is_forked()) return;
    for (std::uint32_t index = 1; index < watches_.size(); ++index) cancel(index);
    settle_cancels();
  }

  Result<> open() {
    if (Result<> waker = open_waker(); !waker) return waker;
    const int set = kernel().epoll_create();
    if (set < 0) return fail(-set);
    aside_ = Fd(kernel(), set);
    return ring_.open(kernel());
  }

  std::string_view name() const noexcept override { return "uring-poll"; }

 private:
  /// What is kept of a slot. Its Slot::backend is the number of the request in the kernel, or 0.
  struct Watch {
    FileIdentity file;
    std::uint32_t next = 0;  ///< In the queue.
    short asked = 0;         ///< The events of the request.
    bool queued = false;
    bool is_aside = false;  ///< In the epoll set, instead of a request.
  };

  bool owns(int fd) const noexcept override { return fd == ring_.fd() || fd == aside_.get(); }
  bool is_forked() const noexcept { return forks_ != fork_count(); }

  Result<> attach(std::uint32_t index, std::uint32_t twin) override {
    const Result<FileIdentity> identity = identify_pollable(kernel(), slot(index).fd);
    if (!identity) return fail(identity.error());
    if (twin != 0 && watches_[twin].file == *identity) return fail(EEXIST);
    watches_.resize(std::max<std::size_t>(watches_.size(), slot_count()));
    postponed_.reserve(watches_.capacity());
    watches_[index].file = *identity;
    update(index);
    return {};
  }

  void update(std::uint32_t index) noexcept override {
    const Interest want = wanted(slot(index), true);
    const bool is_watched = is_asked(index) || watches_[index].is_aside;
    if (want != Interest::none && is_watched && watches_[index].asked == poll_events(want)) return;
    cancel(index);
    if (want != Interest::none) append(index);
  }

  void detach(std::uint32_t index, bool /*replaced*/) noexcept override {
    if (is_forked()) return;
    cancel(index);
    settle_cancels();
  }

  // --- the queue

  void append(std::uint32_t index) noexcept {
    Watch& watch = watches_[index];
    if (watch.queued) return;
    watch.queued = true;
    watch.next = 0;
    (first_ == 0 ? first_ : watches_[last_].next) = index;
    last_ = index;
  }
  void drop_first() noexcept {
    Watch& watch = watches_[first_];
    watch.queued = false;
    first_ = watch.next;
  }

  // --- requests

  [[nodiscard]] bool is_asked(std::uint32_t index) noexcept { return slot(index).backend != 0; }
  static std::uint64_t user_data(std::uint32_t request, std::uint32_t index) noexcept {
    return std::uint64_t{request} << 32U | index;
  }

  /// Submits a poll request; false if there is no room.
  bool ask(std::uint32_t index, std::uint32_t& request, int fd, short events) noexcept {
    if (!ring_.has_room()) return false;
    if (++newest_ == 0) ++newest_;
    request = newest_;
    const std::uint32_t bits = static_cast<std::uint16_t>(events);
    ring_.next() = {
        .operation = ring::op_poll_add,
        .fd = fd,
        // poll32_events has its halves exchanged on big-endian machines.
        .operation_flags = std::endian::native == std::endian::little ? bits : bits << 16U,
        .user_data = user_data(newest_, index)};
    return true;
  }
  /// Asks about the wake-up and the first `most` of the queue; false if there is no room.
  bool ask_about(std::size_t most, int& error) noexcept {
    if (!submit_postponed()) return false;
    if (!is_asked(0) && !ask(0, slot(0).backend, wake_fd(), POLLIN)) return false;
    if (aside_request_ == 0 && !ask(aside, aside_request_, aside_.get(), POLLIN)) return false;
    for (; most > 0 && first_ != 0; drop_first()) {
      const Interest want = slot(first_).fd < 0 ? Interest::none : wanted(slot(first_), true);
      if (want == Interest::none || is_asked(first_) || watches_[first_].is_aside) continue;
      const short events = poll_events(want);
      if ((events & (POLLIN | POLLPRI)) == POLLPRI) {
        watches_[first_].asked = events;
        const int result = put_aside(first_);
        if (result >= 0) continue;
        // The ring finds out what epoll does not take: a device, or a number that was closed.
        if (result != -EPERM && result != -EBADF) error = result;
      }
      if (!ask(first_, slot(first_).backend, slot(first_).fd, events)) return false;
      watches_[first_].asked = events;
      --most;
    }
    return true;
  }

  /// The completion of its request will be ignored.
  void cancel(std::uint32_t index) noexcept {
    if (std::exchange(watches_[index].is_aside, false))
      kernel().epoll_ctl(aside_.get(), EPOLL_CTL_DEL, slot(index).fd, nullptr);
    const std::uint32_t request = std::exchange(slot(index).backend, 0);
    if (request == 0) return;
    ++cancels_;
    // Room for every request in the kernel: while one is postponed, there are no new requests.
    if (!postponed_.empty() || !submit_cancel(user_data(request, index)))
      postponed_.push_back(user_data(request, index));
  }
  bool submit_cancel(std::uint64_t request) noexcept {
    if (!ring_.has_room()) return false;
    ring_.next() = {.operation = ring::op_poll_remove,
                    .flags = ring_.has(ring::cqe_skip) ? ring::skip_success : std::uint8_t{},
                    .fd = -1,
                    .address = request};
    return true;
  }
  bool submit_postponed() noexcept {
    while (!postponed_.empty() && submit_cancel(postponed_.back())) postponed_.pop_back();
    return postponed_.empty();
  }
  /// Submits the cancellations, and waits until the kernel has closed the files. If it has no
  /// memory for that, the next wait submits them.
  void settle_cancels() noexcept {
    int failures = 0;
    for (int look = 0; look < most_looks && cancels_ != 0 && failures < 4; ++look) {
      (void)submit_postponed();
      const int result = ring_.enter(0, nullptr);
      collect({}, false);
      if (result < 0 && result != -EINTR && result != -EBUSY) ++failures;
    }
  }

  /// What one enter() has brought.
  struct Harvest {
    std::size_t count = 0;   ///< Ready registrations.
    std::size_t hints = 0;   ///< Registrations to ask about again.
    std::size_t others = 0;  ///< Wake-ups and closed descriptors.
    int error = 0;

    [[nodiscard]] bool is_empty() const noexcept { return count + others == 0 && error == 0; }
  };

  // --- the epoll set

  /// Returns 0 or -errno.
  [[gnu::noinline, gnu::cold]] int put_aside(std::uint32_t index) noexcept {
    epoll_event event{
        .events = static_cast<std::uint16_t>(watches_[index].asked) | std::uint32_t{EPOLLONESHOT},
        .data = {.u64 = index}};
    int result = kernel().epoll_ctl(aside_.get(), EPOLL_CTL_ADD, slot(index).fd, &event);
    if (result == -EEXIST)
      result = kernel().epoll_ctl(aside_.get(), EPOLL_CTL_MOD, slot(index).fd, &event);
    watches_[index].is_aside = result >= 0;
    return result;
  }
  /// Reports those that are ready. An event may also be of an earlier registration whose number was
  /// closed: then the question is in vain.
  [[gnu::noinline, gnu::cold]] void look_aside(std::span<RawEvent> out, Harvest& found) noexcept {
    epoll_event events[16];
    const int count = kernel().epoll_wait(aside_.get(), events, std::size(events), 0);
    for (int i = 0; i < count; ++i) {
      const auto index = static_cast<std::uint32_t>(events[i].data.u64);
      Watch& watch = watches_[index];
      if (!std::exchange(watch.is_aside, false)) continue;
      pollfd one{.fd = slot(index).fd, .events = watch.asked, .revents = 0};
      constexpr timespec at_once{};
      const int result = kernel().ppoll(&one, 1, &at_once);
      const int ready = one.revents & (watch.asked | POLLERR | POLLHUP);
      if (result > 0 && (one.revents & POLLNVAL) != 0) {
        ++found.others;
        invalidate(index);
      } else if (result > 0 && ready != 0 && found.count < out.size()) {
        out[found.count++] = {static_cast<std::uint32_t>(ready), index};
      } else {
        append(index);
      }
    }
  }

  // --- waiting

  int harvest(std::span<RawEvent> out, const timespec* timeout) noexcept override {
    const std::size_t room = out.size() - 1;
    bool sleeps = timeout == nullptr || timeout->tv_sec != 0 || timeout->tv_nsec != 0;
    before_ = newest_;
    Harvest found;
    int result = 0;
    for (;;) {
      const bool asked = ask_about(room - found.count, found.error);
      const bool submits_alone = return_on_signal_ && ring_.unsubmitted() != 0;
      const bool waits = sleeps && asked && first_ == 0 && found.is_empty() && !submits_alone;
      result = ring_.enter(waits ? 1 : 0, timeout);
      if (result == -ETIME) result = 0;
      if (waits) sleeps = false;
      const Harvest more = collect(out.subspan(found.count, room - found.count), waits);
      found.count += more.count;
      found.others += more.others;
      found.error = std::min(found.error, more.error);
      if (result < 0 && result != -EBUSY) break;
      if (more.hints != 0 && found.error == 0) continue;
      if (first_ != 0 && found.count < room && (result > 0 || asked)) continue;
      // Interrupted, perhaps until after the deadline: what has come meanwhile is still to be
      // found.
      if (waits && result > 0 && found.is_empty()) continue;
      if (!sleeps || !asked || !found.is_empty()) break;
    }
    before_ = newest_;
    for (RawEvent& raw : out.first(found.count)) {
      const auto index = static_cast<std::uint32_t>(raw.token);
      report(index, raw.ready, raw);
      update(index);
    }
    if (found.count != 0) return static_cast<int>(found.count);
    if (found.error != 0) return found.error;
    if (result == -EAGAIN) return -ENOMEM;
    return result < 0 && result != -EBUSY ? result : 0;
  }

  Harvest collect(std::span<RawEvent> out, bool waited) noexcept {
    // What may be wrong or not yet final when it ends a wait.
    const int doubtful = waited ? POLLPRI | POLLERR : 0;
    Harvest found;
    ring_.harvest([&](const RingCompletion& completion) noexcept {
      const auto request = static_cast<std::uint32_t>(completion.user_data >> 32U);
      const auto index = static_cast<std::uint32_t>(completion.user_data);
      if (request == 0) return;  // a cancellation that came too late
      std::uint32_t& current = index == aside ? aside_request_ : slot(index).backend;
      if (current != request) {
        --cancels_;
        return;
      }
      current = 0;
      int result = completion.result;
      // The kernel cancels the requests of a thread that ends.
      if (result == -ECANCELED) result = 0;
      if (index == 0 || index == aside) {
        index == 0 ? drain_waker() : look_aside(out, found);
        ++(index == 0 ? found.others : found.hints);
        found.error = std::min(found.error, result);
        return;
      }
      const bool is_fresh = request - before_ - 1 < newest_ - before_;
      const int ready = result & (watches_[index].asked | POLLERR | POLLHUP);
      if (result > 0 && is_fresh && ready == 0) result = std::min(put_aside(index), 0);
      if (result == -EBADF) {
        ++found.others;
        invalidate(index);
      } else if (result > 0 && is_fresh && (ready & doubtful) == 0 && found.count < out.size()) {
        out[found.count++] = {static_cast<std::uint32_t>(ready), index};
      } else if (!watches_[index].is_aside) {
        append(index);
        ++found.hints;
        found.error = std::min(found.error, result);
      }
    });
    return found;
  }

  Ring ring_;
  const bool return_on_signal_;
  const std::uint32_t forks_ = fork_count();
  Fd aside_;  ///< The epoll set. Not made when it is needed first: no wait may need a number.
  std::uint32_t aside_request_ = 0;
  std::vector<Watch> watches_;  ///< By slot.
  std::uint32_t first_ = 0;     ///< Of the queue; 0: it is empty.
  std::uint32_t last_ = 0;
  std::uint32_t newest_ = 0;              ///< The number of the last request.
  std::uint32_t before_ = 0;              ///< That of the last one before this wait.
  std::size_t cancels_ = 0;               ///< Cancelled requests whose completion is to come.
  std::vector<std::uint64_t> postponed_;  ///< Requests to cancel for which there was no room.
};

}  // namespace

Result<std::unique_ptr<Poller>> make_uring_poll_poller(Kernel& kernel, PollerOptions options) {
  auto poller = std::make_unique<UringPoller>(kernel, options);
  if (Result<> opened = poller->open(); !opened) return fail(opened.error());
  return poller;
}

Probe probe_uring_poll_poller(Kernel& kernel) {
  const Result<std::unique_ptr<Poller>> made = make_uring_poll_poller(kernel, {.batch = 1});
  if (made) return {.reason = "io_uring_setup works"};
  return explain_refusal(kernel, made.error());
}

}  // namespace duolu
