#include "apps/server.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <exception>
#include <new>
#include <optional>
#include <span>
#include <utility>
#include <variant>

#include "apps/text.hpp"
#include "duolu/base/exception.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/net/standard.hpp"
#include "duolu/task/frames.hpp"
#include "duolu/task/together.hpp"

namespace duolu::apps {
namespace {

using namespace std::chrono_literals;

constexpr Duration linger_time = 1s;  // for the peer to take the last bytes and close
constexpr Duration idle_limit_when_stopping = 200ms;
/// The least time between two searches for idle connections: one is closed so much late at most,
/// and a short limit with much traffic costs next to nothing.
constexpr Duration idle_check_interval = 10ms;
constexpr std::size_t shown_of_a_message = 64;

bool was_cancelled(const Result<>& result) {
  return !result && result.error() == std::errc::operation_canceled;
}

// Enough to begin a connection (frames come in chunks of 64 KiB), and to end with what there is.
// Atomic, since any thread may run out of memory.
constexpr std::size_t reserve_block = std::size_t{72} * 1024;
// What beginning a connection takes, and more: of frames, and of other memory.
constexpr std::size_t to_begin = std::size_t{4} * 1024;
constinit std::array<std::atomic<void*>, 4> reserve{};
constinit std::atomic<bool> reserve_for_all = false;

/// What `new` calls when it has no memory.
void use_reserve() {
  for (std::size_t i = reserve_for_all ? 0 : 1; i < reserve.size(); ++i)
    if (void* const memory = reserve[i].exchange(nullptr)) return ::operator delete(memory);
  throw std::bad_alloc();
}

/// Why the server ended a connection; none if the peer did.
enum class Reason : std::uint8_t { none, idle, cut, closed_by_both, did_not_close };

const char* to_string(Reason reason) {
  switch (reason) {
    case Reason::none: return "closed by the peer";
    case Reason::idle: return "idle";
    case Reason::cut: return "cut after the grace time";
    case Reason::closed_by_both: return "closed by both";
    case Reason::did_not_close: return "did not close in time";
  }
  return "unknown";
}

}  // namespace

Reserve::Reserve() noexcept : before_(std::set_new_handler(use_reserve)) { (void)fill(); }

Reserve::~Reserve() {
  std::set_new_handler(before_);
  reserve_for_all = false;
  for (std::atomic<void*>& block : reserve) ::operator delete(block.exchange(nullptr));
}

void Reserve::end() noexcept { reserve_for_all = true; }

bool Reserve::fill() noexcept {
  std::set_new_handler(nullptr);  // or one block would be made of the others
  const bool enough = refill() || (trim_frames() && refill());
  std::set_new_handler(use_reserve);
  return enough;
}

bool Reserve::refill() noexcept {
  std::size_t whole = 0;
  for (std::atomic<void*>& block : reserve) {
    if (block.load(std::memory_order_relaxed) == nullptr)
      block = ::operator new(reserve_block, std::nothrow);
    if (block.load(std::memory_order_relaxed) != nullptr) ++whole;
  }
  if (whole == reserve.size()) return true;
  // What has been used up is in use, and there may be room in it for many more.
  void* const memory = ::operator new(to_begin, std::nothrow);
  ::operator delete(memory);
  const std::size_t needed = memory != nullptr ? 0 : 1;
  return reserve[0].load(std::memory_order_relaxed) != nullptr &&
         whole >= 2 + needed + (frames_have_room(to_begin) ? 0 : 1);
}

/// Where the server listens. The name of the task is kept when the listener is closed: a report of
/// a stall comes after it, and names a task that may have ended.
struct Server::ServedAddress {
  ServedAddress(Listener socket, const Address& bound)
      : listener(std::move(socket)), task("accept " + bound.to_string()) {
    listener->remove_file_on_close();
  }

