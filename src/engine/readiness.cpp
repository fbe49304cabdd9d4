// The engine over a Poller: try where trying could succeed, else park until the poller says that it
// could.
//
// `chance` of a direction: trying could succeed. A report sets it; EAGAIN clears it, and a short
// transfer does too where it can be trusted, so that a message costs no system call to learn that
// there is no other. What the poller cannot wait for (a regular file) has no token, and never says
// EAGAIN.
//
// A direction without a chance is going to be reported. How, depends on the trigger:
//   edge     Registered once, for everything. The poller is told of every direction that loses its
//            chance (`drained`), or backends that emulate edges would stay silent. Short transfers
//            are trusted on TCP; not after an end, an error or urgent data was reported: then more
//            can follow that no new edge announces.
//   level    `armed` has what is asked for, and a direction comes into it when it loses its chance
//            for the first time. It stays there: somebody mostly waits again by the next report.
//            One that nobody waits for takes it out. What is left after a short transfer is told
//            again, so all can be trusted.
//   oneshot  The same; but a report takes everything out, and costs a change to put it back.

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
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "duolu/base/check.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/poll/poller.hpp"

namespace duolu {
namespace {

class ReadinessEngine final : public Engine {
 public:
  /// `owned`: the same poller if the engine owns it, or null.
  ReadinessEngine(Poller& poller, const EngineOptions& options, std::unique_ptr<Poller> owned)
      : Engine(poller.kernel(), options.buffer_size),
        owned_(std::move(owned)),
        poller_(poller),
        trigger_(options.trigger.value_or(cheapest_trigger(poller))),
        silenced_by_message_(trigger_ == Trigger::edge && poller.emulates_edge()),
        beside_message_(trigger_ == Trigger::edge      ? Ready::writable
                        : trigger_ == Trigger::oneshot ? Ready::readable  // so that none is one
                                                       : Ready::none),
        budget_(options.budget),
        left_(options.budget),
        buffers_(options.buffers) {
    DUOLU_CHECK(options.buffer_size > 0 && options.buffer_size <= most_bytes);
    DUOLU_CHECK(options.buffers > 0);
  }
  ReadinessEngine(const ReadinessEngine&) = delete;
  ReadinessEngine& operator=(const ReadinessEngine&) = delete;
  ~ReadinessEngine() override {
    DUOLU_CHECK_UNLESS_EXITING(open_ == 0);
    while (spare_ != nullptr) drop_spare();
    DUOLU_CHECK_UNLESS_EXITING(made_ == 0);
  }

  Result<Descriptor*> open(int fd, DescriptorKind kind) override {
    if (free_ == nullptr) push_free(descriptors_.emplace_back());
    Descriptor& descriptor = of_in(*free_);
    // Priority, to learn that urgent data is in the stream: recv(2) stops in front of it.
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
    descriptor = Descriptor{};
    descriptor.engine = this;
    descriptor.fd = fd;
    descriptor.kind = kind;
    descriptor.in.chance = descriptor.out.chance = chance(descriptor);
    descriptor.trusts_short =
        kind == DescriptorKind::tcp || (kind != DescriptorKind::file && trigger_ != Trigger::edge);
    descriptor.armed = static_cast<std::uint8_t>(first);
    descriptor.token = token ? static_cast<std::uint64_t>(*token) : no_token;
    return &descriptor;
  }

  void close(Descriptor& descriptor) noexcept override {
    DUOLU_CHECK_UNLESS_EXITING(descriptor.in.state == Op::State::idle &&
                               descriptor.out.state == Op::State::idle);
    (void)poller_.remove(token_of(descriptor));
    if (descriptor.kind == DescriptorKind::tcp) do_not_linger(descriptor.fd);
    kernel().close(std::exchange(descriptor.fd, -1));
    push_free(descriptor);
    --open_;
    // Those who are left need no more buffers than they are.
    while (made_ > open_ && spare_ != nullptr) drop_spare();
  }

  bool start_send(Descriptor& descriptor) override {
    Op& op = descriptor.out;
    if (op.chance != Op::Chance::socket || --left_ < 0) [[unlikely]]
      return go_on_sending(descriptor, 0);
    const ssize_t took = kernel().send(descriptor.fd, op.data, op.size, MSG_NOSIGNAL);
    if (took != static_cast<ssize_t>(op.size)) [[unlikely]]
      return go_on_sending(descriptor, took);
    op.result = 0;
    return true;
  }

