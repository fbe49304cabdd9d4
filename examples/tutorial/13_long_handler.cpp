// Long handlers: one thread serves everybody, and one handler that computes takes it from all.
//
//   13_long_handler [--port 8080] [--offload]
//
// Try: `nc localhost 8080`, twice; say `work` in one, and anything in the other at once; then again
// with --offload. Notice: the loop says who held it for long, and for how long. With --offload
// another thread computes, co_await waits for it, and the loop serves the others meanwhile.
#include "duolu/loop/offload.hpp"
#include "duolu/net/reader.hpp"
#include "server.hpp"

using namespace tutorial;
using namespace std::chrono_literals;
using duolu::OffloadPool;
using duolu::Result;
using duolu::Stream;
using duolu::Task;

namespace {

/// Looks for prime numbers, for 200 ms.
int find_primes() {
  const duolu::Instant end = duolu::after(kernel.now(), 200ms);
  int found = 0;
  for (int number = 2; kernel.now() < end; ++number) {
    int divisor = 2;
    while (divisor * divisor <= number && number % divisor != 0) ++divisor;
    if (divisor * divisor > number) ++found;
  }
  return found;
}

// [conversation]
Task<Result<>> echo(Stream stream, OffloadPool* pool) {
  duolu::Reader reader(stream);
  for (;;) {
    const std::string_view line = co_await duolu::try_(reader.read_until("\n"));
    if (line.empty()) co_return {};  // the client has no more to say
    if (line == "work\n") {
      std::printf("computing\n");
      int found = 0;
      if (pool != nullptr)
        found = co_await duolu::try_(duolu::offload(*pool, find_primes));  // a thread of the pool
      else
        found = find_primes();  // this thread, the only one there is for everybody
      std::printf("found %d primes\n", found);
    }
    co_await duolu::try_(stream.write_all(line));
  }
}
// [/conversation]

}  // namespace

int main(int, char** argv) {
  const auto pool = given(argv, "--offload") ? OffloadPool::start(kernel, 2).value() : nullptr;
  const auto made = duolu::make_loop().value();
  duolu::Loop& loop = *made;
  // [watch]
  loop.watch_stalls(100ms, [](const duolu::Stall& stall) {
    const char* who = stall.origin.name != nullptr ? stall.origin.name : "something else";
    std::printf("stall: %s held the loop for %d ms, after a %s\n", who,
                static_cast<int>(stall.held / 1ms), to_string(stall.cause));
  });
  // [/watch]
  // The third is its name in reports.
  serve(loop, argv, "echo", [&](Stream stream) { return echo(std::move(stream), pool.get()); });
}
