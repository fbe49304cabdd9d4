// Public. Layer: poll. The readiness contract: which of many descriptors can be read or written
// now.
//
// One thread: the one that calls wait() makes every other call too, except wake(), which any thread
// and any signal handler may call. One process: in a forked child remove() and the destructor leave
// what is the parent's alone, add() and wait() abort (P37). The numbered clauses are in
// docs/contracts.md; every backend (select, poll, epoll) passes the same tests for them. A backend
// is one file in src/poll and one line in backends.def; backends.hpp lists and makes them.
//
//   auto poller = duolu::make_poller(duolu::real_kernel()).value();
//   duolu::Token token = poller->add(fd, duolu::Interest::readable).value();
//   const duolu::Result<duolu::Poller::Batch> batch = poller->wait(duolu::never);
//   for (const duolu::Event& event : batch.value())
//     if (event.readable()) ...
//
// (Name the batch: a range-for over `wait(...).value()` would let go of it before the first event.)
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/kernel/fork.hpp"
#include "duolu/kernel/kernel.hpp"
#include "duolu/poll/event.hpp"

namespace duolu {

/// How a Poller behaves.
struct PollerOptions {
  /// The largest `batch`.
  static constexpr std::size_t max_batch = 1'048'576;
  /// The most events one wait() hands out, 1 to max_batch. Memory: 12 to 16 bytes each.
  std::size_t batch = 256;
  /// wait() returns EINTR when a signal handler ran, instead of waiting on for the rest of the
  /// time.
  bool return_on_signal = false;
};

namespace detail {

/// One report as a backend leaves it. On Linux it has the layout of `struct epoll_event`, so that
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
  /// The index of no slot: below the generation while a slot is free, so that nothing names it.
  static constexpr std::uint64_t nobody = 0xffff'ffff;

  std::uint64_t token = std::uint64_t{1} << 32U | nobody;  ///< Generation and index.
  std::uint64_t data = 0;       ///< The caller's; the next free slot while free.
  std::uint32_t unusual = ~0U;  ///< The Ready bits that are not reported just as they come.
  int fd = -1;                  ///< -1: free.
  std::uint32_t backend = 0;    ///< The backend's own: epoll's bits in the kernel, poll's index.
  Interest interest = Interest::none;
  Trigger trigger = Trigger::level;
  /// Edge: directions a modify has armed anew (native) or that were reported and are silent until
  /// drained (emulated). Oneshot: any bit means armed anew (native).
  Interest pending = Interest::none;
  bool fired : 1 = false;    ///< Oneshot: reported, silent until the next modify.
  bool changed : 1 = false;  ///< On the list of changes that the next wait applies.
  bool dead : 1 = false;     ///< Found closed: reported (or about to be) as invalid, paused.
};

/// Slot numbers, each at most once. push() never takes memory.
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
/// the clauses. Owns none of the descriptors it watches. Not movable: make_poller() gives a
/// pointer.
class Poller {
 public:
  class Batch;

  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;
  /// Closes the poller's own descriptors. Registered ones stay as they are.
  virtual ~Poller() = default;

  /// Starts to watch `fd`, which stays the caller's. `data` comes back in every Event. With
  /// Interest::none the registration is paused until a modify().
  ///
  /// Errors, the same on every backend: EEXIST `fd` is registered here; EBADF not an open
  /// descriptor; EPERM cannot be watched (a regular file, a directory, /dev/null: read and write
  /// them straight away); EINVAL one of the poller's own descriptors, or unknown interest or
  /// trigger values; ENOSPC, ENOMEM the kernel's limits; on systems whose select has a fixed size,
  /// EMFILE.
  Result<Token> add(int fd, Interest interest, Trigger trigger = Trigger::level,
                    std::uint64_t data = 0);

  /// Changes what a registration waits for; the trigger stays. Takes effect at the next wait(),
  /// which is when a system call is made, if the change is still one by then.
  ///
  /// Edge: directions that were not wanted before are reported if ready; a modify() to the same
  /// interest re-arms all of them. Oneshot: arms again.
  /// Errors: ENOENT the token names no registration; EBADF it was reported invalid; EINVAL.
  Result<> modify(Token token, Interest interest);
  /// The same, and changes the trigger.
  Result<> modify(Token token, Interest interest, Trigger trigger);

