// Public. Layer: testing. A Kernel and a Host that forward every call: derive from one and override
// what a test changes.
//
//   struct NoMemory final : duolu::ForwardingKernel {
//     int epoll_create() noexcept override { return -ENOMEM; }
//   };
#pragma once

#include <type_traits>

#include "duolu/kernel/host.hpp"
#include "duolu/kernel/kernel.hpp"

namespace duolu {

/// Forwards every call to another Kernel. Threads: calls as for any Kernel (K6).
class ForwardingKernel : public Kernel {
 public:
  /// `inner` outlives this.
  explicit ForwardingKernel(Kernel& inner = real_kernel()) noexcept
      : ForwardingKernel(inner, inner.signals()) {}

#define DUOLU_CALL(fault, result, name, parameters, arguments) \
  result name parameters noexcept override { return inner_.name arguments; }
#include "duolu/kernel/calls.def"

 protected:
  /// With signals of its own (signal_table.hpp): then sigaction() must be overridden.
  ForwardingKernel(Kernel& inner, SignalTable& signals) noexcept : Kernel(signals), inner_(inner) {}

 private:
  Kernel& inner_;
};

/// Forwards every call to another Host.
class ForwardingHost : public Host {
 public:
  /// `inner` outlives this.
  explicit ForwardingHost(Host& inner = real_host()) noexcept : inner_(inner) {}

#define DUOLU_HOST_CALL(fault, result, name, parameters, arguments) \
  result name parameters noexcept override { return inner_.name arguments; }
#include "duolu/kernel/calls.def"

 private:
  Host& inner_;
};

static_assert(!std::is_abstract_v<ForwardingKernel>, "a call of Kernel has no row in calls.def");
static_assert(!std::is_abstract_v<ForwardingHost>, "a call of Host has no row in calls.def");

}  // namespace duolu
