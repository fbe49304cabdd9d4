// epoll, edge-triggered: a report comes when something changes, and not again while it lasts.
//
//   09_epoll_edge_echo [--port 8080] [--forget-to-drain]
//
// Try: as with 08; then with --forget-to-drain `seq 9999 | nc localhost 8080`. Notice what has
// changed: both directions are registered once, and accept, recv and send are repeated until the
// kernel says "not now" (EAGAIN). A program that stops sooner is not told of the rest: that client
// waits for ever.
#include <map>

#include "duolu/poll/backends.hpp"
#include "tutorial.hpp"

using namespace tutorial;
using duolu::Interest;
using duolu::Trigger;

namespace {

struct Connection {
  duolu::Fd fd;
  std::string response = {};  // while there is some, nothing is read
};

/// Sends back all that has come (or reads only once, which is the mistake). False when the
/// connection is over.
bool step(Connection& connection, bool only_once) {
  for (bool more = true;; more = !only_once) {
    for (std::string& response = connection.response; !response.empty();) {
      const std::size_t before = response.size();
      if (!send_some(connection.fd, response)) return false;
      if (response.size() == before) return true;  // no room: the next report says that there is
    }
    if (!more) return true;
    char bytes[4096];
    const ssize_t size = kernel.recv(connection.fd.get(), bytes, sizeof bytes, 0);
    if (size <= 0) return size == -EAGAIN;
    connection.response.assign(bytes, static_cast<std::size_t>(size));
    show(connection.response);
  }
}

}  // namespace

int main(int, char** argv) {
  const auto poller = duolu::make_poller(kernel, "epoll").value();
  const duolu::Fd listener = listen_on_localhost(number_after(argv, "--port", 8080));
  const duolu::Token door = poller->add(listener.get(), Interest::readable, Trigger::edge).value();
  const Interest both = Interest::readable | Interest::writable;
  for (std::map<duolu::Token, Connection> connections;;) {
    const auto batch = poller->wait(duolu::never).value();
    for (const duolu::Event& event : batch) {
      if (event.token == door) {
        for (int fd; (fd = kernel.accept(listener.get(), nullptr, nullptr)) >= 0;)
          connections.try_emplace(poller->add(fd, both, Trigger::edge).value(),
                                  duolu::Fd(kernel, fd));
        continue;
      }
      Connection& connection = connections.at(event.token);
      if (event.hangup() || !step(connection, given(argv, "--forget-to-drain"))) {
        (void)poller->remove(event.token);  // before its descriptor is closed
        connections.erase(event.token);
        (void)poller->modify(door, Interest::readable);  // once more: now there is a descriptor
      }
    }
  }
}
