// What the two servers with Asio share: a hint that there is one thread, so that it takes no locks,
// and sockets that know their executor's type, so that nothing is called through a pointer.
#pragma once

#define ASIO_STANDALONE
#define ASIO_NO_DEPRECATED
#define ASIO_HAS_CO_AWAIT  // clang has it too, which Asio 1.22 does not detect
#include <asio.hpp>

#include "../echo.hpp"

namespace bench {

using Executor = asio::io_context::executor_type;
using Socket = asio::basic_stream_socket<asio::ip::tcp, Executor>;
using Acceptor = asio::basic_socket_acceptor<asio::ip::tcp, Executor>;

inline asio::io_context context{ASIO_CONCURRENCY_HINT_UNSAFE};

inline Acceptor acceptor_on(in_port_t port) {
  return {context, asio::ip::tcp::v4(), listen_on(port, SOCK_NONBLOCK)};
}

/// Writes what the socket takes at once, which is nearly always everything: only the rest needs an
/// operation. False: the connection has ended.
inline bool try_write(Socket& socket, const char* bytes, std::size_t size, std::size_t& sent) {
  asio::error_code error;
  sent = socket.write_some(asio::buffer(bytes, size), error);
  return !error || error == asio::error::would_block;
}

}  // namespace bench
