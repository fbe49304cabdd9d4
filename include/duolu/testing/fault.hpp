// Public. Layer: testing. A Kernel that counts calls and makes them fail. docs/testing.md shows how
// to use it.
//
// It wraps another Kernel, counts the calls, and injects faults: planned ones (the nth call of a
// kind fails with an errno) and random ones (a share of the calls, by seed). The caller always sees
// a result that a kernel could have returned:
//
//   F1  A planned fault does not call the inner kernel, with these exceptions: `close` closes all
//       the same; a connection that breaks in a transfer (ECONNRESET, EPIPE, ETIMEDOUT) is first
//       shut down both ways, so that later calls agree; a `connect` that fails with EINPROGRESS or
//       EINTR is in progress.
//   F2  EAGAIN and short transfers mean to the caller that a direction is drained, so it waits for
//       an edge. When the direction was not drained, every edge-triggered epoll registration of the
//       same file is armed again with EPOLL_CTL_MOD, so that the rest is reported (convention K5 of
//       kernel.hpp). Level and oneshot registrations, poll and select need nothing.
//   F3  A delayed readiness is reported later: it is withheld at most three times in a row, and
//       armed again where the kernel takes it for reported. A wait of which everything was withheld
//       ends with EINTR, as after a signal; a wait that does not block returns nothing.
//   F4  Random faults let the program make progress: EAGAIN never twice in a row for a descriptor
//       and direction, EINTR at most three times in a row for a call, at least one byte a transfer.
//   F5  They depend on the seed, the kind of the call and the number of earlier calls of that kind,
//       and on nothing else: the same run again has the same faults.
//
//   F6  A request that passes through an io_uring is the call that it stands for: recv, send,
//       sendmsg and accept are counted, fail and are shortened when io_uring_enter submits them.
//       One that fails has its completion in that call; with a selected buffer it takes none. A
//       receive or send that is shortened asks for less. The same holds for requests about files:
//       they are openat, pread, pwrite (with an offset), fsync, fdatasync, fstat and close. Waiting
//       (poll), cancelling and all other requests are neither counted nor changed, and no
//       completion is delayed. A link to the next request is not followed. io_uring_enter itself
//       with EINTR submits what it is given, and returns EINTR only if it has submitted nothing and
//       there is no completion; with another errno it does nothing (F1).
//
// Which calls have random faults, and why not the others:
//
//   short_transfers    recv, send, recvmsg, sendmsg, read, write, writev of stream sockets and
//                      pipes. Not datagrams and eventfds, whose transfers are whole or fail. Not a
//                      write of up to PIPE_BUF bytes to a pipe, which is atomic. (A pipe in packet
//                      mode, which no Kernel makes, is not recognized at its reading end: there a
//                      short read loses the rest of the packet.) Also pread and pwrite.
//   eagain             the same and datagram sockets, and accept. Not where an end or an error is
//                      pending (then the kernel does not say "not yet"). Not a write of up to
//                      PIPE_BUF bytes to a pipe: there EAGAIN means that the reader has data.
//   eintr              recv, send, recvmsg, sendmsg, read, write, writev of sockets, pipes and
//                      terminals, accept, pselect, ppoll, epoll's waits unless their timeout is
//                      zero, and io_uring_enter if it waits: the others do not sleep. POSIX allows
//                      it for all of these even if they are non-blocking. Not eventfds, epoll_ctl
//                      and the calls that make or describe descriptors: these never wait.
//   delayed_readiness  pselect, ppoll, epoll_wait, epoll_pwait2. Not POLLNVAL, which is immediate.
//
// Blocking descriptors, as standard input may be, have EINTR as their only random fault. Calls that
// cannot fail (now, thread_cpu_time, real_time, getpid, pthread_join, freeaddrinfo) have none.
//
// Threads: calls as for any Kernel (K6). `write` to an eventfd, or of up to PIPE_BUF bytes to a
// pipe, and `getpid` take no lock and no memory, so that a signal handler may make them. fail(),
// set_rates(), clear() and reset_counts() belong to one thread; others may make calls meanwhile.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "duolu/kernel/host.hpp"
#include "duolu/kernel/kernel.hpp"

