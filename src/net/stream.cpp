#include "duolu/net/stream.hpp"

#include <sys/socket.h>

#include <string>

#include "open_descriptor.hpp"

namespace duolu {
namespace {

/// The value of an error is the kind; for `refused`, above these bits, also the errno value.
constexpr int kind_bits = 8;

class StreamCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "duolu.stream"; }
  std::string message(int value) const override {
    const int reason = value >> kind_bits;
    switch (static_cast<StreamError>(static_cast<std::uint8_t>(value))) {
      case StreamError::ended: return "the stream ended too early";
      case StreamError::too_long: return "longer than the limit";
      case StreamError::refused:
        return "the engine cannot take the connection" +
               (reason == 0 ? std::string() : ": " + errno_code(reason).message());
    }
    return "unknown";
  }
};

}  // namespace

std::error_code make_error_code(StreamError error) noexcept {
  static const detail::Immortal<StreamCategory> category;
  return {static_cast<int>(error), category.value};
}

bool operator==(const std::error_code& error, StreamError kind) noexcept {
  const std::error_code plain = make_error_code(kind);
  return error.category() == plain.category() &&
         static_cast<std::uint8_t>(error.value()) == static_cast<std::uint8_t>(kind);
}

std::error_code detail::refused_for(std::error_code reason) noexcept {
  const std::error_code plain = make_error_code(StreamError::refused);
  return {plain.value() | reason.value() << kind_bits, plain.category()};
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
