// A TCP proxy. What one side sends goes to the other, and so does its half-close; a pair on which
// nothing moves for a minute ends, and on SIGTERM those that are there have time to finish.
//   17_proxy LISTEN TARGET     for example:   17_proxy localhost:8080 localhost:5000
#include <cstdio>
#include <variant>

#include "duolu/duolu.hpp"

namespace {

using namespace duolu;
using namespace std::chrono_literals;

constexpr Duration patience = 60s;

Task<Result<>> pass(Stream* from, Stream* to, Instant* active) {
  Loop& loop = co_await this_loop();
  while (Lease bytes = co_await try_(from->read_lease())) {
    co_await try_(to->write_all(std::move(bytes)));
    *active = loop.kernel().now();
  }
  co_return to->close_writing();
}

// [idle]
/// Ends when neither direction has moved for so long.
Task<Result<>> idle(const Instant* active) {
  Loop& loop = co_await this_loop();
  while (loop.kernel().now() < after(*active, patience))
    co_await sleep_until(after(*active, patience));
  co_return fail(ETIMEDOUT);
}
// [/idle]

Task<Result<>> proxy(Stream client, std::string target) {
  Stream server = co_await try_(within(10s, connect(std::move(target))));
  Instant active = (co_await this_loop()).kernel().now();
  auto both = with_scope(fail_fast, [&](Scope& scope) {  // an error ends both
    scope.spawn(pass(&client, &server, &active));
    return pass(&server, &client, &active);
  });
  const auto first = co_await first_of(std::move(both), idle(&active));
  co_return std::visit([](const Result<>& ended) { return ended; }, first);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fputs("usage: 17_proxy LISTEN TARGET\n", stderr), 2;
  return run(serve(argv[1], [target = std::string(argv[2])](Stream client) {
    return proxy(std::move(client), target);
  }));
}
