// Public. Layer: net. Byte streams for tasks: TCP, Unix sockets, pipes, terminals, files.
//
//   ST1  Every operation is awaited by one task at a time and direction, and ends with a Result.
//   ST2  When the strand is cancelled it ends with ECANCELED, and no byte is lost: what was not
//        returned is still there to be read. Of what writes, an unknown part has been sent.
//   ST3  write_all() ends when the system has taken every byte: so a peer that does not read holds
//        back who writes to it, and nobody else.
//   ST4  A Stream closes its descriptor when it is destroyed. Nothing of it may be awaited then: it
//        aborts. Closing does not block, whatever SO_LINGER says: a time is taken back, and the
//        system sends what is unsent; with 0 the connection is reset. It is destroyed before its
//        loop is, which aborts otherwise: so under run(), no Stream is a global.
//   ST5  0, or an empty Lease, is the end that the peer made. Where the connection broke instead (a
//        reset, a timeout), reading gives what had come and then the error, however often, also if
//        the error was told to a write before.
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

/// Bytes that were received into a buffer of the engine's, which goes back when this is destroyed.
/// Move-only. Holding it while waiting for something else holds one of a limited number.
class [[nodiscard]] Lease {
 public:
  /// Nothing: the end of the stream.
  Lease() = default;
  /// What Engine::recv_lent() has received.
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
  /// The bytes, and with them the duty to give the buffer back.
  [[nodiscard]] LentBuffer* release() noexcept { return std::exchange(buffer_, nullptr); }

 private:
  LentBuffer* buffer_ = nullptr;  ///< One word in the frame of every task that reads.
};

/// Errors that are no system call's, in a category of their own.
enum class StreamError : std::uint8_t {
  ended = 1,  ///< The stream ended before what was asked for was complete.
  too_long,   ///< What was asked for is longer than the limit.
  refused,    ///< A connection was accepted, and closed: there is no room to wait for it.
};
[[nodiscard]] std::error_code make_error_code(StreamError error) noexcept;

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

/// Several parts, one after the other.
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
  /// Takes over a descriptor of an engine.
  explicit Stream(Descriptor& descriptor) noexcept : descriptor_(&descriptor) {}
  /// Takes over a connected stream socket, a pipe, a terminal or a file, and makes it non-blocking.
  /// `fd` is closed on failure. For standard input and output, which others share, see
  /// standard.hpp. Errors: as fcntl(2) and Engine::open().
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

  /// Up to `size` bytes, which is 1 at least; 0 at the end of the stream. Errors: recv(2)'s or
  /// read(2)'s.
  [[nodiscard]] auto* read(void* buffer, std::size_t size) noexcept {
    Engine::prepare_recv(*descriptor_, buffer, size);
    return detail::pending<detail::InRequest>(descriptor_);
  }
  /// The same into an array, a string, a vector, a span.
  template <class Buffer>
    requires requires(Buffer& b) { std::span<char>(b); }
  [[nodiscard]] auto* read(Buffer&& buffer) noexcept {
    return read(std::data(buffer), std::size(buffer));
  }
  /// What there is, in a buffer of the engine's: whoever waits needs none. Empty at the end of the
  /// stream.
  [[nodiscard]] auto* read_lease() noexcept {
    Engine::prepare_in(*descriptor_, Op::Code::recv_lent);
    return detail::pending<detail::ReadLeaseRequest>(descriptor_);
  }
  /// Fills `buffer`. StreamError::ended if the stream ends before; what has come by then is in the
  /// buffer, as it is after any error: whoever must lose nothing uses a Reader.
  [[nodiscard]] Task<Result<>> read_exact(std::span<char> buffer);

  /// Sends `size` bytes, at most Engine::most_bytes, which stay as they are until it has ended.
  /// Errors: send(2)'s or write(2)'s; EPIPE and ECONNRESET when the peer is gone. A pipe that
  /// nobody reads any more raises SIGPIPE too, as write(2) does, unless the program ignores it.
  [[nodiscard]] auto* write_all(const void* bytes, std::size_t size) noexcept {
    Engine::prepare_send(*descriptor_, bytes, size);
    return detail::pending<detail::WriteRequest>(descriptor_);
  }
  [[nodiscard]] auto* write_all(std::string_view bytes) noexcept {
    return write_all(bytes.data(), bytes.size());
  }
  /// Sends several pieces, one after the other, with one system call as long as the peer takes
  /// them. So pieces that are together at most PIPE_BUF bytes are not torn by other writers of a
  /// pipe, nor are those to a file that was opened with O_APPEND (pipe(7), write(2)).
  template <class... More>
  auto write_all(std::string_view first, std::string_view second, More... more) noexcept {
    return detail::MessageAwaitable<detail::WritePartsRequest<2 + sizeof...(More)>>{
        descriptor_, {{}, {part(first), part(second), part(more)...}, {}}};
  }
  /// Sends all of `lease`, not empty, and gives its buffer back at once: a peer that does not read
  /// keeps none of those that are lent, but memory of the same size.
  // [write]
  [[nodiscard]] auto* write_all(Lease&& lease) noexcept {
    DUOLU_CHECK(lease);
    Engine::prepare_send_lent(*descriptor_, *lease.release());
    return detail::pending<detail::WriteLeaseRequest>(descriptor_);
  }
  // [/write]

  /// How much of the last write_all() has gone out: while it is awaited, or after it has failed.
  [[nodiscard]] std::size_t sent() const noexcept {
    return detail::open_one(descriptor_).out.moved;
  }

  /// Half-close: tells the peer that nothing more comes; reading goes on. Errors: shutdown(2)'s;
  /// ENOTSOCK for what is no socket, whose end is told by close().
  Result<> close_writing() noexcept;
  void close() noexcept {
    if (*this) descriptor_->engine->close(*std::exchange(descriptor_, &detail::no_descriptor));
  }
  [[nodiscard]] explicit operator bool() const noexcept {
    return descriptor_ != &detail::no_descriptor;
  }

  /// Who is at the other end, and where this end is; an Address of family AF_UNSPEC if that cannot
  /// be told (no socket, or reset).
  [[nodiscard]] Address peer() const noexcept;
  [[nodiscard]] Address address() const noexcept;
  /// The descriptor's number, for setsockopt(2) and the like; still this stream's.
  [[nodiscard]] int fd() const noexcept { return detail::open_one(descriptor_).fd; }
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
