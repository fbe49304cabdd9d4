#include "duolu/net/stream.hpp"

#include <cerrno>
#include <new>

namespace duolu {
namespace {

ChannelKind kind_of(const Address& address) noexcept {
  return address.family() == AF_UNIX ? ChannelKind::other : ChannelKind::tcp;
}

/// A channel for a descriptor, which is closed on failure.
Result<Channel*> open_channel(Engine& engine, Fd fd, ChannelKind kind) noexcept {
  try {
    Result<Channel*> channel = engine.open(fd.get(), kind);
    if (channel) (void)fd.release();
    return channel;
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM);
  }
}

}  // namespace

Result<Stream> detail::AcceptRequest::value(std::int32_t result) const noexcept {
  if (result < 0) return fail(-result);
  const Result<Channel*> channel = open_channel(loop->engine(), Fd(loop->kernel(), result), kind);
  if (!channel) return fail(channel.error());
  return Stream(loop->engine(), **channel);
}

Result<Listener> Listener::open(Loop& loop, const Address& address) {
  Result<Fd> fd = listen_on(loop.kernel(), address);
  if (!fd) return fail(fd.error());
  const Result<Channel*> channel = open_channel(loop.engine(), std::move(*fd), ChannelKind::other);
  if (!channel) return fail(channel.error());
  return Listener(loop, kind_of(address), **channel);
}

Address Listener::address() const {
  Address bound;
  (void)loop_.kernel().getsockname(channel_->fd, bound.data(), bound.size_slot());
  return bound;
}

}  // namespace duolu
