#include "apps/callback_server.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "apps/text.hpp"

// A (void) before modify or remove: they fail only for a token that names nothing (any more), and
// then there is nothing to pause, arm or forget.

namespace duolu::apps {
namespace {

using namespace std::chrono_literals;

constexpr int accepts_a_turn = 64;  // so that a storm of clients does not starve those who are in
constexpr int rounds_a_turn = 4;    // so that busy connections do not starve the others
constexpr Duration linger = 1s;     // for the peer to take the last bytes and close
constexpr Duration quiet_when_stopping = 200ms;
constexpr Duration backoff_min = 100ms;
constexpr Duration backoff_max = 1s;
constexpr std::size_t shown_of_a_message = 64;

std::uint64_t word_of(Watched& watched) { return reinterpret_cast<std::uintptr_t>(&watched); }

}  // namespace

struct CallbackServer::Listener final : Watched {
  Listener(CallbackServer& server_of, Fd socket, Address bound)
      : server(server_of), fd(std::move(socket)), address(bound) {}
  void on_event(const Event&) override { server.accept_from(*this); }

  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener() {
    (void)server.poller_.remove(token);
    constexpr std::string_view unix_scheme = "unix://";
    if (const std::string text = address.to_string(); text.starts_with(unix_scheme))
      server.kernel_.unlink(text.substr(unix_scheme.size()).c_str());
  }

  CallbackServer& server;
  Fd fd;
  Address address;
  Token token{};
};

struct CallbackServer::Connection final : Watched {
  Connection(CallbackServer& server_of, Fd socket) : server(server_of), fd(std::move(socket)) {}
  void on_event(const Event& event) override {
    if (event.invalid()) return server.drop(*this, EBADF, "descriptor closed");
    armed = false;
    can_read = can_read || event.readable();
    can_write = can_write || event.writable();
    to_the_end = to_the_end || !event.short_means_drained();
    server.serve(*this);
  }

  CallbackServer& server;
  Fd fd;
  Token token{};
  Interest interest = Interest::none;
  bool armed = true;      ///< Oneshot: the registration has not fired.
  bool can_read = false;  ///< Trying could succeed.
  bool can_write = true;
  bool to_the_end = false;  ///< Read until EAGAIN: a short read no longer means empty.
  bool input_ended = false;
  bool finishing = false;   ///< Answer nothing more; once all is sent, close.
  bool lingering = false;   ///< Our side is shut down; what still comes is thrown away.
  bool unfinished = false;  ///< On the list of that name.
  std::unique_ptr<Service::State> state;
  std::vector<char> output;  ///< What the peer has not taken yet; no memory when empty.
  std::size_t sent = 0;      ///< How much of `output` it took.
  std::string tail;          ///< The last bytes of the input, for close_after.
  std::string peer;          ///< For the journal, where it is verbose.
  Instant last{};            ///< Of the last byte; when lingering, the time to give up.
  Connections::iterator self;
};

struct CallbackServer::Stdin final : Watched {
  explicit Stdin(CallbackServer& server_of) : server(server_of) {}
  ~Stdin() { (void)server.poller_.remove(token); }
  void on_event(const Event&) override {
    if (!has_ended()) {
      // One read does not drain a terminal: every trigger is told to look again.
      (void)server.poller_.modify(token, Interest::readable);
      return;
    }
    (void)server.poller_.modify(token, Interest::none);
    server.stop();
  }
  /// Reads once. A line, the end, or a terminal that is gone: anything but a part of a line.
  bool has_ended() {
    std::array<char, 4096> line;
    const ssize_t got = server.kernel_.read(0, line.data(), line.size());
    if (got == -EAGAIN || got == -EINTR) return false;
    return got <= 0 || std::find(line.begin(), line.begin() + got, '\n') != line.begin() + got;
  }

