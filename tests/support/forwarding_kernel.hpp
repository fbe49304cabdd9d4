// A Kernel that hands every call on to the real one: derive and override what a test changes.
#pragma once

#include <cerrno>

#include "duolu/kernel/kernel.hpp"

namespace duolu::test {

class ForwardingKernel : public Kernel {
 public:
  Instant now() noexcept override { return real_.now(); }
  Duration thread_cpu_time() noexcept override { return real_.thread_cpu_time(); }
  Duration real_time() noexcept override { return real_.real_time(); }
  ssize_t getrandom(void* buffer, std::size_t size) noexcept override {
    return real_.getrandom(buffer, size);
  }
  int getpid() noexcept override { return real_.getpid(); }
  int uname(struct utsname* name) noexcept override { return real_.uname(name); }
  int getrlimit(int resource, struct rlimit* limit) noexcept override {
    return real_.getrlimit(resource, limit);
  }
  int setrlimit(int resource, const struct rlimit* limit) noexcept override {
    return real_.setrlimit(resource, limit);
  }
  int sigaction(int signal, const struct sigaction* action,
                struct sigaction* old) noexcept override {
    return real_.sigaction(signal, action, old);
  }
  int getrusage(int who, struct rusage* usage) noexcept override {
    return real_.getrusage(who, usage);
  }
  int clock_nanosleep(const timespec* until) noexcept override {
    return real_.clock_nanosleep(until);
  }
  int pthread_create(pthread_t* thread, void* (*start)(void*), void* argument) noexcept override {
    return real_.pthread_create(thread, start, argument);
  }
  int pthread_join(pthread_t thread) noexcept override { return real_.pthread_join(thread); }

  int open(const char* path, int flags) noexcept override { return real_.open(path, flags); }
  int close(int fd) noexcept override { return real_.close(fd); }
  int fcntl(int fd, int command, long argument) noexcept override {
    return real_.fcntl(fd, command, argument);
  }
  int fstat(int fd, struct stat* status) noexcept override { return real_.fstat(fd, status); }
  int isatty(int fd) noexcept override { return real_.isatty(fd); }
  ssize_t read(int fd, void* buffer, std::size_t size) noexcept override {
    return real_.read(fd, buffer, size);
  }
  ssize_t write(int fd, const void* buffer, std::size_t size) noexcept override {
    return real_.write(fd, buffer, size);
  }
  ssize_t writev(int fd, const iovec* parts, int count) noexcept override {
    return real_.writev(fd, parts, count);
  }
  int pipe(int fds[2]) noexcept override { return real_.pipe(fds); }
  int lstat(const char* path, struct stat* status) noexcept override {
    return real_.lstat(path, status);
  }
  int unlink(const char* path) noexcept override { return real_.unlink(path); }

  int socket(int domain, int type, int protocol) noexcept override {
    return real_.socket(domain, type, protocol);
  }
  int bind(int fd, const sockaddr* address, socklen_t size) noexcept override {
    return real_.bind(fd, address, size);
  }
  int listen(int fd, int backlog) noexcept override { return real_.listen(fd, backlog); }
  int accept(int fd, sockaddr* address, socklen_t* size) noexcept override {
    return real_.accept(fd, address, size);
  }
  int connect(int fd, const sockaddr* address, socklen_t size) noexcept override {
    return real_.connect(fd, address, size);
  }
  int getsockname(int fd, sockaddr* address, socklen_t* size) noexcept override {
    return real_.getsockname(fd, address, size);
  }
  int getpeername(int fd, sockaddr* address, socklen_t* size) noexcept override {
    return real_.getpeername(fd, address, size);
  }
  int getsockopt(int fd, int level, int name, void* value, socklen_t* size) noexcept override {
    return real_.getsockopt(fd, level, name, value, size);
  }
  int setsockopt(int fd, int level, int name, const void* value, socklen_t size) noexcept override {
    return real_.setsockopt(fd, level, name, value, size);
  }
  int shutdown(int fd, int how) noexcept override { return real_.shutdown(fd, how); }
  ssize_t recv(int fd, void* buffer, std::size_t size, int flags) noexcept override {
    return real_.recv(fd, buffer, size, flags);
  }
  ssize_t recvmsg(int fd, msghdr* message, int flags) noexcept override {
    return real_.recvmsg(fd, message, flags);
  }
  ssize_t sendmsg(int fd, const msghdr* message, int flags) noexcept override {
    return real_.sendmsg(fd, message, flags);
  }
  ssize_t send(int fd, const void* buffer, std::size_t size, int flags) noexcept override {
    return real_.send(fd, buffer, size, flags);
  }
  int getaddrinfo(const char* host, const char* service, const addrinfo* hints,
                  addrinfo** found) noexcept override {
    return real_.getaddrinfo(host, service, hints, found);
  }
  void freeaddrinfo(addrinfo* found) noexcept override { real_.freeaddrinfo(found); }

  int pselect(int count, unsigned long* readable, unsigned long* writable,
              unsigned long* exceptional, const timespec* timeout) noexcept override {
    return real_.pselect(count, readable, writable, exceptional, timeout);
  }
  int ppoll(pollfd* fds, std::size_t count, const timespec* timeout) noexcept override {
    return real_.ppoll(fds, count, timeout);
  }
  int prctl(int option, unsigned long argument) noexcept override {
    return real_.prctl(option, argument);
  }
  int eventfd() noexcept override { return real_.eventfd(); }
  int epoll_create() noexcept override { return real_.epoll_create(); }
  int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept override {
    return real_.epoll_ctl(epoll, operation, fd, event);
  }
  int epoll_wait(int epoll, epoll_event* events, int count, int timeout_ms) noexcept override {
    return real_.epoll_wait(epoll, events, count, timeout_ms);
  }
  int epoll_pwait2(int epoll, epoll_event* events, int count,
                   const timespec* timeout) noexcept override {
    return real_.epoll_pwait2(epoll, events, count, timeout);
  }

 private:
  Kernel& real_ = real_kernel();
};

/// Counts the calls that wait, whatever their timeout; select's question to poll(2) about what it
/// found is one too. Can pretend to be an older system.
class CountingKernel final : public ForwardingKernel {
 public:
  int waits = 0;
  bool has_eventfd = true;  ///< Otherwise pollers wake up by a pipe.
  bool has_pwait2 = true;   ///< Otherwise epoll counts milliseconds.

  int pselect(int count, unsigned long* readable, unsigned long* writable,
              unsigned long* exceptional, const timespec* timeout) noexcept override {
    ++waits;
    return ForwardingKernel::pselect(count, readable, writable, exceptional, timeout);
  }
  int ppoll(pollfd* fds, std::size_t count, const timespec* timeout) noexcept override {
    ++waits;
    return ForwardingKernel::ppoll(fds, count, timeout);
  }
  int eventfd() noexcept override { return has_eventfd ? ForwardingKernel::eventfd() : -ENOSYS; }
  int epoll_wait(int epoll, epoll_event* events, int count, int timeout_ms) noexcept override {
    ++waits;
    return ForwardingKernel::epoll_wait(epoll, events, count, timeout_ms);
  }
  int epoll_pwait2(int epoll, epoll_event* events, int count,
                   const timespec* timeout) noexcept override {
    if (!has_pwait2) return -ENOSYS;
    ++waits;
    return ForwardingKernel::epoll_pwait2(epoll, events, count, timeout);
  }
};

}  // namespace duolu::test
