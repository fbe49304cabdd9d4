// Calls that do not block, and nothing that waits: one thread asks everybody, again and again.
//
//   03_nonblocking_echo [--port 8888]
//
// Try: `nc localhost 8888` in two terminals, and `top` in a third. Notice: both are served at once,
// by one thread; and with nobody saying anything, a processor is busy hearing "not yet" (EAGAIN),
// as the report of each second shows. What is missing is a call that sleeps until one of many has
// something: select, poll and epoll.
#include <list>

#include "duolu/kernel/host.hpp"
#include "tutorial.hpp"

using namespace tutorial;
using namespace std::chrono_literals;

namespace {

struct Client {
  duolu::Fd fd;
  std::string unsent = {};  // received, and not taken back by the client yet
};

/// One attempt to read, or to write what was read: the result of the system call, 0 for the end.
ssize_t attempt(Client& client) {
  if (client.unsent.empty()) {
    char buffer[4096];
    const ssize_t size = kernel.recv(client.fd.get(), buffer, sizeof buffer, 0);
    if (size > 0) client.unsent.assign(buffer, static_cast<std::size_t>(size));
    return size;
  }
  const std::string& bytes = client.unsent;
  const ssize_t sent = kernel.send(client.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent > 0) client.unsent.erase(0, static_cast<std::size_t>(sent));
  return sent;
}

}  // namespace

int main(int, char** argv) {
  const duolu::Fd listener = listen_on_localhost(number_after(argv, "--port", 8888));
  std::list<Client> clients;
  long attempts = 0;
  long in_vain = 0;
  duolu::Duration used = duolu::real_host().thread_cpu_time();
  duolu::Instant next_report = duolu::after(kernel.now(), 1s);
  for (;;) {
    const int accepted = kernel.accept(listener.get(), nullptr, nullptr);
    if (accepted >= 0) clients.push_back({duolu::Fd(kernel, accepted)});
    attempts += 1;
    in_vain += accepted < 0 ? 1 : 0;
    for (auto client = clients.begin(); client != clients.end();) {
      const ssize_t result = attempt(*client);
      attempts += 1;
      in_vain += result == -EAGAIN ? 1 : 0;
      const bool open = result > 0 || result == -EAGAIN || result == -EINTR;
      client = open ? std::next(client) : clients.erase(client);
    }
    if (kernel.now() < next_report) continue;
    next_report = duolu::after(kernel.now(), 1s);
    const duolu::Duration now_used = duolu::real_host().thread_cpu_time();
    std::printf("%zu clients, %ld system calls, %ld of them in vain, %lld ms of processor time\n",
                clients.size(), attempts, in_vain, static_cast<long long>((now_used - used) / 1ms));
    used = now_used;
    attempts = in_vain = 0;
  }
}
