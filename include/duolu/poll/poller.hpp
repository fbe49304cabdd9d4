// Public. Layer: poll. The readiness contract: which of many descriptors can be read or written
// now.
//
// One thread: the thread that calls wait() makes every other call too, except wake(), which any
// thread and any signal handler may call. One process: in a forked child remove() and the
// destructor do not affect the parent's poller, add() and wait() abort (P37). The numbered clauses
// are in docs/contracts.md; every backend (select, poll, epoll, uring-poll) passes the same tests
// for them. A backend is one file in src/poll and one row in backends.def; backends.hpp lists and
// makes them.
//
//   auto poller = duolu::make_poller(duolu::real_kernel()).value();
//   duolu::Token token = poller->add(fd, duolu::Interest::readable).value();
//   const duolu::Result<duolu::Poller::Batch> batch = poller->wait(duolu::never);
//   for (const duolu::Event& event : batch.value())
//     if (event.readable()) ...
//
// (Name the batch: a range-for over `wait(...).value()` would destroy it before the first event.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"
#include "duolu/kernel/fork.hpp"
#include "duolu/kernel/kernel.hpp"
#include "duolu/kernel/waker.hpp"
#include "duolu/poll/event.hpp"

namespace duolu {

/// How a Poller behaves.
struct PollerOptions {
  /// The largest `batch`.
  static constexpr std::size_t max_batch = 1'048'576;
  /// The most events one wait() returns, 1 to max_batch. Memory: 12 to 16 bytes each.
  std::size_t batch = 256;
  /// wait() returns EINTR when a signal handler ran, instead of waiting for the rest of the time.
  bool return_on_signal = false;
};

namespace detail {

/// One report as a backend writes it. On Linux it has the layout of `struct epoll_event`, so that
/// the kernel writes into the poller's array and nothing is copied.
struct
#if defined(__linux__) && defined(__x86_64__)
    [[gnu::packed]]
#endif
    RawEvent {
  std::uint32_t ready;
  std::uint64_t token;
};

/// One registration, 32 bytes. Slots never move relative to their index and are reused.
struct Slot {
  /// The index of no slot. A free slot's token has it, so that no caller's token equals it.
  static constexpr std::uint64_t nobody = 0xffff'ffff;

  std::uint64_t token = std::uint64_t{1} << 32U | nobody;  ///< Generation and index.
  std::uint64_t data = 0;       ///< The caller's; while the slot is free, the next free slot.
  std::uint32_t unusual = ~0U;  ///< Ready bits with which an event needs a closer look.
  int fd = -1;                  ///< -1: free.
  std::uint32_t backend = 0;    ///< For the backend: epoll's bits in the kernel, poll's index.
  Interest interest = Interest::none;
  Trigger trigger = Trigger::level;
  /// Edge: directions that a modify has re-armed (native), or that were reported and are silent
  /// until drained (emulated). Oneshot: any bit means re-armed (native).
  Interest pending = Interest::none;
  bool fired : 1 = false;    ///< Oneshot: reported, silent until the next modify.
  bool changed : 1 = false;  ///< On the list of changes that the next wait applies.
  bool dead : 1 = false;     ///< Found closed: paused, and reported as invalid, now or soon.
  bool listed : 1 = false;   ///< On the list of those to report as invalid.
};

/// Slot numbers, each at most once. push() never allocates.
class SlotList {
 public:
  /// Makes room for `capacity` numbers in all; may throw std::bad_alloc.
  void reserve(std::size_t capacity);
  void push(std::uint32_t index) noexcept { numbers_[count_++] = index; }
  void clear() noexcept { count_ = 0; }
  [[nodiscard]] const std::uint32_t* begin() const noexcept { return numbers_.get(); }
  [[nodiscard]] const std::uint32_t* end() const noexcept { return numbers_.get() + count_; }

