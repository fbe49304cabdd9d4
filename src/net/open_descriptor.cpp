#include "open_descriptor.hpp"

#include <netinet/in.h>
#include <sys/stat.h>

namespace duolu {

int option_of(Kernel& kernel, int fd, int name) noexcept {
  int value = -1;
  socklen_t size = sizeof value;
  return kernel.getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -1 : value;
}

namespace {

/// Whether `fd`, a stream socket, is TCP, and not SCTP or MPTCP, which behave differently.
bool is_tcp(Kernel& kernel, int fd) noexcept {
#ifdef SO_PROTOCOL
  if (option_of(kernel, fd, SO_PROTOCOL) != IPPROTO_TCP) return false;
#endif
  Address bound;
  if (kernel.getsockname(fd, bound.data(), bound.size_slot()) < 0) return false;
  return bound.family() == AF_INET || bound.family() == AF_INET6;
}

}  // namespace

DescriptorKind kind_of_descriptor(Kernel& kernel, int fd) noexcept {
  struct stat status{};
  if (kernel.fstat(fd, &status) < 0 || !S_ISSOCK(status.st_mode)) return DescriptorKind::file;
  switch (option_of(kernel, fd, SO_TYPE)) {
    case SOCK_STREAM: return is_tcp(kernel, fd) ? DescriptorKind::tcp : DescriptorKind::socket;
    case SOCK_DGRAM: return DescriptorKind::datagram;
    default: return DescriptorKind::socket;
  }
}

}  // namespace duolu