  // [send]
  bool start_send_lent(Descriptor& descriptor) override {
    Op& op = descriptor.out;
    if (op.chance != Op::Chance::socket || --left_ < 0) [[unlikely]]
      return keep_rest(descriptor, 0);
    const ssize_t took = kernel().send(descriptor.fd, op.data, op.size, MSG_NOSIGNAL);
    if (took != static_cast<ssize_t>(op.size)) [[unlikely]]
      return keep_rest(descriptor, took);
    give_back(LentBuffer::of(op.data));
    op.result = 0;
    return true;
  }
  // [/send]

  bool start_out(Descriptor& descriptor) override {
    Op& op = descriptor.out;
    if (op.code == Op::Code::connect) return start_connect(descriptor);
    op.moved = 0;
    return attempt(descriptor, op);
  }

  void cancel(Op& op) noexcept override {
    if (op.state == Op::State::starved) forget_starved(op);
    if (op.state == Op::State::parked) end_later(op, -ECANCELED);
  }

  Result<bool> wait(Instant deadline) override {
    left_ = budget_;
    changed_ = false;
    if (starved_ != nullptr) feed();
    const Result<Poller::Batch> batch = poller_.wait(has_finished() ? immediately : deadline);
    if (!batch) return fail(batch.error());
    for (const Event event : *batch) {
      Descriptor& descriptor = *reinterpret_cast<Descriptor*>(event.data);
      if (!receive_message(descriptor, event.ready)) look_at(descriptor, event);
    }
    return batch->woken();
  }

  void wake() noexcept override { poller_.wake(); }
  int fd() const noexcept override { return poller_.fd(); }
  bool due() const noexcept override {
    return has_finished() || changed_ || (starved_ != nullptr && can_lend());
  }

 private:
  static constexpr std::uint64_t no_token = 0;

  static Token token_of(const Descriptor& descriptor) noexcept {
    return static_cast<Token>(descriptor.token);
  }

  static Op::Chance chance(const Descriptor& descriptor) noexcept {
    return descriptor.kind == DescriptorKind::file ? Op::Chance::file : Op::Chance::socket;
  }

  // --- requests

  bool try_in(Descriptor& descriptor) override { return attempt(descriptor, descriptor.in); }

  /// Does what can be done at once, else parks it.
  bool attempt(Descriptor& descriptor, Op& op) {
    op.state = Op::State::parked;
    if (op.chance == Op::Chance::none || !advance(descriptor, op)) return false;
    return end_now(op);
  }

  /// What has ended while it was being made: true if it may be told at once.
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

  bool start_connect(Descriptor& descriptor) {
    Op& op = descriptor.out;
    const int result = kernel().connect(descriptor.fd, reinterpret_cast<const sockaddr*>(op.data),
                                        static_cast<socklen_t>(op.size));
    // Interrupted, it goes on in the background, and its end is reported as of one in progress.
    if (result != -EINPROGRESS && result != -EINTR) return ended_with(op, result) && end_now(op);
    op.state = Op::State::parked;
    return drained(descriptor, op, Interest::writable) && end_now(op);
  }

