// A thread for each client: blocking calls again, but now only the client's own thread blocks.
//
//   02_threads_echo [--port 8888] [--threads 4]
//
// Try: `nc localhost 8888` in several terminals, with `--threads 2` in three. Notice: clients no
// longer wait for each other, until there are as many as threads. Each thread costs a stack and a
// place in the scheduler, so a server that lets strangers start threads needs that limit.
#include <fcntl.h>

#include <cerrno>
#include <chrono>
#include <semaphore>
#include <system_error>
#include <thread>

#include "tutorial.hpp"

using namespace tutorial;
using namespace std::chrono_literals;

namespace {

/// Talks with one client until it closes or fails. printf takes whole lines from any thread.
void serve(const duolu::Fd client, const std::string& name) {
  std::printf("new connection from %s\n", name.c_str());
  char buffer[4096];
  for (bool open = true; open;) {
    const ssize_t size = recv(client.get(), buffer, sizeof buffer, 0);  // blocks this thread
    if (size < 0 && errno == EINTR) continue;
    open = size > 0;
    for (ssize_t done = 0; open && done < size;) {
      const auto left = static_cast<std::size_t>(size - done);
      const ssize_t sent = send(client.get(), buffer + done, left, MSG_NOSIGNAL);
      if (sent >= 0) done += sent;
      open = sent >= 0 || errno == EINTR;
    }
  }
  std::printf("closing %s\n", name.c_str());
}

}  // namespace

int main(int, char** argv) {
  const duolu::Fd listener = listen_on_localhost(number_after(argv, "--port", 8888));
  (void)fcntl(listener.get(), F_SETFL, 0);  // duolu's descriptors do not block; here they shall
  std::counting_semaphore<> places(number_after(argv, "--threads", 4));
  for (;;) {
    places.acquire();  // when all are taken, clients wait in the listener's queue
    duolu::Address peer;
    int fd = -1;
    while ((fd = accept(listener.get(), peer.data(), peer.size_slot())) < 0)
      if (errno == EMFILE || errno == ENFILE)
        std::this_thread::sleep_for(100ms);  // until somebody goes
      else if (errno != EINTR && errno != ECONNABORTED)
        fail("accept", errno);
    try {  // it ends with its client, or with the program
      std::thread([&places, client = duolu::Fd(kernel, fd), peer]() mutable {
        serve(std::move(client), name_of(peer));
        places.release();
      }).detach();
    } catch (const std::system_error&) {  // no more threads: this client has to go
      places.release();
    }
  }
}
