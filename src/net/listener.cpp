#include "duolu/net/listener.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "duolu/task/flag.hpp"
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

Result<Fd> detail::AcceptFdRequest::result(const Descriptor& descriptor) noexcept {
  if (descriptor.in.result < 0) return fail(-descriptor.in.result);
  return Fd(descriptor.engine->kernel(), descriptor.in.result);
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
    case ENOMEM:
    case ENOSPC: return AcceptError::resources;
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

struct Acceptor::Pause : Loop::Alarm {
  explicit Pause(Acceptor& acceptor) : of(acceptor) {
    ring = [](Loop::Alarm& due) {
      auto& self = static_cast<Pause&>(due);
      self.over = true;
      self.of.freed_.set();
    };
    of.loop_.arm(*this, never);
  }
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;
  ~Pause() { of.loop_.disarm(*this); }

  void begin(Instant until) noexcept {
    over = false;
    try {
      of.loop_.arm(*this, until);
    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): it waits without
      // When it rang, others took its place, and there is no memory for one more: freed() is called
      // when they give it back.
    }
  }

  Acceptor& of;
  bool over = false;
};

Task<Result<Stream>> Acceptor::next() {
  Pause pause(*this);
  for (;;) {
    // First: what is freed while the connection is being accepted may be what it lacked.
    freed_.reset();
    std::error_code error;
    if (!accepted_) {
      Result<Fd> accepted = co_await listener_.accept_fd();
      if (accepted)
        accepted_ = std::move(*accepted);
      else
        error = accepted.error();
    }
    if (!error && may_) error = may_();
    if (!error) {
      Result<Stream> stream = open_accepted();
      if (stream) {
        pause_ = least_pause;
        co_return stream;
      }
      error = stream.error();
    }
    if (error == std::errc::operation_canceled) co_return fail(error);
    if (report_) report_(error);
    if (accept_error(error) == AcceptError::connection) continue;
    pause.begin(after(loop_.kernel().now(), pause_));
    const bool woken = co_await freed_.wait();
    if (!woken) co_return fail(ECANCELED);
    if (pause.over) pause_ = std::min(pause_ * 2, most_pause);
    pause.begin(never);
  }
}

/// What the engine has no room for stays accepted_; any other error ends the connection.
Result<Stream> Acceptor::open_accepted() noexcept {
  const Descriptor& listener = *listener_.descriptor_;
  std::error_code error;
  try {
    const Result<Descriptor*> opened = listener.engine->open(accepted_.get(), listener.kind);
    if (opened) {
      (void)accepted_.release();
      return Stream(**opened);
    }
    error = opened.error();
  } catch (const std::bad_alloc&) {
    error = errno_code(ENOMEM);
  }
  if (accept_error(error) == AcceptError::resources) return fail(error);
  accepted_.reset();
  return fail(make_error_code(StreamError::refused));
}

}  // namespace duolu
