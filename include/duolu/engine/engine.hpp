// Public. Layer: engine. Completion: a request is made, and ends later, with a result.
//
// This is the seam between waiting and everything above it. Two engines implement it: one over any
// Poller (readiness: try the call, and if it would block, wait until it would not), and one over
// io_uring (the kernel performs the call and reports its end). Users cannot tell them apart, except
// by the order in which requests of different descriptors end.
//
//   EN1  A request ends exactly once. Functions that make a request return true if it ended at
//        once, with success: its result can be read. False: take_finished() will hand it out, after
//        some wait(). Errors are always handed out.
//   EN2  A descriptor has two directions, each with at most one outstanding request; a second one
//        aborts. Results are those of the system call: bytes, 0 for end of stream, a descriptor,
//        -errno, but never -EINTR, and -EAGAIN only of connect(): the backlog of a Unix socket is
//        full, and the kernel does not report when it no longer is.
//   EN3  The buffer of an outstanding request, or what its msghdr points to, belongs to the engine.
//   EN4  There are no callbacks. wait() collects; the caller takes the finished requests when it
//        likes, in the order in which they finished.
//   EN5  cancel() is a request too: an outstanding op ends with -ECANCELED, or with its real result
//        if that came first. No received byte is lost: -ECANCELED means that no byte was taken, or,
//        for a request that sends, that Op::moved bytes were sent.
//   EN6  A budget limits how many requests end at once between two wait()s. A request beyond it
//        ends too, but is handed out by take_finished(), so that one busy peer does not keep the
//        others waiting.
//   EN7  send(), send_lent() and sendmsg() end when everything was sent, or with an error; then
//        Op::moved says how much was sent.
//   EN8  One thread makes all calls, except wake(). Another one may make the engine and destroy it.
//   EN9  recv_lent() receives into a buffer of the engine, which is lent with the result (not with
//        0 or an error) until give_back() or send_lent(). The number of buffers is limited; a
//        request that needs one more waits for it, in order. A request also waits when there is no
//        memory for a buffer within the limit, and ends with -ENOMEM if no buffer is lent that
//        could come back.
//   EN10 The buffer given to send_lent() can be lent again by the end of the next wait(), even when
//        the peer does not read: the unsent rest waits in memory of its own, of the size of a
//        buffer. So peers that stall keep no buffer from others.
//   EN11 A condition that no request is waiting for wakes wait() at most once. Unread bytes, free
//        send space, end of stream and errors do not keep it from sleeping.
//   EN12 The kernel reports an error that broke a connection (ECONNRESET, ETIMEDOUT and the like)
//        once, to either direction. Here recv() and recv_lent() return it, after the data that had
//        arrived, every time and whichever direction the kernel reported it to: 0 means that the
//        peer ended the stream. The kernel reports an error of an earlier datagram to the next
//        request of its socket. Here it keeps no other datagram from being sent: recvmsg() ends
//        with it.
//   EN13 release() gives a descriptor up: it stays open, and another engine or process can use it.
//        Where the kernel has reported already that the connection is broken (EN12), release()
//        fails with that error: the next owner would not learn of it.
//   EN14 poll_in() and poll_out() end when reading, or writing, would not block, and do neither.
//   EN15 An engine may receive bytes before they are requested, but at most buffer_size() of each
//        descriptor, and none while a request of another one waits for a buffer (EN9). The rest
//        stays in the kernel, where it holds back the peer. The next requests return these bytes
//        first, in order.
//   EN16 start_file() makes a request about a file, or returns false: this engine performs none,
//        or not now, and the caller has to do it elsewhere. A request that was made ends as EN1 to
//        EN5 say, but never at once. Any number can be outstanding, of one file too. A read or a
//        write may move less than was asked.
//   EN17 An engine may accept connections before they are requested, but at most 16 of each
//        listener, and none after an accept() was cancelled until the next one. The next accept()s
//        return these first, in order. close() and release() reset those that nobody has requested,
//        as the kernel does with the connections in the backlog.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "duolu/base/check.hpp"
#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/kernel/kernel.hpp"