  CallbackServer& server;
  Token token{};
};

CallbackServer::CallbackServer(Poller& poller, Trigger trigger, Service& service,
                               ServerOptions options, Journal& journal)
    : poller_(poller),
      kernel_(poller.kernel()),
      service_(service),
      trigger_(trigger),
      options_(std::move(options)),
      journal_(journal),
      input_(service.read_size()) {}

CallbackServer::~CallbackServer() {
  for (Connections* list : {&active_, &ending_})
    for (Connection& connection : *list) (void)poller_.remove(connection.token);
}

Result<Address> CallbackServer::listen(const Address& address) {
  Result<Fd> fd = listen_on(kernel_, address);
  if (!fd) return fail(fd.error());
  Address bound;
  if (const int result = kernel_.getsockname(fd->get(), bound.data(), bound.size_slot());
      result < 0)
    return fail(-result);
  Listener& listener = listeners_.emplace_back(*this, std::move(*fd), bound);
  const Result<Token> token =
      poller_.add(listener.fd.get(), Interest::readable, trigger_, word_of(listener));
  if (!token) {
    listeners_.pop_back();
    return fail(token.error());
  }
  listener.token = *token;
  return bound;
}

Result<Totals> CallbackServer::run() {
  if (options_.stop_on_stdin) {
    stdin_ = std::make_unique<Stdin>(*this);
    const Result<Token> token = poller_.add(0, Interest::readable, trigger_, word_of(*stdin_));
    if (token) {
      stdin_->token = *token;
    } else if (token.error() == std::errc::operation_not_permitted) {
      // A file or /dev/null: there is nothing to wait for, the end is at hand.
      while (!stop_asked_.load(std::memory_order_relaxed) && !stdin_->has_ended()) {
      }
      stop();
    } else {
      return fail(token.error());
    }
  }
  while (!stopping_ || !active_.empty() || !ending_.empty()) {
    const Result<Poller::Batch> batch =
        poller_.wait(unfinished_.empty() ? next_deadline() : immediately);
    if (!batch) return fail(batch.error());
    if (quiet_limit() != Duration::zero()) now_ = kernel_.now();
    for (const Event& event : *batch) reinterpret_cast<Watched*>(event.data)->on_event(event);
    go_on();
    expire();
    if (stop_asked_.load(std::memory_order_relaxed) && !stopping_) begin_to_stop();
  }
  return totals_;
}

// --- accepting

void CallbackServer::accept_from(Listener& listener) {
  bool bottom = false;
  for (int i = 0; i < accepts_a_turn && !bottom; ++i) {
    if (full()) return pause_accepting("as many connections as --max-connections allows", false);
    Address peer;
    const int fd = kernel_.accept(listener.fd.get(), peer.data(), peer.size_slot());
    bottom = fd == -EAGAIN;
    if (fd >= 0) {
      accept_backoff_ = {};
      admit(Fd(kernel_, fd), peer);
    } else if (!bottom && !handle_accept_error(-fd)) {
      return;
    }
  }
  if (bottom) poller_.drained(listener.token, Interest::readable);
  // Oneshot: it has fired. Edge, after a full turn's share: more may wait without a new edge.
  if (trigger_ == Trigger::oneshot || (trigger_ == Trigger::edge && !bottom))
    (void)poller_.modify(listener.token, Interest::readable);
}

/// Whether to go on accepting.
bool CallbackServer::handle_accept_error(int error) {
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      // The connection stays in the backlog. Trying again at once would spin.
      pause_accepting(errno_code(error).message(), true);
      return false;
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ETIMEDOUT:
      return true;  // accept(2): of one connection, which is out of the backlog with it
    default:
      // A security module that says no (EACCES, EPERM) or a broken listener: no less lasting.
      pause_accepting("the listener gives no connections: " + errno_code(error).message(), true);
      return false;
  }
}

void CallbackServer::admit(Fd fd, const Address& peer) {
  Connection& fresh = active_.emplace_back(*this, std::move(fd));
  fresh.self = std::prev(active_.end());
  const bool edge = trigger_ == Trigger::edge;
  fresh.interest = Interest::readable;
  if (edge || service_.produces()) fresh.interest |= Interest::writable;
  // A read stops at urgent data: then short does not mean empty, and no other edge would tell.
  if (edge) fresh.interest |= Interest::priority;
  const Result<Token> token = poller_.add(fresh.fd.get(), fresh.interest, trigger_, word_of(fresh));
  if (!token) {
    journal_.say(Verbosity::normal, "refused",
                 fmt::format("refused a connection: {}", token.error().message()),
                 {{"error", token.error().message()}});
    active_.pop_back();
    ++totals_.failed;
    return;
  }
  fresh.token = *token;
  fresh.state = service_.open();
  fresh.last = now_;
  ++totals_.accepted;
  totals_.peak = std::max(totals_.peak, active_.size() + ending_.size());
  if (!journal_.wants(Verbosity::verbose)) return;
  fresh.peer = escape(peer.to_string());
  journal_.say(Verbosity::verbose, "accepted", fmt::format("new connection from {}", fresh.peer),
               {{"peer", fresh.peer}});
}

bool CallbackServer::full() const {
  return options_.max_connections != 0 &&
         active_.size() + ending_.size() >= options_.max_connections;
}

void CallbackServer::pause_accepting(const std::string& why, bool out_of_resources) {
  accepting_ = false;
  for (Listener& listener : listeners_) (void)poller_.modify(listener.token, Interest::none);
  if (!out_of_resources) return;
  // One of our own connections ending is what we wait for; the clock is for what others free.
  const Instant now = kernel_.now();
  if (now >= accept_tell_again_) {
    accept_tell_again_ = after(now, 10s);
    journal_.say(Verbosity::normal, "accept_paused",
                 fmt::format("accepting is paused: {}; it goes on as connections end", why),
                 {{"error", why}});
  }
  accept_backoff_ = std::clamp(accept_backoff_ * 2, backoff_min, backoff_max);
  accept_again_ = after(now, accept_backoff_);
}

