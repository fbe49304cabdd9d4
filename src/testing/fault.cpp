// The kernel that fails on demand. The rules are at the top of fault.hpp.
//
// Why it is built so:
//   - A random fault is a hash of (seed, call, its number), not a draw from a shared sequence. So
//     there is no lock and no order between threads, and one more recv in a handler does not change
//     the fault of the next epoll_ctl.
//   - Plans are a list that only grows at its head and is freed at the end: a signal handler may
//     walk it while another thread adds to it.
//   - Registrations are armed again under the lock that epoll_ctl takes too. Otherwise that could
//     restore an interest that another thread has just changed.
//   - A request to a ring that has to fail is made a no-operation, and its completion is rewritten
//     where the kernel has put it. So the kernel's own queues stay in order, whatever is injected.

#include "duolu/testing/fault.hpp"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <deque>
#include <limits>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "duolu/base/check.hpp"
#include "duolu/base/prng.hpp"
#include "duolu/kernel/ring.hpp"

#ifndef DUOLU_POSIX_ONLY
#include <sys/epoll.h>
#endif

namespace duolu {
namespace {

constexpr std::string_view names[] = {
#define DUOLU_CALL(fault, result, name, ...) #name,
#define DUOLU_HOST_CALL DUOLU_CALL
#include "duolu/kernel/calls.def"
};

/// What FaultKernel does with a call: the first column of calls.def.
enum class Fault : std::uint8_t { plain, never, custom };
constexpr Fault faults[] = {
#define DUOLU_CALL(fault, ...) Fault::fault,
#define DUOLU_HOST_CALL DUOLU_CALL
#include "duolu/kernel/calls.def"
};

constexpr std::uint32_t per_mille = 1000;
constexpr std::uint32_t most_interrupts_in_a_row = 3;
constexpr std::uint64_t most_delays_in_a_row = 3;

std::size_t place(Call call) noexcept {
  DUOLU_CHECK(call < Call::count_);
  return static_cast<std::size_t>(call);
}

bool is_zero(const timespec* timeout) noexcept {
  return timeout != nullptr && timeout->tv_sec == 0 && timeout->tv_nsec == 0;
}

std::size_t size_of(const msghdr& message) noexcept {
  std::size_t size = 0;
  for (std::size_t i = 0; i < message.msg_iovlen; ++i) size += message.msg_iov[i].iov_len;
  return size;
}

/// A message cut to at most `size` bytes, with as many of its first parts as there is room for.
/// Sets `size` to what it has then.
struct Clipped {
  Clipped(const msghdr& whole, std::size_t& size) noexcept : message(whole) {
    if (size >= size_of(whole)) return;
    message.msg_iov = parts.data();
    message.msg_iovlen = 0;
    std::size_t left = size;
    for (std::size_t i = 0; i < parts.size() && left > 0; ++i) {
      parts[i] = whole.msg_iov[i];
      parts[i].iov_len = std::min(parts[i].iov_len, left);
      left -= parts[i].iov_len;
      ++message.msg_iovlen;
    }
    size -= left;
  }
  Clipped(const Clipped&) = delete;
  Clipped& operator=(const Clipped&) = delete;

  msghdr message;
  std::array<iovec, 16> parts{};
};

bool breaks_connection(int error) noexcept {
  return error == ECONNRESET || error == EPIPE || error == ETIMEDOUT;
}

#ifndef DUOLU_POSIX_ONLY
/// Makes epoll report what is ready once more. Returns whether the registration was there.
bool rearm(Kernel& inner, int epoll, int fd, std::uint32_t events, std::uint64_t data) noexcept {
  epoll_event event{.events = events, .data = {.u64 = data}};
  // An exclusive registration cannot be modified.
  if ((events & EPOLLEXCLUSIVE) == 0) return inner.epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0;
  return inner.epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr) == 0 &&
         inner.epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}
#endif

/// Identifies a file, not a descriptor. Both ends of a pipe share one, which costs an extra report.
using FileId = std::pair<dev_t, ino_t>;

}  // namespace

std::string_view to_string(Call call) noexcept { return names[place(call)]; }

struct FaultKernel::Plan {
  std::uint64_t first;
  std::uint64_t last;
  int error;
  const Plan* older;
};

struct FaultKernel::Dice {
  Prng prng;
  Call call;
  bool interrupts;
  bool pretends_empty;
  bool shortens;
  std::uint32_t delayed;

  bool delays() noexcept { return prng.chance(delayed, per_mille); }
  /// Less than `size`; small and large cuts are equally likely, since most buffers are larger than
  /// what is in the queue.
  std::size_t cut(std::size_t size) noexcept {
    const std::uint64_t magnitude = prng.below(static_cast<unsigned>(std::bit_width(size - 1)));
    return static_cast<std::size_t>(
        prng.between(1, std::min<std::uint64_t>(size - 1, std::uint64_t{2} << magnitude)));
  }
};

