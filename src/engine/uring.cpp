// The engine over io_uring: the kernel performs the request and reports its end.
//
// A request is one submission, whose user data is the address of its descriptor and a tag. Nothing
// is submitted before wait(), which submits everything and waits in one system call.
//
// What the kernel does that shaped this file:
//   - A request that was submitted ends with a completion, also after it was cancelled: only then
//     are its buffers and its Op free. So cancel() is a submission too.
//   - A lent receive names no buffer. The kernel takes one from a ring of provided buffers when
//     there is something to receive, so that idle connections hold none. If the ring is empty, the
//     receive ends with ENOBUFS, and waits in LeasePool's order for a buffer.
//   - A send with MSG_WAITALL would continue until all is sent, but an error that ends it after a
//     part is lost: the completion has the size of the part, and the socket's error was taken. So
//     each send ends with what the socket has room for, and the rest is submitted again.
//   - A descriptor whose file does not support non-blocking attempts (a terminal) makes a request
//     end with EAGAIN. What is not a connected socket is therefore attempted by a system call
//     first, as in the readiness engine, and the ring only waits until it can be attempted again.
//     The same holds for connecting: a worker thread of the kernel would block in connect(2) of a
//     Unix socket whose peer's backlog is full. A regular file is never waited for by a poll, but
//     the kernel reads and writes it in threads of its own.
//   - A poll request is level-triggered when it is submitted. Each is used once.
//   - One accept in the kernel means one connection a wait. A multishot accept would empty the
//     backlog, up to the limit of descriptors, whether anybody asks for the connections or not. So
//     a listener whose connections come in bursts has several accepts there, and no more than that
//     are accepted early (EN17).

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "attempts.hpp"
#include "duolu/base/check.hpp"
#include "duolu/engine/engines.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/kernel/fork.hpp"
#include "duolu/kernel/ring.hpp"
#include "duolu/kernel/time_left.hpp"
#include "duolu/kernel/waker.hpp"

namespace duolu {
namespace {

// Bits of Op::calls, which is never 0 here.
constexpr std::uint8_t none = 1;
constexpr std::uint8_t polls = 2;              ///< The ring waits until it can be attempted.
constexpr std::uint8_t cancelled = 4;          ///< cancel() was called; the end has not come yet.
constexpr std::uint8_t postponed = 8;          ///< In the list of those the queue has no room for.
constexpr std::uint8_t cancel_postponed = 16;  ///< In that list, to be cancelled in the kernel.
constexpr std::uint8_t keeps_buffer = 32;      ///< send_lent: LeasePool::take_out() was called.

struct Accepts;

struct Ringed : Tried {
  /// By what requests it is received from and sent to.
  enum class Native : std::uint8_t { no, socket, file, listener } native = Native::no;
  union {
    Ringed* next_sending = nullptr;  ///< In the list of lent buffers being sent.
    Accepts* accepts;                ///< Of a listener.
  };
};

/// The accepts of a listener in the kernel, and what they have accepted before it was requested.
/// It lives until they have all ended.
struct Accepts {
  static constexpr std::size_t most = 16;
  struct Slot {
    enum class State : std::uint8_t { free, accepting, polling };
    Accepts* of = nullptr;
    State state = State::free;
  };

  Ringed* listener = nullptr;  ///< Null: closed.
  std::array<Slot, most> slots;
  std::array<int, most> early{};  ///< Accepted; the first is the oldest.
  std::size_t early_count = 0;
  std::size_t in_kernel = 0;
  std::size_t goal = 1;         ///< How many may be there.
  std::uint64_t last_wait = 0;  ///< When the last connection came.
  bool only_polls = false;      ///< The kernel waits in no accept of a non-blocking socket.

  explicit Accepts(Ringed& of) noexcept : listener(&of) {
    for (Slot& slot : slots) slot.of = this;
  }
  int take_early() noexcept {
    const int first = early.front();
    std::copy(early.begin() + 1, early.begin() + static_cast<std::ptrdiff_t>(early_count),
              early.begin());
    --early_count;
    return first;
  }
};

// The tag in user data: descriptors are aligned to more than 3 bits.
constexpr std::uint64_t is_out = 1;      ///< The request of `out`, else that of `in`.
constexpr std::uint64_t is_ignored = 2;  ///< The end of a cancellation.
constexpr std::uint64_t is_accept = 3;   ///< The address is that of an Accepts::Slot.
constexpr std::uint64_t is_wake = 4;     ///< Of the waker; without a descriptor.
constexpr std::uint64_t is_file = 6;     ///< The address is that of a FileOp.
constexpr std::uint64_t tag_bits = 7;
static_assert(alignof(Ringed) > tag_bits && alignof(FileOp) > tag_bits &&
              alignof(Accepts::Slot) > tag_bits);

constexpr std::size_t least_provided = 16;

/// How often leave() looks for the ends of accepts. Each time there are more of them, unless the
/// kernel has no memory.
constexpr int most_looks = 1024;

class UringEngine final : public TryingEngine<UringEngine, Ringed> {
  friend TryingEngine;

 public:
  UringEngine(Kernel& kernel, const EngineOptions& options)
      : TryingEngine(kernel, options),
        without_(options.ring_without),
        waker_(kernel),
        most_provided_(most_provided(options)) {}
  UringEngine(const UringEngine&) = delete;
  UringEngine& operator=(const UringEngine&) = delete;
  ~UringEngine() override {
    if (files_ != 0 && !exiting())
      check_failed("a Loop is destroyed while a task waits for a file");
    give_back_provided();
    if (buffers_ != nullptr) kernel().munmap(buffers_, buffers_bytes());
  }

