// The load engine. The steps of a run are described at the top of load.hpp.
//
// Invariants:
//   1. A connection's stream has three positions: received <= sent <= owed. Bytes up to `owed` are
//      those of messages that were started.
//   2. Between two events a connection has sent what it owes, or waits until it can.
//   3. Open loop: a connection that could start a message is in free_, which may also contain some
//      that no longer can. Messages that are due and wait for a connection are not stored:
//      schedule_ stays at the first of them, and continues from there.
//   4. Connections are closed by discard() only, which first removes them from the poller.
//   5. A gap begins when a connection breaks (broken_since_), and counts as one (in_gap_) once an
//      attempt to replace a connection has failed. It ends when a connection that was made later
//      answers: connect(2) alone succeeds as long as a server that dies still listens.
//
// Each connection is registered once, edge-triggered, for both directions: a message costs no
// system call except its send and its recv.

#include "duolu/load/load.hpp"

#include <fcntl.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "client.hpp"
#include "duolu/base/check.hpp"
#include "duolu/engine/readiness.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/net/connect.hpp"
#include "duolu/net/watcher.hpp"
#include "duolu/task/ready.hpp"
#include "payload.hpp"
#include "schedule.hpp"

namespace duolu {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

/// Handshakes at a time. A listener's backlog, 128 in many programs, must not overflow: the kernel
/// would drop packets, which the client sends again only after a second.
constexpr std::size_t most_opening = 64;
constexpr Duration tick = milliseconds(250);
/// A full backlog of a Unix socket is EAGAIN, and no event reports when it has room again.
constexpr Duration retry_after = milliseconds(1);
/// Between attempts to reach a server that is down: one connection at a time.
constexpr Duration reconnect_after = milliseconds(10);
/// Bounds of the time before a start that is spent spinning instead of sleeping.
constexpr Duration least_spin = microseconds(5);
constexpr Duration most_spin = microseconds(200);
/// Above this share the client itself is the limit.
constexpr double busy_limit = 0.95;
constexpr Duration late_limit = milliseconds(1);

constexpr const char* interrupted = "interrupted";
constexpr std::string_view error_names[] = {"refused",    "reset",      "closed", "timeout",
                                            "wrong_byte", "unanswered", "other"};

struct Message {
  Instant intended;  ///< Closed loop: when it was sent.
  Instant sent;
};

struct Connection {
  enum class State : std::uint8_t {
    absent,    ///< Not open: in to_open_, or given up.
    opening,   ///< connect(2) is under way.
    greeting,  ///< An idle one whose only message is not answered yet.
    idle,
    active,
  };

  int fd = -1;
  Token token{};
  State state = State::absent;
  bool listed = false;  ///< In free_.
  Instant opened_at{};
  Instant free_since{};
  std::uint64_t owed = 0;
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t answer_ends = 0;  ///< The position where the oldest message's answer ends.
  std::uint64_t started = 0;      ///< Messages on this connection.
  std::uint64_t answered = 0;
};

class LoadRun {
 public:
  /// `loop`: the one that runs the task, which waits for the poller there; null: run() blocks.
  LoadRun(Loop* loop, Poller& poller, const Address& target, const LoadOptions& options,
          const std::function<bool(const LoadProgress&)>& watch)
      : loop_(loop),
        poller_(poller),
        kernel_(poller.kernel()),
        host_(options.host != nullptr ? *options.host : real_host()),
        target_(target),
        options_(options),
        watch_(watch),
        active_(options.active == 0 ? options.connections : options.active),
        payload_(options.seed),
        connections_(options.connections),
        messages_(active_ * options.pipeline),
        buffer_(Payload::most),
        local_(kernel_, target_) {
    DUOLU_CHECK(active_ <= options.connections && options.size > 0 && options.pipeline > 0);
    DUOLU_CHECK(options.rate >= 0 && (options.messages > 0 || options.duration.count() > 0));
  }
  LoadRun(const LoadRun&) = delete;
  LoadRun& operator=(const LoadRun&) = delete;
  ~LoadRun() {
    for (std::size_t i = 0; i < connections_.size(); ++i) discard(i);
  }

