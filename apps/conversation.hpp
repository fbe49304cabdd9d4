// What `duolu talk` does once it knows everything: connects, sends, shows what comes back, ends.
//
// Everything is a task of one scope, on one loop:
//   watch_signals   SIGINT, SIGTERM and SIGHUP end it
//   keep_time       --for ends it
//   send            standard input, or what --send says, to every connection at a time
//   receive         one for each connection: what comes, to standard output
//   end_when_idle   once every peer has closed although there may be more to send
// Whoever sees that it is over calls finish(), once, which cancels the others.
//
// Invariants:
//   1. Nothing grows: a piece of input is read when every connection has taken the one before, and
//      a connection is read when standard output has taken what it said before.
//   2. A peer that closes is not taken for one that does not listen: it may have closed its own
//      direction only. What it makes of what is sent shows in the errors of sending.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/transcript.hpp"
#include "duolu/kernel/host.hpp"
#include "duolu/loop/loop.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/loop/signals.hpp"
#include "duolu/net/address.hpp"
#include "duolu/net/standard.hpp"
#include "duolu/net/stream.hpp"
#include "duolu/task/semaphore.hpp"

namespace duolu::apps {

struct ConversationOptions {
  std::string name;  ///< The address as it was typed, safe to show.
  std::vector<Address> addresses{};
  std::size_t connections = 1;
  Duration connect_timeout = std::chrono::seconds(5);
  bool from_input = true;  ///< Standard input is sent; else `sends`.
  std::vector<std::string> sends{};
  std::vector<std::string> expects{};
  std::optional<Duration> at_most{};  ///< --for.
  Transcript::Form form = Transcript::Form::safe;
  std::string delimiter = "\n";
  bool crlf = false;
  bool keep_open = false;  ///< No half-close when all is sent.
  bool verbose = false;
};

/// Standard output for replies, and standard error for everything else, which on a terminal are
/// the same place: then a prompt stands there while a line may be typed.
class Console {
 public:
  Console(Loop& loop, Host& host, bool from_input);
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;
  ~Console();

  /// Errors: as StandardStream::open().
  Result<> open();
  /// Writes to standard output, one task after the other. Errors: as write(2).
  Task<Result<>> show(std::string text);
  /// A line for standard error.
  void note(const std::string& line);
  /// Something may be typed now. `fresh`: the terminal has begun a new line for it.
  void prompt(bool fresh);

 private:
  void hide_prompt();

  Loop* loop_;
  bool prompts_;
  bool shown_ = false;      ///< The prompt is there.
  bool line_start_ = true;  ///< Standard output has ended its line.
  bool may_type_ = false;
  std::optional<StandardStream> output_{};
  Semaphore turn_{1};
};

class Conversation {
 public:
  /// All outlive it.
  Conversation(Loop& loop, Host& host, const ConversationOptions& options);
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  /// Until it is over: the exit code. Throws a Failure if there is no connection.
  Task<int> run();

 private:
  struct Connection {
    Connection(std::size_t at, Stream to, Transcript shown, Expectation expected)
        : number(at),
          stream(std::move(to)),
          transcript(std::move(shown)),
          expectation(std::move(expected)) {}

    std::size_t number;
    Stream stream;
    Transcript transcript;
    Expectation expectation;
    std::optional<Instant> asked{};  ///< When something was sent that has no reply yet.
    bool ended = false;              ///< Nothing more comes.
    bool lost = false;               ///< It ended before its time; that was told.
  };

  Task<> begin(Scope* scope);
  Task<Result<>> show_the_rest();
  Task<> converse();
  Task<> watch_signals();
  Task<> keep_time();
  Task<> connect_all();
  Task<Result<Stream>> connect_by(Instant deadline);
  Task<> send();
  Task<Result<>> send_input();
  Task<Result<>> send_texts();
  Task<> send_to_all(std::string_view bytes);
  Task<> send_to(Connection* connection, std::string_view bytes);
  Task<> receive(Connection* connection);
  /// Shows it; whether it goes on.
  Task<bool> show(std::string text);
  Task<> end_when_idle();

  void half_close();
  void replied(Connection& connection);
  void lose(Connection& connection, const std::string& why);
  /// Ends it if nothing is left to be done.
  void look();
  [[nodiscard]] bool any_lost() const;
  [[nodiscard]] bool all_met() const;
  /// Says what is missing, if something is; whether it is.
  bool complain(const std::string& when);
  void finish(int code);
  /// "", or "connection 2: ".
  [[nodiscard]] std::string which(const Connection& connection) const;

  Loop* loop_;
  const ConversationOptions* options_;
  Signals signals_;
  Console console_;
  Scope* scope_ = nullptr;
  std::vector<std::unique_ptr<Connection>> connections_{};
  std::optional<int> code_{};
  bool sending_ = false;  ///< Something is on its way out.
  bool active_ = false;   ///< Something was sent since end_when_idle() looked.
  bool sent_ = false;     ///< All there was.
  bool ending_ = false;   ///< end_when_idle() runs.
  bool output_gone_ = false;
};

}  // namespace duolu::apps
