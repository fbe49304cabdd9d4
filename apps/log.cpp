#include "apps/log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <utility>

#include "apps/text.hpp"

namespace duolu::apps {
namespace {

std::string plain_notice(std::uint64_t count) {
  return fmt::format("duolu: dropped {} that were not read in time\n", counted(count, "line"));
}

}  // namespace

void Log::write(std::string_view entry) noexcept {
  const std::lock_guard lock(mutex_);
  if (gone_) return;
  const bool level = flush_locked();
  if (gone_) return;
  // Once one was dropped, all are: so there is one gap, and the count is written in its place.
  if (!level && (dropped_ > 0 || waiting_.size() - taken_ >= most)) {
    ++dropped_;
    return;
  }
  // An entry may be longer than `most` (the tree of all tasks): it is kept whole.
  std::string_view rest = entry;
  if (level && write_out(rest)) return;
  if (gone_) return;
  try {
    waiting_ += rest;
  } catch (const std::exception&) {  // no memory: the entry is cut here, the next begins a line
    ++dropped_;
    if (level && rest.size() < entry.size()) waiting_ = "\n";  // fits without memory
  }
}

bool Log::flush() noexcept {
  const std::lock_guard lock(mutex_);
  return flush_locked();
}

bool Log::finish(Instant deadline) noexcept {
  constexpr Duration pause = std::chrono::milliseconds(10);
  while (!flush()) {
    const Instant now = kernel_.now();
    if (now >= deadline || error() != EAGAIN) return false;
    // In small steps: poll(2) reports some terminals as writable that take nothing.
    const timespec step{.tv_sec = 0, .tv_nsec = std::min(pause, deadline - now).count()};
    pollfd writable{.fd = fd_, .events = POLLOUT, .revents = 0};
    if (kernel_.ppoll(&writable, 1, &step) == 1 && !flush())
      (void)sleep_until(kernel_, after(now, pause));
  }
  return true;
}

void Log::report_dropped_as(std::function<std::string(std::uint64_t)> notice) {
  const std::lock_guard lock(mutex_);
  notice_ = std::move(notice);
}

bool Log::behind() const noexcept {
  const std::lock_guard lock(mutex_);
  return !waiting_.empty() || dropped_ > 0;
}

int Log::error() const noexcept {
  const std::lock_guard lock(mutex_);
  return error_;
}

bool Log::flush_locked() noexcept {
  for (;;) {
    std::string_view rest = std::string_view(waiting_).substr(taken_);
    const bool all = write_out(rest);
    taken_ = waiting_.size() - rest.size();
    if (!all && !gone_) return false;
    taken_ = 0;
    if (waiting_.size() > most / 4)
      std::string().swap(waiting_);  // a stall is rare, its memory is not kept
    else
      waiting_.clear();
    if (gone_ || dropped_ == 0) return true;
    try {
      waiting_ = notice_ ? notice_(dropped_) : plain_notice(dropped_);
    } catch (const std::exception&) {  // no memory: later
      return false;
    }
    dropped_ = 0;
  }
}

/// Removes the written part from `text`. Returns whether that was all.
bool Log::write_out(std::string_view& text) noexcept {
  while (!text.empty()) {
    const ssize_t written = put(text);
    if (written == -EINTR) continue;
    error_ = written < 0 ? static_cast<int>(-written) : 0;
    if (written == -EPIPE || written == -ECONNRESET) gone_ = true;
    if (written < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

ssize_t Log::put(std::string_view text) noexcept {
  struct stat status{};
  if (const int result = kernel_.fstat(fd_, &status); result < 0) return result;
  if (S_ISSOCK(status.st_mode))
    return kernel_.send(fd_, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (const int own = reopened(status); own >= 0)
    return kernel_.write(own, text.data(), text.size());
  if (S_ISREG(status.st_mode)) return kernel_.write(fd_, text.data(), text.size());
  // pipe(7): a pipe that is writable has room for PIPE_BUF, unless another process fills it first.
  constexpr timespec at_once{};
  pollfd writable{.fd = fd_, .events = POLLOUT, .revents = 0};
  const int ready = kernel_.ppoll(&writable, 1, &at_once);
  if (ready <= 0) return ready < 0 ? ready : -EAGAIN;
  return kernel_.write(fd_, text.data(), std::min<std::size_t>(text.size(), _POSIX_PIPE_BUF));
}

/// A descriptor of our own for the file, which may have been replaced (dup2). Negative if there is
/// none: the file is not a pipe or terminal, or /proc does not allow it.
int Log::reopened(const struct stat& status) noexcept {
  if (!S_ISCHR(status.st_mode) && !S_ISFIFO(status.st_mode)) return -1;
  // pty(7): opening the multiplexer again gives another terminal.
  if (S_ISCHR(status.st_mode) && status.st_rdev == ::makedev(5, 2)) return -1;
  if (device_ == status.st_dev && file_ == status.st_ino) return own_.get();
  device_ = status.st_dev;
  file_ = status.st_ino;
  own_.reset();
  const std::string path = "/proc/self/fd/" + std::to_string(fd_);  // fits without memory
  const int opened = kernel_.open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (opened >= 0) own_ = Fd(kernel_, opened);
  return own_.get();
}

Log& output_log() {
  static Log log(real_kernel(), STDOUT_FILENO);
  return log;
}

Log& error_log() {
  static Log log(real_kernel(), STDERR_FILENO);
  return log;
}

}  // namespace duolu::apps
