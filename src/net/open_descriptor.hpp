// Private. Layer: net. Opens sockets in an engine.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <new>
#include <utility>

#include "duolu/engine/engine.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/net/address.hpp"

namespace duolu {

/// The kind of stream sockets of this address's family.
inline DescriptorKind kind_of(const Address& address) noexcept {
  return address.family() == AF_UNIX ? DescriptorKind::socket : DescriptorKind::tcp;
}

/// The value of a socket option; -1 if the socket does not have it.
int option_of(Kernel& kernel, int fd, int name) noexcept;
/// The kind of `fd`. Short transfers of TCP are always trusted, so nothing else may count as TCP.
DescriptorKind kind_of_descriptor(Kernel& kernel, int fd) noexcept;

/// Opens `fd` in the engine; its owner keeps it on failure.
inline Result<Descriptor*> open_descriptor(Engine& engine, Fd& fd, DescriptorKind kind) noexcept {
  try {
    Result<Descriptor*> descriptor = engine.open(fd.get(), kind);
    if (descriptor) (void)fd.release();
    return descriptor;
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM);
  }
}

/// The same; closes it on failure.
inline Result<Descriptor*> open_descriptor(Engine& engine, Fd&& fd, DescriptorKind kind) noexcept {
  Fd owned = std::move(fd);
  return open_descriptor(engine, owned, kind);
}

/// Sets O_NONBLOCK.
inline Result<> make_non_blocking(Kernel& kernel, int fd) noexcept {
  const int flags = kernel.fcntl(fd, F_GETFL, 0);
  if (flags < 0) return fail(-flags);
  const int result = kernel.fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  if (result < 0) return fail(-result);
  return {};
}

}  // namespace duolu
