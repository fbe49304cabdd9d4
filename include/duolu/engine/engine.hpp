// Public. Layer: engine. Completion: a request is made, and later it has ended, with a result.
//
// This is the seam between waiting and everything above it. Two families implement it: one over any
// Poller (readiness: try, and if it would block wait until trying makes sense), and, later, one
// over io_uring (the kernel does it and tells). From above they cannot be told apart, but for the
// order in which different descriptors go on.
//
//   EN1  A request ends exactly once. Functions that make one return true if it ended at once: its
//        result is there. False: it is outstanding, and will be handed out by take_finished(),
//        after some wait().
//   EN2  A descriptor has two directions, and in each at most one request outstanding; a second one
//        aborts. Results are those of the system call: bytes, 0 for the end, a descriptor, -errno,
//        but never -EAGAIN and never -EINTR.
//   EN3  A buffer belongs to the engine while its request is outstanding.
//   EN4  Nobody is called back. wait() collects; the caller takes what has finished, whenever it
//        likes, in the order in which it finished.
//   EN5  cancel() is a request too: an outstanding op ends with -ECANCELED, or with its real result
//        if that came first. Nothing that was received is lost: -ECANCELED means that no byte was
//        taken, or, of a send(), that Op::moved bytes were sent.
//   EN6  Requests that end at once have a budget from one wait() to the next; what exceeds it ends
//        too, but is handed out by take_finished(), so that one busy peer does not keep the others
//        waiting.
//   EN7  send() ends when everything was sent, or with an error; then Op::moved says how much went
//        out.
//   EN8  One thread makes all calls, except wake().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"
#include "duolu/kernel/kernel.hpp"

namespace duolu {

class Engine;
class Poller;

/// One direction of a descriptor, and the request outstanding in it.
struct Op {
  enum class Code : std::uint8_t { none, recv, accept, send, connect };
  enum class State : std::uint8_t {
    idle,      ///< No request, or it has ended and was handed out.
    parked,    ///< Outstanding.
    finished,  ///< Ended, to be handed out by take_finished().
  };

  void* waiter = nullptr;   ///< The caller's own: who is to go on.
  Op* next = nullptr;       ///< The engine's: the list of finished ones.
  char* data = nullptr;     ///< Of the request.
  std::uint32_t size = 0;   ///< Of the request.
  std::uint32_t moved = 0;  ///< send: bytes sent so far.
  std::int32_t result = 0;  ///< Once it has ended.
  Code code = Code::none;
  State state = State::idle;
  bool propagates = false;  ///< The caller's own: an error ends who waits, instead of going on.
  bool maybe = true;        ///< The engine's: trying could succeed (readiness only).
};

/// What is known of a descriptor that helps to wait for it.
enum class DescriptorKind : std::uint8_t {
  tcp,    ///< A TCP socket: a short transfer means that there is no more for now.
  other,  ///< Any other socket: only EAGAIN means it.
};

/// One file descriptor, opened in an Engine. Its address stays the same until it is closed.
struct Descriptor {
  Op in;   ///< recv, accept.
  Op out;  ///< send, connect.
  Engine* engine = nullptr;
  int fd = -1;
  DescriptorKind kind = DescriptorKind::other;
  /// The engine's: a short transfer means that there is no more for now (readiness only).
  bool trusts_short = false;
  std::uint64_t token = 0;  ///< The engine's.
};

/// Makes requests on descriptors and tells when they have ended. See the clauses at the top.
class Engine {
 public:
  /// Sizes of buffers and results are below this.
  static constexpr std::size_t most_bytes = 0x7fff'ffff;

  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  /// All descriptors must be closed.
  virtual ~Engine() = default;

  /// Takes over a non-blocking socket. On failure (EMFILE, ENOSPC, ENOMEM; EPERM for what
  /// cannot be waited for, such as a regular file) it stays the caller's. May throw std::bad_alloc.
  virtual Result<Descriptor*> open(int fd, DescriptorKind kind) = 0;
  /// Closes it. No request may be outstanding in it: cancel, and take what has finished, first.
  virtual void close(Descriptor& descriptor) noexcept = 0;

  /// Receives up to `size` bytes (1 at least; more than most_bytes counts as that). Result: as
  /// recv(2).
  virtual bool recv(Descriptor& descriptor, void* data, std::size_t size) = 0;
  /// Sends all of `size` bytes. Result: 0, or -errno.
  virtual bool send(Descriptor& descriptor, const void* data, std::size_t size) = 0;
  /// Accepts one connection. Result: its descriptor, or -errno.
  virtual bool accept(Descriptor& descriptor) = 0;
  /// Connects a socket, as the first request of its descriptor. Result: 0, or -errno.
  virtual bool connect(Descriptor& descriptor, const sockaddr* address, socklen_t size) = 0;
  /// See EN5. Does nothing if nothing is outstanding.
  virtual void cancel(Op& op) noexcept = 0;

  /// Waits until a request has ended, wake() was called, or `deadline` has passed; not at all while
  /// there is something to take. Whether wake() was called. Errors: as Poller::wait().
  virtual Result<bool> wait(Instant deadline) = 0;
  /// Makes the wait() under way, or the next one, return. Any thread, any signal handler.
  virtual void wake() noexcept = 0;
  /// Readable when wait(immediately) would find something; -1 if there is no such descriptor.
  [[nodiscard]] virtual int fd() const noexcept = 0;
  /// The kernel that it makes requests to.
  [[nodiscard]] Kernel& kernel() const noexcept { return kernel_; }

  /// The request that has finished first, now handed out; null if there is none.
  Op* take_finished() noexcept {
    Op* const op = first_;
    if (op == nullptr) return nullptr;
    first_ = op->next;
    op->state = Op::State::idle;
    return op;
  }
  [[nodiscard]] bool has_finished() const noexcept { return first_ != nullptr; }
  /// The request that has finished last, if has_finished().
  [[nodiscard]] const Op* last_finished() const noexcept { return last_; }

 protected:
  explicit Engine(Kernel& kernel) noexcept : kernel_(kernel) {}

  /// Has `op` handed out with `result`.
  void finish(Op& op, std::int32_t result) noexcept {
    op.result = result;
    op.state = Op::State::finished;
    op.next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = &op;
    last_ = &op;
  }

 private:
  Kernel& kernel_;
  Op* first_ = nullptr;
  Op* last_ = nullptr;
};

/// How many requests may end at once between two waits (EN6).
inline constexpr int default_budget = 256;

/// An engine over any Poller, which is then used by nobody else and outlives it. Every descriptor
/// is registered once, edge-triggered, for both directions.
[[nodiscard]] std::unique_ptr<Engine> make_readiness_engine(Poller& poller,
                                                            int budget = default_budget);

}  // namespace duolu
