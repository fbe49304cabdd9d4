// The rules F1 to F6 of fault.hpp.
#include "duolu/testing/fault.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "duolu/kernel/ring.hpp"
#include "duolu/testing/forwarding.hpp"
#include "support/conformance.hpp"
#include "support/endpoints.hpp"

#ifndef DUOLU_POSIX_ONLY
#include <sys/epoll.h>
#endif

namespace duolu::test {
namespace {

constexpr timespec no_time{};
constexpr timespec guard{.tv_sec = 30, .tv_nsec = 0};  // against hangs

/// One FaultKernel over another that only counts: what reaches the inner kernel can be seen.
class FaultTest : public testing::Test {
 protected:
  FaultKernel inner{real_kernel()};
  FaultKernel kernel{inner, 7, inner};
  std::array<char, 4096> buffer{};

  ssize_t receive(int fd, std::size_t size = 4096) {
    return kernel.recv(fd, buffer.data(), size, 0);
  }
  /// What the inner kernel was asked in all.
  std::uint64_t reached() const {
    std::uint64_t sum = 0;
    for (std::size_t call = 0; call < static_cast<std::size_t>(Call::count_); ++call)
      sum += inner.calls(static_cast<Call>(call));
    return sum;
  }
};

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

/// Makes each call once, with arguments that do no harm. The result is what a failure is seen in.
std::map<Call, std::function<long(Kernel&, Host&)>> every_call() {
  static char bytes[1];
  static msghdr message{};
  static struct utsname name;
  static struct rlimit limit;
  static struct rusage usage;
  static struct stat status;
  static addrinfo* found;
  static epoll_event* none;
  return {
      {Call::now, [](Kernel& k, Host&) { return k.now() > Instant{} ? 0L : -1L; }},
      {Call::thread_cpu_time, [](Kernel&, Host& h) { return h.thread_cpu_time().count(); }},
      {Call::real_time, [](Kernel&, Host& h) { return h.real_time().count(); }},
      {Call::getpid, [](Kernel& k, Host&) { return k.getpid(); }},
      {Call::uname, [](Kernel&, Host& h) { return h.uname(&name); }},
      {Call::getrlimit, [](Kernel& k, Host&) { return k.getrlimit(RLIMIT_CORE, &limit); }},
      {Call::setrlimit, [](Kernel&, Host& h) { return h.setrlimit(-1, &limit); }},
      {Call::sigaction, [](Kernel& k, Host&) { return k.sigaction(SIGUSR1, nullptr, nullptr); }},
      {Call::getrusage, [](Kernel&, Host& h) { return h.getrusage(RUSAGE_SELF, &usage); }},
      {Call::clock_nanosleep, [](Kernel& k, Host&) { return k.clock_nanosleep(&no_time); }},
      {Call::pthread_create,
       [](Kernel& k, Host&) -> long {
         pthread_t thread{};
         const int result = k.pthread_create(&thread, [](void* given) { return given; }, nullptr);
         if (result == 0) ::pthread_join(thread, nullptr);
         return result;
       }},
      {Call::pthread_join,
       [](Kernel& k, Host&) -> long {
         pthread_t thread{};
         EXPECT_EQ(
             real_kernel().pthread_create(&thread, [](void* given) { return given; }, nullptr), 0);
         return k.pthread_join(thread);
       }},
      {Call::open, [](Kernel& k, Host&) { return k.open("", O_RDONLY); }},
      {Call::close, [](Kernel& k, Host&) { return k.close(-1); }},
      {Call::fcntl, [](Kernel& k, Host&) { return k.fcntl(-1, F_GETFD, 0); }},
      {Call::fstat, [](Kernel& k, Host&) { return k.fstat(-1, &status); }},
      {Call::isatty, [](Kernel&, Host& h) { return h.isatty(-1); }},
      {Call::read, [](Kernel& k, Host&) { return k.read(-1, bytes, 1); }},
      {Call::write, [](Kernel& k, Host&) { return k.write(-1, bytes, 1); }},
      {Call::writev, [](Kernel& k, Host&) { return k.writev(-1, nullptr, 0); }},
      {Call::pipe,
       [](Kernel& k, Host&) -> long {
         int fds[2];
         const int result = k.pipe(fds);
         if (result == 0) ::close(fds[0]), ::close(fds[1]);
         return result;
       }},
      {Call::lstat, [](Kernel& k, Host&) { return k.lstat("/", &status); }},
      {Call::unlink, [](Kernel& k, Host&) { return k.unlink(""); }},
      {Call::openat, [](Kernel& k, Host&) { return k.openat(-1, "", 0, 0); }},
      {Call::pread, [](Kernel& k, Host&) { return k.pread(-1, bytes, 1, 0); }},
      {Call::pwrite, [](Kernel& k, Host&) { return k.pwrite(-1, bytes, 1, 0); }},
      {Call::fsync, [](Kernel& k, Host&) { return k.fsync(-1); }},
      {Call::fdatasync, [](Kernel& k, Host&) { return k.fdatasync(-1); }},
      {Call::lseek, [](Kernel& k, Host&) { return k.lseek(-1, 0, SEEK_CUR); }},
      {Call::socket, [](Kernel& k, Host&) { return k.socket(-1, 0, 0); }},
      {Call::bind, [](Kernel& k, Host&) { return k.bind(-1, nullptr, 0); }},
      {Call::listen, [](Kernel& k, Host&) { return k.listen(-1, 0); }},
      {Call::accept, [](Kernel& k, Host&) { return k.accept(-1, nullptr, nullptr); }},
      {Call::connect, [](Kernel& k, Host&) { return k.connect(-1, nullptr, 0); }},
      {Call::getsockname, [](Kernel& k, Host&) { return k.getsockname(-1, nullptr, nullptr); }},
      {Call::getpeername, [](Kernel& k, Host&) { return k.getpeername(-1, nullptr, nullptr); }},
      {Call::getsockopt, [](Kernel& k, Host&) { return k.getsockopt(-1, 0, 0, nullptr, nullptr); }},
      {Call::setsockopt, [](Kernel& k, Host&) { return k.setsockopt(-1, 0, 0, nullptr, 0); }},
      {Call::shutdown, [](Kernel& k, Host&) { return k.shutdown(-1, SHUT_RD); }},
      {Call::recv, [](Kernel& k, Host&) { return k.recv(-1, bytes, 1, 0); }},
      {Call::send, [](Kernel& k, Host&) { return k.send(-1, bytes, 1, 0); }},
      {Call::recvmsg, [](Kernel& k, Host&) { return k.recvmsg(-1, &message, 0); }},
      {Call::sendmsg, [](Kernel& k, Host&) { return k.sendmsg(-1, &message, 0); }},
      {Call::getaddrinfo,
       [](Kernel& k, Host&) { return k.getaddrinfo(nullptr, nullptr, nullptr, &found); }},
      {Call::freeaddrinfo,
       [](Kernel& k, Host&) -> long {
         addrinfo hints{};
         hints.ai_flags = AI_NUMERICHOST;
         EXPECT_EQ(::getaddrinfo("127.0.0.1", nullptr, &hints, &found), 0);
         k.freeaddrinfo(found);
         return 0;
       }},
      {Call::pselect,
       [](Kernel& k, Host&) { return k.pselect(0, nullptr, nullptr, nullptr, &no_time); }},
      {Call::ppoll, [](Kernel& k, Host&) { return k.ppoll(nullptr, 0, &no_time); }},
      {Call::prctl, [](Kernel&, Host& h) { return h.prctl(PR_GET_DUMPABLE, 0); }},
      {Call::eventfd,
       [](Kernel& k, Host&) -> long {
         const int fd = k.eventfd();
         if (fd >= 0) ::close(fd);
         return fd;
       }},
      {Call::epoll_create,
       [](Kernel& k, Host&) -> long {
         const int fd = k.epoll_create();
         if (fd >= 0) ::close(fd);
         return fd;
       }},
      {Call::epoll_ctl, [](Kernel& k, Host&) { return k.epoll_ctl(-1, 0, -1, none); }},
      {Call::epoll_wait, [](Kernel& k, Host&) { return k.epoll_wait(-1, none, 1, 0); }},
      {Call::mmap,
       [](Kernel& k, Host&) -> long {
         void* memory = nullptr;
         const int result = k.mmap(&memory, 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
         if (result == 0) ::munmap(memory, 1);
         return result;
       }},
      {Call::munmap, [](Kernel& k, Host&) { return k.munmap(nullptr, 0); }},
      {Call::io_uring_setup, [](Kernel& k, Host&) { return k.io_uring_setup(0, nullptr); }},
      {Call::io_uring_enter,
       [](Kernel& k, Host&) { return k.io_uring_enter(-1, 0, 0, 0, nullptr, 0); }},
      {Call::io_uring_register,
       [](Kernel& k, Host&) { return k.io_uring_register(-1, 0, nullptr, 0); }},
      {Call::epoll_pwait2, [](Kernel& k, Host&) { return k.epoll_pwait2(-1, none, 1, &no_time); }},
  };
}

// --- counts and plans

TEST_F(FaultTest, counts_every_call_and_passes_it_on_once) {
  const auto calls = every_call();
  ASSERT_EQ(calls.size(), static_cast<std::size_t>(Call::count_));
  std::uint64_t made = 0;
  for (const auto& [call, make] : calls) {
    EXPECT_EQ(kernel.calls(call), 0U) << to_string(call);
    make(kernel, kernel);
    EXPECT_EQ(kernel.calls(call), 1U) << to_string(call);
    EXPECT_EQ(inner.calls(call), 1U) << to_string(call);
    EXPECT_EQ(reached(), ++made) << to_string(call);
  }
  kernel.reset_counts();
  for (const auto& [call, make] : calls) EXPECT_EQ(kernel.calls(call), 0U) << to_string(call);
  EXPECT_EQ(kernel.injected(), 0U);
}

TEST_F(FaultTest, forwarding_passes_every_call_on_once) {
  ForwardingKernel forwarding(kernel);
  ForwardingHost host(kernel);
  std::uint64_t made = 0;
  for (const auto& [call, make] : every_call()) {
    make(forwarding, host);
    EXPECT_EQ(inner.calls(call), 1U) << to_string(call);
    EXPECT_EQ(reached(), ++made) << to_string(call);
  }
}

TEST_F(FaultTest, F1_the_nth_call_fails_and_does_not_reach_the_inner_kernel) {
  for (const auto& [call, make] : every_call()) {
    if (call == Call::now || call == Call::thread_cpu_time || call == Call::real_time ||
        call == Call::getpid || call == Call::pthread_join || call == Call::freeaddrinfo)
      continue;
    const int error = call == Call::getaddrinfo ? -EXFULL : EXFULL;  // nobody gives it by itself
    kernel.reset_counts();
    inner.reset_counts();
    kernel.fail(call, 2, error, 2);
    EXPECT_NE(make(kernel, kernel), -EXFULL) << to_string(call);
    const std::uint64_t before = inner.calls(call);
    EXPECT_EQ(make(kernel, kernel), -EXFULL) << to_string(call);
    EXPECT_EQ(make(kernel, kernel), -EXFULL) << to_string(call);
    // close is the exception: the descriptor goes in every case.
    EXPECT_EQ(inner.calls(call), before + (call == Call::close ? 2 : 0)) << to_string(call);
    EXPECT_NE(make(kernel, kernel), -EXFULL) << to_string(call);
    EXPECT_EQ(kernel.calls(call), 4U) << to_string(call);
    EXPECT_EQ(kernel.injected(), 2U) << to_string(call);
  }
}

TEST_F(FaultTest, plans_count_from_when_they_were_made_and_the_latest_counts) {
  const auto error = [&] { return kernel.unlink(""); };
  EXPECT_EQ(error(), -ENOENT);
  kernel.fail(Call::unlink, 2, EROFS);
  EXPECT_EQ(error(), -ENOENT);
  kernel.reset_counts();  // moves no plan
  EXPECT_EQ(error(), -EROFS);
  kernel.fail_always(Call::unlink, EACCES);
  kernel.fail(Call::unlink, 1, EBUSY);
  kernel.fail(Call::unlink, 3, EIO);
  EXPECT_EQ(error(), -EBUSY);
  EXPECT_EQ(error(), -EACCES);
  EXPECT_EQ(error(), -EIO);
  EXPECT_EQ(error(), -EACCES);
  kernel.clear();
  EXPECT_EQ(error(), -ENOENT);
  EXPECT_EQ(kernel.calls(Call::unlink), 6U);
  EXPECT_EQ(kernel.injected(), 5U);
}

TEST_F(FaultTest, a_plan_far_away_does_not_overflow) {
  const auto most = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(kernel.unlink(""), -ENOENT);
  kernel.fail(Call::unlink, most, EROFS, most);
  EXPECT_EQ(kernel.unlink(""), -ENOENT);
}

TEST_F(FaultTest, what_cannot_fail_cannot_be_planned) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(kernel.fail(Call::now, 1, EIO), "");
  EXPECT_DEATH(kernel.fail(Call::thread_cpu_time, 1, EIO), "");
  EXPECT_DEATH(kernel.fail(Call::getpid, 1, EIO), "");
  EXPECT_DEATH(kernel.fail(Call::freeaddrinfo, 1, EIO), "");
  EXPECT_DEATH(kernel.fail(Call::pthread_join, 1, EIO), "");
  EXPECT_DEATH(kernel.fail(Call::recv, 0, EIO), "");
  EXPECT_DEATH(kernel.fail(Call::recv, 1, -EIO), "");
}

TEST_F(FaultTest, counts_and_plans_from_many_threads) {
  constexpr int threads = 4;
  constexpr int rounds = 5000;
  kernel.fail(Call::write, 100, EIO, 50);
  kernel.set_rates({.short_transfers = 300, .eagain = 300, .eintr = 300, .delayed_readiness = 300});
  std::atomic<int> failed{0};
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < threads; ++i)
      workers.emplace_back([&] {
        for (int round = 0; round < rounds; ++round) {
          if (kernel.write(-1, "", 1) == -EIO) ++failed;
          kernel.getpid();
        }
      });
    for (int round = 0; round < rounds; ++round) kernel.fail(Call::unlink, 1, EIO);
  }
  EXPECT_EQ(kernel.calls(Call::write), threads * rounds);
  EXPECT_EQ(kernel.calls(Call::getpid), threads * rounds);
  EXPECT_EQ(failed, 50);
}

