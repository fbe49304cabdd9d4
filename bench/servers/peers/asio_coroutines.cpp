// peer_asio_coroutines PORT: Asio with a coroutine for each connection, which holds its buffer.
#include "asio.hpp"

namespace {

using Task = asio::awaitable<void, bench::Executor>;
constexpr asio::use_awaitable_t<bench::Executor> use_awaitable;

Task serve(bench::Socket socket) {
  char bytes[bench::buffer_size];
  asio::error_code error;
  socket.non_blocking(true);
  for (;;) {
    const std::size_t got = co_await socket.async_read_some(
        asio::buffer(bytes), asio::redirect_error(use_awaitable, error));
    std::size_t sent = 0;
    if (error || !bench::try_write(socket, bytes, got, sent)) break;
    if (sent == got) [[likely]]
      continue;
    co_await asio::async_write(socket, asio::buffer(bytes + sent, got - sent),
                               asio::redirect_error(use_awaitable, error));
    if (error) break;
  }
  socket.close(error);
  bench::closed();
}

Task accept_all(bench::Acceptor acceptor) {
  for (;;) {
    asio::error_code error;
    bench::Socket socket =
        co_await acceptor.async_accept(asio::redirect_error(use_awaitable, error));
    if (!error) asio::co_spawn(bench::context, serve(std::move(socket)), asio::detached);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const in_port_t port = bench::start(argc, argv).port;
  asio::co_spawn(bench::context, accept_all(bench::acceptor_on(port)), asio::detached);
  bench::context.run();
}
