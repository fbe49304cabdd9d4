// peer_libev PORT: libev with an ev_io for each connection.
#include <ev.h>

#include "../echo.hpp"

namespace {

using bench::Next;

void on_readable(struct ev_loop* loop, ev_io* watcher, int);
void on_writable(struct ev_loop* loop, ev_io* watcher, int);

[[gnu::cold, gnu::noinline]] void settle(struct ev_loop* loop, ev_io* watcher, Next next) {
  ev_io_stop(loop, watcher);
  if (next == Next::end) {
    bench::close_connection(watcher->fd);
    delete watcher;
    return;
  }
  const bool writes = next == Next::write;
  ev_io_init(watcher, writes ? on_writable : on_readable, watcher->fd, writes ? EV_WRITE : EV_READ);
  ev_io_start(loop, watcher);
}

void on_readable(struct ev_loop* loop, ev_io* watcher, int) {
  bool drained = true;
  const Next next = bench::echo_once(watcher->fd, drained);
  if (next != Next::read) [[unlikely]]
    settle(loop, watcher, next);
}

void on_writable(struct ev_loop* loop, ev_io* watcher, int) {
  settle(loop, watcher, bench::send_unsent(watcher->fd));
}

void on_listener(struct ev_loop* loop, ev_io* watcher, int) {
  for (int client; (client = ::accept4(watcher->fd, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
    auto* connection = new ev_io;
    ev_io_init(connection, on_readable, client, EV_READ);
    ev_io_start(loop, connection);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int fd = bench::listen_on(bench::start(argc, argv).port, SOCK_NONBLOCK);
  struct ev_loop* loop = ev_default_loop(0);
  ev_io listener;
  ev_io_init(&listener, on_listener, fd, EV_READ);
  ev_io_start(loop, &listener);
  return ev_run(loop, 0);
}