  std::optional<Listener> listener;  ///< Empty: closed.
  std::string task;                  ///< The name of the one that accepts.
};

/// What is stored for a connection, also for an idle one, so every byte counts. Its task is that of
/// talk(), and then that of linger().
struct Server::Connection final : TaskSet::Member {
  /// What only some services and options need.
  struct Extras {
    std::unique_ptr<Service::State> state{};
    std::string tail{};  ///< The last bytes of the input, for close_after.
    std::string peer{};  ///< For the journal, where it is verbose.
  };

  explicit Connection(Stream socket) : stream(std::move(socket)) {}

  [[nodiscard]] Service::State* state() const {
    return extras == nullptr ? nullptr : extras->state.get();
  }

  Stream stream;
  Instant last{};  ///< Of the last byte.
  std::unique_ptr<Extras> extras{};
  std::uint32_t sending = 0;    ///< Size of what is being sent; in echo(), of what was sent last.
  std::uint16_t seen_sent = 0;  ///< Of that, sent at the last check_idle(): under 64 KiB.
  Reason reason = Reason::none;
  bool finishing : 1 = false;    ///< Once all is sent, close.
  bool input_ended : 1 = false;  ///< The peer sends nothing more.
  bool interrupted : 1 = false;  ///< Its chain is, by check_idle().
  bool lingering : 1 = false;    ///< Its task is linger().
};

class Server::Connections final : public TaskSet {
 public:
  Connections(Server& server, Chain& owner) : TaskSet(owner), server_(server) {}
  [[nodiscard]] Connection* first() const { return static_cast<Connection*>(TaskSet::first()); }

