// UDP: gives every datagram back to whoever sent it. One socket serves all of them.
//   11_datagram [BACKEND]        then, with the port it prints:   nc -u 127.0.0.1 PORT
#include <cstdio>
#include <vector>

#include "duolu/duolu.hpp"

namespace {

using namespace duolu;

constexpr std::size_t longest = 65'535;  // no datagram of IPv4 has more

Task<Result<>> echo() {
  Loop& loop = co_await this_loop();
  const Endpoint anywhere = parse_endpoint("127.0.0.1:0").value();
  const std::vector<Address> addresses = co_await try_(resolve(loop.kernel(), anywhere));
  Datagram socket = co_await try_(Datagram::open(loop, addresses.front()));
  std::printf("listening on 127.0.0.1, port %d\n", socket.address().port());
  std::fflush(stdout);
  std::vector<char> buffer(longest);
  for (;;) {
    const Received got = co_await try_(socket.receive(buffer));
    // That it could not be sent (nobody is there any more, the queue is full) is as if it had been
    // lost on the way, for which who uses datagrams is prepared.
    const std::string_view text(buffer.data(), got.size);
    (void)co_await socket.send(text, got.from);
  }
}

}  // namespace

int main(int argc, char** argv) { return run(echo(), {.backend = argc > 1 ? argv[1] : "auto"}); }
