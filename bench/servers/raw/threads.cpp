// raw_threads PORT: a thread for each connection, with calls that block.
#include <pthread.h>

#include <cstdint>

#include "../echo.hpp"
#include "../servers.hpp"

namespace {

void* serve(void* client) {
  bench::echo_to_the_end(static_cast<int>(reinterpret_cast<std::intptr_t>(client)));
  return nullptr;
}

}  // namespace

int bench::raw_threads(int argc, char** argv) {
  const int listener = bench::listen_on(bench::start(argc, argv).port, 0);
  pthread_attr_t detached;
  ::pthread_attr_init(&detached);
  ::pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  // Not the usual 8 MiB: the buffer, and what the C library needs.
  ::pthread_attr_setstacksize(&detached, 4 * bench::buffer_size);
  for (;;) {
    const int client = ::accept(listener, nullptr, nullptr);
    pthread_t thread;
    if (client >= 0 && ::pthread_create(&thread, &detached, serve,
                                        reinterpret_cast<void*>(std::intptr_t{client})) != 0)
      ::close(client);
  }
}
