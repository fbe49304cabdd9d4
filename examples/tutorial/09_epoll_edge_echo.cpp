// epoll, edge-triggered: a report comes when something changes, and not again while it lasts.
//
//   09_epoll_edge_echo [--port 8080] [--forget-to-drain]
//
// Try: as with 08; then with --forget-to-drain `(seq 9999; echo) | nc localhost 8080`. Notice what
// has changed: accept, recv and send are repeated until the kernel says "not now" (EAGAIN). Who
// stops sooner is not told of the rest: that client waits for ever.
#include <map>

#include "duolu/poll/backends.hpp"
#include "tutorial.hpp"

using namespace tutorial;
using duolu::Interest;
using duolu::Trigger;

namespace {

constexpr std::size_t longest_request = 4 << 20;  // bytes: what peers make grow has a limit

struct Connection {
  duolu::Fd fd;
  std::string request = {};
  std::string response = {};  // while there is some, nothing is read
};

/// Reads all there is (or only once, which is the mistake). False when the connection is over.
bool receive(Connection& connection, bool only_once) {
  const std::size_t known = connection.request.size();
  ssize_t size = 0;
  do {
    char bytes[4096];
    size = kernel.recv(connection.fd.get(), bytes, sizeof bytes, 0);
    if (size < 0 && size != -EAGAIN) return false;
    if (size > 0) connection.request.append(bytes, static_cast<std::size_t>(size));
  } while (size > 0 && !only_once && connection.request.size() <= longest_request);
  connection.response = take_requests(connection.request, known);
  // At the end of the stream there may be one more response to send.
  if (size == 0) return !connection.response.empty();
  return connection.request.size() <= longest_request;
}

/// Writes until all is sent, or until there is no room: the next report says that there is.
bool respond(Connection& connection) {
  std::size_t before = 0;
  do {
    before = connection.response.size();
    if (!send_some(connection.fd, connection.response)) return false;
  } while (!connection.response.empty() && connection.response.size() < before);
  return true;
}

}  // namespace

int main(int, char** argv) {
  const auto poller = duolu::make_poller(kernel, "epoll").value();
  const duolu::Fd listener = listen_on_localhost(number_after(argv, "--port", 8080));
  const duolu::Token door = poller->add(listener.get(), Interest::readable, Trigger::edge).value();
  for (std::map<duolu::Token, Connection> connections;;) {
    const auto batch = poller->wait(duolu::never).value();
    for (const duolu::Event& event : batch) {
      if (event.token == door) {
        for (int fd; (fd = kernel.accept(listener.get(), nullptr, nullptr)) >= 0;)
          connections.try_emplace(poller->add(fd, Interest::readable, Trigger::edge).value(),
                                  duolu::Fd(kernel, fd));
        continue;
      }
      Connection& connection = connections.at(event.token);
      const bool reads = connection.response.empty();
      if (event.hangup() ||
          !(reads ? receive(connection, given(argv, "--forget-to-drain")) : respond(connection))) {
        (void)poller->remove(event.token);  // before its descriptor is closed
        connections.erase(event.token);
        (void)poller->modify(door, Interest::readable);   // once more: now there is a descriptor
      } else if (reads != connection.response.empty()) {  // what is wanted anew is reported anew
        (void)poller->modify(event.token, reads ? Interest::writable : Interest::readable);
      }
    }
  }
}
