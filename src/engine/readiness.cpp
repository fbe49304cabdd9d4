// The engine over a Poller: makes a system call if it could succeed, else parks the request until
// the poller reports that it could.
//
// `calls` of a direction: the system calls that could succeed now, if any. A report sets it. EAGAIN
// clears it, and so does a short transfer where it can be trusted, so that no system call is spent
// on learning that there is no further message. A file that the poller cannot watch (a regular one)
// has no token, and never returns EAGAIN.
//
// A direction whose `calls` are cleared will be reported by the poller. How, depends on the
// trigger:
//   edge     Registered once, for everything. `drained` is called for every direction that is
//            cleared, or backends that emulate edges would report nothing more. Short transfers
//            are trusted on TCP, but not after an end, an error or urgent data was reported: more
//            may follow then, without a new edge.
//   level    `armed` has the watched directions. A direction is added when it is cleared for the
//            first time. It stays: by the next report a request usually waits for it again. A
//            report that no request waits for removes it. The rest after a short transfer is
//            reported again, so that all short transfers can be trusted.
//   oneshot  The same, but a report removes all, and adding them again costs a change.

#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <type_traits>
#include <utility>

#include "duolu/base/check.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/engine/readiness.hpp"
#include "duolu/poll/poller.hpp"
#include "lease_pool.hpp"

namespace duolu {
namespace {

// Op::calls
constexpr std::uint8_t no_calls = 0;
constexpr std::uint8_t socket_calls = 1;
constexpr std::uint8_t file_calls = 2;  // read and write

/// A descriptor, and how its poller watches it.
struct Watched : Descriptor {
  bool trusts_short = false;  ///< A short transfer means that there is no more for now.
  std::uint8_t armed = 0;     ///< The directions (Interest) that will be reported.
  std::uint8_t error = 0;     ///< The errno that the kernel has reported already (EN12).
  std::uint64_t token = 0;
};

class ReadinessEngine final : public Engine {
 public:
  /// `owned`: `poller` if the engine owns it, else null.
  ReadinessEngine(Poller& poller, const EngineOptions& options, std::unique_ptr<Poller> owned)
      : Engine(poller.kernel(), options.buffer_size),
        owned_(std::move(owned)),
        poller_(poller),
        trigger_(options.trigger.value_or(cheapest_trigger(poller))),
        silenced_by_message_(trigger_ == Trigger::edge && poller.emulates_edge()),
        beside_message_(trigger_ == Trigger::edge      ? Ready::writable
                        : trigger_ == Trigger::oneshot ? Ready::readable  // so that no event is one
                                                       : Ready::none),
        budget_(options.budget),
        left_(options.budget),
        leases_(*this, spare_, options.buffers) {
    DUOLU_CHECK(options.budget >= 0);
  }
  ReadinessEngine(const ReadinessEngine&) = delete;
  ReadinessEngine& operator=(const ReadinessEngine&) = delete;
  ~ReadinessEngine() override {
    if (open_ != 0 && !exiting()) check_failed("a Stream, Listener or Datagram outlives its loop");
  }

  Result<Descriptor*> open(int fd, DescriptorKind kind) override {
    if (free_ == nullptr) push_free(descriptors_.emplace_back());
    Watched& descriptor = of_in(*free_);
    // Priority, to learn of urgent data in the stream: recv(2) stops in front of it.
    const Interest first = trigger_ == Trigger::edge
                               ? Interest::readable | Interest::priority | Interest::writable
                               : Interest::readable;
    const Result<Token> token =
        poller_.add(fd, first, trigger_, reinterpret_cast<std::uintptr_t>(&descriptor));
    if (!token &&
        (kind != DescriptorKind::file || token.error() != std::errc::operation_not_permitted))
      return fail(token.error());
    free_ = free_->next;
    ++open_;
    descriptor = Watched{};
    descriptor.engine = this;
    descriptor.fd = fd;
    descriptor.kind = kind;
    descriptor.in.calls = descriptor.out.calls = calls_of(descriptor);
    descriptor.trusts_short =
        kind == DescriptorKind::tcp || (kind != DescriptorKind::file && trigger_ != Trigger::edge);
    descriptor.armed = static_cast<std::uint8_t>(first);
    descriptor.token = token ? static_cast<std::uint64_t>(*token) : no_token;
    return &descriptor;
  }

