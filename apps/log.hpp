// A standard stream that is written without ever blocking, since logs, notes and events are less
// important than the loop that writes them.
//
// What the kernel does that shaped this file: O_NONBLOCK belongs to the open file, which other
// processes share, so it must not be set on an inherited stream. A pipe or a terminal is opened
// again for this process alone (/proc/self/fd), a socket takes MSG_DONTWAIT with each call, and
// other files are written in pieces for which poll(2) reports room.
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
  /// The most bytes that wait for a slow reader. Above that all entries are dropped, and counted,
  /// until the reader has taken the waiting ones.
  static constexpr std::size_t most = std::size_t{256} * 1024;

  Log(Kernel& kernel, int fd) noexcept : kernel_(kernel), fd_(fd) {}
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  /// Writes an entry, keeps the part that is not taken, or drops it. Never blocks, never throws.
  void write(std::string_view entry) noexcept;
  /// Writes more of what waits. Returns whether nothing waits any more.
  bool flush() noexcept;
  /// Waits until the reader has taken everything, or `deadline` has passed.
  bool finish(Instant deadline) noexcept;

  /// Sets the entry that reports the number of dropped ones once the reader reads again.
  void report_dropped_as(std::function<std::string(std::uint64_t)> notice);
  /// Whether something waits, or dropped entries are not reported yet.
  [[nodiscard]] bool behind() const noexcept;
  /// The error of the last write(2); 0 for none, EAGAIN if the reader is slow.
  [[nodiscard]] int error() const noexcept;

 private:
  bool flush_locked() noexcept;
  bool write_out(std::string_view& text) noexcept;
  ssize_t put(std::string_view text) noexcept;
  int reopened(const struct stat& status) noexcept;

  Kernel& kernel_;
  const int fd_;
  mutable std::mutex mutex_;
  std::string waiting_{};  ///< From `taken_` on: not yet written.
  std::size_t taken_ = 0;
  std::uint64_t dropped_ = 0;
  int error_ = 0;
  bool gone_ = false;  ///< The reader has closed (EPIPE): `| head -1`.
  std::function<std::string(std::uint64_t)> notice_{};
  Fd own_{};  ///< The same file, opened again; its identity:
  std::uint64_t device_ = 0;
  std::uint64_t file_ = 0;
};

/// The process's standard output and standard error.
Log& output_log();
Log& error_log();

/// At the end of the program: how long to wait for readers.
constexpr Duration time_for_readers = std::chrono::seconds(1);

}  // namespace duolu::apps