struct FaultKernel::File {
  int fd = -1;
  FileId id{};
  bool socket = false;
  bool stream = false;  ///< Bytes without boundaries: a stream socket or a pipe.
  bool pipe = false;
  bool terminal = false;
  bool blocks = false;
};

/// What becomes of a transfer.
struct FaultKernel::Verdict {
  int error = 0;     ///< It fails with this errno, unless 0.
  std::size_t size;  ///< How much of it is made.
  File file{};       ///< Where it is not made whole.
};

/// A ring, and what has been done to its requests.
struct FaultKernel::RingSeen {
  RingParams params;
  char* queues = nullptr;
  RingPlace* entries = nullptr;
  std::thread::id thread;  ///< Where it is registered.
  int index = -1;          ///< As what.
  unsigned judged = 0;     ///< Submissions before this one have been counted.
  std::vector<std::pair<std::uint64_t, int>> failing;  ///< Their user data and results.
  std::deque<Clipped> clipped;                         ///< Messages of untaken submissions.

  [[nodiscard]] std::atomic_ref<unsigned> number(std::uint32_t offset) const noexcept {
    return std::atomic_ref(*reinterpret_cast<unsigned*>(queues + offset));
  }
  [[nodiscard]] RingEntry& entry(unsigned at) const noexcept {
    unsigned place = at & (params.submissions - 1);
    if ((params.flags & ring::setup_no_sqarray) == 0)
      place = number(params.submit.array + place * std::uint32_t{sizeof(unsigned)});
    return entries[place];
  }
  [[nodiscard]] unsigned done_tail() const noexcept {
    return number(params.done.tail).load(std::memory_order_acquire);
  }
  /// Gives the completions from `old` on the results that were decided on.
  void rewrite(unsigned old) noexcept {
    auto* const done = reinterpret_cast<RingCompletion*>(queues + params.done.completions);
    for (const unsigned end = done_tail(); old != end && !failing.empty(); ++old) {
      RingCompletion& completion = done[old & (params.completions - 1)];
      const auto found =
          std::ranges::find(failing, completion.user_data, &std::pair<std::uint64_t, int>::first);
      if (found == failing.end()) continue;
      completion.result = found->second;
      failing.erase(found);
    }
  }
};

struct FaultKernel::Table {
  struct Registration {
    std::uint32_t events;
    std::uint64_t data;
    FileId file;
    std::uint64_t delayed = 0;  ///< How often in a row.
  };

  std::mutex lock;
  std::deque<Plan> plans;
  std::map<std::pair<int, int>, Registration> registrations;  ///< By epoll set and number.
  std::map<std::pair<Call, int>, std::uint64_t> delayed;      ///< How often in a row.
  std::set<std::pair<int, bool>> pretended;  ///< Random EAGAINs: number, and whether for writing.
  std::map<int, RingSeen> rings;             ///< By number.

  void forget(int fd) {
    std::erase_if(registrations, [fd](const auto& entry) {
      return entry.first.first == fd || entry.first.second == fd;
    });
    std::erase_if(delayed, [fd](const auto& entry) { return entry.first.second == fd; });
    pretended.erase({fd, false});
    pretended.erase({fd, true});
    rings.erase(fd);
  }
  RingSeen* ring(int fd) noexcept {
    const auto found = rings.find(fd);
    return found != rings.end() ? &found->second : nullptr;
  }
  /// The one that this thread has registered as `index`.
  RingSeen* registered(int index) noexcept {
    for (auto& [fd, seen] : rings)
      if (seen.index == index && seen.thread == std::this_thread::get_id()) return &seen;
    return nullptr;
  }

  /// Whether a readiness that has been delayed `before` times is delayed once more. The bound is
  /// random, so that of two waits that take turns it is not always the same one that loses it.
  static bool delay(Dice& dice, std::uint64_t& before) {
    if (dice.delays() && before < dice.prng.between(1, most_delays_in_a_row)) {
      ++before;
      return true;
    }
    before = 0;
    return false;
  }
};

FaultKernel::FaultKernel(Kernel& inner, std::uint64_t seed, Host& host)
    : Kernel(inner.signals()),
      inner_(inner),
      host_(host),
      seed_(seed),
      table_(std::make_unique<Table>()) {}

FaultKernel::~FaultKernel() = default;

// --- plans, rates, counts

void FaultKernel::fail(Call call, std::uint64_t nth, int error, std::uint64_t times) {
  DUOLU_CHECK(faults[place(call)] != Fault::never);
  DUOLU_CHECK(nth > 0 && times > 0);
  DUOLU_CHECK(call == Call::getaddrinfo ? error != 0 : error > 0);
  const std::size_t at = place(call);
  const std::uint64_t made = made_[at].load();
  const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t first = nth > most - made ? most : made + nth;
  const std::uint64_t last = times - 1 > most - first ? most : first + (times - 1);
  table_->plans.push_back({first, last, error, plans_[at].load()});
  plans_[at].store(&table_->plans.back(), std::memory_order_release);
}

