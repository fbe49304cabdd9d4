// UDP: gives every datagram back to whoever sent it. One socket serves all of them.
//   11_datagram [BACKEND]        then, with the port it prints:   nc -u 127.0.0.1 PORT
#include <cstdio>
#include <vector>

#include "duolu/net/datagram.hpp"
#include "duolu/poll/backends.hpp"

namespace {

using namespace duolu;

constexpr std::size_t longest = 65'535;  // no datagram of IPv4 has more

Task<Result<>> echo(Datagram socket) {
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

int main(int argc, char** argv) {
  const auto poller = make_poller(real_kernel(), argc > 1 ? argv[1] : "auto").value();
  const auto engine = make_readiness_engine(*poller);
  Loop loop(*engine);
  const Endpoint anywhere = parse_endpoint("127.0.0.1:0").value();
  Datagram socket = Datagram::open(loop, resolve(real_kernel(), anywhere).value().front()).value();
  std::printf("listening on 127.0.0.1, port %d\n", socket.address().port());
  std::fflush(stdout);
  const Result<> ended = loop.run(echo(std::move(socket)));
  std::fprintf(stderr, "%s\n", ended.error().message().c_str());
  return 1;
}
