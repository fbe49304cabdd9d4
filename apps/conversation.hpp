// What `duolu talk` does when its arguments are known: connects, sends, shows the replies, ends.
//
// Everything is a task of one scope, on one loop:
//   watch_signals   SIGINT, SIGTERM and SIGHUP end it
//   keep_time       --for ends it
//   send            sends standard input, or the texts of --send, on all connections at once
//   receive         one for each connection: shows what it receives on standard output
//   end_when_idle   starts once every peer has closed although there may be more to send
// The task that finds the end calls finish(), once, which cancels the others.
//
// Invariants:
//   1. Nothing grows: the next piece of input is read when all connections have taken the previous
//      one, and a connection is read when standard output has taken its previous reply.
//   2. A peer that closes may still receive: it may have closed its own direction only. If it does
//      not, sending fails.
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
  std::string name;  ///< The address as typed, escaped.
  std::vector<Address> addresses{};
  std::size_t connections = 1;
  Duration connect_timeout = std::chrono::seconds(5);
  bool from_input = true;  ///< Send standard input; else `sends`.
  std::vector<std::string> sends{};
  std::vector<std::string> expects{};
  std::optional<Duration> at_most{};  ///< --for.
  Transcript::Form form = Transcript::Form::safe;
  std::string delimiter = "\n";
  bool crlf = false;
  bool keep_open = false;  ///< No half-close when all is sent.
  bool verbose = false;
};

/// Standard output for replies, and standard error for everything else. On a terminal both are the
/// same: there it shows a prompt while a line may be typed.
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
  /// Writes a line to standard error.
  void note(const std::string& line);
  /// Input is possible now: shows the prompt. `fresh`: the terminal has begun a new line for it.
  void prompt(bool fresh);

 private:
  void hide_prompt();

  Loop* loop_;
  bool prompts_;
  bool shown_ = false;      ///< The prompt is shown.
  bool line_start_ = true;  ///< The last output ended its line.
  bool may_type_ = false;
  std::optional<StandardStream> output_{};
  Semaphore turn_{1};
};

class Conversation {
 public:
  /// All arguments outlive it.
  Conversation(Loop& loop, Host& host, const ConversationOptions& options);
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  /// Runs until the end. Returns the exit code. Throws a Failure if there is no connection.
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
    std::optional<Instant> asked{};  ///< When the bytes were sent that have no reply yet.
    bool ended = false;              ///< No more input will arrive.
    bool lost = false;               ///< It ended early, which was reported.
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
  /// Shows it. Returns whether to continue.
  Task<bool> show(std::string text);
  Task<> end_when_idle();

  void half_close();
  void replied(Connection& connection);
  void lose(Connection& connection, const std::string& why);
  /// Ends the conversation if nothing is left to do.
  void look();
  [[nodiscard]] bool any_lost() const;
  [[nodiscard]] bool all_met() const;
  /// Reports replies that are missing. Returns whether there are any.
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
  bool sending_ = false;  ///< A send is running.
  bool active_ = false;   ///< Something was sent since end_when_idle() looked.
  bool sent_ = false;     ///< All input was sent.
  bool ending_ = false;   ///< end_when_idle() was started.
  bool output_gone_ = false;
};

}  // namespace duolu::apps
