// Public. Layer: kernel. One io_uring: its two queues in memory shared with the kernel, and the
// calls that move them. The binary interface is written down here, since build machines have older
// headers than the kernels that programs run on; io_uring_setup(2), io_uring_enter(2) and
// io_uring_register(2) of liburing document it.
//
// What the kernel does that shaped this file:
//   - With IORING_SETUP_DEFER_TASKRUN (Linux 6.1) completions are produced only inside
//     io_uring_enter() with GETEVENTS, and only the thread that enabled the ring may call that. So
//     the ring is made disabled, and enabled by the first enter(): a program may make it in another
//     thread than the one that uses it.
//   - A completion for which the queue has no room is kept in kernel memory (FEAT_NODROP), and
//     comes with a later enter().
//   - Some time after a ring was closed, a blocking call of the thread that made it may end with
//     EINTR, without a signal (io_ring_exit_work).
//   - The kernel may take fewer submissions than it was given. The rest stays in the queue, and the
//     next enter() submits it.
#pragma once

#include <time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "duolu/base/result.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/kernel/kernel.hpp"
#include "duolu/kernel/probe.hpp"

namespace duolu {

/// A request: what is used here of a struct io_uring_sqe.
struct RingEntry {
  std::uint8_t operation = 0;
  std::uint8_t flags = 0;
  std::uint16_t priority = 0;  ///< Of some operations: more flags.
  std::int32_t fd = 0;
  std::uint64_t offset = 0;
  std::uint64_t address = 0;
  std::uint32_t size = 0;
  std::uint32_t operation_flags = 0;  ///< msg_flags, poll32_events, accept_flags ...
  std::uint64_t user_data = 0;
};
static_assert(sizeof(RingEntry) == 40);
/// struct io_uring_sqe: a place in the queue of submissions.
struct RingPlace : RingEntry {
  std::uint64_t zeros[3] = {};  ///< buffer_group, personality, file_index, address3.
};
static_assert(sizeof(RingPlace) == 64);

/// struct io_uring_cqe: how a request ended, or what a multishot one reports.
struct RingCompletion {
  std::uint64_t user_data;
  std::int32_t result;
  std::uint32_t flags;
};
static_assert(sizeof(RingCompletion) == 16);

/// struct io_uring_buf: a buffer in a ring of provided buffers. The tail of that ring is where
/// `reserved` of the first one is.
struct RingBuffer {
  std::uint64_t address;
  std::uint32_t size;
  std::uint16_t id;
  std::uint16_t reserved;
};
static_assert(sizeof(RingBuffer) == 16);

/// struct io_uring_buf_reg: a ring of provided buffers, for (un)register_buffer_ring.
struct RingBuffers {
  std::uint64_t address;  ///< Of the first RingBuffer.
  std::uint32_t entries;  ///< A power of two.
  std::uint16_t group, flags;
  std::uint64_t reserved[3];
};

/// struct io_uring_params: what io_uring_setup() is asked for, and where the queues are in the
/// mappings.
struct RingParams {
  std::uint32_t submissions, completions, flags, thread_cpu, thread_idle, features, queue_fd;
  std::uint32_t reserved[3];
  struct {
    std::uint32_t head, tail, mask, entries, flags, dropped, array, reserved;
    std::uint64_t address;
  } submit;
  struct {
    std::uint32_t head, tail, mask, entries, overflow, completions, flags, reserved;
    std::uint64_t address;
  } done;
};
static_assert(sizeof(RingParams) == 120);

/// struct io_uring_rsrc_update, of register_ring_fds.
struct RingUpdate {
  std::uint32_t offset;  ///< The index; ~0 for one that the kernel chooses.
  std::uint32_t reserved;
  std::uint64_t data;  ///< The ring's descriptor.
};
/// struct io_uring_getevents_arg, with enter_ext_arg.
struct RingWait {
  std::uint64_t signals;
  std::uint32_t signals_size, least_usec;
  std::uint64_t timeout;  ///< Address of a RingTime.
};
/// struct __kernel_timespec.
struct RingTime {
  std::int64_t seconds, nanoseconds;
};

/// struct statx: what op_statx finds out, as far as it is read here.
struct RingStatus {
  std::uint32_t mask, block_size;
  std::uint64_t attributes;
  std::uint32_t links, user, group;
  std::uint16_t mode, reserved;
  std::uint64_t node, size, blocks, attributes_mask;
  struct Time {
    std::int64_t seconds;
    std::uint32_t nanoseconds;
    std::int32_t reserved;
  } accessed, born, changed, modified;
  std::uint64_t others[16];
};
static_assert(sizeof(RingStatus) == 256);

/// struct io_uring_probe, of register_probe.
struct RingProbe {
  std::uint8_t last_operation, count;
  std::uint16_t reserved;
  std::uint32_t reserved2[3];
  struct Operation {
    std::uint8_t operation, reserved;
    std::uint16_t flags;
    std::uint32_t reserved2;
  } operations[32];
};

namespace ring {

// enum io_uring_op
inline constexpr std::uint8_t op_fsync = 3;
inline constexpr std::uint8_t op_poll_add = 6;
inline constexpr std::uint8_t op_poll_remove = 7;
inline constexpr std::uint8_t op_sendmsg = 9;
inline constexpr std::uint8_t op_accept = 13;
inline constexpr std::uint8_t op_async_cancel = 14;
inline constexpr std::uint8_t op_openat = 18;
inline constexpr std::uint8_t op_close = 19;
inline constexpr std::uint8_t op_statx = 21;
inline constexpr std::uint8_t op_read = 22;
inline constexpr std::uint8_t op_write = 23;
inline constexpr std::uint8_t op_send = 26;
inline constexpr std::uint8_t op_recv = 27;

inline constexpr std::uint8_t select_buffer = 1U << 5U;  ///< IOSQE_BUFFER_SELECT
inline constexpr std::uint8_t skip_success = 1U << 6U;   ///< IOSQE_CQE_SKIP_SUCCESS (5.17)
inline constexpr std::uint32_t poll_multi = 1U << 0U;    ///< IORING_POLL_ADD_MULTI, in `size`

inline constexpr std::uint32_t only_data = 1U << 0U;  ///< IORING_FSYNC_DATASYNC

inline constexpr std::uint32_t has_buffer = 1U << 0U;  ///< IORING_CQE_F_BUFFER
inline constexpr std::uint32_t more = 1U << 1U;        ///< IORING_CQE_F_MORE
inline constexpr unsigned buffer_shift = 16;           ///< IORING_CQE_BUFFER_SHIFT

// IORING_SETUP_*, IORING_FEAT_*, IORING_SQ_*, IORING_ENTER_*, IORING_REGISTER_*, IORING_OFF_*
inline constexpr std::uint32_t setup_cqsize = 1U << 3U;
inline constexpr std::uint32_t setup_clamp = 1U << 4U;
inline constexpr std::uint32_t setup_disabled = 1U << 6U;
inline constexpr std::uint32_t setup_submit_all = 1U << 7U;
inline constexpr std::uint32_t setup_coop_taskrun = 1U << 8U;
inline constexpr std::uint32_t setup_single_issuer = 1U << 12U;
inline constexpr std::uint32_t setup_defer_taskrun = 1U << 13U;
inline constexpr std::uint32_t setup_no_sqarray = 1U << 16U;

inline constexpr std::uint32_t feature_single_mmap = 1U << 0U;
inline constexpr std::uint32_t feature_nodrop = 1U << 1U;
inline constexpr std::uint32_t feature_ext_arg = 1U << 8U;
inline constexpr std::uint32_t feature_cqe_skip = 1U << 11U;

inline constexpr unsigned cq_overflow = 1U << 1U;  ///< IORING_SQ_CQ_OVERFLOW (5.8)
inline constexpr unsigned enter_getevents = 1U << 0U;
inline constexpr unsigned enter_ext_arg = 1U << 3U;
inline constexpr unsigned enter_registered = 1U << 4U;

inline constexpr unsigned register_enable_rings = 12;
inline constexpr unsigned register_ring_fds = 20;

// What is mapped at which offset of the ring's descriptor.
inline constexpr std::int64_t offset_of_queues = 0;
inline constexpr std::int64_t offset_of_entries = 0x1000'0000;

inline constexpr unsigned register_eventfd = 4;          ///< IORING_REGISTER_EVENTFD (5.2)
inline constexpr unsigned register_probe = 8;            ///< IORING_REGISTER_PROBE (5.6)
inline constexpr std::uint16_t is_supported = 1U << 0U;  ///< IO_URING_OP_SUPPORTED
inline constexpr unsigned register_buffer_ring = 22;     ///< IORING_REGISTER_PBUF_RING (5.19)
inline constexpr unsigned unregister_buffer_ring = 23;   ///< IORING_UNREGISTER_PBUF_RING

/// What a kernel may lack, or a caller may do without, as bits.
enum Feature : std::uint32_t {
  defer_taskrun = 1U << 0U,    ///< SINGLE_ISSUER and DEFER_TASKRUN (6.1)
  coop_taskrun = 1U << 1U,     ///< COOP_TASKRUN (5.19), used where defer_taskrun is not
  no_sqarray = 1U << 2U,       ///< NO_SQARRAY (6.6)
  submit_all = 1U << 3U,       ///< SUBMIT_ALL (5.18)
  registered_ring = 1U << 4U,  ///< REGISTER_RING_FDS (5.18)
  cqe_skip = 1U << 5U,         ///< CQE_SKIP_SUCCESS (5.17)
  buffer_ring = 1U << 6U,      ///< REGISTER_PBUF_RING (5.19)
  files = 1U << 7U,            ///< OPENAT, CLOSE, STATX, READ, WRITE, FSYNC (5.6)
};

/// A feature, for people.
struct FeatureName {
  Feature feature;
  std::string_view name;   ///< "defer-taskrun".
  std::string_view since;  ///< The first kernel that has it: "6.1".
  std::string_view what;   ///< One line.
};
[[nodiscard]] std::span<const FeatureName> feature_names() noexcept;

}  // namespace ring

/// See the top of this file. One thread makes all calls but open() and the destructor.
class Ring {
 public:
  static constexpr unsigned submissions = 512;
  static constexpr unsigned completions = 8192;