void CallbackServer::resume_accepting() {
  if (accepting_ || stopping_ || full()) return;
  accepting_ = true;
  accept_again_ = never;
  for (Listener& listener : listeners_) (void)poller_.modify(listener.token, Interest::readable);
}

// --- one connection

void CallbackServer::serve(Connection& c) {
  for (int rounds = 0; flush(c); ++rounds) {
    if (c.output.empty() && c.finishing && !c.lingering && !finish(c)) return;
    const bool sends = service_.produces() && c.can_write && !c.finishing;
    if (!c.output.empty() || !(sends || c.can_read) || rounds == rounds_a_turn) return settle(c);
    if (c.can_read && !receive(c)) return;
    if (sends && c.output.empty() && !produce(c)) return;
  }
}

bool CallbackServer::receive(Connection& c) {
  const ssize_t got = kernel_.recv(c.fd.get(), input_.data(), input_.size(), 0);
  if (got == -EINTR) return true;
  if (got < 0 && got != -EAGAIN) {
    drop(c, static_cast<int>(-got), "receiving");
    return false;
  }
  // Level and oneshot report again what is left; an edge only after we have seen the bottom.
  const bool bottom = got == -EAGAIN || got == 0 ||
                      (static_cast<std::size_t>(got) < input_.size() && !c.to_the_end);
  if (bottom || trigger_ != Trigger::edge) c.can_read = false;
  if (bottom) poller_.drained(c.token, Interest::readable);
  if (got == -EAGAIN) return true;
  if (got == 0) {
    c.input_ended = c.finishing = true;
    if (!c.lingering) return true;
    drop(c, 0, "closed by both");
    return false;
  }
  if (c.lingering) return true;
  const std::span<char> input(input_.data(), static_cast<std::size_t>(got));
  note_input(c, input);
  const Reply reply = service_.answer(c.state.get(), input, scratch_);
  c.finishing = c.finishing || reply.last;
  return reply.bytes.empty() || transmit(c, reply.bytes);
}

/// Counts a piece of input, tells of it, and looks whether it ends the connection.
void CallbackServer::note_input(Connection& c, std::span<const char> input) {
  ++totals_.messages;
  totals_.bytes_in += input.size();
  touch(c);
  const std::string_view text(input.data(), input.size());
  if (journal_.wants(Verbosity::verbose)) {
    const std::string shown = escape(text, shown_of_a_message);
    journal_.say(Verbosity::verbose, "received",
                 fmt::format("received {} bytes from {}: \"{}\"", text.size(), c.peer, shown),
                 {{"peer", c.peer}, {"bytes", text.size()}, {"text", shown}});
  }
  const std::string& wanted = options_.close_after;
  if (wanted.empty()) return;
  c.tail.append(text.substr(text.size() - std::min(text.size(), wanted.size())));
  c.tail.erase(0, c.tail.size() - std::min(c.tail.size(), wanted.size()));
  if (c.tail == wanted) c.finishing = true;
}

