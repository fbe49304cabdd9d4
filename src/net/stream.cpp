#include "duolu/net/stream.hpp"

#include <netinet/in.h>

#include <cerrno>
#include <new>

namespace duolu {
namespace {

/// A descriptor for a socket, which is closed on failure.
Result<Descriptor*> open_descriptor(Engine& engine, Fd fd, DescriptorKind kind) noexcept {
  try {
    Result<Descriptor*> descriptor = engine.open(fd.get(), kind);
    if (descriptor) (void)fd.release();
    return descriptor;
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM);
  }
}

}  // namespace

Result<Stream> detail::AcceptRequest::result(const Descriptor& descriptor) noexcept {
  if (descriptor.in.result < 0) return fail(-descriptor.in.result);
  Engine& engine = *descriptor.engine;
  const Result<Descriptor*> opened =
      open_descriptor(engine, Fd(engine.kernel(), descriptor.in.result), descriptor.kind);
  if (!opened) return fail(opened.error());
  return Stream(**opened);
}

Result<Listener> Listener::open(Loop& loop, const Address& address) {
  Result<Fd> fd = listen_on(loop.kernel(), address);
  if (!fd) return fail(fd.error());
  const DescriptorKind kind =
      address.family() == AF_UNIX ? DescriptorKind::socket : DescriptorKind::tcp;
  const Result<Descriptor*> descriptor = open_descriptor(loop.engine(), std::move(*fd), kind);
  if (!descriptor) return fail(descriptor.error());
  return Listener(**descriptor);
}

Address Listener::address() const {
  Address bound;
  (void)descriptor_->engine->kernel().getsockname(descriptor_->fd, bound.data(), bound.size_slot());
  return bound;
}

}  // namespace duolu
