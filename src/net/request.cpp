#include "duolu/net/request.hpp"

#include <string>

#include "duolu/net/address.hpp"
#include "duolu/task/waiting.hpp"

namespace duolu::detail {
namespace {

/// "tcp://127.0.0.1:5000 (descriptor 7)"; of what is no socket, "descriptor 7".
std::string name_of(const Descriptor& descriptor, bool own_end) {
  Address address;
  Kernel& kernel = descriptor.engine->kernel();
  const int found = own_end
                        ? kernel.getsockname(descriptor.fd, address.data(), address.size_slot())
                        : kernel.getpeername(descriptor.fd, address.data(), address.size_slot());
  const std::string number = "descriptor " + std::to_string(descriptor.fd);
  if (found < 0 || address.family() == AF_UNSPEC) return number;
  return address.to_string() + " (" + number + ")";
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
    case Op::Code::connect: return "to connect " + name_of(descriptor, true);
    case Op::Code::none: break;
  }
  return {};
}

}  // namespace

void describe(const Descriptor& descriptor, const Op& op, const Strand& strand, Waiting& waiting) {
  if (!op.outstanding()) return;
  const auto* const task = static_cast<const TaskPromise*>(op.waiter);
  if (task->strand() != &strand) return;
  waiting.task = task;
  waiting.what = what(descriptor, op);
}

}  // namespace duolu::detail