 private:
  void ended(Member& member, Result<> result, std::exception_ptr thrown) noexcept override {
    server_.ended(static_cast<Connection&>(member), result, thrown);
  }
  Server& server_;
};

Server::Server(Loop& loop, Service& service, ServerOptions options, Journal& journal)
    : service_(service),
      options_(std::move(options)),
      journal_(journal),
      loop_(loop),
      asked_(loop_, {SIGUSR1}),
      idle_limit_(options_.idle_timeout),
      only_echoes_(service.echoes() && idle_limit_ == Duration::zero() &&
                   options_.close_after.empty() && !journal_.wants(Verbosity::verbose)) {}

Server::~Server() = default;

std::expected<std::vector<Address>, ListenError> Server::listen(const Endpoint& endpoint) {
  std::expected<std::vector<Listener>, ListenError> listeners = listen_everywhere(loop_, endpoint);
  if (!listeners) return std::unexpected(std::move(listeners.error()));
  std::vector<Address> bound;
  for (Listener& listener : *listeners) {
    bound.push_back(listener.address());
    addresses_.emplace_back(std::move(listener), bound.back());
  }
  return bound;
}

// --- the whole

Result<Totals> Server::run() {
  Chain serving;
  serving.set_origin({"serve", {}});
  watch();
  return loop_.run(serve(), serving);
}

Task<Result<Totals>> Server::serve() {
  std::optional<StandardStream> input;
  if (options_.stop_on_stdin) {
    Result<StandardStream> opened = StandardStream::open(loop_, 0);
    if (!opened) co_return fail(opened.error());
    input.emplace(std::move(*opened));
  }
  chain_ = co_await this_chain();
  co_await serve_until_cancelled(input ? &**input : nullptr);
  co_return totals_;
}

/// When its chain is cancelled, first the listeners are closed; connections have the grace time;
/// then those that are left are cancelled.
Task<> Server::serve_until_cancelled(Stream* input) {
  // SIGUSR1 is to be answered until the end, whatever hangs.
  co_await with_scope([this, input](Scope& signals) { return serve_beside(&signals, input); });
}

Task<> Server::serve_beside(Scope* signals, Stream* input) {
  signals->spawn(report_tasks_on_signal(), "SIGUSR1");
  signals->spawn(flush_log(), "log");
  signals->spawn(close_lingering(), "lingering");
  Chain* const chain = co_await this_chain();
  active_ = std::make_unique<Connections>(*this, *chain);
  ending_ = std::make_unique<Connections>(*this, *chain);
  std::exception_ptr thrown;
  try {
    co_await serve_in(input);
  } catch (...) {
    thrown = std::current_exception();
  }
  cancel_remaining();
  (void)co_await shielded(all_ended());
  active_.reset();
  ending_.reset();
  signals->cancel();
  if (thrown) std::rethrow_exception(thrown);
}

Task<> Server::serve_in(Stream* input) {
  co_await with_scope(
      [this, input](Scope& accepting) { return accept_everywhere(&accepting, input); });
  reserve_.end();
  for (ServedAddress& each : addresses_) each.listener.reset();
  stopping_ = true;
  idle_limit_ = idle_limit_when_stopping;
  for (TaskSet::Member* each = active_->first(); each != nullptr; each = each->next()) {
    auto& c = static_cast<Connection&>(*each);
    c.last = time_of_turn();
    if (c.stream.sent_all()) c.sending = 0;
  }
  say(Verbosity::normal, "stopping",
      fmt::format("stopping: {} to finish within {}", counted(count(), "connection"),
                  to_text(options_.grace)),
      {{"connections", count()}});
  co_await shielded(give_grace());
}

/// Starts the tasks that run until the server is stopped.
Task<> Server::accept_everywhere(Scope* accepting, Stream* input) {
  if (idle_limit_ != Duration::zero()) accepting->spawn(close_idle(), "idle timeout");
  if (input != nullptr) accepting->spawn(stop_on_input(input), "standard input");
  for (ServedAddress& each : addresses_) {
    // NOLINTNEXTLINE(bugprone-unchecked-optional-access): open until the server stops
    accepting->spawn(accept_from(&*each.listener), each.task.c_str());
  }
  co_return;
}

/// A line, the end, or a terminal that is gone: anything but a part of a line.
Task<> Server::stop_on_input(Stream* input) {
  std::array<char, 512> text;
  for (;;) {
    const Result<std::size_t> size = co_await input->read(text);
    if (!size || *size == 0 || std::string_view(text.data(), *size).contains('\n')) break;
  }
  chain_->cancel();
}

Task<> Server::give_grace() { (void)co_await within(loop_, options_.grace, wait_for_the_rest()); }

Task<Result<>> Server::wait_for_the_rest() {
  const auto first = co_await first_of(all_ended(), close_idle());
  co_return std::visit([](const Result<>& result) { return result; }, first);
}

Task<Result<>> Server::all_ended() {
  while (count() > 0) {
    left_.reset();
    const bool left = co_await left_.wait();
    if (!left) co_return fail(ECANCELED);
  }
  co_return Result<>();
}

void Server::cancel_remaining() {
  for (const auto* set : {active_.get(), ending_.get()})
    for (TaskSet::Member* each = set->first(); each != nullptr; each = each->next()) {
      ++totals_.cut;
      static_cast<Connection*>(each)->reason = Reason::cut;
      each->chain.cancel();
    }
}

std::size_t Server::count() const { return active_->size() + ending_->size(); }

// --- accepting

Task<> Server::accept_from(Listener* listener) {
  listener->on_error([this](std::error_code error) {
    try {
      report_accept_error(error);
    } catch (const std::bad_alloc&) {
      accept_report_again_ = immediately;  // with the next one
    }
  });
  // The only one may use the reserve up: what it leaves behind may be all that there is.
  listener->only_if(
      [this] { return reserve_.fill() || count() == 0 ? std::error_code() : errno_code(ENOMEM); });
  std::optional<Task<Result<Stream>>> next(listener->accept());
  for (;;) {
    Result<Stream> stream = co_await std::move(*next);
    if (!stream) co_return;
    next.reset();
    next.emplace(listener->accept());  // in the same memory, so that waiting for memory takes none
    while (options_.max_connections != 0 && count() >= options_.max_connections) {
      left_.reset();
      const bool left = co_await left_.wait();
      if (!left) co_return;
    }
    begin(std::move(*stream));
  }
}

/// A connection whose handler could not begin.
void Server::report_not_begun() {
  ++totals_.failed;
  try {
    say(Verbosity::quiet, "handler_failed", "closed a connection: there is no memory to serve it",
        {{"error", errno_code(ENOMEM).message()}});
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): none for the line either
  }
}