void FaultKernel::fail_always(Call call, int error) {
  fail(call, 1, error, std::numeric_limits<std::uint64_t>::max());
}

void FaultKernel::set_rates(FaultRates rates) noexcept {
  rates_[0] = rates.short_transfers;
  rates_[1] = rates.eagain;
  rates_[2] = rates.eintr;
  rates_[3] = rates.delayed_readiness;
}

void FaultKernel::clear() noexcept {
  for (std::atomic<const Plan*>& plans : plans_) plans.store(nullptr);
  set_rates({});
}

std::uint64_t FaultKernel::calls(Call call) const noexcept {
  return made_[place(call)].load(std::memory_order_relaxed) -
         base_[place(call)].load(std::memory_order_relaxed);
}

std::uint64_t FaultKernel::injected() const noexcept {
  return injected_.load(std::memory_order_relaxed);
}

void FaultKernel::reset_counts() noexcept {
  for (std::size_t at = 0; at < call_count; ++at) base_[at].store(made_[at].load());
  injected_ = 0;
}

// --- common to all calls

/// Counts the call. Returns its number, from 1.
std::uint64_t FaultKernel::enter(Call call) noexcept {
  return made_[place(call)].fetch_add(1, std::memory_order_relaxed) + 1;
}

/// The error planned for this call; 0 for none.
int FaultKernel::planned(Call call, std::uint64_t number) noexcept {
  const Plan* plan = plans_[place(call)].load(std::memory_order_acquire);
  for (; plan != nullptr; plan = plan->older) {
    if (number < plan->first || number > plan->last) continue;
    ++injected_;
    return plan->error;
  }
  return 0;
}

FaultKernel::Dice FaultKernel::roll(Call call, std::uint64_t number) noexcept {
  // Consecutive calls have neighbouring states: mix them first, so that they are far apart.
  Prng mixer(seed_ ^ (number * call_count + place(call)));
  Prng prng(mixer.next());
  const bool interrupts = prng.chance(rates_[2].load(std::memory_order_relaxed), per_mille);
  const bool pretends_empty = prng.chance(rates_[1].load(std::memory_order_relaxed), per_mille);
  const bool shortens = prng.chance(rates_[0].load(std::memory_order_relaxed), per_mille);
  if (!interrupts) interrupted_[place(call)].store(0, std::memory_order_relaxed);
  return {prng,           call,     interrupts,
          pretends_empty, shortens, rates_[3].load(std::memory_order_relaxed)};
}

/// Whether a random interruption is allowed: not too often in a row (F4).
bool FaultKernel::interrupt(Call call) noexcept {
  std::atomic<std::uint32_t>& in_a_row = interrupted_[place(call)];
  if (in_a_row.fetch_add(1, std::memory_order_relaxed) >= most_interrupts_in_a_row) {
    in_a_row.store(0, std::memory_order_relaxed);
    return false;
  }
  ++injected_;
  return true;
}

template <class Real>
auto FaultKernel::plain(Call call, Real real) noexcept {
  using Outcome = decltype(real());
  const int error = planned(call, enter(call));
  return error != 0 ? static_cast<Outcome>(-error) : real();
}

// --- plain and never: calls that need no code of their own

#define DUOLU_plain(inner, result, name, parameters, arguments)       \
  result FaultKernel::name parameters noexcept {                      \
    return plain(Call::name, [&] { return (inner).name arguments; }); \
  }
#define DUOLU_never(inner, result, name, parameters, arguments) \
  result FaultKernel::name parameters noexcept {                \
    enter(Call::name);                                          \
    return (inner).name arguments;                              \
  }
#define DUOLU_custom(...)
#define DUOLU_CALL(fault, ...) DUOLU_##fault(inner_, __VA_ARGS__)
#define DUOLU_HOST_CALL(fault, ...) DUOLU_##fault(host_, __VA_ARGS__)
#include "duolu/kernel/calls.def"
#undef DUOLU_plain
#undef DUOLU_never
#undef DUOLU_custom

// --- descriptors

int FaultKernel::close(int fd) noexcept {
  const int error = planned(Call::close, enter(Call::close));
  {
    // Before the number can be reused.
    const std::scoped_lock guard(table_->lock);
    table_->forget(fd);
  }
  const int result = inner_.close(fd);
  return error != 0 ? -error : result;
}

ssize_t FaultKernel::read(int fd, void* buffer, std::size_t size) noexcept {
  return transfer(Call::read, fd, size, 0,
                  [&](std::size_t part) { return inner_.read(fd, buffer, part); });
}

