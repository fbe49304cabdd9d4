// select with a timeout: the program gets its turn although nobody says anything.
//
//   06_select_upper [--port 8081]
//
// Try: `16_line_client`, or `nc localhost 8081`. Notice: a stream has no messages. Two that were
// sent back to back may arrive in one piece, or one in two, and every byte is answered all the
// same; and what the kernel does not take now is kept.
#include <cctype>
#include <map>

#include "tutorial.hpp"

using namespace tutorial;
using namespace std::chrono_literals;

namespace {

struct Client {
  duolu::Fd fd;
  std::string answer = {};
};

/// False when the client has gone. It is read from only when all it said has been answered.
bool read_and_upper(Client& client) {
  char buffer[4096];
  const ssize_t size = kernel.recv(client.fd.get(), buffer, sizeof buffer, 0);
  for (ssize_t i = 0; i < size; ++i)
    client.answer += static_cast<char>(std::toupper(static_cast<unsigned char>(buffer[i])));
  return size > 0 || size == -EAGAIN;
}

}  // namespace

int main(int, char** argv) {
  const duolu::Fd listener = listen_on_localhost(number_after(argv, "--port", 8081));
  std::map<int, Client> clients;
  for (bool was_idle = false, has_room = true;;) {
    std::vector<int> to_read;
    std::vector<int> to_write;
    if (has_room) to_read.push_back(listener.get());
    for (const auto& [fd, client] : clients)
      (client.answer.empty() ? to_read : to_write).push_back(fd);

    const duolu::Selected ready = duolu::select(to_read, to_write, {}, 500ms).value();

    const bool idle = ready.readable.empty() && ready.writable.empty();
    if (idle && !was_idle) std::printf("nothing for half a second, %zu clients\n", clients.size());
    was_idle = idle;
    for (const int fd : ready.writable)
      if (Client& client = clients.at(fd); !send_some(client.fd, client.answer))
        has_room = clients.erase(fd) > 0;
    for (const int fd : ready.readable) {
      if (fd == listener.get()) {
        const int accepted = kernel.accept(fd, nullptr, nullptr);
        if (accepted >= 0) clients.try_emplace(accepted, duolu::Fd(kernel, accepted));
        has_room = accepted != -EMFILE && accepted != -ENFILE;  // or wait until somebody goes
      } else if (!read_and_upper(clients.at(fd))) {
        has_room = clients.erase(fd) > 0;
      }
    }
  }
}
