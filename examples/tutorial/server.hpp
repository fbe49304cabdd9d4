// What 12 shows, for the programs after it: a loop that accepts, and has a task for each client.
#pragma once

#include <utility>

#include "duolu/loop/scope.hpp"
#include "duolu/net/listener.hpp"
#include "tutorial.hpp"

namespace tutorial {

template <class Handle>
duolu::Task<> accept_all(duolu::Listener* listener, duolu::Scope* scope, const char* name,
                         Handle handle) {
  while (duolu::Result<duolu::Stream> stream = co_await listener->accept())
    scope->spawn(handle(std::move(*stream)), name);
}

/// Serves for ever, at the port after --port or else 8080: spawns the task `handle(stream)` for
/// each client, which has this name in reports.
template <class Handle>
void serve(duolu::Loop& loop, char** argv, const char* name, Handle handle) {
  auto listener = duolu::Listener::open(loop, localhost(number_after(argv, "--port", 8080)));
  if (!listener) fail("cannot listen on localhost", listener.error().value());
  std::printf("starting up on localhost port %d\n", listener->address().port());
  loop.run(duolu::with_scope([&](duolu::Scope& scope) {
    return accept_all(&*listener, &scope, name, std::move(handle));
  }));
}

}  // namespace tutorial
