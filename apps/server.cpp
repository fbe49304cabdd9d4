#include "apps/server.hpp"

#include <fmt/format.h>
#include <malloc.h>
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
#include "duolu/engine/readiness.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/net/standard.hpp"
#include "duolu/task/frames.hpp"
#include "duolu/task/together.hpp"

namespace duolu::apps {
namespace {

using namespace std::chrono_literals;

constexpr Duration linger_time = 1s;  // for the peer to take the last bytes and close
constexpr Duration quiet_when_stopping = 200ms;
/// How often those who have been quiet are looked for at most: one is closed so much late at most,
/// and a short limit with much traffic costs next to nothing.
constexpr Duration quiet_tick = 10ms;
constexpr std::size_t shown_of_a_message = 64;
constexpr std::size_t crowd = 1024;  // whose memory is worth giving back, when it has left

bool was_cancelled(const Result<>& result) {
  return !result && result.error() == std::errc::operation_canceled;
}

// Enough to begin a connection (frames come in chunks of 64 KiB), and to end with what there is.
// Atomic, since any thread may run out of memory.
constexpr std::size_t reserve_block = std::size_t{72} * 1024;
constinit std::array<std::atomic<void*>, 4> reserve{};
constinit std::atomic<bool> reserve_for_all = false;

/// What `new` calls when it has no memory.
void use_reserve() {
  for (std::size_t i = reserve_for_all ? 0 : 1; i < reserve.size(); ++i)
    if (void* const memory = reserve[i].exchange(nullptr)) return ::operator delete(memory);
  throw std::bad_alloc();
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
  for (std::atomic<void*>& block : reserve) {
    if (block.load(std::memory_order_relaxed) != nullptr) continue;
    std::set_new_handler(nullptr);  // or one block would be made of the others
    void* memory = ::operator new(reserve_block, std::nothrow);
    if (memory == nullptr && trim_frames()) memory = ::operator new(reserve_block, std::nothrow);
    std::set_new_handler(use_reserve);
    if (memory == nullptr) return false;
    block = memory;
  }
  return true;
}

/// A listening socket; the file of a Unix one goes with it. What its task goes by stays when it is
/// closed: a report of who held the loop comes when the loop has it back, and names who has ended.
struct Server::Door {
  Door(Loop& loop, Listener socket, const Address& bound)
      : listener(std::make_unique<Listener>(std::move(socket))),
        acceptor(std::make_unique<Acceptor>(loop, *listener)),
        text(bound.to_string()),
        task("accept " + text),
        file(loop.kernel(), bound) {}
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;
  ~Door() { close(); }

  void close() {
    if (listener == nullptr) return;
    file.remove();
    acceptor.reset();
    listener.reset();
  }

  std::unique_ptr<Listener> listener;  ///< Null: closed.
  std::unique_ptr<Acceptor> acceptor;  ///< The same.
  std::string text;                    ///< Its address.
  std::string task;                    ///< What its task goes by.
  SocketFile file;
};

struct Server::Connection {
  Connection(Server& of, Stream socket, Semaphore::Permit of_room, Strand* own)
      : server(of), stream(std::move(socket)), permit(std::move(of_room)), strand(own) {
    place = server.active_.insert(server.active_.end(), this);
    server.came_.set();
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    (ending ? server.ending_ : server.active_).erase(place);
    if (server.count() < server.trim_below_) server.trim();
    server.left_.set();
    stream.close();  // first, so that there is a descriptor
    for (Door& door : server.doors_)
      if (door.acceptor != nullptr) door.acceptor->freed();
  }