 private:
  std::unique_ptr<std::uint32_t[]> numbers_;
  std::size_t count_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace detail

/// Watches descriptors for readiness. See the top of this file for threads, docs/contracts.md for
/// the clauses. Owns none of the descriptors it watches. Not movable: make_poller() returns a
/// pointer.
class Poller {
 public:
  class Batch;

  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;
  /// Closes the poller's own descriptors. Registered ones stay as they are.
  virtual ~Poller() = default;

  /// Starts to watch `fd`, which the caller still owns. Every Event carries `data`. With
  /// Interest::none the registration is paused until a modify().
  ///
  /// Errors, the same on every backend: EEXIST `fd` is already registered here; EBADF not an open
  /// descriptor; EPERM cannot be watched (a regular file, a directory, /dev/null: read and write
  /// them without waiting); EINVAL one of the poller's own descriptors, or unknown interest or
  /// trigger values; ENOSPC, ENOMEM the kernel's limits; on systems whose select has a fixed size,
  /// EMFILE.
  Result<Token> add(int fd, Interest interest, Trigger trigger = Trigger::level,
                    std::uint64_t data = 0);

  /// Changes what a registration waits for; the trigger stays. Takes effect at the next wait(),
  /// which makes the system call, unless later calls have undone the change by then.
  ///
  /// Edge: directions that were not wanted before are reported if ready; a modify() to the same
  /// interest re-arms all of them. Oneshot: re-arms.
  /// Errors: ENOENT the token names no registration; EBADF it was reported invalid; EINVAL.
  Result<> modify(Token token, Interest interest);
  /// The same, and changes the trigger.
  Result<> modify(Token token, Interest interest, Trigger trigger);

  /// Changes the `data` of its events. Errors: ENOENT.
  Result<> set_data(Token token, std::uint64_t data);

  /// Stops watching, at once: no event of this token is reported any more, not even from the batch
  /// being visited. Call it before the descriptor is closed; calling it later is allowed and works.
  /// Errors: ENOENT.
  Result<> remove(Token token);

  /// Edge only: reading, writing or accepting returned EAGAIN (or, on a stream socket, made a short
  /// transfer, see Event::short_means_drained) in these directions: report the next readiness.
  /// No cost where edges are native. Unknown tokens and other triggers are ignored.
  void drained(Token token, Interest directions) noexcept {
    if (emulates_edge_) drained_emulated(token, directions);
  }

  /// Waits until a registration has something to report, wake() was called, or `deadline` has
  /// passed, never shorter. No registration is reported twice in one batch. `immediately` does not
  /// block. The batch is valid until the next wait(); visit all of it, since an edge or oneshot
  /// report that is not visited is lost.
  /// Errors: EINTR with `return_on_signal`; ENOMEM, ENOSPC, EMFILE, ENFILE where the kernel lacks
  /// memory or descriptors: registrations are kept, no report is lost, and a later wait() may
  /// succeed. EBADF: one of the poller's own descriptors was closed by other code, and no wait()
  /// will succeed.
  [[nodiscard]] Result<Batch> wait(Instant deadline);

  /// Makes the current wait() return, or the next one if none is running. Any thread, any signal
  /// handler. Wakes merge: one wait returns for all since the last wait. In a forked child it does
  /// nothing: a poller belongs to the process that made it.
  void wake() noexcept { waker_.wake(); }

  /// Whether edges are emulated with levels here, so that an edge costs more than a level.
  [[nodiscard]] bool emulates_edge() const noexcept { return emulates_edge_; }
  /// The number of registrations, including paused ones.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// The backend's name: "epoll".
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  /// A descriptor that becomes readable when wait(immediately) would report something, to watch the
  /// whole poller from another event loop; -1 where the backend has none (D5), or when it
  /// cannot be made now (EMFILE). It is made at the first call and stays the same as long as the
  /// poller lives. Changes by modify() affect it from the next wait() on.
  [[nodiscard]] virtual int fd() const noexcept { return -1; }
  /// The kernel this poller was made with.
  [[nodiscard]] Kernel& kernel() const noexcept { return kernel_; }