  void close(Descriptor& opened) noexcept override {
    auto& descriptor = static_cast<Watched&>(opened);
    check_idle(descriptor);
    if (descriptor.kind == DescriptorKind::tcp) do_not_linger(descriptor.fd);
    kernel().close(forget(descriptor));
  }

  Result<Fd> release(Descriptor& opened) noexcept override {
    auto& descriptor = static_cast<Watched&>(opened);
    check_idle(descriptor);
    if (descriptor.error != 0 && descriptor.kind != DescriptorKind::datagram)
      return fail(descriptor.error);
    return Fd(kernel(), forget(descriptor));
  }

  bool start_send(Descriptor& opened) override {
    auto& descriptor = static_cast<Watched&>(opened);
    Op& op = descriptor.out;
    if (op.calls != socket_calls || --left_ < 0) [[unlikely]]
      return go_on_sending(descriptor, 0);
    const ssize_t took = kernel().send(descriptor.fd, op.data, op.size, MSG_NOSIGNAL);
    if (took != static_cast<ssize_t>(op.size)) [[unlikely]]
      return go_on_sending(descriptor, took);
    op.result = 0;
    return true;
  }

  // [send]
  bool start_send_lent(Descriptor& opened) override {
    auto& descriptor = static_cast<Watched&>(opened);
    Op& op = descriptor.out;
    if (op.calls != socket_calls || --left_ < 0) [[unlikely]]
      return keep_rest(descriptor, 0);
    const ssize_t took = kernel().send(descriptor.fd, op.data, op.size, MSG_NOSIGNAL);
    if (took != static_cast<ssize_t>(op.size)) [[unlikely]]
      return keep_rest(descriptor, took);
    give_back(LentBuffer::of(op.data));
    op.result = 0;
    return true;
  }
  // [/send]

  bool start_out(Descriptor& opened) override {
    auto& descriptor = static_cast<Watched&>(opened);
    Op& op = descriptor.out;
    if (op.code == Op::Code::connect) return start_connect(descriptor);
    op.moved = 0;
    return attempt(descriptor, op);
  }

  void cancel(Op& op) noexcept override {
    if (op.state == Op::State::starved) leases_.forget(op);
    if (op.state == Op::State::parked) end_later(op, -ECANCELED);
  }

  Result<bool> wait(Instant deadline) override {
    left_ = budget_;
    changed_ = false;
    if (leases_.first_starved() != nullptr) feed();
    const Result<Poller::Batch> batch = poller_.wait(has_finished() ? immediately : deadline);
    if (!batch) return fail(batch.error());
    for (const Event event : *batch) {
      Watched& descriptor = *reinterpret_cast<Watched*>(event.data);
      if (!receive_message(descriptor, event.ready)) look_at(descriptor, event);
    }
    return batch->woken();
  }

  void wake() noexcept override { poller_.wake(); }
  int fd() const noexcept override { return poller_.fd(); }
  bool due() const noexcept override {
    return has_finished() || changed_ || (leases_.first_starved() != nullptr && leases_.can_lend());
  }

 private:
  static constexpr std::uint64_t no_token = 0;

  static void check_idle(const Watched& descriptor) noexcept {
    if ((descriptor.in.state != Op::State::idle || descriptor.out.state != Op::State::idle) &&
        !exiting())
      check_failed("a Stream, Listener or Datagram is closed while a task waits for it");
  }
  /// Returns its number.
  int forget(Watched& descriptor) noexcept {
    (void)poller_.remove(token_of(descriptor));
    const int fd = std::exchange(descriptor.fd, -1);
    push_free(descriptor);
    --open_;
    leases_.shrink(open_);  // each descriptor needs at most one
    return fd;
  }

