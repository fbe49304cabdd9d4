// Public. Layer: net. Listening sockets for tasks, and accepting that continues after errors.
//
//   AC1  Listener::accept() ends with a connection, or, when its chain is cancelled, with
//        ECANCELED, and no connection is lost. Errors that concern one connection are skipped.
//   AC2  Any other error (a lack of descriptors or memory, a security module refuses) leaves the
//        connection in the backlog, and trying again at once would spin. So accept() tries again
//        when freed() is called (it may have been called earlier in the same turn, or by
//        on_error()), or after 100 ms, doubled each time up to 1 s until a connection is accepted.
//   AC3  The function of on_error() is called with every error but ECANCELED, each time.
//   AC4  An accepted connection that the engine has no room for (memory, the watches of epoll) is
//        kept, and tried again as in AC2.
//   AC5  So is one for which the function of only_if() returns an error.
//   AC6  Only the call of accept() and its beginning allocate memory.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "duolu/base/function.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/loop/loop.hpp"
#include "duolu/net/stream.hpp"
#include "duolu/task/task.hpp"

namespace duolu {

namespace detail {

struct AcceptRequest : InRequest {
  /// No try_: a connection that the engine refuses has no Stream.
  static void value(const Descriptor& descriptor) = delete;
  static Result<Stream> result(const Descriptor& descriptor) noexcept;
};

/// The same, but the connection is not opened in the engine yet.
struct AcceptFdRequest : InRequest {
  static void value(const Descriptor& descriptor) = delete;
  static Result<Fd> result(const Descriptor& descriptor) noexcept;
};

}  // namespace detail

/// A listening socket. Move-only; closes when destroyed, which aborts while a task waits for it.
class Listener {
 public:
  /// Listens on `address`. Errors: as listen_on() and Engine::open().
  [[nodiscard]] static Result<Listener> open(Loop& loop, const Address& address);
  /// The same on the first address of an endpoint that works: "127.0.0.1:0". Errors: EINVAL if it
  /// is no endpoint (see parse_endpoint()), and those of resolve().
  [[nodiscard]] static Result<Listener> open(Loop& loop, std::string_view endpoint);
  /// Takes ownership of a socket that listens already, such as one that systemd hands over
  /// (sd_listen_fds(3)), and makes it non-blocking. `fd` is closed on failure. Errors: EINVAL if it
  /// is no socket that listens; as fcntl(2) and Engine::open().
  [[nodiscard]] static Result<Listener> open(Loop& loop, Fd fd);
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  /// The next connection, whatever errors accept(2) returns on the way (AC1 to AC6): fails with
  /// ECANCELED only. For one task at a time.
  ///
  ///     while (Result<Stream> stream = co_await listener.accept()) …
  Task<Result<Stream>> accept();
  /// To be called when a descriptor was closed or memory freed: an accept() that pauses tries
  /// again.
  void freed() noexcept;
  /// See AC3. `report` must not throw.
  void on_error(Function<void(std::error_code)> report);
  /// See AC5. `may` is called for each connection, and again after each pause; it must not throw.
  void only_if(Function<std::error_code()> may);

  /// One accept(2), for callers that handle its errors themselves: those, and StreamError::refused
  /// if the engine cannot take the connection; see accept_error(). If cancelled: ECANCELED, and no
  /// connection is lost. A connection that accept() keeps (AC4) is not seen here.
  [[nodiscard("co_await it")]] auto* accept_once() noexcept {
    Engine::prepare_in(*descriptor_, Op::Code::accept);
    return detail::pending<detail::AcceptRequest>(descriptor_);
  }
  /// For one that has just been opened on a Unix path: its SocketFile is removed when it is closed.
  void remove_file_on_close();
  /// The address it listens on, with the port that the system chose.
  [[nodiscard]] Address address() const noexcept;
  [[nodiscard]] Kernel& kernel() const noexcept {
    return detail::open_one(descriptor_).engine->kernel();
  }

 private:
  struct Accepting;
  explicit Listener(Descriptor& descriptor) noexcept;
  Listener(Loop& loop, Descriptor& descriptor);
  [[nodiscard]] Accepting& accepting() const noexcept;

  Descriptor* descriptor_;
  /// The state of accept(). Null: moved from.
  std::unique_ptr<Accepting> accepting_;
};

/// Why listen_everywhere() could not listen.
struct ListenError {
  std::error_code error;
  std::string where;  ///< The address; or the endpoint, if it could not be looked up.
};
/// Listens on every address of an endpoint, except those of families that this machine lacks; with
/// port 0 on one port that is free on all of them. Looks the name up, which blocks. On failure it
/// listens on none. Errors: those of resolve() and listen_on().
[[nodiscard]] std::expected<std::vector<Listener>, ListenError> listen_everywhere(
    Loop& loop, const Endpoint& endpoint);

/// The socket file that listening on a Unix address creates. The destructor removes it, unless it
/// has been replaced meanwhile, by that of another server, and never in a forked child. Move-only.
class SocketFile {
 public:
  /// No file.
  SocketFile() = default;
  /// The file of `bound`, on which a socket has just begun to listen; none if it is no Unix path.
  SocketFile(Kernel& kernel, const Address& bound);
  SocketFile(SocketFile&& other) noexcept
      : kernel_(std::exchange(other.kernel_, nullptr)),
        path_(std::move(other.path_)),
        forks_(other.forks_),
        device_(other.device_),
        inode_(other.inode_) {}
  SocketFile& operator=(SocketFile&&) = delete;
  ~SocketFile() { remove(); }

  void remove() noexcept;

 private:
  Kernel* kernel_ = nullptr;  ///< Null: no file.
  std::string path_;
  std::uint32_t forks_ = 0;  ///< fork_count() in the process that listens.
  std::uint64_t device_ = 0;
  std::uint64_t inode_ = 0;
};

/// What an error of accept_once() concerns, or one that on_error() is given.
enum class AcceptError : std::uint8_t {
  connection,  ///< One connection, which has left the backlog: accept the next one.
  resources,   ///< A lack of descriptors or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC): the
              ///< connection stays in the backlog, and trying again at once would spin. Wait first.
  listener,  ///< Anything else: the listener is broken, or a security module refuses.
};
[[nodiscard]] AcceptError accept_error(std::error_code error) noexcept;

}  // namespace duolu