  Ring() = default;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring();

  /// Makes the ring, with what the kernel has except `without` (bits of ring::Feature). `kernel`
  /// outlives this. Errors: ENOSYS no io_uring, or one before Linux 5.11; EPERM forbidden; ENOMEM
  /// (before Linux 5.12: RLIMIT_MEMLOCK); EMFILE, ENFILE.
  Result<> open(Kernel& kernel, std::uint32_t without = 0);
  [[nodiscard]] bool has(ring::Feature feature) const noexcept {
    return (features_ & feature) != 0;
  }
  /// Its use has shown that the kernel lacks it.
  void lacks(ring::Feature feature) noexcept { features_ &= ~feature; }
  /// Whether it performs requests about files. The first call asks the kernel.
  [[nodiscard]] bool has_files() noexcept {
    if (!asked_for_files_) [[unlikely]]
      ask_for_files();
    return has(ring::files);
  }
  /// The ring's descriptor.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  /// Whether there is a free submission; submits those that are filled in if there is none. False
  /// if the kernel takes nothing now: there may be completions to harvest, or memory is short.
  [[nodiscard]] bool has_room() noexcept { return has_free() || make_room(); }
  /// The same, but submits nothing.
  [[nodiscard]] bool has_free() const noexcept { return filled_ != full_; }
  /// After has_room() or has_free(): a submission, to be filled in completely, since it has what an
  /// earlier one left.
  [[nodiscard]] RingEntry& next() noexcept { return entries_[filled_++ & mask_]; }
  /// How many are filled in that the kernel has not taken.
  [[nodiscard]] unsigned unsubmitted() const noexcept { return filled_ - taken_; }