  static Token token_of(const Watched& descriptor) noexcept {
    return static_cast<Token>(descriptor.token);
  }

  static std::uint8_t calls_of(const Watched& descriptor) noexcept {
    return descriptor.kind == DescriptorKind::file ? file_calls : socket_calls;
  }

  // --- requests

  bool try_in(Descriptor& opened) override {
    auto& descriptor = static_cast<Watched&>(opened);
    return attempt(descriptor, descriptor.in);
  }

  /// Tries the request if its call could succeed; parks it unless it ends. True if it ended at
  /// once.
  bool attempt(Watched& descriptor, Op& op) {
    op.state = Op::State::parked;
    if (op.calls == no_calls || !advance(descriptor, op)) return false;
    return end_now(op);
  }

  /// For a request that has ended while it was being made: true if its maker may see that at once.
  bool end_now(Op& op) noexcept {
    if (op.result >= 0 && --left_ >= 0) {
      op.state = Op::State::idle;
      return true;
    }
    end_later(op, op.result);
    return false;
  }

  void end_later(Op& op, std::int32_t result) noexcept {
    if (op.code == Op::Code::send_lent) drop_rest(op);
    finish(op, result);
  }

  bool start_connect(Watched& descriptor) {
    Op& op = descriptor.out;
    const int result = kernel().connect(descriptor.fd, reinterpret_cast<const sockaddr*>(op.data),
                                        static_cast<socklen_t>(op.size));
    // An interrupted connect(2) continues, and its end is reported as after EINPROGRESS.
    if (result != -EINPROGRESS && result != -EINTR) return ended_with(op, result) && end_now(op);
    op.state = Op::State::parked;
    return drained(descriptor, op, Interest::writable) && end_now(op);
  }

  /// Continues a send that the first attempt did not complete; `took` is the result of that.
  [[gnu::noinline, gnu::cold]] bool go_on_sending(Watched& descriptor, ssize_t took) {
    Op& op = descriptor.out;
    took = after_error(descriptor, took,
                       [&] { return transmit(descriptor, op.data, std::size_t{op.size}); });
    op.moved = took > 0 ? static_cast<std::uint64_t>(took) : 0;
    if (took < 0 && took != -EAGAIN && took != -EINTR) {
      op.result = static_cast<std::int32_t>(took);
      return end_now(op);
    }
    if (took == -EAGAIN || (took > 0 && descriptor.trusts_short))
      note_drained(descriptor, op, Interest::writable);
    return attempt(descriptor, op);
  }

  // --- lent buffers

  /// EN10: the buffer stays with its request.
  [[gnu::noinline, gnu::cold]] bool keep_rest(Watched& descriptor, ssize_t took) {
    Op& op = descriptor.out;
    leases_.take_out(LentBuffer::of(op.data));
    if (!go_on_sending(descriptor, took)) return false;
    drop_rest(op);
    return true;
  }
  void drop_rest(Op& op) noexcept {
    leases_.put_back(LentBuffer::of(std::exchange(op.data, nullptr)));
  }

  /// Continues requests that wait for a buffer, as long as there are buffers.
  [[gnu::noinline, gnu::cold]] void feed() {
    leases_.try_memory_again();
    while (leases_.first_starved() != nullptr && leases_.can_lend()) {
      Op& op = *leases_.first_starved();
      leases_.forget(op);
      if (receive_lent(of_in(op), op)) finish(op, op.result);
    }
  }
  void push_free(Watched& descriptor) noexcept {
    descriptor.in.next = free_;
    free_ = &descriptor.in;
  }
  static Watched& of_in(Op& op) noexcept {
    static_assert(offsetof(Descriptor, in) == 0);
    return static_cast<Watched&>(reinterpret_cast<Descriptor&>(op));
  }

  // --- events

