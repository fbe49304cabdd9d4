// peer_libuv PORT: libuv with one buffer for all reads and uv_try_write first.
#include <uv.h>

#include "../echo.hpp"

namespace {

struct Connection {
  uv_tcp_t stream;  // first: so the pointer from libuv is the connection's
  uv_write_t request;
  std::string unsent;
};

Connection& connection_of(uv_stream_t* stream) { return *reinterpret_cast<Connection*>(stream); }

void end(uv_stream_t* stream) {
  uv_close(reinterpret_cast<uv_handle_t*>(stream), [](uv_handle_t* handle) {
    delete reinterpret_cast<Connection*>(handle);
    bench::closed();
  });
}

void lend_buffer(uv_handle_t*, std::size_t, uv_buf_t* buffer) {
  *buffer = uv_buf_init(bench::buffer, sizeof bench::buffer);
}

void on_read(uv_stream_t* stream, ssize_t got, const uv_buf_t*);

void on_written(uv_write_t* request, int status) {
  if (status < 0 || uv_read_start(request->handle, lend_buffer, on_read) < 0) end(request->handle);
}

/// libuv writes the rest; meanwhile nothing is read.
[[gnu::cold, gnu::noinline]] void write_rest(uv_stream_t* stream, std::string_view rest) {
  Connection& connection = connection_of(stream);
  connection.unsent = rest;
  uv_read_stop(stream);
  const uv_buf_t piece =
      uv_buf_init(connection.unsent.data(), static_cast<unsigned>(connection.unsent.size()));
  if (uv_write(&connection.request, stream, &piece, 1, on_written) < 0) end(stream);
}

void on_read(uv_stream_t* stream, ssize_t got, const uv_buf_t*) {
  if (got == 0) return;
  if (got < 0) return end(stream);
  const uv_buf_t piece = uv_buf_init(bench::buffer, static_cast<unsigned>(got));
  const int sent = uv_try_write(stream, &piece, 1);
  if (sent == got) [[likely]]
    return;
  if (sent < 0 && sent != UV_EAGAIN) return end(stream);
  const auto done = static_cast<std::size_t>(sent < 0 ? 0 : sent);
  write_rest(stream, {bench::buffer + done, static_cast<std::size_t>(got) - done});
}

void on_connection(uv_stream_t* listener, int status) {
  if (status < 0) return;
  auto* connection = new Connection;
  uv_tcp_init(listener->loop, &connection->stream);
  auto* stream = reinterpret_cast<uv_stream_t*>(connection);
  if (uv_accept(listener, stream) < 0 || uv_read_start(stream, lend_buffer, on_read) < 0)
    end(stream);
}

}  // namespace

int main(int argc, char** argv) {
  const int fd = bench::listen_on(bench::start(argc, argv).port, SOCK_NONBLOCK);
  uv_loop_t* loop = uv_default_loop();
  uv_tcp_t listener;
  uv_tcp_init(loop, &listener);
  if (uv_tcp_open(&listener, fd) < 0 ||
      uv_listen(reinterpret_cast<uv_stream_t*>(&listener), 4096, on_connection) < 0)
    bench::die("uv_listen");
  return uv_run(loop, UV_RUN_DEFAULT);
}