  Server& server;
  Stream stream;
  Semaphore::Permit permit;
  Strand* strand;  ///< To be cancelled to end what it is doing.
  Connections::iterator place;
  std::unique_ptr<Service::State> state;
  Instant last{};                ///< Of the last byte.
  std::size_t seen_sent = 0;     ///< How far sending had come at the last look.
  std::string tail{};            ///< The last bytes of the input, for close_after.
  std::string peer{};            ///< For the journal, where it is verbose.
  const char* reason = nullptr;  ///< Why it was told to end at once.
  bool sending = false;
  bool finishing = false;    ///< Once all is sent, close.
  bool input_ended = false;  ///< The peer sends nothing more.
  bool ending = false;       ///< On the list of that name.
  bool told_to_end = false;  ///< Its strand was interrupted.
  bool in_vain = false;      ///< It waited for the peer's end for too long.
};

Server::Server(Poller& poller, Trigger trigger, Service& service, ServerOptions options,
               Journal& journal)
    : service_(service),
      options_(std::move(options)),
      journal_(journal),
      // What is kept for a peer that does not read is as large as a buffer.
      engine_(
          make_readiness_engine(poller, {.buffer_size = service.read_size(), .trigger = trigger})),
      loop_(*engine_),
      asked_(loop_, {SIGUSR1}),
      quiet_limit_(options_.idle_timeout) {
  if (options_.max_connections != 0) room_.emplace(options_.max_connections);
}

Server::~Server() = default;

std::expected<std::vector<Address>, ListenError> Server::listen(const Endpoint& endpoint) {
  std::expected<std::vector<Listener>, ListenError> listeners = listen_everywhere(loop_, endpoint);
  if (!listeners) return std::unexpected(std::move(listeners.error()));
  std::vector<Address> bound;
  for (Listener& listener : *listeners) {
    bound.push_back(listener.address());
    doors_.emplace_back(loop_, std::move(listener), bound.back());
  }
  return bound;
}

// --- the whole

Result<Totals> Server::run() {
  std::optional<StandardStream> input;
  if (options_.stop_on_stdin) {
    Result<StandardStream> opened = StandardStream::open(loop_, 0);
    if (!opened) return fail(opened.error());
    input.emplace(std::move(*opened));
  }
  watch();
  Strand serving;
  serving.set_origin({"serve", {}});
  loop_.run(serve(input ? &**input : nullptr), serving);
  return totals_;
}

/// stop() cancels the strand of this: first the doors close; connections have the grace time; with
/// the end of their scope those that are left are cancelled.
Task<> Server::serve(Stream* input) {
  // SIGUSR1 is to be answered until the end, whatever hangs.
  co_await with_scope([this, input](Scope& signals) { return serve_beside(&signals, input); });
}

Task<> Server::serve_beside(Scope* signals, Stream* input) {
  signals->spawn(tell_tasks_on_signal(), "SIGUSR1");
  signals->spawn(write_the_rest_of_the_log(), "log");
  signals->spawn(end_the_lingering(), "lingering");
  co_await with_scope([this, input](Scope& all) {
    all.on_error([this](const std::exception_ptr&) { tell_not_begun(); });
    return serve_in(&all, input);
  });
  signals->cancel();
}

Task<> Server::serve_in(Scope* connections, Stream* input) {
  co_await with_scope(
      [this, connections, input](Scope& doors) { return let_in(&doors, connections, input); });
  reserve_.end();
  for (Door& door : doors_) door.close();
  stopping_ = true;
  quiet_limit_ = quiet_when_stopping;
  for (Connection* each : active_) each->last = time_of_turn();
  say(Verbosity::normal, "stopping",
      fmt::format("stopping: {} to finish within {}", counted(count(), "connection"),
                  to_text(options_.grace)),
      {{"connections", count()}});
  co_await shielded(give_grace());
  cut_the_rest();
}

/// Starts what goes on until stop().
Task<> Server::let_in(Scope* doors, Scope* connections, Stream* input) {
  if (quiet_limit_ != Duration::zero()) doors->spawn(end_the_quiet(), "idle timeout");
  if (input != nullptr) doors->spawn(stop_on_input(input), "standard input");
  for (Door& door : doors_) doors->spawn(accept_from(&door, connections), door.task.c_str());
  co_return;
}

/// A line, the end, or a terminal that is gone: anything but a part of a line.
Task<> Server::stop_on_input(Stream* input) {
  std::array<char, 512> text;
  for (;;) {
    const Result<std::size_t> size = co_await input->read(text);
    if (!size || *size == 0 || std::string_view(text.data(), *size).contains('\n')) break;
  }
  stop();
}

Task<> Server::give_grace() { (void)co_await within(loop_, options_.grace, let_finish()); }

Task<Result<>> Server::let_finish() {
  const auto first = co_await first_of(everybody_left(), end_the_quiet());
  co_return std::visit([](const Result<>& result) { return result; }, first);
}

Task<Result<>> Server::everybody_left() {
  while (count() > 0) {
    left_.reset();
    const bool left = co_await left_.wait();
    if (!left) co_return fail(ECANCELED);
  }
  co_return Result<>();
}

void Server::cut_the_rest() {
  for (Connections* list : {&active_, &ending_})
    for (Connection* each : *list) {
      ++totals_.cut;
      each->reason = "cut after the grace time";
      each->strand->cancel();
    }
}

// --- accepting

Task<> Server::accept_from(Door* door, Scope* connections) {
  Acceptor& acceptor = *door->acceptor;
  acceptor.on_error([this](std::error_code error) {
    try {
      tell_accept_error(error);
    } catch (const std::bad_alloc&) {
      accept_tell_again_ = immediately;  // with the next one
    }
  });
  // The only one may use the reserve up: what it leaves behind may be all that there is.
  acceptor.only_if(
      [this] { return reserve_.fill() || count() == 0 ? std::error_code() : errno_code(ENOMEM); });
  std::optional<Task<Result<Stream>>> next(acceptor.next());
  for (;;) {
    Result<Stream> stream = co_await std::move(*next);
    if (!stream) co_return;
    next.reset();
    next.emplace(acceptor.next());  // in the same memory, so that waiting for memory takes none
    Semaphore::Permit permit;
    if (room_) {
      Result<Semaphore::Permit> room = co_await room_->acquire();
      if (!room) co_return;
      permit = std::move(*room);
    }
    try {
      connections->spawn(handle(std::move(*stream), std::move(permit)), "connection");
    } catch (const std::bad_alloc&) {
      tell_not_begun();
    }
  }
}

/// A connection whose handler could not begin.
void Server::tell_not_begun() {
  ++totals_.failed;
  try {
    say(Verbosity::quiet, "handler_failed", "closed a connection: there is no memory to serve it",
        {{"error", errno_code(ENOMEM).message()}});
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): none for the line either
  }
}

/// Gives the system the memory of those who have left: malloc keeps what lies between pieces that
/// are in use.
void Server::trim() {
  trim_below_ = count() / 4;
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

void Server::tell_accept_error(std::error_code error) {
  if (error == StreamError::refused) {
    ++totals_.failed;
    say(Verbosity::quiet, "refused", fmt::format("refused a connection: {}", error.message()),
        {{"error", error.message()}});
  }
  if (accept_error(error) == AcceptError::connection) return;
  const Instant now = loop_.kernel().now();
  if (now < accept_tell_again_) return;
  accept_tell_again_ = after(now, 10s);
  std::string why = error.message();
  if (accept_error(error) == AcceptError::listener)
    why = "the listener gives no connections: " + why;
  say(Verbosity::quiet, "accept_paused",
      fmt::format("accepting is paused: {}; it goes on as connections end", why), {{"error", why}});
}

// --- one connection

/// A connection, from its first byte to its last.
Task<> Server::handle(Stream stream, Semaphore::Permit permit) {
  Strand* const strand = co_await this_strand();
  Connection c(*this, std::move(stream), std::move(permit), strand);
  try {
    admit(c);
    c.state = service_.open();
    Result<> ended = co_await talk(&c);
    // Unless the peer has closed, or there is no time.
    if (!c.input_ended && c.reason == nullptr && (ended || was_cancelled(ended))) {
      begin_to_linger(c);
      ended = {};
      for (bool more = true; more;) {
        const Result<Lease> unwanted = co_await c.stream.read_lease();
        more = unwanted && *unwanted;
        if (!unwanted) ended = fail(unwanted.error());
      }
      ended = lingered(c, ended);
    }
    tell_end(c, ended);
  } catch (const std::exception& exception) {
    tell_thrown(c, exception.what());
  } catch (...) {
    tell_thrown(c, "something that is no std::exception");
  }
}

void Server::admit(Connection& c) {
  if (quiet_limit_ != Duration::zero()) c.last = time_of_turn();
  ++totals_.accepted;
  totals_.peak = std::max(totals_.peak, count());
  if (count() >= crowd) trim_below_ = std::max(trim_below_, count() / 4);
  if (!journal_.wants(Verbosity::verbose)) return;
  c.peer = escape(c.stream.peer().to_string());
  say(Verbosity::verbose, "accepted", fmt::format("new connection from {}", c.peer),
      {{"peer", c.peer}});
}

Task<Result<>> Server::talk(Connection* c) {
  return service_.produces() ? converse_and_produce(c) : converse(c);
}

/// Input in, answers out, until the input ends or an answer was the last one.
Task<Result<>> Server::converse(Connection* c) {
  while (Lease input = co_await try_(c->stream.read_lease())) {
    note_input(*c, input.text());
    const Reply reply = service_.answer(c->state.get(), input.bytes(), scratch_);
    c->finishing = c->finishing || reply.last;
    if (reply.bytes.data() == input.bytes().data()) {
      c->sending = true;
      const Result<> sent = co_await c->stream.write_all(std::move(input));
      note_output(*c, reply.bytes.size(), sent);
      if (!sent) co_return sent;
    } else if (!reply.bytes.empty()) {
      input.reset();
      co_await try_(send_composed(c, reply.bytes));
    }
    if (c->finishing) co_return Result<>();
  }
  c->input_ended = true;
  co_return Result<>();
}

/// Sends `bytes`, which were composed in scratch_: that is this task's until they are sent. Who
/// composes meanwhile makes another one.
Task<Result<>> Server::send_composed(Connection* c, std::span<const char> bytes) {
  std::vector<char> composed = std::exchange(scratch_, {});
  c->sending = true;
  const Result<> sent = co_await c->stream.write_all(bytes.data(), bytes.size());
  note_output(*c, bytes.size(), sent);
  if (scratch_.capacity() < composed.capacity()) scratch_.swap(composed);
  co_return sent;
}

Task<Result<>> Server::converse_and_produce(Connection* c) {
  const auto first = co_await first_of(produce(c), read_beside(c));
  co_return std::visit([](const Result<>& result) { return result; }, first);
}

Task<Result<>> Server::produce(Connection* c) {
  while (!stopping_ && !c->input_ended && !c->finishing)
    co_await try_(send_composed(c, service_.produce(c->state.get(), scratch_)));
  co_return Result<>();
}

/// At the end of the input produce() ends when its piece is sent, and this with it.
Task<Result<>> Server::read_beside(Connection* c) {
  co_await try_(converse(c));
  (void)co_await loop_.sleep_until(never);
  co_return fail(ECANCELED);
}

/// Everything was sent, and the peer may still be sending: closing with unread input would make TCP
/// reset the connection and lose what is on its way. So our side is shut down first. Takes no
/// memory: when the server stops, all connections may come here at once.
void Server::begin_to_linger(Connection& c) {
  if (std::exchange(c.told_to_end, false)) (void)c.strand->end_interrupt();
  put_among_the_ending(c);
  (void)c.stream.close_writing();  // ENOTCONN: the peer is gone, reading will tell
}

Result<> Server::lingered(Connection& c, Result<> ended) {
  if (c.reason == nullptr) c.reason = "closed by both";
  return c.in_vain ? Result<>() : ended;
}

/// Ends those who have waited for the peer's end for too long, until it is cancelled.
Task<> Server::end_the_lingering() {
  for (;;) {
    const bool woken = co_await lingers_.wait();
    if (!woken) co_return;
    while (!ending_.empty()) {
      const bool slept = co_await loop_.sleep_until(after(ending_.front()->last, linger_time));
      if (!slept) co_return;
      while (!ending_.empty() && after(ending_.front()->last, linger_time) <= time_of_turn()) {
        Connection& c = *ending_.front();
        if (c.reason == nullptr) {
          c.reason = "did not close in time";
          c.in_vain = true;
        }
        c.strand->cancel();
        // It goes later in this turn, or in one of the next.
        c.last = time_of_turn();
        ending_.splice(ending_.end(), ending_, c.place);
      }
    }
    lingers_.reset();
  }
}

/// Counts a piece of input, tells of it, and looks whether it ends the connection.
void Server::note_input(Connection& c, std::string_view input) {
  ++totals_.messages;
  totals_.bytes_in += input.size();
  // What has begun has its time from its beginning; when stopping, whoever sends is let finish.
  if (stopping_ || c.state == nullptr || !service_.incomplete(c.state.get())) touch(c);
  if (journal_.wants(Verbosity::verbose)) {
    const std::string shown = escape(input, shown_of_a_message);
    say(Verbosity::verbose, "received",
        fmt::format("received {} from {}: \"{}\"", counted(input.size(), "byte"), c.peer, shown),
        {{"peer", c.peer}, {"bytes", input.size()}, {"text", shown}});
  }
  const std::string& wanted = options_.close_after;
  if (wanted.empty()) return;
  c.tail.append(input.substr(input.size() - std::min(input.size(), wanted.size())));
  c.tail.erase(0, c.tail.size() - std::min(c.tail.size(), wanted.size()));
  if (c.tail == wanted) c.finishing = true;
}

void Server::note_output(Connection& c, std::size_t size, const Result<>& sent) {
  c.sending = false;
  totals_.bytes_out += sent ? size : c.stream.sent();
  touch(c);
}

void Server::tell_end(const Connection& c, const Result<>& ended) {
  const bool failed = !ended && !was_cancelled(ended);
  if (failed) ++totals_.failed;
  if (!journal_.wants(Verbosity::verbose)) return;
  std::string reason = c.reason != nullptr ? c.reason : "closed by the peer";
  if (failed) reason = ended.error().message();
  say(Verbosity::verbose, "closed", fmt::format("closed {}: {}", c.peer, reason),
      {{"peer", c.peer}, {"reason", reason}});
}

void Server::tell_thrown(const Connection& c, const char* what) {
  ++totals_.failed;
  try {
    const std::string peer = escape(c.stream.peer().to_string());
    const std::string shown = escape(what);
    say(Verbosity::quiet, "handler_failed",
        fmt::format("closed {}: its handler threw: {}", peer, shown),
        {{"peer", peer}, {"error", shown}});
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): none for the line either
  }
}

// --- what somebody wants to know

void Server::say(Verbosity importance, std::string_view event, const std::string& text,
                 const nlohmann::ordered_json& fields) {
  journal_.say(importance, event, text, fields);
  if (journal_.behind()) behind_.set();
}

/// Writes what a slow reader of the log has left, when it may have come back. It is looked at by
/// the clock: not everything that can be written to without blocking can be waited for.
Task<> Server::write_the_rest_of_the_log() {
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
    // No stall is as long; but who watches knows the time.
    if (options_.trace_tasks) loop_.watch_stalls(Duration::max(), [](const Stall&) {});
    return;
  }
  loop_.watch_stalls(options_.stall, [this](const Stall& stall) { tell_stall(stall, Hold::over); });
  const Result<> dog =
      loop_.start_watchdog([this](const Stall& stall) { tell_stall(stall, Hold::lasts); });
  if (!dog)
    say(Verbosity::quiet, "no_watchdog",
        fmt::format("stalls are reported only when they are over: {}", dog.error().message()),
        {{"error", dog.error().message()}});
}

