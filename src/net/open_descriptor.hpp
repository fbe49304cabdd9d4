// Private. Layer: net. Opens sockets in an engine.
#pragma once

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

/// Opens `fd` in the engine; closes it on failure.
inline Result<Descriptor*> open_descriptor(Engine& engine, Fd fd, DescriptorKind kind) noexcept {
  try {
    Result<Descriptor*> descriptor = engine.open(fd.get(), kind);
    if (descriptor) (void)fd.release();
    return descriptor;
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM);
  }
}

}  // namespace duolu
