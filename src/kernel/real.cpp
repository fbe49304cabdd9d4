// The operating system itself: one line a call. Only here does errno become a negative result.

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "duolu/base/result.hpp"
#include "duolu/kernel/host.hpp"
#include "duolu/kernel/kernel.hpp"
#include "raw_syscall.hpp"

#ifndef DUOLU_POSIX_ONLY
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

namespace duolu {
namespace {

/// A C library result (-1 and errno) as a kernel result (-errno).
template <class T>
T outcome(T result) noexcept {
  return result == -1 ? static_cast<T>(-errno) : result;
}

Duration read_clock(clockid_t clock) noexcept {
  timespec ts;
  ::clock_gettime(clock, &ts);
  return std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec);
}

/// K7: `fd`, or the same file under a number above standard error's.
int above_standard(int fd) noexcept {
  if (fd < 0 || fd > STDERR_FILENO) [[likely]]
    return fd;
  const int moved = outcome(::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  ::close(fd);
  return moved == -EINVAL ? -EMFILE : moved;  // RLIMIT_NOFILE allows no higher number
}

/// The same for a call that made two descriptors; closes both on failure.
[[maybe_unused]] int above_standard(int (&fds)[2]) noexcept {
  fds[0] = above_standard(fds[0]);
  fds[1] = above_standard(fds[1]);
  if (fds[0] >= 0 && fds[1] >= 0) return 0;
  const int error = std::min(fds[0], fds[1]);
  for (const int fd : fds)
    if (fd >= 0) ::close(fd);
  return error;
}

#ifdef DUOLU_POSIX_ONLY
/// Stands in for SOCK_NONBLOCK and SOCK_CLOEXEC, two calls later.
int nonblocking_cloexec(int fd) noexcept {
  if (fd < 0) return -errno;
  if (::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && ::fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
    return above_standard(fd);
  const int error = errno;
  ::close(fd);
  return -error;
}
#endif

class RealKernel final : public Kernel {
 public:
  Instant now() noexcept override { return Instant(read_clock(CLOCK_MONOTONIC)); }
  int getpid() noexcept override { return ::getpid(); }
  int getrlimit(int resource, struct rlimit* limit) noexcept override {
    return outcome(::getrlimit(static_cast<__rlimit_resource>(resource), limit));
  }
  int sigaction(int signal, const struct sigaction* action,
                struct sigaction* old) noexcept override {
    return outcome(::sigaction(signal, action, old));
  }
  int clock_nanosleep(const timespec* until) noexcept override {
    return -::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, until, nullptr);
  }
  int pthread_create(pthread_t* thread, void* (*start)(void*), void* argument) noexcept override {
    return -::pthread_create(thread, nullptr, start, argument);
  }
  int pthread_join(pthread_t thread) noexcept override { return -::pthread_join(thread, nullptr); }

  int open(const char* path, int flags) noexcept override {
    return above_standard(outcome(::open(path, flags)));
  }
  int close(int fd) noexcept override { return outcome(::close(fd)); }
  int fcntl(int fd, int command, long argument) noexcept override {
    return outcome(::fcntl(fd, command, argument));
  }
  int fstat(int fd, struct stat* status) noexcept override { return outcome(::fstat(fd, status)); }
  ssize_t read(int fd, void* buffer, std::size_t size) noexcept override {
    return outcome(::read(fd, buffer, size));
  }
  ssize_t write(int fd, const void* buffer, std::size_t size) noexcept override {
    return outcome(::write(fd, buffer, size));
  }
  ssize_t writev(int fd, const iovec* parts, int count) noexcept override {
    return outcome(::writev(fd, parts, count));
  }
  int lstat(const char* path, struct stat* status) noexcept override {
    return outcome(::lstat(path, status));
  }
  int unlink(const char* path) noexcept override { return outcome(::unlink(path)); }

  int openat(int directory, const char* path, int flags, mode_t mode) noexcept override {
    return above_standard(outcome(::openat(directory, path, flags, mode)));
  }
  ssize_t pread(int fd, void* buffer, std::size_t size, off_t offset) noexcept override {
    return outcome(::pread(fd, buffer, size, offset));
  }
  ssize_t pwrite(int fd, const void* buffer, std::size_t size, off_t offset) noexcept override {
    return outcome(::pwrite(fd, buffer, size, offset));
  }
  int fsync(int fd) noexcept override { return outcome(::fsync(fd)); }
  int fdatasync(int fd) noexcept override { return outcome(::fdatasync(fd)); }
  off_t lseek(int fd, off_t offset, int whence) noexcept override {
    return outcome(::lseek(fd, offset, whence));
  }

  int mmap(void** address, std::size_t size, int protection, int flags, int fd,
           off_t offset) noexcept override {
    void* const mapped = ::mmap(nullptr, size, protection, flags, fd, offset);
    if (mapped == MAP_FAILED) return -errno;
    *address = mapped;
    return 0;
  }
  int munmap(void* address, std::size_t size) noexcept override {
    return outcome(::munmap(address, size));
  }

  int bind(int fd, const sockaddr* address, socklen_t size) noexcept override {
    return outcome(::bind(fd, address, size));
  }
  int listen(int fd, int backlog) noexcept override { return outcome(::listen(fd, backlog)); }
  int connect(int fd, const sockaddr* address, socklen_t size) noexcept override {
    return outcome(::connect(fd, address, size));
  }
  int getsockname(int fd, sockaddr* address, socklen_t* size) noexcept override {
    return outcome(::getsockname(fd, address, size));
  }
  int getpeername(int fd, sockaddr* address, socklen_t* size) noexcept override {
    return outcome(::getpeername(fd, address, size));
  }
  int getsockopt(int fd, int level, int name, void* value, socklen_t* size) noexcept override {
    return outcome(::getsockopt(fd, level, name, value, size));
  }
  int setsockopt(int fd, int level, int name, const void* value, socklen_t size) noexcept override {
    return outcome(::setsockopt(fd, level, name, value, size));
  }
  int shutdown(int fd, int how) noexcept override { return outcome(::shutdown(fd, how)); }
  ssize_t recvmsg(int fd, msghdr* message, int flags) noexcept override {
    return outcome(::recvmsg(fd, message, flags));
  }
  ssize_t sendmsg(int fd, const msghdr* message, int flags) noexcept override {
    return outcome(::sendmsg(fd, message, flags));
  }
  int getaddrinfo(const char* host, const char* service, const addrinfo* hints,
                  addrinfo** found) noexcept override {
    return ::getaddrinfo(host, service, hints, found);
  }
  void freeaddrinfo(addrinfo* found) noexcept override { ::freeaddrinfo(found); }

  int pselect(int count, unsigned long* readable, unsigned long* writable,
              unsigned long* exceptional, const timespec* timeout) noexcept override {
    // glibc passes the pointers through; the kernel goes by `count`, not by the size of fd_set.
    return outcome(::pselect(count, reinterpret_cast<fd_set*>(readable),
                             reinterpret_cast<fd_set*>(writable),
                             reinterpret_cast<fd_set*>(exceptional), timeout, nullptr));
  }
  int ppoll(pollfd* fds, std::size_t count, const timespec* timeout) noexcept override {
    return outcome(::ppoll(fds, count, timeout, nullptr));
  }

#if DUOLU_RAW_SYSCALL
  ssize_t recv(int fd, void* buffer, std::size_t size, int flags) noexcept override {
    return raw_syscall(SYS_recvfrom, fd, reinterpret_cast<long>(buffer), static_cast<long>(size),
                       flags, 0, 0);
  }
  ssize_t send(int fd, const void* buffer, std::size_t size, int flags) noexcept override {
    return raw_syscall(SYS_sendto, fd, reinterpret_cast<long>(buffer), static_cast<long>(size),
                       flags, 0, 0);
  }
#else
  ssize_t recv(int fd, void* buffer, std::size_t size, int flags) noexcept override {
    return outcome(::recv(fd, buffer, size, flags));
  }
  ssize_t send(int fd, const void* buffer, std::size_t size, int flags) noexcept override {
    return outcome(::send(fd, buffer, size, flags));
  }
#endif

#ifdef DUOLU_POSIX_ONLY
  int pipe(int fds[2]) noexcept override {
    int made[2];
    if (::pipe(made) != 0) return -errno;
    const int first = nonblocking_cloexec(made[0]);
    const int second = nonblocking_cloexec(made[1]);
    if (first >= 0 && second >= 0) {
      fds[0] = first;
      fds[1] = second;
      return 0;
    }
    if (first >= 0) ::close(first);
    if (second >= 0) ::close(second);
    return first < 0 ? first : second;
  }
  int socket(int domain, int type, int protocol) noexcept override {
    return nonblocking_cloexec(::socket(domain, type, protocol));
  }
  int accept(int fd, sockaddr* address, socklen_t* size) noexcept override {
    return nonblocking_cloexec(::accept(fd, address, size));
  }
  int eventfd() noexcept override { return -ENOSYS; }
  int epoll_create() noexcept override { return -ENOSYS; }
  int epoll_ctl(int, int, int, epoll_event*) noexcept override { return -ENOSYS; }
  int epoll_wait(int, epoll_event*, int, int) noexcept override { return -ENOSYS; }
  int epoll_pwait2(int, epoll_event*, int, const timespec*) noexcept override { return -ENOSYS; }
  int io_uring_setup(unsigned, struct io_uring_params*) noexcept override { return -ENOSYS; }
  int io_uring_enter(int, unsigned, unsigned, unsigned, const void*,
                     std::size_t) noexcept override {
    return -ENOSYS;
  }
  int io_uring_register(int, unsigned, void*, unsigned) noexcept override { return -ENOSYS; }
#else
  int pipe(int fds[2]) noexcept override {
    int made[2];
    int result = outcome(::pipe2(made, O_NONBLOCK | O_CLOEXEC));
    if (result == 0) result = above_standard(made);
    if (result == 0) std::copy_n(made, 2, fds);
    return result;
  }
  int socket(int domain, int type, int protocol) noexcept override {
    return above_standard(outcome(::socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol)));
  }
  int accept(int fd, sockaddr* address, socklen_t* size) noexcept override {
    return above_standard(outcome(::accept4(fd, address, size, SOCK_NONBLOCK | SOCK_CLOEXEC)));
  }
  int eventfd() noexcept override {
    return above_standard(outcome(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)));
  }
  int epoll_create() noexcept override {
    return above_standard(outcome(::epoll_create1(EPOLL_CLOEXEC)));
  }
  int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept override {
#if DUOLU_RAW_SYSCALL
    return static_cast<int>(
        raw_syscall(SYS_epoll_ctl, epoll, operation, fd, reinterpret_cast<long>(event), 0, 0));
#else
    return outcome(::epoll_ctl(epoll, operation, fd, event));
#endif
  }
  int epoll_wait(int epoll, epoll_event* events, int count, int timeout_ms) noexcept override {
    return outcome(::epoll_wait(epoll, events, count, timeout_ms));
  }
  int epoll_pwait2(int epoll, epoll_event* events, int count,
                   const timespec* timeout) noexcept override {
#if DUOLU_RAW_SYSCALL
    return static_cast<int>(raw_syscall(SYS_epoll_pwait2, epoll, reinterpret_cast<long>(events),
                                        count, reinterpret_cast<long>(timeout), 0, 0));
#else
    return outcome(::epoll_pwait2(epoll, events, count, timeout, nullptr));
#endif
  }
  int io_uring_setup(unsigned entries, struct io_uring_params* params) noexcept override {
    return above_standard(
        static_cast<int>(outcome(::syscall(SYS_io_uring_setup, entries, params))));
  }
  int io_uring_enter(int ring, unsigned to_submit, unsigned min_complete, unsigned flags,
                     const void* argument, std::size_t size) noexcept override {
#if DUOLU_RAW_SYSCALL
    return static_cast<int>(raw_syscall(SYS_io_uring_enter, ring, to_submit, min_complete, flags,
                                        reinterpret_cast<long>(argument), static_cast<long>(size)));
#else
    return static_cast<int>(outcome(
        ::syscall(SYS_io_uring_enter, ring, to_submit, min_complete, flags, argument, size)));
#endif
  }
  int io_uring_register(int ring, unsigned operation, void* argument,
                        unsigned count) noexcept override {
    return static_cast<int>(
        outcome(::syscall(SYS_io_uring_register, ring, operation, argument, count)));
  }
#endif
};

