// The raw servers' program on a Poller, with a callback for each registration, as a user of the
// bare Poller would write it. On the real kernel: poller_echo_main.cpp; on a scripted one:
// ../scripted_cost.cpp.
#include "poller_echo.hpp"

#include <netinet/in.h>

#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "duolu/net/address.hpp"
#include "duolu/poll/backends.hpp"
#include "echo.hpp"

namespace {

using namespace duolu;

struct Server;

/// What an event's data word points to.
struct Watched {
  void (*on_event)(Server& server, Watched& self, const Event& event);
  int fd;
  Token token;
};

struct Server {
  char buffer[16384];
  Kernel& kernel;
  Poller& poller;
  Trigger trigger;
};

Watched* watch(Server& server, int fd, decltype(Watched::on_event) on_event) {
  auto* watched = new Watched{on_event, fd, {}};
  const Result<Token> token = server.poller.add(fd, Interest::readable, server.trigger,
                                                reinterpret_cast<std::uintptr_t>(watched));
  if (!token) std::abort();
  watched->token = *token;
  return watched;
}

[[gnu::noinline, gnu::cold]] void end(Server& server, Watched& self) {
  (void)server.poller.remove(self.token);
  bench::close_connection(self.fd);
  delete &self;
}

void on_client(Server& server, Watched& self, const Event& event);

/// After a short send, and when the connection is writable again.
[[gnu::noinline, gnu::cold]] void settle(Server& server, Watched& self, bench::Next next) {
  if (next == bench::Next::end) return end(server, self);
  const bool writes = next == bench::Next::write;
  self.on_event = !writes ? on_client : [](Server& s, Watched& w, const Event&) {
    settle(s, w, bench::send_unsent(w.fd));
  };
  (void)server.poller.modify(self.token, writes ? Interest::writable : Interest::readable);
}

[[gnu::noinline, gnu::cold]] void short_send(Server& server, Watched& self, ssize_t got,
                                             ssize_t sent) {
  if (sent < 0) errno = static_cast<int>(-sent);
  settle(server, self,
         bench::keep_unsent(self.fd, {server.buffer, static_cast<std::size_t>(got)}, sent));
}

/// The rest of on_client, in a function apart: the end, a full buffer, another trigger.
[[gnu::noinline, gnu::cold]] void rest(Server& server, Watched& self, const Event& event,
                                       ssize_t got) {
  while (got == static_cast<ssize_t>(sizeof server.buffer) ||
         (got > 0 && !event.short_means_drained())) {
    if (server.trigger == Trigger::level) return;  // is reported again
    got = server.kernel.recv(self.fd, server.buffer, sizeof server.buffer, 0);
    if (got <= 0) break;
    const ssize_t sent =
        server.kernel.send(self.fd, server.buffer, static_cast<std::size_t>(got), MSG_NOSIGNAL);
    if (sent != got) return short_send(server, self, got, sent);
  }
  if (got == 0 || (got < 0 && got != -EAGAIN)) return end(server, self);
  server.poller.drained(self.token, Interest::readable);
  if (server.trigger == Trigger::oneshot)
    (void)server.poller.modify(self.token, Interest::readable);
}

void on_client(Server& server, Watched& self, const Event& event) {
  const ssize_t got = server.kernel.recv(self.fd, server.buffer, sizeof server.buffer, 0);
  if (got <= 0) [[unlikely]]
    return rest(server, self, event, got);
  const ssize_t sent =
      server.kernel.send(self.fd, server.buffer, static_cast<std::size_t>(got), MSG_NOSIGNAL);
  if (sent != got) [[unlikely]]
    return short_send(server, self, got, sent);
  if (server.trigger == Trigger::level) return;
  if (server.trigger == Trigger::edge && got < static_cast<ssize_t>(sizeof server.buffer) &&
      event.short_means_drained()) [[likely]]
    return server.poller.drained(self.token, Interest::readable);
  rest(server, self, event, got);
}

void on_listener(Server& server, Watched& self, const Event&) {
  for (int client; (client = server.kernel.accept(self.fd, nullptr, nullptr)) >= 0;)
    watch(server, client, on_client);
  server.poller.drained(self.token, Interest::readable);
  if (server.trigger == Trigger::oneshot)
    (void)server.poller.modify(self.token, Interest::readable);
}

Trigger trigger_of(std::string_view name) {
  if (name == "edge") return Trigger::edge;
  return name == "oneshot" ? Trigger::oneshot : Trigger::level;
}

}  // namespace

void bench::serve_echo(Kernel& kernel, int port, std::string_view backend,
                       std::string_view trigger) {
  const auto poller = make_poller(kernel, backend).value();
  static Server server{{}, kernel, *poller, trigger_of(trigger)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<in_port_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const Fd listener =
      bench::given_listener >= 0
          ? Fd(kernel, bench::given_listener)
          : listen_on(kernel, {reinterpret_cast<const sockaddr*>(&address), sizeof address})
                .value();
  watch(server, listener.get(), on_listener);
  for (;;) {
    const auto batch = poller->wait(never);
    for (const Event& event : batch.value()) {
      auto& watched = *reinterpret_cast<Watched*>(event.data);
      watched.on_event(server, watched, event);
    }
  }
}
