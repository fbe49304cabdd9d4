// A server as it is deployed (docs/quick-start.md): it answers each line in upper case, closes
// connections that are silent for a minute, and serves no more than 10,000 at a time.
//   16_lines [ENDPOINT]        then:   nc localhost 5000
#include <algorithm>
#include <cctype>

#include "duolu/duolu.hpp"

namespace {

using namespace duolu;
using namespace std::chrono_literals;

constexpr Duration patience = 60s;
constexpr std::size_t longest_line = 4096;

Task<Result<>> upper(Stream client) {
  Reader lines(client, longest_line);
  for (;;) {
    std::string line(co_await try_(within(patience, lines.read_until("\n"))));
    if (line.empty()) co_return {};  // the end of the stream
    std::ranges::transform(line, line.begin(), [](unsigned char c) { return std::toupper(c); });
    co_await try_(within(patience, client.write_all(line)));  // or the client does not read
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run(serve(argc > 1 ? argv[1] : "localhost:5000", upper,
                   {.max_connections = 10'000, .grace = 10s}));
}