void Server::report_accept_error(std::error_code error) {
  if (error == StreamError::refused) {
    ++totals_.failed;
    say(Verbosity::quiet, "refused", fmt::format("refused a connection: {}", error.message()),
        {{"error", error.message()}});
  }
  if (accept_error(error) == AcceptError::connection) return;
  const Instant now = loop_.kernel().now();
  if (now < accept_report_again_) return;
  accept_report_again_ = after(now, 10s);
  std::string why = error.message();
  if (accept_error(error) == AcceptError::listener) why = "the listener fails: " + why;
  say(Verbosity::quiet, "accept_paused",
      fmt::format("accepting is paused: {}; it resumes when connections end", why),
      {{"error", why}});
}

// --- one connection

inline void Server::count_input(std::size_t size) {
  ++totals_.messages;
  totals_.bytes_in += size;
}

/// Counts what is going to be sent; ended() subtracts what was not.
inline void Server::note_sending(Connection& c, std::size_t size) {
  c.sending = static_cast<std::uint32_t>(size);
  totals_.bytes_out += size;
}

void Server::note_sent(Connection& c) {
  c.sending = 0;
  touch(c);
}

/// Serves a connection until its end.
void Server::begin(Stream stream) {
  std::unique_ptr<Connection> c;
  std::optional<Task<Result<>>> task;
  try {
    c.reset(new Connection(std::move(stream)));
    task = talk(c.get());
  } catch (const std::bad_alloc&) {
    return report_not_begun();
  }
  try {
    admit(*c);
  } catch (...) {
    report_exception(*c, std::current_exception());
    return leave(*c.release());
  }
  active_->start(*c.release(), *std::move(task), {"connection", {}});
  accepted_.set();
}

void Server::admit(Connection& c) {
  if (idle_limit_ != Duration::zero()) c.last = time_of_turn();
  const std::size_t now = count() + 1;
  ++totals_.accepted;
  totals_.peak = std::max(totals_.peak, now);
  memory_.grew(now);
  std::unique_ptr<Service::State> state = service_.open();
  const bool verbose = journal_.wants(Verbosity::verbose);
  if (state == nullptr && !verbose && options_.close_after.empty()) return;
  c.extras = std::make_unique<Connection::Extras>();
  c.extras->state = std::move(state);
  if (!verbose) return;
  c.extras->peer = escape(c.stream.peer().to_string());
  say(Verbosity::verbose, "accepted", fmt::format("new connection from {}", c.extras->peer),
      {{"peer", c.extras->peer}});
}

/// The task of a connection, until it lingers.
Task<Result<>> Server::talk(Connection* c) {
  if (service_.produces()) return converse_and_produce(c);
  return only_echoes_ ? echo(c) : converse(c);
}

/// Does the same as converse(), if only_echoes_. The test bench_cost counts what a message costs
/// here: so the lease is in no local variable, whose destructor would test it once more.
Task<Result<>> Server::echo(Connection* c) {
  while (const auto answer = echo_of(*c, co_await try_(c->stream.read_lease())))
    co_await try_(answer);
  c->input_ended = true;
  co_return Result<>();
}

/// The request that sends `input`, to be awaited next; null at the end of the input.
inline Server::Sending Server::echo_of(Connection& c, Lease input) noexcept {
  if (!input) return nullptr;
  count_input(input.bytes().size());
  note_sending(c, input.bytes().size());
  return c.stream.write_all(std::move(input));
}

/// Input in, answers out, until the input ends or an answer was the last one.
Task<Result<>> Server::converse(Connection* c) {
  while (Lease input = co_await try_(c->stream.read_lease())) {
    note_input(*c, input.text());
    const Reply reply = service_.answer(c->state(), input.bytes(), scratch_);
    c->finishing = c->finishing || reply.last;
    if (reply.bytes.data() == input.bytes().data()) {
      note_sending(*c, reply.bytes.size());
      co_await try_(c->stream.write_all(std::move(input)));
      note_sent(*c);
    } else if (!reply.bytes.empty()) {
      input.reset();
      co_await try_(send_composed(c, reply.bytes));
    }
    if (c->finishing) co_return Result<>();
  }
  c->input_ended = true;
  co_return Result<>();
}

