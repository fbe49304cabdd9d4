// Public. Layer: net. Waiting until a descriptor is ready that other code reads from or writes to:
// a pidfd, or the socket of a library such as libpq, c-ares or curl.
//
//   const Watcher watcher = Watcher::open(loop, PQsocket(connection)).value();
//   co_await try_(watcher.readable());
//   PQconsumeInput(connection);
//
//   WA1  readable() ends when a read would not block: there is data, the stream has ended, or there
//        is an error. Nothing is read. writable() is the same for a write. Of each, one task at a
//        time; a second one aborts.
//   WA2  When the chain is cancelled, both end with ECANCELED.
//   WA3  The descriptor stays the caller's: the Watcher does not close it, and changes none of its
//        flags. It is destroyed before the descriptor is closed, and aborts if a task waits then.
//   WA4  Every call looks whether the descriptor is ready: so it does not matter who has read or
//        written meanwhile. Where poll(2) says that it always is, as for regular files, they end.
#pragma once

#include <utility>

#include "duolu/base/result.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/loop/loop.hpp"
#include "duolu/net/request.hpp"

namespace duolu {

namespace detail {

struct ReadableRequest : InRequest {
  static void value(const Descriptor&) noexcept {}
  static Result<> result(const Descriptor& descriptor) noexcept {
    if (descriptor.in.result < 0) return fail(-descriptor.in.result);
    return {};
  }
};

}  // namespace detail

/// Waits for a descriptor of other code. Move-only; in the thread of its loop, which outlives it.
class Watcher {
 public:
  /// `fd` need not be non-blocking. Errors: as Engine::open(): EBADF if it is not open;
  /// EEXIST if this loop watches it already through a Poller, which watches each once.
  [[nodiscard]] static Result<Watcher> open(Loop& loop, int fd);
  Watcher(Watcher&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, &detail::no_descriptor)) {}
  Watcher& operator=(Watcher&&) = delete;
  ~Watcher();

  /// See WA1. Errors: ECANCELED; EBADF if the descriptor was closed.
  [[nodiscard("co_await it")]] auto* readable() const noexcept {
    Engine::prepare_in(*descriptor_, Op::Code::poll_in);
    return detail::pending<detail::ReadableRequest>(descriptor_);
  }
  [[nodiscard("co_await it")]] auto* writable() const noexcept {
    Engine::prepare_out(*descriptor_, Op::Code::poll_out, nullptr, 0);
    return detail::pending<detail::OutRequest>(descriptor_);
  }

 private:
  explicit Watcher(Descriptor& descriptor) noexcept : descriptor_(&descriptor) {}

  Descriptor* descriptor_;
};

}  // namespace duolu
