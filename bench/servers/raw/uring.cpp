// raw_uring PORT [multishot|own]: io_uring by its system calls. Exits with 3 where there is none.
//
//   multishot  a recv that stays armed and takes buffers from a ring that all connections share: an
//              idle connection costs no buffer
//   own        a recv into the connection's own buffer, armed again after each send
//
// 1. Descriptors are the ring's own (direct), so a connection is a number in the kernel's table and
//    the index in `connections`.
// 2. A connection has at most one outstanding send: a second one could overtake the rest of a first
//    that was too long for the socket. MSG_WAITALL makes the kernel finish what it began.
// 3. A connection's number is released when neither a recv nor a send is outstanding for it.
// 4. A multishot request has ended, for whatever reason, when a completion lacks F_MORE.
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../echo.hpp"
#include "../servers.hpp"

#ifndef IORING_SETUP_NO_SQARRAY  // since Linux 6.6
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif

namespace {

// --- the ring

constexpr unsigned submissions = 4096;
constexpr unsigned completions = 4 * submissions;

[[noreturn]] void unavailable(const char* what) {
  std::fprintf(stderr, "io_uring is not available here: %s: %s\n", what, std::strerror(errno));
  std::exit(3);
}

template <class T>
T* map(std::size_t count, int fd = -1, std::uint64_t offset = 0) {
  void* at = ::mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE,
                    fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED, fd,
                    static_cast<off_t>(offset));
  if (at == MAP_FAILED) unavailable("mmap");
  return static_cast<T*>(at);
}

struct Ring {
  int fd;
  unsigned registered;  // fd as registered: saves the kernel a look-up at every entry
  unsigned filled = 0;  // submissions written, and how many of them the kernel has taken
  unsigned taken = 0;
  unsigned* tail;
  io_uring_sqe* entries;
  unsigned* done_head;
  unsigned* done_tail;
  io_uring_cqe* done;

  void open() {
    io_uring_params params{};
    for (const unsigned extra : {IORING_SETUP_NO_SQARRAY, 0U}) {
      params = {};
      params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
                     IORING_SETUP_DEFER_TASKRUN | extra;
      params.cq_entries = completions;
      fd = static_cast<int>(::syscall(SYS_io_uring_setup, submissions, &params));
      if (fd >= 0 || errno != EINVAL) break;
    }
    if (fd < 0) unavailable("io_uring_setup");
    // One mapping holds both rings (IORING_FEAT_SINGLE_MMAP, older than what is asked for above).
    const std::size_t size = std::max(params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe),
                                      params.sq_off.array + params.sq_entries * sizeof(unsigned));
    char* rings = map<char>(size, fd, IORING_OFF_SQ_RING);
    entries = map<io_uring_sqe>(submissions, fd, IORING_OFF_SQES);
    tail = reinterpret_cast<unsigned*>(rings + params.sq_off.tail);
    done_head = reinterpret_cast<unsigned*>(rings + params.cq_off.head);
    done_tail = reinterpret_cast<unsigned*>(rings + params.cq_off.tail);
    done = reinterpret_cast<io_uring_cqe*>(rings + params.cq_off.cqes);
    if ((params.flags & IORING_SETUP_NO_SQARRAY) == 0) {
      auto* order = reinterpret_cast<unsigned*>(rings + params.sq_off.array);
      for (unsigned i = 0; i < submissions; ++i) order[i] = i;
    }
    io_uring_rsrc_update self{.offset = ~0U, .resv = 0, .data = static_cast<unsigned>(fd)};
    control(IORING_REGISTER_RING_FDS, &self, 1, "IORING_REGISTER_RING_FDS");
    registered = self.offset;
  }

  void control(unsigned what, void* argument, unsigned count, const char* name) const {
    if (::syscall(SYS_io_uring_register, fd, what, argument, count) < 0) unavailable(name);
  }

  /// Submits, and waits for `wanted` completions.
  void enter(unsigned wanted) {
    std::atomic_ref(*tail).store(filled, std::memory_order_release);
    const long count = ::syscall(SYS_io_uring_enter, registered, filled - taken, wanted,
                                 IORING_ENTER_GETEVENTS | IORING_ENTER_REGISTERED_RING, nullptr, 0);
    if (count >= 0)
      taken += static_cast<unsigned>(count);
    else if (errno != EINTR && errno != EAGAIN && errno != EBUSY)
      bench::die("io_uring_enter");
  }

  /// The next submission, for connection `number` (or another number of the table).
  io_uring_sqe& next(std::uint8_t code, unsigned number, std::uint64_t data) {
    while (filled - taken == submissions) [[unlikely]]
      enter(0);
    io_uring_sqe& entry = entries[filled++ % submissions];
    entry = {};
    entry.opcode = code;
    entry.flags = IOSQE_FIXED_FILE;
    entry.fd = static_cast<int>(number);
    entry.user_data = data;
    return entry;
  }
};

