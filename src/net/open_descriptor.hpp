// Private. How sockets get into an engine.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <new>
#include <utility>

#include "duolu/engine/engine.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/net/address.hpp"

namespace duolu {

/// What sockets of this address's family are.
inline DescriptorKind kind_of(const Address& address) noexcept {
  return address.family() == AF_UNIX ? DescriptorKind::socket : DescriptorKind::tcp;
}

/// A descriptor of the engine for `fd`, which is closed on failure.
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
