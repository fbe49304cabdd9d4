// The engine over a Poller: try where trying could succeed, else park until the poller says that it
// could.
//
// `maybe` of a direction: trying could succeed. A report sets it; EAGAIN clears it, and on TCP a
// short transfer does too, so that a message costs no system call to learn that there is no other.
// Not after an end, an error or urgent data was reported: then more can follow a short read that no
// new edge announces, and that descriptor's short transfers are never trusted again
// (`trusts_short`).
//
// Whenever `maybe` goes, the poller is told (`drained`), or backends that emulate edges would stay
// silent.

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <vector>

#include "duolu/base/check.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/poll/poller.hpp"

namespace duolu {
namespace {

class ReadinessEngine final : public Engine {
 public:
  ReadinessEngine(Poller& poller, int budget)
      : Engine(poller.kernel()), poller_(poller), budget_(budget), left_(budget) {}
  ReadinessEngine(const ReadinessEngine&) = delete;
  ReadinessEngine& operator=(const ReadinessEngine&) = delete;
  ~ReadinessEngine() override { DUOLU_CHECK(free_.size() == descriptors_.size()); }

  Result<Descriptor*> open(int fd, DescriptorKind kind) override {
    if (free_.empty()) {
      descriptors_.emplace_back();
      free_.reserve(descriptors_.size());  // so that close() never needs memory
      free_.push_back(&descriptors_.back());
    }
    Descriptor& descriptor = *free_.back();
    // Priority, to learn that urgent data is in the stream: recv(2) stops in front of it.
    constexpr Interest all = Interest::readable | Interest::priority | Interest::writable;
    const Result<Token> token =
        poller_.add(fd, all, Trigger::edge, reinterpret_cast<std::uintptr_t>(&descriptor));
    if (!token) return fail(token.error());
    free_.pop_back();
    descriptor = Descriptor{};
    descriptor.engine = this;
    descriptor.fd = fd;
    descriptor.kind = kind;
    descriptor.trusts_short = kind == DescriptorKind::tcp;
    descriptor.token = static_cast<std::uint64_t>(*token);
    return &descriptor;
  }

  void close(Descriptor& descriptor) noexcept override {
    DUOLU_CHECK(descriptor.in.state == Op::State::idle && descriptor.out.state == Op::State::idle);
    (void)poller_.remove(token_of(descriptor));
    kernel().close(std::exchange(descriptor.fd, -1));
    free_.push_back(&descriptor);
  }

  bool recv(Descriptor& descriptor, void* data, std::size_t size) override {
    DUOLU_CHECK(size > 0);
    Op& op = descriptor.in;
    begin(op, Op::Code::recv);
    op.data = static_cast<char*>(data);
    op.size = static_cast<std::uint32_t>(std::min(size, most_bytes));
    if (op.maybe) [[unlikely]]  // mostly the last one has emptied it
      return attempt(descriptor, op);
    op.state = Op::State::parked;
    return false;
  }

  bool send(Descriptor& descriptor, const void* data, std::size_t size) override {
    DUOLU_CHECK(size <= most_bytes);
    Op& op = descriptor.out;
    begin(op, Op::Code::send);
    if (op.maybe && left_ > 0) [[likely]] {
      const ssize_t took = kernel().send(descriptor.fd, data, size, MSG_NOSIGNAL);
      if (took == static_cast<ssize_t>(size)) [[likely]] {
        --left_;
        op.result = 0;
        return true;
      }
      return go_on_sending(descriptor, data, size, took);
    }
    return go_on_sending(descriptor, data, size, 0);
  }

  bool accept(Descriptor& descriptor) override {
    begin(descriptor.in, Op::Code::accept);
    return attempt(descriptor, descriptor.in);
  }

  bool connect(Descriptor& descriptor, const sockaddr* address, socklen_t size) override {
    Op& op = descriptor.out;
    begin(op, Op::Code::connect);
    const int result = kernel().connect(descriptor.fd, address, size);
    // Interrupted, it goes on in the background, and its end is reported as of one in progress.
    if (result != -EINPROGRESS && result != -EINTR) return end(op, result);
    op.maybe = false;
    op.state = Op::State::parked;
    return false;
  }

  void cancel(Op& op) noexcept override {
    if (op.state == Op::State::parked) finish(op, -ECANCELED);
  }

  Result<bool> wait(Instant deadline) override {
    left_ = budget_;
    const Result<Poller::Batch> batch = poller_.wait(has_finished() ? immediately : deadline);
    if (!batch) return fail(batch.error());
    for (const Event& event : *batch) {
      Descriptor& descriptor = *reinterpret_cast<Descriptor*>(event.data);
      if (!receive_message(descriptor, event)) look_at(descriptor, event);
    }
    return batch->woken();
  }

  void wake() noexcept override { poller_.wake(); }
  int fd() const noexcept override { return poller_.fd(); }

 private:
  static Token token_of(const Descriptor& descriptor) noexcept {
    return static_cast<Token>(descriptor.token);
  }

  static void begin(Op& op, Op::Code code) noexcept {
    DUOLU_CHECK(op.state == Op::State::idle);
    op.code = code;
  }

  /// True: `result` can be had at once. False: the budget is spent, it is handed out later.
  bool end(Op& op, std::int32_t result) noexcept {
    if (--left_ < 0) {
      finish(op, result);
      return false;
    }
    op.result = result;
    return true;
  }

  bool attempt(Descriptor& descriptor, Op& op) {
    if (op.maybe && advance(descriptor, op)) return end(op, op.result);
    op.state = Op::State::parked;
    return false;
  }

