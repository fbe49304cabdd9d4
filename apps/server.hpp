// A server in coroutines: one task for each listening address, one for each connection.
//
// The life of a byte: the engine receives into a buffer that it lends (read_lease) -> the Service
// turns it into an answer -> write_all sends it, and ends when the system has taken all of it. Only
// what the peer does not take is kept in memory of that connection (bounded), and nothing is read
// from it meanwhile. So an idle connection owns no buffer, and a peer that does not read slows
// nobody but itself.
#pragma once

#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/journal.hpp"
#include "apps/service.hpp"
#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/loop/loop.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/loop/signals.hpp"
#include "duolu/loop/task_set.hpp"
#include "duolu/net/address.hpp"
#include "duolu/net/listener.hpp"
#include "duolu/net/stream.hpp"
#include "duolu/poll/poller.hpp"
#include "duolu/task/flag.hpp"
#include "duolu/task/frames.hpp"
#include "duolu/task/task.hpp"

namespace duolu::apps {

struct ServerOptions {
  /// Close a connection once its input so far ends with this, after everything was answered.
  std::string close_after{};
  /// Close a connection after so long without a byte in either direction, or with input that has
  /// begun and is not complete (Service::incomplete); zero: never.
  Duration idle_timeout{};
  /// Serve no more than so many at a time, the others wait; zero: no limit.
  std::size_t max_connections = 0;
  /// How long stopping may take before connections are cut.
  Duration grace = std::chrono::seconds(5);
  /// A line or the end of standard input stops the server.
  bool stop_on_stdin = false;
  /// Report tasks that hold the loop for so long, while they do and afterwards; zero: do not.
  Duration stall{};
  /// Note since when tasks wait, for the tree of tasks that SIGUSR1 prints.
  bool trace_tasks = false;
};

struct Totals {
  std::uint64_t accepted = 0;
  std::uint64_t messages = 0;  ///< Pieces of input as they were read.
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t failed = 0;  ///< Connections that ended with an error.
  std::uint64_t cut = 0;     ///< Connections that were cut when the grace time was over.
  std::size_t peak = 0;      ///< Most connections at a time.
};

/// Memory that `new` falls back on when there is no more: so that connections that exist are
/// served to their end. Connections that would need it up are not begun: see fill().
class Reserve {
 public:
  Reserve() noexcept;
  Reserve(const Reserve&) = delete;
  Reserve& operator=(const Reserve&) = delete;
  ~Reserve();

  /// Takes back what was used up. Whether there is enough to begin a connection: it is whole, or
  /// one would not use it up, since there is room in what has been taken from it.
  bool fill() noexcept;
  /// From now on all of it may be used up. Before, some is kept for what comes after this.
  void end() noexcept;

 private:
  static bool refill() noexcept;

  std::new_handler before_;
};

class Server {
 public:
  /// The engine of `loop` has lent buffers of service.read_size(): that is how much is kept for a
  /// peer that does not read. All outlive the server.
  Server(Loop& loop, Service& service, ServerOptions options, Journal& journal);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  /// Listens on every address of one more endpoint: see listen_everywhere(). The addresses that it
  /// got, with the port that the system chose for port 0.
  std::expected<std::vector<Address>, ListenError> listen(const Endpoint& endpoint);

  /// Serves until its chain is cancelled and everything that was in flight has ended or the grace
  /// time is over. Once, in a task of the loop. Errors: of opening standard input.
  Task<Result<Totals>> serve();

  /// serve() alone on the loop, until stop(); watches for stalls and traces tasks as the options
  /// say, which concerns a whole loop.
  Result<Totals> run();
  /// Asks run() to end. From any thread and from signal handlers.
  void stop() noexcept { loop_.stop(); }

 private:
  struct ServedAddress;
  struct Connection;
  class Connections;
  using Sending = decltype(std::declval<Stream&>().write_all(std::declval<Lease>()));

  // The whole.
  Task<> serve_until_cancelled(Stream* input);
  Task<> serve_beside(Scope* signals, Stream* input);
  Task<> serve_in(Stream* input);
  Task<> accept_everywhere(Scope* accepting, Stream* input);
  Task<> stop_on_input(Stream* input);
  Task<> give_grace();
  Task<Result<>> wait_for_the_rest();
  Task<Result<>> all_ended();
  void cancel_remaining();
  [[nodiscard]] std::size_t count() const;

  // Accepting.
  Task<> accept_from(Listener* listener);
  void report_accept_error(std::error_code error);
  void report_not_begun();

  // One connection.
  void begin(Stream stream);
  void admit(Connection& connection);
  Task<Result<>> talk(Connection* connection);
  Task<Result<>> echo(Connection* connection);
  Sending echo_of(Connection& connection, Lease input) noexcept;
  Task<Result<>> converse(Connection* connection);
  Task<Result<>> send_composed(Connection* connection, std::span<const char> bytes);
  Task<Result<>> converse_and_produce(Connection* connection);
  Task<Result<>> produce(Connection* connection);
  Task<Result<>> read_beside(Connection* connection);
  void ended(Connection& connection, Result<> result, const std::exception_ptr& thrown) noexcept;
  void begin_to_linger(Connection& connection);
  static Task<Result<>> linger(Connection* connection);
  void leave(Connection& connection) noexcept;
  Task<> close_lingering();
  void note_input(Connection& connection, std::string_view input);
  void count_input(std::size_t size);
  void note_sending(Connection& connection, std::size_t size);
  void note_sent(Connection& connection);
  void report_end(const Connection& connection, const Result<>& result);
  void report_exception(const Connection& connection, const std::exception_ptr& thrown) noexcept;

  // Reports.
  void say(Verbosity importance, std::string_view event, const std::string& text,
           const nlohmann::ordered_json& fields);
  Task<> flush_log();
  void watch();
  enum class Hold : std::uint8_t { over, lasts };
  void report_stall(const Stall& stall, Hold hold);
  Task<> report_tasks_on_signal();
  void report_tasks();

  // Idle connections.
  Task<Result<>> close_idle();
  void check_idle(Connection& connection);
  void touch(Connection& connection);
  Instant time_of_turn();

  Reserve reserve_;
  Service& service_;
  const ServerOptions options_;
  Journal& journal_;
  Loop& loop_;
  Chain* chain_ = nullptr;  ///< Of serve().
  Signals asked_;           ///< SIGUSR1, which asks for the tasks.
  std::list<ServedAddress> addresses_;
  Flag left_;      ///< A connection has ended; reset by the task that waits for it.
  Flag accepted_;  ///< A connection was accepted; reset by the task that waits for it.
  /// Not null while it runs. If there is a idle_limit_, the least recently active first.
  std::unique_ptr<Connections> active_;
  /// Those that are to end, or wait for the peer's end; the one that has been here longest first.
  std::unique_ptr<Connections> ending_;
  Flag lingers_;  ///< A connection is in ending_.
  CrowdMemory memory_;
  Flag behind_;                ///< A slow reader of the log has left some of it unread.
  std::vector<char> scratch_;  ///< Services compose here.
  Totals totals_;
  Duration idle_limit_;              ///< How long one may be without a byte; zero: no limit.
  Instant turn_began_{};             ///< See time_of_turn().
  std::uint64_t turn_ = UINT64_MAX;  ///< Whose time that is.
  Instant accept_report_again_ = immediately;  ///< Not to fill the log with the same line.
  bool stopping_ = false;
  /// Nothing has to be done for a message but to echo and count it: see echo().
  const bool only_echoes_;
};

}  // namespace duolu::apps
