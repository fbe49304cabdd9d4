// Private. What engines share that make system calls themselves: their descriptors, their lent
// buffers, and each request as an attempt, which ends the request or leaves it to wait.
//
// An engine derives Record from Tried, itself from TryingEngine<itself, Record>, and has:
//   bool drained(Record&, Op&, Interest direction)
//       The attempt returned EAGAIN. Sees to it that the request is attempted again when
//       `direction` may be ready; false. True: the request has ended, since nothing would be
//       reported.
//   void note_drained(Record&, Op&, Interest direction)
//       The same for a request that has a result already. Nothing need be done.
//   void tell_receiver(Record&) after an error of an earlier datagram was stored in it: a request
//       that receives now ends with that error.
//   void unwatch(Record&) before the descriptor leaves the engine.
#pragma once

#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <type_traits>
#include <utility>

#include "duolu/base/check.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/engine/options.hpp"
#include "lease_pool.hpp"

namespace duolu {

/// A descriptor of such an engine.
struct Tried : Descriptor {
  std::uint8_t error = 0;     ///< The errno that the kernel has reported already (EN12).
  bool trusts_short = false;  ///< A short transfer means that there is no more for now.
};

template <class Derived, class Record>
class TryingEngine : public Engine {
 public:
  void close(Descriptor& opened) noexcept override {
    auto& descriptor = static_cast<Record&>(opened);
    check_idle(descriptor);
    if (descriptor.kind == DescriptorKind::tcp && descriptor.may_linger)
      do_not_linger(descriptor.fd);
    kernel().close(forget(descriptor));
  }

  Result<Fd> release(Descriptor& opened) noexcept override {
    auto& descriptor = static_cast<Record&>(opened);
    check_idle(descriptor);
    if (descriptor.error != 0 && descriptor.kind != DescriptorKind::datagram)
      return fail(descriptor.error);
    return Fd(kernel(), forget(descriptor));
  }

 protected:
  ~TryingEngine() override {
    if (open_ != 0 && !exiting()) check_failed("a Stream, Listener or Datagram outlives its loop");
  }

  // --- descriptors

  /// A free record; take() makes it the descriptor's.
  Record& next_free() {
    if (free_ == nullptr) push_free(descriptors_.emplace_back());
    return of_in(*free_);
  }
  void take(Record& descriptor, int fd, DescriptorKind kind) noexcept {
    free_ = free_->next;
    ++open_;
    descriptor = Record{};
    descriptor.engine = this;
    descriptor.fd = fd;
    descriptor.kind = kind;
  }
  static Record& of_in(Op& op) noexcept {
    static_assert(offsetof(Descriptor, in) == 0);
    return static_cast<Record&>(reinterpret_cast<Descriptor&>(op));
  }
  [[nodiscard]] std::size_t open_count() const noexcept { return open_; }

  // --- requests

  /// Attempts the request, and parks it unless it ends. True if it ended at once.
  bool attempt(Record& descriptor, Op& op) {
    op.state = Op::State::parked;
    return advance(descriptor, op) && end_now(op);
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

  bool start_connect(Record& descriptor) {
    Op& op = descriptor.out;
    const int result = kernel().connect(descriptor.fd, reinterpret_cast<const sockaddr*>(op.data),
                                        static_cast<socklen_t>(op.size));
    // An interrupted connect(2) continues, and its end is reported as after EINPROGRESS.
    if (result != -EINPROGRESS && result != -EINTR) return ended_with(op, result) && end_now(op);
    op.state = Op::State::parked;
    return self().drained(descriptor, op, Interest::writable) && end_now(op);
  }

  void drop_rest(Op& op) noexcept {
    leases_.put_back(LentBuffer::of(std::exchange(op.data, nullptr)));
  }

  // --- attempts. Each does what can be done at once, and returns whether the request has ended.
  // Its result is in `op.result`.

  bool advance(Record& descriptor, Op& op) {
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
      case Op::Code::file:
      case Op::Code::none: break;
    }
    DUOLU_CHECK(op.code != Op::Code::none);
    return false;
  }

