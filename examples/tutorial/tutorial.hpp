// What every program of the tutorial needs and none is about: options, a socket that listens on
// localhost or is connected there, the name of a peer, bytes made safe to print.
#pragma once

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "duolu/net/address.hpp"
#include "duolu/poll/select.hpp"

namespace tutorial {

/// What is printed appears line by line, in a pipe as on a terminal.
inline const int line_by_line = std::setvbuf(stdout, nullptr, _IOLBF, 0);

/// Its calls are the system calls, never block on a socket of its own, and give -errno for errors.
inline duolu::Kernel& kernel = duolu::real_kernel();

/// Whether the command line has this switch.
inline bool given(char** argv, std::string_view name) {
  while (*argv != nullptr && *argv != name) ++argv;
  return *argv != nullptr;
}

/// The number after an option, or else `otherwise`.
inline std::uint16_t number_after(char** argv, std::string_view name, std::uint16_t otherwise) {
  while (*argv != nullptr && *argv != name) ++argv;
  if (*argv == nullptr) return otherwise;
  const std::string_view text = argv[1] != nullptr ? argv[1] : "";
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), number);
  if (error == std::errc() && end == text.end()) return number;
  std::fprintf(stderr, "%s needs a number from 0 to 65535\n", argv[0]);
  std::exit(2);
}

[[noreturn]] inline void fail(const char* what, long error) {
  std::fprintf(stderr, "%s: %s\n", what, std::strerror(static_cast<int>(error)));
  std::exit(1);
}

inline duolu::Address localhost(std::uint16_t port) {
  duolu::Endpoint endpoint;
  endpoint.host = "127.0.0.1";
  endpoint.port = port;
  return duolu::resolve(kernel, endpoint).value().front();
}

/// socket, SO_REUSEADDR, bind, listen; non-blocking. Port 0: the system chooses one.
inline duolu::Fd listen_on_localhost(std::uint16_t port) {
  auto listener = duolu::listen_on(kernel, localhost(port));
  if (!listener) fail("cannot listen on localhost", listener.error().value());
  duolu::Address bound;
  (void)kernel.getsockname(listener->get(), bound.data(), bound.size_slot());
  std::printf("starting up on localhost port %d\n", bound.port());
  return std::move(*listener);
}

/// A non-blocking socket, connected.
inline duolu::Fd connect_to_localhost(std::uint16_t port) {
  const duolu::Address server = localhost(port);
  const int socket = kernel.socket(server.family(), SOCK_STREAM, 0);
  if (socket < 0) fail("cannot make a socket", -socket);
  duolu::Fd fd(kernel, socket);
  int error = -kernel.connect(fd.get(), server.data(), server.size());
  if (error == EINPROGRESS) {
    const int connecting[] = {fd.get()};
    (void)duolu::select({}, connecting, {});  // writable: connected, or failed
    socklen_t size = sizeof error;
    (void)kernel.getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  }
  if (error != 0) fail("cannot connect to localhost", error);
  return fd;
}

/// Sends what the kernel takes now, and keeps the rest in `bytes`. False when the peer has gone.
/// MSG_NOSIGNAL: that is an error to handle, and not this program's end by SIGPIPE.
inline bool send_some(const duolu::Fd& fd, std::string& bytes) {
  const ssize_t sent = kernel.send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent > 0) bytes.erase(0, static_cast<std::size_t>(sent));
  return sent >= 0 || sent == -EAGAIN || sent == -EINTR;
}

/// "('127.0.0.1', 55821)", as Python has it; "(unknown)" if a reset has left no address to tell.
inline std::string name_of(const duolu::Address& address) {
  const std::string text = address.to_string();  // tcp://127.0.0.1:55821
  if (!text.starts_with("tcp://")) return "(" + text + ")";
  return "('" + text.substr(6, text.rfind(':') - 6) + "', " + std::to_string(address.port()) + ")";
}

/// What a peer sent, with nothing in it that a terminal obeys.
inline std::string printable(std::string_view bytes, std::string_view as_they_are = "") {
  std::string text;
  for (const char c : bytes) {
    const bool plain = c >= ' ' && c <= '~' && c != '\\' && c != '"';
    if (plain || as_they_are.contains(c)) {
      text += c;
    } else {
      char code[5];
      std::snprintf(code, sizeof code, "\\x%02x", static_cast<unsigned char>(c));
      text += c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : code;
    }
  }
  return text;
}

/// Prints what has come, between dashes.
inline void show(std::string_view bytes) {
  const std::string dashes(40, '-');
  const char* newline = bytes.ends_with('\n') ? "" : "\n";
  std::printf("%s\n%s%s%s\n", dashes.c_str(), printable(bytes, "\n").c_str(), newline,
              dashes.c_str());
}

}  // namespace tutorial
