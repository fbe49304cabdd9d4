// Makes one system call COUNT times, directly through the C library or through the Kernel, for
// kernel_cost.sh to count the instructions of: `kernel_cost direct|kernel CALL COUNT`.
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "duolu/kernel/kernel.hpp"

namespace {

char buffer[64];

/// The body of both loops: the call, and a check of its result as every caller makes it.
template <class Call>
int repeat(long count, Call call) {
  for (long i = 0; i < count; ++i)
    if (call() < 0) return 1;
  return 0;
}

/// Converts the C library's failures to the Kernel's form.
long outcome(long result) { return result == -1 ? -errno : result; }

int run(std::string_view way, std::string_view call, long count) {
  // Not const, and read from a pointer, so that the compiler cannot know the type: as in a Poller.
  duolu::Kernel* volatile hidden = &duolu::real_kernel();
  duolu::Kernel& kernel = *hidden;
  const bool direct = way == "direct";
  if (!direct && way != "kernel") return 2;

  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0) return 1;
  const int counter = eventfd(0, EFD_NONBLOCK);
  if (counter < 0) return 1;
  const std::uint64_t one = 1;

  if (call == "getpid")
    return direct ? repeat(count, [] { return getpid(); })
                  : repeat(count, [&] { return kernel.getpid(); });
  if (call == "write")
    return direct ? repeat(count, [&] { return outcome(write(counter, &one, sizeof one)); })
                  : repeat(count, [&] { return kernel.write(counter, &one, sizeof one); });
  if (call == "send+recv")
    return direct
               ? repeat(count,
                        [&] {
                          const long sent = outcome(send(fds[0], buffer, sizeof buffer, 0));
                          return sent < 0 ? sent : outcome(recv(fds[1], buffer, sizeof buffer, 0));
                        })
               : repeat(count, [&] {
                   const long sent = kernel.send(fds[0], buffer, sizeof buffer, 0);
                   return sent < 0 ? sent : kernel.recv(fds[1], buffer, sizeof buffer, 0);
                 });
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const int result = argc == 4 ? run(argv[1], argv[2], std::atol(argv[3])) : 2;
  if (result == 2) std::fputs("kernel_cost direct|kernel getpid|write|send+recv COUNT\n", stderr);
  return result;
}