/// How many bytes the peer takes now; nothing if that ended the connection.
std::optional<std::size_t> CallbackServer::send(Connection& c, std::span<const char> bytes) {
  ssize_t taken = -EINTR;
  while (taken == -EINTR)
    taken = kernel_.send(c.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (taken < 0 && taken != -EAGAIN) {
    drop(c, static_cast<int>(-taken), "sending");
    return std::nullopt;
  }
  const auto count = static_cast<std::size_t>(std::max<ssize_t>(taken, 0));
  totals_.bytes_out += count;
  if (count > 0) touch(c);
  if (count < bytes.size()) {
    c.can_write = false;
    poller_.drained(c.token, Interest::writable);
  }
  return count;
}

/// Sends at once what the peer takes, keeps the rest. Only with nothing kept before.
bool CallbackServer::transmit(Connection& c, std::span<const char> bytes) {
  const std::optional<std::size_t> taken = send(c, bytes);
  if (!taken || *taken == bytes.size()) return taken.has_value();
  c.output.assign(bytes.begin() + static_cast<std::ptrdiff_t>(*taken), bytes.end());
  c.sent = 0;
  return true;
}

bool CallbackServer::flush(Connection& c) {
  if (c.output.empty() || !c.can_write) return true;
  const std::optional<std::size_t> taken = send(c, std::span<const char>(c.output).subspan(c.sent));
  if (!taken) return false;
  c.sent += *taken;
  if (c.sent == c.output.size()) std::vector<char>().swap(c.output);
  return true;
}

bool CallbackServer::produce(Connection& c) {
  return transmit(c, service_.produce(c.state.get(), scratch_));
}

/// Everything was sent: closes, or, where the peer may still be sending, shuts our side down first.
/// Closing with unread input would make TCP reset the connection and lose what is on its way.
bool CallbackServer::finish(Connection& c) {
  if (c.input_ended) {
    drop(c, 0, "closed by the peer");
    return false;
  }
  kernel_.shutdown(c.fd.get(), SHUT_WR);  // ENOTCONN: the peer is gone, reading will tell
  c.lingering = true;
  c.last = after(kernel_.now(), linger);
  ending_.splice(ending_.end(), active_, c.self);
  return true;
}

/// Tells the poller what this connection waits for now.
void CallbackServer::settle(Connection& c) {
  if (trigger_ == Trigger::edge) {
    // Registered once, for both directions. What one turn's share left over is done in the next.
    const bool sends = service_.produces() && c.can_write && !c.lingering;
    if (c.output.empty() && (c.can_read || sends) && !std::exchange(c.unfinished, true))
      unfinished_.push_back(&c);
    return;
  }
  Interest want = c.output.empty() ? Interest::readable : Interest::writable;
  if (service_.produces() && !c.lingering) want |= Interest::writable;
  const bool again = trigger_ == Trigger::oneshot && !std::exchange(c.armed, true);
  if (want == c.interest && !again) return;
  c.interest = want;
  (void)poller_.modify(c.token, want);
}

/// Moves a connection behind all that have been quiet for longer.
void CallbackServer::touch(Connection& c) {
  if (quiet_limit() == Duration::zero() || c.lingering) return;
  c.last = now_;
  active_.splice(active_.end(), active_, c.self);
}

void CallbackServer::drop(Connection& c, int error, const char* why) {
  if (error != 0) ++totals_.failed;
  if (journal_.wants(Verbosity::verbose)) {
    const std::string reason = error != 0 ? errno_code(error).message() : std::string(why);
    journal_.say(Verbosity::verbose, "closed", fmt::format("closed {}: {}", c.peer, reason),
                 {{"peer", c.peer}, {"reason", reason}});
  }
  (void)poller_.remove(c.token);
  if (c.unfinished) std::erase(unfinished_, &c);
  (c.lingering ? ending_ : active_).erase(c.self);
  resume_accepting();
}

// --- time and the end

/// How long a connection may be without a byte; zero when nobody asks.
Duration CallbackServer::quiet_limit() const {
  return stopping_ ? quiet_when_stopping : options_.idle_timeout;
}

Instant CallbackServer::next_deadline() const {
  Instant next = std::min(accept_again_, stop_deadline_);
  if (quiet_limit() != Duration::zero() && !active_.empty())
    next = std::min(next, after(active_.front().last, quiet_limit()));
  if (!ending_.empty()) next = std::min(next, ending_.front().last);
  return next;
}

/// The next share of those who could have done more in the last turn.
void CallbackServer::go_on() {
  std::swap(unfinished_, going_on_);
  for (Connection* connection : going_on_) {
    connection->unfinished = false;
    serve(*connection);  // ends no connection but this one
  }
  going_on_.clear();
}

void CallbackServer::expire() {
  if (next_deadline() == never) return;
  now_ = kernel_.now();
  if (accept_again_ <= now_) resume_accepting();
  while (!ending_.empty() && ending_.front().last <= now_)
    drop(ending_.front(), 0, "did not close in time");
  while (quiet_limit() != Duration::zero() && !active_.empty() &&
         after(active_.front().last, quiet_limit()) <= now_) {
    Connection& quiet = active_.front();
    if (!stopping_) {
      drop(quiet, 0, "idle");
      continue;
    }
    // Nothing has come for a while: what it sent is answered. Peers that do not read are looked at
    // again and again until they do or the grace time is over.
    touch(quiet);
    quiet.finishing = true;
    serve(quiet);
  }
  if (stop_deadline_ > now_) return;
  for (Connections* list : {&ending_, &active_})
    while (!list->empty()) {
      ++totals_.cut;
      drop(list->front(), 0, "cut after the grace time");
    }
}

void CallbackServer::begin_to_stop() {
  now_ = kernel_.now();
  stopping_ = true;
  accepting_ = false;
  accept_again_ = never;
  stop_deadline_ = after(now_, options_.grace);
  listeners_.clear();
  for (Connection& connection : active_) {
    connection.last = now_;
    // What is sent unasked has no end of its own. Those who can take more are visited for it.
    if (service_.produces()) connection.finishing = true;
  }
  journal_.say(Verbosity::normal, "stopping",
               fmt::format("stopping: {} connections to finish within {}",
                           active_.size() + ending_.size(), to_text(options_.grace)),
               {{"connections", active_.size() + ending_.size()}});
}

}  // namespace duolu::apps