namespace duolu {

class Engine;

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
    connect,
    poll_in,
    poll_out,
    file  ///< A FileOp.
  };
  enum class State : std::uint8_t {
    idle,      ///< No request, or one that has ended and was handed out.
    parked,    ///< Outstanding.
    starved,   ///< Outstanding: there is no buffer to lend.
    finished,  ///< Ended, to be handed out by take_finished().
  };

  // Every connection has two: members that are not needed at the same time share memory.
  void* waiter = nullptr;  ///< For the caller: what to resume.
  Op* next = nullptr;      ///< For the engine: in the list of finished ops, or of starved ops.
  union {
    char* data = nullptr;  ///< Of the request; of recv_lent, once it has ended, what was received.
    Op* previous;          ///< For the engine: in the list of starved ops.
  };
  std::uint64_t moved = 0;  ///< Of requests that send: bytes sent so far.
  union {
    std::uint32_t size = 0;  ///< Of the request, until it ends; unused by sendmsg.
    std::int32_t result;     ///< Once it has ended.
  };
  Code code = Code::none;
  State state = State::idle;
  bool propagates = false;  ///< For the caller: an error ends the waiter instead of resuming it.
  std::uint8_t calls = 1;   ///< For the engine; 0: start_in() parks the request and does no more.

  [[nodiscard]] bool outstanding() const noexcept {
    return state == State::parked || state == State::starved;
  }
};

/// A request about a file, which needs no Descriptor (EN16). Stays at its address until it ends.
/// `data` and `size` are the buffer; of `open`, the path and the permissions of a new file; of
/// `status`, a RingStatus (ring.hpp). Result: as the system call; of `status`, 0.
struct FileOp : Op {
  enum class Kind : std::uint8_t { open, read, write, sync, sync_data, status, close };
  Kind kind = Kind::read;
  int fd = -1;               ///< Unused by `open`.
  int flags = 0;             ///< Of `open`: as for open(2).
  std::uint64_t offset = 0;  ///< Of `read` and `write`.
};

/// What a descriptor is, as far as it matters for waiting.
enum class DescriptorKind : std::uint8_t {
  tcp,       ///< A TCP socket: after a short transfer there is no more for now, even with edges.
  socket,    ///< Any other connected socket: with edges, only EAGAIN means that.
  datagram,  ///< A datagram socket: the same, and receiving 0 bytes is no end.
  file,  ///< No socket: a pipe, a terminal, a regular file (read and write block). read and write.
};

/// One file descriptor, opened in an Engine. Its address stays the same until it is closed.
struct Descriptor {
  Op in;   ///< recv, recv_lent, recvmsg, accept, poll_in.
  Op out;  ///< send, send_lent, sendmsg, connect, poll_out.
  Engine* engine = nullptr;
  int fd = -1;
  DescriptorKind kind : 7 = DescriptorKind::socket;
  bool may_linger : 1 = true;  ///< SO_LINGER may be set: closing a TCP socket has to look.
  // Behind these, an engine has members of its own.
};

namespace detail {

/// What a Stream, Listener or Datagram refers to once it was closed or moved from. Its ops are
/// never idle, so the check that every request makes finds the mistake at no extra cost.
inline constinit Descriptor no_descriptor = [] {
  Descriptor none;
  none.in.state = none.out.state = Op::State::finished;
  return none;
}();

/// Aborts: a request of `op`'s direction is made while another one is outstanding, or the
/// descriptor is no_descriptor.
[[noreturn]] void not_idle(const Op& op) noexcept;

/// For uses that make no request: aborts if it is no_descriptor.
inline Descriptor& open_one(Descriptor* descriptor) noexcept {
  if (descriptor == &no_descriptor) [[unlikely]]
    not_idle(descriptor->in);
  return *descriptor;
}

}  // namespace detail

