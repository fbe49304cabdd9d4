#include "duolu/net/serve.hpp"

#include <cerrno>
#include <list>
#include <new>
#include <optional>

#include "duolu/base/exception.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/task/chain.hpp"
#include "duolu/task/flag.hpp"
#include "duolu/task/frames.hpp"
#include "duolu/task/semaphore.hpp"
#include "duolu/task/together.hpp"

namespace duolu {
namespace {

/// Where the server listens. The address is kept when the listener is closed.
struct ServedAddress {
  explicit ServedAddress(Listener from) : address(from.address()), listener(std::move(from)) {
    listener->remove_file_on_close();
  }

  Address address;
  std::optional<Listener> listener;  ///< Empty: closed.
};

/// The state of serve(), in the frame of its task.
class Server {
 public:
  Server(Loop& loop, std::vector<Listener> listeners, detail::Handler handler, ServeOptions options)
      : loop_(loop), handler_(std::move(handler)), options_(std::move(options)) {
    if (options_.max_connections != 0) room_.emplace(options_.max_connections);
    for (Listener& listener : listeners) addresses_.emplace_back(std::move(listener));
  }

  Task<> run() {
    for (const ServedAddress& each : addresses_)
      report({.kind = ServeEvent::Kind::listening, .address = each.address});
    co_await with_scope([this](Scope& connections) { return serve_in(&connections); });
  }

 private:
  using Kind = ServeEvent::Kind;

  /// Accepts until it is cancelled, then waits for the grace time, then cancels what is left.
  Task<> serve_in(Scope* connections) {
    connections_ = connections;
    co_await with_scope([this](Scope& accepting) { return accept_everywhere(&accepting); });
    for (ServedAddress& each : addresses_) each.listener.reset();
    ending_ = true;
    co_await shielded(give_grace());
    for (std::size_t left = connections->size(); left > 0; --left) report({.kind = Kind::cut});
    connections->cancel();
  }

  Task<> accept_everywhere(Scope* accepting) {
    for (ServedAddress& each : addresses_) accepting->spawn(accept_from(&each), "accept");
    co_return;
  }

  Task<> accept_from(ServedAddress* at) {
    // NOLINTNEXTLINE(bugprone-unchecked-optional-access): there is one while this task runs
    Listener& listener = *at->listener;
    listener.on_error([this, at](std::error_code error) {
      const bool refused = error == StreamError::refused;
      if (!refused && accept_error(error) == AcceptError::connection) return;
      report(
          {.kind = refused ? Kind::refused : Kind::paused, .address = at->address, .error = error});
    });
    if (options_.admit) listener.only_if([this] { return options_.admit(); });
    while (Result<Stream> stream = co_await listener.accept()) {
      Semaphore::Permit permit;
      if (room_) {
        Result<Semaphore::Permit> room = co_await room_->acquire();
        if (!room) co_return;
        permit = *std::move(room);
      }
      try {
        connections_->spawn(handle(at, *std::move(stream), std::move(permit)), "connection");
        memory_.grew(connections_->size());
      } catch (...) {
        report(
            {.kind = Kind::threw, .address = at->address, .exception = std::current_exception()});
      }
    }
  }

  Task<> handle(const ServedAddress* at, Stream stream, Semaphore::Permit permit) {
    std::exception_ptr thrown;
    Result<> ended;
    try {
      ended = co_await handler_(std::move(stream));
    } catch (...) {
      thrown = std::current_exception();
    }
    const bool was_cut = ending_ && !ended && ended.error() == std::errc::operation_canceled;
    if (thrown)
      report({.kind = Kind::threw, .address = at->address, .exception = thrown});
    else if (!ended && !was_cut)
      report({.kind = Kind::failed, .address = at->address, .error = ended.error()});
    permit.release();
    memory_.shrank(connections_->size() - 1);
    left_.set();
    for (ServedAddress& each : addresses_)
      if (each.listener) each.listener->freed();
  }

  Task<> give_grace() { (void)co_await within(options_.grace, everybody_left()); }

  Task<Result<>> everybody_left() {
    while (connections_->size() > 0) {
      left_.reset();
      const bool left = co_await left_.wait();
      if (!left) co_return fail(ECANCELED);
    }
    co_return Result<>();
  }

  void report(const ServeEvent& event) {
    if (options_.report) return options_.report(event);
    if (event.kind != Kind::threw && event.kind != Kind::paused && event.kind != Kind::refused)
      return;
    try {
      loop_.report(to_string(event));
    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): none for the line either
    }
  }

  Loop& loop_;
  detail::Handler handler_;
  ServeOptions options_;
  std::list<ServedAddress> addresses_;
  Scope* connections_ = nullptr;
  std::optional<Semaphore> room_;  ///< With max_connections.
  CrowdMemory memory_;
  Flag left_;            ///< A connection has ended.
  bool ending_ = false;  ///< The listeners are closed.
};

}  // namespace

std::string to_string(const ServeEvent& event) {
  const std::string where = event.address.to_string();
  switch (event.kind) {
    case ServeEvent::Kind::listening: return "listening on " + where;
    case ServeEvent::Kind::failed:
      return "a connection to " + where + " ended: " + event.error.message();
    case ServeEvent::Kind::threw:
      return "a handler on " + where + " threw: " + message_of(event.exception);
    case ServeEvent::Kind::refused:
      return "a connection to " + where + " was refused: " + event.error.message();
    case ServeEvent::Kind::paused:
      return "accepting on " + where + " is paused: " + event.error.message();
    case ServeEvent::Kind::cut: return "a connection was cut when the grace time was over";
  }
  return "unknown";
}

Task<Result<>> detail::serve(std::vector<Listener> listeners, Handler handler,
                             ServeOptions options) {
  Loop& loop = co_await this_loop();
  Server server(loop, std::move(listeners), std::move(handler), std::move(options));
  co_await server.run();
  co_return Result<>();
}

Task<Result<>> detail::serve(std::string endpoint, Handler handler, ServeOptions options) {
  Loop& loop = co_await this_loop();
  const std::expected<Endpoint, std::string> parsed = parse_endpoint(endpoint);
  if (!parsed) {
    loop.explain(errno_code(EINVAL), parsed.error());
    co_return fail(EINVAL);
  }
  std::expected<std::vector<Listener>, ListenError> listeners = listen_everywhere(loop, *parsed);
  if (!listeners) {
    const ListenError& failed = listeners.error();
    loop.explain(failed.error, "cannot listen on " + failed.where + ": " + failed.error.message());
    co_return fail(failed.error);
  }
  co_return co_await serve(*std::move(listeners), std::move(handler), std::move(options));
}

}  // namespace duolu
