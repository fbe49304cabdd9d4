// Public. Layer: net. Byte streams for tasks: TCP, Unix sockets, pipes, terminals, files.
//
//   ST1  In each direction one task at a time awaits an operation, which ends with a Result.
//   ST2  When the chain is cancelled, the operation ends with ECANCELED, and no byte is lost: what
//        a read did not return can still be read. Of a write, an unknown part has been sent.
//   ST3  write_all() ends when the kernel has taken every byte: so a peer that does not read holds
//        back the task that writes to it, and no other task.
//   ST4  A Stream closes its descriptor when it is destroyed. It aborts if an operation is awaited
//        then. Closing does not block, whatever SO_LINGER says: with a time the option is switched
//        off, and the kernel sends what is unsent; with 0 the connection is reset. A Stream must be
//        destroyed before its loop, which aborts otherwise: so under run(), no Stream is a global.
//   ST5  0, or an empty Lease, means that the peer ended the stream. If the connection broke
//        instead (a reset, a timeout), reads return the data that had arrived and then the error,
//        every time, even if a write has reported the error before.
//   ST6  release() gives the descriptor up, so that another loop or process can have it. Nothing
//        that has arrived is lost. A stream that is known to be broken is not released: the next
//        owner would read 0, as if it had ended. It aborts if an operation is awaited.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "duolu/base/check.hpp"
#include "duolu/base/result.hpp"
#include "duolu/engine/engine.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/loop/loop.hpp"
#include "duolu/net/address.hpp"
#include "duolu/net/request.hpp"

namespace duolu {

/// Received bytes in a buffer of the engine, which is given back when the Lease is destroyed.
/// Move-only. The number of buffers is limited: a Lease that is held while the task waits for
/// something else keeps one of them.
class [[nodiscard]] Lease {
 public:
  /// Empty: the end of the stream.
  Lease() = default;
  /// Takes over what Engine::recv_lent() has received.
  explicit Lease(LentBuffer& buffer) noexcept : buffer_(&buffer) {}
  Lease(Lease&& other) noexcept : buffer_(other.release()) {}
  Lease& operator=(Lease&& other) noexcept {
    if (this != &other) {
      reset();
      buffer_ = other.release();
    }
    return *this;
  }
  ~Lease() { reset(); }

  /// Whether there are bytes: false at the end of the stream, and after a move.
  [[nodiscard]] explicit operator bool() const noexcept { return buffer_ != nullptr; }
  [[nodiscard]] std::span<char> bytes() const noexcept {
    if (buffer_ == nullptr) return {};
    return {buffer_->bytes(), buffer_->size};
  }
  [[nodiscard]] std::string_view text() const noexcept {
    const std::span<char> all = bytes();
    return {all.data(), all.size()};
  }
  /// Gives the buffer back.
  void reset() noexcept {
    if (buffer_ != nullptr) Engine::give_back(*release());
  }
  /// Gives up the bytes; the caller has to give the buffer back.
  [[nodiscard]] LentBuffer* release() noexcept { return std::exchange(buffer_, nullptr); }