  Result<> open() {
    if (Result<> opened = waker_.open(); !opened) return opened;
    if (Result<> opened = ring_.open(kernel(), without_); !opened) return opened;
    if (Result<> mapped = map_buffers(); !mapped) return mapped;
    arm_waker();
    return {};
  }

  Result<Descriptor*> open(int fd, DescriptorKind kind) override {
    // A socket is one that was just made or accepted; a file may be any number.
    struct stat about{};
    if (kind == DescriptorKind::file)
      if (const int result = kernel().fstat(fd, &about); result < 0) return fail(-result);
    Ringed& descriptor = next_free();
    take(descriptor, fd, kind);
    if (kind == DescriptorKind::tcp || kind == DescriptorKind::socket)
      descriptor.native = Ringed::Native::socket;
    else if (S_ISREG(about.st_mode) || S_ISBLK(about.st_mode))
      descriptor.native = Ringed::Native::file;
    return &descriptor;
  }

  bool start_send(Descriptor& opened) override {
    auto& descriptor = static_cast<Ringed&>(opened);
    if (!fits_at_once(descriptor)) [[unlikely]]
      return start_out(descriptor);
    return send_at_once(descriptor);
  }
  bool start_send_lent(Descriptor& opened) override {
    auto& descriptor = static_cast<Ringed&>(opened);
    if (!fits_at_once(descriptor)) [[unlikely]]
      return start_send_lent_otherwise(descriptor);
    note_sending(descriptor);
    return send_at_once(descriptor);
  }
  [[gnu::noinline]] bool start_out(Descriptor& opened) override {
    auto& descriptor = static_cast<Ringed&>(opened);
    descriptor.out.moved = 0;
    if (descriptor.out.code == Op::Code::connect) return start_connect(descriptor);
    return start(descriptor, descriptor.out);
  }

  bool start_file(FileOp& op) override {
    check_process();
    if (!ring_.has_files() || !ring_.has_room()) return false;
    op.code = Op::Code::file;
    op.calls = none;
    op.state = Op::State::parked;
    fill_file(ring_.next(), op);
    ++files_;
    return true;
  }

  void cancel(Op& op) noexcept override {
    if (op.code == Op::Code::file) return cancel_file(static_cast<FileOp&>(op));
    if (op.state == Op::State::starved) {
      leases_.forget(op);
      finish(op, -ECANCELED);
    } else if (op.state == Op::State::parked && (op.calls & cancelled) == 0) {
      if (forks_ != fork_count()) return end(request_of(op), -ECANCELED);  // the ring is not ours
      op.calls |= cancelled;
      if ((op.calls & postponed) == 0) cancel_in_kernel(request_of(op));
    }
  }

  Result<bool> wait(Instant deadline) override {
    check_process();
    left_ = budget_;
    ++waits_;
    if (first_postponed_ != nullptr) [[unlikely]]
      submit_postponed();
    if (front_) drain_front();
    for (;;) {
      if (!waker_armed_) [[unlikely]]
        arm_waker();
      if (leases_.first_starved() != nullptr) feed();
      if (buffers_ != nullptr) provide(receiving_lent_);
      timespec storage;
      const timespec* timeout = nullptr;
      const bool passed =
          time_left(kernel(), has_finished() ? immediately : deadline, storage, timeout);
      // EN10: a buffer that is being sent may be what a starved request waits for.
      const bool may_feed =
          leases_.first_starved() != nullptr && (sending_ != nullptr || provided_count_ > 0);
      const int result = ring_.enter(passed || may_feed || !waker_armed_ ? 0 : 1, timeout);
      harvest();
      keep_rests();
      const bool woken = waker_.take();
      if (has_finished() || woken) return woken;
      switch (result) {
        case -EAGAIN: return fail(ENOMEM);
        case -EINTR:
        case -EBUSY:
        case -ETIME: break;
        default:
          if (result < 0) return fail(-result);
      }
      if (passed) return false;
    }
  }

  void wake() noexcept override { waker_.wake(); }
  int fd() const noexcept override {
    if (!front_) open_front();
    return front_.get();
  }
  bool due() const noexcept override {
    return has_finished() || ring_.unsubmitted() != 0 || first_postponed_ != nullptr ||
           (leases_.first_starved() != nullptr && leases_.can_lend());
  }

 private:
  /// A direction of a descriptor.
  struct Request {
    Ringed& descriptor;
    bool out;

    [[nodiscard]] Op& op() const noexcept { return out ? descriptor.out : descriptor.in; }
    [[nodiscard]] std::uint64_t user_data() const noexcept {
      return reinterpret_cast<std::uintptr_t>(&descriptor) | (out ? is_out : 0);
    }
  };
  static Request request_of(Op& op) noexcept {
    if (!is_of_out(op)) return {of_in(op), false};
    auto* const descriptor =
        reinterpret_cast<Descriptor*>(reinterpret_cast<char*>(&op) - offsetof(Descriptor, out));
    return {static_cast<Ringed&>(*descriptor), true};
  }
  static bool is_of_out(const Op& op) noexcept {
    switch (op.code) {
      case Op::Code::send:
      case Op::Code::send_lent:
      case Op::Code::sendmsg:
      case Op::Code::connect:
      case Op::Code::poll_out: return true;
      default: return false;
    }
  }

