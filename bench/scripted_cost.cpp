// scripted_cost BACKEND SERVER CONNECTIONS MESSAGES [count]: an echo server on a scripted kernel,
// which works in memory alone. SERVER is `coroutine` (lent buffers) or `coroutine-own` (one in each
// coroutine), or the trigger of the server on a bare Poller. Every wait reports all connections,
// each has a message of 64 bytes and takes its echo. So only the library and the server run,
// besides the script: the number of messages that a wait finds does not depend on the scheduler,
// nor the system calls on valgrind. Ends after MESSAGES messages; with `count`, prints its calls by
// kind (then its instructions should not be counted).
#include <poll.h>
#include <sys/epoll.h>

#include <array>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "duolu/testing/fault.hpp"
#include "duolu/testing/forwarding.hpp"
#include "servers/coroutine_echo.hpp"
#include "servers/poller_echo.hpp"

namespace {

using namespace duolu;

constexpr std::size_t message_size = 64;
constexpr std::size_t descriptors = 1024;
constexpr std::size_t word_bits = sizeof(unsigned long) * CHAR_BIT;

void (*at_end)() = [] {};

/// Descriptors are real, so that the library can query them; the data is not.
class ScriptedKernel final : public ForwardingKernel {
 public:
  ScriptedKernel(std::size_t connections, long messages)
      : connections_(connections), messages_left_(messages) {}

  Instant now() noexcept override { return {}; }

  int listen(int fd, int backlog) noexcept override {
    ready_[static_cast<std::size_t>(fd)] = true;
    return ForwardingKernel::listen(fd, backlog);
  }

  int accept(int listener, sockaddr*, socklen_t*) noexcept override {
    ready_[static_cast<std::size_t>(listener)] = false;
    if (clients_.size() == connections_) return -EAGAIN;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || static_cast<std::size_t>(fd) >= descriptors) std::abort();
    ready_[static_cast<std::size_t>(fd)] = true;
    clients_.push_back(fd);
    return fd;
  }

  ssize_t recv(int, void*, std::size_t, int) noexcept override {
    --messages_left_;
    return message_size;
  }
  ssize_t send(int, const void*, std::size_t size, int) noexcept override {
    return static_cast<ssize_t>(size);
  }

  int epoll_ctl(int, int operation, int fd, epoll_event* event) noexcept override {
    const auto place = static_cast<std::size_t>(fd);
    if (operation == EPOLL_CTL_ADD) watched_.push_back(place);
    if (event != nullptr) data_[place] = event->data.u64;
    return 0;
  }
  int epoll_pwait2(int, epoll_event* events, int count, const timespec*) noexcept override {
    end_in_time();
    int found = 0;
    for (const std::size_t fd : watched_)
      if (ready_[fd] && found < count)
        events[found++] = {.events = EPOLLIN, .data = {.u64 = data_[fd]}};
    return found;
  }

  int ppoll(pollfd* fds, std::size_t count, const timespec*) noexcept override {
    end_in_time();
    int found = 0;
    for (pollfd* entry = fds; entry != fds + count; ++entry) {
      const bool ready = entry->fd >= 0 && ready_[static_cast<std::size_t>(entry->fd)];
      entry->revents = ready ? static_cast<short>(entry->events & POLLIN) : short{0};
      found += entry->revents != 0;
    }
    return found;
  }

  int pselect(int count, unsigned long* readable, unsigned long* writable,
              unsigned long* exceptional, const timespec*) noexcept override {
    end_in_time();
    int found = 0;
    for (std::size_t fd = 0; fd < static_cast<std::size_t>(count); ++fd) {
      const unsigned long bit = 1UL << fd % word_bits;
      if ((readable[fd / word_bits] & bit) != 0 && ready_[fd])
        ++found;
      else
        readable[fd / word_bits] &= ~bit;
      for (unsigned long* other : {writable, exceptional})
        if (other != nullptr) other[fd / word_bits] = 0;
    }
    return found;
  }

 private:
  void end_in_time() noexcept {
    if (messages_left_ > 0) return;
    at_end();
    std::exit(0);
  }

  std::size_t connections_;
  long messages_left_;
  std::vector<int> clients_;
  std::vector<std::size_t> watched_;  ///< By epoll, in the order they came.
  std::array<bool, descriptors> ready_{};
  std::array<std::uint64_t, descriptors> data_{};
};

FaultKernel* counter = nullptr;

void print_counts() {
  for (int i = 0; i < static_cast<int>(Call::count_); ++i) {
    const auto call = static_cast<Call>(i);
    if (counter->calls(call) != 0)
      std::printf("%s %llu\n", to_string(call).data(),
                  static_cast<unsigned long long>(counter->calls(call)));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool counts = argc == 6 && std::string_view(argv[5]) == "count";
  if (argc != 5 && !counts) {
    std::fputs("scripted_cost BACKEND SERVER CONNECTIONS MESSAGES [count]\n", stderr);
    return 2;
  }
  static ScriptedKernel scripted(static_cast<std::size_t>(std::atol(argv[3])), std::atol(argv[4]));
  static FaultKernel counted(scripted);
  counter = &counted;
  if (counts) at_end = print_counts;
  const int any_port = 0;
  Kernel& kernel = counts ? static_cast<Kernel&>(counted) : scripted;
  const std::string_view server = argv[2];
  if (server == "coroutine") bench::serve_coroutine_echo(kernel, any_port, argv[1], "lent");
  if (server == "coroutine-own") bench::serve_coroutine_echo(kernel, any_port, argv[1], "own");
  bench::serve_echo(kernel, any_port, argv[1], server);
}
