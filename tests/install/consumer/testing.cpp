// tidy: allow(dead-file) Built by install_test.sh, as a user's project.
#include <cerrno>

#include "duolu/poll/backends.hpp"
#include "duolu/testing/fault.hpp"
#include "duolu/testing/forwarding.hpp"

int main() {
  duolu::ForwardingKernel forwarding;
  duolu::FaultKernel kernel(forwarding);
  kernel.fail_always(duolu::Call::pipe, EMFILE);
  kernel.fail_always(duolu::Call::eventfd, EMFILE);
  const auto poller = duolu::make_poller(kernel, "poll");
  return !poller && poller.error() == std::errc::too_many_files_open ? 0 : 1;
}
