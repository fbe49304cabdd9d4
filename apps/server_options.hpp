// What both servers take and give: server.hpp in coroutines, callback_server.hpp in callbacks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "duolu/base/time.hpp"

namespace duolu::apps {

struct ServerOptions {
  /// Close a connection once its input so far ends with this, after everything was answered.
  std::string close_after{};
  /// Close a connection after so long without a byte in either direction; zero: never.
  Duration idle_timeout{};
  /// Serve no more than so many at a time, the others wait; zero: no limit.
  std::size_t max_connections = 0;
  /// How long stopping may take before connections are cut.
  Duration grace = std::chrono::seconds(5);
  /// A line or the end of standard input stops the server.
  bool stop_on_stdin = false;
  /// Report tasks that hold the loop for so long; zero: do not. Coroutines only.
  Duration stall{};
};

struct Totals {
  std::uint64_t accepted = 0;
  std::uint64_t messages = 0;  ///< Pieces of input as they were read.
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t failed = 0;  ///< Connections that ended with an error.
  std::uint64_t cut = 0;     ///< Connections that were cut when the grace time was over.
  std::size_t peak = 0;      ///< Most connections at a time.
};

}  // namespace duolu::apps