  /// A poll of the ring's descriptor may sleep although the kernel has deferred work for the ring,
  /// which produces completions; its eventfd is written in that case, too.
  void open_front() const noexcept {
    Fd made(kernel(), kernel().eventfd());
    int number = made.get();
    (void)ring_.enter(0, nullptr);  // submits the waker's poll
    if (made && ring_.control(ring::register_eventfd, &number, 1) == 0) front_ = std::move(made);
  }
  void drain_front() noexcept {
    std::uint64_t count = 0;
    (void)kernel().read(front_.get(), &count, sizeof count);
  }

  void check_process() const noexcept {
    if (forks_ != fork_count()) [[unlikely]]
      in_a_child();
  }
  [[noreturn, gnu::noinline, gnu::cold]] static void in_a_child() noexcept {
    check_failed("a Loop is used in a forked child, and has to be made anew there (P37)");
  }

  // --- requests

  /// Whether a request of it can be filled in without further ado.
  [[nodiscard]] bool fits_at_once(const Ringed& descriptor) const noexcept {
    return is_connected(descriptor) && ring_.has_free();
  }
  bool send_at_once(Ringed& descriptor) noexcept {
    check_process();
    descriptor.out.moved = 0;
    descriptor.out.state = Op::State::parked;
    fill_send(ring_.next(), descriptor);
    return false;
  }
  void note_sending(Ringed& descriptor) noexcept {
    descriptor.next_sending = std::exchange(sending_, &descriptor);
  }
  bool try_in(Descriptor& opened) override {
    auto& descriptor = static_cast<Ringed&>(opened);
    Op& op = descriptor.in;
    if (!fits_at_once(descriptor)) [[unlikely]]
      return start(descriptor, op);
    if (op.code == Op::Code::recv_lent && may_find_buffer()) {
      check_process();
      fill_recv_lent(ring_.next(), descriptor);
    } else if (op.code == Op::Code::recv) {
      check_process();
      fill_recv(ring_.next(), descriptor);
    } else {
      return start(descriptor, op);
    }
    op.state = Op::State::parked;
    return false;
  }
  static bool is_connected(const Ringed& descriptor) noexcept {
    return descriptor.native == Ringed::Native::socket;
  }
  static bool is_native(const Ringed& descriptor) noexcept {
    return is_connected(descriptor) || descriptor.native == Ringed::Native::file;
  }
  /// Whether the kernel performs it; else it is attempted by system calls.
  [[nodiscard]] bool is_native(const Ringed& descriptor, const Op& op) const noexcept {
    switch (op.code) {
      case Op::Code::recv:
      case Op::Code::send:
      case Op::Code::send_lent: return is_native(descriptor);
      case Op::Code::recv_lent: return is_native(descriptor) && buffers_ != nullptr;
      case Op::Code::sendmsg: {
        // One that names its receiver may find that one's queue full, for which no poll waits: the
        // kernel would make a blocking attempt in a thread of its own.
        const auto& message = *reinterpret_cast<const msghdr*>(op.data);
        return is_connected(descriptor) && message.msg_name == nullptr &&
               message.msg_iovlen <= IOV_MAX;
      }
      default: return false;
    }
  }

  /// Each function that starts a request returns whether it has ended, as EN1 says.
  [[gnu::noinline]] bool start(Ringed& descriptor, Op& op) {
    check_process();
    if (op.code == Op::Code::accept) return start_accept(descriptor);
    if (!is_native(descriptor, op)) return attempt(descriptor, op);
    op.state = Op::State::parked;
    submit({descriptor, &op == &descriptor.out});
    return false;
  }
  [[gnu::noinline, gnu::cold]] bool start_send_lent_otherwise(Ringed& descriptor) {
    if (is_native(descriptor)) {
      note_sending(descriptor);
      return start_out(descriptor);
    }
    Op& op = descriptor.out;
    leases_.take_out(LentBuffer::of(op.data));
    op.calls |= keeps_buffer;
    if (!attempt(descriptor, op)) return false;
    drop_rest(op);
    op.calls = none;
    return true;
  }

  void submit(Request request) noexcept {
    if (request.op().code == Op::Code::recv_lent && !may_find_buffer()) [[unlikely]]
      leases_.starve(request.op());
    else
      submit_now(request);
  }
  /// Whether a lent receive need not wait behind others, or for a buffer to come back.
  [[nodiscard]] bool may_find_buffer() const noexcept {
    return leases_.first_starved() == nullptr &&
           (provided_count_ > 0 || (buffers_ != nullptr && leases_.can_lend()));
  }
  void submit_now(Request request) noexcept {
    if (request.op().code == Op::Code::accept)
      submit_accepts(request.descriptor);
    else if (ring_.has_room()) [[likely]]
      fill(ring_.next(), request);
    else
      postpone(request, postponed);
  }

