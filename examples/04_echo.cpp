// An echo server for any number of connections that needs no buffers: bytes are looked at with
// MSG_PEEK, and leave the kernel only when the client has taken them back. Ends with its input.
#include <netinet/in.h>

#include <cerrno>
#include <cstdio>

#include "duolu/poll/backends.hpp"

using duolu::Interest;

namespace {

/// Echoes what can be echoed now. False when the connection is over.
bool echo(duolu::Poller& poller, const duolu::Event& event) {
  duolu::Kernel& kernel = poller.kernel();
  const int fd = static_cast<int>(event.data);
  char bytes[4096];
  const ssize_t seen = kernel.recv(fd, bytes, sizeof bytes, MSG_PEEK);
  if (seen == 0 || (seen < 0 && seen != -EAGAIN)) return false;
  ssize_t sent = 0;
  if (seen > 0) {
    sent = kernel.send(fd, bytes, static_cast<std::size_t>(seen), MSG_NOSIGNAL);
    if (sent < 0 && sent != -EAGAIN) return false;
    if (sent > 0) (void)kernel.recv(fd, bytes, static_cast<std::size_t>(sent), 0);
  }
  // Backpressure: while the client takes nothing, wait for that instead of for more. Where nothing
  // changes, modify() costs no system call.
  const bool stuck = seen > 0 && sent < 0;
  (void)poller.modify(event.token, stuck ? Interest::writable : Interest::readable);
  return true;
}

int listen_on_loopback(duolu::Kernel& kernel) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* name = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  const int fd = kernel.socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || kernel.bind(fd, name, size) < 0 || kernel.listen(fd, 128) < 0 ||
      kernel.getsockname(fd, name, &size) < 0)
    return -1;
  std::printf("listening on port %d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  duolu::Kernel& kernel = duolu::real_kernel();
  const auto poller = duolu::make_poller(kernel, argc > 1 ? argv[1] : "auto").value();
  const duolu::Fd door(kernel, listen_on_loopback(kernel));
  const duolu::Token input = poller->add(0, Interest::readable).value();
  const duolu::Token listener = poller->add(door.get(), Interest::readable).value();
  for (;;) {
    const auto batch = poller->wait(duolu::never).value();
    for (const duolu::Event& event : batch) {
      if (event.token == input) return 0;
      if (event.token == listener) {
        const int client = kernel.accept(door.get(), nullptr, nullptr);
        if (client >= 0 && !poller->add(client, Interest::readable, duolu::Trigger::level,
                                        static_cast<std::uint64_t>(client)))
          kernel.close(client);
        // Out of descriptors, or worse: until a client has gone.
        if (client < 0 && client != -EAGAIN && client != -ECONNABORTED && poller->size() > 2)
          (void)poller->modify(listener, Interest::none);
      } else if (!echo(*poller, event)) {
        (void)poller->remove(event.token);
        kernel.close(static_cast<int>(event.data));
        (void)poller->modify(listener, Interest::readable);
      }
    }
  }
}
