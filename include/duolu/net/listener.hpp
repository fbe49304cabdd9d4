// Public. Layer: net. Listening sockets for tasks, and accepting that goes on.
//
//   AC1  Acceptor::next() ends with a connection; with an error only when its strand is cancelled:
//        ECANCELED, and no connection is lost. Errors that are about one connection are passed
//        over.
//   AC2  Any other error (descriptors or memory are short, a security module says no) leaves the
//        connection in the backlog, and trying again at once would spin. So it tries again when
//        freed() is called, by on_error() or earlier in the same turn too, or after 100 ms, doubled
//        each time up to 1 s until one is accepted.
//   AC3  on_error() is told of every error but ECANCELED, each time.
//   AC4  A connection that was accepted and that the engine has no room for (memory, the watches of
//        epoll) is kept, and tried again as in AC2.
//   AC5  With only_if(), so is one for which that gives an error.
//   AC6  Nothing but the call of next() and its beginning takes memory.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "duolu/base/function.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/loop/loop.hpp"
#include "duolu/net/stream.hpp"
#include "duolu/task/flag.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

namespace detail {

struct AcceptRequest : InRequest {
  /// No try_: a connection that the engine refuses has no Stream.
  static void value(const Descriptor& descriptor) = delete;
  static Result<Stream> result(const Descriptor& descriptor) noexcept;
};

/// The same, and the engine does not see it yet.
struct AcceptFdRequest : InRequest {
  static void value(const Descriptor& descriptor) = delete;
  static Result<Fd> result(const Descriptor& descriptor) noexcept;
};

}  // namespace detail

/// A listening socket. Move-only; closes when destroyed, which must not happen while accept() is
/// awaited: that aborts.
class Listener {
 public:
  /// Listens; errors as listen_on() and Engine::open().
  [[nodiscard]] static Result<Listener> open(Loop& loop, const Address& address);
  /// The same on the first address of an endpoint that works: "127.0.0.1:0". Errors: EINVAL if it
  /// is none (see parse_endpoint()), and resolve()'s.
  [[nodiscard]] static Result<Listener> open(Loop& loop, std::string_view endpoint);
  Listener(Listener&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, &detail::no_descriptor)) {}
  Listener& operator=(Listener&&) = delete;
  ~Listener() {
    if (descriptor_ != &detail::no_descriptor) descriptor_->engine->close(*descriptor_);
  }

  /// The next connection, as a Stream. Errors are accept(2)'s, or StreamError::refused if the
  /// engine cannot take it; see accept_error(). Cancelled: ECANCELED, and no connection is lost.
  [[nodiscard]] auto* accept() noexcept {
    Engine::prepare_in(*descriptor_, Op::Code::accept);
    return detail::pending<detail::AcceptRequest>(descriptor_);
  }
  /// Where it listens, with the port that the system chose.
  [[nodiscard]] Address address() const noexcept;
  [[nodiscard]] Kernel& kernel() const noexcept {
    return detail::open_one(descriptor_).engine->kernel();
  }

 private:
  friend class Acceptor;
  explicit Listener(Descriptor& descriptor) noexcept : descriptor_(&descriptor) {}
  [[nodiscard]] auto* accept_fd() noexcept {
    Engine::prepare_in(*descriptor_, Op::Code::accept);
    return detail::pending<detail::AcceptFdRequest>(descriptor_);
  }

  Descriptor* descriptor_;
};

/// Why listen_everywhere() could not listen.
struct ListenError {
  std::error_code error;
  std::string where;  ///< The address, or the name that could not be looked up.
};
/// Listens on every address of an endpoint, but for those of families that this machine lacks; with
/// port 0 on one port, which is free on all of them. Looks the name up, which blocks. On failure it
/// listens on none. Errors: resolve()'s and listen_on()'s.
[[nodiscard]] std::expected<std::vector<Listener>, ListenError> listen_everywhere(
    Loop& loop, const Endpoint& endpoint);

/// The file that listening on a Unix address leaves: removes it when this is destroyed, if the same
/// file is still there. Another server may have put its own there meanwhile. Move-only.
class SocketFile {
 public:
  /// No file.
  SocketFile() = default;
  /// That of `bound`, on which somebody has just begun to listen; none for other addresses.
  SocketFile(Kernel& kernel, const Address& bound);
  SocketFile(SocketFile&& other) noexcept
      : kernel_(std::exchange(other.kernel_, nullptr)),
        path_(std::move(other.path_)),
        device_(other.device_),
        inode_(other.inode_) {}
  SocketFile& operator=(SocketFile&&) = delete;
  ~SocketFile() { remove(); }

  void remove() noexcept;

 private:
  Kernel* kernel_ = nullptr;  ///< Null: no file.
  std::string path_;
  std::uint64_t device_ = 0;
  std::uint64_t inode_ = 0;
};

/// What an error of accept() is about.
enum class AcceptError : std::uint8_t {
  connection,  ///< One connection, which is out of the backlog with it: accept the next one.
  resources,   ///< Descriptors or memory are short (EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC): the
              ///< connection stays in the backlog, and trying again at once would spin. Wait first.
  listener,  ///< Anything else: the listener is broken, or a security module says no.
};
[[nodiscard]] AcceptError accept_error(std::error_code error) noexcept;

/// Accepts one connection after the other, whatever accept(2) says. See the top of this file. Used
/// by one task at a time.
class Acceptor {
 public:
  /// Both outlive this.
  Acceptor(Loop& loop, Listener& listener) noexcept : loop_(loop), listener_(listener) {}
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  /// `while (Result<Stream> stream = co_await acceptor.next())`
  [[nodiscard]] Task<Result<Stream>> next();
  /// A descriptor was closed, or memory given back: one that waits for that tries again.
  void freed() noexcept { freed_.set(); }
  /// See AC3. `report` must not throw.
  void on_error(Function<void(std::error_code)> report) { report_ = std::move(report); }
  /// See AC5. `may` is asked when there is a connection, and again after each pause; it must not
  /// throw.
  void only_if(Function<std::error_code()> may) { may_ = std::move(may); }

 private:
  /// Rings when a pause is over. Armed for as long as next() waits, mostly for ever, so that
  /// pausing takes no memory.
  struct Pause;
  static constexpr Duration least_pause = std::chrono::milliseconds(100);
  static constexpr Duration most_pause = std::chrono::seconds(1);

  Result<Stream> open_accepted() noexcept;

  Loop& loop_;
  Listener& listener_;
  Fd accepted_;  ///< A connection that is kept (AC4).
  Flag freed_;
  Duration pause_ = least_pause;
  Function<void(std::error_code)> report_;
  Function<std::error_code()> may_;
};

}  // namespace duolu