ssize_t FaultKernel::write(int fd, const void* buffer, std::size_t size) noexcept {
  return transfer(Call::write, fd, size, 0,
                  [&](std::size_t part) { return inner_.write(fd, buffer, part); });
}

ssize_t FaultKernel::writev(int fd, const iovec* parts, int count) noexcept {
  // The inner kernel refuses such a count, without a look at the parts.
  if (count < 0) return inner_.writev(fd, parts, count);
  msghdr whole{};
  whole.msg_iov = const_cast<iovec*>(parts);
  whole.msg_iovlen = static_cast<std::size_t>(count);
  return transfer(Call::writev, fd, size_of(whole), 0, [&](std::size_t part) {
    const Clipped clipped(whole, part);
    return inner_.writev(fd, clipped.message.msg_iov, static_cast<int>(clipped.message.msg_iovlen));
  });
}

ssize_t FaultKernel::pread(int fd, void* buffer, std::size_t size, off_t offset) noexcept {
  const Verdict verdict = judge_at_offset(Call::pread, size);
  return verdict.error != 0 ? -verdict.error : inner_.pread(fd, buffer, verdict.size, offset);
}

ssize_t FaultKernel::pwrite(int fd, const void* buffer, std::size_t size, off_t offset) noexcept {
  const Verdict verdict = judge_at_offset(Call::pwrite, size);
  return verdict.error != 0 ? -verdict.error : inner_.pwrite(fd, buffer, verdict.size, offset);
}

// --- sockets

int FaultKernel::accept(int fd, sockaddr* address, socklen_t* size) noexcept {
  const int error = judge_accept(fd);
  return error != 0 ? -error : inner_.accept(fd, address, size);
}

/// The errno that it fails with; 0 for none.
int FaultKernel::judge_accept(int fd) noexcept {
  const std::uint64_t number = enter(Call::accept);
  if (const int error = planned(Call::accept, number); error != 0) {
    if (error == EAGAIN) remind(look_at(fd, 0));
    return error;
  }
  const Dice dice = roll(Call::accept, number);
  if (dice.interrupts && interrupt(Call::accept)) return EINTR;
  if (dice.pretends_empty) {
    const File file = look_at(fd, 0);
    if (may_pretend_empty(file, false)) {
      ++injected_;
      remind(file);
      return EAGAIN;
    }
  }
  return 0;
}

int FaultKernel::connect(int fd, const sockaddr* address, socklen_t size) noexcept {
  const int error = planned(Call::connect, enter(Call::connect));
  if (error == 0) return inner_.connect(fd, address, size);
  if (error != EINPROGRESS && error != EINTR) return -error;
  const int result = inner_.connect(fd, address, size);
  if (result < 0 && result != -EINPROGRESS) return result;
  // A connect that succeeds at once (a Unix socket) is no edge for an earlier registration.
  remind(look_at(fd, 0));
  return -error;
}

ssize_t FaultKernel::recv(int fd, void* buffer, std::size_t size, int flags) noexcept {
  return transfer(Call::recv, fd, size, flags,
                  [&](std::size_t part) { return inner_.recv(fd, buffer, part, flags); });
}

ssize_t FaultKernel::send(int fd, const void* buffer, std::size_t size, int flags) noexcept {
  return transfer(Call::send, fd, size, flags,
                  [&](std::size_t part) { return inner_.send(fd, buffer, part, flags); });
}

ssize_t FaultKernel::recvmsg(int fd, msghdr* message, int flags) noexcept {
  return transfer(Call::recvmsg, fd, size_of(*message), flags, [&](std::size_t& part) {
    Clipped clipped(*message, part);
    const ssize_t got = inner_.recvmsg(fd, &clipped.message, flags);
    message->msg_namelen = clipped.message.msg_namelen;
    message->msg_controllen = clipped.message.msg_controllen;
    message->msg_flags = clipped.message.msg_flags;
    return got;
  });
}

ssize_t FaultKernel::sendmsg(int fd, const msghdr* message, int flags) noexcept {
  return transfer(Call::sendmsg, fd, size_of(*message), flags, [&](std::size_t& part) {
    const Clipped clipped(*message, part);
    return inner_.sendmsg(fd, &clipped.message, flags);
  });
}

int FaultKernel::getaddrinfo(const char* host, const char* service, const addrinfo* hints,
                             addrinfo** found) noexcept {
  const int error = planned(Call::getaddrinfo, enter(Call::getaddrinfo));
  return error != 0 ? error : inner_.getaddrinfo(host, service, hints, found);
}

// --- transfers

