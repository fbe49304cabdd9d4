// Coroutines: a conversation is one function again, as in 01, and one thread still serves
// everybody.
//
//   12_coroutines [--port 8080]
//
// Try: `nc localhost 8080`, twice. Notice: at co_await the function sleeps, not the thread; its
// variables stay where they are. Who computes instead of waiting gives nobody else a turn: nothing
// that blocks or computes long belongs here.
#include "duolu/loop/scope.hpp"
#include "duolu/net/listener.hpp"
#include "tutorial.hpp"

using namespace tutorial;
using duolu::Result;
using duolu::Stream;
using duolu::Task;

namespace {

Task<Result<>> echo(Stream stream) {
  char buffer[4096];
  // try_ ends this coroutine when there is an error, and with it the connection.
  while (const std::size_t size = co_await duolu::try_(stream.read(buffer)))
    co_await duolu::try_(stream.write_all(buffer, size));
  co_return {};
}

Task<> serve(duolu::Listener* listener, duolu::Scope* scope) {
  // When no descriptor is left it tries again after a while: 100 ms, doubled up to 1 s.
  while (Result<Stream> stream = co_await listener->accept())
    scope->spawn(echo(std::move(*stream)));  // an error ends this client, and nobody else
}

}  // namespace

int main(int, char** argv) {
  const auto made = duolu::make_loop().value();
  duolu::Loop& loop = *made;
  auto listener = duolu::Listener::open(loop, localhost(number_after(argv, "--port", 8080)));
  if (!listener) fail("cannot listen on localhost", listener.error().value());
  std::printf("starting up on localhost port %d\n", listener->address().port());
  loop.run(duolu::with_scope([&](duolu::Scope& scope) { return serve(&*listener, &scope); }));
}