class RealHost final : public Host {
 public:
  Duration thread_cpu_time() noexcept override { return read_clock(CLOCK_THREAD_CPUTIME_ID); }
  Duration real_time() noexcept override { return read_clock(CLOCK_REALTIME); }
  int uname(struct utsname* name) noexcept override { return outcome(::uname(name)); }
  int setrlimit(int resource, const struct rlimit* limit) noexcept override {
    return outcome(::setrlimit(static_cast<__rlimit_resource>(resource), limit));
  }
  int getrusage(int who, struct rusage* usage) noexcept override {
    return outcome(::getrusage(static_cast<__rusage_who>(who), usage));
  }
#ifdef DUOLU_POSIX_ONLY
  int prctl(int, unsigned long) noexcept override { return -ENOSYS; }
#else
  int prctl(int option, unsigned long argument) noexcept override {
    return outcome(::prctl(option, argument, 0, 0, 0));
  }
#endif
  int isatty(int fd) noexcept override { return ::isatty(fd) == 1 ? 1 : -errno; }
};

}  // namespace

Kernel& real_kernel() noexcept {
  static detail::Immortal<RealKernel> kernel;
  return kernel.value;
}

Host& real_host() noexcept {
  static detail::Immortal<RealHost> host;
  return host.value;
}

int sleep_until(Kernel& kernel, Instant instant) noexcept {
  const std::int64_t ns = instant.time_since_epoch().count();
  const timespec ts{.tv_sec = static_cast<time_t>(ns / 1'000'000'000),
                    .tv_nsec = static_cast<long>(ns % 1'000'000'000)};
  return kernel.clock_nanosleep(&ts);
}

}  // namespace duolu