  /// Handles the most frequent event: a whole message that a request waits for, and nothing else.
  /// False if it is another event; then nothing was received.
  bool receive_message(Watched& descriptor, Ready ready) {
    Op& op = descriptor.in;
    if ((ready - beside_message_) != Ready::readable || !descriptor.trusts_short ||
        descriptor.out.state == Op::State::parked)
      return false;
    if (op.state != Op::State::parked ||
        !(op.code == Op::Code::recv_lent ? leases_.borrow(op) : op.code == Op::Code::recv))
      return false;
    if (descriptor.out.calls == no_calls && any(ready, Ready::writable)) [[unlikely]]
      descriptor.out.calls = socket_calls;
    // [receive]
    const ssize_t got = kernel().recv(descriptor.fd, op.data, op.size, 0);
    if (got <= 0 || got == static_cast<ssize_t>(op.size)) [[unlikely]]
      return take_rest(op, got);
    if (silenced_by_message_) poller_.drained(token_of(descriptor), Interest::readable);
    finish(op, static_cast<std::int32_t>(got));
    return true;
    // [/receive]
  }

  [[gnu::noinline, gnu::cold]] bool take_rest(Op& op, ssize_t got) {
    if (op.code == Op::Code::recv_lent && got <= 0) give_back(LentBuffer::of(op.data));
    if (got == -EINTR || got == -EAGAIN) return false;
    op.calls = socket_calls;
    finish(op, static_cast<std::int32_t>(got > 0 ? got : end_of(of_in(op), got)));
    return true;
  }

  /// P7: the poller reports nothing about it any more, so no request may wait for that (drained()).
  [[gnu::noinline, gnu::cold]] void lose(Watched& descriptor) {
    (void)poller_.remove(token_of(descriptor));
    descriptor.token = no_token;
    Op& out = descriptor.out;  // trying a connect in progress would not return "not yet"
    if (out.state == Op::State::parked && out.code == Op::Code::connect) end_later(out, -EBADF);
    revive(descriptor, descriptor.in);
    revive(descriptor, descriptor.out);
  }

  void look_at(Watched& descriptor, const Event& event) {
    if (event.invalid()) [[unlikely]]
      return lose(descriptor);
    const bool in = any(event.ready, Ready::readable | Ready::priority | Ready::read_closed);
    const bool out = event.writable();
    if (trigger_ == Trigger::edge) {
      if (!event.short_means_drained()) descriptor.trusts_short = false;
    } else {
      disarm(descriptor, (in ? Interest::readable : Interest::none) |
                             (out ? Interest::writable : Interest::none));
    }
    if (in) revive(descriptor, descriptor.in);
    if (out) revive(descriptor, descriptor.out);
  }

  void revive(Watched& descriptor, Op& op) {
    op.calls = calls_of(descriptor);
    if (op.state == Op::State::parked && advance(descriptor, op)) end_later(op, op.result);
  }

  // --- what will be reported. A change that is undone before the next wait costs no system call.

  void arm(Watched& descriptor, Interest direction) noexcept {
    if (any(armed(descriptor), direction)) return;
    set_armed(descriptor, armed(descriptor) | direction);
  }
  /// `reported` was reported: with level, stays armed only if a request waits; with oneshot, never.
  void disarm(Watched& descriptor, Interest reported) noexcept {
    if (trigger_ == Trigger::level) {
      if (descriptor.in.state == Op::State::parked) reported = reported - Interest::readable;
      if (descriptor.out.state == Op::State::parked) reported = reported - Interest::writable;
      if (!any(armed(descriptor), reported)) return;
    }
    set_armed(descriptor, armed(descriptor) - reported);
  }
  static Interest armed(const Watched& descriptor) noexcept {
    return static_cast<Interest>(descriptor.armed);
  }
  void set_armed(Watched& descriptor, Interest interest) noexcept {
    descriptor.armed = static_cast<std::uint8_t>(interest);
    changed_ = true;
    // Fails where there is nothing to watch (a file, or a descriptor that other code has closed):
    // the next call on it shows that.
    (void)poller_.modify(token_of(descriptor), interest);
  }

