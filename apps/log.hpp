// A standard stream that is written without ever blocking: logs, notes and events are less
// important than the loop that reports them.
//
// What the kernel does that shaped this file: O_NONBLOCK belongs to the open file, which other
// processes share, so it must not be set on a stream that was inherited. A pipe or a terminal is
// opened once more for us alone (/proc/self/fd), a socket takes MSG_DONTWAIT with each call, and
// what allows neither is written in pieces that poll(2) says fit.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "duolu/base/time.hpp"
#include "duolu/kernel/fd.hpp"
#include "duolu/kernel/kernel.hpp"

namespace duolu::apps {

/// Calls from any thread.
class Log {
 public:
  /// How much waits for a reader that is slow. Then entries are dropped, all of them until the
  /// reader has taken what waits, and are counted.
  static constexpr std::size_t most = std::size_t{256} * 1024;

  Log(Kernel& kernel, int fd) noexcept : kernel_(kernel), fd_(fd) {}
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  /// Writes an entry, keeps what is not taken, or drops it. Never blocks, never throws.
  void write(std::string_view entry) noexcept;
  /// Writes more of what waits. Whether nothing waits any more.
  bool flush() noexcept;
  /// Gives the reader until `deadline` to take what waits.
  bool finish(Instant deadline) noexcept;

  /// The entry that reports how many were dropped, once the reader is back.
  void report_dropped_as(std::function<std::string(std::uint64_t)> notice);
  /// Whether something waits, or was dropped without having been reported.
  [[nodiscard]] bool behind() const noexcept;
  /// What the last write(2) failed with; 0 if it did not, EAGAIN if the reader is slow.
  [[nodiscard]] int error() const noexcept;

 private:
  bool flush_locked() noexcept;
  bool write_out(std::string_view& text) noexcept;
  ssize_t put(std::string_view text) noexcept;
  int reopened(const struct stat& status) noexcept;

  Kernel& kernel_;
  const int fd_;
  mutable std::mutex mutex_;
  std::string waiting_{};  ///< Behind `taken_`: not yet written.
  std::size_t taken_ = 0;
  std::uint64_t dropped_ = 0;
  int error_ = 0;
  bool gone_ = false;  ///< Nobody will ever read (EPIPE): `| head -1`.
  std::function<std::string(std::uint64_t)> notice_{};
  Fd own_{};  ///< The same file, opened once more; of that identity:
  std::uint64_t device_ = 0;
  std::uint64_t file_ = 0;
};

/// Those of the process: standard output and standard error.
Log& output_log();
Log& error_log();

/// At the end of the program: the time that readers have for what still waits.
constexpr Duration time_for_readers = std::chrono::seconds(1);

}  // namespace duolu::apps