 private:
  LentBuffer* buffer_ = nullptr;  ///< One word, since it is in the frame of every task that reads.
};

/// Errors that do not come from a system call, in a category of their own.
enum class StreamError : std::uint8_t {
  ended = 1,  ///< The stream ended before all the requested data had arrived.
  too_long,   ///< The requested data is longer than the limit.
  refused,    ///< A connection was accepted and closed, since the engine could not take it.
};
[[nodiscard]] std::error_code make_error_code(StreamError error) noexcept;
/// Whether `error` is of this kind. Errors of Listener that are `refused` also have
/// the engine's error, which message() names; so they differ from make_error_code(refused).
[[nodiscard]] bool operator==(const std::error_code& error, StreamError kind) noexcept;
namespace detail {
/// StreamError::refused because of `reason`, an errno value.
[[nodiscard]] std::error_code refused_for(std::error_code reason) noexcept;
}  // namespace detail

namespace detail {

struct ReadLeaseRequest : InRequest {
  static Lease value(const Descriptor& descriptor) noexcept {
    if (descriptor.in.result == 0) return {};
    return Lease(Engine::lent(descriptor));
  }
  static Result<Lease> result(const Descriptor& descriptor) noexcept {
    if (descriptor.in.result < 0) return fail(-descriptor.in.result);
    return value(descriptor);
  }
};

struct WriteRequest : OutRequest {
  static bool start(Descriptor& descriptor) { return descriptor.engine->start_send(descriptor); }
};

struct WriteLeaseRequest : OutRequest {
  static bool start(Descriptor& descriptor) {
    return descriptor.engine->start_send_lent(descriptor);
  }
  static void refuse(Descriptor& descriptor) noexcept {
    Engine::give_back(LentBuffer::of(descriptor.out.data));
    descriptor.engine->refuse(descriptor.out);
  }
};

/// Several parts, in order.
template <std::size_t count>
struct WritePartsRequest : OutRequest {
  std::array<iovec, count> parts;
  msghdr message{};
  bool start(Descriptor& descriptor) {
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    Engine::prepare_out(descriptor, Op::Code::sendmsg, &message, 0);
    return descriptor.engine->start_out(descriptor);
  }
};

}  // namespace detail

/// A connected byte stream. Move-only. See the clauses at the top.
class Stream {
 public:
  Stream() = default;
  /// Takes ownership of a descriptor of an engine.
  explicit Stream(Descriptor& descriptor) noexcept : descriptor_(&descriptor) {}
  /// Takes ownership of a connected stream socket, a pipe, a terminal or a file, and makes it
  /// non-blocking. `fd` is closed on failure. For standard input and output, which other processes
  /// share, see standard.hpp. Errors: as fcntl(2) and Engine::open(). A regular file is not waited
  /// for by the engines over a Poller: reading and writing it holds up the loop until the disk has
  /// answered. File (file.hpp) does not.
  [[nodiscard]] static Result<Stream> open(Loop& loop, Fd fd);
  Stream(Stream&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, &detail::no_descriptor)) {}
  Stream& operator=(Stream&& other) noexcept {
    if (this != &other) {
      close();
      descriptor_ = std::exchange(other.descriptor_, &detail::no_descriptor);
    }
    return *this;
  }
  ~Stream() { close(); }

  /// Reads up to `size` bytes, which is at least 1; returns their number, 0 at the end of the
  /// stream. Errors: as recv(2) or read(2).
  [[nodiscard("co_await it")]] auto* read(void* buffer, std::size_t size) noexcept {
    Engine::prepare_recv(*descriptor_, buffer, size);
    return detail::pending<detail::InRequest>(descriptor_);
  }
  /// The same into an array, a string, a vector or a span.
  template <class Buffer>
    requires requires(Buffer& b) { std::span<char>(b); }
  [[nodiscard("co_await it")]] auto* read(Buffer&& buffer) noexcept {
    return read(std::data(buffer), std::size(buffer));
  }
  /// Reads what there is into a buffer of the engine: a connection that waits has no buffer. Empty
  /// at the end of the stream.
  [[nodiscard("co_await it")]] auto* read_lease() noexcept {
    Engine::prepare_in(*descriptor_, Op::Code::recv_lent);
    return detail::pending<detail::ReadLeaseRequest>(descriptor_);
  }
  /// Fills `buffer`. StreamError::ended if the stream ends before. What was received by then is in
  /// the buffer, as after any error, but how much is not returned: a Reader loses nothing.
  Task<Result<>> read_exact(std::span<char> buffer);