  // --- attempts. Each does what can be done at once, and returns whether the request has ended.
  // Its result is in `op.result`.

  bool advance(Watched& descriptor, Op& op) {
    switch (op.code) {
      case Op::Code::recv: return advance_recv(descriptor, op);
      case Op::Code::recv_lent: return advance_recv_lent(descriptor, op);
      case Op::Code::recvmsg: return advance_recvmsg(descriptor, op);
      case Op::Code::accept: return advance_accept(descriptor, op);
      case Op::Code::send:
      case Op::Code::send_lent: return advance_send(descriptor, op);
      case Op::Code::sendmsg: return advance_sendmsg(descriptor, op);
      case Op::Code::connect: return advance_connect(descriptor, op);
      case Op::Code::poll_in: return advance_poll(descriptor, op, POLLIN, Interest::readable);
      case Op::Code::poll_out: return advance_poll(descriptor, op, POLLOUT, Interest::writable);
      case Op::Code::none: break;
    }
    DUOLU_CHECK(op.code != Op::Code::none);
    return false;
  }

  bool advance_recv(Watched& descriptor, Op& op) {
    const ssize_t got = again([&] { return receive(descriptor, op.data, op.size); });
    if (got == -EAGAIN) return nothing_there(descriptor, op);
    if (got <= 0) [[unlikely]]
      return ended_with(op, end_of(descriptor, got));
    // A full buffer does not show whether there is more, nor does an untrusted short transfer.
    if (static_cast<std::uint32_t>(got) < op.size && descriptor.trusts_short)
      note_drained(descriptor, op, Interest::readable);
    op.result = static_cast<std::int32_t>(got);
    return true;
  }

  bool advance_recv_lent(Watched& descriptor, Op& op) {
    // wait() serves starved requests first; here they would be overtaken.
    if (leases_.first_starved() != nullptr || !leases_.can_lend()) {
      leases_.starve(op);
      return false;
    }
    return receive_lent(descriptor, op);
  }
  bool receive_lent(Watched& descriptor, Op& op) {
    if (!leases_.borrow(op)) {
      if (leases_.nothing_lent()) return ended_with(op, -ENOMEM);
      leases_.starve_again(op);
      return false;
    }
    const bool ended = advance_recv(descriptor, op);
    if (!ended || op.result <= 0) give_back(LentBuffer::of(op.data));
    return ended;
  }

  bool advance_recvmsg(Watched& descriptor, Op& op) {
    auto* const message = reinterpret_cast<msghdr*>(op.data);
    const ssize_t got = again([&] { return kernel().recvmsg(descriptor.fd, message, MSG_TRUNC); });
    if (got == -EAGAIN) return nothing_there(descriptor, op);
    op.result = static_cast<std::int32_t>(got);
    return true;
  }

  bool advance_accept(Watched& descriptor, Op& op) {
    const int got = again([&] { return kernel().accept(descriptor.fd, nullptr, nullptr); });
    if (got == -EAGAIN) return drained(descriptor, op, Interest::readable);
    op.result = got;
    return true;
  }

  bool advance_send(Watched& descriptor, Op& op) {
    while (op.moved < op.size) {
      const std::size_t left = op.size - op.moved;
      const auto call = [&] { return transmit(descriptor, op.data + op.moved, left); };
      const ssize_t took = after_error(descriptor, again(call), call);
      if (took == -EAGAIN) return drained(descriptor, op, Interest::writable);
      if (took < 0) return ended_with(op, took);
      op.moved += static_cast<std::uint64_t>(took);
      if (op.moved < op.size && descriptor.trusts_short)
        return drained(descriptor, op, Interest::writable);
    }
    return ended_with(op, 0);
  }