FaultKernel::File FaultKernel::look_at(int fd, int message_flags) noexcept {
  File file{.fd = fd};
  struct stat status{};
  if (inner_.fstat(fd, &status) < 0) return file;
  file.id = {status.st_dev, status.st_ino};
  file.socket = S_ISSOCK(status.st_mode);
  file.pipe = S_ISFIFO(status.st_mode);
  file.terminal = S_ISCHR(status.st_mode) && host_.isatty(fd) == 1;
  const int flags = inner_.fcntl(fd, F_GETFL, 0);
  file.blocks = flags < 0 || ((flags & O_NONBLOCK) == 0 && (message_flags & MSG_DONTWAIT) == 0);
  if (file.socket) {
    int type = 0;
    socklen_t size = sizeof type;
    file.stream =
        inner_.getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
  }
  file.stream = file.stream || file.pipe;
  return file;
}

/// Whether an end or an error is pending for reading, or writing. Then EAGAIN would be false.
bool FaultKernel::has_ended(int fd, bool writing) noexcept {
  short ends = POLLERR | POLLHUP | POLLNVAL;
#ifdef POLLRDHUP
  if (!writing) ends |= POLLRDHUP;
#endif
  pollfd one{.fd = fd, .events = ends, .revents = 0};
  const timespec zero{};
  return inner_.ppoll(&one, 1, &zero) != 0 && (one.revents & ends) != 0;
}

/// Whether a random EAGAIN is allowed: not twice in a row (F4).
bool FaultKernel::may_pretend_empty(const File& file, bool writing) noexcept {
  if (file.blocks || has_ended(file.fd, writing)) return false;
  const std::scoped_lock guard(table_->lock);
  const std::pair key{file.fd, writing};
  if (table_->pretended.erase(key) != 0) return false;
  table_->pretended.insert(key);
  return true;
}

FaultKernel::Verdict FaultKernel::judge(Call call, int fd, std::size_t size, int flags) noexcept {
  const std::uint64_t number = enter(call);
  const bool by_write = call == Call::write || call == Call::writev;
  const bool writing = call == Call::send || call == Call::sendmsg || by_write;
  // Transfers that a signal handler may make (K6): no lock is taken for them.
  const auto wakes = [&](const File& file) {
    return by_write && !file.socket && (!file.pipe || size <= PIPE_BUF);
  };
  if (const int error = planned(call, number); error != 0) {
    const File file = look_at(fd, flags);
    if (error == EAGAIN && !wakes(file)) remind(file);
    if (breaks_connection(error) && file.socket && file.stream) inner_.shutdown(fd, SHUT_RDWR);
    return {.error = error, .size = 0};
  }
  const Verdict whole{.size = size};
  Dice dice = roll(call, number);
  if (!dice.interrupts && !dice.pretends_empty && !dice.shortens) return whole;
  const File file = look_at(fd, flags);
  if (dice.interrupts && (file.socket || file.pipe || file.terminal) && interrupt(call))
    return {.error = EINTR, .size = 0};
  // Out-of-band data and the error queue are outside the stream and its directions of readiness.
  int beside = MSG_OOB;
#ifdef MSG_ERRQUEUE
  beside |= MSG_ERRQUEUE;
#endif
  if (wakes(file) || file.blocks || (flags & beside) != 0 || !(file.socket || file.pipe))
    return whole;
  if (dice.pretends_empty && may_pretend_empty(file, writing)) {
    ++injected_;
    remind(file);
    return {.error = EAGAIN, .size = 0};
  }
  if (!dice.shortens || !file.stream || size < 2) return whole;
  return {.size = dice.cut(size), .file = file};
}

/// Of a file at an offset: there is no readiness that would have to be reported again.
FaultKernel::Verdict FaultKernel::judge_at_offset(Call call, std::size_t size) noexcept {
  const std::uint64_t number = enter(call);
  if (const int error = planned(call, number); error != 0) return {.error = error, .size = 0};
  Dice dice = roll(call, number);
  if (!dice.shortens || size < 2) return {.size = size};
  ++injected_;
  return {.size = dice.cut(size)};
}

template <class Real>
ssize_t FaultKernel::transfer(Call call, int fd, std::size_t size, int flags, Real real) noexcept {
  const Verdict verdict = judge(call, fd, size, flags);
  if (verdict.error != 0) return -verdict.error;
  std::size_t part = verdict.size;
  const ssize_t moved = real(part);
  // Less comes from the inner kernel, and is true.
  if (verdict.size < size && moved == static_cast<ssize_t>(part)) {
    ++injected_;
    remind(verdict.file);
  }
  return moved;
}

// --- rings

int FaultKernel::io_uring_setup(unsigned entries, io_uring_params* params) noexcept {
  return plain(Call::io_uring_setup, [&] {
    const int ring = inner_.io_uring_setup(entries, params);
    if (ring >= 0) {
      const std::scoped_lock guard(table_->lock);
      table_->forget(ring);  // closed, but not through this kernel
      RingSeen& seen = table_->rings[ring];
      seen.params = *reinterpret_cast<const RingParams*>(params);
      seen.failing.reserve(seen.params.submissions);  // entering takes no memory for them
    }
    return ring;
  });
}