  bool advance_recv(Record& descriptor, Op& op) {
    const ssize_t got = again([&] { return receive(descriptor, op.data, op.size); });
    if (got == -EAGAIN) return nothing_there(descriptor, op);
    if (got <= 0) [[unlikely]]
      return ended_with(op, end_of(descriptor, got));
    // A full buffer does not show whether there is more, nor does an untrusted short transfer.
    if (static_cast<std::uint32_t>(got) < op.size && descriptor.trusts_short)
      self().note_drained(descriptor, op, Interest::readable);
    op.result = static_cast<std::int32_t>(got);
    return true;
  }

  bool advance_recv_lent(Record& descriptor, Op& op) {
    // wait() serves starved requests first; here they would be overtaken.
    if (leases_.first_starved() != nullptr || !leases_.can_lend()) {
      leases_.starve(op);
      return false;
    }
    return receive_lent(descriptor, op);
  }
  bool receive_lent(Record& descriptor, Op& op) {
    if (!leases_.borrow(op)) {
      if (leases_.nothing_lent()) return ended_with(op, -ENOMEM);
      leases_.starve_again(op);
      return false;
    }
    const bool ended = advance_recv(descriptor, op);
    if (!ended || op.result <= 0) give_back(LentBuffer::of(op.data));
    return ended;
  }

  bool advance_recvmsg(Record& descriptor, Op& op) {
    auto* const message = reinterpret_cast<msghdr*>(op.data);
    const ssize_t got = again([&] { return kernel().recvmsg(descriptor.fd, message, MSG_TRUNC); });
    if (got == -EAGAIN) return nothing_there(descriptor, op);
    op.result = static_cast<std::int32_t>(got);
    return true;
  }

  bool advance_accept(Record& descriptor, Op& op) {
    const int got = again([&] { return kernel().accept(descriptor.fd, nullptr, nullptr); });
    if (got == -EAGAIN) return self().drained(descriptor, op, Interest::readable);
    op.result = got;
    return true;
  }

  bool advance_send(Record& descriptor, Op& op) {
    while (op.moved < op.size) {
      const std::size_t left = op.size - op.moved;
      const auto call = [&] { return transmit(descriptor, op.data + op.moved, left); };
      const ssize_t took = after_error(descriptor, again(call), call);
      if (took == -EAGAIN) return self().drained(descriptor, op, Interest::writable);
      if (took < 0) return ended_with(op, took);
      op.moved += static_cast<std::uint64_t>(took);
      if (op.moved < op.size && descriptor.trusts_short)
        return self().drained(descriptor, op, Interest::writable);
    }
    return ended_with(op, 0);
  }

