// The engine over a Poller: try where trying could succeed, else park until the poller says that it
// could.
//
// `maybe` of a direction: trying could succeed. A report sets it; EAGAIN clears it, and on TCP a
// short transfer does too, so that a message costs no system call to learn that there is no other.
// Not after an end, an error or urgent data was reported: then more can follow a short read that no
// new edge announces, and that channel's short transfers are never trusted again (`trusts_short`).
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
  ~ReadinessEngine() override { DUOLU_CHECK(free_.size() == channels_.size()); }

  Result<Channel*> open(int fd, ChannelKind kind) override {
    if (free_.empty()) {
      channels_.emplace_back();
      free_.reserve(channels_.size());  // so that close() never needs memory
      free_.push_back(&channels_.back());
    }
    Channel& channel = *free_.back();
    // Priority, to learn that urgent data is in the stream: recv(2) stops in front of it.
    constexpr Interest all = Interest::readable | Interest::priority | Interest::writable;
    const Result<Token> token =
        poller_.add(fd, all, Trigger::edge, reinterpret_cast<std::uintptr_t>(&channel));
    if (!token) return fail(token.error());
    free_.pop_back();
    channel = Channel{};
    channel.engine = this;
    channel.fd = fd;
    channel.kind = kind;
    channel.trusts_short = kind == ChannelKind::tcp;
    channel.token = static_cast<std::uint64_t>(*token);
    return &channel;
  }

  void close(Channel& channel) noexcept override {
    DUOLU_CHECK(channel.in.state == Op::State::idle && channel.out.state == Op::State::idle);
    (void)poller_.remove(token_of(channel));
    kernel().close(std::exchange(channel.fd, -1));
    free_.push_back(&channel);
  }

  bool recv(Channel& channel, void* data, std::size_t size) override {
    DUOLU_CHECK(size > 0);
    Op& op = channel.in;
    begin(op, Op::Code::recv);
    op.data = static_cast<char*>(data);
    op.size = static_cast<std::uint32_t>(std::min(size, most_bytes));
    if (op.maybe) [[unlikely]]  // mostly the last one has emptied it
      return attempt(channel, op);
    op.state = Op::State::parked;
    return false;
  }

  bool send(Channel& channel, const void* data, std::size_t size) override {
    DUOLU_CHECK(size <= most_bytes);
    Op& op = channel.out;
    begin(op, Op::Code::send);
    if (op.maybe && left_ > 0) [[likely]] {
      const ssize_t took = kernel().send(channel.fd, data, size, MSG_NOSIGNAL);
      if (took == static_cast<ssize_t>(size)) [[likely]] {
        --left_;
        op.result = 0;
        return true;
      }
      return go_on_sending(channel, data, size, took);
    }
    return go_on_sending(channel, data, size, 0);
  }

  bool accept(Channel& channel) override {
    begin(channel.in, Op::Code::accept);
    return attempt(channel, channel.in);
  }

  bool connect(Channel& channel, const sockaddr* address, socklen_t size) override {
    Op& op = channel.out;
    begin(op, Op::Code::connect);
    const int result = kernel().connect(channel.fd, address, size);
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
      Channel& channel = *reinterpret_cast<Channel*>(event.data);
      if (!receive_message(channel, event)) look_at(channel, event);
    }
    return batch->woken();
  }

  void wake() noexcept override { poller_.wake(); }
  int fd() const noexcept override { return poller_.fd(); }

 private:
  static Token token_of(const Channel& channel) noexcept {
    return static_cast<Token>(channel.token);
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

  bool attempt(Channel& channel, Op& op) {
    if (op.maybe && advance(channel, op)) return end(op, op.result);
    op.state = Op::State::parked;
    return false;
  }

  /// What most events are: a whole message for somebody who waits for it, and nothing else. False
  /// if it is another thing; then nothing has been done.
  bool receive_message(Channel& channel, const Event& event) {
    constexpr Ready plain = Ready::readable | Ready::writable;
    Op& op = channel.in;
    if ((event.ready - plain) != Ready::none || !event.readable() || !channel.trusts_short ||
        op.state != Op::State::parked || op.code != Op::Code::recv ||
        channel.out.state == Op::State::parked)
      return false;
    const ssize_t got = kernel().recv(channel.fd, op.data, op.size, 0);
    if (got <= 0 || got == static_cast<ssize_t>(op.size)) [[unlikely]]
      return take_rest(channel, op, event, got);
    channel.out.maybe = channel.out.maybe || event.writable();
    poller_.drained(token_of(channel), Interest::readable);
    finish(op, static_cast<std::int32_t>(got));
    return true;
  }

  [[gnu::noinline, gnu::cold]] bool take_rest(Channel& channel, Op& op, const Event& event,
                                              ssize_t got) {
    if (got == -EINTR || got == -EAGAIN) return false;
    channel.out.maybe = channel.out.maybe || event.writable();
    op.maybe = true;
    finish(op, static_cast<std::int32_t>(got));
    return true;
  }

  /// A send that did not go out at once and whole: `took` is what the first attempt gave.
  [[gnu::noinline, gnu::cold]] bool go_on_sending(Channel& channel, const void* data,
                                                  std::size_t size, ssize_t took) {
    Op& op = channel.out;
    op.data = static_cast<char*>(const_cast<void*>(data));
    op.size = static_cast<std::uint32_t>(size);
    op.moved = took > 0 ? static_cast<std::uint32_t>(took) : 0;
    if (took < 0 && took != -EAGAIN && took != -EINTR)
      return end(op, static_cast<std::int32_t>(took));
    if (took == -EAGAIN || (took > 0 && channel.trusts_short))
      drained(channel, op, Interest::writable);
    return attempt(channel, op);
  }

  void look_at(Channel& channel, const Event& event) {
    if (!event.short_means_drained()) channel.trusts_short = false;
    if (event.readable() || event.priority()) revive(channel, channel.in);
    if (event.writable()) revive(channel, channel.out);
  }

  void revive(Channel& channel, Op& op) {
    op.maybe = true;
    if (op.state == Op::State::parked && advance(channel, op)) finish(op, op.result);
  }

  /// Does what can be done. Whether the request has ended; its result is in `op.result`.
  bool advance(Channel& channel, Op& op) {
    switch (op.code) {
      case Op::Code::recv: return advance_recv(channel, op);
      case Op::Code::send: return advance_send(channel, op);
      case Op::Code::accept: return advance_accept(channel, op);
      case Op::Code::connect: return advance_connect(channel, op);
      case Op::Code::none: break;
    }
    DUOLU_CHECK(op.code != Op::Code::none);
    return false;
  }

  bool advance_recv(Channel& channel, Op& op) {
    ssize_t got = kernel().recv(channel.fd, op.data, op.size, 0);
    while (got == -EINTR) got = kernel().recv(channel.fd, op.data, op.size, 0);
    if (got == -EAGAIN) return drained(channel, op, Interest::readable);
    // A full buffer says nothing about what is behind it, and nor does any other kind of file.
    if (got > 0 && static_cast<std::uint32_t>(got) < op.size && channel.trusts_short)
      drained(channel, op, Interest::readable);
    op.result = static_cast<std::int32_t>(got);
    return true;
  }

  bool advance_send(Channel& channel, Op& op) {
    op.result = 0;
    while (op.moved < op.size) {
      const ssize_t took =
          kernel().send(channel.fd, op.data + op.moved, op.size - op.moved, MSG_NOSIGNAL);
      if (took == -EINTR) continue;
      if (took == -EAGAIN) return drained(channel, op, Interest::writable);
      if (took < 0) {
        op.result = static_cast<std::int32_t>(took);
        return true;
      }
      op.moved += static_cast<std::uint32_t>(took);
      if (op.moved < op.size && channel.trusts_short)
        return drained(channel, op, Interest::writable);
    }
    return true;
  }

  bool advance_accept(Channel& channel, Op& op) {
    int result = kernel().accept(channel.fd, nullptr, nullptr);
    while (result == -EINTR) result = kernel().accept(channel.fd, nullptr, nullptr);
    if (result == -EAGAIN) return drained(channel, op, Interest::readable);
    op.result = result;
    return true;
  }

  bool advance_connect(Channel& channel, Op& op) {
    int error = 0;
    socklen_t size = sizeof error;
    const int result = kernel().getsockopt(channel.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    op.result = result < 0 ? result : -error;
    return true;
  }

  /// False, for whoever has nothing to show for it.
  bool drained(Channel& channel, Op& op, Interest direction) noexcept {
    op.maybe = false;
    poller_.drained(token_of(channel), direction);
    return false;
  }

  Poller& poller_;
  const int budget_;
  int left_;
  std::deque<Channel> channels_;  ///< Never move.
  std::vector<Channel*> free_;
};

}  // namespace

std::unique_ptr<Engine> make_readiness_engine(Poller& poller, int budget) {
  return std::make_unique<ReadinessEngine>(poller, budget);
}

}  // namespace duolu
