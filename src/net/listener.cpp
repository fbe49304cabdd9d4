#include "duolu/net/listener.hpp"

#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <optional>

#include "duolu/kernel/fork.hpp"
#include "duolu/task/flag.hpp"
#include "open_descriptor.hpp"

namespace duolu {

Result<Stream> detail::AcceptRequest::result(const Descriptor& descriptor) noexcept {
  if (descriptor.in.result < 0) return fail(-descriptor.in.result);
  Engine& engine = *descriptor.engine;
  const Result<Descriptor*> opened =
      open_descriptor(engine, Fd(engine.kernel(), descriptor.in.result), descriptor.kind);
  // Not an error of accept(2): this connection is lost, and has left the backlog.
  if (!opened) return fail(refused_for(opened.error()));
  (*opened)->may_linger = descriptor.may_linger;  // accepted sockets inherit the option
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
  (*descriptor)->may_linger = false;
  return Listener(loop, **descriptor);
}

Result<Listener> Listener::open(Loop& loop, Fd fd) {
  Kernel& kernel = loop.kernel();
  if (option_of(kernel, fd.get(), SO_ACCEPTCONN) != 1) return fail(EINVAL);
  const Result<> set = make_non_blocking(kernel, fd.get());
  if (!set) return fail(set.error());
  const DescriptorKind kind = kind_of_descriptor(kernel, fd.get());
  const Result<Descriptor*> descriptor = open_descriptor(loop.engine(), std::move(fd), kind);
  if (!descriptor) return fail(descriptor.error());
  return Listener(loop, **descriptor);
}

Result<Listener> Listener::open(Loop& loop, std::string_view endpoint) {
  const std::expected<Endpoint, std::string> parsed = parse_endpoint(endpoint);
  if (!parsed) {
    loop.explain(errno_code(EINVAL), parsed.error());
    return fail(EINVAL);
  }
  const Result<std::vector<Address>> addresses = resolve(loop.kernel(), *parsed);
  if (!addresses) return fail(addresses.error());
  std::error_code first;
  for (const Address& address : *addresses) {
    Result<Listener> listener = open(loop, address);
    if (listener) return listener;
    if (!first) first = listener.error();
  }
  return fail(first);
}

namespace {

bool is_absent(std::error_code error) {
  return error == std::errc::address_family_not_supported ||
         error == std::errc::address_not_available;
}

/// A port that is free on every address of a name: a port that the system chooses for one address
/// may be in use on another. 0 if none was found.
std::uint16_t free_port(Kernel& kernel, const std::vector<Address>& addresses) {
  constexpr int tries = 32;
  for (int i = 0; i < tries; ++i) {
    std::vector<Fd> held;
    Address bound;
    bool taken = false;
    for (Address address : addresses) {
      if (!held.empty()) address.set_port(bound.port());
      Result<Fd> fd = listen_on(kernel, address);
      if (!fd && is_absent(fd.error())) continue;
      taken = !fd || kernel.getsockname(fd->get(), bound.data(), bound.size_slot()) < 0;
      if (taken) break;
      held.push_back(std::move(*fd));
    }
    if (!taken && !held.empty()) return bound.port();
  }
  return 0;
}

}  // namespace

std::expected<std::vector<Listener>, ListenError> listen_everywhere(Loop& loop,
                                                                    const Endpoint& endpoint) {
  Result<std::vector<Address>> addresses = resolve(loop.kernel(), endpoint);
  if (!addresses) return std::unexpected(ListenError{addresses.error(), to_string(endpoint)});
  std::uint16_t port = endpoint.port;
  if (port == 0 && addresses->size() > 1) port = free_port(loop.kernel(), *addresses);
  std::vector<Listener> listeners;
  listeners.reserve(addresses->size());
  ListenError absent;
  for (Address& address : *addresses) {
    if (address.family() != AF_UNIX) address.set_port(port);
    Result<Listener> listener = Listener::open(loop, address);
    if (listener) {
      listeners.push_back(*std::move(listener));
      continue;
    }
    ListenError failed{listener.error(), address.to_string()};
    if (!is_absent(failed.error)) return std::unexpected(std::move(failed));
    absent = std::move(failed);
  }
  if (listeners.empty()) return std::unexpected(std::move(absent));
  return listeners;
}

SocketFile::SocketFile(Kernel& kernel, const Address& bound) : path_(bound.path()) {
  struct stat status{};
  if (path_.empty() || kernel.lstat(path_.c_str(), &status) < 0) return;
  kernel_ = &kernel;
  forks_ = fork_count();
  device_ = status.st_dev;
  inode_ = status.st_ino;
}

void SocketFile::remove() noexcept {
  Kernel* const kernel = std::exchange(kernel_, nullptr);
  struct stat status{};
  if (kernel == nullptr || forks_ != fork_count()) return;
  if (kernel->lstat(path_.c_str(), &status) < 0) return;
  if (status.st_dev == device_ && status.st_ino == inode_) (void)kernel->unlink(path_.c_str());
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

struct Listener::Accepting {
  static constexpr Duration least_pause = std::chrono::milliseconds(100);
  static constexpr Duration most_pause = std::chrono::seconds(1);
  struct Pause;

  Accepting(Loop& of, Descriptor& socket) noexcept : loop(of), listener(socket) {}
  Task<Result<Stream>> next();
  Result<Stream> open_accepted() noexcept;

  Loop& loop;
  Descriptor& listener;
  Fd accepted;  ///< A connection that is kept (AC4).
  Flag freed;
  Duration pause_time = least_pause;
  Function<void(std::error_code)> report;
  Function<std::error_code()> may;
  std::optional<SocketFile> file;
};

/// Rings when a pause is over. It is armed all the time in next(), usually with no deadline, so
/// that pausing allocates no memory.
struct Listener::Accepting::Pause : Loop::Alarm {
  explicit Pause(Accepting& accepting) : of(accepting) {
    ring = [](Loop::Alarm& due) {
      auto& self = static_cast<Pause&>(due);
      self.over = true;
      self.of.freed.set();
    };
    of.loop.arm(*this, never);
  }
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;
  ~Pause() { of.loop.disarm(*this); }

  void begin(Instant until) noexcept {
    over = false;
    try {
      of.loop.arm(*this, until);
    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): it waits without
      // It has rung, other timers have taken its place, and there is no memory for one more: then
      // freed() is called when some is freed.
    }
  }

  Accepting& of;
  bool over = false;
};

Listener::Listener(Descriptor& descriptor) noexcept : descriptor_(&descriptor) {}

Listener::Listener(Listener&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, &detail::no_descriptor)),
      accepting_(std::move(other.accepting_)) {}

