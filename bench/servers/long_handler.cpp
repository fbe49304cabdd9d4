// long_handler PORT none|here|offload: an echo server with a task that computes for 200 ms in every
// second: not at all, on the loop's thread, or on a thread of a pool. At the end it prints to
// standard error which task the loop's watchdog has found.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "duolu/loop/offload.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/loop/signals.hpp"
#include "duolu/net/listener.hpp"
#include "echo.hpp"

namespace {

using namespace duolu;
using namespace std::chrono_literals;

constexpr Duration computing = 200ms;
constexpr Duration period = 1s;

/// Uses a processor for a fixed time. A fixed count would take a time that depends on the machine.
int compute() {
  const Instant end = after(real_kernel().now(), computing);
  int rounds = 0;
  while (real_kernel().now() < end) ++rounds;
  return rounds;
}

Task<Result<>> echo(Stream stream) {
  while (Lease lease = co_await try_(stream.read_lease()))
    co_await try_(stream.write_all(std::move(lease)));
  co_return {};
}

Task<> accept_all(Listener* listener, Scope* scope) {
  while (Result<Stream> stream = co_await listener->accept())
    scope->spawn(echo(std::move(*stream)), "echo");
}

Task<> compute_every_second(Loop* loop, OffloadPool* pool) {
  for (;;) {
    const bool slept = co_await loop->sleep_for(period);
    if (!slept) co_return;
    if (pool == nullptr)
      (void)compute();
    else
      (void)co_await offload(*pool, compute);
  }
}

Task<> until_told_to_end(Loop* loop, Scope* scope) {
  Signals signals(*loop, {SIGTERM});
  (void)co_await signals.next();
  scope->cancel();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view how = argc > 2 ? argv[2] : "";
  if (how != "none" && how != "here" && how != "offload")
    bench::usage(argv[0], "PORT none|here|offload");
  bench::prepare();
  const auto pool = how == "offload" ? OffloadPool::start(real_kernel(), 1).value() : nullptr;
  const auto made = make_loop().value();
  Loop& loop = *made;
  const Endpoint endpoint = parse_endpoint("127.0.0.1:" + std::string(argv[1])).value();
  Listener listener =
      Listener::open(loop, resolve(real_kernel(), endpoint).value().front()).value();
  int stalls = 0;
  std::string who = "nobody";
  loop.watch_stalls(100ms, [&](const Stall& stall) {
    ++stalls;
    who = stall.origin.name != nullptr ? stall.origin.name : "?";
  });
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    scope.spawn(accept_all(&listener, &scope), "accept");
    if (how != "none") scope.spawn(compute_every_second(&loop, pool.get()), "compute");
    co_await until_told_to_end(&loop, &scope);
  }));
  std::fprintf(stderr, "%d stalls, by %s\n", stalls, who.c_str());
}
