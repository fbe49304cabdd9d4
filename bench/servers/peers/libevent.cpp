// peer_libevent PORT: libevent's bare events (no bufferevent), without its locks.
#include <event2/event.h>
#include <event2/event_struct.h>

#include "../echo.hpp"

namespace {

using bench::Next;

struct Connection {
  event readable;
  event writable;
};

[[gnu::cold, gnu::noinline]] void settle(Connection& connection, int fd, Next next) {
  event_del(&connection.readable);
  if (next == Next::read) {
    event_add(&connection.readable, nullptr);
  } else if (next == Next::write) {
    event_add(&connection.writable, nullptr);  // once
  } else {
    delete &connection;
    bench::close_connection(fd);
  }
}

void on_readable(int fd, short, void* connection) {
  bool drained = true;
  const Next next = bench::echo_once(fd, drained);
  if (next != Next::read) [[unlikely]]
    settle(*static_cast<Connection*>(connection), fd, next);
}

void on_writable(int fd, short, void* connection) {
  settle(*static_cast<Connection*>(connection), fd, bench::send_unsent(fd));
}

void on_listener(int fd, short, void* base) {
  for (int client; (client = ::accept4(fd, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
    auto* connection = new Connection;
    event_assign(&connection->readable, static_cast<event_base*>(base), client,
                 EV_READ | EV_PERSIST, on_readable, connection);
    event_assign(&connection->writable, static_cast<event_base*>(base), client, EV_WRITE,
                 on_writable, connection);
    event_add(&connection->readable, nullptr);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int fd = bench::listen_on(bench::start(argc, argv).port, SOCK_NONBLOCK);
  event_config* config = event_config_new();
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
  event_base* base = event_base_new_with_config(config);
  event listener;
  event_assign(&listener, base, fd, EV_READ | EV_PERSIST, on_listener, base);
  event_add(&listener, nullptr);
  return event_base_dispatch(base);
}
