// lockstep PORT CONNECTIONS ROUNDS [CROWDS]: sends 64 bytes on every connection, then reads every
// echo, round after round, and checks each byte; then closes them and starts again with the next
// crowd of connections. For counting costs, not time: the server gets the same work in every run.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr std::size_t message_size = 64;

int connect_to(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<in_port_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  const int one = 1;
  const timeval limit{.tv_sec = 30, .tv_usec = 0};  // ends this even if the server hangs
  if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
      ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0) {
    std::perror("connect");
    std::exit(1);
  }
  return fd;
}

/// Returns whether every echo was right.
bool visit(int port, int connections, int rounds) {
  std::vector<int> fds;
  for (int i = 0; i < connections; ++i) fds.push_back(connect_to(port));
  char sent[message_size];
  char received[message_size];
  for (int round = 0; round < rounds; ++round) {
    std::memset(sent, round, sizeof sent);
    for (const int fd : fds)
      if (::send(fd, sent, sizeof sent, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof sent)) {
        std::perror("send");
        return false;
      }
    for (const int fd : fds) {
      if (::recv(fd, received, sizeof received, MSG_WAITALL) !=
              static_cast<ssize_t>(sizeof received) ||
          std::memcmp(sent, received, sizeof sent) != 0) {
        std::fprintf(stderr, "round %d: a wrong echo, or none\n", round);
        return false;
      }
    }
  }
  for (const int fd : fds) ::close(fd);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) return 2;
  const int crowds = argc == 5 ? std::atoi(argv[4]) : 1;
  for (int crowd = 0; crowd < crowds; ++crowd)
    if (!visit(std::atoi(argv[1]), std::atoi(argv[2]), std::atoi(argv[3]))) return 1;
}
