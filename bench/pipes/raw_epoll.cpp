// The pipes watched by epoll itself, level-triggered: the reference for the libraries.
#include <sys/epoll.h>
#include <unistd.h>

#include <cstdint>

#include "watching.hpp"

namespace pipes {
namespace {

class ByEpoll final : public Watching {
 public:
  explicit ByEpoll(Pipes& pipes) : pipes_(pipes) {
    for (std::size_t i = 0; i < pipes.count(); ++i) control(EPOLL_CTL_ADD, i);
  }
  ~ByEpoll() override { ::close(set_); }

  void rewatch() override {
    for (std::size_t i = 0; i < pipes_.count(); ++i) {
      control(EPOLL_CTL_DEL, i);
      control(EPOLL_CTL_ADD, i);
    }
  }

  void look() override {
    const int count = ::epoll_wait(set_, ready_, 256, 0);
    for (int i = 0; i < count; ++i) pipes_.take_one(ready_[i].data.u64);
  }

 private:
  void control(int operation, std::size_t index) {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = index}};
    if (::epoll_ctl(set_, operation, pipes_.reader(index), &event) != 0) die("epoll_ctl");
  }

  Pipes& pipes_;
  const int set_ = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event ready_[256];
};

}  // namespace

std::unique_ptr<Watching> watch_by_epoll(Pipes& pipes) { return std::make_unique<ByEpoll>(pipes); }

}  // namespace pipes
