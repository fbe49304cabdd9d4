// epoll, level-triggered: the kernel keeps the registrations and reports only what is ready.
//
//   08_epoll_level_echo [--port 8080]
//
// Try: `nc localhost 8080`; or 15_multi_client with --port 8080; or `curl -m 2 --http0.9
// localhost:8080`, which waits for the server to close. Notice: what has come is sent back, and the
// connection turns from reading to writing and back; what comes meanwhile accumulates in the
// kernel. What one report leaves unread, the next one reports again: that is level-triggered.
#include <map>

#include "duolu/poll/backends.hpp"
#include "tutorial.hpp"

using namespace tutorial;
using duolu::Interest;

namespace {

struct Connection {
  duolu::Fd fd;
  std::string response = {};  // while there is some, nothing is read
};

/// The next step of a connection. False when it is over.
bool step(Connection& connection) {
  if (!connection.response.empty()) return send_some(connection.fd, connection.response);
  char bytes[4096];
  const ssize_t size = kernel.recv(connection.fd.get(), bytes, sizeof bytes, 0);
  if (size <= 0) return size == -EAGAIN;
  connection.response.assign(bytes, static_cast<std::size_t>(size));
  show(connection.response);
  return true;
}

}  // namespace

int main(int, char** argv) {
  const auto poller = duolu::make_poller(kernel, "epoll").value();
  const duolu::Fd listener = listen_on_localhost(number_after(argv, "--port", 8080));
  const duolu::Token door = poller->add(listener.get(), Interest::readable).value();
  for (std::map<duolu::Token, Connection> connections;;) {
    const auto batch = poller->wait(duolu::never).value();
    for (const duolu::Event& event : batch) {
      if (event.token == door) {
        const int fd = kernel.accept(listener.get(), nullptr, nullptr);
        if (fd >= 0)
          connections.try_emplace(poller->add(fd, Interest::readable).value(),
                                  duolu::Fd(kernel, fd));
        else if (fd == -EMFILE || fd == -ENFILE)  // then wait until somebody goes
          (void)poller->modify(door, Interest::none);
        continue;
      }
      Connection& connection = connections.at(event.token);
      if (!event.hangup() && step(connection)) {
        const bool reads = connection.response.empty();
        (void)poller->modify(event.token, reads ? Interest::readable : Interest::writable);
      } else {
        (void)poller->remove(event.token);  // before its descriptor is closed
        connections.erase(event.token);
        (void)poller->modify(door, Interest::readable);
      }
    }
  }
}
