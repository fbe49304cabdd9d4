// A coroutine for each connection, as in examples/05_coroutine_echo.cpp: with a buffer lent to it
// while it has something to echo, or with its own one, of the size that all servers here use. On
// the real kernel: coroutine_echo_main.cpp; on a scripted one: ../scripted_cost.cpp.
#include "coroutine_echo.hpp"

#include <cstdlib>
#include <string>
#include <utility>

#include "duolu/engine/engines.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/net/listener.hpp"
#include "echo.hpp"

namespace {

using namespace duolu;

/// Counts the connection when its coroutine ends, in whatever way.
struct CountsEnd {
  CountsEnd() = default;
  CountsEnd(const CountsEnd&) = delete;
  CountsEnd& operator=(const CountsEnd&) = delete;
  ~CountsEnd() { bench::closed(); }
};

Task<Result<>> echo(Stream stream) {
  const CountsEnd counted;
  while (Lease lease = co_await try_(stream.read_lease()))
    co_await try_(stream.write_all(std::move(lease)));
  co_return {};
}

Task<Result<>> echo_with_own_buffer(Stream stream) {
  const CountsEnd counted;
  char buffer[bench::buffer_size];
  while (const std::size_t size = co_await try_(stream.read(buffer)))
    co_await try_(stream.write_all(buffer, size));
  co_return {};
}

Task<> serve(Listener* listener, Scope* scope, bool lent) {
  while (Result<Stream> stream = co_await listener->accept())
    scope->spawn(lent ? echo(std::move(*stream)) : echo_with_own_buffer(std::move(*stream)));
}

}  // namespace

void bench::serve_coroutine_echo(Kernel& kernel, int port, std::string_view backend,
                                 std::string_view buffer_kind) {
  const auto engine = make_engine(kernel, backend).value();
  Loop loop(*engine);
  Listener listener =
      (bench::given_listener >= 0 ? Listener::open(loop, Fd(kernel, bench::given_listener))
                                  : Listener::open(loop, "127.0.0.1:" + std::to_string(port)))
          .value();
  loop.run(
      with_scope([&](Scope& scope) { return serve(&listener, &scope, buffer_kind != "own"); }));
  std::abort();  // serve() never ends
}