  void fill_recv_lent(RingEntry& entry, Ringed& descriptor) noexcept {
    ++receiving_lent_;
    entry = {.operation = ring::op_recv,
             .flags = ring::select_buffer,
             .fd = descriptor.fd,
             .user_data = Request{descriptor, false}.user_data()};
  }
  static void fill_recv(RingEntry& entry, Ringed& descriptor) noexcept {
    entry = {.operation = ring::op_recv,
             .fd = descriptor.fd,
             .address = reinterpret_cast<std::uintptr_t>(descriptor.in.data),
             .size = descriptor.in.size,
             .user_data = Request{descriptor, false}.user_data()};
  }
  static void fill_send(RingEntry& entry, Ringed& descriptor) noexcept {
    const Op& op = descriptor.out;
    entry = {.operation = ring::op_send,
             .fd = descriptor.fd,
             .address = reinterpret_cast<std::uintptr_t>(op.data + op.moved),
             .size = op.size - static_cast<std::uint32_t>(op.moved),
             .operation_flags = MSG_NOSIGNAL,
             .user_data = Request{descriptor, true}.user_data()};
  }
  /// At the file's own position. A thread of the kernel waits for the disk, not the loop.
  static void make_file_request(RingEntry& entry, std::uint8_t operation) noexcept {
    entry.operation = operation;
    entry.operation_flags = 0;
    entry.offset = ~std::uint64_t{0};
  }
  void fill(RingEntry& entry, Request request) noexcept {
    const Op& op = request.op();
    if ((op.calls & polls) != 0) {
      entry = {.operation = ring::op_poll_add,
               .operation_flags = poll_events(request.out ? POLLOUT : POLLIN | POLLRDHUP)};
    } else if (op.code == Op::Code::recv) {
      fill_recv(entry, request.descriptor);
    } else if (op.code == Op::Code::recv_lent) {
      fill_recv_lent(entry, request.descriptor);
    } else if (op.code == Op::Code::sendmsg) {
      entry = {.operation = ring::op_sendmsg,
               .address = reinterpret_cast<std::uintptr_t>(op.data),
               .size = 1,
               .operation_flags = MSG_NOSIGNAL};
    } else {
      fill_send(entry, request.descriptor);
    }
    entry.fd = request.descriptor.fd;
    entry.user_data = request.user_data();
    if (request.descriptor.native == Ringed::Native::file && (op.calls & polls) == 0)
      make_file_request(entry, request.out ? ring::op_write : ring::op_read);
  }
  /// poll32_events has its halves exchanged on big-endian machines.
  static constexpr std::uint32_t poll_events(std::uint32_t events) noexcept {
    return std::endian::native == std::endian::little ? events : events << 16U | events >> 16U;
  }

  /// The request waits until `direction` may be ready. True: it was cancelled meanwhile.
  bool drained(Ringed& descriptor, Op& op, Interest direction) noexcept {
    if ((op.calls & cancelled) != 0) return ended_with(op, -ECANCELED);
    op.calls |= polls;
    submit_now({descriptor, direction == Interest::writable});
    return false;
  }
  void note_drained(Ringed& /*descriptor*/, Op& /*op*/, Interest /*direction*/) noexcept {}

  void cancel_in_kernel(Request request) noexcept {
    const bool submitted = request.op().code == Op::Code::accept
                               ? cancel_accepts(*request.descriptor.accepts)
                               : submit_cancel(request.user_data());
    if (!submitted) [[unlikely]]
      postpone(request, cancel_postponed);
  }
  /// False if there is no room.
  bool submit_cancel(std::uint64_t user_data) noexcept {
    if (!ring_.has_room()) [[unlikely]]
      return false;
    ring_.next() = {.operation = ring::op_async_cancel,
                    .flags = ring_.has(ring::cqe_skip) ? ring::skip_success : std::uint8_t{},
                    .fd = -1,
                    .address = user_data,
                    .user_data = is_ignored};
    return true;
  }

  void tell_receiver(Ringed& descriptor) noexcept {
    // Its poll ends with ECANCELED, and the next attempt with the error.
    if (descriptor.in.state == Op::State::parked && descriptor.in.calls == (none | polls))
      cancel_in_kernel({descriptor, false});
  }

  // Requests that the queue has no room for, since the kernel takes nothing from it (no memory).
  // They are linked by Op::next.

  [[gnu::noinline, gnu::cold]] void postpone(Request request, std::uint8_t how) noexcept {
    Op& op = request.op();
    op.calls |= how;
    op.next = nullptr;
    *last_postponed_ = &op;
    last_postponed_ = &op.next;
  }
  [[gnu::noinline, gnu::cold]] void submit_postponed() noexcept {
    Op* op = std::exchange(first_postponed_, nullptr);
    last_postponed_ = &first_postponed_;
    while (op != nullptr) {
      Op* const next = op->next;
      const Request request = request_of(*op);
      const std::uint8_t how = op->calls & (postponed | cancel_postponed);
      op->calls = static_cast<std::uint8_t>(op->calls - how);
      if (how == cancel_postponed)
        cancel_in_kernel(request);
      else if ((op->calls & cancelled) != 0)
        end(request, -ECANCELED);
      else
        submit_now(request);
      op = next;
    }
  }
  /// It has ended before it could be cancelled.
  [[gnu::noinline, gnu::cold]] void forget_postponed(Op& op) noexcept {
    for (Op** link = &first_postponed_; *link != nullptr; link = &(*link)->next) {
      if (*link != &op) continue;
      *link = op.next;
      if (last_postponed_ == &op.next) last_postponed_ = link;
      return;
    }
  }

  // --- completions

  void harvest() noexcept {
    ring_.harvest([this](RingCompletion completion) noexcept { complete(completion); });
  }
  void complete(RingCompletion completion) noexcept {
    switch (completion.user_data & tag_bits) {
      case 0: return complete_in(descriptor_of(completion.user_data), completion);
      case is_out:
        return complete_out(descriptor_of(completion.user_data - is_out), completion.result);
      default: return woken(completion);
    }
  }
  static Ringed& descriptor_of(std::uint64_t address) noexcept {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): it was a pointer, see Request::user_data()
    return *reinterpret_cast<Ringed*>(address);
  }