 protected:
  using Slot = detail::Slot;
  using RawEvent = detail::RawEvent;

  Poller(Kernel& kernel, PollerOptions options, bool emulates_edge);
  /// Opens the wake-up descriptor. Called once, before any other call.
  Result<> open_waker() { return waker_.open(); }

  /// Whether `fd` is one of the backend's own.
  [[nodiscard]] virtual bool owns(int /*fd*/) const noexcept { return false; }

  // What a backend supplies. `index` names a slot whose fd, interest and trigger are set.

  /// Starts to watch slot `index`. `twin` is another slot with the same descriptor number, or 0:
  /// EEXIST if that one is alive, success if its descriptor was closed since. Allocates the memory
  /// that the other calls may need; it may throw std::bad_alloc before it has changed anything.
  virtual Result<> attach(std::uint32_t index, std::uint32_t twin) = 0;
  /// Makes the kernel's set, or the backend's own, watch what wanted(slot) returns. Calls
  /// invalidate() when the descriptor turns out to be closed.
  virtual void update(std::uint32_t index) noexcept = 0;
  /// Stops watching. `replaced`: the descriptor was closed and its number registered again, so that
  /// the kernel's registration of that number is not this slot's.
  virtual void detach(std::uint32_t index, bool replaced) noexcept = 0;
  /// Waits and fills `out`, except its last place, which is used only if a wake-up takes another
  /// one. Returns the count, or -errno. A null timeout waits for ever.
  virtual int harvest(std::span<RawEvent> out, const timespec* timeout) noexcept = 0;
  /// Drops registrations that the kernel still reports although they were removed or paused. Only a
  /// backend whose kernel keeps registrations needs it.
  virtual Result<> rebuild() { return {}; }

  // What a backend may use.

  [[nodiscard]] Slot& slot(std::uint32_t index) noexcept { return slots_[index]; }
  [[nodiscard]] std::uint32_t slot_count() const noexcept {
    return static_cast<std::uint32_t>(slots_.size());
  }
  [[nodiscard]] Token token_of(std::uint32_t index) const noexcept {
    return static_cast<Token>(slots_[index].token);
  }
  /// The slot registered for a descriptor number; 0 for none.
  [[nodiscard]] std::uint32_t find(int fd) const noexcept;
  /// What to watch for now: the interest without silent directions; none if fired or dead.
  [[nodiscard]] static Interest wanted(const Slot& slot, bool emulates_edge) noexcept;
  /// For backends that emulate edge and oneshot: fills `out` for a slot found `ready`, and silences
  /// the directions reported.
  void report(std::uint32_t index, std::uint32_t ready, RawEvent& out) noexcept;
  /// Marks a slot's descriptor as closed: it is reported as invalid once and paused.
  void invalidate(std::uint32_t index) noexcept;
  /// Makes wait() call rebuild() before the next harvest().
  void needs_rebuild() noexcept { needs_rebuild_ = true; }
  [[nodiscard]] int wake_fd() const noexcept { return waker_.fd(); }
  /// Whether the wake-up descriptor is a pipe, which fills up, and not an eventfd, which counts.
  [[nodiscard]] bool has_wake_pipe() const noexcept { return waker_.is_pipe(); }
  /// Empties the wake-up descriptor, for backends that watch it level-triggered.
  void drain_waker() noexcept { waker_.drain(); }

