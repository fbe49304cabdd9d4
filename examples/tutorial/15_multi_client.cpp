// Many connections from one thread: a client multiplexes as a server does.
//
//   15_multi_client [--port 10000] [--connections 2]
//
// Try: it against `05_select_queues`, and watch both. Notice: each message is sent on every
// connection before the first reply is read; and a reply may come in pieces, in any order.
#include <map>

#include "tutorial.hpp"

using namespace tutorial;

namespace {

struct Connection {
  duolu::Fd fd;
  std::string name;
  std::size_t awaited = 0;  // bytes of the reply that are still to come
};

/// Sends a message, all of it: 21 bytes find room, since the replies before it have been read.
bool say(Connection& connection, std::string message) {
  std::printf("%s: sending \"%s\"\n", connection.name.c_str(), message.c_str());
  connection.awaited = message.size();
  return send_some(connection.fd, message) && message.empty();
}

/// Reads what there is of a reply. False when the server has closed.
bool hear(Connection& connection) {
  char bytes[1024];
  const ssize_t size = kernel.recv(connection.fd.get(), bytes, sizeof bytes, 0);
  if (size <= 0) return size == -EAGAIN;
  const std::string_view reply(bytes, static_cast<std::size_t>(size));
  std::printf("%s: received \"%s\"\n", connection.name.c_str(), printable(reply).c_str());
  connection.awaited -= std::min(connection.awaited, reply.size());
  return true;
}

}  // namespace

int main(int, char** argv) {
  const auto port = number_after(argv, "--port", 10000);
  std::printf("connecting to localhost port %d\n", port);
  std::map<int, Connection> connections;
  for (int left = number_after(argv, "--connections", 2); left > 0; --left) {
    duolu::Fd fd = connect_to_localhost(port);
    duolu::Address own;
    (void)kernel.getsockname(fd.get(), own.data(), own.size_slot());
    connections.try_emplace(fd.get(), std::move(fd), name_of(own));
  }
  bool complete = true;
  const auto close = [&](int fd) {
    std::printf("closing socket %s\n", connections.at(fd).name.c_str());
    connections.erase(fd);
  };
  for (const char* message : {"This is the message. ", "It will be sent ", "in parts."}) {
    std::vector<int> gone;
    for (auto& [fd, connection] : connections)
      if (!say(connection, message)) gone.push_back(fd);
    for (;;) {
      complete = complete && gone.empty();
      for (const int fd : gone) close(fd);
      std::vector<int> waiting;
      for (const auto& [fd, connection] : connections)
        if (connection.awaited > 0) waiting.push_back(fd);
      if (waiting.empty()) break;
      gone.clear();
      const duolu::Selected ready = duolu::select(waiting, {}, {}).value();
      for (const int fd : ready.readable)
        if (!hear(connections.at(fd))) gone.push_back(fd);
    }
  }
  while (!connections.empty()) close(connections.begin()->first);
  return complete ? 0 : 1;
}
