#include "duolu/net/listener.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "duolu/loop/within.hpp"
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

Task<Result<Stream>> Acceptor::next() {
  for (;;) {
    Result<Stream> stream = co_await listener_.accept();
    if (stream) {
      pause_ = least_pause;
      co_return stream;
    }
    const std::error_code error = stream.error();
    if (error == std::errc::operation_canceled) co_return stream;
    if (report_) report_(error);
    if (accept_error(error) == AcceptError::connection) continue;
    freed_.reset();
    (void)co_await within(loop_, pause_, until_freed());
    pause_ = std::min(pause_ * 2, most_pause);
  }
}

Task<Result<>> Acceptor::until_freed() {
  const bool freed = co_await freed_.wait();
  if (!freed) co_return fail(ECANCELED);
  co_return Result<>();
}

}  // namespace duolu
