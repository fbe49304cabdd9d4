// The same echo server in coroutines: each connection is a function that reads like a blocking one.
//   05_coroutine_echo [BACKEND]        then, with the port it prints:   nc 127.0.0.1 PORT
#include <cstdio>
#include <utility>

#include "duolu/loop/scope.hpp"
#include "duolu/net/listener.hpp"
#include "duolu/poll/backends.hpp"

namespace {

using namespace duolu;

// [echo]
Task<Result<>> echo(Stream stream) {
  // try_ ends this coroutine when there is an error, and with it the connection. A lease lends a
  // buffer of the engine's: who waits has none.
  while (Lease lease = co_await try_(stream.read_lease()))
    co_await try_(stream.write_all(std::move(lease)));
  co_return {};
}
// [/echo]

/// Until it is cancelled: an Acceptor passes over what ends one connection, and waits when there
/// are no descriptors.
Task<> serve(Acceptor* acceptor, Scope* scope) {
  while (Result<Stream> stream = co_await acceptor->next()) scope->spawn(echo(std::move(*stream)));
}

}  // namespace

int main(int argc, char** argv) {
  const auto poller = make_poller(real_kernel(), argc > 1 ? argv[1] : "auto").value();
  const auto engine = make_readiness_engine(*poller);
  Loop loop(*engine);
  const Endpoint anywhere = parse_endpoint("127.0.0.1:0").value();
  Listener listener =
      Listener::open(loop, resolve(real_kernel(), anywhere).value().front()).value();
  std::printf("listening on 127.0.0.1, port %d\n", listener.address().port());
  std::fflush(stdout);
  Acceptor acceptor(loop, listener);
  loop.run(with_scope([&](Scope& scope) { return serve(&acceptor, &scope); }));
}
