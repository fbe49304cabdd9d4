#include "apps/conversation.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "apps/journal.hpp"
#include "apps/options.hpp"
#include "apps/text.hpp"
#include "apps/verbs.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/net/connect.hpp"
#include "duolu/task/together.hpp"

namespace duolu::apps {
namespace {

using namespace std::chrono_literals;

constexpr Duration time_for_the_rest = 1s;  // if the output is not read

/// SIGINT, SIGTERM and SIGHUP, except those that are ignored.
Signals ending_signals(Loop& loop) {
  const auto heeded = [&](int number) { return !is_ignored(loop.kernel(), number); };
  int any = 0;
  for (const int number : {SIGINT, SIGTERM, SIGHUP})
    if (heeded(number)) any = number;
  if (any == 0) return Signals(loop, {});
  const auto or_any = [&](int number) { return heeded(number) ? number : any; };
  return Signals(loop, {or_any(SIGINT), or_any(SIGTERM), or_any(SIGHUP)});
}

bool is_cancelled(std::error_code error) { return error == errno_code(ECANCELED); }

}  // namespace

// --- the console

Console::Console(Loop& loop, Host& host, bool from_input)
    : loop_(&loop),
      prompts_(from_input && host.isatty(STDIN_FILENO) == 1 && host.isatty(STDERR_FILENO) == 1) {}

Console::~Console() {
  if (shown_) write_text(stderr, "\n");  // further output begins a line
}

Result<> Console::open() {
  Result<StandardStream> output = StandardStream::open(*loop_, STDOUT_FILENO);
  if (!output) return fail(output.error());
  output_.emplace(std::move(*output));
  return {};
}

void Console::hide_prompt() {
  if (!shown_) return;
  shown_ = false;
  write_text(stderr, "\r\033[K");
}

void Console::prompt(bool fresh) {
  may_type_ = true;
  if (fresh) line_start_ = true;
  if (fresh) shown_ = false;
  if (!prompts_ || shown_ || !line_start_) return;
  shown_ = true;
  write_text(stderr, "> ");
}

void Console::note(const std::string& line) {
  const bool again = shown_;
  hide_prompt();
  write_line(stderr, line);
  if (again) prompt(false);
}

Task<Result<>> Console::show(std::string text) {
  if (text.empty()) co_return {};
  DUOLU_CHECK(output_.has_value());
  const auto turn = co_await try_(turn_.acquire());
  hide_prompt();
  line_start_ = false;  // no prompt before all of it is written
  const Result<> written = co_await (*output_)->write_all(text);
  line_start_ = text.ends_with('\n');
  if (may_type_) prompt(false);
  co_return written;
}

// --- the conversation

Conversation::Conversation(Loop& loop, Host& host, const ConversationOptions& options)
    : loop_(&loop),
      options_(&options),
      signals_(ending_signals(loop)),
      console_(loop, host, options.from_input) {}

Task<int> Conversation::run() {
  co_await with_scope([this](Scope& scope) { return begin(&scope); });
  const int code = code_.value_or(exit_ok);
  const bool by_signal = code > 128;
  if (!by_signal && !output_gone_)
    (void)co_await within(*loop_, time_for_the_rest, show_the_rest());
  co_return code;
}

/// Shows incomplete last lines, of connections whose peers have not closed.
Task<Result<>> Conversation::show_the_rest() {
  for (const auto& connection : connections_) {
    if (connection->ended) continue;
    std::string text = connection->transcript.end();
    co_await try_(console_.show(std::move(text)));
  }
  co_return Result<>();
}

Task<> Conversation::begin(Scope* scope) {
  scope_ = scope;
  scope->spawn(watch_signals());
  scope->spawn(converse());
  co_return;
}

Task<> Conversation::converse() {
  const Result<> opened = console_.open();
  if (!opened)
    throw Failure(exit_failed, "cannot write to standard output: " + opened.error().message());
  co_await connect_all();
  if (code_) co_return;
  scope_->spawn(keep_time());
  for (const auto& connection : connections_) scope_->spawn(receive(connection.get()));
  scope_->spawn(send());
}

Task<> Conversation::watch_signals() {
  const Result<int> number = co_await signals_.next();
  if (number) finish(128 + *number);
}

Task<> Conversation::keep_time() {
  if (!options_->at_most) co_return;
  const bool over = co_await loop_->sleep_for(*options_->at_most);
  if (!over || code_) co_return;
  const std::string when = "within " + to_text(*options_->at_most);
  if (complain(when)) co_return finish(exit_failed);
  if (sending_) console_.note("duolu: not everything could be sent " + when);
  finish(sending_ || any_lost() ? exit_failed : exit_ok);
}

Task<Result<Stream>> Conversation::connect_by(Instant deadline) {
  co_return co_await within(*loop_, deadline, connect(*loop_, options_->addresses));
}

Task<> Conversation::connect_all() {
  std::vector<Task<Result<Stream>>> attempts;
  attempts.reserve(options_->connections);
  const Instant begun = loop_->kernel().now();
  const Instant deadline = after(begun, options_->connect_timeout);
  for (std::size_t i = 0; i < options_->connections; ++i) attempts.push_back(connect_by(deadline));
  std::vector<Result<Stream>> streams = co_await when_all(std::move(attempts));
  for (Result<Stream>& stream : streams) {
    if (code_) co_return;  // a signal
    if (!stream)
      throw Failure(
          exit_no_connection,
          fmt::format(
              "cannot connect to {}: {}; {}", options_->name, stream.error().message(),
              connect_advice(stream.error(), options_->connect_timeout, "--connect-timeout")));
    const std::size_t number = connections_.size() + 1;
    const std::string mark =
        options_->connections > 1 ? fmt::format("[{}] ", number) : std::string();
    if (options_->verbose)
      console_.note(fmt::format("{}connected to {} from {}", mark,
                                escape(stream->peer().to_string()),
                                escape(stream->address().to_string())));
    connections_.push_back(std::make_unique<Connection>(number, std::move(*stream),
                                                        Transcript(options_->form, mark),
                                                        Expectation(options_->expects)));
  }
  if (options_->verbose) console_.note("connecting took " + to_text(loop_->kernel().now() - begun));
}

// --- sending

Task<> Conversation::send() {
  Result<> sent;
  if (options_->from_input)
    sent = co_await send_input();
  else
    sent = co_await send_texts();
  if (code_ || (!sent && is_cancelled(sent.error()))) co_return;
  if (!sent) {
    console_.note("duolu: cannot read standard input: " + sent.error().message());
    co_return finish(exit_failed);
  }
  sent_ = true;
  const bool last = options_->from_input || (options_->expects.empty() && !options_->at_most);
  if (last && !options_->keep_open) half_close();
  look();
}

Task<Result<>> Conversation::send_input() {
  constexpr std::size_t piece = std::size_t{64} * 1024;
  StandardStream input = co_await try_(StandardStream::open(*loop_, STDIN_FILENO));
  LineEnds ends(options_->delimiter, options_->crlf);
  std::vector<char> buffer(piece);
  std::string space;
  console_.prompt(false);
  while (const std::size_t size = co_await try_(input->read(buffer))) {
    const std::string_view typed(buffer.data(), size);
    co_await send_to_all(ends.apply(typed, space));
    if (code_ || sent_) co_return {};
    if (typed.ends_with('\n')) console_.prompt(true);
  }
  co_return {};
}

Task<Result<>> Conversation::send_texts() {
  for (const std::string& text : options_->sends) co_await send_to_all(text);
  co_return {};
}

Task<> Conversation::send_to_all(std::string_view bytes) {
  if (bytes.empty()) co_return;
  sending_ = active_ = true;
  if (connections_.size() == 1) {
    co_await send_to(connections_.front().get(), bytes);
  } else {
    std::vector<Task<>> all;
    all.reserve(connections_.size());
    for (const auto& connection : connections_) all.push_back(send_to(connection.get(), bytes));
    co_await when_all(std::move(all));
  }
  sending_ = false;
  // If no connection is left to send to, the rest of the input is not needed.
  const bool nobody =
      std::all_of(connections_.begin(), connections_.end(), [](const auto& c) { return c->lost; });
  if (!nobody) co_return;
  sent_ = true;
  look();
}

Task<> Conversation::send_to(Connection* connection, std::string_view bytes) {
  if (connection->lost) co_return;
  if (!connection->asked) connection->asked = loop_->kernel().now();
  const Result<> sent = co_await connection->stream.write_all(bytes);
  if (!sent && !is_cancelled(sent.error())) lose(*connection, sent.error().message());
}

void Conversation::half_close() {
  for (const auto& connection : connections_) {
    const Result<> closed = connection->stream.close_writing();
    // Only this call reports that the peer closed and then reset the connection.
    if (!closed) lose(*connection, closed.error().message());
  }
}

// --- receiving

Task<> Conversation::receive(Connection* connection) {
  for (;;) {
    Result<Lease> lease = co_await connection->stream.read_lease();
    if (!lease && is_cancelled(lease.error())) co_return;
    if (!lease) lose(*connection, lease.error().message());
    if (!lease || !*lease) break;
    replied(*connection);
    connection->expectation.add(lease->text());
    std::string text = connection->transcript.add(lease->text());
    lease->reset();  // writing may take long
    const bool is_shown = co_await show(std::move(text));
    if (!is_shown) co_return;
    look();
  }
  (void)co_await show(connection->transcript.end());
  connection->ended = true;
  look();
}

Task<bool> Conversation::show(std::string text) {
  if (output_gone_ || code_) co_return !code_;
  const Result<> shown = co_await console_.show(std::move(text));
  if (shown || code_) co_return !code_;
  if (is_cancelled(shown.error())) co_return false;
  output_gone_ = true;
  // A reader that has closed (`| head -1`) is no failure; a full disk is one.
  const bool enough = shown.error() == std::errc::broken_pipe;
  if (!enough) console_.note("duolu: cannot write the replies: " + shown.error().message());
  if (!enough)
    finish(exit_failed);
  else if (options_->expects.empty())
    finish(exit_ok);
  co_return !code_;
}

void Conversation::replied(Connection& connection) {
  if (!connection.asked) return;
  if (options_->verbose)
    console_.note(fmt::format("{}reply after {}", which(connection),
                              to_text(loop_->kernel().now() - *connection.asked)));
  connection.asked.reset();
}

// --- the end

void Conversation::lose(Connection& connection, const std::string& why) {
  if (connection.lost || code_) return;
  connection.lost = true;
  console_.note(fmt::format("duolu: {}the connection is lost: {}", which(connection), why));
}

void Conversation::look() {
  if (code_) return;
  if (!options_->expects.empty() && sent_ && all_met()) {
    return finish(any_lost() ? exit_failed : exit_ok);
  }
  for (const auto& connection : connections_)
    if (connection->ended && !connection->expectation.met() && complain("before the peer closed"))
      return finish(exit_failed);
  const bool over =
      std::all_of(connections_.begin(), connections_.end(), [](const auto& c) { return c->ended; });
  if (!over) return;
  if (!sent_) {
    if (!std::exchange(ending_, true)) scope_->spawn(end_when_idle());
    return;
  }
  finish(any_lost() ? exit_failed : exit_ok);
}

Task<> Conversation::end_when_idle() {
  // Long enough to see the end of an input that is about to end (`printf QUIT | duolu talk`).
  constexpr Duration idle = 200ms;
  do {
    active_ = false;
    const bool slept = co_await loop_->sleep_for(idle);
    if (!slept || sent_ || code_) co_return;
  } while (active_ || sending_);
  console_.note(connections_.size() > 1 ? "duolu: all peers closed before the input ended"
                                        : "duolu: the peer closed before the input ended");
  finish(exit_failed);
}

bool Conversation::any_lost() const {
  return std::any_of(connections_.begin(), connections_.end(),
                     [](const auto& c) { return c->lost; });
}

bool Conversation::all_met() const {
  return std::all_of(connections_.begin(), connections_.end(),
                     [](const auto& c) { return c->expectation.met(); });
}

bool Conversation::complain(const std::string& when) {
  std::size_t missing = 0;
  const Connection* first = nullptr;
  for (const auto& connection : connections_) {
    if (connection->expectation.met()) continue;
    if (missing++ == 0) first = connection.get();
  }
  if (first == nullptr) return false;
  console_.note(fmt::format(
      "duolu: {}{}{}", which(*first), first->expectation.complaint(when),
      missing > 1 ? fmt::format(" (and {})", counted(missing - 1, "more connection")) : ""));
  return true;
}

void Conversation::finish(int code) {
  if (code_) return;
  code_ = code;
  scope_->cancel();
}

std::string Conversation::which(const Connection& connection) const {
  return options_->connections > 1 ? fmt::format("connection {}: ", connection.number)
                                   : std::string();
}

}  // namespace duolu::apps
