// Public. Layer: engine. Completion: a request is made, and later it has ended, with a result.
//
// This is the seam between waiting and everything above it. Two families implement it: one over any
// Poller (readiness: try, and if it would block wait until trying makes sense), and, later, one
// over io_uring (the kernel does it and tells). From above they cannot be told apart, but for the
// order in which different descriptors go on.
//
//   EN1  A request ends exactly once. Functions that make one return true if it ended at once, with
//        success: its result is there. False: it will be handed out by take_finished(), after some
//        wait(). Errors are always handed out.
//   EN2  A descriptor has two directions, and in each at most one request outstanding; a second one
//        aborts. Results are those of the system call: bytes, 0 for the end, a descriptor, -errno,
//        but never -EINTR, and -EAGAIN of connect() only: the backlog of a Unix socket is full, and
//        nothing reports when it no longer is.
//   EN3  A buffer, or what a msghdr points to, belongs to the engine while its request is
//        outstanding.
//   EN4  Nobody is called back. wait() collects; the caller takes what has finished, whenever it
//        likes, in the order in which it finished.
//   EN5  cancel() is a request too: an outstanding op ends with -ECANCELED, or with its real result
//        if that came first. Nothing that was received is lost: -ECANCELED means that no byte was
//        taken, or, of what sends, that Op::moved bytes were sent.
//   EN6  Requests that end at once have a budget from one wait() to the next; what exceeds it ends
//        too, but is handed out by take_finished(), so that one busy peer does not keep the others
//        waiting.
//   EN7  send(), send_lent() and sendmsg() end when everything was sent, or with an error; then
//        Op::moved says how much went out.
//   EN8  One thread makes all calls, except wake().
//   EN9  recv_lent() receives into a buffer of the engine's, which is lent with the result (not
//        with 0 or an error) until give_back() or send_lent(). There is a limit of buffers; who
//        would need one more waits for it, in order. Where there is no memory for one that the
//        limit allows, it waits as well, and ends with -ENOMEM if no other can come back.
//   EN10 send_lent() takes the buffer back at once, even when the peer does not read: what could
//        not be sent then waits in memory of its own, as much as a buffer. So peers that stall keep
//        no buffer from others.
//   EN11 What nobody waits for lets wait() sleep: bytes that are not read, room that is not used,
//        an end, an error wake it when they come, and not again.
//   EN12 An error that broke a connection (ECONNRESET, ETIMEDOUT and the like) is told by the
//        kernel once, to either direction. Here recv() and recv_lent() give it, after the data
//        that had come, however often they ask and whichever direction was told it first: 0 is
//        the end that the peer made. An error that a datagram met is told by the kernel to the
//        next request of its socket. Here it keeps no other datagram from being sent: recvmsg()
//        ends with it.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "duolu/base/check.hpp"
#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"
#include "duolu/kernel/kernel.hpp"
#include "duolu/poll/event.hpp"

namespace duolu {

class Engine;
class Poller;

/// One direction of a descriptor, and the request outstanding in it.
struct Op {
  enum class Code : std::uint8_t {
    none,
    recv,
    recv_lent,
    recvmsg,
    accept,
    send,
    send_lent,
    sendmsg,
    connect
  };
  enum class State : std::uint8_t {
    idle,      ///< No request, or it has ended and was handed out.
    parked,    ///< Outstanding.
    starved,   ///< Outstanding: there is no buffer to lend.
    finished,  ///< Ended, to be handed out by take_finished().
  };
  /// The engine's: whether a call could do more than park the request; and by which calls, so that
  /// one look tells both.
  enum class Chance : std::uint8_t {
    none,
    socket,  ///< By those of sockets.
    file,    ///< By read and write.
  };

  // Every connection has two: what is not needed at the same time shares its place.
  void* waiter = nullptr;  ///< The caller's own: who is to go on.
  Op* next = nullptr;      ///< The engine's: the list of finished ones, or of starved ones.
  union {
    char* data = nullptr;  ///< Of the request; of recv_lent, once it has ended, what was received.
    Op* previous;          ///< The engine's: in the list of starved ones.
  };
  std::uint64_t moved = 0;  ///< What sends: bytes sent so far.
  union {
    std::uint32_t size = 0;  ///< Of the request, until it ends; of sendmsg it is unused.
    std::int32_t result;     ///< Once it has ended.
  };
  Code code = Code::none;
  State state = State::idle;
  bool propagates = false;  ///< The caller's own: an error ends who waits, instead of going on.
  Chance chance = Chance::socket;