// --- planned faults that have to agree with what follows (F1)

TEST_F(FaultTest, F1_close_closes_whatever_it_returns) {
  const Pair pair = unix_pair();
  const int copy = ::dup(pair.a.get());
  kernel.fail(Call::close, 1, EIO);
  EXPECT_EQ(kernel.close(copy), -EIO);
  EXPECT_FALSE(is_open(copy));
}

struct Listener {
  Fd fd{real_kernel(), real_kernel().socket(AF_INET, SOCK_STREAM, 0)};
  sockaddr_in address{};
  socklen_t size = sizeof address;

  Listener() {
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd.get(), generic(), size), 0);
    EXPECT_EQ(::listen(fd.get(), 8), 0);
    EXPECT_EQ(::getsockname(fd.get(), generic(), &size), 0);
  }
  sockaddr* generic() { return reinterpret_cast<sockaddr*>(&address); }
  /// A client in the queue.
  Fd client() {
    Fd made(real_kernel(), real_kernel().socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(real_kernel().connect(made.get(), generic(), size), -EINPROGRESS);
    pollfd one{.fd = fd.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&one, 1, 30'000), 1);
    return made;
  }
};

TEST_F(FaultTest, F1_accept_without_descriptors_leaves_the_connection_in_the_queue) {
  Listener listener;
  const Fd client = listener.client();
  kernel.fail(Call::accept, 1, EMFILE);
  EXPECT_EQ(kernel.accept(listener.fd.get(), nullptr, nullptr), -EMFILE);
  const Fd served(real_kernel(), kernel.accept(listener.fd.get(), nullptr, nullptr));
  EXPECT_TRUE(served);
}

TEST_F(FaultTest, F1_a_connection_that_broke_stays_broken) {
  iovec part{.iov_base = buffer.data(), .iov_len = 1};
  for (const Call call : {Call::recv, Call::send, Call::recvmsg, Call::sendmsg, Call::read,
                          Call::write, Call::writev}) {
    for (const int error : {ECONNRESET, EPIPE, ETIMEDOUT}) {
      for (const bool tcp : {false, true}) {
        SCOPED_TRACE(std::string(to_string(call)) + (tcp ? " tcp " : " unix ") +
                     std::to_string(error));
        const Pair pair = tcp ? tcp_pair() : unix_pair();
        const int fd = pair.a.get();
        kernel.fail(call, 1, error);
        ssize_t result = 0;
        if (call == Call::recv) result = receive(fd);
        if (call == Call::send) result = kernel.send(fd, "x", 1, MSG_NOSIGNAL);
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        if (call == Call::recvmsg) result = kernel.recvmsg(fd, &message, 0);
        if (call == Call::sendmsg) result = kernel.sendmsg(fd, &message, MSG_NOSIGNAL);
        if (call == Call::read) result = kernel.read(fd, buffer.data(), 1);
        if (call == Call::write) result = kernel.write(fd, "x", 1);
        if (call == Call::writev) result = kernel.writev(fd, &part, 1);
        EXPECT_EQ(result, -error);
        EXPECT_EQ(receive(fd), 0);
        EXPECT_EQ(kernel.send(fd, "x", 1, MSG_NOSIGNAL), -EPIPE);
        pollfd ends[2] = {{.fd = fd, .events = 0, .revents = 0},
                          {.fd = pair.b.get(), .events = POLLIN, .revents = 0}};
        EXPECT_GT(::poll(&ends[0], 1, 30'000), 0);
        EXPECT_NE(ends[0].revents & POLLHUP, 0);
        EXPECT_GT(::poll(&ends[1], 1, 30'000), 0);  // the peer learns of it too
        EXPECT_EQ(kernel.recv(pair.b.get(), buffer.data(), 1, 0), 0);
      }
    }
  }
}

TEST_F(FaultTest, F1_a_connect_in_progress_is_one) {
  for (const int error : {EINPROGRESS, EINTR}) {
    Listener listener;
    const Fd client(real_kernel(), real_kernel().socket(AF_INET, SOCK_STREAM, 0));
    kernel.fail(Call::connect, 1, error);
    EXPECT_EQ(kernel.connect(client.get(), listener.generic(), listener.size), -error);
    pollfd one{.fd = client.get(), .events = POLLOUT, .revents = 0};
    EXPECT_EQ(::poll(&one, 1, 30'000), 1);
    EXPECT_EQ(one.revents, POLLOUT);
    one = {.fd = listener.fd.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&one, 1, 30'000), 1);
  }
}

TEST_F(FaultTest, F1_a_connect_that_was_refused_is_not_in_progress) {
  const Fd client(real_kernel(), real_kernel().socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un nowhere{.sun_family = AF_UNIX, .sun_path = "/nonexistent/socket"};
  kernel.fail(Call::connect, 1, EINPROGRESS);
  EXPECT_EQ(kernel.connect(client.get(), reinterpret_cast<sockaddr*>(&nowhere), sizeof nowhere),
            -ENOENT);
}

TEST_F(FaultTest, F1_getaddrinfo_fails_with_its_own_codes) {
  addrinfo* found = nullptr;
  kernel.fail(Call::getaddrinfo, 1, EAI_AGAIN);
  EXPECT_EQ(kernel.getaddrinfo("127.0.0.1", nullptr, nullptr, &found), EAI_AGAIN);
}

// --- random transfers

TEST_F(FaultTest, F4_short_transfers_move_at_least_one_byte_and_less_than_asked) {
  const std::string text(4096, 'x');
  kernel.set_rates({.short_transfers = 1000});
  for (const bool by_pipe : {false, true}) {
    const Pair pair = by_pipe ? pipe_pair() : unix_pair();
    for (int round = 0; round < 200; ++round) {
      put(pair.b.get(), text);
      std::size_t left = text.size();
      while (left > 1) {
        const ssize_t got =
            by_pipe ? kernel.read(pair.a.get(), buffer.data(), left) : receive(pair.a.get(), left);
        ASSERT_GE(got, 1);
        ASSERT_LT(got, static_cast<ssize_t>(left));
        left -= static_cast<std::size_t>(got);
      }
      ASSERT_EQ(kernel.read(pair.a.get(), buffer.data(), 1), 1);  // one byte cannot be cut
    }
  }
  const Pair pair = unix_pair();
  for (int round = 0; round < 20; ++round) {
    const ssize_t sent = kernel.send(pair.b.get(), text.data(), text.size(), 0);
    ASSERT_GE(sent, 1);
    ASSERT_LT(sent, 4096);
    EXPECT_EQ(drain(pair.a.get()), static_cast<std::size_t>(sent));
  }
  const Pair pipe = pipe_pair();
  const std::string large(3 * 4096, 'x');
  EXPECT_LT(kernel.write(pipe.b.get(), large.data(), large.size()), 3 * 4096);
  drain(pipe.a.get());
  std::string head(5000, 'a');
  std::string tail(5000, 'b');
  const iovec parts[] = {{head.data(), head.size()}, {tail.data(), tail.size()}};
  for (int round = 0; round < 20; ++round) {
    const ssize_t sent = kernel.writev(pipe.b.get(), parts, 2);
    ASSERT_GE(sent, 1);
    ASSERT_LT(sent, 10'000);
    std::string got(10'000, ' ');
    ASSERT_EQ(::read(pipe.a.get(), got.data(), got.size()), sent);
    EXPECT_EQ(got.substr(0, static_cast<std::size_t>(sent)),
              (head + tail).substr(0, static_cast<std::size_t>(sent)));
  }
  EXPECT_GT(kernel.injected(), 400U);
}

TEST_F(FaultTest, messages_counters_and_small_pipe_writes_stay_whole) {
  kernel.set_rates({.short_transfers = 1000});
  for (const int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    const Pair pair = unix_pair(type);
    for (int round = 0; round < 50; ++round) {
      EXPECT_EQ(kernel.send(pair.b.get(), "abcdefgh", 8, 0), 8);
      EXPECT_EQ(receive(pair.a.get(), 8), 8);
      EXPECT_EQ(kernel.write(pair.b.get(), "abcdefgh", 8), 8);
      EXPECT_EQ(kernel.read(pair.a.get(), buffer.data(), 8), 8);
    }
  }
  kernel.set_rates({.short_transfers = 1000, .eagain = 1000});
  const Pair pipe = pipe_pair();
  for (int round = 0; round < 50; ++round) EXPECT_EQ(kernel.write(pipe.b.get(), "abcdefgh", 8), 8);
  const iovec halves[] = {{buffer.data(), 4}, {buffer.data(), 4}};
  for (int round = 0; round < 50; ++round) EXPECT_EQ(kernel.writev(pipe.b.get(), halves, 2), 8);
#ifndef DUOLU_POSIX_ONLY
  kernel.set_rates({.short_transfers = 1000, .eagain = 1000, .eintr = 1000});
  const Fd counter(real_kernel(), real_kernel().eventfd());
  const std::uint64_t one = 1;
  std::uint64_t count = 0;
  for (int round = 0; round < 50; ++round) {
    EXPECT_EQ(kernel.write(counter.get(), &one, sizeof one), 8);
    EXPECT_EQ(kernel.read(counter.get(), &count, sizeof count), 8);
    EXPECT_EQ(count, 1U);
  }
#endif
  EXPECT_EQ(kernel.injected(), 0U);
}

TEST_F(FaultTest, descriptors_that_block_are_neither_cut_nor_empty) {
  const Pair pair = unix_pair();
  ASSERT_EQ(::fcntl(pair.a.get(), F_SETFL, 0), 0);
  kernel.set_rates({.short_transfers = 1000, .eagain = 1000});
  for (int round = 0; round < 20; ++round) {
    put(pair.b.get(), "abc");
    EXPECT_EQ(receive(pair.a.get(), 3), 3);
  }
  put(pair.b.get(), "abc");
  EXPECT_EQ(kernel.recv(pair.a.get(), buffer.data(), 3, MSG_DONTWAIT), -EAGAIN);
}

TEST_F(FaultTest, F4_EAGAIN_never_comes_twice_in_a_row) {
  const Pair pair = unix_pair();
  Listener listener;
  kernel.set_rates({.eagain = 1000});
  for (int round = 0; round < 20; ++round) {
    EXPECT_EQ(kernel.send(pair.b.get(), "x", 1, 0), -EAGAIN);
    EXPECT_EQ(kernel.send(pair.b.get(), "x", 1, 0), 1);
    EXPECT_EQ(receive(pair.a.get()), -EAGAIN);
    EXPECT_EQ(receive(pair.a.get()), 1);
  }
  const Fd client = listener.client();
  EXPECT_EQ(kernel.accept(listener.fd.get(), nullptr, nullptr), -EAGAIN);
  EXPECT_TRUE(Fd(real_kernel(), kernel.accept(listener.fd.get(), nullptr, nullptr)));
}

TEST_F(FaultTest, what_has_ended_is_never_not_yet) {
  kernel.set_rates({.eagain = 1000});
  Pair half = unix_pair();
  put(half.b.get(), "x");
  ASSERT_EQ(::shutdown(half.b.get(), SHUT_WR), 0);
  EXPECT_EQ(receive(half.a.get()), 1);
  EXPECT_EQ(receive(half.a.get()), 0);
  half.b.reset();
  EXPECT_EQ(kernel.send(half.a.get(), "x", 1, MSG_NOSIGNAL), -EPIPE);
  Pair pipe = pipe_pair();
  pipe.b.reset();
  EXPECT_EQ(kernel.read(pipe.a.get(), buffer.data(), 1), 0);
  EXPECT_EQ(kernel.injected(), 0U);
}

TEST_F(FaultTest, F4_EINTR_comes_at_most_three_times_in_a_row) {
  const Pair pair = unix_pair();
  Listener listener;
  const Fd client = listener.client();
  kernel.set_rates({.eintr = 1000});
  const auto interrupts = [](const std::function<ssize_t()>& call) {
    int count = 0;
    while (call() == -EINTR) ++count;
    return count;
  };
  EXPECT_EQ(interrupts([&] { return kernel.send(pair.b.get(), "xx", 2, 0); }), 3);
  EXPECT_EQ(interrupts([&] { return receive(pair.a.get(), 1); }), 3);
  EXPECT_EQ(interrupts([&] { return kernel.write(pair.a.get(), "x", 1); }), 3);
  const iovec part{.iov_base = buffer.data(), .iov_len = 1};
  EXPECT_EQ(interrupts([&] { return kernel.writev(pair.a.get(), &part, 1); }), 3);
  EXPECT_EQ(interrupts([&] { return kernel.read(pair.a.get(), buffer.data(), 1); }), 3);
  EXPECT_EQ(interrupts([&] { return kernel.ppoll(nullptr, 0, &no_time); }), 3);
  EXPECT_EQ(interrupts([&] { return kernel.pselect(0, nullptr, nullptr, nullptr, &no_time); }), 3);
  EXPECT_EQ(interrupts([&] {
              const int fd = kernel.accept(listener.fd.get(), nullptr, nullptr);
              if (fd >= 0) ::close(fd);
              return fd;
            }),
            3);
}

TEST_F(FaultTest, EINTR_leaves_alone_what_never_waits) {
  kernel.set_rates({.short_transfers = 1000, .eagain = 1000, .eintr = 1000});
  for (const auto& [call, make] : every_call()) {
    switch (call) {
      case Call::pselect:
      case Call::ppoll:
      case Call::accept: continue;
      default: EXPECT_NE(make(kernel, kernel), -EINTR) << to_string(call);
    }
  }
}

TEST_F(FaultTest, rates_are_shares_of_the_eligible_calls) {
  const Pair pair = unix_pair();
  kernel.set_rates({.eintr = 300});
  int interrupted = 0;
  for (int round = 0; round < 10'000; ++round)
    interrupted += receive(pair.a.get()) == -EINTR ? 1 : 0;
  EXPECT_NEAR(interrupted, 3000, 300);  // by this seed; less what F4 forbids
}

std::vector<ssize_t> outcomes(std::uint64_t seed) {
  FaultKernel kernel(real_kernel(), seed);
  kernel.set_rates({.short_transfers = 300, .eagain = 300, .eintr = 300, .delayed_readiness = 300});
  const Pair pair = unix_pair();
  const std::string text(4096, 'x');
  std::array<char, 4096> buffer;
  std::vector<ssize_t> results;
  for (int round = 0; round < 200; ++round) {
    results.push_back(kernel.send(pair.b.get(), text.data(), text.size(), 0));
    results.push_back(kernel.recv(pair.a.get(), buffer.data(), buffer.size(), 0));
    pollfd one{.fd = pair.a.get(), .events = POLLIN | POLLOUT, .revents = 0};
    results.push_back(kernel.ppoll(&one, 1, &no_time));
    results.push_back(one.revents);
  }
  results.push_back(static_cast<ssize_t>(kernel.injected()));
  return results;
}

TEST(FaultKernel, F5_the_same_seed_gives_the_same_faults) {
  EXPECT_EQ(outcomes(1), outcomes(1));
  EXPECT_EQ(outcomes(99), outcomes(99));
  EXPECT_NE(outcomes(1), outcomes(2));
}

// --- delayed readiness of poll and select

TEST_F(FaultTest, F3_ppoll_withholds_and_then_tells) {
  const Pair pair = unix_pair();
  put(pair.b.get(), "x");
  kernel.set_rates({.delayed_readiness = 1000});
  for (int round = 0; round < 50; ++round) {
    pollfd one{.fd = pair.a.get(), .events = POLLIN, .revents = 0};
    int withheld = 0;
    for (; kernel.ppoll(&one, 1, &guard) == -EINTR; ++withheld) EXPECT_EQ(one.revents, 0);
    EXPECT_GE(withheld, 1);
    EXPECT_LE(withheld, 3);
    EXPECT_EQ(one.revents, POLLIN);
    EXPECT_EQ(kernel.ppoll(&one, 1, &no_time), 0);  // who only looks finds nothing
    while (kernel.ppoll(&one, 1, &no_time) == 0) {
    }
  }
}

TEST_F(FaultTest, F3_ppoll_counts_what_is_left) {
  constexpr std::size_t size = 16;
  std::vector<Pair> pairs;
  std::vector<pollfd> fds;
  for (std::size_t i = 0; i < size; ++i) {
    pairs.push_back(unix_pair());
    fds.push_back({.fd = pairs.back().a.get(), .events = POLLOUT, .revents = 0});
  }
  kernel.set_rates({.delayed_readiness = 500});
  for (int round = 0; round < 50; ++round) {
    const int left = kernel.ppoll(fds.data(), fds.size(), &no_time);
    int told = 0;
    for (const pollfd& one : fds) told += one.revents != 0 ? 1 : 0;
    EXPECT_EQ(left, told);
  }
  EXPECT_GT(kernel.injected(), 0U);
  EXPECT_LT(kernel.injected(), 50U * size);
}

TEST_F(FaultTest, F3_a_closed_descriptor_is_invalid_at_once) {
  int number = -1;
  {
    const Pair pair = unix_pair();
    number = pair.a.get();
  }
  kernel.set_rates({.delayed_readiness = 1000});
  pollfd one{.fd = number, .events = POLLIN, .revents = 0};
  EXPECT_EQ(kernel.ppoll(&one, 1, &no_time), 1);
  EXPECT_EQ(one.revents, POLLNVAL);
}

TEST_F(FaultTest, F3_pselect_withholds_and_then_tells) {
  const Pair pair = unix_pair();
  put(pair.b.get(), "x");
  kernel.set_rates({.delayed_readiness = 1000});
  constexpr int word_bits = std::numeric_limits<unsigned long>::digits;
  const int fd = pair.a.get();
  const auto words = static_cast<std::size_t>(fd / word_bits) + 1;
  const unsigned long bit = 1UL << (fd % word_bits);
  std::vector<unsigned long> readable(words);
  std::vector<unsigned long> writable(words);
  const auto ask = [&](const timespec* timeout) {
    readable.back() = writable.back() = bit;
    return kernel.pselect(fd + 1, readable.data(), writable.data(), nullptr, timeout);
  };
  for (int round = 0; round < 50; ++round) {
    int withheld = 0;
    int ready = 0;
    for (; (ready = ask(&guard)) == -EINTR; ++withheld) {
      EXPECT_EQ(readable.back(), 0U);
      EXPECT_EQ(writable.back(), 0U);
    }
    EXPECT_GE(withheld, 1);
    EXPECT_LE(withheld, 3);
    EXPECT_EQ(ready, 2);
    EXPECT_EQ(readable.back(), bit);
    EXPECT_EQ(writable.back(), bit);
    EXPECT_EQ(ask(&no_time), 0);
    while (ask(&no_time) == 0) {
    }
  }
}

#ifndef DUOLU_POSIX_ONLY

// --- epoll: what was hidden is reported (F2, F3)

class FaultEpollTest : public FaultTest {
 protected:
  Fd epoll{real_kernel(), kernel.epoll_create()};

  void control(int operation, int fd, std::uint32_t events, std::uint64_t data) {
    epoll_event event{.events = events, .data = {.u64 = data}};
    ASSERT_EQ(kernel.epoll_ctl(epoll.get(), operation, fd, &event), 0);
  }
  void watch(int fd, std::uint32_t events, std::uint64_t data = 1) {
    control(EPOLL_CTL_ADD, fd, events, data);
  }
  /// The events, by data, of one look.
  std::map<std::uint64_t, std::uint32_t> look(int set) {
    std::array<epoll_event, 16> events{};
    const int found = kernel.epoll_pwait2(set, events.data(), 16, &no_time);
    std::map<std::uint64_t, std::uint32_t> result;
    for (int i = 0; i < found; ++i) {
      const auto& event = events[static_cast<std::size_t>(i)];
      EXPECT_TRUE(
          result.emplace(std::uint64_t{event.data.u64}, std::uint32_t{event.events}).second);
    }
    return result;
  }
  std::map<std::uint64_t, std::uint32_t> look() { return look(epoll.get()); }
};

using Events = std::map<std::uint64_t, std::uint32_t>;

TEST_F(FaultEpollTest, F2_a_random_EAGAIN_is_followed_by_a_new_edge) {
  const Pair pair = unix_pair();
  watch(pair.a.get(), EPOLLIN | EPOLLET);
  put(pair.b.get(), "x");
  EXPECT_EQ(look(), (Events{{1, EPOLLIN}}));
  EXPECT_EQ(look(), Events{});
  kernel.set_rates({.eagain = 1000});
  EXPECT_EQ(receive(pair.a.get()), -EAGAIN);
  EXPECT_EQ(look(), (Events{{1, EPOLLIN}}));
  EXPECT_EQ(receive(pair.a.get()), 1);
  EXPECT_EQ(look(), Events{});
}

TEST_F(FaultEpollTest, F2_a_planned_EAGAIN_is_followed_by_a_new_edge) {
  const Pair pair = unix_pair();
  Listener listener;
  const Fd client = listener.client();
  watch(pair.a.get(), EPOLLIN | EPOLLOUT | EPOLLET, 1);
  watch(listener.fd.get(), EPOLLIN | EPOLLET, 2);
  EXPECT_EQ(look(), (Events{{1, EPOLLOUT}, {2, EPOLLIN}}));
  kernel.fail(Call::send, 1, EAGAIN);
  EXPECT_EQ(kernel.send(pair.a.get(), "x", 1, 0), -EAGAIN);
  EXPECT_EQ(look(), (Events{{1, EPOLLOUT}}));
  kernel.fail(Call::accept, 1, EAGAIN);
  EXPECT_EQ(kernel.accept(listener.fd.get(), nullptr, nullptr), -EAGAIN);
  EXPECT_EQ(look(), (Events{{2, EPOLLIN}}));
}

TEST_F(FaultEpollTest, F2_a_short_transfer_is_followed_by_a_new_edge_if_it_was_invented) {
  const Pair pair = unix_pair();
  watch(pair.a.get(), EPOLLIN | EPOLLET);
  put(pair.b.get(), "abcdefgh");
  EXPECT_EQ(look(), (Events{{1, EPOLLIN}}));
  kernel.set_rates({.short_transfers = 1000});
  EXPECT_LT(receive(pair.a.get(), 8), 8);
  EXPECT_EQ(look(), (Events{{1, EPOLLIN}}));
  kernel.clear();
  EXPECT_LT(receive(pair.a.get()), 8);  // true: that was the rest
  EXPECT_EQ(look(), Events{});

  watch(pair.b.get(), EPOLLOUT | EPOLLET, 2);
  EXPECT_EQ(look(), (Events{{2, EPOLLOUT}}));
  kernel.set_rates({.short_transfers = 1000});
  EXPECT_LT(kernel.send(pair.b.get(), "abcdefgh", 8, 0), 8);
  EXPECT_EQ(look().count(2), 1U);
}

TEST_F(FaultEpollTest, F2_messages_of_many_parts_are_cut_like_any_other) {
  std::array<iovec, 100> parts{};
  std::array<char, 1000> bytes{};
  for (std::size_t i = 0; i < parts.size(); ++i)
    parts[i] = {.iov_base = bytes.data() + i * 10, .iov_len = 10};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  for (int round = 0; round < 30; ++round) {
    const Pair pair = unix_pair();
    watch(pair.a.get(), EPOLLIN | EPOLLET);
    watch(pair.b.get(), EPOLLOUT | EPOLLET, 2);
    look();
    kernel.set_rates({.short_transfers = 1000});
    const ssize_t sent = kernel.sendmsg(pair.b.get(), &message, 0);
    EXPECT_LT(sent, 1000);
    EXPECT_EQ(look(), (Events{{1, EPOLLIN}, {2, EPOLLOUT}})) << sent;
    kernel.clear();
    ASSERT_GE(::write(pair.b.get(), bytes.data(), bytes.size()), 0);
    look();
    kernel.set_rates({.short_transfers = 1000});
    const ssize_t got = kernel.recvmsg(pair.a.get(), &message, 0);
    EXPECT_LT(got, 1000);
    EXPECT_EQ(look().count(1), 1U) << got;
    kernel.clear();
    kernel.epoll_ctl(epoll.get(), EPOLL_CTL_DEL, pair.a.get(), nullptr);
    kernel.epoll_ctl(epoll.get(), EPOLL_CTL_DEL, pair.b.get(), nullptr);
  }
}

TEST_F(FaultEpollTest, F2_pipes_too) {
  const Pair pipe = pipe_pair();
  watch(pipe.a.get(), EPOLLIN | EPOLLET);
  put(pipe.b.get(), "abcdefgh");
  EXPECT_EQ(look(), (Events{{1, EPOLLIN}}));
  kernel.set_rates({.short_transfers = 1000});
  EXPECT_LT(kernel.read(pipe.a.get(), buffer.data(), 8), 8);
  EXPECT_EQ(look(), (Events{{1, EPOLLIN}}));
}

TEST_F(FaultEpollTest, F2_every_set_and_every_number_of_the_file_is_told) {
  const Pair pair = unix_pair();
  const Fd copy(real_kernel(), ::dup(pair.a.get()));
  const Fd other(real_kernel(), kernel.epoll_create());
  watch(pair.a.get(), EPOLLIN | EPOLLET, 1);
  watch(copy.get(), EPOLLIN | EPOLLET, 2);
  watch(pair.b.get(), EPOLLOUT | EPOLLET, 3);
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u64 = 4}};
  ASSERT_EQ(kernel.epoll_ctl(other.get(), EPOLL_CTL_ADD, pair.a.get(), &event), 0);
  put(pair.b.get(), "x");
  EXPECT_EQ(look().size(), 3U);
  EXPECT_EQ(look(other.get()).size(), 1U);
  kernel.fail(Call::recv, 1, EAGAIN);
  EXPECT_EQ(receive(pair.a.get()), -EAGAIN);
  EXPECT_EQ(look(), (Events{{1, EPOLLIN}, {2, EPOLLIN}}));
  EXPECT_EQ(look(other.get()), (Events{{4, EPOLLIN}}));
}

TEST_F(FaultEpollTest, F2_the_latest_registration_is_armed_and_a_fired_oneshot_is_not) {
  const Pair pair = unix_pair();
  watch(pair.a.get(), EPOLLIN | EPOLLET, 1);
  put(pair.b.get(), "x");
  control(EPOLL_CTL_MOD, pair.a.get(), EPOLLIN | EPOLLOUT | EPOLLET, 2);
  EXPECT_EQ(look(), (Events{{2, EPOLLIN | EPOLLOUT}}));
  kernel.fail(Call::recv, 1, EAGAIN, 2);
  EXPECT_EQ(receive(pair.a.get()), -EAGAIN);
  EXPECT_EQ(look(), (Events{{2, EPOLLIN | EPOLLOUT}}));
  control(EPOLL_CTL_MOD, pair.a.get(), EPOLLIN | EPOLLET | EPOLLONESHOT, 3);
  EXPECT_EQ(look(), (Events{{3, EPOLLIN}}));
  EXPECT_EQ(receive(pair.a.get()), -EAGAIN);
  EXPECT_EQ(look(), Events{});
}

TEST_F(FaultEpollTest, F2_what_was_removed_or_closed_is_not_armed) {
  Pair pair = unix_pair();
  const Fd copy(real_kernel(), ::dup(pair.a.get()));
  watch(pair.a.get(), EPOLLIN | EPOLLET);
  control(EPOLL_CTL_DEL, pair.a.get(), 0, 0);
  kernel.fail(Call::recv, 1, EAGAIN, 4);
  inner.reset_counts();
  EXPECT_EQ(receive(pair.a.get()), -EAGAIN);
  EXPECT_EQ(inner.calls(Call::epoll_ctl), 0U);

  watch(pair.a.get(), EPOLLIN | EPOLLET);
  inner.reset_counts();
  EXPECT_EQ(kernel.close(pair.a.release()), 0);
  EXPECT_EQ(receive(copy.get()), -EAGAIN);
  EXPECT_EQ(inner.calls(Call::epoll_ctl), 0U);

  watch(copy.get(), EPOLLIN | EPOLLET);
  inner.reset_counts();
  EXPECT_EQ(kernel.close(epoll.release()), 0);
  EXPECT_EQ(receive(copy.get()), -EAGAIN);
  EXPECT_EQ(inner.calls(Call::epoll_ctl), 0U);
}

TEST_F(FaultEpollTest, F2_a_number_closed_past_the_decorator_is_forgotten) {
  Pair pair = unix_pair();
  const Fd copy(real_kernel(), ::dup(pair.a.get()));
  watch(pair.a.get(), EPOLLIN | EPOLLET);
  pair.a.reset();  // closes with the real kernel
  kernel.fail(Call::recv, 1, EAGAIN, 2);
  inner.reset_counts();
  EXPECT_EQ(receive(copy.get()), -EAGAIN);
  EXPECT_EQ(inner.calls(Call::epoll_ctl), 1U);
  EXPECT_EQ(receive(copy.get()), -EAGAIN);
  EXPECT_EQ(inner.calls(Call::epoll_ctl), 1U);
}

TEST_F(FaultEpollTest, F2_exclusive_registrations_are_made_anew) {
  const Pair pair = unix_pair();
  watch(pair.a.get(), EPOLLIN | EPOLLET | EPOLLEXCLUSIVE);
  put(pair.b.get(), "x");
  EXPECT_EQ(look(), (Events{{1, EPOLLIN}}));
  kernel.fail(Call::recv, 1, EAGAIN);
  EXPECT_EQ(receive(pair.a.get()), -EAGAIN);
  EXPECT_EQ(look(), (Events{{1, EPOLLIN}}));
}

TEST_F(FaultEpollTest, F3_delays_under_every_trigger_end) {
  for (const std::uint32_t bits :
       {std::uint32_t{0}, std::uint32_t{EPOLLET}, std::uint32_t{EPOLLONESHOT}}) {
    for (const bool old_wait : {false, true}) {
      const Pair pair = unix_pair();
      put(pair.b.get(), "x");
      watch(pair.a.get(), EPOLLIN | bits, 5);
      kernel.set_rates({.delayed_readiness = 1000});
      epoll_event event{};
      const auto wait = [&](bool look) {
        if (old_wait) return kernel.epoll_wait(epoll.get(), &event, 1, look ? 0 : 30'000);
        return kernel.epoll_pwait2(epoll.get(), &event, 1, look ? &no_time : &guard);
      };
      for (int round = 0; round < 20; ++round) {
        EXPECT_EQ(wait(true), 0);  // who only looks finds nothing
        int withheld = 1;
        while (wait(false) == -EINTR) ++withheld;
        EXPECT_LE(withheld, 3);
        EXPECT_EQ(event.data.u64, 5U);
        EXPECT_EQ(event.events, EPOLLIN);
        if (bits == EPOLLET) put(pair.b.get(), "x");
        if (bits == EPOLLONESHOT) control(EPOLL_CTL_MOD, pair.a.get(), EPOLLIN | bits, 5);
      }
      kernel.clear();
    }
  }
}

TEST_F(FaultEpollTest, F3_the_others_are_told_in_their_order) {
  constexpr std::uint64_t size = 8;
  std::vector<Pair> pairs;
  for (std::uint64_t i = 0; i < size; ++i) {
    pairs.push_back(unix_pair());
    watch(pairs.back().a.get(), EPOLLOUT | EPOLLET, i);
  }
  kernel.set_rates({.delayed_readiness = 500});
  Events seen;
  int looks = 0;
  for (; seen.size() < size && looks < 100; ++looks)
    for (const auto& [data, events] : look()) {
      EXPECT_EQ(events, EPOLLOUT);
      EXPECT_TRUE(seen.emplace(data, events).second);  // an edge, so once
    }
  EXPECT_EQ(seen.size(), size);
  EXPECT_GT(looks, 1);
}

TEST_F(FaultEpollTest, F3_who_cannot_be_told_apart_is_not_delayed) {
  const Pair pair = unix_pair();
  watch(pair.a.get(), EPOLLOUT | EPOLLET, 5);
  watch(pair.b.get(), EPOLLOUT | EPOLLET, 5);
  kernel.set_rates({.delayed_readiness = 1000});
  std::array<epoll_event, 4> events{};
  EXPECT_EQ(kernel.epoll_wait(epoll.get(), events.data(), 4, 0), 2);
}

TEST_F(FaultEpollTest, EINTR_strikes_a_wait_that_sleeps_and_not_a_look) {
  const Pair pair = unix_pair();
  watch(pair.a.get(), EPOLLOUT);
  kernel.set_rates({.eintr = 1000});
  epoll_event event{};
  EXPECT_EQ(kernel.epoll_wait(epoll.get(), &event, 1, 0), 1);
  EXPECT_EQ(kernel.epoll_pwait2(epoll.get(), &event, 1, &no_time), 1);
  EXPECT_EQ(kernel.epoll_wait(epoll.get(), &event, 1, -1), -EINTR);
  EXPECT_EQ(kernel.epoll_pwait2(epoll.get(), &event, 1, nullptr), -EINTR);
}

// --- rings (F6)

/// Takes one submission a call, as a kernel without memory for the next one does.
struct OneAtATime final : ForwardingKernel {
  using ForwardingKernel::ForwardingKernel;
  int io_uring_enter(int ring, unsigned to_submit, unsigned min_complete, unsigned flags,
                     const void* argument, std::size_t size) noexcept override {
    return ForwardingKernel::io_uring_enter(ring, std::min(to_submit, 1U), min_complete, flags,
                                            argument, size);
  }
};

class FaultRingTest : public FaultTest {
 protected:
  void SetUp() override {
    const Result<> opened = ring.open(kernel);
    if (!opened) GTEST_SKIP() << "no io_uring here: " << opened.error().message();
  }

  /// A submission whose completion is found under `user_data`.
  RingEntry& make(std::uint8_t operation, int fd, std::uint64_t user_data) {
    EXPECT_TRUE(ring.has_room());
    RingEntry& entry = ring.next();
    entry = {.operation = operation, .fd = fd, .user_data = user_data};
    return entry;
  }
  void make_recv(int fd, std::size_t size, std::uint64_t user_data = 1) {
    RingEntry& entry = make(ring::op_recv, fd, user_data);
    entry.address = reinterpret_cast<std::uintptr_t>(buffer.data());
    entry.size = static_cast<std::uint32_t>(size);
  }
  void make_send(int fd, const std::string& bytes, std::uint64_t user_data = 1) {
    RingEntry& entry = make(ring::op_send, fd, user_data);
    entry.address = reinterpret_cast<std::uintptr_t>(bytes.data());
    entry.size = static_cast<std::uint32_t>(bytes.size());
    entry.operation_flags = MSG_NOSIGNAL | MSG_WAITALL;
  }
  void make_sendmsg(int fd, const msghdr& message, std::uint64_t user_data = 1) {
    RingEntry& entry = make(ring::op_sendmsg, fd, user_data);
    entry.address = reinterpret_cast<std::uintptr_t>(&message);
    entry.size = 1;
    entry.operation_flags = MSG_NOSIGNAL | MSG_WAITALL;
  }
  std::map<std::uint64_t, RingCompletion> harvest() {
    std::map<std::uint64_t, RingCompletion> found;
    ring.harvest([&](RingCompletion completion) noexcept {
      EXPECT_TRUE(found.emplace(completion.user_data, completion).second);
    });
    return found;
  }
  /// The results, by user data, of what is submitted and `count` requests.
  std::map<std::uint64_t, int> results(unsigned count) {
    std::map<std::uint64_t, int> found;
    while (found.size() < count) {
      const int entered = ring.enter(1, &guard);
      if (entered < 0 && entered != -EINTR) {
        ADD_FAILURE() << entered;
        break;
      }
      for (const auto& [user_data, completion] : harvest()) found[user_data] = completion.result;
    }
    return found;
  }
  int result() { return results(1)[1]; }

  Ring ring;
};

using Results = std::map<std::uint64_t, int>;

TEST_F(FaultRingTest, F6_requests_are_counted_as_the_calls_that_they_stand_for) {
  Listener listener;
  const Fd client = listener.client();
  const Pair pair = unix_pair();
  msghdr message{};
  put(pair.b.get(), "x");
  make_recv(pair.a.get(), 1, 1);
  make_send(pair.a.get(), "y", 2);
  make_sendmsg(pair.a.get(), message, 3);
  make(ring::op_accept, listener.fd.get(), 4);
  make(ring::op_poll_add, pair.a.get(), 5).operation_flags = POLLOUT;
  make(ring::op_async_cancel, -1, 6).address = 99;
  Results found = results(6);
  const Fd accepted(real_kernel(), found[4]);
  EXPECT_TRUE(accepted);
  found.erase(4);
  EXPECT_EQ(found, (Results{{1, 1}, {2, 1}, {3, 0}, {5, POLLOUT}, {6, -ENOENT}}));
  for (const Call call : {Call::recv, Call::send, Call::sendmsg, Call::accept}) {
    EXPECT_EQ(kernel.calls(call), 1U) << to_string(call);
    EXPECT_EQ(inner.calls(call), 1U) << to_string(call);
  }
  EXPECT_EQ(kernel.calls(Call::ppoll), 0U);
  EXPECT_EQ(kernel.injected(), 0U);
}

TEST_F(FaultRingTest, F6_a_planned_error_is_the_completion_and_nothing_else_happens) {
  Listener listener;
  const Fd client = listener.client();
  const Pair pair = unix_pair();
  std::string text = "text";
  iovec part{.iov_base = text.data(), .iov_len = text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  put(pair.b.get(), "data");
  for (const Call call : {Call::recv, Call::send, Call::sendmsg, Call::accept})
    kernel.fail(call, 2, EXFULL, 2);
  const auto make_all = [&] {
    make_recv(pair.a.get(), 1, 1);
    make_send(pair.a.get(), text, 2);
    make_sendmsg(pair.a.get(), message, 3);
    make(ring::op_accept, listener.fd.get(), 4);
  };
  make_all();
  Results found = results(4);
  const Fd accepted(real_kernel(), found[4]);
  EXPECT_EQ(found, (Results{{1, 1}, {2, 4}, {3, 4}, {4, accepted.get()}}));
  const Fd next = listener.client();
  for (int round = 0; round < 2; ++round) {
    make_all();
    EXPECT_EQ(results(4), (Results{{1, -EXFULL}, {2, -EXFULL}, {3, -EXFULL}, {4, -EXFULL}}));
  }
  EXPECT_EQ(kernel.injected(), 8U);
  EXPECT_EQ(drain(pair.b.get()), 8U);
  make_all();
  found = results(4);
  const Fd second(real_kernel(), found[4]);
  EXPECT_TRUE(second);
  EXPECT_EQ(buffer[0], 'a');
  EXPECT_EQ(drain(pair.a.get()), 2U);
  EXPECT_EQ(kernel.calls(Call::recv), 4U);
}

TEST_F(FaultRingTest, F6_requests_about_files_are_their_calls) {
  ScratchDirectory directory;
  const std::string path = directory.path("file");
  RingStatus status{};
  const auto address_of = [](const void* what) { return reinterpret_cast<std::uintptr_t>(what); };
  const auto make_open = [&] {
    RingEntry& open = make(ring::op_openat, AT_FDCWD, 1);
    open.address = address_of(path.c_str());
    open.size = 0600;
    open.operation_flags = O_RDWR | O_CREAT | O_CLOEXEC;
  };
  const auto make_others = [&](int fd) {
    RingEntry& write = make(ring::op_write, fd, 2);
    write.address = address_of("text");
    write.size = 4;
    make(ring::op_fsync, fd, 3);
    make(ring::op_fsync, fd, 4).operation_flags = ring::only_data;
    RingEntry& look = make(ring::op_statx, fd, 5);
    look.address = address_of("");
    look.offset = address_of(&status);
    look.operation_flags = AT_EMPTY_PATH;
  };
  make_open();
  const int fd = result();
  ASSERT_GE(fd, 0);
  make_others(fd);
  EXPECT_EQ(results(4), (Results{{2, 4}, {3, 0}, {4, 0}, {5, 0}}));
  const auto make_read = [&]() -> RingEntry& {
    RingEntry& read = make(ring::op_read, fd, 1);
    read.address = address_of(buffer.data());
    read.size = 10;
    return read;
  };
  make_read();
  EXPECT_EQ(result(), 4);
  const Call calls[] = {Call::openat, Call::pread,     Call::pwrite,
                        Call::fsync,  Call::fdatasync, Call::fstat};
  for (const Call call : calls) {
    EXPECT_EQ(kernel.calls(call), 1U) << to_string(call);
    kernel.fail(call, 1, EXFULL);
  }
  make_open();
  EXPECT_EQ(result(), -EXFULL);
  make_others(fd);
  EXPECT_EQ(results(4), (Results{{2, -EXFULL}, {3, -EXFULL}, {4, -EXFULL}, {5, -EXFULL}}));
  make_read();
  EXPECT_EQ(result(), -EXFULL);
  // A short transfer moves less. A read at the file's own position is not a pread().
  kernel.set_rates({.short_transfers = 1000});
  RingEntry& write = make(ring::op_write, fd, 1);
  write.address = address_of("0123456789");
  write.size = 10;
  EXPECT_LT(result(), 10);
  const std::uint64_t before = kernel.calls(Call::pread);
  make_read().offset = ~std::uint64_t{0};
  EXPECT_GT(result(), 0);
  EXPECT_EQ(kernel.calls(Call::pread), before);
  kernel.clear();
  // F1: closing closes all the same.
  kernel.fail(Call::close, 1, EXFULL);
  make(ring::op_close, fd, 1);
  EXPECT_EQ(result(), -EXFULL);
  EXPECT_LT(::fcntl(fd, F_GETFD), 0);
  EXPECT_EQ(kernel.calls(Call::close), 1U);
}

TEST_F(FaultRingTest, F6_a_receive_that_fails_takes_no_buffer) {
  struct {
    std::uint64_t address;
    std::uint32_t entries;
    std::uint16_t group, flags;
    std::uint64_t reserved[3];
  } about{};
  void* memory = nullptr;
  ASSERT_EQ(
      real_kernel().mmap(&memory, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      0);
  auto* const places = static_cast<RingBuffer*>(memory);
  about.address = reinterpret_cast<std::uintptr_t>(memory);
  about.entries = 2;
  if (ring.control(ring::register_buffer_ring, &about, 1) < 0)
    GTEST_SKIP() << "this kernel has no rings of buffers";
  places[0].address = reinterpret_cast<std::uintptr_t>(buffer.data());
  places[0].size = 1000;
  places[0].id = 7;
  std::atomic_ref(places[0].reserved).store(1, std::memory_order_release);
  const Pair pair = unix_pair();
  put(pair.b.get(), std::string(1000, 'd'));
  const auto receive_once = [&] {
    make(ring::op_recv, pair.a.get(), 1).flags = ring::select_buffer;
    EXPECT_EQ(ring.enter(1, &guard), 1);
    return harvest()[1];
  };
  kernel.fail(Call::recv, 1, ENOMEM);
  EXPECT_EQ(receive_once().result, -ENOMEM);
  kernel.fail(Call::recv, 1, ENOBUFS);
  const RingCompletion failed = receive_once();
  EXPECT_EQ(failed.result, -ENOBUFS);
  EXPECT_EQ(failed.flags, 0U);
  const RingCompletion served = receive_once();
  EXPECT_EQ(served.result, 1000);
  EXPECT_EQ(served.flags & ring::has_buffer, ring::has_buffer);
  EXPECT_EQ(served.flags >> ring::buffer_shift, 7U);
  EXPECT_EQ(receive_once().result, -ENOBUFS);  // there is really none
  real_kernel().munmap(memory, 4096);
}

TEST_F(FaultRingTest, F6_a_connection_that_broke_stays_broken) {
  const Pair pair = unix_pair();
  kernel.fail(Call::recv, 1, ECONNRESET);
  make_recv(pair.a.get(), 1);
  EXPECT_EQ(result(), -ECONNRESET);
  make_recv(pair.a.get(), 1);
  EXPECT_EQ(result(), 0);
  make_send(pair.a.get(), "x");
  EXPECT_EQ(result(), -EPIPE);
}

TEST_F(FaultRingTest, F6_F4_short_transfers_move_at_least_one_byte_and_less_than_asked) {
  kernel.set_rates({.short_transfers = 1000});
  const Pair pair = unix_pair();
  std::string text;
  for (int i = 0; i < 3000; ++i) text += static_cast<char>('a' + i % 26);
  for (const bool parts : {false, true}) {
    std::string came;
    for (std::size_t moved = 0; moved < text.size();) {
      const std::size_t left = text.size() - moved;
      std::array<iovec, 20> pieces{};
      for (std::size_t i = 0; i < pieces.size(); ++i)
        pieces[i] = {.iov_base = text.data() + moved + left * i / pieces.size(),
                     .iov_len = left * (i + 1) / pieces.size() - left * i / pieces.size()};
      msghdr message{};
      message.msg_iov = pieces.data();
      message.msg_iovlen = pieces.size();
      const std::string rest = text.substr(moved);
      if (parts)
        make_sendmsg(pair.b.get(), message);
      else
        make_send(pair.b.get(), rest);
      const int sent = result();
      ASSERT_GE(sent, 1);
      if (left > 1) {
        ASSERT_LT(sent, static_cast<int>(left));
      }
      moved += static_cast<std::size_t>(sent);
      for (int there = sent; there > 0;) {
        make_recv(pair.a.get(), static_cast<std::size_t>(there));
        const int got = result();
        ASSERT_GE(got, 1);
        if (there > 1) {
          ASSERT_LT(got, there);
        }
        came.append(buffer.data(), static_cast<std::size_t>(got));
        there -= got;
      }
    }
    EXPECT_EQ(came, text);
  }
}

TEST_F(FaultRingTest, F6_F4_EAGAIN_never_comes_twice_in_a_row_and_EINTR_not_four_times) {
  kernel.set_rates({.eagain = 1000});
  const Pair pair = unix_pair();
  put(pair.b.get(), "0123456789");
  for (int round = 0; round < 5; ++round) {
    make_recv(pair.a.get(), 1);
    EXPECT_EQ(result(), -EAGAIN);
    make_recv(pair.a.get(), 1);
    EXPECT_EQ(result(), 1);
  }
  kernel.set_rates({.eintr = 1000});
  int interrupted = 0;
  for (;; ++interrupted) {
    make_recv(pair.a.get(), 1);
    const int got = result();
    if (got == 1) break;
    ASSERT_EQ(got, -EINTR);
  }
  EXPECT_EQ(interrupted, 3);
}

TEST_F(FaultRingTest, F6_enter_fails_by_plan_and_takes_nothing) {
  const Pair pair = unix_pair();
  for (const int error : {EBUSY, EAGAIN, ENOMEM}) {
    kernel.fail(Call::io_uring_enter, 1, error);
    make_send(pair.a.get(), "x");
    EXPECT_EQ(ring.enter(1, &guard), -error);
    EXPECT_EQ(ring.unsubmitted(), 1U);
    EXPECT_TRUE(harvest().empty());
    EXPECT_EQ(drain(pair.b.get()), 0U);
    EXPECT_EQ(result(), 1);
    EXPECT_EQ(drain(pair.b.get()), 1U);
  }
  EXPECT_EQ(kernel.calls(Call::send), 3U);
}

TEST_F(FaultRingTest, F6_a_signal_ends_the_wait_and_hides_nothing) {
  const Pair pair = unix_pair();
  const timespec forever{.tv_sec = 100'000, .tv_nsec = 0};
  kernel.fail(Call::io_uring_enter, 1, EINTR, 3);
  make_recv(pair.a.get(), 1);
  EXPECT_EQ(ring.enter(1, &forever), 1);  // taken
  EXPECT_TRUE(harvest().empty());
  EXPECT_EQ(ring.enter(1, &forever), -EINTR);
  put(pair.b.get(), "x");
  EXPECT_EQ(ring.enter(1, &forever), 0);
  EXPECT_EQ(harvest()[1].result, 1);
  kernel.set_rates({.eintr = 1000});
  int interrupted = 0;
  const timespec short_time{.tv_sec = 0, .tv_nsec = 1};
  while (ring.enter(1, &short_time) == -EINTR) ++interrupted;
  EXPECT_EQ(interrupted, 3);
  EXPECT_EQ(ring.enter(0, nullptr), 0);  // does not sleep
}

TEST_F(FaultRingTest, F6_setup_and_registration_fail_by_plan) {
  for (const int error : {ENOSYS, EPERM, ENOMEM, EMFILE}) {
    Ring refused;
    kernel.fail(Call::io_uring_setup, 1, error);
    const Result<> opened = refused.open(kernel);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().value(), error);
  }
  kernel.fail(Call::io_uring_register, 1, EINVAL);
  EXPECT_EQ(ring.enter(0, nullptr), -EINVAL);  // it could not be enabled
  kernel.fail(Call::io_uring_register, 2, EINVAL);
  EXPECT_EQ(ring.enter(0, nullptr), 0);
  EXPECT_FALSE(ring.has(ring::registered_ring));
  const Pair pair = unix_pair();
  kernel.fail(Call::recv, 1, EXFULL);
  make_recv(pair.a.get(), 1);
  EXPECT_EQ(result(), -EXFULL);  // seen under its number as well
}

TEST_F(FaultRingTest, F6_what_the_kernel_leaves_is_judged_once) {
  OneAtATime slow(real_kernel());
  FaultKernel over(slow);
  Ring short_ring;
  ASSERT_TRUE(short_ring.open(over));
  const Pair pair = unix_pair();
  over.fail(Call::send, 2, EXFULL);
  const char byte = 'x';
  for (std::uint64_t i = 1; i <= 3; ++i) {
    ASSERT_TRUE(short_ring.has_room());
    short_ring.next() = {.operation = ring::op_send,
                         .fd = pair.a.get(),
                         .address = reinterpret_cast<std::uintptr_t>(&byte),
                         .size = 1,
                         .user_data = i};
  }
  Results found;
  for (unsigned left = 3; left > 0; --left) {
    EXPECT_EQ(short_ring.unsubmitted(), left);
    EXPECT_EQ(short_ring.enter(1, &guard), 1);
    short_ring.harvest([&](RingCompletion completion) noexcept {
      found[completion.user_data] = completion.result;
    });
  }
  EXPECT_EQ(found, (Results{{1, 1}, {2, -EXFULL}, {3, 1}}));
  EXPECT_EQ(over.calls(Call::send), 3U);
}

#endif

}  // namespace
}  // namespace duolu::test