  bool advance_sendmsg(Watched& descriptor, Op& op) {
    auto& message = *reinterpret_cast<msghdr*>(op.data);
    op.result = 0;
    for (bool tried_again = false;;) {
      const auto call = [&] { return transmit(descriptor, message); };
      const ssize_t took = after_error(descriptor, again(call), call);
      if (took == -EAGAIN) {
        if (!cannot_wait(descriptor, message)) return drained(descriptor, op, Interest::writable);
        // There may be room since the attempt: tries once more.
        if (tried_again) return ended_with(op, -ENOBUFS);
        tried_again = true;
        continue;
      }
      if (took < 0) return ended_with(op, took);
      op.moved += static_cast<std::uint64_t>(took);
      if (skip(message, static_cast<std::size_t>(took))) return true;
    }
  }
  /// After EAGAIN: whether waiting would be spinning. A Unix datagram socket counts as writable
  /// while its own buffer and the queue of a connected peer have room; the queue of a peer that
  /// `message` names is not considered (unix_dgram_poll in Linux).
  bool cannot_wait(Watched& descriptor, const msghdr& message) {
    if (message.msg_name == nullptr || descriptor.kind == DescriptorKind::tcp) return false;
    pollfd one{.fd = descriptor.fd, .events = POLLOUT, .revents = 0};
    const timespec at_once{};
    return again([&] { return kernel().ppoll(&one, 1, &at_once); }) > 0;
  }
  /// Removes `moved` bytes from the front of the parts. Returns whether nothing is left.
  static bool skip(msghdr& message, std::size_t moved) noexcept {
    while (message.msg_iovlen > 0) {
      iovec& part = *message.msg_iov;
      if (moved < part.iov_len) {
        part.iov_base = static_cast<char*>(part.iov_base) + moved;
        part.iov_len -= moved;
        return false;
      }
      moved -= part.iov_len;
      ++message.msg_iov;
      --message.msg_iovlen;
    }
    return true;
  }