Ring ring;

// --- connections

enum Kind : unsigned { accepting, receiving, sending, other };

/// The user data of a request, which its completion returns.
constexpr std::uint64_t data_of(Kind kind, unsigned number, int size = 0) {
  return static_cast<std::uint64_t>(size) << 32 | number << 2 | kind;
}
Kind kind_of(const io_uring_cqe& event) { return static_cast<Kind>(event.user_data & 3); }
unsigned number_of(const io_uring_cqe& event) {
  return static_cast<unsigned>(event.user_data) >> 2;
}
bool all_sent(const io_uring_cqe& event) {
  return event.res == static_cast<int>(event.user_data >> 32);
}

/// Each buffer is a cache line longer than needed: at distances of 16 KiB the beginnings of all of
/// them would share a few lines of the cache.
struct alignas(64) Buffer {
  char bytes[bench::buffer_size + 64];
};

void send(unsigned number, const Buffer& buffer, int size) {
  io_uring_sqe& entry = ring.next(IORING_OP_SEND, number, data_of(sending, number, size));
  entry.addr = reinterpret_cast<std::uintptr_t>(buffer.bytes);
  entry.len = static_cast<unsigned>(size);
  entry.msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
}

[[gnu::cold, gnu::noinline]] void close(unsigned number) {
  io_uring_sqe& entry = ring.next(IORING_OP_CLOSE, 0, data_of(other, 0));
  entry.flags = IOSQE_CQE_SKIP_SUCCESS;
  entry.file_index = number + 1;
  bench::closed();
}

void accept_from(int listener) {
  io_uring_sqe& entry = ring.next(IORING_OP_ACCEPT, 0, data_of(accepting, 0));
  entry.flags = 0;
  entry.fd = listener;
  entry.ioprio = IORING_ACCEPT_MULTISHOT;
  entry.file_index = IORING_FILE_INDEX_ALLOC;
}

// --- own: each connection has one outstanding request. A recv that is linked to the send before it
// would save a completion, but takes longer: the kernel starts it in a second pass.

struct Own {
  Buffer* buffers;

  explicit Own(unsigned connections) : buffers(map<Buffer>(connections)) {}

  void begin(unsigned number) {
    io_uring_sqe& entry = ring.next(IORING_OP_RECV, number, data_of(receiving, number));
    entry.addr = reinterpret_cast<std::uintptr_t>(buffers[number].bytes);
    entry.len = bench::buffer_size;
  }

  void received(unsigned number, const io_uring_cqe& event) {
    if (event.res <= 0) [[unlikely]]
      return close(number);
    send(number, buffers[number], event.res);
  }

  void sent(unsigned number, const io_uring_cqe& event) {
    all_sent(event) ? begin(number) : close(number);
  }

  static void batch_done() {}
};

// --- multishot

struct Multishot {
  // Enough for all messages that are outstanding at once. A connection that has `share` of them
  // unsent is not read until they are sent.
  static constexpr unsigned count = 1024;
  static constexpr unsigned share = 32;

  struct Connection {
    std::uint16_t first;  // of the unsent buffers; this one is being sent
    std::uint16_t last;
    std::uint16_t unsent;  // how many
    bool armed;            // a recv is outstanding
    bool ended;            // no more bytes will be added to the unsent ones
  };

  Connection* connections;
  Buffer* buffers = map<Buffer>(count);
  std::uint16_t after[count];  // the next of the same connection
  int sizes[count];
  // Shared with the kernel. The tail is in the unused `resv` of the first entry. (io_uring_buf_ring
  // declares it, but with an empty struct, which has a size in C++.)
  io_uring_buf* free = map<io_uring_buf>(count);
  std::uint16_t tail = 0;
  bool given_back = false;
  std::vector<unsigned> starved;  // found no buffer

  explicit Multishot(unsigned most) : connections(map<Connection>(most)) {
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<std::uintptr_t>(free);
    registration.ring_entries = count;
    ring.control(IORING_REGISTER_PBUF_RING, &registration, 1, "IORING_REGISTER_PBUF_RING");
    for (std::uint16_t i = 0; i < count; ++i) give_back(i);
    batch_done();
  }

  void begin(unsigned number) {
    connections[number] = {};
    arm(number);
  }

  void arm(unsigned number) {
    io_uring_sqe& entry = ring.next(IORING_OP_RECV, number, data_of(receiving, number));
    entry.flags |= IOSQE_BUFFER_SELECT;
    entry.ioprio = IORING_RECV_MULTISHOT;
    connections[number].armed = true;
  }