  /// Submits what is filled in; then waits for `wanted` completions, but not longer than `timeout`
  /// (null: for ever). Returns how many the kernel took, or -errno: -ETIME and -EINTR end the wait;
  /// -EBUSY: harvest first; -EAGAIN, -ENOMEM: the kernel has no memory for a submission now.
  int enter(unsigned wanted, const timespec* timeout) noexcept;

  /// Calls `each(completion)` for those that are there. It may call next().
  template <class Fn>
  void harvest(Fn each) noexcept {
    static_assert(std::is_nothrow_invocable_v<Fn, const RingCompletion&>);
    // Acquire: what the kernel wrote before it moved the tail, received bytes among it.
    const unsigned end = std::atomic_ref(*done_tail_).load(std::memory_order_acquire);
    unsigned at = *done_head_;
    if (at == end) return;
    for (; at != end; ++at) each(static_cast<const RingCompletion&>(done_[at & done_mask_]));
    std::atomic_ref(*done_head_).store(end, std::memory_order_release);
  }
  /// Whether the kernel keeps completions for which the queue had no room.
  [[nodiscard]] bool has_overflowed() const noexcept {
    return (std::atomic_ref(*submit_flags_).load(std::memory_order_relaxed) & ring::cq_overflow) !=
           0;
  }
  /// Puts those into the queue, as far as there is room; submits nothing.
  void fetch_overflowed() noexcept;
  /// io_uring_register(2).
  int control(unsigned operation, void* argument, unsigned count) noexcept {
    return kernel_->io_uring_register(fd_.get(), operation, argument, count);
  }

 private:
  bool make_room() noexcept;
  void ask_for_files() noexcept;
  Result<> map(const RingParams& params);
  int begin() noexcept;

  Kernel* kernel_ = nullptr;
  Fd fd_;
  int entered_ = -1;  ///< What enter() names: fd_, or its index if it is registered.
  unsigned enter_flags_ = 0;
  std::uint32_t features_ = 0;
  bool enabled_ = false;
  bool asked_for_files_ = false;

  unsigned mask_ = 0;    ///< The size of the submission queue - 1.
  unsigned filled_ = 0;  ///< Counts submissions that were filled in, and those that were taken.
  unsigned taken_ = 0;
  unsigned full_ = 0;  ///< Where `filled_` may not go further.
  unsigned done_mask_ = 0;
  RingPlace* entries_ = nullptr;
  RingCompletion* done_ = nullptr;
  unsigned* tail_ = nullptr;
  unsigned* submit_flags_ = nullptr;
  unsigned* done_head_ = nullptr;
  unsigned* done_tail_ = nullptr;
  void* queues_ = nullptr;  ///< The mapping of both queues.
  std::size_t queues_bytes_ = 0;
  std::size_t entries_bytes_ = 0;
};

/// What a ring has here, as bits of ring::Feature. Makes one, and closes it. Errors: as
/// Ring::open().
[[nodiscard]] Result<std::uint32_t> find_ring_features(Kernel& kernel);

/// Why no ring can be made, as `error` of Ring::open() says, and what would help.
[[nodiscard]] Probe explain_refusal(Kernel& kernel, std::error_code error);

}  // namespace duolu