  bool advance_connect(Watched& descriptor, Op& op) {
    int error = 0;
    socklen_t size = sizeof error;
    const int result = kernel().getsockopt(descriptor.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    op.result = result < 0 ? result : -error;
    note_error(descriptor, op.result);
    return true;
  }

  /// A report may be out of date: other code reads and writes. So the kernel is asked.
  bool advance_poll(Watched& descriptor, Op& op, short events, Interest direction) {
    pollfd one{.fd = descriptor.fd, .events = events, .revents = 0};
    const timespec at_once{};
    const int found = again([&] { return kernel().ppoll(&one, 1, &at_once); });
    if (found == 0) return drained(descriptor, op, direction);
    if ((one.revents & POLLNVAL) != 0) return ended_with(op, -EBADF);
    return ended_with(op, std::min(found, 0));
  }

  static bool ended_with(Op& op, ssize_t result) noexcept {
    op.result = static_cast<std::int32_t>(result);
    return true;
  }

  // --- errors that the kernel reports once (EN12)

  /// Errors of the connection, or of a message that was sent before: what SO_ERROR holds. Others
  /// (ENOBUFS, EMSGSIZE) concern the call, and the stream can still be used; EPIPE is returned by
  /// every call.
  static bool is_told_once(ssize_t result) noexcept {
    switch (-result) {
      case ECONNABORTED:
      case ECONNREFUSED:
      case ECONNRESET:
      case EHOSTDOWN:
      case EHOSTUNREACH:
      case ENETDOWN:
      case ENETRESET:
      case ENETUNREACH:
      case ENONET:
      case ENOPROTOOPT:
      case EPROTO:
      case ETIMEDOUT: return true;
      default: return false;
    }
  }
  static void note_error(Watched& descriptor, ssize_t result) noexcept {
    if (is_told_once(result) && descriptor.kind != DescriptorKind::datagram)
      set_error(descriptor, result);
  }
  static void set_error(Watched& descriptor, ssize_t result) noexcept {
    // Those of is_told_once(), and EMSGSIZE, which after_error() also reports to the receiver.
    static_assert(std::max({ECONNABORTED, ECONNREFUSED, ECONNRESET, EHOSTDOWN, EHOSTUNREACH,
                            ENETDOWN, ENETRESET, ENETUNREACH, ENONET, ENOPROTOOPT, EPROTO,
                            ETIMEDOUT, EMSGSIZE}) <= UINT8_MAX);
    descriptor.error = static_cast<std::uint8_t>(-result);
  }
  /// What a read ends with whose call returned `got`: 0 or an error.
  static ssize_t end_of(Watched& descriptor, ssize_t got) noexcept {
    note_error(descriptor, got);
    const bool broken = descriptor.error != 0 && descriptor.kind != DescriptorKind::datagram;
    return got == 0 && broken ? -descriptor.error : got;
  }
  /// What a send ends with whose call returned `took`. On a datagram socket that may be the error
  /// of an earlier message (udp(7)): then `call`, which repeats the send, does not return it. It
  /// does return the message's own error again, or another one in its place: ENOTCONN if a Unix
  /// peer has gone.
  template <class Call>
  ssize_t after_error(Watched& descriptor, ssize_t took, Call call) {
    if (took >= 0 || took == -EAGAIN) return took;
    note_error(descriptor, took);
    const bool earlier =
        descriptor.kind == DescriptorKind::datagram && (is_told_once(took) || took == -EMSGSIZE);
    if (!earlier) return took;
    const ssize_t next = again(call);
    if (next < 0 && next != -EAGAIN) return took;
    tell_receiver(descriptor, took);
    return next;
  }
  void tell_receiver(Watched& descriptor, ssize_t result) noexcept {
    Op& op = descriptor.in;
    if (op.state == Op::State::parked) return finish(op, static_cast<std::int32_t>(result));
    set_error(descriptor, result);
    op.calls = calls_of(descriptor);
  }
  /// After EAGAIN: ends the request if there is an error to report of a message sent before.
  bool nothing_there(Watched& descriptor, Op& op) noexcept {
    const bool lost = drained(descriptor, op, Interest::readable);
    if (descriptor.kind != DescriptorKind::datagram || descriptor.error == 0) return lost;
    return ended_with(op, -std::exchange(descriptor.error, std::uint8_t{}));
  }

  // --- system calls

  /// Repeats the call while it is interrupted.
  template <class Call>
  static std::invoke_result_t<Call> again(Call call) {
    auto result = call();
    while (result == -EINTR) result = call();
    return result;
  }
  ssize_t receive(Watched& descriptor, void* data, std::size_t size) {
    if (descriptor.kind == DescriptorKind::file) [[unlikely]]
      return kernel().read(descriptor.fd, data, size);
    return kernel().recv(descriptor.fd, data, size, 0);
  }
  ssize_t transmit(Watched& descriptor, const void* data, std::size_t size) {
    if (descriptor.kind == DescriptorKind::file) [[unlikely]]
      return kernel().write(descriptor.fd, data, size);
    return kernel().send(descriptor.fd, data, size, MSG_NOSIGNAL);
  }
  ssize_t transmit(Watched& descriptor, const msghdr& message) {
    if (descriptor.kind == DescriptorKind::file)
      return kernel().writev(descriptor.fd, message.msg_iov,
                             static_cast<int>(std::min<std::size_t>(message.msg_iovlen, IOV_MAX)));
    if (message.msg_iovlen > IOV_MAX && is_stream(descriptor)) [[unlikely]] {
      msghdr first = message;
      first.msg_iovlen = IOV_MAX;
      return kernel().sendmsg(descriptor.fd, &first, MSG_NOSIGNAL);
    }
    return kernel().sendmsg(descriptor.fd, &message, MSG_NOSIGNAL);
  }
  bool is_stream(const Watched& descriptor) noexcept {
    int type = 0;
    socklen_t size = sizeof type;
    return kernel().getsockopt(descriptor.fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
           type == SOCK_STREAM;
  }
  /// SO_LINGER with a time makes close(2) wait for the peer, even for a non-blocking socket
  /// (socket(7)), so it is switched off: the system sends the rest all the same. With a time of 0,
  /// close(2) resets the connection at once; that is kept. Accepted sockets inherit the option from
  /// the listener.
  void do_not_linger(int fd) noexcept {
    linger set{};
    socklen_t size = sizeof set;
    if (kernel().getsockopt(fd, SOL_SOCKET, SO_LINGER, &set, &size) < 0) return;
    if (set.l_onoff == 0 || set.l_linger == 0) return;
    set.l_onoff = 0;
    (void)kernel().setsockopt(fd, SOL_SOCKET, SO_LINGER, &set, sizeof set);
  }

  /// Clears the calls of `op`. False: the request waits for a report. True: the request has ended
  /// with an error, since the poller has lost the descriptor and would report nothing.
  bool drained(Watched& descriptor, Op& op, Interest direction) noexcept {
    if (descriptor.token == no_token) [[unlikely]]
      return ended_with(op, -EBADF);
    note_drained(descriptor, op, direction);
    return false;
  }
  /// The same for requests that have a result already: they do not end with an error. If the poller
  /// has lost the descriptor, the calls stay.
  void note_drained(Watched& descriptor, Op& op, Interest direction) noexcept {
    if (descriptor.token == no_token) [[unlikely]]
      return;
    op.calls = no_calls;
    if (trigger_ == Trigger::edge)
      poller_.drained(token_of(descriptor), direction);
    else
      arm(descriptor, direction);
  }

  const std::unique_ptr<Poller> owned_;  ///< Null if poller_ is the caller's.
  Poller& poller_;
  const Trigger trigger_;
  const bool silenced_by_message_;  ///< After readable is reported, nothing is until drained().
  const Ready beside_message_;      ///< May be reported with a message, and can be ignored.
  bool changed_ = false;            ///< What is watched has changed since the last wait.
  const int budget_;
  int left_;
  // Never moved, and never freed: a strand may look at one it has waited for (Strand).
  std::deque<Watched> descriptors_;
  Op* free_ = nullptr;    ///< List of the closed ones.
  std::size_t open_ = 0;  ///< How many are open.
  LeasePool leases_;
};

}  // namespace

void detail::not_idle(const Op& op) noexcept {
  if (&op == &no_descriptor.in || &op == &no_descriptor.out)
    check_failed("a Stream, Listener or Datagram is used that was closed or moved from");
  const Descriptor* descriptor =
      reinterpret_cast<const Descriptor*>(&op);  // of which `in` is first
  const char* does = "read";
  switch (op.code) {
    case Op::Code::accept: does = "accept on"; break;
    case Op::Code::send:
    case Op::Code::send_lent:
    case Op::Code::sendmsg:
    case Op::Code::connect:
    case Op::Code::poll_out:
      descriptor = reinterpret_cast<const Descriptor*>(reinterpret_cast<const char*>(&op) -
                                                       offsetof(Descriptor, out));
      does = op.code == Op::Code::connect ? "connect" : "write to";
      break;
    default: break;
  }
  char text[96];
  std::snprintf(text, sizeof text,
                "two tasks %s descriptor %d at once, and one at a time may (EN2)", does,
                descriptor->fd);
  check_failed(text);
}

Trigger cheapest_trigger(const Poller& poller) noexcept {
  return poller.emulates_edge() ? Trigger::level : Trigger::edge;
}

std::unique_ptr<Engine> make_readiness_engine(Poller& poller, EngineOptions options) {
  return std::make_unique<ReadinessEngine>(poller, options, nullptr);
}

std::unique_ptr<Engine> make_readiness_engine(std::unique_ptr<Poller> poller,
                                              EngineOptions options) {
  Poller& over = *poller;
  return std::make_unique<ReadinessEngine>(over, options, std::move(poller));
}

}  // namespace duolu