  /// Changes the word that comes back in events. Errors: ENOENT.
  Result<> set_data(Token token, std::uint64_t data);

  /// Stops watching, at once: no event of this token is handed out any more, not even from the
  /// batch being visited. Call it before the descriptor is closed; after is allowed, and works.
  /// Errors: ENOENT.
  Result<> remove(Token token);

  /// Edge only: says that reading, writing or accepting met EAGAIN (or, on a stream socket, a short
  /// transfer, see Event::short_means_drained) in these directions: report the next readiness. Free
  /// where the kernel has edges of its own. Unknown tokens and other triggers are ignored.
  void drained(Token token, Interest directions) noexcept {
    if (emulates_edge_) drained_emulated(token, directions);
  }

  /// Waits until a registration has something to report, wake() was called, or `deadline` has
  /// passed; never shorter, and nothing is reported twice in one batch. `immediately` only looks.
  /// The batch is valid until the next wait(); visit it whole, since an edge or oneshot report that
  /// is not visited is lost.
  /// Errors: EINTR with `return_on_signal`; ENOMEM, ENOSPC, EMFILE, ENFILE where the kernel lacks
  /// memory or descriptors: registrations are kept, nothing that was to be reported is lost, and a
  /// later wait() may succeed. EBADF: one of the poller's own descriptors was closed by somebody
  /// else, and no wait() will succeed.
  [[nodiscard]] Result<Batch> wait(Instant deadline);

  /// Makes the wait() under way, or else the next one, return. Any thread, any signal handler.
  /// Wakes merge: however many there were since the last wait, one wait returns for them. In a
  /// forked child it does nothing: a poller belongs to the process that made it.
  void wake() noexcept;

  /// Whether edges are made of levels here, so that an edge costs more than a level, not less.
  [[nodiscard]] bool emulates_edge() const noexcept { return emulates_edge_; }
  /// How many registrations there are, paused ones included.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// The backend's name: "epoll".
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  /// A descriptor that becomes readable when wait(immediately) would report something, to watch the
  /// whole poller from another event loop; -1 where the backend has none (select, poll), or when it
  /// cannot be made now (EMFILE). Made when it is first asked for, it stays the same as long as the
  /// poller lives. Changes made by modify() count from the next wait() on.
  [[nodiscard]] virtual int fd() const noexcept { return -1; }
  /// The kernel this poller was made with.
  [[nodiscard]] Kernel& kernel() const noexcept { return kernel_; }

 protected:
  using Slot = detail::Slot;
  using RawEvent = detail::RawEvent;

  Poller(Kernel& kernel, PollerOptions options, bool emulates_edge);
  /// Opens the wake-up descriptor. Once, before anything else.
  Result<> open_waker();

  /// Whether `fd` is one of the backend's own.
  [[nodiscard]] virtual bool owns(int /*fd*/) const noexcept { return false; }

  // What a backend supplies. `index` names a slot whose fd, interest and trigger are set.

