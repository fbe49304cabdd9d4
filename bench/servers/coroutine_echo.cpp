// A coroutine for each connection, which holds its buffer: examples/05_coroutine_echo.cpp with the
// size of buffer that all servers here have. On the real kernel: coroutine_echo_main.cpp; on a
// scripted one: ../scripted_cost.cpp.
#include "coroutine_echo.hpp"

#include <cstdlib>
#include <string>
#include <utility>

#include "duolu/loop/scope.hpp"
#include "duolu/net/stream.hpp"
#include "duolu/poll/backends.hpp"
#include "echo.hpp"

namespace {

using namespace duolu;

template <std::size_t Size>
Task<Result<>> echo(Stream stream) {
  char buffer[Size];
  while (const std::size_t size = co_await try_(stream.read(buffer)))
    co_await try_(stream.write_all(std::string_view(buffer, size)));
  co_return {};
}

template <std::size_t Size>
Task<> handle(Stream stream) {
  (void)co_await echo<Size>(std::move(stream));  // whose end closes it
  bench::closed();
}

Task<> serve(Loop* loop, Listener* listener, Scope* scope, bool small) {
  for (;;) {
    Result<Stream> stream = co_await listener->accept();
    if (stream)
      scope->spawn(small ? handle<bench::small_buffer_size>(std::move(*stream))
                         : handle<bench::buffer_size>(std::move(*stream)));
    else  // no descriptors, for one; it would fail again at once
      co_await loop->sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace

void bench::serve_coroutine_echo(Kernel& kernel, int port, std::string_view backend,
                                 std::string_view buffer_kind) {
  const auto poller = make_poller(kernel, backend).value();
  const auto engine = make_readiness_engine(*poller);
  Loop loop(*engine);
  const Endpoint endpoint = parse_endpoint("127.0.0.1:" + std::to_string(port)).value();
  Listener listener = Listener::open(loop, resolve(kernel, endpoint).value().front()).value();
  loop.run(with_scope(
      [&](Scope& scope) { return serve(&loop, &listener, &scope, buffer_kind == "small"); }));
  std::abort();  // serve() never ends
}
