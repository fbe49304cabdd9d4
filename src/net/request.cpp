#include "duolu/net/request.hpp"

#include <string>
#include <string_view>

#include "duolu/net/address.hpp"
#include "duolu/task/waiting.hpp"

namespace duolu::detail {
namespace {

/// "tcp://127.0.0.1:5000 (descriptor 7)".
std::string name_of(const Descriptor& descriptor, Address address) {
  if (descriptor.kind == DescriptorKind::datagram) address.set_datagram();
  return address.to_string() + " (descriptor " + std::to_string(descriptor.fd) + ")";
}

/// The same with the address of one of its ends; "descriptor 7" if it is no socket.
std::string name_of(const Descriptor& descriptor, bool own_end) {
  Address address;
  Kernel& kernel = descriptor.engine->kernel();
  const int found = own_end
                        ? kernel.getsockname(descriptor.fd, address.data(), address.size_slot())
                        : kernel.getpeername(descriptor.fd, address.data(), address.size_slot());
  if (found < 0 || address.family() == AF_UNSPEC)
    return "descriptor " + std::to_string(descriptor.fd);
  return name_of(descriptor, address);
}

std::string what(const Descriptor& descriptor, const Op& op) {
  if (op.state == Op::State::starved) return "for a buffer to read into";
  switch (op.code) {
    case Op::Code::recv:
    case Op::Code::recv_lent: return "to read from " + name_of(descriptor, false);
    case Op::Code::recvmsg: return "for a datagram to " + name_of(descriptor, true);
    case Op::Code::accept: return "for a connection to " + name_of(descriptor, true);
    case Op::Code::send:
    case Op::Code::send_lent:
      return "to write " + std::to_string(op.size - op.moved) + " bytes to " +
             name_of(descriptor, false);
    case Op::Code::sendmsg: return "to write to " + name_of(descriptor, false);
    case Op::Code::connect:
      return "to connect to " +
             name_of(descriptor, Address(reinterpret_cast<const sockaddr*>(op.data),
                                         static_cast<socklen_t>(op.size)));
    case Op::Code::poll_in: return "to be able to read from " + name_of(descriptor, false);
    case Op::Code::poll_out: return "to be able to write to " + name_of(descriptor, false);
    case Op::Code::file:
    case Op::Code::none: break;
  }
  return {};
}

}  // namespace

void describe(const Descriptor& descriptor, const Op& op, const Chain& chain, Waiting& waiting) {
  if (!op.outstanding()) return;
  const auto* const task = static_cast<const TaskPromise*>(op.waiter);
  if (task->chain() != &chain) return;
  waiting.task = task;
  waiting.what = what(descriptor, op);
}

}  // namespace duolu::detail
