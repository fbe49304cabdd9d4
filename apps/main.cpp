// The one binary: reads the command line, runs the verb, turns failures into one line and a code.

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>

#include <cstdio>
#include <exception>

#include "apps/command.hpp"
#include "apps/journal.hpp"
#include "apps/log.hpp"
#include "apps/verbs.hpp"
#include "duolu/kernel/kernel.hpp"

namespace {

/// If a standard stream is closed at the start, the first file opened would take its place.
void open_standard_streams(duolu::Kernel& kernel) {
  for (int fd = 0; fd <= 2; ++fd)
    if (kernel.fcntl(fd, F_GETFD, 0) < 0) ::open("/dev/null", O_RDWR);
}

}  // namespace

int main(int argc, char** argv) {
  duolu::Kernel& kernel = duolu::real_kernel();
  open_standard_streams(kernel);
  struct sigaction ignore{};
  ignore.sa_handler = SIG_IGN;
  kernel.sigaction(SIGPIPE, &ignore, nullptr);  // a closed reader is an error of write
  int code = duolu::apps::exit_failed;
  try {
    code = duolu::apps::run_command(argc, argv);
  } catch (const std::exception& error) {
    duolu::apps::write_line(stderr, fmt::format("duolu: {}", error.what()));
  }
  (void)duolu::apps::error_log().finish(duolu::after(kernel.now(), duolu::apps::time_for_readers));
  return code;
}