 private:
  Slot* lookup(Token token) noexcept;
  Result<> reserve_for(int fd);
  std::uint32_t take_slot() noexcept;
  void free_slot(std::uint32_t index) noexcept;
  /// The body of both modify(), for a slot that lookup() returned.
  Result<> alter(Slot* known, Interest interest, Trigger trigger);
  void change(Slot& slot) noexcept;
  void apply_changes() noexcept;
  void drained_emulated(Token token, Interest directions) noexcept;
  /// Appends reports of slots found closed to the `count` existing ones, as far as there is room.
  /// Returns the new count.
  std::size_t report_invalid(std::size_t count) noexcept;
  struct Sight {
    bool live = false;   ///< Something can be reported.
    bool stale = false;  ///< The kernel holds a registration that no slot has.
  };
  Sight look(std::size_t count) noexcept;
  /// Of the first `count` reports, keeps those that can be reported. Returns how many.
  std::size_t keep_live(std::size_t count) noexcept;
  /// Aborts in a forked child (P37).
  void check_process() const noexcept;
  /// Calls rebuild(); if it fails, the next wait calls it again.
  Result<> renew();
  /// For an event that needs a closer look: the bits to report, 0 for none.
  std::uint32_t second_look(const RawEvent& raw) noexcept;

  Kernel& kernel_;
  const bool emulates_edge_;
  const bool return_on_signal_;
  bool needs_rebuild_ = false;
  bool suspect_ = false;        ///< A visited event was stale: the kernel may hold a dead one.
  std::vector<Slot> slots_{1};  ///< Slot 0 stands for the wake-up descriptor.
  std::uint32_t free_ = 0;      ///< First free slot, linked through Slot::data.
  std::size_t size_ = 0;
  std::vector<std::uint32_t> by_fd_;    ///< Descriptor number to slot; 0 for none.
  detail::SlotList changes_;            ///< Slots to update before the next wait.
  std::vector<std::uint32_t> invalid_;  ///< Slots to report as invalid, unless freed since.
  std::vector<RawEvent> raw_;           ///< One more than a batch, for the wake-up.
  Waker waker_;
  const std::uint32_t forks_ = fork_count();  ///< fork_count() in that process.
};

/// The events of one wait(): visit them with a range-for. Events of registrations that a handler
/// earlier in the same batch has removed or paused are left out.
class Poller::Batch {
 public:
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Event;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = Event;

    /// By value, so that the iterator's state stays in registers while a handler runs.
    Event operator*() const noexcept {
      return {static_cast<Token>(at_->token), static_cast<Ready>(ready_), data_};
    }
    iterator& operator++() noexcept {
      ++at_;
      settle();
      return *this;
    }
    void operator++(int) noexcept { ++*this; }
    bool operator==(std::default_sentinel_t) const noexcept { return at_ == end_; }

   private:
    friend Batch;
    iterator(Poller* poller, const detail::RawEvent* at, const detail::RawEvent* end) noexcept
        : poller_(poller), at_(at), end_(end) {
      settle();
    }
    /// Advances to the first event that is still to be reported, and reads it. Most events belong
    /// to a live registration and have only bits that it waits for: two comparisons check that.
    void settle() noexcept {
      for (; at_ != end_; ++at_) {
        const Slot& slot = poller_->slots_[static_cast<std::uint32_t>(at_->token)];
        data_ = slot.data;
        ready_ = at_->ready;
        if (slot.token == at_->token && (ready_ & slot.unusual) == 0) [[likely]]
          return;
        ready_ = poller_->second_look(*at_);
        if (ready_ != 0) return;
      }
    }

    Poller* poller_;
    const detail::RawEvent* at_;
    const detail::RawEvent* end_;
    std::uint64_t data_ = 0;   ///< Of the event at_.
    std::uint32_t ready_ = 0;  ///< Of the event at_.
  };

  [[nodiscard]] iterator begin() const noexcept {
    return {poller_, poller_->raw_.data(), poller_->raw_.data() + count_};
  }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }
  /// Whether no event is left to visit: the deadline passed, or only wake() was called.
  [[nodiscard]] bool empty() const noexcept { return begin() == end(); }
  /// Whether wake() was called since the previous wait.
  [[nodiscard]] bool woken() const noexcept { return woken_; }

 private:
  friend Poller;
  Batch(Poller* poller, std::size_t count, bool woken) noexcept
      : poller_(poller), count_(count), woken_(woken) {}

  Poller* poller_;
  std::size_t count_;
  bool woken_;
};

}  // namespace duolu
