// select(2) in its classic shape, without fd_set and its limit of 1024: three lists in, three out.
#include <arpa/inet.h>
#include <sys/socket.h>

#include <array>
#include <cstdio>
#include <map>
#include <string>

#include "duolu/kernel/fd.hpp"
#include "duolu/poll/select.hpp"

namespace {

using Names = std::map<int, std::string>;

void print(const char* list, const std::vector<int>& fds, const Names& names) {
  std::printf("  %-12s", list);
  for (const int fd : fds) std::printf(" %s", names.at(fd).c_str());
  std::printf("%s\n", fds.empty() ? " -" : "");
}

void print(const char* when, const duolu::Selected& ready, const Names& names) {
  std::printf("%s\n", when);
  print("readable:", ready.readable, names);
  print("writable:", ready.writable, names);
  print("exceptional:", ready.exceptional, names);
}

/// Two connected TCP sockets: only TCP has urgent data, which select calls exceptional.
bool tcp_pair(duolu::Kernel& kernel, duolu::Fd& client, duolu::Fd& server) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* name = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  const duolu::Fd listener(kernel, kernel.socket(AF_INET, SOCK_STREAM, 0));
  client = duolu::Fd(kernel, kernel.socket(AF_INET, SOCK_STREAM, 0));
  if (kernel.bind(listener.get(), name, size) < 0 || kernel.listen(listener.get(), 1) < 0 ||
      kernel.getsockname(listener.get(), name, &size) < 0)
    return false;
  (void)kernel.connect(client.get(), name, size);  // in progress: the descriptor does not block
  const int waiting[] = {listener.get()};
  if (!duolu::select(waiting, {}, {})) return false;  // no timeout: for ever
  server = duolu::Fd(kernel, kernel.accept(listener.get(), nullptr, nullptr));
  return static_cast<bool>(server);
}

}  // namespace

int main() {
  duolu::Kernel& kernel = duolu::real_kernel();
  duolu::Fd client;
  duolu::Fd server;
  if (!tcp_pair(kernel, client, server)) return 1;
  const Names names{{client.get(), "client"}, {server.get(), "server"}};
  const int both[] = {client.get(), server.get()};
  const int of_client[] = {client.get()};

  // [three lists]
  const auto fresh = duolu::select(both, both, both, duolu::Duration::zero());  // only looks
  // [/three lists]
  if (!fresh) return 1;
  print("fresh connection", *fresh, names);

  (void)kernel.send(server.get(), "a", 1, 0);
  const auto data = duolu::select(both, {}, both);
  if (!data) return 1;
  print("the server sent a byte", *data, names);

  (void)kernel.send(server.get(), "!", 1, MSG_OOB);
  const auto urgent = duolu::select({}, {}, of_client);
  if (!urgent) return 1;
  print("and an urgent one", *urgent, names);

  const auto refused = duolu::select(std::array{1 << 20}, {}, {});
  std::printf("a closed descriptor\n  %s\n", refused.error().message().c_str());
}
