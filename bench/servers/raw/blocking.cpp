// raw_blocking PORT: one client after the other, with calls that block.
#include "../echo.hpp"
#include "../servers.hpp"

int bench::raw_blocking(int argc, char** argv) {
  const int listener = bench::listen_on(bench::start(argc, argv).port, 0);
  for (;;)
    if (const int client = ::accept(listener, nullptr, nullptr); client >= 0)
      bench::echo_to_the_end(client);
}
