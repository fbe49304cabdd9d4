// Public. Layer: kernel. The system calls duolu makes, as one interface.
//
// All use of the operating system and its clock goes through a Kernel, so that the same library
// code runs on the real one, on one that injects faults (duolu/testing/fault.hpp), and on a
// simulated one. A Poller or a Loop holds one `Kernel&` for its whole life. Calls that only a
// program makes are in host.hpp. A new call is declared here, implemented in src/kernel/real.cpp,
// and gets a row in calls.def.
//
// Conventions, the same for every call:
//   K1  A call is named after the system call it stands for and takes its arguments; the man page
//       of that name is its documentation. Differences are described at the declaration.
//   K2  The result is the system call's, or -errno. `errno` itself is not used.
//   K3  Calls are made once. EINTR is returned, not retried: the caller knows its deadline.
//   K4  Every descriptor that a Kernel makes is non-blocking and close-on-exec from the start, or
//       as soon as the system allows (POSIX without accept4: two calls later).
//   K5  A transfer that is shorter than asked, or EAGAIN, means what it means on Linux: the
//       condition no longer held at that moment, and the multiplexers report the next change. An
//       implementation that invents short transfers must make sure of that report itself.
//   K6  Calls may be made from any thread, and `write` and `getpid` from a signal handler.
//   K7  No descriptor that a Kernel makes is numbered 0, 1 or 2, even if those are closed: other
//       code would take it for standard input or write its messages to it. Where no other number
//       is free the call fails with -EMFILE (accept then closes the connection that it took).
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "duolu/base/time.hpp"

struct addrinfo;
struct epoll_event;
struct io_uring_params;
struct iovec;
struct msghdr;
struct pollfd;
struct rlimit;
struct sigaction;
struct stat;
struct timespec;

namespace duolu {

class SignalTable;

/// The operating system, as far as duolu uses it. See the conventions above.
class Kernel {
 public:
  /// Its signals are the process's.
  Kernel() noexcept;
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
  virtual ~Kernel() = default;

  /// The table of listeners for the signals that this kernel delivers.
  [[nodiscard]] SignalTable& signals() const noexcept { return signals_; }

  // --- time, process

  /// clock_gettime(CLOCK_MONOTONIC). Cannot fail.
  virtual Instant now() noexcept = 0;
  virtual int getpid() noexcept = 0;
  virtual int getrlimit(int resource, struct rlimit* limit) noexcept = 0;
  virtual int sigaction(int signal, const struct sigaction* action,
                        struct sigaction* old) noexcept = 0;
  /// CLOCK_MONOTONIC, TIMER_ABSTIME: sleeps until `until`, an Instant as a timespec.
  virtual int clock_nanosleep(const timespec* until) noexcept = 0;
  /// Without attributes. The thread has the signal mask of the calling thread, as with POSIX.
  /// Programs that it starts inherit the mask, and signals blocked there cannot end them.
  virtual int pthread_create(pthread_t* thread, void* (*start)(void*), void* argument) noexcept = 0;
  /// Without the thread's result. Cannot fail.
  virtual int pthread_join(pthread_t thread) noexcept = 0;

  // --- descriptors

  /// Opens existing files only: `flags` without O_CREAT.
  virtual int open(const char* path, int flags) noexcept = 0;
  /// Closes `fd` whatever it returns: after EINTR or EIO the descriptor is closed too (Linux).
  virtual int close(int fd) noexcept = 0;
  virtual int fcntl(int fd, int command, long argument) noexcept = 0;
  virtual int fstat(int fd, struct stat* status) noexcept = 0;
  virtual ssize_t read(int fd, void* buffer, std::size_t size) noexcept = 0;
  virtual ssize_t write(int fd, const void* buffer, std::size_t size) noexcept = 0;
  virtual ssize_t writev(int fd, const iovec* parts, int count) noexcept = 0;
  /// pipe2: fds[0] reads, fds[1] writes.
  virtual int pipe(int fds[2]) noexcept = 0;
  /// stat without following a last symbolic link.
  virtual int lstat(const char* path, struct stat* status) noexcept = 0;
  virtual int unlink(const char* path) noexcept = 0;

  // --- files: calls that may wait for a disk

  /// Like open(), with the flags as they are given, despite K4; `mode` is used with O_CREAT.
  virtual int openat(int directory, const char* path, int flags, mode_t mode) noexcept = 0;
  virtual ssize_t pread(int fd, void* buffer, std::size_t size, off_t offset) noexcept = 0;
  virtual ssize_t pwrite(int fd, const void* buffer, std::size_t size, off_t offset) noexcept = 0;
  virtual int fsync(int fd) noexcept = 0;
  virtual int fdatasync(int fd) noexcept = 0;
  virtual off_t lseek(int fd, off_t offset, int whence) noexcept = 0;

  // --- memory

