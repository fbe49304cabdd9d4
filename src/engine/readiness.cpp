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

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <utility>

#include "attempts.hpp"
#include "duolu/base/check.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/engine/readiness.hpp"
#include "duolu/poll/poller.hpp"

namespace duolu {
namespace {

// Op::calls
constexpr std::uint8_t no_calls = 0;
constexpr std::uint8_t socket_calls = 1;
constexpr std::uint8_t file_calls = 2;  // read and write

/// A descriptor, and how its poller watches it.
struct Watched : Tried {
  std::uint8_t armed = 0;  ///< The directions (Interest) that will be reported.
  std::uint64_t token = 0;
};

class ReadinessEngine final : public TryingEngine<ReadinessEngine, Watched> {
  friend TryingEngine;

 public:
  /// `owned`: `poller` if the engine owns it, else null.
  ReadinessEngine(Poller& poller, const EngineOptions& options, std::unique_ptr<Poller> owned)
      : TryingEngine(poller.kernel(), options),
        owned_(std::move(owned)),
        poller_(poller),
        trigger_(options.trigger.value_or(cheapest_trigger(poller))),
        silenced_by_message_(trigger_ == Trigger::edge && poller.emulates_edge()),
        beside_message_(trigger_ == Trigger::edge      ? Ready::writable
                        : trigger_ == Trigger::oneshot ? Ready::readable  // so that no event is one
                                                       : Ready::none) {}
  ReadinessEngine(const ReadinessEngine&) = delete;
  ReadinessEngine& operator=(const ReadinessEngine&) = delete;
  Result<Descriptor*> open(int fd, DescriptorKind kind) override {
    Watched& descriptor = next_free();
    // Priority, to learn of urgent data in the stream: recv(2) stops in front of it.
    const Interest first = trigger_ == Trigger::edge
                               ? Interest::readable | Interest::priority | Interest::writable
                               : Interest::readable;
    const Result<Token> token =
        poller_.add(fd, first, trigger_, reinterpret_cast<std::uintptr_t>(&descriptor));
    if (!token &&
        (kind != DescriptorKind::file || token.error() != std::errc::operation_not_permitted))
      return fail(token.error());
    take(descriptor, fd, kind);
    descriptor.in.calls = descriptor.out.calls = calls_of(descriptor);
    descriptor.trusts_short =
        kind == DescriptorKind::tcp || (kind != DescriptorKind::file && trigger_ != Trigger::edge);
    descriptor.armed = static_cast<std::uint8_t>(first);
    descriptor.token = token ? static_cast<std::uint64_t>(*token) : no_token;
    return &descriptor;
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

  void unwatch(Watched& descriptor) noexcept { (void)poller_.remove(token_of(descriptor)); }

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

  /// Attempts the request if its call could succeed; parks it unless it ends. True if it ended at
  /// once.
  bool attempt(Watched& descriptor, Op& op) {
    op.state = Op::State::parked;
    return op.calls != no_calls && TryingEngine::attempt(descriptor, op);
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
  /// Continues requests that wait for a buffer, as long as there are buffers.
  [[gnu::noinline, gnu::cold]] void feed() {
    leases_.try_memory_again();
    while (leases_.first_starved() != nullptr && leases_.can_lend()) {
      Op& op = *leases_.first_starved();
      leases_.forget(op);
      if (receive_lent(of_in(op), op)) finish(op, op.result);
    }
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

  void tell_receiver(Watched& descriptor) noexcept {
    Op& op = descriptor.in;
    if (op.state == Op::State::parked)
      finish(op, -std::exchange(descriptor.error, std::uint8_t{}));
    else
      op.calls = calls_of(descriptor);
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