/// Sends `bytes`, which were composed in scratch_. The task owns that memory until they are sent; a
/// task that composes meanwhile allocates its own.
Task<Result<>> Server::send_composed(Connection* c, std::span<const char> bytes) {
  std::vector<char> composed = std::exchange(scratch_, {});
  note_sending(*c, bytes.size());
  const Result<> sent = co_await c->stream.write_all(bytes.data(), bytes.size());
  if (sent) note_sent(*c);
  if (scratch_.capacity() < composed.capacity()) scratch_.swap(composed);
  co_return sent;
}

Task<Result<>> Server::converse_and_produce(Connection* c) {
  const auto first = co_await first_of(produce(c), read_beside(c));
  co_return std::visit([](const Result<>& result) { return result; }, first);
}

Task<Result<>> Server::produce(Connection* c) {
  while (!stopping_ && !c->input_ended && !c->finishing)
    co_await try_(send_composed(c, service_.produce(c->state(), scratch_)));
  co_return Result<>();
}

/// At the end of the input produce() ends when its piece is sent, and this with it.
Task<Result<>> Server::read_beside(Connection* c) {
  co_await try_(converse(c));
  (void)co_await loop_.sleep_until(never);
  co_return fail(ECANCELED);
}

/// The task of `c` has ended, and `c` is in no set now.
void Server::ended(Connection& c, Result<> result, const std::exception_ptr& thrown) noexcept {
  if (!c.lingering && !c.stream.sent_all()) totals_.bytes_out -= c.sending - c.stream.sent();
  if (thrown) {
    report_exception(c, thrown);
    return leave(c);
  }
  try {
    // Not if the peer has closed its side, or the server ended the connection for a reason.
    if (!c.lingering && !c.input_ended && c.reason == Reason::none &&
        (result || was_cancelled(result)))
      return begin_to_linger(c);
    if (c.lingering && c.reason == Reason::none) c.reason = Reason::closed_by_both;
    report_end(c, c.reason == Reason::did_not_close ? Result<>() : result);
  } catch (...) {
    report_exception(c, std::current_exception());
  }
  leave(c);
}

/// Everything was sent, and the peer may still be sending: closing with unread input would make TCP
/// reset the connection and lose what is on its way. So our side is shut down first. The new task
/// is smaller than the one that has ended, so that its frame can always be allocated: when the
/// server stops, all connections may come here at once.
void Server::begin_to_linger(Connection& c) {
  Task<Result<>> task = linger(&c);
  if (c.interrupted) (void)c.chain.end_interrupt();
  c.interrupted = false;
  c.lingering = true;
  c.last = time_of_turn();
  (void)c.stream.close_writing();  // ENOTCONN: the peer is gone, reading will tell
  lingers_.set();
  ending_->start(c, std::move(task), {"connection", {}});
}

/// Discards input until the peer's end.
Task<Result<>> Server::linger(Connection* c) {
  while (const Lease unwanted = co_await try_(c->stream.read_lease())) {
  }
  co_return Result<>();
}

/// Ends a connection, which is in no set.
void Server::leave(Connection& c) noexcept {
  delete &c;
  memory_.shrank(count());
  left_.set();
  for (ServedAddress& each : addresses_)
    if (each.listener) each.listener->freed();
}

/// Closes connections that have waited for the peer's end for too long, until it is cancelled.
Task<> Server::close_lingering() {
  for (;;) {
    const bool woken = co_await lingers_.wait();
    if (!woken) co_return;
    while (ending_->size() > 0) {
      const bool slept = co_await loop_.sleep_until(after(ending_->first()->last, linger_time));
      if (!slept) co_return;
      while (ending_->size() > 0 && after(ending_->first()->last, linger_time) <= time_of_turn()) {
        Connection& c = *ending_->first();
        if (c.reason == Reason::none) c.reason = Reason::did_not_close;
        c.chain.cancel();
        // It goes later in this turn, or in one of the next.
        c.last = time_of_turn();
        ending_->move_here(c);
      }
    }
    lingers_.reset();
  }
}