  /// `first`: an existing connection to the target, or none.
  Task<Result<LoadReport>> run(Fd first, Duration took) {
    if (loop_ != nullptr) {
      const int fd = poller_.fd();
      if (fd < 0) co_return fail(ENOTSUP);
      Result<Watcher> opened = Watcher::open(*loop_, fd);
      if (!opened) co_return fail(opened.error());
      watcher_.emplace(*std::move(opened));
    }
    if (first) {
      if (const int result = adopt(std::move(first), took); result < 0) co_return fail(-result);
    }
    const Result<> connected = co_await connect_all();
    if (!connected) co_return fail(connected.error());
    // On a loop others run meanwhile, and nothing may block or spin.
    if (is_open_loop() && loop_ == nullptr) {
      report_.bare_sleep = measure_sleep(kernel_);
      const auto late = static_cast<std::int64_t>(report_.bare_sleep.percentile(99));
      spin_ = std::clamp<Duration>(nanoseconds(late), least_spin, most_spin);
    }
    co_await load();
    co_await drain();
    if (in_gap_) end_gap(failing_ ? kernel_.now() : made_at_);
    judge();
    report_.open_at_end = open_;
    report_.target = target_;
    co_return std::move(report_);
  }

 private:
  using Phase = LoadProgress::Phase;
  using State = Connection::State;

  bool is_open_loop() const noexcept { return options_.rate > 0; }
  bool is_active(std::size_t index) const noexcept { return index < active_; }
  bool stopped() const noexcept { return !report_.stopped.empty(); }
  void stop(std::string why) {
    if (report_.stopped.empty()) report_.stopped = std::move(why);
  }
  void count(LoadError error, std::uint64_t times = 1) noexcept {
    report_.errors[static_cast<std::size_t>(error)] += times;
  }

  // --- the phases

  Task<Result<>> connect_all() {
    enter(Phase::connecting, kernel_.now());
    for (std::size_t i = 0; i < connections_.size(); ++i)
      if (connections_[i].fd < 0) to_open_.push_back(i);
    while (!stopped() && (!to_open_.empty() || opening_ + greeting_ > 0))
      if (const Instant until = turn(never); until != over) co_await pause(until);
    if (failure_ != 0 && (report_.opened == 0 || is_local_limit(-failure_)))
      co_return fail(failure_);
    co_return Result<>();
  }

  Task<> load() {
    std::optional<PreciseTimers> precise;  // they are those of the whole thread
    if (loop_ == nullptr) precise.emplace(host_);
    const Instant begin = kernel_.now();
    start_ = after(begin, options_.warmup);
    end_ = options_.messages > 0 ? never : after(start_, options_.duration);
    quiet_since_ = never;
    enter(options_.warmup > Duration::zero() ? Phase::warmup : Phase::measuring, begin);
    if (phase_ == Phase::measuring) begin_measurement(begin);
    if (is_open_loop()) {
      schedule_ = Schedule(begin, options_.rate, options_.arrivals, options_.seed);
      for (std::size_t i = 0; i < active_; ++i) set_free(i, begin);
    } else {
      for (std::size_t i = 0; i < active_; ++i) resume(i, begin);
    }
    Instant now = begin;
    while (!stopped() && !is_over(now)) {
      if (phase_ == Phase::warmup && now >= start_) begin_measurement(now);
      start_due(now);
      if (const Instant until = turn(next_deadline()); until != over) co_await pause(until);
      spin();
      now = kernel_.now();
    }
    if (phase_ == Phase::warmup) begin_measurement(now);  // stopped before: nothing was measured
    report_.elapsed = std::max(std::min(now, end_) - start_, Duration::zero());
    const Usage usage = read_usage(host_);
    report_.cpu = usage.cpu - usage_.cpu;
    report_.preempted = usage.preempted - usage_.preempted;
    enter(Phase::draining, now);
    tell({.phase = phase_,
          .connections = open_,
          .answered = report_.answered,
          .errors = error_sum()});
  }

  bool is_over(Instant now) const noexcept {
    if (now >= end_) return true;
    return phase_ == Phase::measuring && options_.messages > 0 && left_to_start_ == 0 &&
           (is_open_loop() || on_way_ == 0);
  }

  void begin_measurement(Instant now) {
    if (!stopped()) tell({.phase = Phase::measuring, .connections = open_, .errors = error_sum()});
    if (!is_open_loop()) start_ = now = kernel_.now();
    if (options_.messages == 0) end_ = after(start_, options_.duration);
    enter(Phase::measuring, now);
    // Closed loop: outstanding messages will be answered in the measurement. There may be more of
    // them than are to be measured: record() counts only as many as that.
    left_to_start_ = options_.messages;
    if (!is_open_loop()) left_to_start_ -= std::min<std::uint64_t>(left_to_start_, on_way_);
    usage_ = read_usage(host_);
    report_.spun = Duration::zero();
  }

  /// Starts messages that were due before the end, and waits for outstanding answers.
  Task<> drain() {
    if (is_open_loop()) {
      if (!stopped()) start_due(kernel_.now());
    } else {
      to_open_.clear();  // nothing would be sent on them
    }
    const Instant last = after(kernel_.now(), options_.timeout);
    while (!stopped() && (on_way_ > 0 || is_due(last)) && kernel_.now() < last)
      if (const Instant until = turn(last); until != over) co_await pause(until);
    if (!stopped()) count_unanswered(last);
  }