// Delegates, so that the destructor closes the descriptor when there is no memory.
Listener::Listener(Loop& loop, Descriptor& descriptor) : Listener(descriptor) {
  accepting_ = std::make_unique<Accepting>(loop, descriptor);
}

Listener::~Listener() {
  if (descriptor_ == &detail::no_descriptor) return;
  if (accepting_ != nullptr) accepting_->file.reset();
  descriptor_->engine->close(*descriptor_);
}

void Listener::remove_file_on_close() { accepting().file.emplace(kernel(), address()); }

Listener::Accepting& Listener::accepting() const noexcept {
  (void)detail::open_one(descriptor_);  // aborts if there is none
  return *accepting_;
}

Task<Result<Stream>> Listener::accept() { return accepting().next(); }
void Listener::freed() noexcept { accepting().freed.set(); }
void Listener::on_error(Function<void(std::error_code)> report) {
  accepting().report = std::move(report);
}
void Listener::only_if(Function<std::error_code()> may) { accepting().may = std::move(may); }

Task<Result<Stream>> Listener::Accepting::next() {
  Pause pause(*this);
  for (;;) {
    // Before accepting: resources that are freed while it accepts may be those it lacks.
    freed.reset();
    std::error_code error;
    if (!accepted) {
      Engine::prepare_in(listener, Op::Code::accept);
      Result<Fd> fd = co_await detail::pending<detail::AcceptFdRequest>(&listener);
      if (fd)
        accepted = std::move(*fd);
      else
        error = fd.error();
    }
    if (!error && may) error = may();
    if (!error) {
      Result<Stream> stream = open_accepted();
      if (stream) {
        pause_time = least_pause;
        co_return stream;
      }
      error = stream.error();
    }
    if (error == std::errc::operation_canceled) co_return fail(error);
    if (report) report(error);
    if (accept_error(error) == AcceptError::connection) continue;
    pause.begin(after(loop.kernel().now(), pause_time));
    const bool woken = co_await freed.wait();
    if (!woken) co_return fail(ECANCELED);
    if (pause.over) pause_time = std::min(pause_time * 2, most_pause);
    pause.begin(never);
  }
}

/// A connection that the engine has no room for stays in `accepted`; any other error closes it.
Result<Stream> Listener::Accepting::open_accepted() noexcept {
  std::error_code error;
  try {
    const Result<Descriptor*> opened = listener.engine->open(accepted.get(), listener.kind);
    if (opened) {
      (void)accepted.release();
      (*opened)->may_linger = listener.may_linger;
      return Stream(**opened);
    }
    error = opened.error();
  } catch (const std::bad_alloc&) {
    error = errno_code(ENOMEM);
  }
  if (accept_error(error) == AcceptError::resources) return fail(error);
  accepted.reset();
  return fail(detail::refused_for(error));
}

}  // namespace duolu
