// poll: descriptors are registered once, each with what it waits for, instead of listed every time.
//
//   07_poll_echo [--port 8080]
//
// Try: `nc localhost 8080`, twice. Notice: the interest of a connection says what is missing:
// something to read, or room for what was read. The kernel still goes through all registrations in
// every call: poll has no limit of 1024, but its cost grows with the idle ones as select's does.
#include <map>

#include "duolu/poll/backends.hpp"
#include "tutorial.hpp"

using namespace tutorial;
using duolu::Interest;

namespace {

struct Client {
  duolu::Fd fd;
  std::string unsent = {};
};

/// Reads if nothing is left to send, and sends. False when the client has gone.
bool echo(Client& client) {
  if (client.unsent.empty()) {
    char buffer[4096];
    const ssize_t size = kernel.recv(client.fd.get(), buffer, sizeof buffer, 0);
    if (size <= 0) return size == -EAGAIN;
    client.unsent.assign(buffer, static_cast<std::size_t>(size));
  }
  return send_some(client.fd, client.unsent);
}

}  // namespace

int main(int, char** argv) {
  const auto poller = duolu::make_poller(kernel, "poll").value();
  const duolu::Fd listener = listen_on_localhost(number_after(argv, "--port", 8080));
  const duolu::Token door = poller->add(listener.get(), Interest::readable).value();
  std::map<duolu::Token, Client> clients;
  for (;;) {
    const auto batch = poller->wait(duolu::never).value();
    for (const duolu::Event& event : batch) {
      if (event.token == door) {
        const int fd = kernel.accept(listener.get(), nullptr, nullptr);
        if (fd >= 0)
          clients.try_emplace(poller->add(fd, Interest::readable).value(), duolu::Fd(kernel, fd));
        else if (fd == -EMFILE || fd == -ENFILE)  // then wait until somebody goes
          (void)poller->modify(door, Interest::none);
        continue;
      }
      Client& client = clients.at(event.token);
      if (echo(client)) {
        const bool sent_all = client.unsent.empty();
        (void)poller->modify(event.token, sent_all ? Interest::readable : Interest::writable);
      } else {
        (void)poller->remove(event.token);  // before its descriptor is closed
        clients.erase(event.token);
        (void)poller->modify(door, Interest::readable);
      }
    }
  }
}
