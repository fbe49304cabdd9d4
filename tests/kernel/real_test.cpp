// The conventions K1 to K7 of kernel.hpp, on the operating system itself.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <vector>

#include "duolu/kernel/host.hpp"
#include "duolu/kernel/kernel.hpp"
#include "support/conformance.hpp"

#ifndef DUOLU_POSIX_ONLY
#include <linux/io_uring.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#endif

namespace duolu::test {
namespace {

Kernel& kernel() { return real_kernel(); }

void expect_nonblocking_and_cloexec(int fd) {
  ASSERT_GE(fd, 0);
  EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

/// A listener on the loopback interface, and its address.
struct Listener {
  Fd fd{kernel(), kernel().socket(AF_INET, SOCK_STREAM, 0)};
  sockaddr_in address{};

  Listener() {
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(kernel().bind(fd.get(), generic(), sizeof address), 0);
    EXPECT_EQ(kernel().listen(fd.get(), 8), 0);
    EXPECT_EQ(kernel().getsockname(fd.get(), generic(), &size), 0);
  }
  sockaddr* generic() { return reinterpret_cast<sockaddr*>(&address); }
};

bool wait_for(int fd, short events) {
  pollfd one{.fd = fd, .events = events, .revents = 0};
  const timespec guard{.tv_sec = 30, .tv_nsec = 0};
  return kernel().ppoll(&one, 1, &guard) == 1;
}

/// In a process without standard descriptors: how many of those it makes are one.
int made_as_standard(const Listener& listener) {
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) ::close(fd);
  std::vector<int> made{kernel().open("/", O_RDONLY), kernel().socket(AF_INET, SOCK_STREAM, 0)};
  int ends[2] = {-1, -1};
  if (kernel().pipe(ends) != 0) return 100;
  made.insert(made.end(), {ends[0], ends[1]});
  kernel().connect(made[1], reinterpret_cast<const sockaddr*>(&listener.address),
                   sizeof listener.address);
  if (!wait_for(listener.fd.get(), POLLIN)) return 101;
  made.push_back(kernel().accept(listener.fd.get(), nullptr, nullptr));
#ifndef DUOLU_POSIX_ONLY
  made.insert(made.end(), {kernel().eventfd(), kernel().epoll_create()});
#endif
  for (int fd = 0; fd <= STDERR_FILENO; ++fd)
    if (is_open(fd)) return 102;
  for (const int fd : made)
    if (fd <= STDERR_FILENO || (::fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) return 103;
  for (std::size_t i = 1; i < 5; ++i)  // of sockets and pipes
    if ((::fcntl(made[i], F_GETFL) & O_NONBLOCK) == 0) return 104;
  return 0;
}

/// The same where no other number is left.
int fails_without_other_numbers(const Listener& listener) {
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) ::close(fd);
  const rlimit none{.rlim_cur = STDERR_FILENO + 1, .rlim_max = STDERR_FILENO + 1};
  if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return 100;
  int ends[2] = {-1, -1};
  if (kernel().pipe(ends) != -EMFILE) return 101;
  if (ends[0] != -1 || ends[1] != -1) return 102;
  if (kernel().socket(AF_INET, SOCK_STREAM, 0) != -EMFILE) return 103;
  if (kernel().open("/", O_RDONLY) != -EMFILE) return 104;
  if (kernel().accept(listener.fd.get(), nullptr, nullptr) != -EAGAIN) return 105;
  for (int fd = 0; fd <= STDERR_FILENO; ++fd)
    if (is_open(fd)) return 106;
  return 0;
}

/// The same where one number is left, and a pipe needs two.
int closes_both_ends(const Listener& listener) {
  ::close(STDIN_FILENO);
  const int free = ::fcntl(listener.fd.get(), F_DUPFD, STDERR_FILENO + 1);
  ::close(free);
  const rlimit one{.rlim_cur = static_cast<rlim_t>(free) + 1,
                   .rlim_max = static_cast<rlim_t>(free) + 1};
  if (::setrlimit(RLIMIT_NOFILE, &one) != 0) return 100;
  int ends[2] = {-1, -1};
  if (kernel().pipe(ends) != -EMFILE) return 101;
  return is_open(STDIN_FILENO) || is_open(free) ? 102 : 0;
}

TEST(RealKernel, K7_no_descriptor_is_a_standard_one) {
  const Listener listener;
  EXPECT_EXIT(::_exit(made_as_standard(listener)), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(::_exit(fails_without_other_numbers(listener)), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(::_exit(closes_both_ends(listener)), testing::ExitedWithCode(0), "");
}

TEST(RealKernel, K1_transfers_what_the_system_call_does) {
  const Pair pair = unix_pair();
  EXPECT_EQ(kernel().send(pair.a.get(), "hello", 5, 0), 5);
  std::array<char, 16> buffer{};
  EXPECT_EQ(kernel().recv(pair.b.get(), buffer.data(), buffer.size(), MSG_PEEK), 5);
  EXPECT_EQ(kernel().recv(pair.b.get(), buffer.data(), buffer.size(), 0), 5);
  EXPECT_EQ(std::string_view(buffer.data(), 5), "hello");
  EXPECT_EQ(kernel().write(pair.b.get(), "you", 3), 3);
  EXPECT_EQ(kernel().read(pair.a.get(), buffer.data(), 2), 2);
  EXPECT_EQ(kernel().shutdown(pair.b.get(), SHUT_WR), 0);
  EXPECT_EQ(kernel().read(pair.a.get(), buffer.data(), buffer.size()), 1);
  EXPECT_EQ(kernel().read(pair.a.get(), buffer.data(), buffer.size()), 0);
}

TEST(RealKernel, K1_describes_the_system) {
  struct utsname name{};
  EXPECT_EQ(real_host().uname(&name), 0);
  EXPECT_NE(name.sysname[0], '\0');
  EXPECT_EQ(kernel().getpid(), ::getpid());

  struct rlimit before{};
  struct rlimit after{};
  ASSERT_EQ(kernel().getrlimit(RLIMIT_CORE, &before), 0);
  const struct rlimit lowered{.rlim_cur = 0, .rlim_max = before.rlim_max};
  EXPECT_EQ(real_host().setrlimit(RLIMIT_CORE, &lowered), 0);
  EXPECT_EQ(kernel().getrlimit(RLIMIT_CORE, &after), 0);
  EXPECT_EQ(after.rlim_cur, 0U);
  EXPECT_EQ(real_host().setrlimit(RLIMIT_CORE, &before), 0);

  struct rusage usage{};
  EXPECT_EQ(real_host().getrusage(RUSAGE_SELF, &usage), 0);
  EXPECT_GT(usage.ru_maxrss, 0);
  const Duration used = real_host().thread_cpu_time();
  EXPECT_GT(used, Duration::zero());
  EXPECT_GE(real_host().thread_cpu_time(), used);
  const Duration date = real_host().real_time();
  EXPECT_NEAR(std::chrono::duration<double>(date).count(), static_cast<double>(::time(nullptr)),
              60);
#ifndef DUOLU_POSIX_ONLY
  EXPECT_EQ(real_host().prctl(PR_GET_DUMPABLE, 0), 1);
#endif
}

TEST(RealKernel, K1_sleeps_until_the_instant) {
  const Instant until = kernel().now() + std::chrono::milliseconds(2);
  const auto since_start = until.time_since_epoch().count();
  const timespec ts{.tv_sec = since_start / 1'000'000'000, .tv_nsec = since_start % 1'000'000'000};
  EXPECT_EQ(kernel().clock_nanosleep(&ts), 0);
  EXPECT_GE(kernel().now(), until);
  const timespec wrong{.tv_sec = 0, .tv_nsec = -1};
  EXPECT_EQ(kernel().clock_nanosleep(&wrong), -EINVAL);
}

TEST(RealKernel, K1_threads_have_the_signal_mask_of_who_makes_them) {
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR1);
  sigset_t before;
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
  sigset_t inside;
  ::sigemptyset(&inside);
  pthread_t thread{};
  const auto look = [](void* into) -> void* {
    ::pthread_sigmask(SIG_SETMASK, nullptr, static_cast<sigset_t*>(into));
    return nullptr;
  };
  ASSERT_EQ(real_kernel().pthread_create(&thread, look, &inside), 0);
  EXPECT_EQ(real_kernel().pthread_join(thread), 0);
  sigset_t after;
  ::pthread_sigmask(SIG_SETMASK, &before, &after);
  EXPECT_EQ(::sigismember(&inside, SIGUSR1), 1);
  for (const int signal : {SIGHUP, SIGINT, SIGTERM, SIGCHLD, SIGALRM, SIGPIPE, SIGSEGV})
    EXPECT_EQ(::sigismember(&inside, signal), ::sigismember(&before, signal)) << signal;
  EXPECT_EQ(::sigismember(&after, SIGTERM), ::sigismember(&before, SIGTERM));
}

TEST(RealKernel, K1_describes_files) {
  const Pair pipe = pipe_pair();
  struct stat status{};
  EXPECT_EQ(kernel().fstat(pipe.a.get(), &status), 0);
  EXPECT_TRUE(S_ISFIFO(status.st_mode));
  EXPECT_EQ(kernel().lstat("/", &status), 0);
  EXPECT_TRUE(S_ISDIR(status.st_mode));
  EXPECT_EQ(real_host().isatty(pipe.a.get()), -ENOTTY);
  EXPECT_EQ(kernel().fcntl(pipe.a.get(), F_GETFD, 0), FD_CLOEXEC);
}

TEST(RealKernel, K1_unlinks) {
  std::string path = testing::TempDir() + "duolu-real-XXXXXX";
  const int fd = ::mkstemp(path.data());
  ASSERT_GE(fd, 0);
  EXPECT_EQ(kernel().close(fd), 0);
  EXPECT_EQ(kernel().unlink(path.c_str()), 0);
  struct stat status{};
  EXPECT_EQ(kernel().lstat(path.c_str(), &status), -ENOENT);
}

TEST(RealKernel, K1_files_are_used_at_offsets) {
  std::string path = testing::TempDir() + "duolu-real-XXXXXX";
  ASSERT_EQ(kernel().close(::mkstemp(path.data())), 0);
  ASSERT_EQ(kernel().unlink(path.c_str()), 0);
  const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
  const Fd file(kernel(), kernel().openat(AT_FDCWD, path.c_str(), flags, 0600));
  ASSERT_TRUE(file);
  EXPECT_EQ(kernel().openat(AT_FDCWD, path.c_str(), flags, 0600), -EEXIST);
  EXPECT_EQ(kernel().pwrite(file.get(), "text", 4, off_t{3} << 30U), 4);
  char bytes[4] = {};
  EXPECT_EQ(kernel().pread(file.get(), bytes, 4, (off_t{3} << 30U) + 1), 3);
  EXPECT_STREQ(bytes, "ext");
  EXPECT_EQ(kernel().lseek(file.get(), 0, SEEK_CUR), 0);
  EXPECT_EQ(kernel().lseek(file.get(), 0, SEEK_END), (off_t{3} << 30U) + 4);
  EXPECT_EQ(kernel().fsync(file.get()), 0);
  EXPECT_EQ(kernel().fdatasync(file.get()), 0);
  EXPECT_EQ(kernel().unlink(path.c_str()), 0);
  EXPECT_EQ(kernel().pread(-1, bytes, 4, 0), -EBADF);
  EXPECT_EQ(kernel().pwrite(file.get(), "x", 1, -1), -EINVAL);
  EXPECT_EQ(kernel().fsync(-1), -EBADF);
  EXPECT_EQ(kernel().fdatasync(-1), -EBADF);
  EXPECT_EQ(kernel().lseek(-1, 0, SEEK_CUR), -EBADF);
}

TEST(RealKernel, K1_resolves_and_frees) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  ASSERT_EQ(kernel().getaddrinfo("127.0.0.1", "80", &hints, &found), 0);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->ai_family, AF_INET);
  kernel().freeaddrinfo(found);
  EXPECT_EQ(kernel().getaddrinfo("no number", "80", &hints, &found), EAI_NONAME);
}

TEST(RealKernel, K1_the_clock_is_monotonic_and_sleeps_are_never_early) {
  const Instant start = kernel().now();
  const timespec timeout{.tv_sec = 0, .tv_nsec = 3'000'000};
  EXPECT_EQ(kernel().ppoll(nullptr, 0, &timeout), 0);
  EXPECT_GE(kernel().now() - start, 3ms);
  const Instant middle = kernel().now();
  EXPECT_EQ(kernel().pselect(0, nullptr, nullptr, nullptr, &timeout), 0);
  EXPECT_GE(kernel().now() - middle, 3ms);
}

TEST(RealKernel, K1_pselect_takes_bitmaps_of_words) {
  const Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const int fd = pair.a.get();
  constexpr int word_bits = 8 * sizeof(unsigned long);
  std::vector<unsigned long> readable(static_cast<std::size_t>(fd / word_bits) + 1);
  std::vector<unsigned long> writable(readable.size());
  const unsigned long bit = 1UL << (fd % word_bits);
  readable.back() = bit;
  writable.back() = bit;
  const timespec zero{};
  EXPECT_EQ(kernel().pselect(fd + 1, readable.data(), writable.data(), nullptr, &zero), 2);
  EXPECT_EQ(readable.back(), bit);
  EXPECT_EQ(writable.back(), bit);
}

TEST(RealKernel, K2_failures_are_negative_errno_and_errno_is_not_the_result) {
  char byte = 0;
  EXPECT_EQ(kernel().read(-1, &byte, 1), -EBADF);
  EXPECT_EQ(kernel().write(-1, &byte, 1), -EBADF);
  EXPECT_EQ(kernel().recv(-1, &byte, 1, 0), -EBADF);
  EXPECT_EQ(kernel().send(-1, &byte, 1, 0), -EBADF);
  EXPECT_EQ(kernel().close(-1), -EBADF);
  EXPECT_EQ(kernel().accept(-1, nullptr, nullptr), -EBADF);
  EXPECT_EQ(kernel().listen(-1, 1), -EBADF);
  EXPECT_EQ(kernel().fcntl(-1, F_GETFD, 0), -EBADF);
  EXPECT_EQ(real_host().isatty(-1), -EBADF);
  EXPECT_EQ(kernel().socket(-1, SOCK_STREAM, 0), -EAFNOSUPPORT);
  EXPECT_EQ(kernel().unlink(""), -ENOENT);
  EXPECT_EQ(kernel().sigaction(SIGKILL, nullptr, nullptr), 0);
  struct sigaction ignore{};
  ignore.sa_handler = SIG_IGN;
  EXPECT_EQ(kernel().sigaction(SIGKILL, &ignore, nullptr), -EINVAL);
  struct rlimit limit{};
  EXPECT_EQ(kernel().getrlimit(-1, &limit), -EINVAL);
}

TEST(RealKernel, K2_K4_nothing_to_read_is_EAGAIN_and_a_broken_pipe_EPIPE) {
  Pair pair = unix_pair();
  char byte = 0;
  EXPECT_EQ(kernel().recv(pair.a.get(), &byte, 1, 0), -EAGAIN);
  EXPECT_EQ(kernel().read(pair.a.get(), &byte, 1), -EAGAIN);
  pair.b.reset();
  EXPECT_EQ(kernel().send(pair.a.get(), &byte, 1, MSG_NOSIGNAL), -EPIPE);
}

TEST(RealKernel, K3_an_interrupted_wait_returns_EINTR) {
  struct sigaction catcher{};
  struct sigaction before{};
  catcher.sa_handler = [](int) {};
  catcher.sa_flags = SA_RESTART;  // which does not restart these waits
  ASSERT_EQ(kernel().sigaction(SIGALRM, &catcher, &before), 0);
  // Repeating, so that a signal that comes before the wait is not the last one.
  const itimerval every_2ms{.it_interval = {.tv_sec = 0, .tv_usec = 2000},
                            .it_value = {.tv_sec = 0, .tv_usec = 2000}};
  const itimerval off{};
  ASSERT_EQ(::setitimer(ITIMER_REAL, &every_2ms, nullptr), 0);
  const timespec guard{.tv_sec = 30, .tv_nsec = 0};
  EXPECT_EQ(kernel().ppoll(nullptr, 0, &guard), -EINTR);
  EXPECT_EQ(kernel().pselect(0, nullptr, nullptr, nullptr, &guard), -EINTR);
#ifndef DUOLU_POSIX_ONLY
  const Fd epoll(kernel(), kernel().epoll_create());
  epoll_event event{};
  EXPECT_EQ(kernel().epoll_wait(epoll.get(), &event, 1, 30'000), -EINTR);
  EXPECT_EQ(kernel().epoll_pwait2(epoll.get(), &event, 1, &guard), -EINTR);
#endif
  ASSERT_EQ(::setitimer(ITIMER_REAL, &off, nullptr), 0);
  ASSERT_EQ(kernel().sigaction(SIGALRM, &before, nullptr), 0);
}

TEST(RealKernel, K4_sockets_are_nonblocking_and_cloexec) {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
    const Fd fd(kernel(), kernel().socket(AF_INET, type, 0));
    expect_nonblocking_and_cloexec(fd.get());
  }
}

TEST(RealKernel, K4_accepted_connections_are_nonblocking_and_cloexec) {
  Listener listener;
  EXPECT_EQ(kernel().accept(listener.fd.get(), nullptr, nullptr), -EAGAIN);
  const Fd client(kernel(), kernel().socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(kernel().connect(client.get(), listener.generic(), sizeof listener.address),
            -EINPROGRESS);
  ASSERT_TRUE(wait_for(listener.fd.get(), POLLIN));
  sockaddr_in peer{};
  socklen_t size = sizeof peer;
  const Fd served(kernel(),
                  kernel().accept(listener.fd.get(), reinterpret_cast<sockaddr*>(&peer), &size));
  expect_nonblocking_and_cloexec(served.get());

  sockaddr_in own{};
  size = sizeof own;
  ASSERT_TRUE(wait_for(client.get(), POLLOUT));
  EXPECT_EQ(kernel().getsockname(client.get(), reinterpret_cast<sockaddr*>(&own), &size), 0);
  EXPECT_EQ(own.sin_port, peer.sin_port);
  EXPECT_EQ(kernel().getpeername(client.get(), reinterpret_cast<sockaddr*>(&own), &size), 0);
  EXPECT_EQ(own.sin_port, listener.address.sin_port);
  int error = -1;
  socklen_t length = sizeof error;
  EXPECT_EQ(kernel().getsockopt(client.get(), SOL_SOCKET, SO_ERROR, &error, &length), 0);
  EXPECT_EQ(error, 0);
  const int one = 1;
  EXPECT_EQ(kernel().setsockopt(client.get(), SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one), 0);
  int kept = 0;
  EXPECT_EQ(kernel().getsockopt(client.get(), SOL_SOCKET, SO_KEEPALIVE, &kept, &length), 0);
  EXPECT_EQ(kept, 1);
}

TEST(RealKernel, K4_pipes_are_nonblocking_and_cloexec) {
  int fds[2];
  ASSERT_EQ(kernel().pipe(fds), 0);
  const Fd in(kernel(), fds[0]);
  const Fd out(kernel(), fds[1]);
  expect_nonblocking_and_cloexec(in.get());
  expect_nonblocking_and_cloexec(out.get());
  EXPECT_EQ(kernel().write(out.get(), "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(kernel().read(in.get(), &byte, 1), 1);
}

#ifndef DUOLU_POSIX_ONLY
TEST(RealKernel, K4_eventfds_and_epoll_sets_are_cloexec) {
  const Fd event(kernel(), kernel().eventfd());
  expect_nonblocking_and_cloexec(event.get());
  const Fd epoll(kernel(), kernel().epoll_create());
  ASSERT_TRUE(epoll);
  EXPECT_NE(::fcntl(epoll.get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(RealKernel, K1_epoll_reports_with_either_wait) {
  const Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const Fd epoll(kernel(), kernel().epoll_create());
  epoll_event event{.events = EPOLLIN, .data = {.u64 = 42}};
  ASSERT_EQ(kernel().epoll_ctl(epoll.get(), EPOLL_CTL_ADD, pair.a.get(), &event), 0);
  EXPECT_EQ(kernel().epoll_ctl(epoll.get(), EPOLL_CTL_ADD, pair.a.get(), &event), -EEXIST);
  epoll_event found{};
  EXPECT_EQ(kernel().epoll_wait(epoll.get(), &found, 1, 0), 1);
  EXPECT_EQ(found.data.u64, 42U);
  found = {};
  EXPECT_EQ(kernel().epoll_pwait2(epoll.get(), &found, 1, nullptr), 1);
  EXPECT_EQ(found.data.u64, 42U);
  EXPECT_EQ(kernel().epoll_ctl(epoll.get(), EPOLL_CTL_DEL, pair.a.get(), nullptr), 0);
  const Instant start = kernel().now();
  EXPECT_EQ(kernel().epoll_wait(epoll.get(), &found, 1, 2), 0);
  EXPECT_GE(kernel().now() - start, 2ms);
}

/// A mapping, for as long as it lives.
class Mapping {
 public:
  Mapping(std::size_t size, int flags, int fd, off_t offset) : size_(size) {
    EXPECT_EQ(kernel().mmap(&address_, size, PROT_READ | PROT_WRITE, flags, fd, offset), 0);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { EXPECT_EQ(kernel().munmap(address_, size_), 0); }
  template <class T>
  T* at(std::size_t offset) {
    return reinterpret_cast<T*>(static_cast<char*>(address_) + offset);
  }

 private:
  void* address_ = nullptr;
  const std::size_t size_;
};

TEST(RealKernel, K1_maps_memory) {
  Mapping memory(4096, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_EQ(*memory.at<char>(4095), 0);
  *memory.at<char>(4095) = 1;
  void* address = nullptr;
  EXPECT_EQ(kernel().mmap(&address, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), -EINVAL);
  EXPECT_EQ(address, nullptr);
  EXPECT_EQ(kernel().munmap(nullptr, 0), -EINVAL);
}

// One entry goes through a ring: what an engine over io_uring needs of a Kernel.
TEST(RealKernel, K1_K4_a_ring_takes_an_entry_and_completes_it) {
  io_uring_params params{};
  const int made = kernel().io_uring_setup(1, &params);
  if (made == -ENOSYS || made == -EPERM || made == -EACCES)
    GTEST_SKIP() << "io_uring is not allowed here: " << std::strerror(-made);
  const Fd ring(kernel(), made);
  ASSERT_GE(made, 3) << std::strerror(-made);
  EXPECT_EQ(::fcntl(made, F_GETFD), FD_CLOEXEC);

  Mapping submissions(params.sq_off.array + params.sq_entries * sizeof(std::uint32_t),
                      MAP_SHARED | MAP_POPULATE, made, IORING_OFF_SQ_RING);
  Mapping completions(params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe),
                      MAP_SHARED | MAP_POPULATE, made, IORING_OFF_CQ_RING);
  Mapping entries(params.sq_entries * sizeof(io_uring_sqe), MAP_SHARED | MAP_POPULATE, made,
                  IORING_OFF_SQES);
  auto* const entry = entries.at<io_uring_sqe>(0);
  entry->opcode = IORING_OP_NOP;
  entry->user_data = 42;
  *submissions.at<std::uint32_t>(params.sq_off.array) = 0;
  std::atomic_ref(*submissions.at<std::uint32_t>(params.sq_off.tail)).store(1);
  EXPECT_EQ(kernel().io_uring_enter(made, 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0), 1);
  ASSERT_EQ(std::atomic_ref(*completions.at<std::uint32_t>(params.cq_off.tail)).load(), 1U);
  const auto* const done = completions.at<io_uring_cqe>(params.cq_off.cqes);
  EXPECT_EQ(done->user_data, 42U);
  EXPECT_EQ(done->res, 0);

  const Fd event(kernel(), kernel().eventfd());
  int number = event.get();
  EXPECT_EQ(kernel().io_uring_register(made, IORING_REGISTER_EVENTFD, &number, 1), 0);
  EXPECT_EQ(kernel().io_uring_register(made, IORING_UNREGISTER_EVENTFD, nullptr, 0), 0);
  EXPECT_EQ(kernel().io_uring_register(made, IORING_UNREGISTER_EVENTFD, nullptr, 0), -ENXIO);
}
#else
TEST(RealKernel, what_only_linux_has_is_ENOSYS) {
  epoll_event* none = nullptr;
  EXPECT_EQ(kernel().eventfd(), -ENOSYS);
  EXPECT_EQ(kernel().epoll_create(), -ENOSYS);
  EXPECT_EQ(kernel().epoll_ctl(0, 0, 0, none), -ENOSYS);
  EXPECT_EQ(kernel().epoll_wait(0, none, 0, 0), -ENOSYS);
  EXPECT_EQ(kernel().epoll_pwait2(0, none, 0, nullptr), -ENOSYS);
  EXPECT_EQ(kernel().io_uring_setup(1, nullptr), -ENOSYS);
  EXPECT_EQ(kernel().io_uring_enter(-1, 0, 0, 0, nullptr, 0), -ENOSYS);
  EXPECT_EQ(kernel().io_uring_register(-1, 0, nullptr, 0), -ENOSYS);
  EXPECT_EQ(real_host().prctl(0, 0), -ENOSYS);
}
#endif

TEST(RealKernel, K5_a_short_read_is_the_end_of_what_there_was) {
  const Pair pair = unix_pair();
  put(pair.b.get(), "abc");
  std::array<char, 8> buffer{};
  EXPECT_EQ(kernel().recv(pair.a.get(), buffer.data(), buffer.size(), 0), 3);
  const timespec zero{};
  pollfd one{.fd = pair.a.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(kernel().ppoll(&one, 1, &zero), 0);
}

int handler_fd = -1;
volatile sig_atomic_t handler_pid = 0;

TEST(RealKernel, K6_write_and_getpid_work_in_a_signal_handler) {
  const Pair pipe = pipe_pair();
  handler_fd = pipe.b.get();
  handler_pid = 0;
  struct sigaction catcher{};
  struct sigaction before{};
  catcher.sa_handler = [](int) {
    handler_pid = kernel().getpid();
    kernel().write(handler_fd, "s", 1);
  };
  ASSERT_EQ(kernel().sigaction(SIGUSR1, &catcher, &before), 0);
  ASSERT_EQ(::raise(SIGUSR1), 0);
  ASSERT_EQ(kernel().sigaction(SIGUSR1, &before, nullptr), 0);
  EXPECT_EQ(handler_pid, ::getpid());
  char byte = 0;
  EXPECT_EQ(kernel().read(pipe.a.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 's');
}

TEST(RealKernel, close_gives_the_number_back) {
  const int fd = kernel().socket(AF_INET, SOCK_DGRAM, 0);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(kernel().close(fd), 0);
  EXPECT_FALSE(is_open(fd));
}

TEST(Fd, owns_one_descriptor_and_moves) {
  const int number = kernel().socket(AF_INET, SOCK_DGRAM, 0);
  {
    Fd first(kernel(), number);
    Fd second(std::move(first));
    EXPECT_FALSE(first);
    EXPECT_EQ(second.get(), number);
    Fd third;
    third = std::move(second);
    EXPECT_EQ(third.get(), number);
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

}  // namespace
}  // namespace duolu::test