  [[nodiscard]] bool outstanding() const noexcept {
    return state == State::parked || state == State::starved;
  }
};

/// What is known of a descriptor that helps to wait for it.
enum class DescriptorKind : std::uint8_t {
  tcp,       ///< A TCP socket: a short transfer means that there is no more for now, also to edges.
  socket,    ///< Any other socket of a connection: to edges, only EAGAIN means it.
  datagram,  ///< A datagram socket: the same, and what it receives has no end.
  file,  ///< No socket: a pipe, a terminal, a regular file (which never blocks). read and write.
};

/// One file descriptor, opened in an Engine. Its address stays the same until it is closed.
struct Descriptor {
  Op in;   ///< recv, recv_lent, recvmsg, accept.
  Op out;  ///< send, send_lent, sendmsg, connect.
  Engine* engine = nullptr;
  int fd = -1;
  DescriptorKind kind = DescriptorKind::socket;
  // The rest is the engine's; of these, the readiness engine's:
  bool trusts_short = false;  ///< A short transfer means that there is no more for now.
  std::uint8_t armed = 0;     ///< The directions (Interest) that will be reported.
  std::uint8_t error = 0;     ///< The errno that the kernel has told already (EN12).
  std::uint64_t token = 0;
};

namespace detail {

/// What a Stream, Listener or Datagram refers to that was closed or moved from. Its requests are
/// never idle: the check that every request makes finds it, which costs nothing.
inline constinit Descriptor no_descriptor = [] {
  Descriptor none;
  none.in.state = none.out.state = Op::State::finished;
  return none;
}();

/// `request`: a Descriptor, or an Op in it.
[[noreturn]] void not_idle(const void* request) noexcept;

/// For what is no request.
inline Descriptor& open_one(Descriptor* descriptor) noexcept {
  if (descriptor == &no_descriptor) [[unlikely]]
    not_idle(descriptor);
  return *descriptor;
}

}  // namespace detail

/// A buffer of an engine's, lent with what was received into it (EN9). The bytes are behind it.
struct alignas(16) LentBuffer {
  Engine* engine;      ///< Whose it is.
  LentBuffer* next;    ///< The engine's: of those that are not lent.
  std::uint32_t size;  ///< Of the bytes in it; whoever it is lent to may make that less.

  [[nodiscard]] char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }
  /// The one with these bytes().
  static LentBuffer& of(void* bytes) noexcept { return static_cast<LentBuffer*>(bytes)[-1]; }
};

/// Makes requests on descriptors and tells when they have ended. See the clauses at the top.
class Engine {
 public:
  /// Sizes of buffers and results are at most this.
  static constexpr std::size_t most_bytes = 0x7fff'ffff;

  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  /// All descriptors must be closed, and all buffers given back.
  virtual ~Engine() = default;

  /// Takes over a non-blocking descriptor. On failure (EMFILE, ENOSPC, ENOMEM) it stays the
  /// caller's. May throw std::bad_alloc.
  virtual Result<Descriptor*> open(int fd, DescriptorKind kind) = 0;
  /// Closes it. No request may be outstanding in it: cancel, and take what has finished, first.
  virtual void close(Descriptor& descriptor) noexcept = 0;