  /// What most events are: a whole message for somebody who waits for it, and nothing else. False
  /// if it is another thing; then nothing has been done.
  bool receive_message(Descriptor& descriptor, const Event& event) {
    constexpr Ready plain = Ready::readable | Ready::writable;
    Op& op = descriptor.in;
    if ((event.ready - plain) != Ready::none || !event.readable() || !descriptor.trusts_short ||
        op.state != Op::State::parked || op.code != Op::Code::recv ||
        descriptor.out.state == Op::State::parked)
      return false;
    const ssize_t got = kernel().recv(descriptor.fd, op.data, op.size, 0);
    if (got <= 0 || got == static_cast<ssize_t>(op.size)) [[unlikely]]
      return take_rest(descriptor, op, event, got);
    descriptor.out.maybe = descriptor.out.maybe || event.writable();
    poller_.drained(token_of(descriptor), Interest::readable);
    finish(op, static_cast<std::int32_t>(got));
    return true;
  }

  [[gnu::noinline, gnu::cold]] bool take_rest(Descriptor& descriptor, Op& op, const Event& event,
                                              ssize_t got) {
    if (got == -EINTR || got == -EAGAIN) return false;
    descriptor.out.maybe = descriptor.out.maybe || event.writable();
    op.maybe = true;
    finish(op, static_cast<std::int32_t>(got));
    return true;
  }

  /// A send that did not go out at once and whole: `took` is what the first attempt gave.
  [[gnu::noinline, gnu::cold]] bool go_on_sending(Descriptor& descriptor, const void* data,
                                                  std::size_t size, ssize_t took) {
    Op& op = descriptor.out;
    op.data = static_cast<char*>(const_cast<void*>(data));
    op.size = static_cast<std::uint32_t>(size);
    op.moved = took > 0 ? static_cast<std::uint32_t>(took) : 0;
    if (took < 0 && took != -EAGAIN && took != -EINTR)
      return end(op, static_cast<std::int32_t>(took));
    if (took == -EAGAIN || (took > 0 && descriptor.trusts_short))
      drained(descriptor, op, Interest::writable);
    return attempt(descriptor, op);
  }

  void look_at(Descriptor& descriptor, const Event& event) {
    if (!event.short_means_drained()) descriptor.trusts_short = false;
    if (event.readable() || event.priority()) revive(descriptor, descriptor.in);
    if (event.writable()) revive(descriptor, descriptor.out);
  }

  void revive(Descriptor& descriptor, Op& op) {
    op.maybe = true;
    if (op.state == Op::State::parked && advance(descriptor, op)) finish(op, op.result);
  }

  /// Does what can be done. Whether the request has ended; its result is in `op.result`.
  bool advance(Descriptor& descriptor, Op& op) {
    switch (op.code) {
      case Op::Code::recv: return advance_recv(descriptor, op);
      case Op::Code::send: return advance_send(descriptor, op);
      case Op::Code::accept: return advance_accept(descriptor, op);
      case Op::Code::connect: return advance_connect(descriptor, op);
      case Op::Code::none: break;
    }
    DUOLU_CHECK(op.code != Op::Code::none);
    return false;
  }

  bool advance_recv(Descriptor& descriptor, Op& op) {
    ssize_t got = kernel().recv(descriptor.fd, op.data, op.size, 0);
    while (got == -EINTR) got = kernel().recv(descriptor.fd, op.data, op.size, 0);
    if (got == -EAGAIN) return drained(descriptor, op, Interest::readable);
    // A full buffer says nothing about what is behind it, and nor does any other kind of file.
    if (got > 0 && static_cast<std::uint32_t>(got) < op.size && descriptor.trusts_short)
      drained(descriptor, op, Interest::readable);
    op.result = static_cast<std::int32_t>(got);
    return true;
  }

  bool advance_send(Descriptor& descriptor, Op& op) {
    op.result = 0;
    while (op.moved < op.size) {
      const ssize_t took =
          kernel().send(descriptor.fd, op.data + op.moved, op.size - op.moved, MSG_NOSIGNAL);
      if (took == -EINTR) continue;
      if (took == -EAGAIN) return drained(descriptor, op, Interest::writable);
      if (took < 0) {
        op.result = static_cast<std::int32_t>(took);
        return true;
      }
      op.moved += static_cast<std::uint32_t>(took);
      if (op.moved < op.size && descriptor.trusts_short)
        return drained(descriptor, op, Interest::writable);
    }
    return true;
  }

  bool advance_accept(Descriptor& descriptor, Op& op) {
    int result = kernel().accept(descriptor.fd, nullptr, nullptr);
    while (result == -EINTR) result = kernel().accept(descriptor.fd, nullptr, nullptr);
    if (result == -EAGAIN) return drained(descriptor, op, Interest::readable);
    op.result = result;
    return true;
  }

  bool advance_connect(Descriptor& descriptor, Op& op) {
    int error = 0;
    socklen_t size = sizeof error;
    const int result = kernel().getsockopt(descriptor.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    op.result = result < 0 ? result : -error;
    return true;
  }

  /// False, for whoever has nothing to show for it.
  bool drained(Descriptor& descriptor, Op& op, Interest direction) noexcept {
    op.maybe = false;
    poller_.drained(token_of(descriptor), direction);
    return false;
  }

  Poller& poller_;
  const int budget_;
  int left_;
  std::deque<Descriptor> descriptors_;  ///< Never move.
  std::vector<Descriptor*> free_;
};

}  // namespace

std::unique_ptr<Engine> make_readiness_engine(Poller& poller, int budget) {
  return std::make_unique<ReadinessEngine>(poller, budget);
}

}  // namespace duolu