/// Of one that lasts: in the thread of the watchdog.
void Server::tell_stall(const Stall& stall, Hold hold) {
  const bool over = hold == Hold::over;
  const std::string who = name_of(stall.origin);
  const auto held = std::chrono::duration<double, std::milli>(stall.held).count();
  std::string from;
  if (stall.from.line() != 0)
    from = fmt::format("{}:{}", stall.from.file_name(), stall.from.line());
  journal_.say(
      Verbosity::quiet, over ? "stall" : "stuck",
      fmt::format("{} {} the loop for {:.1f} ms ({}{})", who,
                  over ? "held" : "has held, and holds,", held, to_string(stall.cause),
                  from.empty() ? "" : ", from " + from),
      {{"task", who}, {"held_ms", held}, {"cause", to_string(stall.cause)}, {"from", from}});
  if (over && journal_.behind()) behind_.set();
}

Task<> Server::tell_tasks_on_signal() {
  (void)co_await loop_.sleep_for(0ms);  // then there are others
  for (;;) {
    const Result<int> signal = co_await asked_.next();
    if (!signal) break;
    tell_tasks();
  }
}

void Server::tell_tasks() {
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

// --- those who have been quiet for long

/// Ends those who have been quiet for quiet_limit_, the quietest first, until it is cancelled.
Task<Result<>> Server::end_the_quiet() {
  Instant looked = immediately;
  for (;;) {
    while (active_.empty()) {
      came_.reset();
      const bool came = co_await came_.wait();  // no timer runs for nobody
      if (!came) co_return fail(ECANCELED);
    }
    (void)co_await loop_.sleep_until(
        std::max(after(active_.front()->last, quiet_limit_), after(looked, quiet_tick)));
    looked = loop_.kernel().now();
    // A turn more: what came in time goes first, however late this is.
    const bool slept = co_await loop_.sleep_until(immediately);
    if (!slept) co_return fail(ECANCELED);
    while (!active_.empty() && after(active_.front()->last, quiet_limit_) <= time_of_turn())
      look_at_quiet(*active_.front());
  }
}

/// Takes it off the front of active_.
void Server::look_at_quiet(Connection& c) {
  const std::size_t sent = c.stream.sent();
  const bool moves = c.sending && sent != std::exchange(c.seen_sent, sent);
  // When stopping, peers that do not read have until the grace time is over.
  if (moves || (stopping_ && c.sending)) return touch(c);
  if (!stopping_) c.reason = "idle";
  put_among_the_ending(c);
  c.told_to_end = true;
  c.strand->interrupt();
}

/// Moves it behind all that have been quiet for longer.
void Server::touch(Connection& c) {
  if (quiet_limit_ == Duration::zero() || c.ending) return;
  c.last = time_of_turn();
  active_.splice(active_.end(), active_, c.place);
}

void Server::put_among_the_ending(Connection& c) {
  if (std::exchange(c.ending, true)) return;
  c.last = time_of_turn();
  ending_.splice(ending_.end(), active_, c.place);
  lingers_.set();
}

/// The clock, read once a turn: so that noting who was active costs a message next to nothing.
Instant Server::time_of_turn() {
  if (std::exchange(turn_, loop_.statistics().turns) != loop_.statistics().turns)
    turn_began_ = loop_.kernel().now();
  return turn_began_;
}

}  // namespace duolu::apps