  /// Receives up to `size` bytes (1 at least; more than most_bytes counts as that). Result: as
  /// recv(2).
  bool recv(Descriptor& descriptor, void* data, std::size_t size) {
    prepare_recv(descriptor, data, size);
    return start_in(descriptor);
  }
  /// See EN9. Result: as recv(2); then the buffer is lent().
  bool recv_lent(Descriptor& descriptor) {
    prepare_in(descriptor, Op::Code::recv_lent);
    return start_in(descriptor);
  }
  /// Receives one message with its sender: a datagram. Result: as recvmsg(2), with MSG_TRUNC: the
  /// size that the message had.
  bool recvmsg(Descriptor& descriptor, msghdr& message) {
    prepare_in(descriptor, Op::Code::recvmsg, &message, 0);
    return start_in(descriptor);
  }
  /// Accepts one connection. Result: its descriptor, or -errno.
  bool accept(Descriptor& descriptor) {
    prepare_in(descriptor, Op::Code::accept);
    return start_in(descriptor);
  }
  /// Sends all of `size` bytes, at most most_bytes. Result: 0, or -errno.
  bool send(Descriptor& descriptor, const void* data, std::size_t size) {
    prepare_send(descriptor, data, size);
    return start_send(descriptor);
  }
  /// What recv_lent() has received, when it has ended with more than 0.
  static LentBuffer& lent(const Descriptor& descriptor) noexcept {
    LentBuffer& buffer = LentBuffer::of(descriptor.in.data);
    buffer.size = static_cast<std::uint32_t>(descriptor.in.result);
    return buffer;
  }
  /// See EN10. The same as send(), of what recv_lent() of this engine has received.
  bool send_lent(Descriptor& descriptor, LentBuffer& buffer) {
    prepare_send_lent(descriptor, buffer);
    return start_send_lent(descriptor);
  }
  /// Sends all parts of `message`, one after the other, however many they are; of a datagram, to
  /// where it says. They go out in one system call as long as the kernel takes them, IOV_MAX parts
  /// (1,024 in Linux) at a time; a message of more is refused, where messages have boundaries. The
  /// parts change on the way. Result: 0, or -errno; -ENOBUFS when the queue of a Unix peer is full
  /// that `message` names: for its room the kernel lets nobody wait.
  bool sendmsg(Descriptor& descriptor, msghdr& message) {
    prepare_out(descriptor, Op::Code::sendmsg, &message, 0);
    return start_out(descriptor);
  }
  /// Connects a socket, as the first request of its descriptor. Result: 0, or -errno.
  bool connect(Descriptor& descriptor, const sockaddr* address, socklen_t size) {
    prepare_out(descriptor, Op::Code::connect, address, size);
    return start_out(descriptor);
  }
  /// See EN5. Does nothing if nothing is outstanding.
  virtual void cancel(Op& op) noexcept = 0;

  // The same in two steps, for those who await: first prepare…(), then the start of its kind.

  /// Notes what is requested.
  static void prepare_in(Descriptor& descriptor, Op::Code code) noexcept {
    if (descriptor.in.state != Op::State::idle) [[unlikely]]
      detail::not_idle(&descriptor);
    descriptor.in.code = code;
  }
  static void prepare_in(Descriptor& descriptor, Op::Code code, const void* data,
                         std::uint32_t size) noexcept {
    prepare_in(descriptor, code);
    descriptor.in.data = static_cast<char*>(const_cast<void*>(data));
    descriptor.in.size = size;
  }
  static void prepare_out(Descriptor& descriptor, Op::Code code, const void* data,
                          std::uint32_t size) noexcept {
    if (descriptor.out.state != Op::State::idle) [[unlikely]]
      detail::not_idle(&descriptor);
    descriptor.out.code = code;
    descriptor.out.data = static_cast<char*>(const_cast<void*>(data));
    descriptor.out.size = size;
  }
  /// recv: 1 byte at least.
  static void prepare_recv(Descriptor& descriptor, void* data, std::size_t size) noexcept {
    DUOLU_CHECK(size > 0);
    prepare_in(descriptor, Op::Code::recv, data,
               static_cast<std::uint32_t>(size < most_bytes ? size : most_bytes));
  }
  /// send: most_bytes at most.
  static void prepare_send(Descriptor& descriptor, const void* data, std::size_t size) noexcept {
    DUOLU_CHECK(size <= most_bytes);
    prepare_out(descriptor, Op::Code::send, data, static_cast<std::uint32_t>(size));
  }
  static void prepare_send_lent(Descriptor& descriptor, LentBuffer& buffer) noexcept {
    prepare_out(descriptor, Op::Code::send_lent, buffer.bytes(), buffer.size);
  }
  /// Of recv, recv_lent, recvmsg, accept. Mostly the last one has emptied it, and it only parks.
  bool start_in(Descriptor& descriptor) {
    if (descriptor.in.chance != Op::Chance::none) [[unlikely]]
      return try_in(descriptor);
    descriptor.in.state = Op::State::parked;
    return false;
  }
  /// Of send.
  virtual bool start_send(Descriptor& descriptor) = 0;
  virtual bool start_send_lent(Descriptor& descriptor) = 0;
  /// Of sendmsg, connect.
  virtual bool start_out(Descriptor& descriptor) = 0;
  /// Ends what was prepared, or was going to be, without making it: with -ECANCELED.
  void refuse(Op& op) noexcept {
    if (op.state != Op::State::idle) [[unlikely]]
      detail::not_idle(&op);
    op.moved = 0;
    finish(op, -ECANCELED);
  }

