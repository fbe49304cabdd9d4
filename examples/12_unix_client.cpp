// A client: sends each argument as a line, and prints the lines that come back.
//   12_unix_client unix:///tmp/socket LINE...        also: 127.0.0.1:5000 LINE...
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "duolu/duolu.hpp"

namespace {

using namespace duolu;

Task<Result<>> say(Stream* stream, std::vector<std::string> lines) {
  for (const std::string& line : lines) co_await try_(stream->write_all(line, "\n"));
  co_return stream->close_writing();  // tells the server that this was all
}

Task<Result<>> print(Stream* stream) {
  Reader reader(*stream);
  for (;;) {
    const std::string_view line = co_await try_(reader.read_until("\n"));
    if (line.empty()) co_return {};  // the server has closed
    std::printf("%.*s", static_cast<int>(line.size()), line.data());
  }
}

/// Side by side: a server that answers at once may wait for its answers to be read before it reads
/// on. One after the other, both would wait for ever.
Task<> say_and_print(Scope* scope, Stream* stream, std::vector<std::string> lines,
                     Result<>* printed) {
  scope->spawn(say(stream, std::move(lines)));
  *printed = co_await print(stream);
  scope->cancel();  // nobody answers any more
}

Task<Result<>> talk(std::string endpoint, std::vector<std::string> lines) {
  Stream stream = co_await try_(connect(std::move(endpoint)));
  Result<> printed;
  co_await with_scope(
      [&](Scope& scope) { return say_and_print(&scope, &stream, std::move(lines), &printed); });
  co_return printed;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: 12_unix_client ENDPOINT LINE...\n");
    return 2;
  }
  return run(talk(argv[1], std::vector<std::string>(argv + 2, argv + argc)));
}