/// A buffer of an engine, lent with what was received into it (EN9). The bytes follow it in memory.
struct alignas(16) LentBuffer {
  Engine* engine;      ///< Its owner.
  LentBuffer* next;    ///< For the engine: in the list of those that are not lent.
  std::uint32_t size;  ///< Of the bytes in it; the borrower may reduce it.

  [[nodiscard]] char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }
  /// The one with these bytes().
  static LentBuffer& of(void* bytes) noexcept { return static_cast<LentBuffer*>(bytes)[-1]; }
};

/// Makes requests on descriptors and reports when they have ended. See the clauses at the top.
class Engine {
 public:
  /// Upper bound of the sizes of buffers and of results.
  static constexpr std::size_t most_bytes = 0x7fff'ffff;

  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  /// All descriptors must be closed, and all buffers given back.
  virtual ~Engine() = default;

  /// Takes ownership of a non-blocking descriptor; not on failure (EMFILE, ENOSPC, ENOMEM). May
  /// throw std::bad_alloc.
  virtual Result<Descriptor*> open(int fd, DescriptorKind kind) = 0;
  /// Closes it. No request may be outstanding in it: cancel, and take what has finished, first.
  virtual void close(Descriptor& descriptor) noexcept = 0;
  /// See EN13. Like close(), but returns the descriptor, which is still non-blocking. Errors: that
  /// of a broken connection; then it stays open here.
  virtual Result<Fd> release(Descriptor& descriptor) noexcept = 0;

  /// Receives up to `size` bytes (at least 1), but at most most_bytes. Result: as recv(2).
  bool recv(Descriptor& descriptor, void* data, std::size_t size) {
    prepare_recv(descriptor, data, size);
    return start_in(descriptor);
  }
  /// See EN9. Result: as recv(2); lent() returns the buffer.
  bool recv_lent(Descriptor& descriptor) {
    prepare_in(descriptor, Op::Code::recv_lent);
    return start_in(descriptor);
  }
  /// Receives one message, a datagram, with its sender. Result: as recvmsg(2) with MSG_TRUNC: the
  /// size of the whole message.
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
  /// What recv_lent() has received, after it has ended with more than 0.
  static LentBuffer& lent(const Descriptor& descriptor) noexcept {
    LentBuffer& buffer = LentBuffer::of(descriptor.in.data);
    buffer.size = static_cast<std::uint32_t>(descriptor.in.result);
    return buffer;
  }
  /// See EN10. The same as send(), of a buffer that recv_lent() of this engine has lent.
  bool send_lent(Descriptor& descriptor, LentBuffer& buffer) {
    prepare_send_lent(descriptor, buffer);
    return start_send_lent(descriptor);
  }
  /// Sends all parts of `message` in order, however many they are; a datagram goes to the address
  /// in `message`. One system call sends as many as the kernel takes, up to IOV_MAX parts (1,024 on
  /// Linux); where messages have boundaries, one with more parts is refused. The parts are modified
  /// meanwhile. Result: 0, or -errno; -ENOBUFS when `message` names a Unix peer whose queue is
  /// full, since the kernel offers no way to wait for room in it.
  bool sendmsg(Descriptor& descriptor, msghdr& message) {
    prepare_out(descriptor, Op::Code::sendmsg, &message, 0);
    return start_out(descriptor);
  }
  /// Connects a socket, as the first request of its descriptor. Result: 0, or -errno.
  bool connect(Descriptor& descriptor, const sockaddr* address, socklen_t size) {
    prepare_out(descriptor, Op::Code::connect, address, size);
    return start_out(descriptor);
  }
  /// See EN14. Result: 0, also for an end and an error of the descriptor; -EBADF if it is closed.
  bool poll_in(Descriptor& descriptor) {
    prepare_in(descriptor, Op::Code::poll_in);
    return start_in(descriptor);
  }
  bool poll_out(Descriptor& descriptor) {
    prepare_out(descriptor, Op::Code::poll_out, nullptr, 0);
    return start_out(descriptor);
  }
  /// See EN16. The caller has filled in `op` except for the members of an outstanding Op.
  virtual bool start_file(FileOp& /*op*/) { return false; }
  /// See EN5. Does nothing if nothing is outstanding.
  virtual void cancel(Op& op) noexcept = 0;