  /// A send that did not go out at once and whole: `took` is what the first attempt gave.
  [[gnu::noinline, gnu::cold]] bool go_on_sending(Descriptor& descriptor, ssize_t took) {
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

  /// EN10: a buffer that was not sent whole stays with its request, and is no more one of those to
  /// lend: another one may be made in its place. One of another engine stays lent.
  [[gnu::noinline, gnu::cold]] bool keep_rest(Descriptor& descriptor, ssize_t took) {
    Op& op = descriptor.out;
    if (LentBuffer::of(op.data).engine == this) --made_;
    if (!go_on_sending(descriptor, took)) return false;
    drop_rest(op);
    return true;
  }
  void drop_rest(Op& op) noexcept {
    LentBuffer& buffer = LentBuffer::of(std::exchange(op.data, nullptr));
    if (buffer.engine == this) {
      if (made_ == buffers_) return ::operator delete(&buffer);
      ++made_;
    }
    give_back(buffer);
  }

  [[nodiscard]] bool can_lend() const noexcept {
    return spare_ != nullptr || made_ == 0 || (made_ < buffers_ && !no_memory_);
  }
  /// A buffer to lend; null if all are lent, or there is no memory for one more.
  LentBuffer* lend() noexcept {
    if (spare_ == nullptr) [[unlikely]]
      return make_buffer();
    return std::exchange(spare_, spare_->next);
  }
  /// Gives `op` a buffer to receive into; false if there is none.
  bool borrow(Op& op) noexcept {
    LentBuffer* const buffer = lend();
    if (buffer == nullptr) return false;
    op.data = buffer->bytes();
    op.size = static_cast<std::uint32_t>(buffer_size());
    return true;
  }
  [[gnu::noinline, gnu::cold]] LentBuffer* make_buffer() noexcept {
    if (made_ == buffers_) return nullptr;
    // Another one than the first can be waited for: it does not use up what a new handler has kept.
    const bool may_wait = made_ > 0;
    const std::new_handler handler = may_wait ? std::set_new_handler(nullptr) : nullptr;
    void* const memory = ::operator new(sizeof(LentBuffer) + buffer_size(), std::nothrow);
    if (may_wait) std::set_new_handler(handler);
    no_memory_ = memory == nullptr;
    if (no_memory_) return nullptr;
    static_assert(alignof(LentBuffer) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
    ++made_;
    return new (memory) LentBuffer{.engine = this, .next = nullptr, .size = 0};
  }

  void drop_spare() noexcept {
    ::operator delete(std::exchange(spare_, spare_->next));
    --made_;
  }

  /// Lets those go on who wait for a buffer, as far as there are any.
  [[gnu::noinline, gnu::cold]] void feed() {
    no_memory_ = false;
    while (starved_ != nullptr && can_lend()) {
      Op& op = *starved_;
      forget_starved(op);
      if (receive_lent(of_in(op), op)) finish(op, op.result);
    }
  }
  bool starve(Op& op) noexcept {
    op.state = Op::State::starved;
    op.next = nullptr;
    op.previous = last_starved_;
    (last_starved_ == nullptr ? starved_ : last_starved_->next) = &op;
    last_starved_ = &op;
    return false;
  }
  void forget_starved(Op& op) noexcept {
    (op.previous == nullptr ? starved_ : op.previous->next) = op.next;
    (op.next == nullptr ? last_starved_ : op.next->previous) = op.previous;
    op.state = Op::State::parked;
  }
  void push_free(Descriptor& descriptor) noexcept {
    descriptor.in.next = free_;
    free_ = &descriptor.in;
  }
  static Descriptor& of_in(Op& op) noexcept {
    static_assert(offsetof(Descriptor, in) == 0);
    return reinterpret_cast<Descriptor&>(op);
  }

  // --- events

  /// What most events are: a whole message for somebody who waits for it, and nothing else. False
  /// if it is another thing; then nothing has been done.
  bool receive_message(Descriptor& descriptor, Ready ready) {
    Op& op = descriptor.in;
    if ((ready - beside_message_) != Ready::readable || !descriptor.trusts_short ||
        descriptor.out.state == Op::State::parked)
      return false;
    if (op.state != Op::State::parked ||
        !(op.code == Op::Code::recv_lent ? borrow(op) : op.code == Op::Code::recv))
      return false;
    if (descriptor.out.chance == Op::Chance::none && any(ready, Ready::writable)) [[unlikely]]
      descriptor.out.chance = Op::Chance::socket;
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
    op.chance = Op::Chance::socket;
    finish(op, static_cast<std::int32_t>(got > 0 ? got : end_of(of_in(op), got)));
    return true;
  }

  /// P7: nothing is reported of it any more, so nobody may wait for that (drained()).
  [[gnu::noinline, gnu::cold]] void lose(Descriptor& descriptor) {
    (void)poller_.remove(token_of(descriptor));
    descriptor.token = no_token;
    Op& out = descriptor.out;  // a connect under way has no attempt that would say "not yet"
    if (out.state == Op::State::parked && out.code == Op::Code::connect) end_later(out, -EBADF);
    revive(descriptor, descriptor.in);
    revive(descriptor, descriptor.out);
  }

  void look_at(Descriptor& descriptor, const Event& event) {
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

  void revive(Descriptor& descriptor, Op& op) {
    op.chance = chance(descriptor);
    if (op.state == Op::State::parked && advance(descriptor, op)) end_later(op, op.result);
  }

  // --- what will be reported. Changes cost a system call only if they are ones by the next wait.

  void arm(Descriptor& descriptor, Interest direction) noexcept {
    if (any(armed(descriptor), direction)) return;
    set_armed(descriptor, armed(descriptor) | direction);
  }
  /// `reported` has been: level goes on about it only if somebody waits, oneshot not at all.
  void disarm(Descriptor& descriptor, Interest reported) noexcept {
    if (trigger_ == Trigger::level) {
      if (descriptor.in.state == Op::State::parked) reported = reported - Interest::readable;
      if (descriptor.out.state == Op::State::parked) reported = reported - Interest::writable;
      if (!any(armed(descriptor), reported)) return;
    }
    set_armed(descriptor, armed(descriptor) - reported);
  }
  static Interest armed(const Descriptor& descriptor) noexcept {
    return static_cast<Interest>(descriptor.armed);
  }
  void set_armed(Descriptor& descriptor, Interest interest) noexcept {
    descriptor.armed = static_cast<std::uint8_t>(interest);
    changed_ = true;
    // It fails where there is nothing to wait for (a file, or closed under us): trying tells.
    (void)poller_.modify(token_of(descriptor), interest);
  }

  // --- attempts. Each does what can be done: whether the request has ended; its result is in
  // `op.result`.

  bool advance(Descriptor& descriptor, Op& op) {
    switch (op.code) {
      case Op::Code::recv: return advance_recv(descriptor, op);
      case Op::Code::recv_lent: return advance_recv_lent(descriptor, op);
      case Op::Code::recvmsg: return advance_recvmsg(descriptor, op);
      case Op::Code::accept: return advance_accept(descriptor, op);
      case Op::Code::send:
      case Op::Code::send_lent: return advance_send(descriptor, op);
      case Op::Code::sendmsg: return advance_sendmsg(descriptor, op);
      case Op::Code::connect: return advance_connect(descriptor, op);
      case Op::Code::none: break;
    }
    DUOLU_CHECK(op.code != Op::Code::none);
    return false;
  }

  bool advance_recv(Descriptor& descriptor, Op& op) {
    const ssize_t got = again([&] { return receive(descriptor, op.data, op.size); });
    if (got == -EAGAIN) return nothing_there(descriptor, op);
    if (got <= 0) [[unlikely]]
      return ended_with(op, end_of(descriptor, got));
    // A full buffer says nothing about what is behind it, and nor does any other kind of file.
    if (static_cast<std::uint32_t>(got) < op.size && descriptor.trusts_short)
      note_drained(descriptor, op, Interest::readable);
    op.result = static_cast<std::int32_t>(got);
    return true;
  }

  bool advance_recv_lent(Descriptor& descriptor, Op& op) {
    // In wait() those who starve are fed first; here they would be overtaken.
    if (starved_ != nullptr || !can_lend()) return starve(op);
    return receive_lent(descriptor, op);
  }
  bool receive_lent(Descriptor& descriptor, Op& op) {
    if (!borrow(op)) {
      if (made_ == 0) return ended_with(op, -ENOMEM);
      op.state = Op::State::starved;  // until one of the others comes back; it was the first
      op.previous = nullptr;
      op.next = starved_;
      (starved_ == nullptr ? last_starved_ : starved_->previous) = &op;
      starved_ = &op;
      return false;
    }
    const bool ended = advance_recv(descriptor, op);
    if (!ended || op.result <= 0) give_back(LentBuffer::of(op.data));
    return ended;
  }

  bool advance_recvmsg(Descriptor& descriptor, Op& op) {
    auto* const message = reinterpret_cast<msghdr*>(op.data);
    const ssize_t got = again([&] { return kernel().recvmsg(descriptor.fd, message, MSG_TRUNC); });
    if (got == -EAGAIN) return nothing_there(descriptor, op);
    op.result = static_cast<std::int32_t>(got);
    return true;
  }

  bool advance_accept(Descriptor& descriptor, Op& op) {
    const int got = again([&] { return kernel().accept(descriptor.fd, nullptr, nullptr); });
    if (got == -EAGAIN) return drained(descriptor, op, Interest::readable);
    op.result = got;
    return true;
  }

  bool advance_send(Descriptor& descriptor, Op& op) {
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

  bool advance_sendmsg(Descriptor& descriptor, Op& op) {
    auto& message = *reinterpret_cast<msghdr*>(op.data);
    op.result = 0;
    for (bool tried_again = false;;) {
      const auto call = [&] { return transmit(descriptor, message); };
      const ssize_t took = after_error(descriptor, again(call), call);
      if (took == -EAGAIN) {
        if (!cannot_wait(descriptor, message)) return drained(descriptor, op, Interest::writable);
        // There may have been room since: then this was the wrong moment.
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
  /// while its own buffer has room, and while the queue of the peer has that it is connected to; of
  /// one that `message` names nobody is told (unix_dgram_poll in Linux).
  bool cannot_wait(Descriptor& descriptor, const msghdr& message) {
    if (message.msg_name == nullptr || descriptor.kind == DescriptorKind::tcp) return false;
    pollfd one{.fd = descriptor.fd, .events = POLLOUT, .revents = 0};
    const timespec at_once{};
    return again([&] { return kernel().ppoll(&one, 1, &at_once); }) > 0;
  }
  /// Takes `moved` bytes off the front of the parts; whether nothing is left.
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

  bool advance_connect(Descriptor& descriptor, Op& op) {
    int error = 0;
    socklen_t size = sizeof error;
    const int result = kernel().getsockopt(descriptor.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    op.result = result < 0 ? result : -error;
    note_error(descriptor, op.result);
    return true;
  }

  static bool ended_with(Op& op, ssize_t result) noexcept {
    op.result = static_cast<std::int32_t>(result);
    return true;
  }

  // --- errors that are told once (EN12)

  /// Errors of the connection, or of a message that was sent before: what SO_ERROR holds. Others
  /// (ENOBUFS, EMSGSIZE) are of the call, and a stream goes on after them; EPIPE is one that the
  /// kernel gives as often as it is asked.
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
  static void note_error(Descriptor& descriptor, ssize_t result) noexcept {
    if (is_told_once(result) && descriptor.kind != DescriptorKind::datagram)
      set_error(descriptor, result);
  }
  static void set_error(Descriptor& descriptor, ssize_t result) noexcept {
    // Those of is_told_once(), and the one more that after_error() tells the receiver.
    static_assert(std::max({ECONNABORTED, ECONNREFUSED, ECONNRESET, EHOSTDOWN, EHOSTUNREACH,
                            ENETDOWN, ENETRESET, ENETUNREACH, ENONET, ENOPROTOOPT, EPROTO,
                            ETIMEDOUT, EMSGSIZE}) <= UINT8_MAX);
    descriptor.error = static_cast<std::uint8_t>(-result);
  }
  /// What a read ends with that got `got`, no bytes.
  static ssize_t end_of(Descriptor& descriptor, ssize_t got) noexcept {
    note_error(descriptor, got);
    const bool broken = descriptor.error != 0 && descriptor.kind != DescriptorKind::datagram;
    return got == 0 && broken ? -descriptor.error : got;
  }
  /// What a send ends with that got `took`. Of a datagram socket it may be the error of a message
  /// sent before (udp(7)): then `call`, the same once more, does not give it. A message's own error
  /// it gives again, or another one in its place: to a Unix peer that has gone, ENOTCONN.
  template <class Call>
  ssize_t after_error(Descriptor& descriptor, ssize_t took, Call call) {
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
  void tell_receiver(Descriptor& descriptor, ssize_t result) noexcept {
    Op& op = descriptor.in;
    if (op.state == Op::State::parked) return finish(op, static_cast<std::int32_t>(result));
    set_error(descriptor, result);
    op.chance = chance(descriptor);
  }
  /// After EAGAIN: whether an error is told instead, of a message sent before.
  bool nothing_there(Descriptor& descriptor, Op& op) noexcept {
    const bool lost = drained(descriptor, op, Interest::readable);
    if (descriptor.kind != DescriptorKind::datagram || descriptor.error == 0) return lost;
    return ended_with(op, -std::exchange(descriptor.error, std::uint8_t{}));
  }

  // --- system calls

  /// Calls until it is not interrupted.
  template <class Call>
  static std::invoke_result_t<Call> again(Call call) {
    auto result = call();
    while (result == -EINTR) result = call();
    return result;
  }
  ssize_t receive(Descriptor& descriptor, void* data, std::size_t size) {
    if (descriptor.kind == DescriptorKind::file) [[unlikely]]
      return kernel().read(descriptor.fd, data, size);
    return kernel().recv(descriptor.fd, data, size, 0);
  }
  ssize_t transmit(Descriptor& descriptor, const void* data, std::size_t size) {
    if (descriptor.kind == DescriptorKind::file) [[unlikely]]
      return kernel().write(descriptor.fd, data, size);
    return kernel().send(descriptor.fd, data, size, MSG_NOSIGNAL);
  }
  ssize_t transmit(Descriptor& descriptor, const msghdr& message) {
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
  bool is_stream(const Descriptor& descriptor) noexcept {
    int type = 0;
    socklen_t size = sizeof type;
    return kernel().getsockopt(descriptor.fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
           type == SOCK_STREAM;
  }
  /// SO_LINGER with a time makes close(2) wait for the peer, even of a non-blocking socket
  /// (socket(7)). Without it the system sends the rest all the same. With 0 it resets at once,
  /// which stays. Sockets that are accepted have the listener's.
  void do_not_linger(int fd) noexcept {
    linger set{};
    socklen_t size = sizeof set;
    if (kernel().getsockopt(fd, SOL_SOCKET, SO_LINGER, &set, &size) < 0) return;
    if (set.l_onoff == 0 || set.l_linger == 0) return;
    set.l_onoff = 0;
    (void)kernel().setsockopt(fd, SOL_SOCKET, SO_LINGER, &set, sizeof set);
  }

  /// False, for whoever has nothing to show for it. Of what the poller has lost no report comes to
  /// wait for: true, and the request ends with an error.
  bool drained(Descriptor& descriptor, Op& op, Interest direction) noexcept {
    if (descriptor.token == no_token) [[unlikely]]
      return ended_with(op, -EBADF);
    note_drained(descriptor, op, direction);
    return false;
  }
  /// The same for whoever goes on with what it has: of what is lost, the chance stays.
  void note_drained(Descriptor& descriptor, Op& op, Interest direction) noexcept {
    if (descriptor.token == no_token) [[unlikely]]
      return;
    op.chance = Op::Chance::none;
    if (trigger_ == Trigger::edge)
      poller_.drained(token_of(descriptor), direction);
    else
      arm(descriptor, direction);
  }

  const std::unique_ptr<Poller> owned_;  ///< Null if poller_ is the caller's.
  Poller& poller_;
  const Trigger trigger_;
  const bool silenced_by_message_;  ///< A report of readability is the last until drained().
  const Ready beside_message_;      ///< May be reported with a message, and asks for nothing.
  bool changed_ = false;            ///< What is asked for, since the last wait.
  const int budget_;
  int left_;
  // Never move, and are never given back: a strand may look at one it has waited for (Strand).
  std::deque<Descriptor> descriptors_;
  Op* free_ = nullptr;         ///< Of those that are closed, linked.
  std::size_t open_ = 0;       ///< How many are not.
  const std::size_t buffers_;  ///< Most there may be.
  std::size_t made_ = 0;       ///< There are, but for those that stalled peers have.
  bool no_memory_ = false;     ///< For one more, since the last wait.
  Op* starved_ = nullptr;      ///< Those who wait for a buffer, in order.
  Op* last_starved_ = nullptr;
};

}  // namespace

void detail::not_idle(const void* request) noexcept {
  if (request == &no_descriptor || request == &no_descriptor.in || request == &no_descriptor.out)
    check_failed("a Stream, Listener or Datagram is used that was closed or moved from");
  check_failed("a direction of a descriptor is used by two at a time (EN2)");
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
