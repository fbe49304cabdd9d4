// A Kernel with a clock of its own and one echo server in memory: what a load run must find there
// is known beforehand. To be waited for with the poll backend. Time passes while everybody waits, a
// little with every look at the clock, and where a test says so.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <string>

#include "duolu/base/time.hpp"
#include "duolu/net/address.hpp"
#include "duolu/testing/forwarding.hpp"

namespace duolu::test {

class VirtualServer final : public ForwardingKernel, public ForwardingHost {
 public:
  // --- what the server and the machine are like; to be set before the run

  Duration service = std::chrono::microseconds(20);  ///< One message after the other.
  Duration stall = Duration::zero();                 ///< At every full second it rests so long.
  Duration client_cost = Duration::zero();           ///< What a recv(2) takes the client.
  Duration oversleep = std::chrono::microseconds(60);
  Duration held_up = Duration::zero();  ///< Every 10 ms the client loses its core for so long.
  Instant dies_at = never;              ///< Resets everything, then refuses.
  Instant returns_at = never;           ///< Accepts again.
  Instant goes_silent_at = never;       ///< Takes what comes and does not answer.
  bool to_itself = false;               ///< While it is gone, connect(2) connects to itself.
  std::uint64_t wrong_at = UINT64_MAX;  ///< This byte of a stream comes back as another one.
  std::string adds;                     ///< Comes back after the first message, unasked.

  /// When everything begins.
  static constexpr Instant origin = Instant(std::chrono::seconds(1000));

  std::size_t connects = 0;

  // --- Kernel

  Instant now() noexcept override {
    now_ += std::chrono::nanoseconds(50);
    if (held_up > Duration::zero() && now_ >= next_hold_up_) {
      now_ += held_up;
      next_hold_up_ = now_ + std::chrono::milliseconds(10);
    }
    return now_;
  }
  Duration thread_cpu_time() noexcept override { return cpu_; }
  int clock_nanosleep(const timespec* until) noexcept override {
    now_ = std::max(now_, to_instant(*until) + oversleep);
    return 0;
  }
  int socket(int, int, int) noexcept override { return next_++; }
  int setsockopt(int, int, int, const void*, socklen_t) noexcept override { return 0; }
  int bind(int, const sockaddr*, socklen_t) noexcept override { return 0; }
  int fcntl(int fd, int command, long argument) noexcept override {
    return fd >= first ? 0 : ForwardingKernel::fcntl(fd, command, argument);
  }
  int fstat(int fd, struct stat* status) noexcept override {
    if (fd < first) return ForwardingKernel::fstat(fd, status);
    *status = {};
    status->st_mode = S_IFSOCK;
    return 0;
  }
  int connect(int fd, const sockaddr* address, socklen_t size) noexcept override {
    ++connects;
    if (to_itself && now_ >= dies_at && now_ < returns_at) clients_[fd].own = {address, size};
    clients_[fd].made_at = now_;
    clients_[fd].connected_at = now_ + service;
    return -EINPROGRESS;
  }
  int getsockname(int fd, sockaddr* address, socklen_t* size) noexcept override {
    const Address& own = clients_[fd].own;
    *size = std::min(*size, own.size());
    std::memcpy(address, own.data(), *size);
    return 0;
  }
  int getsockopt(int, int, int, void* value, socklen_t*) noexcept override {
    const int error = ECONNREFUSED;
    std::memcpy(value, &error, sizeof error);
    return 0;
  }
  int close(int fd) noexcept override {
    return clients_.erase(fd) != 0 ? 0 : ForwardingKernel::close(fd);
  }
  ssize_t send(int fd, const void* bytes, std::size_t size, int) noexcept override {
    Client& client = clients_[fd];
    if (is_lost(client)) return -ECONNRESET;
    free_at_ = awake(std::max(free_at_, now_) + service);
    std::string answer(static_cast<const char*>(bytes), size);
    if (wrong_at - client.sent < size) answer[wrong_at - client.sent] ^= 1;
    client.sent += size;
    const Instant due = now_ >= goes_silent_at ? never : free_at_;
    client.answers.push_back({due, answer + std::exchange(adds, {})});
    return static_cast<ssize_t>(size);
  }
  ssize_t recv(int fd, void* buffer, std::size_t size, int) noexcept override {
    now_ += client_cost;
    cpu_ += client_cost;
    if (is_lost(clients_[fd])) return -ECONNRESET;
    auto& answers = clients_[fd].answers;
    if (answers.empty() || answers.front().due > now_) return -EAGAIN;
    std::string& answer = answers.front().bytes;
    const std::size_t got = std::min(size, answer.size());
    std::memcpy(buffer, answer.data(), got);
    answer.erase(0, got);
    if (answer.empty()) answers.pop_front();
    return static_cast<ssize_t>(got);
  }
  int ppoll(pollfd* fds, std::size_t count, const timespec* timeout) noexcept override {
    const Instant give_up = timeout == nullptr ? never : now_ + (to_instant(*timeout) - Instant{});
    for (;;) {
      int ready = 0;
      Instant next = give_up;
      for (pollfd* at = fds; at != fds + count; ++at) {
        at->revents = 0;
        if (at->fd < first) continue;  // the poller's own
        const Client& client = clients_[at->fd];
        if (now_ < client.connected_at) {
          next = std::min(next, client.connected_at);
          continue;
        }
        short is = POLLOUT;
        if (is_lost(client)) is |= POLLERR | POLLIN;
        if (!client.answers.empty()) {
          next = std::min(next, std::max(client.answers.front().due, now_));
          if (client.answers.front().due <= now_) is |= POLLIN;
        }
        at->revents = static_cast<short>(is & (at->events | POLLERR));
        if (at->revents != 0) ++ready;
      }
      if (ready > 0 || now_ >= give_up) return ready;
      now_ = now_ < dies_at ? std::min(next, dies_at) : next;
    }
  }

 private:
  struct Answer {
    Instant due;
    std::string bytes;
  };
  struct Client {
    Instant made_at{};
    Address own{};
    Instant connected_at{};
    std::uint64_t sent = 0;
    std::deque<Answer> answers;
  };

  static constexpr int first = 1000;

  bool is_lost(const Client& client) const noexcept {
    return now_ >= dies_at && client.made_at < returns_at && client.own.family() == AF_UNSPEC;
  }

  static Instant to_instant(const timespec& ts) noexcept {
    return Instant(std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec));
  }
  /// The instant itself, or the end of the stall it is in.
  Instant awake(Instant instant) const noexcept {
    const Duration into_second = instant.time_since_epoch() % std::chrono::seconds(1);
    return into_second < stall ? instant - into_second + stall : instant;
  }

  Instant now_ = origin + std::chrono::milliseconds(200);
  Instant next_hold_up_{};
  Duration cpu_{};
  Instant free_at_{};
  int next_ = first;
  std::map<int, Client> clients_;
};

}  // namespace duolu::test