  // The same in two steps, for awaiters: first prepare…(), then the matching start…().

  /// Stores what is requested in the descriptor.
  static void prepare_in(Descriptor& descriptor, Op::Code code) noexcept {
    if (descriptor.in.state != Op::State::idle) [[unlikely]]
      detail::not_idle(descriptor.in);
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
      detail::not_idle(descriptor.out);
    descriptor.out.code = code;
    descriptor.out.data = static_cast<char*>(const_cast<void*>(data));
    descriptor.out.size = size;
  }
  /// recv: 1 byte at least.
  static void prepare_recv(Descriptor& descriptor, void* data, std::size_t size) noexcept {
    if (size == 0) [[unlikely]]
      check_failed("a read into an empty buffer, which could not be told from the end");
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
  /// Of recv, recv_lent, recvmsg, accept, poll_in. Usually the previous request has read
  /// everything, so that this one only parks.
  bool start_in(Descriptor& descriptor) {
    if (descriptor.in.calls != 0) [[unlikely]]
      return try_in(descriptor);
    descriptor.in.state = Op::State::parked;
    return false;
  }
  /// Of send.
  virtual bool start_send(Descriptor& descriptor) = 0;
  virtual bool start_send_lent(Descriptor& descriptor) = 0;
  /// Of sendmsg, connect, poll_out.
  virtual bool start_out(Descriptor& descriptor) = 0;
  /// Ends a request that was prepared, or would have been, with -ECANCELED, without making it.
  void refuse(Op& op) noexcept {
    if (op.state != Op::State::idle) [[unlikely]]
      detail::not_idle(op);
    op.moved = 0;
    finish(op, -ECANCELED);
  }

  /// Gives a lent buffer back to the engine it belongs to; in the thread of that engine.
  static void give_back(LentBuffer& buffer) noexcept {
    buffer.next = std::exchange(buffer.engine->spare_, &buffer);
  }
  /// The size of a lent buffer.
  [[nodiscard]] std::size_t buffer_size() const noexcept { return buffer_size_; }

  /// Waits until a request has ended, wake() was called, or `deadline` has passed; does not sleep
  /// while has_finished(). Returns whether wake() was called. Errors: as Poller::wait().
  virtual Result<bool> wait(Instant deadline) = 0;
  /// Makes the current wait(), or else the next one, return. Any thread, any signal handler.
  virtual void wake() noexcept = 0;
  /// Readable when wait(immediately) would find something; -1 if there is no such descriptor.
  [[nodiscard]] virtual int fd() const noexcept = 0;
  /// The kernel that it makes requests to.
  [[nodiscard]] Kernel& kernel() const noexcept { return kernel_; }

  /// All finished requests in the order in which they finished, linked by Op::next; null if there
  /// are none. The caller sets the state of each to idle; with that it is handed out.
  Op* take_finished() noexcept {
    *last_ = nullptr;
    last_ = &first_;
    return std::exchange(first_, nullptr);
  }
  [[nodiscard]] bool has_finished() const noexcept { return last_ != &first_; }
  /// For users of fd(): whether to call wait(immediately) although fd() is not readable.
  [[nodiscard]] virtual bool due() const noexcept { return has_finished(); }

 protected:
  Engine(Kernel& kernel, std::size_t buffer_size) noexcept
      : kernel_(kernel), buffer_size_(buffer_size) {}

  virtual bool try_in(Descriptor& descriptor) = 0;

  /// Ends `op` with `result`: take_finished() hands it out.
  void finish(Op& op, std::int32_t result) noexcept {
    op.result = result;
    op.state = Op::State::finished;
    *last_ = &op;
    last_ = &op.next;
  }

  LentBuffer* spare_ = nullptr;  ///< The buffers that are not lent.

 private:
  Kernel& kernel_;
  const std::size_t buffer_size_;
  Op* first_ = nullptr;
  Op** last_ = &first_;
};

}  // namespace duolu