  void count_unanswered(Instant now) noexcept {
    for (; is_due(now); take_due()) give_up(schedule_.next(), now);  // never started
    for (std::size_t i = 0; i < active_; ++i) give_up_messages(i, now);
  }

  void judge() {
    const double share = report_.busy();
    const auto percent = [](double part) { return std::to_string(std::lround(part * 100)); };
    if (share >= busy_limit) {
      report_.limit = "the client was busy " + percent(share) +
                      " % of the time: the server may be able to do more";
    } else if (nanoseconds(report_.start_error.percentile(99)) > late_limit) {
      report_.limit = "the client started 1 % of the messages more than 1 ms late";
    }
  }

  // --- one turn

  void enter(Phase phase, Instant now) noexcept {
    phase_ = phase;
    phase_began_ = now;
  }

  Instant next_deadline() const noexcept {
    Instant deadline = std::min(end_, phase_ == Phase::warmup ? start_ : never);
    // While all connections are busy no message can start.
    if (left_to_schedule() && !free_.empty())
      deadline = std::min(deadline, schedule_.next() - spin_);
    return deadline;
  }

  /// Returns `over`; on a loop, if there is more to wait for, until when.
  Instant turn(Instant deadline) {
    if (!to_open_.empty()) open_some();
    // Some are left although more may be opened: the server's backlog was full.
    if (!to_open_.empty() && opening_ + greeting_ < most_opening)
      deadline = std::min(deadline, retry_at_);
    deadline = std::min(deadline, tick_at_);
    const bool any = serve(loop_ == nullptr ? deadline : immediately);
    if (const Instant now = kernel_.now(); now >= tick_at_) look_around(now);
    if (loop_ == nullptr) return over;
    return any ? immediately : deadline;
  }

  /// On a loop: lets other tasks run, until the poller has events or until `deadline`.
  Task<> pause(Instant deadline) {
    if (deadline <= kernel_.now()) {
      const bool slept = co_await loop_->sleep_until(immediately);
      if (!slept) stop(interrupted);
      co_return;
    }
    // NOLINTNEXTLINE(bugprone-unchecked-optional-access): run() has opened it, on a loop
    const Result<> ready = co_await within(*loop_, deadline, watcher_->readable());
    if (ready || ready.error() == std::errc::timed_out) co_return;
    if (ready.error() == std::errc::operation_canceled)
      stop(interrupted);
    else
      stop("waiting failed: " + ready.error().message());
  }

  /// One wait. Returns whether there was an event.
  bool serve(Instant deadline) {
    const Result<Poller::Batch> batch = poller_.wait(deadline);
    if (!batch) {
      stop("waiting failed: " + batch.error().message());
      return false;
    }
    bool any = false;
    for (const Event& event : *batch) {
      handle(event);
      any = true;
      if (stopped()) break;
    }
    if (batch->woken()) tick_at_ = immediately;
    return any;
  }

  /// Four times a second: checks what no event reports.
  void look_around(Instant now) {
    tick_at_ = after(now, tick);
    for (std::size_t i = 0; opening_ + greeting_ > 0 && i < connections_.size(); ++i) {
      const State state = connections_[i].state;
      if ((state == State::opening || state == State::greeting) &&
          now - connections_[i].opened_at >= options_.timeout)
        lose(i, -ETIMEDOUT);
    }
    if (phase_ != Phase::connecting && waits() && now - quiet_since_ >= options_.timeout) {
      count_unanswered(now);
      if (!failing_)
        stop("no more answers arrived");
      else if (last_failure_ == ECONNREFUSED || last_failure_ == ENOENT)
        stop("the server is gone: nothing listens there any more");
      else
        stop("the server is gone: " + std::generic_category().message(last_failure_));
    }
    tell({.phase = phase_,
          .elapsed = now - phase_began_,
          .connections = open_,
          .answered = report_.answered,
          .errors = error_sum()});
  }

  void tell(const LoadProgress& progress) {
    if (watch_ && !watch_(progress)) stop(interrupted);
  }

  /// Whether an answer or a connection is still expected.
  bool waits() const noexcept { return on_way_ + opening_ + to_open_.size() > 0; }

  std::uint64_t error_sum() const noexcept {
    std::uint64_t sum = 0;
    for (const std::uint64_t times : report_.errors) sum += times;
    return sum;
  }

  void handle(const Event& event) {
    const std::size_t index = event.data;
    Connection& c = connections_[index];
    if (c.state == State::opening && !finish_opening(index, event)) return;
    if (event.readable()) receive(index, event);
    if (c.fd >= 0 && event.writable() && c.sent < c.owed) push(index);
  }

