#include "duolu/kernel/ring.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

namespace duolu {

namespace {

constexpr std::uint32_t needed_features =
    ring::feature_single_mmap | ring::feature_nodrop | ring::feature_ext_arg;

}  // namespace

std::span<const ring::FeatureName> ring::feature_names() noexcept {
  static constexpr FeatureName names[] = {
      {defer_taskrun, "defer-taskrun", "6.1", "completions are made when the program waits"},
      {coop_taskrun, "coop-taskrun", "5.19", "the same, less strictly; used without the former"},
      {no_sqarray, "no-sqarray", "6.6", "submissions are taken in order, without an index"},
      {submit_all, "submit-all", "5.18", "a bad submission does not hold up those behind it"},
      {registered_ring, "registered-ring", "5.18", "no look-up of the ring at every entry"},
      {cqe_skip, "cqe-skip", "5.17", "a cancellation makes no completion of its own"},
      {buffer_ring, "buffer-ring", "5.19", "the kernel picks the buffer when there is data"},
      {files, "files", "5.6", "files are read and written by requests, not on threads"},
  };
  return names;
}

Ring::~Ring() {
  if (entries_ != nullptr) kernel_->munmap(entries_, entries_bytes_);
  if (queues_ != nullptr) kernel_->munmap(queues_, queues_bytes_);
}

Result<> Ring::open(Kernel& kernel, std::uint32_t without) {
  kernel_ = &kernel;
  // Each step leaves out what is newest; a kernel that does not know a flag returns EINVAL.
  constexpr std::uint32_t steps[] = {
      ring::defer_taskrun | ring::submit_all | ring::no_sqarray,  // Linux 6.6
      ring::defer_taskrun | ring::submit_all,                     // 6.1
      ring::coop_taskrun | ring::submit_all,                      // 5.19
      ring::submit_all,                                           // 5.18
      0,                                                          // 5.11
  };
  RingParams params;
  int made = -ENOSYS;
  for (const std::uint32_t step : steps) {
    features_ = step & ~without;
    params = {};
    params.completions = completions;
    params.flags = ring::setup_cqsize | ring::setup_clamp | ring::setup_disabled;
    if (has(ring::defer_taskrun))
      params.flags |= ring::setup_single_issuer | ring::setup_defer_taskrun;
    if (has(ring::coop_taskrun)) params.flags |= ring::setup_coop_taskrun;
    if (has(ring::submit_all)) params.flags |= ring::setup_submit_all;
    if (has(ring::no_sqarray)) params.flags |= ring::setup_no_sqarray;
    made = kernel.io_uring_setup(submissions, reinterpret_cast<io_uring_params*>(&params));
    if (made != -EINVAL) break;
  }
  if (made < 0) return fail(made == -EINVAL ? ENOSYS : -made);
  fd_ = Fd(kernel, made);
  if ((params.features & needed_features) != needed_features) return fail(ENOSYS);
  if ((params.features & ring::feature_cqe_skip) != 0) features_ |= ring::cqe_skip;
  // Until they turn out to be missing.
  features_ |= ring::registered_ring | ring::buffer_ring | ring::files;
  features_ &= ~without;
  return map(params);
}

Result<> Ring::map(const RingParams& params) {
  const auto place = [&](std::size_t size, off_t offset, void*& out) {
    return kernel_->mmap(&out, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_.get(),
                         offset);
  };
  queues_bytes_ = params.done.completions + params.completions * sizeof(RingCompletion);
  if (!has(ring::no_sqarray))
    queues_bytes_ =
        std::max(queues_bytes_, params.submit.array + params.submissions * sizeof(unsigned));
  void* queues = nullptr;
  if (const int result = place(queues_bytes_, ring::offset_of_queues, queues); result < 0)
    return fail(-result);
  queues_ = queues;
  void* entries = nullptr;
  entries_bytes_ = params.submissions * sizeof(RingPlace);
  if (const int result = place(entries_bytes_, ring::offset_of_entries, entries); result < 0)
    return fail(-result);
  entries_ = static_cast<RingPlace*>(entries);

  char* const base = static_cast<char*>(queues);
  const auto number_at = [&](std::uint32_t offset) {
    return reinterpret_cast<unsigned*>(base + offset);
  };
  mask_ = params.submissions - 1;
  done_mask_ = params.completions - 1;
  tail_ = number_at(params.submit.tail);
  submit_flags_ = number_at(params.submit.flags);
  done_head_ = number_at(params.done.head);
  done_tail_ = number_at(params.done.tail);
  done_ = reinterpret_cast<RingCompletion*>(base + params.done.completions);
  filled_ = taken_ = *tail_;
  full_ = taken_ + params.submissions;
  if (!has(ring::no_sqarray))
    for (unsigned i = 0; i < params.submissions; ++i) number_at(params.submit.array)[i] = i;
  entered_ = fd_.get();
  enter_flags_ = ring::enter_getevents;
  return {};
}

[[gnu::noinline, gnu::cold]] int Ring::begin() noexcept {
  const int result = control(ring::register_enable_rings, nullptr, 0);
  if (result < 0) return result;
  enabled_ = true;
  // Saves the kernel a look-up of the number at every entry. The registration belongs to the
  // calling thread.
  RingUpdate self{.offset = ~0U, .reserved = 0, .data = static_cast<std::uint64_t>(fd_.get())};
  if (has(ring::registered_ring) && control(ring::register_ring_fds, &self, 1) == 1) {
    entered_ = static_cast<int>(self.offset);
    enter_flags_ |= ring::enter_registered;
  } else {
    features_ &= ~ring::registered_ring;
  }
  return 0;
}

int Ring::enter(unsigned wanted, const timespec* timeout) noexcept {
  if (!enabled_) [[unlikely]]
    if (const int result = begin(); result < 0) return result;
  std::atomic_ref(*tail_).store(filled_, std::memory_order_release);
  RingTime time{};
  RingWait argument{};
  unsigned flags = enter_flags_;
  if (wanted != 0 && timeout != nullptr) {
    time = {.seconds = timeout->tv_sec, .nanoseconds = timeout->tv_nsec};
    argument.timeout = reinterpret_cast<std::uintptr_t>(&time);
    flags |= ring::enter_ext_arg;
  }
  const bool extended = argument.timeout != 0;
  const int result =
      kernel_->io_uring_enter(entered_, filled_ - taken_, wanted, flags,
                              extended ? &argument : nullptr, extended ? sizeof argument : 0);
  if (result > 0) {
    taken_ += static_cast<unsigned>(result);
    full_ += static_cast<unsigned>(result);
  }
  return result;
}

[[gnu::noinline, gnu::cold]] void Ring::fetch_overflowed() noexcept {
  (void)kernel_->io_uring_enter(entered_, 0, 0, enter_flags_, nullptr, 0);
}

[[gnu::noinline, gnu::cold]] bool Ring::make_room() noexcept {
  int result = 0;
  do result = enter(0, nullptr);
  while (result == -EINTR);
  return filled_ != full_;
}

[[gnu::noinline, gnu::cold]] void Ring::ask_for_files() noexcept {
  asked_for_files_ = true;
  RingProbe probe{};
  const auto known = static_cast<unsigned>(std::size(probe.operations));
  const int result = control(ring::register_probe, &probe, known);
  for (const std::uint8_t each : {ring::op_fsync, ring::op_openat, ring::op_close, ring::op_statx,
                                  ring::op_read, ring::op_write})
    if (result < 0 || (probe.operations[each].flags & ring::is_supported) == 0) lacks(ring::files);
}

Result<std::uint32_t> find_ring_features(Kernel& kernel) {
  Ring ring;
  if (const Result<> opened = ring.open(kernel); !opened) return fail(opened.error());
  // Registers the ring, or finds that it cannot.
  if (const int result = ring.enter(0, nullptr); result < 0) return fail(-result);
  // A kernel that has buffer rings looks for this one, which does not exist; others return EINVAL.
  RingBuffers none{};
  if (ring.control(ring::unregister_buffer_ring, &none, 1) != -ENOENT)
    ring.lacks(ring::buffer_ring);
  (void)ring.has_files();
  std::uint32_t found = 0;
  for (const ring::FeatureName& each : ring::feature_names())
    if (ring.has(each.feature)) found |= each.feature;
  return found;
}

Probe explain_refusal(Kernel& kernel, std::error_code error) {
  switch (error.value()) {
    case ENOSYS:
      return {error, "this kernel has no io_uring, or one before Linux 5.11",
              "a newer kernel, or one with CONFIG_IO_URING; epoll does the same work"};
    case EPERM: {
      // kernel.io_uring_disabled (Linux 6.6): 1 for processes without CAP_SYS_ADMIN outside
      // io_uring_group, 2 for everybody.
      char setting = '?';
      if (const Fd file(kernel, kernel.open("/proc/sys/kernel/io_uring_disabled", O_RDONLY)); file)
        if (kernel.read(file.get(), &setting, 1) != 1) setting = '?';
      if (setting == '1' || setting == '2')
        return {error,
                std::string("io_uring is disabled here: kernel.io_uring_disabled is ") + setting,
                "sysctl kernel.io_uring_disabled=0, if you trust every program here with it"};
      return {error, "io_uring is forbidden here (EPERM), as by a container's seccomp filter",
              "allow io_uring_setup, io_uring_enter and io_uring_register in the filter"};
    }
    case ENOMEM:
      return {error, "no memory for a ring (ENOMEM)",
              "before Linux 5.12 it counts as locked memory: raise ulimit -l"};
    default:
      return {error, "making a ring: " + error.message(),
              "raise the descriptor limit (ulimit -n) or close some"};
  }
}

}  // namespace duolu