  void woken(RingCompletion completion) noexcept {
    if ((completion.user_data & tag_bits) == is_file) return complete_file(completion);
    if ((completion.user_data & tag_bits) == is_accept) return complete_accept(completion);
    if ((completion.user_data & is_wake) == 0) return;
    if ((completion.flags & ring::more) == 0) arm_waker();
  }
  /// A multishot poll of an eventfd reports every write. A pipe fills up, and a poll that is made
  /// anew is level-triggered: both need an empty waker.
  void arm_waker() noexcept {
    waker_.drain();
    waker_armed_ = ring_.has_room();
    if (!waker_armed_) return;
    ring_.next() = {.operation = ring::op_poll_add,
                    .fd = waker_.fd(),
                    .size = waker_.is_pipe() ? 0 : ring::poll_multi,
                    .operation_flags = poll_events(POLLIN),
                    .user_data = is_wake};
  }

  void complete_in(Ringed& descriptor, RingCompletion completion) noexcept {
    Op& op = descriptor.in;
    if ((completion.flags & ring::has_buffer) != 0 && completion.result > 0) [[likely]] {
      --receiving_lent_;
      op.data = take_provided(completion.flags >> ring::buffer_shift);
      if (op.calls == none) [[likely]]
        return finish(op, completion.result);
      return end_in(op, completion.result);
    }
    if (op.code == Op::Code::recv && op.calls == none && completion.result > 0)
      return finish(op, completion.result);
    complete_in_otherwise(descriptor, completion);
  }
  [[gnu::noinline]] void complete_in_otherwise(Ringed& descriptor,
                                               RingCompletion completion) noexcept {
    Op& op = descriptor.in;
    std::int32_t result = completion.result;
    if ((op.calls & polls) != 0) return polled({descriptor, false}, result);
    if (op.code == Op::Code::recv_lent) {
      --receiving_lent_;
      if ((completion.flags & ring::has_buffer) != 0)
        give_back(LentBuffer::of(take_provided(completion.flags >> ring::buffer_shift)));
      if (result == -ENOBUFS) {
        if ((op.calls & cancelled) == 0) return starve(op);
        result = -ECANCELED;
      }
    }
    if (result < 0 && again_later({descriptor, false}, result)) return;
    if (result <= 0) result = static_cast<std::int32_t>(end_of(descriptor, result));
    end_in(op, result);
  }
  void end_in(Op& op, std::int32_t result) noexcept {
    if ((op.calls & cancel_postponed) != 0) [[unlikely]]
      forget_postponed(op);
    op.calls = none;
    finish(op, result);
  }

  void complete_out(Ringed& descriptor, std::int32_t result) noexcept {
    Op& op = descriptor.out;
    // The size of a sendmsg is 0, as is the result if its parts are empty.
    if (op.calls == none && result >= 0 && op.moved + static_cast<std::uint32_t>(result) == op.size)
        [[likely]] {
      op.moved = op.size;
      if (op.code == Op::Code::send_lent) give_back(LentBuffer::of(op.data));
      return finish(op, 0);
    }
    complete_out_otherwise(descriptor, result);
  }
  [[gnu::noinline]] void complete_out_otherwise(Ringed& descriptor, std::int32_t result) noexcept {
    Op& op = descriptor.out;
    if ((op.calls & polls) != 0) [[unlikely]]
      return polled({descriptor, true}, result);
    if (result < 0) [[unlikely]] {
      if (again_later({descriptor, true}, result)) return;
      note_error(descriptor, result);
      return end_out(descriptor, result);
    }
    op.moved += static_cast<std::uint64_t>(result);
    const bool all = op.code == Op::Code::sendmsg ? skip(*reinterpret_cast<msghdr*>(op.data),
                                                         static_cast<std::size_t>(result))
                                                  : op.moved == op.size;
    if (all) [[likely]]
      return end_out(descriptor, 0);
    if ((op.calls & cancelled) != 0) return end_out(descriptor, -ECANCELED);
    submit_now({descriptor, true});
  }
  void end_out(Ringed& descriptor, std::int32_t result) noexcept {
    Op& op = descriptor.out;
    if (op.code == Op::Code::send_lent) {
      LentBuffer& buffer = LentBuffer::of(std::exchange(op.data, nullptr));
      if ((op.calls & keeps_buffer) != 0) [[unlikely]]
        leases_.put_back(buffer);
      else
        give_back(buffer);
    }
    end_in(op, result);
  }
  void end(Request request, std::int32_t result) noexcept {
    if (request.out)
      end_out(request.descriptor, result);
    else
      end_in(request.descriptor.in, result);
  }

  /// Whether a request that ended with `result` is to be made again, perhaps when it can succeed.
  bool again_later(Request request, std::int32_t& result) noexcept {
    if (result != -EINTR && result != -EAGAIN) return false;
    Op& op = request.op();
    if ((op.calls & cancelled) != 0) {
      result = -ECANCELED;
      return false;
    }
    if (result == -EAGAIN) op.calls |= polls;
    submit_now(request);
    return true;
  }

  /// The ring has waited until the request can be attempted.
  [[gnu::noinline, gnu::cold]] void polled(Request request, std::int32_t result) noexcept {
    Op& op = request.op();
    op.calls = static_cast<std::uint8_t>(op.calls & ~polls);
    const bool was_cancelled = (op.calls & cancelled) != 0;
    if (result < 0 && (was_cancelled || result != -ECANCELED)) return end(request, result);
    if (is_native(request.descriptor, op)) {
      if (was_cancelled) return end(request, -ECANCELED);
      return submit(request);
    }
    if (advance(request.descriptor, op)) end(request, op.result);
  }

