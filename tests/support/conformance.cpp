#include "support/conformance.hpp"

#include <netinet/in.h>

namespace duolu::test {

Pair tcp_pair() {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  if (listener < 0 || ::bind(listener, generic, size) != 0 || ::listen(listener, 8) != 0 ||
      ::getsockname(listener, generic, &size) != 0)
    std::abort();
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (client < 0 || ::connect(client, generic, size) != 0) std::abort();
  const int server = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (server < 0 || ::fcntl(client, F_SETFL, O_NONBLOCK) != 0) std::abort();
  ::close(listener);
  return {Fd(real_kernel(), client), Fd(real_kernel(), server)};
}

}  // namespace duolu::test