  /// mmap(2) at an address that the system chooses and stores in `*address`. Returns 0 or -errno.
  /// A ring's mapping is plain memory: an implementation may return memory of its own, and read the
  /// entries in it during io_uring_enter().
  virtual int mmap(void** address, std::size_t size, int protection, int flags, int fd,
                   off_t offset) noexcept = 0;
  virtual int munmap(void* address, std::size_t size) noexcept = 0;

  // --- sockets

  virtual int socket(int domain, int type, int protocol) noexcept = 0;
  virtual int bind(int fd, const sockaddr* address, socklen_t size) noexcept = 0;
  virtual int listen(int fd, int backlog) noexcept = 0;
  /// accept4.
  virtual int accept(int fd, sockaddr* address, socklen_t* size) noexcept = 0;
  virtual int connect(int fd, const sockaddr* address, socklen_t size) noexcept = 0;
  virtual int getsockname(int fd, sockaddr* address, socklen_t* size) noexcept = 0;
  virtual int getpeername(int fd, sockaddr* address, socklen_t* size) noexcept = 0;
  virtual int getsockopt(int fd, int level, int name, void* value, socklen_t* size) noexcept = 0;
  virtual int setsockopt(int fd, int level, int name, const void* value,
                         socklen_t size) noexcept = 0;
  virtual int shutdown(int fd, int how) noexcept = 0;
  virtual ssize_t recv(int fd, void* buffer, std::size_t size, int flags) noexcept = 0;
  virtual ssize_t send(int fd, const void* buffer, std::size_t size, int flags) noexcept = 0;
  virtual ssize_t recvmsg(int fd, msghdr* message, int flags) noexcept = 0;
  virtual ssize_t sendmsg(int fd, const msghdr* message, int flags) noexcept = 0;
  /// getaddrinfo(3): blocks. Returns its EAI_ code (not an errno), 0 for success. For
  /// EAI_SYSTEM, and only then, `errno` says why (in spite of K2).
  virtual int getaddrinfo(const char* host, const char* service, const addrinfo* hints,
                          addrinfo** found) noexcept = 0;
  virtual void freeaddrinfo(addrinfo* found) noexcept = 0;

  // --- readiness. A null timeout waits for ever. Timeouts are relative; the kernel rounds them up.

  /// pselect without a signal mask. The sets are bitmaps of `unsigned long`, as long as `count`
  /// needs: on Linux `count` may exceed FD_SETSIZE, which limits only the C library's fd_set.
  virtual int pselect(int count, unsigned long* readable, unsigned long* writable,
                      unsigned long* exceptional, const timespec* timeout) noexcept = 0;
  /// ppoll without a signal mask.
  virtual int ppoll(pollfd* fds, std::size_t count, const timespec* timeout) noexcept = 0;

  // Linux only. On other systems, and with DUOLU_POSIX_ONLY, they return -ENOSYS.

  /// eventfd(0).
  virtual int eventfd() noexcept = 0;
  /// epoll_create1.
  virtual int epoll_create() noexcept = 0;
  virtual int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept = 0;
  /// epoll_wait, for kernels without epoll_pwait2. The timeout is in milliseconds, -1 for ever.
  virtual int epoll_wait(int epoll, epoll_event* events, int count, int timeout_ms) noexcept = 0;
  /// epoll_pwait2 (Linux 5.11) without a signal mask.
  virtual int epoll_pwait2(int epoll, epoll_event* events, int count,
                           const timespec* timeout) noexcept = 0;

  /// The ring is closed with close(). `params` is that of <linux/io_uring.h>.
  virtual int io_uring_setup(unsigned entries, struct io_uring_params* params) noexcept = 0;
  /// Returns how many entries were taken. With IORING_ENTER_EXT_ARG in `flags`, `argument` has
  /// `size` bytes and holds the timeout; else it is null. A submitted request reads and writes the
  /// caller's memory until its completion is there. K7 holds for descriptors that a request makes
  /// (accept) only if the implementation ensures it: the real one does not.
  virtual int io_uring_enter(int ring, unsigned to_submit, unsigned min_complete, unsigned flags,
                             const void* argument, std::size_t size) noexcept = 0;
  virtual int io_uring_register(int ring, unsigned operation, void* argument,
                                unsigned count) noexcept = 0;

 protected:
  /// For a wrapper around another Kernel, with that one's signals(), and for a Kernel that
  /// simulates a process (see signal_table.hpp). `signals` outlives this.
  explicit Kernel(SignalTable& signals) noexcept : signals_(signals) {}

 private:
  SignalTable& signals_;
};

/// Kernel::clock_nanosleep with an Instant. -EINTR when a signal came first.
int sleep_until(Kernel& kernel, Instant instant) noexcept;

/// The operating system itself. One object for the whole process; it has no state.
[[nodiscard]] Kernel& real_kernel() noexcept;

}  // namespace duolu
