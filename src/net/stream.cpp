#include "duolu/net/stream.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <string>

#include "open_descriptor.hpp"

namespace duolu {
namespace {

class StreamCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "duolu.stream"; }
  std::string message(int value) const override {
    switch (static_cast<StreamError>(value)) {
      case StreamError::ended: return "the stream ended too early";
      case StreamError::too_long: return "longer than the limit";
      case StreamError::refused: return "no room to wait for the connection";
    }
    return "unknown";
  }
};

/// The value of a socket option; -1 if the socket does not have it.
int option_of(Kernel& kernel, int fd, int name) noexcept {
  int value = -1;
  socklen_t size = sizeof value;
  return kernel.getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -1 : value;
}

/// Whether `fd`, a stream socket, is TCP, and not SCTP or MPTCP, which behave differently.
bool is_tcp(Kernel& kernel, int fd) noexcept {
#ifdef SO_PROTOCOL
  if (option_of(kernel, fd, SO_PROTOCOL) != IPPROTO_TCP) return false;
#endif
  Address bound;
  if (kernel.getsockname(fd, bound.data(), bound.size_slot()) < 0) return false;
  return bound.family() == AF_INET || bound.family() == AF_INET6;
}

/// The kind of `fd`. Short transfers of TCP are always trusted, so nothing else may count as TCP.
DescriptorKind kind_of_descriptor(Kernel& kernel, int fd) noexcept {
  struct stat status{};
  if (kernel.fstat(fd, &status) < 0 || !S_ISSOCK(status.st_mode)) return DescriptorKind::file;
  switch (option_of(kernel, fd, SO_TYPE)) {
    case SOCK_STREAM: return is_tcp(kernel, fd) ? DescriptorKind::tcp : DescriptorKind::socket;
    case SOCK_DGRAM: return DescriptorKind::datagram;
    default: return DescriptorKind::socket;
  }
}

}  // namespace

std::error_code make_error_code(StreamError error) noexcept {
  static const detail::Immortal<StreamCategory> category;
  return {static_cast<int>(error), category.value};
}

Result<Stream> Stream::open(Loop& loop, Fd fd) {
  Kernel& kernel = loop.kernel();
  const Result<> set = make_non_blocking(kernel, fd.get());
  if (!set) return fail(set.error());
  const DescriptorKind kind = kind_of_descriptor(kernel, fd.get());
  const Result<Descriptor*> descriptor = open_descriptor(loop.engine(), std::move(fd), kind);
  if (!descriptor) return fail(descriptor.error());
  return Stream(**descriptor);
}

Task<Result<>> Stream::read_exact(std::span<char> buffer) {
  while (!buffer.empty()) {
    const std::size_t size = co_await try_(read(buffer));
    if (size == 0) co_return fail(make_error_code(StreamError::ended));
    buffer = buffer.subspan(size);
  }
  co_return Result<>();
}

Result<> Stream::close_writing() noexcept {
  const int result = kernel().shutdown(descriptor_->fd, SHUT_WR);
  if (result < 0) return fail(-result);
  return {};
}

Address Stream::peer() const noexcept {
  Address other;
  if (kernel().getpeername(descriptor_->fd, other.data(), other.size_slot()) < 0) return {};
  return other;
}

Address Stream::address() const noexcept {
  Address own;
  if (kernel().getsockname(descriptor_->fd, own.data(), own.size_slot()) < 0) return {};
  return own;
}

}  // namespace duolu
