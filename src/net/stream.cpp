#include "duolu/net/stream.hpp"

#include <netinet/in.h>

#include <cerrno>
#include <new>

namespace duolu {
namespace {

/// A channel for a socket, which is closed on failure.
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

Result<Stream> detail::AcceptRequest::value(Channel& channel, std::int32_t result) noexcept {
  if (result < 0) return fail(-result);
  Engine& engine = *channel.engine;
  const Result<Channel*> opened = open_channel(engine, Fd(engine.kernel(), result), channel.kind);
  if (!opened) return fail(opened.error());
  return Stream(**opened);
}

Result<Listener> Listener::open(Loop& loop, const Address& address) {
  Result<Fd> fd = listen_on(loop.kernel(), address);
  if (!fd) return fail(fd.error());
  const ChannelKind kind = address.family() == AF_UNIX ? ChannelKind::other : ChannelKind::tcp;
  const Result<Channel*> channel = open_channel(loop.engine(), std::move(*fd), kind);
  if (!channel) return fail(channel.error());
  return Listener(**channel);
}

Address Listener::address() const {
  Address bound;
  (void)channel_->engine->kernel().getsockname(channel_->fd, bound.data(), bound.size_slot());
  return bound;
}

}  // namespace duolu