  /// Sends `size` bytes, at most Engine::most_bytes, which must not change until it has ended.
  /// Errors: as send(2) or write(2); EPIPE and ECONNRESET when the peer is gone. Writing to a pipe
  /// without a reader also raises SIGPIPE, as write(2) does, unless the program ignores it.
  [[nodiscard("co_await it")]] auto* write_all(const void* bytes, std::size_t size) noexcept {
    Engine::prepare_send(*descriptor_, bytes, size);
    return detail::pending<detail::WriteRequest>(descriptor_);
  }
  [[nodiscard("co_await it")]] auto* write_all(std::string_view bytes) noexcept {
    return write_all(bytes.data(), bytes.size());
  }
  /// The same for a vector, an array or a span of char, unsigned char or std::byte.
  template <class Bytes>
    requires(!std::is_convertible_v<const Bytes&, std::string_view> &&
             sizeof(*std::data(std::declval<const Bytes&>())) == 1)
  [[nodiscard("co_await it")]] auto* write_all(const Bytes& bytes) noexcept {
    return write_all(std::data(bytes), std::size(bytes));
  }
  /// Sends several pieces in order, with one system call as long as the peer takes them. So pieces
  /// of at most PIPE_BUF bytes in all are not mixed with those of other writers of a pipe, nor are
  /// pieces to a file that was opened with O_APPEND (pipe(7), write(2)).
  template <class... More>
  auto write_all(std::string_view first, std::string_view second, More... more) noexcept {
    return detail::MessageAwaitable<detail::WritePartsRequest<2 + sizeof...(More)>>{
        descriptor_, {{}, {part(first), part(second), part(more)...}, {}}};
  }
  /// Sends all of `lease`, which is not empty, and gives its buffer back at once: a peer that does
  /// not read keeps memory of the same size, and none of the buffers that can be lent.
  // [write]
  [[nodiscard("co_await it")]] auto* write_all(Lease&& lease) noexcept {
    if (!lease) [[unlikely]]
      check_failed("write_all() of an empty Lease: after the end there is nothing to write");
    Engine::prepare_send_lent(*descriptor_, *lease.release());
    return detail::pending<detail::WriteLeaseRequest>(descriptor_);
  }
  // [/write]

  /// How many bytes of the last write_all() have been sent, while it is awaited or after it failed.
  [[nodiscard]] std::size_t sent() const noexcept {
    return detail::open_one(descriptor_).out.moved;
  }
  /// Whether the last write_all() has ended with success: false while it is awaited, true before
  /// the first one.
  [[nodiscard]] bool sent_all() const noexcept {
    const Op& out = detail::open_one(descriptor_).out;
    return !out.outstanding() && out.result >= 0;
  }

  /// Half-close: the peer reads the end of the stream; reading from it continues. Errors: as
  /// shutdown(2); ENOTSOCK for anything but a socket, whose stream is ended by close().
  Result<> close_writing() noexcept;
  void close() noexcept {
    if (*this) descriptor_->engine->close(*std::exchange(descriptor_, &detail::no_descriptor));
  }
  /// Gives up the descriptor, which stays non-blocking, and is like closed then; see ST6. To
  /// continue in the loop of another thread: `other.post()`, and there `Stream::open(other,
  /// std::move(fd))`. Errors: that of a broken connection; then the stream stays open.
  [[nodiscard]] Result<Fd> release() noexcept {
    Result<Fd> fd = detail::open_one(descriptor_).engine->release(*descriptor_);
    if (fd) descriptor_ = &detail::no_descriptor;
    return fd;
  }
  [[nodiscard]] explicit operator bool() const noexcept {
    return descriptor_ != &detail::no_descriptor;
  }

  /// The addresses of the other end and of this end; of family AF_UNSPEC if that is not known (no
  /// socket, or reset).
  [[nodiscard]] Address peer() const noexcept;
  [[nodiscard]] Address address() const noexcept;
  /// The descriptor's number, for setsockopt(2) and the like; this stream still owns it. Closing a
  /// stream whose number was never given out costs a system call less: see ST4.
  [[nodiscard]] int fd() const noexcept {
    Descriptor& descriptor = detail::open_one(descriptor_);
    descriptor.may_linger = true;
    return descriptor.fd;
  }
  [[nodiscard]] Kernel& kernel() const noexcept {
    return detail::open_one(descriptor_).engine->kernel();
  }

 private:
  static iovec part(std::string_view bytes) noexcept {
    return {.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  }

  Descriptor* descriptor_ = &detail::no_descriptor;
};

}  // namespace duolu

template <>
struct std::is_error_code_enum<duolu::StreamError> : std::true_type {};
