// A deadline for reading: within() cancels what takes too long, and nothing that was sent is lost.
//   06_deadline [BACKEND]
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <string_view>

#include "duolu/loop/scope.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/net/stream.hpp"
#include "duolu/poll/backends.hpp"

namespace {

using namespace duolu;
using namespace std::chrono_literals;

/// Thinks before it answers; the first time for too long.
Task<Result<>> answer(Loop* loop, Stream client) {
  Duration thinking = 50ms;
  char question[64];
  while (const std::size_t size = co_await try_(client.read(question))) {
    const bool thought = co_await loop->sleep_for(thinking);
    if (!thought) co_return fail(ECANCELED);
    co_await try_(client.write_all(std::string_view(question, size)));
    thinking = Duration::zero();
  }
  co_return {};
}
Task<> serve(Loop* loop, Stream client) { (void)co_await answer(loop, std::move(client)); }

Task<Result<std::size_t>> ask(Stream* server, std::string_view question, std::span<char> answer) {
  co_await try_(server->write_all(question));
  co_return co_await server->read(answer);
}

Task<Result<>> talk(Loop* loop, Stream server) {
  char text[64];
  const Result<std::size_t> hasty = co_await within(*loop, 5ms, ask(&server, "one", text));
  std::printf("within 5 ms: %s\n", hasty ? "an answer" : hasty.error().message().c_str());
  // The late answer is still there to be read. A single read needs no task of its own.
  const std::size_t late = co_await try_(within(*loop, 30s, server.read(text)));
  std::printf("within 30 s: %.*s\n", static_cast<int>(late), text);
  // A deadline for everything inside, however many steps it has.
  const std::size_t next = co_await try_(within(*loop, 30s, ask(&server, "two", text)));
  std::printf("asked again: %.*s\n", static_cast<int>(next), text);
  co_return {};
}

Task<> talk_and_print(Loop* loop, Stream server) {
  const Result<> talked = co_await talk(loop, std::move(server));
  if (!talked) std::printf("%s\n", talked.error().message().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  const auto poller = make_poller(real_kernel(), argc > 1 ? argv[1] : "auto").value();
  const auto engine = make_readiness_engine(*poller);
  Loop loop(*engine);
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) return 1;
  Stream a = Stream::open(loop, Fd(real_kernel(), fds[0])).value();
  Stream b = Stream::open(loop, Fd(real_kernel(), fds[1])).value();
  loop.run(with_scope([&](Scope& scope) {
    scope.spawn(serve(&loop, std::move(a)));
    return talk_and_print(&loop, std::move(b));
  }));
}
