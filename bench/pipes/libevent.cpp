// The pipes watched by libevent: event_del and event_add.
#include <event2/event.h>

#include <cstring>

#include "watching.hpp"

namespace pipes {
namespace {

class ByLibevent final : public Watching {
 public:
  explicit ByLibevent(Pipes& pipes) {
    // libev has functions of the same names; if it was linked, there is no method "epoll".
    // tidy: allow(backend-name) It is a method of libevent.
    if (base_ == nullptr || std::strcmp(event_base_get_method(base_), "epoll") != 0)
      die("libevent");
    for (std::size_t i = 0; i < pipes.count(); ++i) seats_.push_back({pipes, i, nullptr});
    for (Seat& seat : seats_) {
      seat.event = event_new(base_, pipes.reader(seat.index), EV_READ | EV_PERSIST, arrived, &seat);
      event_add(seat.event, nullptr);
    }
  }
  ~ByLibevent() override {
    for (const Seat& seat : seats_) event_free(seat.event);
    event_base_free(base_);
  }

  void rewatch() override {
    for (const Seat& seat : seats_) {
      event_del(seat.event);
      event_add(seat.event, nullptr);
    }
  }
  void look() override { event_base_loop(base_, EVLOOP_ONCE | EVLOOP_NONBLOCK); }

 private:
  struct Seat {
    Pipes& pipes;
    std::size_t index;
    struct event* event;
  };
  static void arrived(evutil_socket_t, short, void* word) {
    const Seat& seat = *static_cast<Seat*>(word);
    seat.pipes.take_one(seat.index);
  }

  event_base* base_ = event_base_new();
  std::vector<Seat> seats_;
};

}  // namespace

std::unique_ptr<Watching> watch_by_libevent(Pipes& pipes) {
  return std::make_unique<ByLibevent>(pipes);
}

}  // namespace pipes