  /// Starts to watch slot `index`. `twin` is another slot with the same descriptor number, or 0:
  /// EEXIST if that one is alive, success if its descriptor was closed since. Takes the memory the
  /// other calls may need; std::bad_alloc is allowed here, before anything has changed.
  virtual Result<> attach(std::uint32_t index, std::uint32_t twin) = 0;
  /// Brings the kernel, or the backend's own set, to what wanted(slot) says. Calls invalidate()
  /// when the descriptor turns out to be closed.
  virtual void update(std::uint32_t index) noexcept = 0;
  /// Stops watching. `replaced`: the descriptor was closed and its number registered anew, so that
  /// whatever the kernel holds under that number is not this slot's.
  virtual void detach(std::uint32_t index, bool replaced) noexcept = 0;
  /// Waits and fills `out`, but for its last place unless a wake-up takes one; the count, or
  /// -errno. A null timeout waits for ever.
  virtual int harvest(std::span<RawEvent> out, const timespec* timeout) noexcept = 0;
  /// Gets rid of registrations the kernel still reports although they were removed or paused. Only
  /// a backend whose kernel keeps registrations needs it.
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
  /// What to watch for now: the interest, less what is silent, fired or dead.
  [[nodiscard]] static Interest wanted(const Slot& slot, bool emulates_edge) noexcept;
  /// For backends that emulate edge and oneshot: fills `out` for a slot found `ready`, and silences
  /// what was reported.
  void report(std::uint32_t index, std::uint32_t ready, RawEvent& out) noexcept;
  /// Marks a slot's descriptor as closed: it is reported as invalid once and paused.
  void invalidate(std::uint32_t index) noexcept;
  /// Has rebuild() called before the next harvest.
  void needs_rebuild() noexcept { needs_rebuild_ = true; }
  [[nodiscard]] int wake_fd() const noexcept { return wake_in_.get(); }
  /// Whether the wake-up descriptor is a pipe, which fills up; an eventfd only counts.
  [[nodiscard]] bool has_wake_pipe() const noexcept { return static_cast<bool>(wake_out_); }
  /// Empties the wake-up descriptor, for backends that see it as a level.
  void drain_waker() noexcept;

 private:
  Slot* lookup(Token token) noexcept;
  Result<> reserve_for(int fd);
  std::uint32_t take_slot() noexcept;
  void free_slot(std::uint32_t index) noexcept;
  /// What both modify() do, to a slot that lookup() gave.
  Result<> alter(Slot* known, Interest interest, Trigger trigger);
  void change(Slot& slot) noexcept;
  void apply_changes() noexcept;
  void drained_emulated(Token token, Interest directions) noexcept;
  /// Puts what was found closed behind the `count` reports there are, as far as there is room; how
  /// many there are then.
  std::size_t report_invalid(std::size_t count) noexcept;
  struct Sight {
    bool live = false;   ///< There is something to hand out.
    bool stale = false;  ///< The kernel holds what is no registration, or another one than ours.
  };
  Sight look(std::size_t count) noexcept;
  /// Keeps of the first `count` reports those that are to be handed out; how many.
  std::size_t keep_live(std::size_t count) noexcept;
  /// Aborts in a forked child (P37).
  void check_process() const noexcept;
  /// rebuild(), and if it fails, again by the next wait.
  Result<> renew();
  /// What to report of an event that is not to be taken as it is; 0 for nothing.
  std::uint32_t second_look(const RawEvent& raw) noexcept;

  Kernel& kernel_;
  const bool emulates_edge_;
  const bool return_on_signal_;
  bool needs_rebuild_ = false;
  bool suspect_ = false;        ///< A visited event was stale: perhaps the kernel keeps a dead one.
  std::vector<Slot> slots_{1};  ///< Slot 0 stands for the wake-up descriptor.
  std::uint32_t free_ = 0;      ///< First free slot, linked through Slot::data.
  std::size_t size_ = 0;
  std::vector<std::uint32_t> by_fd_;    ///< Descriptor number to slot; 0 for none.
  detail::SlotList changes_;            ///< Slots to update before the next wait.
  std::vector<std::uint32_t> invalid_;  ///< Slots to report as invalid.
  std::vector<RawEvent> raw_;           ///< One more than a batch, for the wake-up.
  Fd wake_in_;
  Fd wake_out_;                               ///< A pipe's writing end; none with an eventfd.
  int owner_ = 0;                             ///< The process this poller works in.
  const std::uint32_t forks_ = fork_count();  ///< In that process.
  std::atomic<bool> wake_pending_{false};
};

/// What one wait() found: visit it with a range-for. Events of registrations that were removed or
/// paused since the wait, by a handler earlier in the same batch, are left out.
class Poller::Batch {
 public:
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Event;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = Event;

    /// By value, so that the loop's own state stays in registers while a handler runs.
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
    /// Moves on to the first event that still means something, and reads it. Most are of a live
    /// registration and nothing but what it waits for: two comparisons tell.
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
  /// Whether there is nothing (left) to visit: the deadline passed, or only wake() was called.
  [[nodiscard]] bool empty() const noexcept { return begin() == end(); }
  /// Whether wake() was called since the wait before.
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