  bool advance_sendmsg(Record& descriptor, Op& op) {
    auto& message = *reinterpret_cast<msghdr*>(op.data);
    op.result = 0;
    for (bool tried_again = false;;) {
      const auto call = [&] { return transmit(descriptor, message); };
      const ssize_t took = after_error(descriptor, again(call), call);
      if (took == -EAGAIN) {
        if (!cannot_wait(descriptor, message))
          return self().drained(descriptor, op, Interest::writable);
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
  bool cannot_wait(Record& descriptor, const msghdr& message) {
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

  bool advance_connect(Record& descriptor, Op& op) {
    int error = 0;
    socklen_t size = sizeof error;
    const int result = kernel().getsockopt(descriptor.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    op.result = result < 0 ? result : -error;
    note_error(descriptor, op.result);
    return true;
  }

  /// A report may be out of date: other code reads and writes. So the kernel is asked.
  bool advance_poll(Record& descriptor, Op& op, short events, Interest direction) {
    pollfd one{.fd = descriptor.fd, .events = events, .revents = 0};
    const timespec at_once{};
    const int found = again([&] { return kernel().ppoll(&one, 1, &at_once); });
    if (found == 0) return self().drained(descriptor, op, direction);
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
  static void note_error(Record& descriptor, ssize_t result) noexcept {
    if (is_told_once(result) && descriptor.kind != DescriptorKind::datagram)
      set_error(descriptor, result);
  }
  static void set_error(Record& descriptor, ssize_t result) noexcept {
    // Those of is_told_once(), and EMSGSIZE, which after_error() also reports to the receiver.
    static_assert(std::max({ECONNABORTED, ECONNREFUSED, ECONNRESET, EHOSTDOWN, EHOSTUNREACH,
                            ENETDOWN, ENETRESET, ENETUNREACH, ENONET, ENOPROTOOPT, EPROTO,
                            ETIMEDOUT, EMSGSIZE}) <= UINT8_MAX);
    descriptor.error = static_cast<std::uint8_t>(-result);
  }
  /// What a read ends with whose call returned `got`: 0 or an error.
  static ssize_t end_of(Record& descriptor, ssize_t got) noexcept {
    note_error(descriptor, got);
    const bool broken = descriptor.error != 0 && descriptor.kind != DescriptorKind::datagram;
    return got == 0 && broken ? -descriptor.error : got;
  }
  /// What a send ends with whose call returned `took`. On a datagram socket that may be the error
  /// of an earlier message (udp(7)): then `call`, which repeats the send, does not return it. It
  /// does return the message's own error again, or another one in its place: ENOTCONN if a Unix
  /// peer has gone.
  template <class Call>
  ssize_t after_error(Record& descriptor, ssize_t took, Call call) {
    if (took >= 0 || took == -EAGAIN) return took;
    note_error(descriptor, took);
    const bool earlier =
        descriptor.kind == DescriptorKind::datagram && (is_told_once(took) || took == -EMSGSIZE);
    if (!earlier) return took;
    const ssize_t next = again(call);
    if (next < 0 && next != -EAGAIN) return took;
    set_error(descriptor, took);
    self().tell_receiver(descriptor);
    return next;
  }
  /// After EAGAIN: ends the request if there is an error to report of a message sent before.
  bool nothing_there(Record& descriptor, Op& op) {
    if (descriptor.kind != DescriptorKind::datagram || descriptor.error == 0)
      return self().drained(descriptor, op, Interest::readable);
    self().note_drained(descriptor, op, Interest::readable);
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
  ssize_t receive(Record& descriptor, void* data, std::size_t size) {
    if (descriptor.kind == DescriptorKind::file) [[unlikely]]
      return kernel().read(descriptor.fd, data, size);
    return kernel().recv(descriptor.fd, data, size, 0);
  }
  ssize_t transmit(Record& descriptor, const void* data, std::size_t size) {
    if (descriptor.kind == DescriptorKind::file) [[unlikely]]
      return kernel().write(descriptor.fd, data, size);
    return kernel().send(descriptor.fd, data, size, MSG_NOSIGNAL);
  }
  ssize_t transmit(Record& descriptor, const msghdr& message) {
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
  bool is_stream(const Record& descriptor) noexcept {
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

  const int budget_;
  int left_;  ///< Of the budget, until the next wait().
  LeasePool leases_;

 private:
  friend Derived;
  TryingEngine(Kernel& kernel, const EngineOptions& options)
      : Engine(kernel, options.buffer_size),
        budget_(options.budget),
        left_(options.budget),
        leases_(*this, spare_, options.buffers) {
    DUOLU_CHECK(options.budget >= 0);
  }

  Derived& self() noexcept { return static_cast<Derived&>(*this); }

  static void check_idle(const Record& descriptor) noexcept {
    if ((descriptor.in.state != Op::State::idle || descriptor.out.state != Op::State::idle) &&
        !exiting())
      check_failed("a Stream, Listener or Datagram is closed while a task waits for it");
  }
  /// Returns its number.
  int forget(Record& descriptor) noexcept {
    --open_;
    self().unwatch(descriptor);
    const int fd = std::exchange(descriptor.fd, -1);
    push_free(descriptor);
    leases_.shrink(open_);  // each descriptor needs at most one
    return fd;
  }
  void push_free(Record& descriptor) noexcept {
    descriptor.in.next = free_;
    free_ = &descriptor.in;
  }

  // Never moved, and never freed: a chain may look at one it has waited for (Chain).
  std::deque<Record> descriptors_;
  Op* free_ = nullptr;    ///< List of the closed ones.
  std::size_t open_ = 0;  ///< How many are open.
};

}  // namespace duolu
