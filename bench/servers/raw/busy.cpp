// raw_busy PORT: calls that do not block, over all connections again and again. Nothing waits, so
// it uses a whole processor even if nothing happens.
#include <vector>

#include "../echo.hpp"
#include "../servers.hpp"

namespace {

using bench::Next;

struct Connection {
  int fd;
  bool writes;  // has unsent bytes
};

}  // namespace

int bench::raw_busy(int argc, char** argv) {
  const int listener = bench::listen_on(bench::start(argc, argv).port, SOCK_NONBLOCK);
  std::vector<Connection> connections;
  for (;;) {
    for (int client; (client = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;)
      connections.push_back({client, false});
    for (std::size_t i = connections.size(); i-- > 0;) {
      Connection& connection = connections[i];
      bool drained = true;
      const Next next = connection.writes ? bench::send_unsent(connection.fd)
                                          : bench::echo_once(connection.fd, drained);
      connection.writes = next == Next::write;
      if (next != Next::end) [[likely]]
        continue;
      bench::close_connection(connection.fd);
      connection = connections.back();
      connections.pop_back();
    }
  }
}
