// select: sleeps until one of many descriptors has something, standard input among them.
//
//   04_select_echo [--port 5000]
//
// Try: `nc -C localhost 5000` in two terminals; an empty line after a line ends that conversation,
// a line typed here ends the program. Notice: one call waits for new clients, for what clients say,
// for room to answer them, and for the keyboard; an idle server sleeps.
#include <algorithm>
#include <map>

#include "tutorial.hpp"

using namespace tutorial;

namespace {

struct Client {
  duolu::Fd fd;
  std::string unsent = {};  // while there is some, wait for writing, and read no more
  std::string last = {};    // the end of what was received: CRLF CRLF may come in pieces
};

/// Reads once, or writes once. False when the conversation is over.
bool serve(Client& client) {
  if (client.unsent.empty()) {
    char buffer[4096];
    const ssize_t size = kernel.recv(client.fd.get(), buffer, sizeof buffer, 0);
    if (size <= 0) return size == -EAGAIN;
    client.unsent.assign(buffer, static_cast<std::size_t>(size));
    client.last += client.unsent;
    client.last.erase(0, client.last.size() - std::min<std::size_t>(client.last.size(), 4));
  }
  if (!send_some(client.fd, client.unsent)) return false;
  return !client.unsent.empty() || client.last != "\r\n\r\n";
}

/// A line ends the program; the end of the input only means that none will come.
bool is_line(const char* text, ssize_t size) {
  return size > 0 && std::string_view(text, static_cast<std::size_t>(size)).contains('\n');
}

}  // namespace

int main(int, char** argv) {
  const duolu::Fd listener = listen_on_localhost(number_after(argv, "--port", 5000));
  std::map<int, Client> clients;
  for (bool has_input = true, has_room = true;;) {
    std::vector<int> to_read;
    std::vector<int> to_write;
    if (has_input) to_read.push_back(0);
    if (has_room) to_read.push_back(listener.get());
    for (const auto& [fd, client] : clients)
      (client.unsent.empty() ? to_read : to_write).push_back(fd);

    const duolu::Selected ready = duolu::select(to_read, to_write, {}).value();

    std::vector<int> now = ready.writable;
    now.insert(now.end(), ready.readable.begin(), ready.readable.end());
    for (const int fd : now) {
      if (fd == 0) {
        char text[4096];
        const ssize_t size = kernel.read(0, text, sizeof text);
        if (is_line(text, size)) return 0;
        has_input = size > 0 || size == -EAGAIN;
      } else if (fd == listener.get()) {
        const int accepted = kernel.accept(fd, nullptr, nullptr);
        if (accepted >= 0) clients.try_emplace(accepted, duolu::Fd(kernel, accepted));
        has_room = accepted != -EMFILE && accepted != -ENFILE;  // or wait until somebody goes
      } else if (!serve(clients.at(fd))) {
        has_room = clients.erase(fd) > 0;
      }
    }
  }
}