/// Counts a piece of input, reports it, and tests whether it ends the connection.
void Server::note_input(Connection& c, std::string_view input) {
  count_input(input.size());
  // The time of incomplete input counts from its beginning; when stopping, that does not matter.
  if (stopping_ || c.state() == nullptr || !service_.incomplete(c.state())) touch(c);
  if (journal_.wants(Verbosity::verbose)) {
    const std::string& peer = c.extras->peer;
    const std::string shown = escape(input, shown_of_a_message);
    say(Verbosity::verbose, "received",
        fmt::format("received {} from {}: \"{}\"", counted(input.size(), "byte"), peer, shown),
        {{"peer", peer}, {"bytes", input.size()}, {"text", shown}});
  }
  const std::string& wanted = options_.close_after;
  if (wanted.empty()) return;
  std::string& tail = c.extras->tail;
  tail.append(input.substr(input.size() - std::min(input.size(), wanted.size())));
  tail.erase(0, tail.size() - std::min(tail.size(), wanted.size()));
  if (tail == wanted) c.finishing = true;
}

void Server::report_end(const Connection& c, const Result<>& result) {
  const bool failed = !result && !was_cancelled(result);
  if (failed) ++totals_.failed;
  if (!journal_.wants(Verbosity::verbose)) return;
  const std::string& peer = c.extras->peer;
  const std::string reason = failed ? result.error().message() : to_string(c.reason);
  say(Verbosity::verbose, "closed", fmt::format("closed {}: {}", peer, reason),
      {{"peer", peer}, {"reason", reason}});
}

void Server::report_exception(const Connection& c, const std::exception_ptr& thrown) noexcept {
  ++totals_.failed;
  try {
    const std::string peer = escape(c.stream.peer().to_string());
    const std::string shown = escape(message_of(thrown));
    say(Verbosity::quiet, "handler_failed",
        fmt::format("closed {}: its handler threw: {}", peer, shown),
        {{"peer", peer}, {"error", shown}});
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): none for the line either
  }
}

// --- reports

void Server::say(Verbosity importance, std::string_view event, const std::string& text,
                 const nlohmann::ordered_json& fields) {
  journal_.say(importance, event, text, fields);
  if (journal_.behind()) behind_.set();
}

/// Writes what a slow reader of the log has left, when it may have come back. It is checked at by
/// the clock: not everything that can be written to without blocking can be waited for.
Task<> Server::flush_log() {
  constexpr Duration pause = 100ms;
  for (;;) {
    const bool behind = co_await behind_.wait();
    if (!behind) co_return;
    while (!journal_.flush()) {
      const bool slept = co_await loop_.sleep_for(pause);
      if (!slept) co_return;
    }
    behind_.reset();
  }
}

namespace {

std::string name_of(const Origin& origin) {
  if (origin.name != nullptr) return escape(origin.name);
  if (origin.where.line() == 0) return "a task";
  return fmt::format("{}:{}", origin.where.file_name(), origin.where.line());
}

}  // namespace

void Server::watch() {
  if (options_.stall == Duration::zero()) {
    // No stall is as long, but a watched loop notes times.
    if (options_.trace_tasks) loop_.watch_stalls(Duration::max(), [](const Stall&) {});
    return;
  }
  loop_.watch_stalls(options_.stall,
                     [this](const Stall& stall) { report_stall(stall, Hold::over); });
  const Result<> dog =
      loop_.start_watchdog([this](const Stall& stall) { report_stall(stall, Hold::lasts); });
  if (!dog)
    say(Verbosity::quiet, "no_watchdog",
        fmt::format("stalls are reported only when they are over: {}", dog.error().message()),
        {{"error", dog.error().message()}});
}

