// Public. Layer: net. serve(): a server, as one task.
//
//   Task<Result<>> echo(Stream client);
//   int main() { return run(serve("localhost:5000", echo)); }
//
//   SV1  It listens on every address of the endpoint. If one of them cannot be had it ends with
//        that error, before the first connection (Loop::explain says which one); address families
//        that the machine lacks are left out. A name is looked up there and then, which blocks.
//   SV2  Each connection is a task of its own: handler(Stream). It ends when the handler does;
//        errors and exceptions of handlers go to ServeOptions::report, and end nobody else. Without
//        one exceptions go to Loop::report(), and errors are dropped: peers make them.
//   SV3  Whatever accept(2) says, accepting continues (Acceptor). With max_connections, connections
//        beyond that wait, accepted or in the backlog.
//   SV4  It ends when its strand is cancelled, and then gives success: the listeners are closed at
//        once, handlers go on for `grace` at most, those that are left are cancelled, and it waits
//        for their end.
//   SV5  The socket file of a Unix address is removed with its listener, if it is still the same.
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
    listening,  ///< It listens on `address`; once for each. Port 0 is the port it got.
    failed,     ///< A handler returned `error`; not ECANCELED after serve() was cancelled.
    threw,      ///< A handler threw `exception`, or could not begin: there was no memory.
    refused,    ///< A connection was accepted and closed: there was no room for it.
    paused,     ///< accept(2) gave `error`, and accepting waits: for a connection that ends, or
                ///< for a time (AC2). Each time that it is tried in vain.
    cut,        ///< A handler was cancelled when the grace time was over.
  };
  Kind kind;
  Address address{};  ///< Where it listens. Not of `cut`.
  std::error_code error{};
  std::exception_ptr exception{};
};
/// One line for people: "a handler on tcp://127.0.0.1:5000 threw: out of range".
[[nodiscard]] std::string to_string(const ServeEvent& event);

struct ServeOptions {
  /// Serve no more than so many at a time; 0: no limit.
  std::size_t max_connections = 0;
  /// How long handlers may go on when serve() is cancelled.
  AnyDuration grace = std::chrono::seconds(5);
  /// Called in the loop's thread; must not throw. Empty: exceptions of handlers, and errors of
  /// accept(2), go to Loop::report(), which under run() is standard error; nothing else is
  /// reported.
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

/// A handler of nothing as one of a Result.
template <class Fn>
Handler handler_of(Fn fn) {
  using Returned = std::invoke_result_t<Fn&, Stream>;
  static_assert(std::is_same_v<Returned, Task<Result<>>> || std::is_same_v<Returned, Task<>>,
                "serve() calls handler(Stream), which returns a Task<Result<>> or a Task<>");
  if constexpr (std::is_same_v<Returned, Task<>>)
    return
        [fn = std::move(fn)](Stream stream) mutable { return succeeding(fn(std::move(stream))); };
  else
    return Handler(std::move(fn));
}

}  // namespace detail

/// See the top of this file. `endpoint` is as parse_endpoint() has it; one that is none ends it
/// with EINVAL, and Loop::explain() says what is wrong. `handler` is kept until serve() has ended,
/// and so is what it captures, also if it is a lambda that is a coroutine itself.
template <class Fn>
[[nodiscard]] Task<Result<>> serve(std::string endpoint, Fn handler, ServeOptions options = {}) {
  return detail::serve(std::move(endpoint), detail::handler_of(std::move(handler)),
                       std::move(options));
}
/// The same with listeners that are open.
template <class Fn>
[[nodiscard]] Task<Result<>> serve(std::vector<Listener> listeners, Fn handler,
                                   ServeOptions options = {}) {
  return detail::serve(std::move(listeners), detail::handler_of(std::move(handler)),
                       std::move(options));
}
template <class Fn>
[[nodiscard]] Task<Result<>> serve(Listener listener, Fn handler, ServeOptions options = {}) {
  std::vector<Listener> one;
  one.push_back(std::move(listener));
  return detail::serve(std::move(one), detail::handler_of(std::move(handler)), std::move(options));
}

}  // namespace duolu