int FaultKernel::mmap(void** address, std::size_t size, int protection, int flags, int fd,
                      off_t offset) noexcept {
  return plain(Call::mmap, [&] {
    const int result = inner_.mmap(address, size, protection, flags, fd, offset);
    if (result == 0 && fd >= 0) {
      const std::scoped_lock guard(table_->lock);
      if (RingSeen* const seen = table_->ring(fd); seen != nullptr) {
        if (offset == ring::offset_of_queues) seen->queues = static_cast<char*>(*address);
        if (offset == ring::offset_of_entries) seen->entries = static_cast<RingPlace*>(*address);
      }
    }
    return result;
  });
}

int FaultKernel::io_uring_register(int ring, unsigned operation, void* argument,
                                   unsigned count) noexcept {
  return plain(Call::io_uring_register, [&] {
    const int result = inner_.io_uring_register(ring, operation, argument, count);
    if (operation == ring::register_ring_fds) {
      const auto* const updates = static_cast<const RingUpdate*>(argument);
      const std::scoped_lock guard(table_->lock);
      for (int i = 0; i < result; ++i) {
        RingSeen* const seen = table_->ring(static_cast<int>(updates[i].data));
        if (seen == nullptr) continue;
        seen->thread = std::this_thread::get_id();
        seen->index = static_cast<int>(updates[i].offset);
      }
    }
    return result;
  });
}

int FaultKernel::io_uring_enter(int ring, unsigned to_submit, unsigned min_complete, unsigned flags,
                                const void* argument, std::size_t size) noexcept {
  const std::uint64_t number = enter(Call::io_uring_enter);
  const int error = planned(Call::io_uring_enter, number);
  if (error != 0 && error != EINTR) return -error;
  const Dice dice = roll(Call::io_uring_enter, number);
  const bool interrupted =
      error == EINTR || (dice.interrupts && min_complete > 0 && interrupt(Call::io_uring_enter));
  RingSeen* seen = nullptr;
  {
    const std::scoped_lock guard(table_->lock);
    seen = (flags & ring::enter_registered) != 0 ? table_->registered(ring) : table_->ring(ring);
    if (seen != nullptr && (seen->queues == nullptr || seen->entries == nullptr)) seen = nullptr;
  }
  unsigned done = 0;
  if (seen != nullptr) {
    judge_submissions(*seen, to_submit);
    done = seen->done_tail();
  }
  const int result =
      inner_.io_uring_enter(ring, to_submit, interrupted ? 0 : min_complete, flags, argument, size);
  if (seen == nullptr) return interrupted && result == 0 ? -EINTR : result;
  seen->rewrite(done);
  // As in the kernel, submissions and completions are returned before the signal.
  const bool nothing =
      result == 0 && seen->number(seen->params.done.head).load() == seen->done_tail();
  return interrupted && nothing ? -EINTR : result;
}

/// Counts those that the kernel is about to take, and decides on each.
void FaultKernel::judge_submissions(RingSeen& seen, unsigned to_submit) noexcept {
  const unsigned head = seen.number(seen.params.submit.head).load(std::memory_order_acquire);
  const unsigned filled = seen.number(seen.params.submit.tail).load() - head;
  const unsigned end = head + std::min(filled, to_submit);
  if (head == seen.judged) seen.clipped.clear();
  // Some may have been judged before, and left by the kernel.
  for (; static_cast<int>(end - seen.judged) > 0; ++seen.judged)
    judge_submission(seen, seen.entry(seen.judged));
}

void FaultKernel::judge_submission(RingSeen& seen, RingEntry& entry) noexcept {
  // What may be received into a selected buffer is only limited by its size.
  constexpr std::size_t selected = 64 << 10;
  const int flags = static_cast<int>(entry.operation_flags);
  int error = 0;
  switch (entry.operation) {
    case ring::op_accept: error = judge_accept(entry.fd); break;
    case ring::op_recv:
    case ring::op_send: {
      const bool any_size = entry.size == 0 && (entry.flags & ring::select_buffer) != 0;
      const std::size_t size = any_size ? selected : entry.size;
      const Verdict verdict =
          judge(entry.operation == ring::op_recv ? Call::recv : Call::send, entry.fd, size, flags);
      error = verdict.error;
      if (error != 0 || verdict.size == size) break;
      entry.size = static_cast<std::uint32_t>(verdict.size);
      ++injected_;
      break;
    }
    case ring::op_sendmsg: {
      // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel's interface
      const auto& message = *reinterpret_cast<const msghdr*>(entry.address);
      const std::size_t size = size_of(message);
      Verdict verdict = judge(Call::sendmsg, entry.fd, size, flags);
      error = verdict.error;
      if (error != 0 || verdict.size == size) break;
      Clipped& clipped = seen.clipped.emplace_back(message, verdict.size);
      entry.address = reinterpret_cast<std::uintptr_t>(&clipped.message);
      ++injected_;
      break;
    }
    default: error = judge_file_request(entry);
  }
  if (error == 0) return;
  seen.failing.emplace_back(entry.user_data, -error);
  if (entry.operation == ring::op_close) return;  // which closes all the same (F1)
  const std::uint64_t user_data = entry.user_data;
  entry = {};
  entry.user_data = user_data;
}