  /// K7: `fd`, or the same file under a number above standard error's.
  [[gnu::noinline, gnu::cold]] int above_standard(int fd) noexcept {
    const int moved = kernel().fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    kernel().close(fd);
    return moved;
  }

  // --- accepting

  static std::uint64_t user_data_of(const Accepts::Slot& slot) noexcept {
    return reinterpret_cast<std::uintptr_t>(&slot) | is_accept;
  }
  static bool wants_connection(const Op& op) noexcept {
    return op.state == Op::State::parked && op.code == Op::Code::accept;
  }

  [[gnu::noinline]] bool start_accept(Ringed& descriptor) {
    Op& op = descriptor.in;
    if (descriptor.native != Ringed::Native::listener) {
      try {
        accepts_.push_back(std::make_unique<Accepts>(descriptor));
      } catch (const std::bad_alloc&) {
        return ended_with(op, -ENOMEM) && end_now(op);
      }
      descriptor.native = Ringed::Native::listener;
      descriptor.accepts = accepts_.back().get();
    }
    if (descriptor.accepts->early_count > 0)
      return ended_with(op, descriptor.accepts->take_early()) && end_now(op);
    op.state = Op::State::parked;
    submit_accepts(descriptor);
    return false;
  }
  /// As many as the goal says; without room for any, the request is postponed.
  void submit_accepts(Ringed& descriptor) noexcept {
    Accepts& accepts = *descriptor.accepts;
    for (Accepts::Slot& slot : accepts.slots) {
      if (accepts.in_kernel >= accepts.goal || !ring_.has_room()) break;
      if (slot.state != Accepts::Slot::State::free) continue;
      ++accepts.in_kernel;
      fill_accept(slot, accepts.only_polls);
    }
    if (accepts.in_kernel == 0) [[unlikely]]
      postpone({descriptor, false}, postponed);
  }
  void fill_accept(Accepts::Slot& slot, bool by_poll) noexcept {
    slot.state = by_poll ? Accepts::Slot::State::polling : Accepts::Slot::State::accepting;
    RingEntry& entry = ring_.next();
    if (by_poll)
      entry = {.operation = ring::op_poll_add, .operation_flags = poll_events(POLLIN)};
    else
      entry = {.operation = ring::op_accept, .operation_flags = SOCK_NONBLOCK | SOCK_CLOEXEC};
    entry.fd = slot.of->listener->fd;
    entry.user_data = user_data_of(slot);
  }
  /// False if there was no room for all.
  bool cancel_accepts(Accepts& accepts) noexcept {
    accepts.goal = 1;
    for (const Accepts::Slot& slot : accepts.slots)
      if (slot.state != Accepts::Slot::State::free && !submit_cancel(user_data_of(slot)))
        return false;
    return true;
  }

  [[gnu::noinline]] void complete_accept(RingCompletion completion) noexcept {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): it was a pointer, see user_data_of()
    auto& slot = *reinterpret_cast<Accepts::Slot*>(completion.user_data & ~tag_bits);
    Accepts& accepts = *slot.of;
    std::int32_t result = completion.result;
    const bool polled =
        std::exchange(slot.state, Accepts::Slot::State::free) == Accepts::Slot::State::polling;
    --accepts.in_kernel;
    if (accepts.listener == nullptr) {
      if (!polled && result >= 0) reset(result);
      return;  // leave() looks at the rest
    }
    Ringed& descriptor = *accepts.listener;
    Op& op = descriptor.in;
    const bool continues = wants_connection(op) && (op.calls & cancelled) == 0;
    if (!polled && result >= 0) {
      note_connection(accepts);
      accepts.early[accepts.early_count++] =
          result <= STDERR_FILENO ? above_standard(result) : result;
    } else if (continues &&
               (polled || result == -EINTR || result == -EAGAIN || result == -ECANCELED)) {
      // EAGAIN: there are kernels where an accept of a non-blocking socket does not wait.
      accepts.only_polls |= result == -EAGAIN;
      if (result == -EAGAIN) accepts.goal = 1;
      if (!ring_.has_room()) return submit_accepts(descriptor);
      ++accepts.in_kernel;
      return fill_accept(slot, result == -EAGAIN);
    }
    if (!wants_connection(op) || (!continues && accepts.in_kernel > 0)) return;
    if (accepts.early_count > 0) return end_in(op, accepts.take_early());
    end_in(op, continues ? result : -ECANCELED);
  }
  /// More accepts if connections come in every wait and have used all that there were.
  void note_connection(Accepts& accepts) const noexcept {
    const std::uint64_t since = waits_ - std::exchange(accepts.last_wait, waits_);
    if (since > 1)
      accepts.goal = 1;
    else if (accepts.in_kernel == 0 && !accepts.only_polls)
      accepts.goal = std::min(2 * accepts.goal, Accepts::most);
  }
  /// As the kernel ends those in the backlog of a socket that is closed.
  void reset(int fd) noexcept {
    constexpr linger at_once{.l_onoff = 1, .l_linger = 0};
    kernel().setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    kernel().close(fd);
  }
  /// Ends the accepts of a listener that leaves the engine: they hold the file, and so the port.
  [[gnu::noinline, gnu::cold]] void leave(Ringed& descriptor) noexcept {
    Accepts& accepts = *std::exchange(descriptor.accepts, nullptr);
    accepts.listener = nullptr;
    const bool ours = forks_ == fork_count();
    while (accepts.early_count > 0) {
      const int fd = accepts.take_early();
      ours ? reset(fd) : (void)kernel().close(fd);
    }
    for (int look = 0; ours && accepts.in_kernel > 0 && look < most_looks; ++look) {
      (void)cancel_accepts(accepts);
      (void)ring_.enter(0, nullptr);
      harvest();
    }
    std::erase_if(accepts_, [&](const auto& each) {
      return each->listener == nullptr && (each->in_kernel == 0 || !ours);
    });
  }

