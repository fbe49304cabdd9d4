#include "duolu/net/datagram.hpp"

#include <algorithm>

#include "open_descriptor.hpp"

namespace duolu {
namespace {

/// Sets up a message of one part from, or to, `address`; without an address if `size` is 0.
void fill(msghdr& message, iovec& part, Address& address, socklen_t size) noexcept {
  message.msg_name = size == 0 ? nullptr : address.data();
  message.msg_namelen = size;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
}

}  // namespace

bool detail::ReceiveRequest::start(Descriptor& descriptor) {
  fill(message, part, from, from.size());
  Engine::prepare_in(descriptor, Op::Code::recvmsg, &message, 0);
  return descriptor.engine->start_in(descriptor);
}

Received detail::ReceiveRequest::value(const Descriptor& descriptor) const noexcept {
  const auto size = static_cast<std::size_t>(descriptor.in.result);
  Received received{.size = std::min(size, part.iov_len),
                    .truncated = (message.msg_flags & MSG_TRUNC) != 0};
  if (message.msg_namelen > 0) received.from = Address(from.data(), message.msg_namelen);
  received.from.set_datagram();
  return received;
}

Result<Received> detail::ReceiveRequest::result(const Descriptor& descriptor) const noexcept {
  if (descriptor.in.result < 0) return fail(-descriptor.in.result);
  return value(descriptor);
}

bool detail::SendToRequest::start(Descriptor& descriptor) {
  fill(message, part, to, to.family() == AF_UNSPEC ? 0 : to.size());
  Engine::prepare_out(descriptor, Op::Code::sendmsg, &message, 0);
  return descriptor.engine->start_out(descriptor);
}

Result<Datagram> Datagram::open(Loop& loop, const Address& address) {
  Kernel& kernel = loop.kernel();
  const int made = kernel.socket(address.family(), SOCK_DGRAM, 0);
  if (made < 0) return fail(-made);
  Fd fd(kernel, made);
  const int bound = kernel.bind(made, address.data(), address.size());
  if (bound < 0) return fail(-bound);
  return open(loop, std::move(fd));
}

Result<Datagram> Datagram::open(Loop& loop, Fd fd) {
  Kernel& kernel = loop.kernel();
  if (option_of(kernel, fd.get(), SO_TYPE) != SOCK_DGRAM) return fail(EINVAL);
  const Result<> set = make_non_blocking(kernel, fd.get());
  if (!set) return fail(set.error());
  const Result<Descriptor*> descriptor =
      open_descriptor(loop.engine(), std::move(fd), DescriptorKind::datagram);
  if (!descriptor) return fail(descriptor.error());
  return Datagram(**descriptor);
}

Result<> Datagram::connect(const Address& peer) noexcept {
  const int result = detail::open_one(descriptor_)
                         .engine->kernel()
                         .connect(descriptor_->fd, peer.data(), peer.size());
  if (result < 0) return fail(-result);
  return {};
}

Address Datagram::address() const noexcept {
  Address bound;
  bound.set_datagram();
  (void)detail::open_one(descriptor_)
      .engine->kernel()
      .getsockname(descriptor_->fd, bound.data(), bound.size_slot());
  return bound;
}

}  // namespace duolu