  // --- opening and ending connections

  void open_some() {
    if (kernel_.now() < retry_at_) return;
    const std::size_t most = failing_ ? 1 : most_opening;
    while (!to_open_.empty() && opening_ + greeting_ < most && !stopped()) {
      const std::size_t index = to_open_.front();
      const int result = open(index);
      if (result == -EAGAIN) {
        retry_at_ = after(kernel_.now(), retry_after);
        return;
      }
      to_open_.pop_front();
      if (result < 0) cannot_open(index, result);
      if (failing_) return;
      if (phase_ == Phase::connecting && is_local_limit(result)) stop("a limit of this machine");
    }
  }

  /// Starts a connect(2). Returns 0 or -errno.
  int open(std::size_t index) {
    Connection& c = connections_[index];
    c = Connection{.listed = c.listed, .opened_at = kernel_.now()};
    Fd fd;
    for (std::uint32_t tried = 0;; ++tried) {
      fd = Fd(kernel_, kernel_.socket(target_.family(), SOCK_STREAM, 0));
      if (!fd) return fd.get();
      const int one = 1;
      if (target_.family() != AF_UNIX)
        kernel_.setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      int result = local_.bind(fd.get());
      if (result >= 0) result = kernel_.connect(fd.get(), target_.data(), target_.size());
      if (result >= 0 || result == -EINPROGRESS) break;
      // All local ports of this address are in use for the target.
      const bool no_port = result == -EADDRNOTAVAIL || result == -EADDRINUSE;
      if (!no_port || tried == LocalAddresses::count || !local_.next()) return result;
    }
    return watch(index, std::move(fd));
  }

  /// Registers a socket that connects or is connected. Returns 0 or -errno.
  int watch(std::size_t index, Fd fd) {
    Connection& c = connections_[index];
    const Result<Token> token =
        poller_.add(fd.get(), Interest::readable | Interest::writable, Trigger::edge, index);
    if (!token) return -token.error().value();
    c.fd = fd.release();
    c.token = *token;
    c.state = State::opening;
    ++opening_;
    return 0;
  }

  /// Adopts the first connection, which took `took` to make. Returns 0 or -errno.
  int adopt(Fd fd, Duration took) {
    connections_[0].opened_at = kernel_.now() - took;
    if (const int result = watch(0, std::move(fd)); result < 0) return result;
    (void)opened(0);
    return 0;
  }

  /// Returns whether it is open.
  bool finish_opening(std::size_t index, const Event& event) {
    Connection& c = connections_[index];
    if (event.error() || event.hangup()) {
      int error = 0;
      socklen_t size = sizeof error;
      const int result = kernel_.getsockopt(c.fd, SOL_SOCKET, SO_ERROR, &error, &size);
      lose(index, result < 0 ? result : -error);
      return false;
    }
    if (!event.writable()) return false;
    if (is_connected_to_itself(c.fd)) {
      lose(index, -ECONNREFUSED);
      return false;
    }
    return opened(index);
  }

  /// A connect(2) to a port of this machine without a listener may get that port as its local one,
  /// and then connects to itself ("simultaneous open", RFC 9293, section 3.5). With many attempts
  /// to reach a server that is down, this is likely.
  bool is_connected_to_itself(int fd) const noexcept {
    if (target_.family() == AF_UNIX || !target_.is_loopback()) return false;
    Address own;
    return kernel_.getsockname(fd, own.data(), own.size_slot()) >= 0 &&
           own.size() == target_.size() && std::memcmp(own.data(), target_.data(), own.size()) == 0;
  }

  /// A connection was made. Returns whether it is still open.
  bool opened(std::size_t index) {
    Connection& c = connections_[index];
    const Instant now = kernel_.now();
    report_.connecting.record(ns_between(c.opened_at, now));
    ++report_.opened;
    ++open_;
    --opening_;
    if (std::exchange(failing_, false)) made_at_ = now;
    if (!is_active(index)) {
      c.state = State::greeting;
      ++greeting_;
      c.answer_ends = c.owed = options_.size;
      push(index);
      return c.fd >= 0;
    }
    c.state = State::active;
    c.answer_ends = options_.size;
    if (phase_ != Phase::connecting) resume(index, now);
    if (!waits()) quiet_since_ = never;
    return c.fd >= 0;
  }

  void discard(std::size_t index) noexcept {
    Connection& c = connections_[index];
    if (c.fd < 0) return;
    (void)poller_.remove(c.token);
    kernel_.close(std::exchange(c.fd, -1));
    if (c.state == State::opening)
      --opening_;
    else
      --open_;
    if (c.state == State::greeting) --greeting_;
    c.state = State::absent;
  }

