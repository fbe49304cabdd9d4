// Public. Layer: net. serve(): a server, as one task.
//
//   Task<Result<>> echo(Stream client);
//   int main() { return run(serve("localhost:5000", echo)); }
//
//   SV1  It listens on every address of the endpoint. If one of them fails, serve() ends with that
//        error before the first connection (Loop::explain() gets its name); address families that
//        the machine lacks are left out. Names are looked up in the loop's thread, which blocks.
//   SV2  Each connection is a task of its own: handler(Stream). It ends when the handler does.
//        Errors and exceptions of handlers go to ServeOptions::report, and end no other task.
//        Without a report function, exceptions go to Loop::report(), and errors, which peers can
//        cause, are dropped.
//   SV3  Accepting continues whatever errors accept(2) returns (AC1, AC2). With max_connections,
//        further connections wait, accepted or in the backlog.
//   SV4  When its chain is cancelled, it closes the listeners at once, lets handlers run for
//        `grace` at most, cancels those that are left, waits for their end, and returns success.
//   SV5  The socket file of a Unix address is removed with its listener, unless it was replaced.
//   SV6  When most of a crowd of connections has left, their memory goes back to the system
//        (CrowdMemory).
//   SV7  ServeOptions::admit is called before each connection is served. While it returns an error,
//        the connection waits, which is reported as `paused`; it is called again when a connection
//        ends, or after a pause (AC5).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"
#include "duolu/net/address.hpp"
#include "duolu/net/listener.hpp"
#include "duolu/net/stream.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

/// What serve() reports.
struct ServeEvent {
  enum class Kind : std::uint8_t {
    listening,  ///< It listens on `address`; once for each, with the port that replaces port 0.
    failed,     ///< A handler returned `error`; not ECANCELED after serve() was cancelled.
    threw,      ///< A handler threw `exception`, or could not begin for lack of memory.
    refused,    ///< A connection was accepted and closed: the engine could not take it.
    paused,     ///< accept(2) failed with `error`, or `admit` returned it: accepting waits until a
                ///< connection ends, or for a time (AC2). Reported each time.
    cut,        ///< A handler was cancelled when the grace time was over.
  };
  Kind kind;
  Address address{};  ///< Where it listens. Not of `cut`.
  std::error_code error{};
  std::exception_ptr exception{};
};
/// One line of text: "a handler on tcp://127.0.0.1:5000 threw: out of range".
[[nodiscard]] std::string to_string(const ServeEvent& event);

struct ServeOptions {
  /// How many connections are served at a time; 0: no limit.
  std::size_t max_connections = 0;
  /// How long handlers may keep running after serve() was cancelled.
  AnyDuration grace = std::chrono::seconds(5);
  /// Whether another connection can be served now, such as by what it takes of memory or of a
  /// database; an error makes it wait (SV7). Called in the loop's thread; must not throw.
  std::function<std::error_code()> admit{};
  /// Called in the loop's thread; must not throw. If empty, `threw`, `paused` and `refused` go to
  /// Loop::report(), which under run() writes to standard error; nothing else is reported.
  std::function<void(const ServeEvent&)> report{};
};

namespace detail {

using Handler = std::function<Task<Result<>>(Stream)>;

Task<Result<>> serve(std::string endpoint, Handler handler, ServeOptions options);
Task<Result<>> serve(std::vector<Listener> listeners, Handler handler, ServeOptions options);

inline Task<Result<>> succeeding(Task<> task) {
  co_await std::move(task);
  co_return Result<>();
}

/// Makes a handler that returns a Task<> one that returns a Task<Result<>>.
template <class Fn>
Handler handler_of(Fn fn) {
  constexpr bool takes_stream =
      std::is_invocable_v<Fn&, Stream> && !std::is_invocable_v<Fn&, const Stream&>;
  static_assert(takes_stream,
                "serve() gives the connection to its handler, which takes it by value: "
                "Task<Result<>> handler(Stream client)");
  if constexpr (takes_stream) {
    using Returned = std::invoke_result_t<Fn&, Stream>;
    static_assert(std::is_same_v<Returned, Task<Result<>>> || std::is_same_v<Returned, Task<>>,
                  "serve() calls handler(Stream), which returns a Task<Result<>> or a Task<>");
    if constexpr (std::is_same_v<Returned, Task<>>)
      return
          [fn = std::move(fn)](Stream stream) mutable { return succeeding(fn(std::move(stream))); };
    else
      return Handler(std::move(fn));
  } else {
    return Handler();
  }
}

}  // namespace detail

/// See the top of this file. `endpoint` has the syntax of parse_endpoint(); if it is invalid,
/// serve() ends with EINVAL, and Loop::explanation() says what is wrong. `handler` is kept with its
/// captures until serve() has ended, so it may be a lambda that is a coroutine.
template <class Fn>
Task<Result<>> serve(std::string endpoint, Fn handler, ServeOptions options = {}) {
  return detail::serve(std::move(endpoint), detail::handler_of(std::move(handler)),
                       std::move(options));
}
/// The same with open listeners.
template <class Fn>
Task<Result<>> serve(std::vector<Listener> listeners, Fn handler, ServeOptions options = {}) {
  return detail::serve(std::move(listeners), detail::handler_of(std::move(handler)),
                       std::move(options));
}
template <class Fn>
Task<Result<>> serve(Listener listener, Fn handler, ServeOptions options = {}) {
  std::vector<Listener> one;
  one.push_back(std::move(listener));
  return detail::serve(std::move(one), detail::handler_of(std::move(handler)), std::move(options));
}

}  // namespace duolu
