// tidy: allow(dead-file) Built by install_test.sh, as a user's project.
#include <cstdio>

#include "duolu/kernel/kernel.hpp"
#include "duolu/poll/backends.hpp"

int main() {
  duolu::Kernel& kernel = duolu::real_kernel();
  const auto poller = duolu::make_poller(kernel);
  if (!poller) {
    std::puts(poller.error().message().c_str());
    return 1;
  }
  (*poller)->wake();
  const auto batch = (*poller)->wait(duolu::never);
  if (!batch || !batch->woken()) return 1;

  // Compiles only without duolu's own -Wconversion -Werror: those are not for users.
  const long wide = 1;
  const int narrow = wide;
  return narrow - 1;
}
