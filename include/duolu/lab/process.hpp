// Layer: lab. Servers as child processes, cores, and what the kernel counts for a process.
//
// These calls are made here and not in Kernel: no simulation runs other programs.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "duolu/base/result.hpp"
#include "duolu/base/time.hpp"

namespace duolu::lab {

/// The descriptor that a child finds its listening socket at.
inline constexpr int child_listener = 3;

/// A server that runs. The destructor kills it, and waits for its end.
class Child {
 public:
  /// Runs `words` (a program's path, then its arguments). It has `listener` as descriptor 3,
  /// nothing as standard input and output, and its standard error is kept for complaint().
  [[nodiscard]] static Result<Child> start(const std::vector<std::string>& words, int listener);
  Child(Child&& other) noexcept;
  Child& operator=(Child&&) = delete;
  ~Child();

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// Why it has ended by itself, with the last line that it wrote; nullopt if it runs.
  [[nodiscard]] std::optional<std::string> ended();
  /// Its exit code after ended(), or -1.
  [[nodiscard]] int exit_code() const noexcept { return exit_code_; }

 private:
  Child(pid_t pid, int errors) noexcept : pid_(pid), errors_(errors) {}
  [[nodiscard]] std::string complaint() const;

  pid_t pid_;   ///< -1: it has ended, and was waited for.
  int errors_;  ///< A file without a name.
  int exit_code_ = -1;
  std::string end_;
};

/// The counts of a process so far.
struct ProcessUsage {
  Duration cpu{};  ///< Of all its threads, ended ones too.
  // The same in clock ticks, which are too coarse for a time, but not for a share of many of them.
  std::uint64_t user_ticks = 0;
  std::uint64_t system_ticks = 0;
  std::uint64_t switches = 0;  ///< Voluntary context switches of the threads there are.
  Duration waited{};           ///< Its first thread: ready to run, without a core.
  std::size_t threads = 0;
};
/// Nullopt if the process has ended, or this system does not show them.
[[nodiscard]] std::optional<ProcessUsage> usage_of(pid_t pid);
/// How long the calling thread has been ready to run without a core; zero if not shown.
[[nodiscard]] Duration waited_of_this_thread();

/// The cores for a server and for its client: not two threads of one core, if there are others.
/// Only one if this process may use only one, none if the system does not show them.
[[nodiscard]] std::vector<int> choose_cores();
/// Puts the calling thread, and the children it starts from now on, on one core. Returns whether
/// that worked.
bool pin_to(int core) noexcept;
/// The cores that this process may use, to be restored after pin_to().
[[nodiscard]] std::vector<int> allowed_cores();
bool allow(const std::vector<int>& cores) noexcept;

}  // namespace duolu::lab