/// The errno that it fails with; 0 for none, and for requests that are not about files.
int FaultKernel::judge_file_request(RingEntry& entry) noexcept {
  const auto fails = [this](Call call) { return planned(call, enter(call)); };
  switch (entry.operation) {
    case ring::op_openat: return fails(Call::openat);
    case ring::op_statx: return fails(Call::fstat);
    case ring::op_fsync:
      return fails((entry.operation_flags & ring::only_data) != 0 ? Call::fdatasync : Call::fsync);
    case ring::op_close: {
      const std::scoped_lock guard(table_->lock);
      table_->forget(entry.fd);  // before the number can be reused
      return fails(Call::close);
    }
    case ring::op_read:
    case ring::op_write: {
      constexpr std::uint64_t own_position = ~std::uint64_t{0};
      if (entry.offset == own_position) return 0;
      const Verdict verdict = judge_at_offset(
          entry.operation == ring::op_read ? Call::pread : Call::pwrite, entry.size);
      entry.size = static_cast<std::uint32_t>(verdict.size);
      return verdict.error;
    }
    default: return 0;
  }
}

// --- readiness

int FaultKernel::pselect(int count, unsigned long* readable, unsigned long* writable,
                         unsigned long* exceptional, const timespec* timeout) noexcept {
  const std::uint64_t number = enter(Call::pselect);
  if (const int error = planned(Call::pselect, number); error != 0) return -error;
  Dice dice = roll(Call::pselect, number);
  if (dice.interrupts && interrupt(Call::pselect)) return -EINTR;
  const int ready = inner_.pselect(count, readable, writable, exceptional, timeout);
  if (ready <= 0 || dice.delayed == 0) return ready;
  unsigned long* const sets[3] = {readable, writable, exceptional};
  const int left = withhold_bits(dice, count, sets, ready);
  return left != 0 || is_zero(timeout) ? left : -EINTR;
}

/// Clears delayed bits. Returns how many bits are left.
int FaultKernel::withhold_bits(Dice& dice, int count, unsigned long* const sets[3],
                               int ready) noexcept {
  constexpr int word_bits = std::numeric_limits<unsigned long>::digits;
  const std::scoped_lock guard(table_->lock);
  for (int fd = 0; fd < count; ++fd) {
    const unsigned long bit = 1UL << (fd % word_bits);
    const auto is_set = [&](const unsigned long* set) {
      return set != nullptr && (set[fd / word_bits] & bit) != 0;
    };
    if (!is_set(sets[0]) && !is_set(sets[1]) && !is_set(sets[2])) continue;
    if (!Table::delay(dice, table_->delayed[{dice.call, fd}])) continue;
    ++injected_;
    for (unsigned long* const set : {sets[0], sets[1], sets[2]}) {
      if (!is_set(set)) continue;
      set[fd / word_bits] &= ~bit;
      --ready;
    }
  }
  return ready;
}

int FaultKernel::ppoll(pollfd* fds, std::size_t count, const timespec* timeout) noexcept {
  const std::uint64_t number = enter(Call::ppoll);
  if (const int error = planned(Call::ppoll, number); error != 0) return -error;
  Dice dice = roll(Call::ppoll, number);
  if (dice.interrupts && interrupt(Call::ppoll)) return -EINTR;
  const int ready = inner_.ppoll(fds, count, timeout);
  if (ready <= 0 || dice.delayed == 0) return ready;
  const int left = withhold_fds(dice, fds, count, ready);
  return left != 0 || is_zero(timeout) ? left : -EINTR;
}

/// Clears delayed descriptors. Returns how many are left.
int FaultKernel::withhold_fds(Dice& dice, pollfd* fds, std::size_t count, int ready) noexcept {
  const std::scoped_lock guard(table_->lock);
  for (pollfd* at = fds; at != fds + count; ++at) {
    if (at->revents == 0 || (at->revents & POLLNVAL) != 0) continue;
    if (!Table::delay(dice, table_->delayed[{dice.call, at->fd}])) continue;
    ++injected_;
    at->revents = 0;
    --ready;
  }
  return ready;
}

#ifdef DUOLU_POSIX_ONLY

void FaultKernel::remind(const File&) noexcept {}

