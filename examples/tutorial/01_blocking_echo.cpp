// One thread and blocking calls: one client at a time.
//
//   01_blocking_echo [--port 8888] [--no-reply]
//
// Try: `nc localhost 8888` in two terminals, and type into both. Notice: the second client is
// connected at once, by the kernel, which keeps it in the listener's queue; but nobody reads what
// it says until the first one is gone. Each call waits for one thing, so the program waits for one.
#include <fcntl.h>

#include <cerrno>

#include "tutorial.hpp"

using namespace tutorial;

namespace {

/// Blocks until the kernel has taken everything. MSG_NOSIGNAL: a client that has gone is an error
/// to handle, and not the end of this program by SIGPIPE.
bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0)
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    else if (errno != EINTR)
      return false;
  }
  return true;
}

/// Talks with one client until it closes.
void serve(int fd, const std::string& name, bool replies) {
  char buffer[4096];
  for (;;) {
    const ssize_t size = recv(fd, buffer, sizeof buffer, 0);  // blocks
    if (size < 0 && errno == EINTR) continue;                 // a signal came, not data
    if (size <= 0) return;                                    // it closed, or was reset
    const std::string_view bytes(buffer, static_cast<std::size_t>(size));
    std::printf("received \"%s\" from %s\n", printable(bytes).c_str(), name.c_str());
    if (replies && !send_all(fd, bytes)) return;
  }
}

}  // namespace

int main(int, char** argv) {
  const duolu::Fd listener = listen_on_localhost(number_after(argv, "--port", 8888));
  (void)fcntl(listener.get(), F_SETFL, 0);  // duolu's descriptors do not block; here they shall
  for (;;) {
    duolu::Address peer;
    const int fd = accept(listener.get(), peer.data(), peer.size_slot());  // blocks
    if (fd < 0 && errno != EINTR && errno != ECONNABORTED) fail("accept", errno);
    if (fd < 0) continue;
    const duolu::Fd client(kernel, fd);
    const std::string name = name_of(peer);
    std::printf("new connection from %s\n", name.c_str());
    serve(client.get(), name, !given(argv, "--no-reply"));
    std::printf("closing %s\n", name.c_str());
  }
}
