// Coroutines: a conversation is one function again, as in 01, and one thread still serves
// everybody.
//
//   12_coroutines [--port 8080] [--work-ms 0]
//
// Try: `nc localhost 8080`, twice; then --work-ms 2000, and say `work` in one of them. Notice: at
// co_await the function sleeps, not the thread; its variables stay where they are. Who computes
// instead of waiting gives nobody else a turn: nothing that blocks or computes long belongs here.
#include "duolu/loop/scope.hpp"
#include "duolu/net/stream.hpp"
#include "duolu/poll/backends.hpp"
#include "tutorial.hpp"

using namespace tutorial;
using namespace std::chrono_literals;
using duolu::Result;
using duolu::Stream;
using duolu::Task;

namespace {

/// Keeps the processor for so long, as something that computes does.
void compute(duolu::Duration span) {
  const duolu::Instant end = duolu::after(kernel.now(), span);
  std::printf("computing\n");
  while (kernel.now() < end) continue;
}

// [conversation]
Task<Result<>> echo(Stream stream, duolu::Duration work) {
  char buffer[4096];
  // try_ ends this coroutine when there is an error, and with it the connection.
  while (const std::size_t size = co_await duolu::try_(stream.read(buffer))) {
    const std::string_view message(buffer, size);
    if (work > 0ms && message.starts_with("work")) compute(work);
    co_await duolu::try_(stream.write_all(message));
  }
  co_return {};
}
// [/conversation]

Task<> handle(Stream stream, duolu::Duration work) {
  (void)co_await echo(std::move(stream), work);  // an error ends this client, and nobody else
}

Task<> serve(duolu::Loop* loop, duolu::Listener* listener, duolu::Scope* scope,
             duolu::Duration work) {
  for (;;) {
    Result<Stream> stream = co_await listener->accept();
    if (stream)
      scope->spawn(handle(std::move(*stream), work));
    else
      (void)co_await loop->sleep_for(100ms);  // no descriptor is left: until somebody has gone
  }
}

}  // namespace

int main(int, char** argv) {
  const auto poller = duolu::make_poller(kernel).value();
  const auto engine = duolu::make_readiness_engine(*poller);
  duolu::Loop loop(*engine);
  auto listener = duolu::Listener::open(loop, localhost(number_after(argv, "--port", 8080)));
  if (!listener) fail("cannot listen on localhost", listener.error().value());
  std::printf("starting up on localhost port %d\n", listener->address().port());
  const auto work = std::chrono::milliseconds(number_after(argv, "--work-ms", 0));
  loop.run(duolu::with_scope(
      [&](duolu::Scope& scope) { return serve(&loop, &*listener, &scope, work); }));
}
