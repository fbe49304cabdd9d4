// A kernel whose rings are plain memory. Their requests are executed inside io_uring_enter(), by
// calls that do not block, and by a script that follows from a seed: what a real ring does rarely
// happens here all the time.
//
//   - A call may take some of the submissions only, or fail with EBUSY or (no_memory) EAGAIN.
//   - Completions may come in another order, and some only with a later call, as if the queue had
//     been full.
//   - Requests may end with EINTR or EAGAIN, and move less than asked. One for a provided buffer
//     may end with ENOBUFS although there are some, and take one to report the end of a stream.
//   - Polls may report what is not ready. A multishot one may end.
//   - A cancellation may come too late, or find its request in execution (EALREADY), which then
//     ends by itself, with a result or with EINTR.
//
// A request that nothing is there for is attempted again in each later call. All calls to sockets
// go through the inner kernel, so that a FaultKernel there sees them. It stands for Linux 5.19, but
// without registered rings and without an eventfd for completions.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "duolu/base/prng.hpp"
#include "duolu/kernel/ring.hpp"
#include "duolu/testing/forwarding.hpp"
#include "support/allocations.hpp"

namespace duolu::test {

class ScriptedRing final : public ForwardingKernel {
 public:
  /// With seed 0 nothing unusual happens. `no_memory`: entering may fail with EAGAIN.
  explicit ScriptedRing(Kernel& inner, std::uint64_t seed, bool no_memory = false)
      : ForwardingKernel(inner), plays_(seed != 0), no_memory_(no_memory), prng_(seed) {}

  /// How often something unusual was done.
  [[nodiscard]] std::uint64_t played() const noexcept { return played_; }
  /// From now on queues have room for so many completions. The others are kept for a later call.
  void limit_queues(unsigned completions) noexcept { room_ = completions; }

  int io_uring_setup(unsigned entries, io_uring_params* given) noexcept override {
    const int fd = eventfd();
    if (fd < 0) return fd;
    auto& params = *reinterpret_cast<RingParams*>(given);
    const std::scoped_lock guard(lock_);
    rings_[fd] = std::make_unique<Memory>(params, entries);
    return fd;
  }
  int mmap(void** address, std::size_t size, int protection, int flags, int fd,
           off_t offset) noexcept override {
    Memory* const ring = find(fd);
    if (ring == nullptr)
      return ForwardingKernel::mmap(address, size, protection, flags, fd, offset);
    if (offset == ring::offset_of_entries)
      *address = ring->entries.data();
    else
      *address = ring->queues.data();
    return 0;
  }
  int munmap(void* address, std::size_t size) noexcept override {
    const std::scoped_lock guard(lock_);
    for (const auto& [fd, ring] : rings_)
      if (address == ring->entries.data() || address == ring->queues.data()) return 0;
    return ForwardingKernel::munmap(address, size);
  }
  int close(int fd) noexcept override {
    {
      const std::scoped_lock guard(lock_);
      rings_.erase(fd);
    }
    return ForwardingKernel::close(fd);
  }
  ssize_t write(int fd, const void* buffer, std::size_t size) noexcept override {
    const ssize_t written = ForwardingKernel::write(fd, buffer, size);
    ++writes_;
    const std::uint64_t one = 1;
    (void)real_kernel().write(bell_.get(), &one, sizeof one);
    return written;
  }
  int io_uring_register(int fd, unsigned operation, void* argument, unsigned) noexcept override {
    Memory* const ring = find(fd);
    if (ring == nullptr) return -EBADF;
    switch (operation) {
      case ring::register_enable_rings: return 0;
      case ring::register_buffer_ring: {
        struct {
          std::uint64_t address;
          std::uint32_t entries;
        } about;
        std::memcpy(&about, argument, sizeof about);
        if (ring->buffers != nullptr || !std::has_single_bit(about.entries)) return -EINVAL;
        // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel's interface
        ring->buffers = reinterpret_cast<RingBuffer*>(about.address);
        ring->buffers_mask = about.entries - 1;
        ring->buffers_head = 0;
        return 0;
      }
      case ring::register_probe: {
        auto& probe = *static_cast<RingProbe*>(argument);
        for (const std::uint8_t each : {ring::op_fsync, ring::op_openat, ring::op_close,
                                        ring::op_statx, ring::op_read, ring::op_write})
          probe.operations[each].flags = ring::is_supported;
        return 0;
      }
      case ring::unregister_buffer_ring:
        return std::exchange(ring->buffers, nullptr) != nullptr ? 0 : -ENOENT;
      default: return -EINVAL;
    }
  }