int FaultKernel::epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  return plain(Call::epoll_ctl, [&] { return inner_.epoll_ctl(epoll, operation, fd, event); });
}

int FaultKernel::epoll_wait(int epoll, epoll_event* events, int count, int timeout_ms) noexcept {
  return plain(Call::epoll_wait,
               [&] { return inner_.epoll_wait(epoll, events, count, timeout_ms); });
}

int FaultKernel::epoll_pwait2(int epoll, epoll_event* events, int count,
                              const timespec* timeout) noexcept {
  return plain(Call::epoll_pwait2,
               [&] { return inner_.epoll_pwait2(epoll, events, count, timeout); });
}

#else

/// Arms all edge-triggered registrations of this file again (F2).
void FaultKernel::remind(const File& file) noexcept {
  const std::scoped_lock guard(table_->lock);
  auto& registrations = table_->registrations;
  for (auto at = registrations.begin(); at != registrations.end();) {
    const auto& [epoll, fd] = at->first;
    const Table::Registration& known = at->second;
    const bool concerned = known.file == file.id && (known.events & EPOLLET) != 0 &&
                           (known.events & EPOLLONESHOT) == 0;
    // Closed, but not through this kernel: the inner one has dropped it, so drop it here.
    at = concerned && !rearm(inner_, epoll, fd, known.events, known.data) ? registrations.erase(at)
                                                                          : std::next(at);
  }
}

int FaultKernel::epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  const int error = planned(Call::epoll_ctl, enter(Call::epoll_ctl));
  if (error != 0) return -error;
  const std::scoped_lock guard(table_->lock);
  const int result = inner_.epoll_ctl(epoll, operation, fd, event);
  if (result < 0) return result;
  auto& registrations = table_->registrations;
  if (operation == EPOLL_CTL_DEL) {
    registrations.erase({epoll, fd});
  } else {
    struct stat status{};
    inner_.fstat(fd, &status);
    const Table::Registration known{event->events, event->data.u64, {status.st_dev, status.st_ino}};
    try {
      registrations.insert_or_assign(std::pair{epoll, fd}, known);
    } catch (const std::bad_alloc&) {
      // The kernel has registered it. Only its events will not be delayed.
      registrations.erase({epoll, fd});
    }
  }
  return result;
}

template <class Real>
int FaultKernel::epoll_any_wait(Call call, int epoll, epoll_event* events, bool only_looks,
                                Real real) noexcept {
  const std::uint64_t number = enter(call);
  if (const int error = planned(call, number); error != 0) return -error;
  Dice dice = roll(call, number);
  if (dice.interrupts && !only_looks && interrupt(call)) return -EINTR;
  const int ready = real();
  if (ready <= 0 || dice.delayed == 0) return ready;
  const int left = withhold_events(dice, epoll, events, ready);
  return left != 0 || only_looks ? left : -EINTR;
}

/// Removes delayed events, and arms them again where necessary. Returns how many are left.
int FaultKernel::withhold_events(Dice& dice, int epoll, epoll_event* events, int ready) noexcept {
  const std::scoped_lock guard(table_->lock);
  auto& registrations = table_->registrations;
  // An event carries only the caller's data. If several registrations have the same data, it is
  // unknown which one it belongs to, and it is delivered.
  const auto find = [&](std::uint64_t data) {
    auto found = registrations.end();
    for (auto at = registrations.lower_bound({epoll, 0});
         at != registrations.end() && at->first.first == epoll; ++at) {
      if (at->second.data != data) continue;
      if (found != registrations.end()) return registrations.end();
      found = at;
    }
    return found;
  };
  int left = 0;
  for (int i = 0; i < ready; ++i) {
    const auto found = find(events[i].data.u64);
    if (found != registrations.end() && Table::delay(dice, found->second.delayed)) {
      const std::uint32_t bits = found->second.events;
      if ((bits & (EPOLLET | EPOLLONESHOT)) == 0 ||
          rearm(inner_, epoll, found->first.second, bits, found->second.data)) {
        ++injected_;
        continue;
      }
      registrations.erase(found);  // closed, but not through this kernel: it cannot be armed
    }
    events[left++] = events[i];
  }
  return left;
}

int FaultKernel::epoll_wait(int epoll, epoll_event* events, int count, int timeout_ms) noexcept {
  return epoll_any_wait(Call::epoll_wait, epoll, events, timeout_ms == 0,
                        [&] { return inner_.epoll_wait(epoll, events, count, timeout_ms); });
}

int FaultKernel::epoll_pwait2(int epoll, epoll_event* events, int count,
                              const timespec* timeout) noexcept {
  return epoll_any_wait(Call::epoll_pwait2, epoll, events, is_zero(timeout),
                        [&] { return inner_.epoll_pwait2(epoll, events, count, timeout); });
}

#endif

}  // namespace duolu
