#include "support/endpoints.hpp"

#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>

#include <cerrno>

namespace duolu::test {
namespace {

void require(bool held) {
  if (!held) {
    std::perror("test set-up");
    std::abort();
  }
}

Fd owned(int fd) {
  require(fd >= 0);
  return {real_kernel(), fd};
}

sockaddr_in loopback() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

sockaddr_in bound_address(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  require(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  return address;
}

Fd bound_udp() {
  Fd fd = owned(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback();
  require(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

constexpr Kind kinds[] = {
    {"unix stream", [] { return unix_pair(SOCK_STREAM); }},
    {"unix seqpacket", [] { return unix_pair(SOCK_SEQPACKET); }},
    {"unix datagram", [] { return unix_pair(SOCK_DGRAM); }},
    {"tcp", tcp_pair},
    {"udp", udp_pair},
    {"pipe", pipe_pair},
    {"fifo", fifo_pair},
    {"terminal", pty_pair},
};

}  // namespace

std::span<const Kind> two_way_kinds() { return std::span(kinds).first(4); }
std::span<const Kind> every_kind() { return kinds; }

Pair udp_pair() {
  Pair pair{bound_udp(), bound_udp()};
  const sockaddr_in a = bound_address(pair.a.get());
  const sockaddr_in b = bound_address(pair.b.get());
  require(::connect(pair.a.get(), reinterpret_cast<const sockaddr*>(&b), sizeof b) == 0);
  require(::connect(pair.b.get(), reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0);
  return pair;
}

Pair fifo_pair() {
  ScratchDirectory scratch;
  const std::string path = scratch.path("fifo");
  require(::mkfifo(path.c_str(), 0600) == 0);
  Fd reader = owned(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  Fd writer = owned(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
  return {std::move(reader), std::move(writer)};
}

Pair pty_pair() {
  Fd master = owned(::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  require(::grantpt(master.get()) == 0 && ::unlockpt(master.get()) == 0);
  std::array<char, 128> name;
  require(::ptsname_r(master.get(), name.data(), name.size()) == 0);
  Fd slave = owned(::open(name.data(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  termios mode{};
  require(::tcgetattr(slave.get(), &mode) == 0);
  ::cfmakeraw(&mode);
  require(::tcsetattr(slave.get(), TCSANOW, &mode) == 0);
  return {std::move(master), std::move(slave)};
}

Listener tcp_listener(int backlog) {
  Listener listener{owned(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)),
                    loopback()};
  const int fd = listener.fd.get();
  require(::bind(fd, reinterpret_cast<const sockaddr*>(&listener.address),
                 sizeof listener.address) == 0);
  require(::listen(fd, backlog) == 0);
  listener.address = bound_address(fd);
  return listener;
}

Attempt begin_connect(const sockaddr_in& address) {
  Attempt attempt{owned(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))};
  if (::connect(attempt.fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    attempt.result = -errno;
  return attempt;
}

Accepted accept_one(const Fd& listener) {
  const int fd = ::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return {Fd(), -errno};
  return {Fd(real_kernel(), fd), 0};
}

sockaddr_in closed_port() {
  // The port is free again at the end, and the kernel hands it to nobody so soon.
  const Listener listener = tcp_listener();
  return listener.address;
}

int take_error(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  require(::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0);
  return error;
}

void close_with_reset(Fd& fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  require(::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
  fd.reset();
}

bool settled(int fd, short bits) {
  const Instant deadline = after(real_kernel().now(), patience);
  do {
    pollfd asked{.fd = fd, .events = bits, .revents = 0};
    // A short timeout and once more: poll(2) may return for the first of the bits alone.
    ::poll(&asked, 1, 10);
    if ((asked.revents & bits) == bits) return true;
  } while (real_kernel().now() < deadline);
  return false;
}

void fill_up(int fd, std::chrono::milliseconds way) {
  pollfd asked{.fd = fd, .events = POLLOUT, .revents = 0};
  do {
    fill(fd);
  } while (::poll(&asked, 1, static_cast<int>(way.count())) > 0);
}

ScratchDirectory::ScratchDirectory() {
  std::string pattern = "/tmp/duolu-test-XXXXXX";
  require(::mkdtemp(pattern.data()) != nullptr);
  root_ = pattern;
}

ScratchDirectory::~ScratchDirectory() {
  for (const std::string& file : files_) ::unlink(file.c_str());
  ::rmdir(root_.c_str());
}

std::string ScratchDirectory::path(const std::string& name) {
  return files_.emplace_back(root_ + "/" + name);
}

Duration thread_cpu_time() {
  timespec used{};
  require(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

}  // namespace duolu::test