namespace duolu {

/// One value for each call of Kernel and of Host, named after it.
enum class Call : std::uint8_t {
#define DUOLU_CALL(fault, result, name, ...) name,
#define DUOLU_HOST_CALL DUOLU_CALL
#include "duolu/kernel/calls.def"
  count_
};

/// "epoll_ctl".
[[nodiscard]] std::string_view to_string(Call call) noexcept;

/// How often random faults happen, in 1/1000 of the eligible calls (see above).
struct FaultRates {
  std::uint32_t short_transfers = 0;
  std::uint32_t eagain = 0;
  std::uint32_t eintr = 0;
  std::uint32_t delayed_readiness = 0;
};

/// Counts calls and injects faults. See the top of this file.
class FaultKernel final : public Kernel, public Host {
 public:
  /// `inner` and `host` must outlive this. Until fail() or set_rates() every call is forwarded.
  explicit FaultKernel(Kernel& inner, std::uint64_t seed = 0, Host& host = real_host());
  ~FaultKernel() override;

  /// The nth call of this kind (1: the next one), and the `times - 1` after it, fail with `error`,
  /// an errno (getaddrinfo: an EAI_ code, as it is returned). Of several plans for one call, the
  /// latest applies.
  void fail(Call call, std::uint64_t nth, int error, std::uint64_t times = 1);
  /// Every call of this kind fails from now on.
  void fail_always(Call call, int error);
  void set_rates(FaultRates rates) noexcept;
  /// Removes all plans and rates. Counts stay.
  void clear() noexcept;

  /// The number of calls, including failed ones. Calls that the FaultKernel itself makes to the
  /// inner kernel are not counted.
  [[nodiscard]] std::uint64_t calls(Call call) const noexcept;
  /// The number of injected faults; a delayed event counts each time.
  [[nodiscard]] std::uint64_t injected() const noexcept;
  /// Sets all counts to zero. Plans still refer to the same calls.
  void reset_counts() noexcept;

#define DUOLU_CALL(fault, result, name, parameters, arguments) \
  result name parameters noexcept override;
#define DUOLU_HOST_CALL DUOLU_CALL
#include "duolu/kernel/calls.def"

 private:
  struct Plan;      // one fail()
  struct Table;     // registrations and withheld events; has a lock
  struct Dice;      // the random faults of one call
  struct File;      // the kind of file of a descriptor
  struct Verdict;   // what becomes of a transfer
  struct RingSeen;  // a ring

  static constexpr auto call_count = static_cast<std::size_t>(Call::count_);

  std::uint64_t enter(Call call) noexcept;
  int planned(Call call, std::uint64_t number) noexcept;
  Dice roll(Call call, std::uint64_t number) noexcept;
  bool interrupt(Call call) noexcept;
  template <class Real>
  auto plain(Call call, Real real) noexcept;
  template <class Real>
  ssize_t transfer(Call call, int fd, std::size_t size, int flags, Real real) noexcept;
  Verdict judge(Call call, int fd, std::size_t size, int flags) noexcept;
  Verdict judge_at_offset(Call call, std::size_t size) noexcept;
  int judge_accept(int fd) noexcept;
  void judge_submissions(RingSeen& seen, unsigned to_submit) noexcept;
  void judge_submission(RingSeen& seen, struct RingEntry& entry) noexcept;
  int judge_file_request(struct RingEntry& entry) noexcept;
  File look_at(int fd, int message_flags) noexcept;
  bool has_ended(int fd, bool writing) noexcept;
  bool may_pretend_empty(const File& file, bool writing) noexcept;
  void remind(const File& file) noexcept;
  int withhold_bits(Dice& dice, int count, unsigned long* const sets[3], int ready) noexcept;
  int withhold_fds(Dice& dice, pollfd* fds, std::size_t count, int ready) noexcept;
  template <class Real>
  int epoll_any_wait(Call call, int epoll, epoll_event* events, bool only_looks,
                     Real real) noexcept;
  int withhold_events(Dice& dice, int epoll, epoll_event* events, int ready) noexcept;

  Kernel& inner_;
  Host& host_;
  const std::uint64_t seed_;
  std::array<std::atomic<std::uint64_t>, call_count> made_{};  ///< Calls since the beginning.
  std::array<std::atomic<std::uint64_t>, call_count> base_{};  ///< `made_` when last reset.
  std::array<std::atomic<const Plan*>, call_count> plans_{};   ///< Latest first.
  std::array<std::atomic<std::uint32_t>, call_count> interrupted_{};  ///< EINTRs in a row.
  std::array<std::atomic<std::uint32_t>, 4> rates_{};  ///< The members of FaultRates, in order.
  std::atomic<std::uint64_t> injected_{0};
  std::unique_ptr<Table> table_;
};

}  // namespace duolu
