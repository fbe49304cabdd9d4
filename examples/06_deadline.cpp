// A deadline for reading: within() cancels what takes too long, and nothing that was sent is lost.
//   06_deadline [BACKEND]
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <string_view>
#include <variant>

#include "duolu/duolu.hpp"

namespace {

using namespace duolu;
using namespace std::chrono_literals;

/// Thinks before it answers; the first time for too long.
Task<Result<>> answer(Stream client) {
  Duration thinking = 50ms;
  char question[64];
  while (const std::size_t size = co_await try_(client.read(question))) {
    co_await sleep(thinking);
    co_await try_(client.write_all(std::string_view(question, size)));
    thinking = Duration::zero();
  }
  co_return {};
}

Task<Result<std::size_t>> ask(Stream* server, std::string_view question, std::span<char> answer) {
  co_await try_(server->write_all(question));
  co_return co_await server->read(answer);
}

// [talk]
Task<Result<>> talk(Stream server) {
  char text[64];
  const Result<std::size_t> hasty = co_await within(5ms, ask(&server, "one", text));
  std::printf("within 5 ms: %s\n", hasty ? "an answer" : hasty.error().message().c_str());
  // The late answer is still there to be read. A single read needs no task of its own.
  const std::size_t late = co_await try_(within(30s, server.read(text)));
  std::printf("within 30 s: %.*s\n", static_cast<int>(late), text);
  // A deadline for everything inside, however many steps it has.
  const std::size_t next = co_await try_(within(30s, ask(&server, "two", text)));
  std::printf("asked again: %.*s\n", static_cast<int>(next), text);
  co_return {};
}
// [/talk]

/// The server and its client side by side: the first to end ends the other.
Task<Result<>> both() {
  Loop& loop = co_await this_loop();
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) co_return fail(errno);
  Stream server = co_await try_(Stream::open(loop, Fd(loop.kernel(), fds[0])));
  Stream client = co_await try_(Stream::open(loop, Fd(loop.kernel(), fds[1])));
  const auto first = co_await first_of(talk(std::move(client)), answer(std::move(server)));
  co_return std::visit([](const Result<>& ended) { return ended; }, first);
}

}  // namespace

int main(int argc, char** argv) { return run(both(), {.backend = argc > 1 ? argv[1] : "auto"}); }
