// The pipes watched by libev: ev_io_stop and ev_io_start.
#include <ev.h>

#include "watching.hpp"

namespace pipes {
namespace {

class ByLibev final : public Watching {
 public:
  explicit ByLibev(Pipes& pipes) : watchers_(pipes.count()) {
    if (loop_ == nullptr) die("libev");
    ev_set_userdata(loop_, &pipes);
    for (std::size_t i = 0; i < watchers_.size(); ++i) {
      ev_io_init(&watchers_[i].io, arrived, pipes.reader(i), EV_READ);
      watchers_[i].index = i;
      ev_io_start(loop_, &watchers_[i].io);
    }
  }
  ~ByLibev() override {
    for (Watcher& watcher : watchers_) ev_io_stop(loop_, &watcher.io);
    ev_loop_destroy(loop_);
  }

  void rewatch() override {
    for (Watcher& watcher : watchers_) {
      ev_io_stop(loop_, &watcher.io);
      ev_io_start(loop_, &watcher.io);
    }
  }
  void look() override { ev_run(loop_, EVRUN_NOWAIT); }

 private:
  struct Watcher {
    ev_io io;  // first, so that a watcher can have more data
    std::size_t index;
  };
  static void arrived(struct ev_loop* loop, ev_io* io, int) {
    static_cast<Pipes*>(ev_userdata(loop))->take_one(reinterpret_cast<Watcher*>(io)->index);
  }

  struct ev_loop* loop_ = ev_loop_new(EVBACKEND_EPOLL);
  std::vector<Watcher> watchers_;
};

}  // namespace

std::unique_ptr<Watching> watch_by_libev(Pipes& pipes) { return std::make_unique<ByLibev>(pipes); }

}  // namespace pipes