  void give_back(std::uint16_t id) {
    io_uring_buf& entry = free[tail++ % count];
    entry.addr = reinterpret_cast<std::uintptr_t>(buffers[id].bytes);
    entry.len = bench::buffer_size;
    entry.bid = id;
    given_back = true;
  }

  void received(unsigned number, const io_uring_cqe& event) {
    Connection& connection = connections[number];
    if (event.res > 0) [[likely]] {
      const auto id = static_cast<std::uint16_t>(event.flags >> IORING_CQE_BUFFER_SHIFT);
      sizes[id] = event.res;
      take(number, connection, id);
    } else if (event.res != -ENOBUFS && event.res != -ECANCELED) {
      connection.ended = true;
    }
    if ((event.flags & IORING_CQE_F_MORE) != 0) [[likely]]
      return;
    connection.armed = false;
    if (event.res == -ENOBUFS && connection.unsent == 0)
      starved.push_back(number);
    else
      go_on(number, connection);
  }

  void take(unsigned number, Connection& connection, std::uint16_t id) {
    if (connection.ended) [[unlikely]]
      return give_back(id);
    if (connection.unsent == 0) {
      connection.first = id;
      send(number, buffers[id], sizes[id]);
    } else {
      after[connection.last] = id;
    }
    connection.last = id;
    if (++connection.unsent != share) [[likely]]
      return;
    io_uring_sqe& entry = ring.next(IORING_OP_ASYNC_CANCEL, 0, data_of(other, 0));
    entry.flags = IOSQE_CQE_SKIP_SUCCESS;
    entry.addr = data_of(receiving, number);
  }

  void sent(unsigned number, const io_uring_cqe& event) {
    Connection& connection = connections[number];
    const std::uint16_t id = connection.first;
    give_back(id);
    --connection.unsent;
    if (!all_sent(event)) [[unlikely]]
      drop(connection, id);
    if (connection.unsent > 0) {
      connection.first = after[id];
      send(number, buffers[connection.first], sizes[connection.first]);
    } else if (!connection.armed) [[unlikely]] {
      go_on(number, connection);
    }
  }

  /// The client has closed, which ends the recv too.
  [[gnu::cold, gnu::noinline]] void drop(Connection& connection, std::uint16_t id) {
    connection.ended = true;
    for (; connection.unsent > 0; --connection.unsent) give_back(id = after[id]);
  }

  /// No recv is outstanding: when everything is sent, starts another one or closes.
  [[gnu::cold, gnu::noinline]] void go_on(unsigned number, const Connection& connection) {
    if (connection.unsent > 0) return;
    connection.ended ? close(number) : arm(number);
  }

  void batch_done() {
    if (!given_back) return;
    given_back = false;
    std::atomic_ref(free[0].resv).store(tail, std::memory_order_release);
    if (starved.empty()) [[likely]]
      return;
    for (const unsigned number : starved) arm(number);
    starved.clear();
  }
};

template <class Mode>
[[noreturn]] void serve(int listener, unsigned most) {
  static Mode mode(most);
  accept_from(listener);
  for (unsigned head = 0;;) {
    ring.enter(1);
    const unsigned end = std::atomic_ref(*ring.done_tail).load(std::memory_order_acquire);
    for (; head != end; ++head) {
      const io_uring_cqe& event = ring.done[head % completions];
      const unsigned number = number_of(event);
      switch (kind_of(event)) {
        case receiving: mode.received(number, event); break;
        case sending: mode.sent(number, event); break;
        case accepting:
          if (event.res >= 0) mode.begin(static_cast<unsigned>(event.res));
          if ((event.flags & IORING_CQE_F_MORE) == 0) accept_from(listener);
          break;
        case other: break;  // a cancellation that found nothing
      }
    }
    std::atomic_ref(*ring.done_head).store(head, std::memory_order_release);
    mode.batch_done();
  }
}

}  // namespace

int bench::raw_uring(int argc, char** argv) {
  const auto [port, mode] = bench::start(argc, argv, {"multishot", "own"});
  const int listener = bench::listen_on(port, 0);
  ring.open();
  rlimit descriptors{};
  ::getrlimit(RLIMIT_NOFILE, &descriptors);
  io_uring_rsrc_register table{};
  table.nr = static_cast<unsigned>(std::min<rlim_t>(descriptors.rlim_cur, 1U << 15));
  table.flags = IORING_RSRC_REGISTER_SPARSE;
  ring.control(IORING_REGISTER_FILES2, &table, sizeof table, "IORING_REGISTER_FILES2");
  mode == "own" ? serve<Own>(listener, table.nr) : serve<Multishot>(listener, table.nr);
}
