// The same echo server in coroutines: each connection is a function that reads like a blocking one.
//   05_coroutine_echo [BACKEND]        then, with the port it prints:   nc 127.0.0.1 PORT
#include <cstdio>
#include <utility>

#include "duolu/duolu.hpp"

namespace {

using namespace duolu;

// [echo]
Task<Result<>> echo(Stream stream) {
  // try_ ends this coroutine when there is an error, and with it the connection. A lease lends a
  // buffer of the engine's: a task that waits has none.
  while (Lease lease = co_await try_(stream.read_lease()))
    co_await try_(stream.write_all(std::move(lease)));
  co_return {};
}
// [/echo]

void print_port(const ServeEvent& event) {
  if (event.kind != ServeEvent::Kind::listening) return;
  std::printf("listening on 127.0.0.1, port %d\n", event.address.port());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  return run(serve("127.0.0.1:0", echo, {.report = print_port}),
             {.backend = argc > 1 ? argv[1] : "auto"});
}