  int io_uring_enter(int fd, unsigned to_submit, unsigned min_complete, unsigned flags,
                     const void* argument, std::size_t) noexcept override {
    const SparesAllocations kernel_memory;
    Memory* const found = find(fd);
    if (found == nullptr) return -EBADF;
    Memory& ring = *found;
    std::optional<Instant> deadline;
    if ((flags & ring::enter_ext_arg) != 0) {
      const auto& wait = *static_cast<const RingWait*>(argument);
      // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel's interface
      const auto& time = *reinterpret_cast<const RingTime*>(wait.timeout);
      deadline = after(now(), Duration(time.seconds * 1'000'000'000 + time.nanoseconds));
    }
    if (to_submit > 0) {
      if (play(20)) return -EBUSY;
      if (no_memory_ && play(20)) return -EAGAIN;
    }
    int taken = 0;
    const unsigned asked = std::min(to_submit, ring.submit_tail() - ring.submit_head());
    const unsigned taking = asked > 1 && play(6) ? below(asked - 1) + 1 : asked;
    for (; taken < static_cast<int>(taking); ++taken) take(ring);
    if (taking < asked) {
      deliver(ring);
      return taken;  // as in the kernel: without waiting
    }
    for (;;) {
      attempt_pending(ring);
      deliver(ring);
      if (ring.undelivered() >= min_complete) return taken;
      if (!ring.kept.empty()) continue;
      if (play(16)) return taken != 0 ? taken : -EINTR;
      if (deadline && now() >= *deadline) return taken != 0 ? taken : -ETIME;
      sleep(ring, deadline);
    }
  }

 private:
  struct Pending {
    RingEntry entry;
    std::uint64_t writes = 0;  ///< Multishot: writes_ when it reported.
    bool doomed = false;       ///< A cancellation has found it in execution.
  };
  /// A ring, in both halves.
  struct Memory {
    std::vector<unsigned> queues;
    std::vector<RingPlace> entries;
    unsigned done_mask;
    RingBuffer* buffers = nullptr;
    unsigned buffers_mask = 0;
    std::uint16_t buffers_head = 0;
    std::vector<Pending> pending;
    std::deque<RingCompletion> made;  ///< By this call, not in the queue yet.
    std::deque<RingCompletion> kept;  ///< The same; a later call delivers them.

    Memory(RingParams& params, unsigned size) {
      params.submissions = std::bit_ceil(size);
      params.completions = (params.flags & ring::setup_cqsize) != 0
                               ? std::bit_ceil(params.completions)
                               : 2 * params.submissions;
      params.features = ring::feature_single_mmap | ring::feature_nodrop | ring::feature_ext_arg |
                        ring::feature_cqe_skip;
      done_mask = params.completions - 1;
      constexpr std::uint32_t word = sizeof(unsigned);
      params.submit = {};
      params.submit.head = 0 * word;
      params.submit.tail = 1 * word;
      params.submit.flags = 4 * word;
      params.submit.array = 16 * word;
      params.done = {};
      params.done.head = 2 * word;
      params.done.tail = 3 * word;
      params.done.completions = (16 + params.submissions) * word;
      done_at = 16 + params.submissions;
      indexed = (params.flags & ring::setup_no_sqarray) == 0;
      queues.resize(done_at + params.completions * sizeof(RingCompletion) / word);
      entries.resize(params.submissions);
    }
    std::size_t done_at;
    bool indexed;

    std::atomic_ref<unsigned> number(std::size_t at) { return std::atomic_ref(queues[at]); }
    unsigned submit_head() { return number(0); }
    unsigned submit_tail() { return number(1).load(std::memory_order_acquire); }
    unsigned undelivered() { return number(3) - number(2); }
    RingEntry pop() {
      const std::size_t place = submit_head() & (entries.size() - 1);
      ++number(0);
      return entries[indexed ? queues[16 + place] : place];
    }
    void push(RingCompletion completion) {
      const std::size_t place = number(3) & done_mask;
      std::memcpy(&queues[done_at + place * sizeof completion / sizeof(unsigned)], &completion,
                  sizeof completion);
      number(3).fetch_add(1, std::memory_order_release);
    }
    [[nodiscard]] RingBuffer* first_buffer() const {
      if (buffers == nullptr) return nullptr;
      const auto tail = std::atomic_ref(buffers->reserved).load(std::memory_order_acquire);
      return tail == buffers_head ? nullptr : &buffers[buffers_head & buffers_mask];
    }
  };

  Memory* find(int fd) {
    const std::scoped_lock guard(lock_);
    const auto found = rings_.find(fd);
    return found != rings_.end() ? found->second.get() : nullptr;
  }
  unsigned below(unsigned n) { return static_cast<unsigned>(prng_.below(n)); }
  /// Whether to do something unusual, that is done once in `n` times.
  bool play(std::uint32_t n) {
    if (!plays_ || !prng_.chance(1, n)) return false;
    ++played_;
    return true;
  }

  // --- submissions

  void take(Memory& ring) {
    Pending request{.entry = ring.pop()};
    const RingEntry& entry = request.entry;
    if (entry.operation == ring::op_async_cancel) return cancel(ring, entry);
    for (const Pending& other : ring.pending)
      EXPECT_NE(other.entry.user_data, entry.user_data) << "submitted twice";
    if (attempt(ring, request, true)) return;
    ring.pending.push_back(request);
  }

  void cancel(Memory& ring, const RingEntry& by) {
    const auto found = std::ranges::find_if(
        ring.pending, [&](const Pending& one) { return one.entry.user_data == by.address; });
    int result = 0;
    if (found == ring.pending.end()) {
      result = -ENOENT;
    } else if (play(3) && attempt(ring, *found, false)) {
      ring.pending.erase(found);
      result = -ENOENT;
    } else if (found->entry.operation != ring::op_poll_add && play(3)) {
      found->doomed = true;
      result = -EALREADY;
    } else {
      finish(ring, found->entry, -ECANCELED);
      ring.pending.erase(found);
    }
    finish(ring, by, result);
  }

  /// Returns true: it has ended.
  static bool finish(Memory& ring, const RingEntry& entry, int result, std::uint32_t flags = 0) {
    if (result >= 0 && (entry.flags & ring::skip_success) != 0) return true;
    ring.made.push_back({.user_data = entry.user_data, .result = result, .flags = flags});
    return true;
  }

  // --- execution

  void attempt_pending(Memory& ring) {
    std::vector<Pending> waiting = std::move(ring.pending);
    ring.pending.clear();
    if (plays_ && !waiting.empty())
      std::ranges::rotate(waiting, waiting.begin() + below(static_cast<unsigned>(waiting.size())));
    for (Pending& request : waiting)
      if (!(request.doomed ? finish_doomed(ring, request) : attempt(ring, request, false)))
        ring.pending.push_back(request);
  }
  bool finish_doomed(Memory& ring, Pending& request) {
    if (prng_.chance(1, 2) && attempt(ring, request, false)) return true;
    return finish(ring, request.entry, prng_.chance(1, 2) ? -EINTR : -ECANCELED);
  }

  static bool is_ready(const RingEntry& entry, short events, short& found) {
    pollfd one{.fd = entry.fd, .events = events, .revents = 0};
    if (::poll(&one, 1, 0) <= 0) return false;
    found = one.revents;
    return true;
  }

  /// Whether it has ended.
  bool attempt(Memory& ring, Pending& request, bool first) {
    const RingEntry& entry = request.entry;
    if (entry.operation == ring::op_poll_add) return attempt_poll(ring, request);
    if (is_of_file(entry)) return attempt_file(ring, entry, first);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel's interface
    auto* const data = reinterpret_cast<void*>(entry.address);
    const int flags = static_cast<int>(entry.operation_flags & ~unsigned{MSG_WAITALL});
    const std::size_t size = entry.size > 1 && play(4) ? below(entry.size - 1) + 1 : entry.size;
    short found = 0;
    if (!first && !is_ready(entry, waits_for(entry), found)) return false;
    if (first && play(24)) return finish(ring, entry, -EINTR);
    if (first && play(24)) return finish(ring, entry, -EAGAIN);
    ssize_t result = -EINVAL;
    switch (entry.operation) {
      case ring::op_write: result = write(entry.fd, data, size); break;
      case ring::op_read:
      case ring::op_recv:
        if ((entry.flags & ring::select_buffer) != 0) return receive_selected(ring, entry);
        result = receive(entry, data, size);
        break;
      case ring::op_send: result = send(entry.fd, data, size, flags | MSG_DONTWAIT); break;
      case ring::op_sendmsg: {
        msghdr message = *static_cast<const msghdr*>(data);
        if (message.msg_iovlen > 1 && play(4)) message.msg_iovlen = 1;
        result = sendmsg(entry.fd, &message, flags | MSG_DONTWAIT);
        break;
      }
      case ring::op_accept: result = accept(entry.fd, nullptr, nullptr); break;
      default: break;
    }
    if (result == -EAGAIN) return false;
    return finish(ring, entry, static_cast<int>(result));
  }
  static bool is_of_file(const RingEntry& entry) {
    switch (entry.operation) {
      case ring::op_read:
      case ring::op_write: return entry.offset != ~std::uint64_t{0};
      case ring::op_openat:
      case ring::op_close:
      case ring::op_statx:
      case ring::op_fsync: return true;
      default: return false;
    }
  }
  /// A disk takes its time: the kernel performs some of these later.
  bool attempt_file(Memory& ring, const RingEntry& entry, bool first) {
    if (first && play(2)) return false;
    if (first && entry.operation != ring::op_close && play(24)) return finish(ring, entry, -EINTR);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel's interface
    auto* const data = reinterpret_cast<char*>(entry.address);
    const std::size_t size = entry.size > 1 && play(4) ? below(entry.size - 1) + 1 : entry.size;
    const auto offset = static_cast<off_t>(entry.offset);
    const int flags = static_cast<int>(entry.operation_flags);
    ssize_t result = -EINVAL;
    switch (entry.operation) {
      case ring::op_read: result = pread(entry.fd, data, size, offset); break;
      case ring::op_write: result = pwrite(entry.fd, data, size, offset); break;
      case ring::op_openat: result = openat(entry.fd, data, flags, entry.size); break;
      case ring::op_close: result = close(entry.fd); break;
      case ring::op_fsync:
        result = (flags & int{ring::only_data}) != 0 ? fdatasync(entry.fd) : fsync(entry.fd);
        break;
      default: {
        struct stat found{};
        result = fstat(entry.fd, &found);
        // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel's interface
        auto& status = *reinterpret_cast<RingStatus*>(entry.offset);
        status.size = static_cast<std::uint64_t>(found.st_size);
        status.mode = static_cast<std::uint16_t>(found.st_mode);
        status.modified.seconds = found.st_mtim.tv_sec;
        status.modified.nanoseconds = static_cast<std::uint32_t>(found.st_mtim.tv_nsec);
      }
    }
    return finish(ring, entry, static_cast<int>(result));
  }
  ssize_t receive(const RingEntry& entry, void* data, std::size_t size) {
    if (entry.operation == ring::op_read) return read(entry.fd, data, size);
    return recv(entry.fd, data, size, static_cast<int>(entry.operation_flags) | MSG_DONTWAIT);
  }
  static short waits_for(const RingEntry& entry) {
    const bool out = entry.operation == ring::op_send || entry.operation == ring::op_sendmsg;
    return static_cast<short>(out ? POLLOUT : POLLIN | POLLRDHUP);
  }

  bool receive_selected(Memory& ring, const RingEntry& entry) {
    const RingBuffer* const buffer = ring.first_buffer();
    if (buffer == nullptr || play(16)) return finish(ring, entry, -ENOBUFS);
    const std::size_t most = entry.size == 0 ? buffer->size : std::min(entry.size, buffer->size);
    const std::size_t size =
        most > 1 && play(4) ? below(static_cast<unsigned>(most) - 1) + 1 : most;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel's interface
    auto* const data = reinterpret_cast<void*>(buffer->address);
    const ssize_t got = receive(entry, data, size);
    if (got == -EAGAIN) return false;
    const bool takes_it = got > 0 || (got == 0 && play(2));
    if (takes_it) ++ring.buffers_head;
    return finish(
        ring, entry, static_cast<int>(got),
        takes_it ? ring::has_buffer | std::uint32_t{buffer->id} << ring::buffer_shift : 0);
  }

  bool attempt_poll(Memory& ring, Pending& request) {
    const RingEntry& entry = request.entry;
    const auto events = static_cast<short>(entry.operation_flags);
    const bool stays = (entry.size & ring::poll_multi) != 0;
    short found = 0;
    const std::uint64_t writes = writes_;
    const bool ready = is_ready(entry, events, found) && !(stays && request.writes == writes + 1);
    if (!ready && !play(16)) return false;
    request.writes = writes + 1;  // 0: it has not reported
    const bool ends = !stays || play(8);
    finish(ring, entry, ready ? found : events, ends ? 0 : ring::more);
    return ends;
  }

  // --- completions

  void deliver(Memory& ring) {
    while (!ring.kept.empty() && push_one(ring, ring.kept)) {
    }
    shuffle(ring.made);
    while (!ring.made.empty()) {
      // Behind one that is kept back all are.
      const bool keeps = !ring.kept.empty() || play(16);
      if (!keeps && push_one(ring, ring.made)) continue;
      ring.kept.push_back(ring.made.front());
      ring.made.pop_front();
    }
    ring.number(4) = ring.kept.empty() ? 0 : ring::cq_overflow;
  }
  bool push_one(Memory& ring, std::deque<RingCompletion>& from) const {
    if (ring.undelivered() >= std::min(room_, ring.done_mask + 1)) return false;
    ring.push(from.front());
    from.pop_front();
    return true;
  }
  /// Those of one request stay in their order.
  void shuffle(std::deque<RingCompletion>& some) {
    if (!plays_) return;
    for (std::size_t at = 1; at < some.size(); ++at)
      if (some[at].user_data != some[at - 1].user_data && prng_.chance(1, 2))
        std::swap(some[at], some[at - 1]);
  }

  void sleep(Memory& ring, std::optional<Instant> deadline) {
    std::vector<pollfd> fds{{.fd = bell_.get(), .events = POLLIN, .revents = 0}};
    for (const Pending& one : ring.pending) {
      const bool polls = one.entry.operation == ring::op_poll_add;
      // One that has reported waits for the next write, which rings the bell.
      if (polls && one.writes != 0) continue;
      fds.push_back(
          {.fd = one.entry.fd,
           .events = polls ? static_cast<short>(one.entry.operation_flags) : waits_for(one.entry),
           .revents = 0});
    }
    timespec timeout{};
    if (deadline) {
      const Duration left = std::max(*deadline - now(), Duration::zero());
      timeout = {.tv_sec = left.count() / 1'000'000'000, .tv_nsec = left.count() % 1'000'000'000};
    }
    (void)real_kernel().ppoll(fds.data(), fds.size(), deadline ? &timeout : nullptr);
    std::uint64_t count = 0;
    (void)real_kernel().read(bell_.get(), &count, sizeof count);
  }

  const bool plays_;
  const bool no_memory_;
  Prng prng_;
  std::uint64_t played_ = 0;
  unsigned room_ = ~0U;
  std::mutex lock_;
  std::map<int, std::unique_ptr<Memory>> rings_;
  std::atomic<std::uint64_t> writes_{0};
  Fd bell_{real_kernel(), real_kernel().eventfd()};  ///< Written with each write.
};

}  // namespace duolu::test