  /// A connection broke, or could not be made: `result` is that of recv, send or connect; 0 for the
  /// end of the stream.
  void lose(std::size_t index, ssize_t result) {
    const State state = connections_[index].state;
    const bool unused = connections_[index].started == 0;
    const Instant now = kernel_.now();
    if (is_active(index)) give_up_messages(index, now);
    discard(index);
    if (state == State::opening || state == State::greeting) return cannot_open(index, result);
    if (!is_needed(index, now)) return give_up(index, result);
    count(kind_of(result));
    ++report_.lost;
    broken_since_ = std::min(broken_since_, now);
    if (unused) retry_at_ = after(now, reconnect_after);  // a server that closes all it accepts
    reopen(index);
  }

  /// Whether a missing connection is needed.
  bool is_needed(std::size_t index, Instant now) const noexcept {
    return phase_ == Phase::warmup || phase_ == Phase::measuring ||
           (phase_ == Phase::draining && is_active(index) && is_due(now));
  }

  void reopen(std::size_t index) {
    discard(index);
    if (quiet_since_ == never) quiet_since_ = kernel_.now();
    to_open_.push_back(index);
  }

  /// A connection could not be made. While a load runs another attempt follows: the server may be
  /// restarting. Of the attempts in a gap only the first counts as an error.
  void cannot_open(std::size_t index, ssize_t result) {
    const Instant now = kernel_.now();
    if (phase_ == Phase::connecting || is_local_limit(result)) return give_up(index, result);
    if (!is_needed(index, now)) {
      if (!in_gap_) give_up(index, result);
      return;
    }
    if (!std::exchange(in_gap_, true)) {
      count(kind_of(result));
      broken_since_ = std::min(broken_since_, now);
    }
    failing_ = true;
    last_failure_ = static_cast<int>(-result);
    retry_at_ = after(now, reconnect_after);
    reopen(index);
  }

  /// A connection that was made at `made` has answered.
  void note_answer(Instant made) noexcept {
    if (made < broken_since_) return;  // it was never lost
    if (in_gap_) end_gap(made);
    broken_since_ = never;
  }

  void end_gap(Instant end) noexcept {
    const Duration length = std::max(end - broken_since_, Duration::zero());
    ++report_.gaps;
    report_.gap_time += length;
    report_.longest_gap = std::max(report_.longest_gap, length);
    in_gap_ = false;
  }

  /// A connection that cannot be made, or needs no further attempt.
  void give_up(std::size_t index, ssize_t result) {
    count(kind_of(result));
    const auto error = static_cast<int>(-result);
    if (failure_ == 0) failure_ = error;
    if (!is_active(index) || ++lost_ < active_) return;
    stop("no connection is left: " +
         (error == 0 ? "the server closed the last one" : std::generic_category().message(error)));
  }

  /// Errors that the server does not cause, and that more connections would make worse.
  static bool is_local_limit(ssize_t result) noexcept {
    return result == -EMFILE || result == -ENFILE || result == -ENOMEM || result == -ENOBUFS ||
           result == -ENOSPC || result == -EADDRNOTAVAIL;
  }

  static LoadError kind_of(ssize_t result) noexcept {
    switch (-result) {
      case 0: return LoadError::closed;
      case ECONNREFUSED: return LoadError::refused;
      case ECONNRESET:
      case EPIPE: return LoadError::reset;
      case ETIMEDOUT: return LoadError::timeout;
      default: return LoadError::other;
    }
  }

  // --- messages

  bool may_start(const Connection& c) const noexcept {
    return c.state == State::active && c.started - c.answered < options_.pipeline &&
           (options_.churn == 0 || c.started < options_.churn);
  }

  void start(std::size_t index, Instant intended, Instant now) noexcept {
    Connection& c = connections_[index];
    if (quiet_since_ == never) quiet_since_ = now;
    messages_[index * options_.pipeline + c.started % options_.pipeline] = {intended, now};
    c.owed += options_.size;
    ++c.started;
    ++on_way_;
  }

  /// Starts all messages that a connection can start now, and sends them.
  void resume(std::size_t index, Instant now) {
    Connection& c = connections_[index];
    if (is_open_loop()) {
      for (; may_start(c) && is_due(now); take_due()) start(index, schedule_.next(), now);
      set_free(index, now);
    } else {
      while (may_start(c) && closed_loop_continues()) start(index, now, now);
    }
    if (c.sent < c.owed) push(index);
  }

  bool closed_loop_continues() noexcept {
    if (phase_ == Phase::warmup) return true;
    if (phase_ != Phase::measuring) return false;
    if (options_.messages == 0) return true;
    if (left_to_start_ == 0) return false;
    --left_to_start_;
    return true;
  }

