// The same server on the bare Poller, with plain callbacks: what an event loop does, with nothing
// hidden, and what coroutines (server.hpp) spare one. With every trigger.
//
// The life of a byte: wait() reports a connection readable -> receive() takes what fits into the
// server's one buffer -> the Service turns it into an answer -> transmit() sends it at once. Only
// what the peer does not take is copied into memory of that connection (bounded), and then nothing
// is read from it until it is gone. So an idle connection owns no buffer, and a peer that does not
// read slows nobody but itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/journal.hpp"
#include "apps/server_options.hpp"
#include "apps/service.hpp"
#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/net/address.hpp"
#include "duolu/poll/poller.hpp"

namespace duolu::apps {

/// Something the poller reports on. The registration's data word is a pointer to it.
class Watched {
 public:
  virtual void on_event(const Event& event) = 0;

 protected:
  ~Watched() = default;
};

class CallbackServer {
 public:
  CallbackServer(Poller& poller, Trigger trigger, Service& service, ServerOptions options,
                 Journal& journal);
  CallbackServer(const CallbackServer&) = delete;
  CallbackServer& operator=(const CallbackServer&) = delete;
  ~CallbackServer();

  /// Listens on one more address; the address it got, with the port the system chose for port 0.
  Result<Address> listen(const Address& address);

  /// Serves until stop() and everything that was in flight has ended or the grace time is over.
  Result<Totals> run();

  /// Asks run() to end. From any thread and from signal handlers.
  void stop() noexcept {
    stop_asked_.store(true, std::memory_order_relaxed);
    poller_.wake();
  }

 private:
  struct Listener;
  struct Connection;
  struct Stdin;
  using Connections = std::list<Connection>;

  // Accepting.
  void accept_from(Listener& listener);
  bool handle_accept_error(int error);
  void admit(Fd fd, const Address& peer);
  void pause_accepting(const std::string& why, bool out_of_resources);
  void resume_accepting();
  [[nodiscard]] bool full() const;

  // One connection. Those that return bool say whether it still exists.
  void serve(Connection& connection);
  bool receive(Connection& connection);
  std::optional<std::size_t> send(Connection& connection, std::span<const char> bytes);
  bool transmit(Connection& connection, std::span<const char> bytes);
  bool flush(Connection& connection);
  bool produce(Connection& connection);
  bool finish(Connection& connection);
  void note_input(Connection& connection, std::span<const char> input);
  void settle(Connection& connection);
  void touch(Connection& connection);
  void drop(Connection& connection, int error, const char* why);

  // Time and the end.
  [[nodiscard]] Instant next_deadline() const;
  void expire();
  void go_on();
  void begin_to_stop();
  [[nodiscard]] Duration quiet_limit() const;

  Poller& poller_;
  Kernel& kernel_;
  Service& service_;
  const Trigger trigger_;
  const ServerOptions options_;
  Journal& journal_;
  std::list<Listener> listeners_;
  Connections active_;  ///< The least recently active first, if anybody asks (quiet_limit).
  Connections ending_;  ///< All was sent; waiting for the peer's end. The earliest deadline first.
  std::vector<Connection*> unfinished_;  ///< Edge: more could be done than one turn's share.
  std::vector<Connection*> going_on_;    ///< Those of the last turn; empty in between.
  std::unique_ptr<Stdin> stdin_;
  std::vector<char> input_;    ///< Every read goes here.
  std::vector<char> scratch_;  ///< Services compose here.
  Totals totals_;
  Instant now_{};  ///< Of this turn, where quiet_limit() makes it matter.
  bool accepting_ = true;
  Instant accept_again_ = never;
  Duration accept_backoff_{};
  Instant accept_tell_again_ = immediately;  ///< Not to fill the log with the same line.
  bool stopping_ = false;
  Instant stop_deadline_ = never;
  std::atomic<bool> stop_asked_{false};
};

}  // namespace duolu::apps