  // --- files. The kernel performs at once what needs no disk, and the rest in threads of its own.

  static std::uint64_t user_data_of(const FileOp& op) noexcept {
    return reinterpret_cast<std::uintptr_t>(&op) | is_file;
  }
  static void fill_file(RingEntry& entry, const FileOp& op) noexcept {
    entry = {.fd = op.fd,
             .offset = op.offset,
             .address = reinterpret_cast<std::uintptr_t>(op.data),
             .size = op.size,
             .user_data = user_data_of(op)};
    switch (op.kind) {
      case FileOp::Kind::open:
        entry.operation = ring::op_openat;
        entry.operation_flags = static_cast<std::uint32_t>(op.flags);
        entry.fd = AT_FDCWD;
        break;
      case FileOp::Kind::read: entry.operation = ring::op_read; break;
      case FileOp::Kind::write: entry.operation = ring::op_write; break;
      case FileOp::Kind::sync_data: entry.operation_flags = ring::only_data; [[fallthrough]];
      case FileOp::Kind::sync: entry.operation = ring::op_fsync; break;
      case FileOp::Kind::status:
        entry.operation = ring::op_statx;
        entry.operation_flags = AT_EMPTY_PATH;
        entry.size = STATX_BASIC_STATS;
        entry.offset = entry.address;
        entry.address = reinterpret_cast<std::uintptr_t>("");
        break;
      case FileOp::Kind::close: entry.operation = ring::op_close; break;
    }
  }
  void cancel_file(FileOp& op) noexcept {
    if (op.state != Op::State::parked || (op.calls & cancelled) != 0) return;
    if (forks_ != fork_count()) return end_file(op, -ECANCELED);  // the ring is not ours
    op.calls |= cancelled;
    // Without room it ends by itself: a file keeps nobody waiting for ever.
    if (op.kind != FileOp::Kind::close) (void)submit_cancel(user_data_of(op));
  }
  [[gnu::noinline]] void complete_file(RingCompletion completion) noexcept {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): it was a pointer, see user_data_of()
    auto& op = *reinterpret_cast<FileOp*>(completion.user_data & ~tag_bits);
    std::int32_t result = completion.result;
    if (result == -EINTR && op.kind != FileOp::Kind::close) {
      if ((op.calls & cancelled) != 0) return end_file(op, -ECANCELED);
      if (!ring_.has_room()) return end_file(op, -ENOMEM);
      return fill_file(ring_.next(), op);
    }
    if (op.kind == FileOp::Kind::open && result >= 0 && result <= STDERR_FILENO)
      result = above_standard(result);
    end_file(op, result);
  }
  void end_file(FileOp& op, std::int32_t result) noexcept {
    --files_;
    finish(op, result);
  }

  // --- lent buffers

  static std::size_t most_provided(const EngineOptions& options) noexcept {
    return std::min<std::size_t>(options.buffers, 32'768);
  }
  [[nodiscard]] std::size_t buffers_bytes() const noexcept {
    return (std::size_t{buffers_mask_} + 1) * sizeof(RingBuffer);
  }

  Result<> map_buffers() {
    if (!ring_.has(ring::buffer_ring)) return {};
    buffers_mask_ = static_cast<std::uint32_t>(std::bit_ceil(most_provided_) - 1);
    void* memory = nullptr;
    if (const int result = kernel().mmap(&memory, buffers_bytes(), PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        result < 0)
      return fail(-result);
    buffers_ = static_cast<RingBuffer*>(memory);
    for (std::uint32_t id = 0; id <= buffers_mask_; ++id)
      buffers_[id] = {.address = 0,
                      .size = static_cast<std::uint32_t>(buffer_size()),
                      .id = static_cast<std::uint16_t>(id),
                      .reserved = 0};  // of the first one, the ring's tail
    register_buffers();
    return {};
  }
  void register_buffers() noexcept {
    RingBuffers about{.address = reinterpret_cast<std::uintptr_t>(buffers_),
                      .entries = buffers_mask_ + 1,
                      .group = 0,
                      .flags = 0,
                      .reserved = {}};
    // A kernel without it: lent buffers are received into by recv(2), when there is something.
    if (ring_.control(ring::register_buffer_ring, &about, 1) == 0) return;
    ring_.lacks(ring::buffer_ring);
    kernel().munmap(std::exchange(buffers_, nullptr), buffers_bytes());
  }

  /// Gives the kernel as many buffers as may be needed at once, if there are so many.
  void provide(std::size_t receiving) noexcept {
    const std::size_t needed = std::min(receiving, provided_goal_);
    if (provided_count_ >= needed) return;
    std::size_t missing = needed - provided_count_;
    const std::uint32_t mask = buffers_mask_;
    std::uint32_t tail = buffers_tail_;
    for (; missing > 0; --missing, ++tail) {
      RingBuffer& place = buffers_[tail & mask];
      if (place.address != 0) break;  // not used yet, although later ones were
      LentBuffer* const buffer = leases_.take();
      if (buffer == nullptr) break;
      place.address = reinterpret_cast<std::uintptr_t>(buffer->bytes());
    }
    provided_count_ = needed - missing;
    buffers_tail_ = static_cast<std::uint16_t>(tail);
    publish_buffers();
  }
  void publish_buffers() noexcept {
    std::atomic_ref(buffers_[0].reserved).store(buffers_tail_, std::memory_order_release);
  }
  /// The bytes of the buffer that the kernel has used.
  char* take_provided(std::uint32_t id) noexcept {
    --provided_count_;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel's interface
    return reinterpret_cast<char*>(std::exchange(buffers_[id].address, 0));
  }
  void give_back_provided() noexcept {
    for (std::uint32_t id = 0; buffers_ != nullptr && id <= buffers_mask_; ++id)
      if (buffers_[id].address != 0) give_back(LentBuffer::of(take_provided(id)));
  }

  /// There was no provided buffer for a request.
  [[gnu::noinline, gnu::cold]] void starve(Op& op) noexcept {
    provided_goal_ = std::min(2 * provided_goal_, most_provided_);
    leases_.starve(op);
  }
  /// Continues requests that wait for a buffer, while there are buffers. A native one needs a
  /// buffer also when there is nothing to receive; then it leaves the buffer to the next one.
  [[gnu::noinline, gnu::cold]] void feed() {
    leases_.try_memory_again();
    if (buffers_ != nullptr) provide(receiving_lent_ + leases_.starved());
    std::size_t attempts = provided_count_ == 0 ? 0 : 2 * provided_count_ + least_provided;
    while (leases_.first_starved() != nullptr) {
      Op& op = *leases_.first_starved();
      Ringed& descriptor = of_in(op);
      const bool native = is_native(descriptor, op);
      // What the kernel was given lies idle there, and serves no request that is not the ring's.
      if (!native && !leases_.can_lend() && provided_count_ > 0) take_back_buffers();
      const bool no_memory = provided_count_ == 0 && leases_.nothing_lent();
      if (native ? attempts == 0 && !no_memory : !leases_.can_lend()) return;
      leases_.forget(op);
      if (!native) {
        if (receive_lent(descriptor, op)) end_in(op, op.result);
      } else if (attempts > 0) {
        --attempts;
        submit_now({descriptor, false});
      } else {
        end_in(op, -ENOMEM);
      }
    }
  }

  /// EN10: buffers that were not sent in this wait stay with their requests.
  void keep_rests() noexcept {
    for (Ringed* one = std::exchange(sending_, nullptr); one != nullptr; one = one->next_sending) {
      Op& op = one->out;
      if (op.state != Op::State::parked) [[likely]]
        continue;
      leases_.take_out(LentBuffer::of(op.data));
      op.calls |= keeps_buffer;
    }
  }

  void unwatch(Ringed& descriptor) noexcept {
    if (descriptor.native == Ringed::Native::listener) leave(descriptor);
    // In a forked child the ring is the parent's.
    if (provided_count_ > 2 * open_count() + least_provided && forks_ == fork_count())
      take_back_buffers();
  }
  /// The kernel returns no provided buffer but with a completion, so its ring is made anew.
  /// Requests that it then finds no buffer for are made again.
  [[gnu::noinline, gnu::cold]] void take_back_buffers() noexcept {
    RingBuffers about{};
    if (ring_.control(ring::unregister_buffer_ring, &about, 1) < 0) return;
    // What the kernel has received meanwhile is in some of them.
    for (harvest(); ring_.has_overflowed(); harvest()) ring_.fetch_overflowed();
    give_back_provided();
    buffers_tail_ = 0;
    provided_goal_ = least_provided;
    publish_buffers();
    register_buffers();
  }

  const std::uint32_t without_;  ///< EngineOptions::ring_without.
  mutable Ring ring_;
  mutable Fd front_;  ///< What fd() returns; made at its first call.
  Waker waker_;
  bool waker_armed_ = false;
  const std::uint32_t forks_ = fork_count();
  Ringed* sending_ = nullptr;  ///< Lent buffers that are sent since the last wait.
  Op* first_postponed_ = nullptr;
  Op** last_postponed_ = &first_postponed_;

  RingBuffer* buffers_ = nullptr;  ///< What the kernel takes buffers from; null if it cannot.
  std::uint16_t buffers_tail_ = 0;
  std::uint32_t buffers_mask_ = 0;
  std::size_t provided_count_ = 0;              ///< Places with an address: not used yet.
  std::size_t provided_goal_ = least_provided;  ///< How many it may be given.
  const std::size_t most_provided_;
  std::size_t receiving_lent_ = 0;                 ///< Requests in the kernel that need one.
  std::size_t files_ = 0;                          ///< Requests about files in the kernel.
  std::vector<std::unique_ptr<Accepts>> accepts_;  ///< Of listeners; also of closed ones.
  std::uint64_t waits_ = 0;                        ///< Counts wait().
};

}  // namespace

Result<std::unique_ptr<Engine>> make_uring_engine(Kernel& kernel, EngineOptions options) {
  auto engine = std::make_unique<UringEngine>(kernel, options);
  if (Result<> opened = engine->open(); !opened) return fail(opened.error());
  return engine;
}

Probe probe_uring_engine(Kernel& kernel) {
  Ring ring;
  const Result<> opened = ring.open(kernel);
  if (opened) return {.reason = "io_uring_setup works"};
  return explain_refusal(kernel, opened.error());
}

}  // namespace duolu
