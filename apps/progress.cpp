#include "apps/progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

#include "apps/journal.hpp"
#include "apps/log.hpp"
#include "apps/text.hpp"
#include "duolu/kernel/host.hpp"

namespace duolu::apps {
namespace {

constexpr const char* erase = "\r\033[K";

/// Read each time: terminals change their size. If it is unknown, the usual width.
std::size_t columns() {
  winsize size{};
  // tidy: allow(banned-call) It is about a terminal, not the measurement; no Kernel has one.
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0 ? size.ws_col
                                                                            : line_width;
}

}  // namespace

ProgressLine::ProgressLine() : on_(real_host().isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (on_ && error_log().flush()) write_text(stderr, erase);
}

void ProgressLine::show(const std::function<std::string(std::size_t)>& text) {
  // A terminal that is stopped (Ctrl-S) gets the next line, not all that it has missed.
  if (on_ && error_log().flush()) write_text(stderr, erase + text(columns()));
}

}  // namespace duolu::apps
