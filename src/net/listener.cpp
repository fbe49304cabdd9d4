#include "duolu/net/listener.hpp"

#include <sys/socket.h>

#include <cerrno>

#include "open_descriptor.hpp"

namespace duolu {

Result<Stream> detail::AcceptRequest::result(const Descriptor& descriptor) noexcept {
  if (descriptor.in.result < 0) return fail(-descriptor.in.result);
  Engine& engine = *descriptor.engine;
  const Result<Descriptor*> opened =
      open_descriptor(engine, Fd(engine.kernel(), descriptor.in.result), descriptor.kind);
  // Not with the same errors as accept(2): this connection is lost, and out of the backlog.
  if (!opened) return fail(make_error_code(StreamError::refused));
  return Stream(**opened);
}

Result<Listener> Listener::open(Loop& loop, const Address& address) {
  Result<Fd> fd = listen_on(loop.kernel(), address);
  if (!fd) return fail(fd.error());
  const Result<Descriptor*> descriptor =
      open_descriptor(loop.engine(), std::move(*fd), kind_of(address));
  if (!descriptor) return fail(descriptor.error());
  return Listener(**descriptor);
}

Address Listener::address() const noexcept {
  Address bound;
  (void)kernel().getsockname(descriptor_->fd, bound.data(), bound.size_slot());
  return bound;
}

AcceptError accept_error(std::error_code error) noexcept {
  if (error == StreamError::refused) return AcceptError::connection;
  switch (error.category() == std::generic_category() ? error.value() : 0) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: return AcceptError::resources;
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ETIMEDOUT: return AcceptError::connection;  // accept(2), ERRORS
    default: return AcceptError::listener;
  }
}

}  // namespace duolu