/// Of one that lasts: in the thread of the watchdog.
void Server::report_stall(const Stall& stall, Hold hold) {
  const bool over = hold == Hold::over;
  const std::string who = name_of(stall.origin);
  const auto held = std::chrono::duration<double, std::milli>(stall.held).count();
  std::string from;
  if (stall.from.line() != 0)
    from = fmt::format("{}:{}", stall.from.file_name(), stall.from.line());
  journal_.say(
      Verbosity::quiet, over ? "stall" : "stuck",
      fmt::format("{} {} the loop for {:.1f} ms ({}{})", who, over ? "held" : "has been holding",
                  held, to_string(stall.cause), from.empty() ? "" : ", from " + from),
      {{"task", who}, {"held_ms", held}, {"cause", to_string(stall.cause)}, {"from", from}});
  if (over && journal_.behind()) behind_.set();
}

Task<> Server::report_tasks_on_signal() {
  (void)co_await loop_.sleep_for(0ms);  // then there are others
  for (;;) {
    const Result<int> signal = co_await asked_.next();
    if (!signal) break;
    report_tasks();
  }
}

void Server::report_tasks() {
  const std::vector<TaskReport> reports = loop_.tasks();
  std::string text = counted(reports.size(), "task");
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const TaskReport& report : reports) {
    text += '\n';
    text += escape(to_string(report));
    nlohmann::ordered_json stack = nlohmann::ordered_json::array();
    for (const std::source_location& each : report.stack)
      stack.push_back(fmt::format("{}:{}", each.file_name(), each.line()));
    list.push_back({{"depth", report.depth},
                    {"task", name_of(report.origin)},
                    {"waits", escape(report.waits)},
                    {"cancelled", report.cancelled},
                    {"stack", stack}});
    if (report.since) list.back()["since_s"] = std::chrono::duration<double>(*report.since).count();
    if (report.left) list.back()["left_s"] = std::chrono::duration<double>(*report.left).count();
  }
  say(Verbosity::quiet, "tasks", text, {{"tasks", list}});
}

// --- idle connections

/// Closes connections that have been idle for idle_limit_, the longest idle first, until it is
/// cancelled.
Task<Result<>> Server::close_idle() {
  Instant checked = immediately;
  for (;;) {
    while (active_->size() == 0) {
      accepted_.reset();
      const bool came = co_await accepted_.wait();  // no timer while there are none
      if (!came) co_return fail(ECANCELED);
    }
    (void)co_await loop_.sleep_until(
        std::max(after(active_->first()->last, idle_limit_), after(checked, idle_check_interval)));
    checked = loop_.kernel().now();
    // A turn more: what came in time goes first, however late this is.
    const bool slept = co_await loop_.sleep_until(immediately);
    if (!slept) co_return fail(ECANCELED);
    while (active_->size() > 0 && after(active_->first()->last, idle_limit_) <= time_of_turn())
      check_idle(*active_->first());
  }
}

/// Takes it off the front of active_.
void Server::check_idle(Connection& c) {
  const bool sending = !c.stream.sent_all();
  // echo() records what it has sent, but not when.
  if (!sending && std::exchange(c.sending, 0) != 0) return touch(c);
  const std::size_t sent = c.stream.sent();
  const bool moves =
      sending && sent != std::exchange(c.seen_sent, static_cast<std::uint16_t>(sent));
  // When stopping, peers that do not read have until the grace time is over.
  if (moves || (stopping_ && sending)) return touch(c);
  if (!stopping_) c.reason = Reason::idle;
  c.last = time_of_turn();
  ending_->move_here(c);
  lingers_.set();
  c.interrupted = true;
  c.chain.interrupt();
}

/// Moves it behind all that have been idle for longer.
void Server::touch(Connection& c) {
  if (idle_limit_ == Duration::zero() || c.set() != active_.get()) return;
  c.last = time_of_turn();
  active_->move_here(c);
}

/// The clock, read once a turn: so that recording activity costs a message next to nothing.
Instant Server::time_of_turn() {
  if (std::exchange(turn_, loop_.statistics().turns) != loop_.statistics().turns)
    turn_began_ = loop_.kernel().now();
  return turn_began_;
}

}  // namespace duolu::apps