  /// Ends what recv_lent() began to lend. Of any engine, in the thread of that one.
  static void give_back(LentBuffer& buffer) noexcept {
    buffer.next = std::exchange(buffer.engine->spare_, &buffer);
  }
  /// The size of a lent buffer.
  [[nodiscard]] std::size_t buffer_size() const noexcept { return buffer_size_; }

  /// Waits until a request has ended, wake() was called, or `deadline` has passed; not at all while
  /// there is something to take. Whether wake() was called. Errors: as Poller::wait().
  virtual Result<bool> wait(Instant deadline) = 0;
  /// Makes the wait() under way, or the next one, return. Any thread, any signal handler.
  virtual void wake() noexcept = 0;
  /// Readable when wait(immediately) would find something; -1 if there is no such descriptor.
  [[nodiscard]] virtual int fd() const noexcept = 0;
  /// The kernel that it makes requests to.
  [[nodiscard]] Kernel& kernel() const noexcept { return kernel_; }

  /// All requests that have finished, the first one first, linked by Op::next; null if there are
  /// none. Each is handed out when its state is set to idle, which the caller does.
  Op* take_finished() noexcept {
    *last_ = nullptr;
    last_ = &first_;
    return std::exchange(first_, nullptr);
  }
  [[nodiscard]] bool has_finished() const noexcept { return last_ != &first_; }
  /// Whether wait(immediately) should be called although fd() is silent: for whoever watches that.
  [[nodiscard]] virtual bool due() const noexcept { return has_finished(); }

 protected:
  Engine(Kernel& kernel, std::size_t buffer_size) noexcept
      : kernel_(kernel), buffer_size_(buffer_size) {}

  virtual bool try_in(Descriptor& descriptor) = 0;

  /// Has `op` handed out with `result`.
  void finish(Op& op, std::int32_t result) noexcept {
    op.result = result;
    op.state = Op::State::finished;
    *last_ = &op;
    last_ = &op.next;
  }

  LentBuffer* spare_ = nullptr;  ///< Those that are not lent.

 private:
  Kernel& kernel_;
  const std::size_t buffer_size_;
  Op* first_ = nullptr;
  Op** last_ = &first_;
};

/// What make_readiness_engine() takes.
struct EngineOptions {
  /// How many requests may end at once between two waits (EN6).
  int budget = 256;
  /// Bytes of a buffer that is lent, 1 at least. A message that fills it costs one
  /// more call, to see whether there is more: so larger than most.
  std::size_t buffer_size = std::size_t{32} * 1024;
  /// Most buffers lent at a time (EN9). Memory is taken when they are first needed.
  std::size_t buffers = 256;
  /// How descriptors are registered: what comes out is the same, what it costs is not. Empty:
  /// cheapest_trigger(). But for one thing: an error that stays and that no read takes away, such
  /// as a socket's error queue (IP_RECVERR), keeps wait() from sleeping while somebody reads there,
  /// with all but the edges of epoll.
  std::optional<Trigger> trigger{};
};

/// Edge where the kernel has edges (epoll), level elsewhere.
[[nodiscard]] Trigger cheapest_trigger(const Poller& poller) noexcept;

/// An engine over any Poller, which is then used by nobody else and outlives it.
[[nodiscard]] std::unique_ptr<Engine> make_readiness_engine(Poller& poller,
                                                            EngineOptions options = {});
/// The same, and the engine owns the poller (not null).
[[nodiscard]] std::unique_ptr<Engine> make_readiness_engine(std::unique_ptr<Poller> poller,
                                                            EngineOptions options = {});

}  // namespace duolu