  void push(std::size_t index) {
    Connection& c = connections_[index];
    while (c.sent < c.owed) {
      const std::string_view bytes = payload_.slice(index, c.sent, c.owed - c.sent);
      const ssize_t took = kernel_.send(c.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (took == -EINTR) continue;
      if (took == -EAGAIN) return poller_.drained(c.token, Interest::writable);
      if (took < 0) return lose(index, took);
      c.sent += static_cast<std::uint64_t>(took);
    }
  }

  void receive(std::size_t index, const Event& event) {
    Connection& c = connections_[index];
    for (;;) {
      const ssize_t got = kernel_.recv(c.fd, buffer_.data(), buffer_.size(), 0);
      if (got == -EINTR) continue;
      if (got == -EAGAIN) return poller_.drained(c.token, Interest::readable);
      if (got <= 0) return lose(index, got);
      const auto size = static_cast<std::size_t>(got);
      const std::string_view expected = payload_.slice(index, c.received, size);
      if (size > c.sent - c.received || std::memcmp(buffer_.data(), expected.data(), size) != 0)
        return wrong(index, size);
      c.received += size;
      if (c.received >= c.answer_ends && !finish_answers(index)) return;
      if (size < buffer_.size() && event.short_means_drained())
        return poller_.drained(c.token, Interest::readable);
    }
  }

  /// One or more answers are complete. Returns whether the connection is still open.
  bool finish_answers(std::size_t index) {
    Connection& c = connections_[index];
    if (c.state == State::greeting) {
      c.state = State::idle;
      --greeting_;
      c.answer_ends = UINT64_MAX;  // no further byte is expected
      note_answer(c.opened_at);
      if (!waits()) quiet_since_ = never;
      return true;
    }
    const Instant now = kernel_.now();
    note_answer(c.opened_at);
    for (; c.received >= c.answer_ends; c.answer_ends += options_.size, ++c.answered)
      record(messages_[index * options_.pipeline + c.answered % options_.pipeline], now);
    quiet_since_ = waits() ? now : never;
    if (options_.churn == 0 || c.answered < options_.churn)
      resume(index, now);
    else if (phase_ == Phase::draining && !is_due(now))
      discard(index);
    else
      reopen(index);
    return c.fd >= 0;
  }

  void record(const Message& message, Instant now) noexcept {
    --on_way_;
    const bool counts_down = !is_open_loop() && options_.messages > 0;
    if (counts_down && report_.messages == options_.messages) return;
    if (phase_ == Phase::measuring) ++report_.answered;
    if (is_open_loop() ? message.intended < start_ || message.intended >= end_
                       : phase_ != Phase::measuring)
      return;
    ++report_.messages;
    report_.uncorrected.record(ns_between(message.sent, now));
    if (is_open_loop()) report_.corrected.record(ns_between(message.intended, now));
    if (counts_down && report_.messages == options_.messages) end_ = now;
  }

  /// A message will not be answered. Its age is the lower bound of its latency.
  void give_up(Instant intended, Instant now) noexcept {
    count(LoadError::unanswered);
    const std::uint64_t age = ns_between(intended, now);
    report_.unanswered.record(age);
    if (is_open_loop() && intended >= start_ && intended < end_) report_.corrected.record(age);
  }
  /// The same for all outstanding messages of a connection.
  void give_up_messages(std::size_t index, Instant now) noexcept {
    Connection& c = connections_[index];
    for (; c.answered < c.started; ++c.answered, --on_way_)
      give_up(messages_[index * options_.pipeline + c.answered % options_.pipeline].intended, now);
  }

  [[gnu::cold]] void wrong(std::size_t index, std::size_t size) {
    const Connection& c = connections_[index];
    count(LoadError::wrong_byte);
    const std::size_t asked = static_cast<std::size_t>(c.sent - c.received);
    const std::string_view expected = payload_.slice(index, c.received, size);
    std::size_t at = 0;
    while (at < std::min(asked, size) && buffer_[at] == expected[at]) ++at;
    const auto number = [](char byte) { return std::to_string(static_cast<unsigned char>(byte)); };
    std::string what = "connection " + std::to_string(index) + ", byte " +
                       std::to_string(c.received + at) + " of the answers: ";
    if (at < asked)
      what += number(buffer_[at]) + " instead of " + number(expected[at]);
    else
      what += "more than was sent";
    stop("wrong answer: " + what);
  }

  // --- the open loop

  bool left_to_schedule() const noexcept {
    return is_open_loop() &&
           (options_.messages == 0 || phase_ == Phase::warmup || left_to_start_ > 0);
  }

  void set_free(std::size_t index, Instant now) {
    Connection& c = connections_[index];
    if (!may_start(c)) return;
    c.free_since = now;
    if (!std::exchange(c.listed, true)) free_.push_back(index);
  }

  /// The connection that has been free longest; SIZE_MAX if there is none.
  std::size_t take_free() {
    while (!free_.empty()) {
      const std::size_t index = free_.front();
      free_.pop_front();
      connections_[index].listed = false;
      if (may_start(connections_[index])) return index;
    }
    return SIZE_MAX;
  }

  /// Whether a message is to start now, or was to start earlier.
  bool is_due(Instant now) const noexcept {
    const Instant next = schedule_.next();
    return left_to_schedule() && next <= now && next < (phase_ == Phase::warmup ? start_ : end_);
  }
  void take_due() noexcept {
    const bool counts = options_.messages > 0 && schedule_.next() >= start_;
    schedule_.advance();
    if (counts) --left_to_start_;
  }

  /// Starts due messages as long as there are free connections.
  void start_due(Instant now) {
    while (is_due(now)) {
      const std::size_t index = take_free();
      if (index == SIZE_MAX) return;
      now = kernel_.now();
      const Instant possible = std::max(schedule_.next(), connections_[index].free_since);
      if (phase_ != Phase::warmup) report_.start_error.record(ns_between(possible, now));
      start(index, schedule_.next(), now);
      take_due();
      set_free(index, now);
      push(index);
    }
  }

  /// Spins for the last part of the time before a start: a sleep would end too late.
  void spin() {
    if (!left_to_schedule() || free_.empty()) return;
    const Instant until = std::min(schedule_.next(), end_);
    Instant now = kernel_.now();
    if (until - now > spin_) return;
    while (now < until && !stopped()) {
      const bool idle = on_way_ == 0 || !serve(immediately);
      const Instant before = std::exchange(now, kernel_.now());
      if (idle) report_.spun += now - before;
    }
  }

  static constexpr Instant over = Instant::min();  ///< Of turn(): it has waited.

  Loop* const loop_;
  std::optional<Watcher> watcher_;  ///< On a loop: of the poller.
  Poller& poller_;
  Kernel& kernel_;
  Host& host_;
  const Address target_;
  const LoadOptions options_;
  const std::function<bool(const LoadProgress&)>& watch_;
  const std::size_t active_;  ///< This many connections, the first ones, send.
  const Payload payload_;
  std::vector<Connection> connections_;
  std::vector<Message> messages_;  ///< `pipeline` for each active connection, a ring.
  std::vector<char> buffer_;
  LoadReport report_;

  Phase phase_ = Phase::connecting;
  Instant phase_began_{};
  Instant tick_at_ = immediately;
  Instant start_{};  ///< Of the measurement.
  Instant end_ = never;
  Instant quiet_since_ = never;  ///< Nothing has arrived since, though something is expected.
  Usage usage_{};                ///< At the start of the measurement.

  std::deque<std::size_t> to_open_;
  Instant retry_at_ = immediately;  ///< When opening continues.
  LocalAddresses local_;
  std::size_t opening_ = 0;
  std::size_t greeting_ = 0;
  std::size_t open_ = 0;
  std::size_t lost_ = 0;  ///< Active ones that were given up.
  int failure_ = 0;       ///< The errno of the first connection that could not be made.
  // See invariant 5.
  Instant broken_since_ = never;  ///< Of the first broken connection that was not replaced.
  bool in_gap_ = false;
  bool failing_ = false;  ///< The last attempt to connect failed.
  int last_failure_ = 0;  ///< The errno of that attempt.
  Instant made_at_{};     ///< Of the first connection after the last failure.

  std::uint64_t on_way_ = 0;         ///< Outstanding messages: started and not answered.
  std::uint64_t left_to_start_ = 0;  ///< Of `messages`, in the measurement.
  Schedule schedule_;                ///< Closed loop: never.
  std::deque<std::size_t> free_;
  Duration spin_{};
};

// --- a name with several addresses

struct Winner {
  Address address;
  Fd connection;
};

Task<Result<Stream>> connect_by(Loop* loop, const std::vector<Address>* targets, Instant deadline) {
  co_return co_await within(*loop, deadline, connect(*loop, *targets));
}

/// connect_by() without a loop that runs already. ECANCELED if `watch` ends it.
Result<Stream> connect_watched(Loop& loop, const std::vector<Address>& targets, Instant deadline,
                               const std::function<bool(const LoadProgress&)>& watch) {
  Kernel& kernel = loop.kernel();
  Chain chain;
  Task<Result<Stream>> connecting = connect_by(&loop, &targets, deadline);
  const Instant begun = kernel.now();
  loop.start(connecting, chain);
  while (!connecting.promise().done()) {
    if (const Result<> turned = loop.turn(after(kernel.now(), tick)); !turned) chain.cancel();
    if (watch && !watch({.elapsed = kernel.now() - begun})) chain.cancel();
  }
  return connecting.promise().take();
}

/// What connect_by() has found, for a run.
Result<Winner> winner_of(Result<Stream> stream) {
  if (!stream) return fail(stream.error());
  if (stream->peer().family() == AF_UNSPEC) return fail(ECONNRESET);  // closed already
  // The stream closes its own descriptor, so this is a copy.
  Kernel& kernel = stream->kernel();
  Winner winner{.address = stream->peer(),
                .connection = Fd(kernel, kernel.fcntl(stream->fd(), F_DUPFD_CLOEXEC, 3))};
  if (!winner.connection) return fail(-winner.connection.get());
  return winner;
}

/// Connects to the address that answers first.
Task<Result<Winner>> find_winner(Loop* loop, Poller* poller, const std::vector<Address>* targets,
                                 Instant deadline,
                                 const std::function<bool(const LoadProgress&)>* watch) {
  if (loop != nullptr) {
    Result<Stream> stream = co_await connect_by(loop, targets, deadline);
    co_return winner_of(std::move(stream));
  }
  const std::unique_ptr<Engine> engine = make_readiness_engine(*poller);
  Loop own(*engine);
  co_return winner_of(connect_watched(own, *targets, deadline, *watch));
}

using Watch = std::function<bool(const LoadProgress&)>;

Task<Result<LoadReport>> load_one(Loop* loop, Poller* poller, Address target,
                                  const LoadOptions* options, const Watch* watch) {
  LoadRun run(loop, *poller, target, *options, *watch);
  Fd none;
  co_return co_await run.run(std::move(none), Duration::zero());
}

/// A run, on `loop` or, if that is null, in a task that never waits.
Task<Result<LoadReport>> load_some(Loop* loop, Poller* poller, const std::vector<Address>* targets,
                                   const LoadOptions* options, const Watch* watch) {
  // One address needs no race; and a server that accepts only once gets no second connection.
  if (targets->size() == 1)
    co_return co_await load_one(loop, poller, targets->front(), options, watch);
  Kernel& kernel = poller->kernel();
  const Instant begun = kernel.now();
  const Instant deadline = after(begun, options->timeout);
  Result<Winner> winner = co_await find_winner(loop, poller, targets, deadline, watch);
  if (winner) {
    LoadRun run(loop, *poller, winner->address, *options, *watch);
    co_return co_await run.run(std::move(winner->connection), kernel.now() - begun);
  }
  if (winner.error() == std::errc::operation_canceled) {
    LoadReport report;
    report.target = targets->front();
    report.stopped = interrupted;
    co_return std::move(report);
  }
  Result<LoadReport> report = fail(winner.error());
  // A run has more local ports than one connect(): see LocalAddresses.
  if (winner.error() == errno_code(EADDRNOTAVAIL))
    for (std::size_t i = 0; !report && i < targets->size(); ++i)
      report = co_await load_one(loop, poller, (*targets)[i], options, watch);
  co_return report;
}

Task<Result<LoadReport>> load_here(Poller* poller, std::vector<Address> targets,
                                   LoadOptions options, Watch watch) {
  Loop& loop = co_await this_loop();
  co_return co_await load_some(&loop, poller, &targets, &options, &watch);
}

}  // namespace

std::string_view to_string(LoadError error) noexcept {
  return error_names[static_cast<std::size_t>(error)];
}

double LoadReport::throughput() const noexcept {
  const double seconds = std::chrono::duration<double>(elapsed).count();
  return seconds > 0 ? static_cast<double>(answered) / seconds : 0;
}

double LoadReport::busy() const noexcept {
  return elapsed > Duration::zero()
             ? static_cast<double>((cpu - spun).count()) / static_cast<double>(elapsed.count())
             : 0;
}

Task<Result<LoadReport>> load(Poller& poller, std::vector<Address> targets, LoadOptions options,
                              Watch watch) {
  return load_here(&poller, std::move(targets), options, std::move(watch));
}

Result<LoadReport> run_load(Poller& poller, const Address& target, const LoadOptions& options,
                            const Watch& watch) {
  return run_load(poller, std::vector{target}, options, watch);
}

Result<LoadReport> run_load(Poller& poller, const std::vector<Address>& targets,
                            const LoadOptions& options, const Watch& watch) {
  Chain chain;
  Task<Result<LoadReport>> task = load_some(nullptr, &poller, &targets, &options, &watch);
  detail::enter_first(task.promise(), chain);
  task.promise().run();
  return task.promise().take();
}

}  // namespace duolu
