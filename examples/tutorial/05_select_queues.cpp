// A queue for each client: what is received is sent later, when the client has room for it.
//
//   05_select_queues [--port 10000]
//
// Try: `15_multi_client`, or `nc localhost 10000`. Notice: a client is watched for writing only
// while its queue is not empty. An idle connection is always writable: select would never sleep.
#include <deque>
#include <map>

#include "tutorial.hpp"

using namespace tutorial;

namespace {

struct Client {
  duolu::Fd fd;
  std::string name;
  std::deque<std::string> queue = {};
  bool ended = false;  // it sends no more, but takes what is still in the queue
};

/// Reads one message. False when the connection is over.
bool receive(Client& client) {
  char bytes[1024];
  const ssize_t size = kernel.recv(client.fd.get(), bytes, sizeof bytes, 0);
  client.ended = size <= 0 && size != -EAGAIN;
  if (size <= 0) return size == -EAGAIN || (size == 0 && !client.queue.empty());
  const auto& message = client.queue.emplace_back(bytes, static_cast<std::size_t>(size));
  std::printf("received \"%s\" from %s\n", printable(message).c_str(), client.name.c_str());
  return true;
}

/// Sends one message, or a part. False when the connection is over.
bool send_one(Client& client) {
  std::string message = client.queue.front();
  std::string& rest = client.queue.front();
  if (!send_some(client.fd, rest)) return false;
  message.resize(message.size() - rest.size());
  std::printf("sending \"%s\" to %s\n", printable(message).c_str(), client.name.c_str());
  if (rest.empty()) client.queue.pop_front();
  if (client.queue.empty()) std::printf("output queue for %s is empty\n", client.name.c_str());
  return !client.ended || !client.queue.empty();
}

}  // namespace

int main(int, char** argv) {
  const duolu::Fd listener = listen_on_localhost(number_after(argv, "--port", 10000));
  std::map<int, Client> clients;
  const auto close = [&](int fd) {
    const char* found = clients.at(fd).ended ? "reading" : "writing";
    std::printf("closing %s after %s no data\n", clients.at(fd).name.c_str(), found);
    clients.erase(fd);
  };
  for (std::size_t most = SIZE_MAX;;) {
    std::vector<int> inputs, outputs;
    for (const auto& [fd, client] : clients) {
      if (!client.ended && client.queue.size() < 64) inputs.push_back(fd);  // backpressure
      if (!client.queue.empty()) outputs.push_back(fd);
    }
    if (clients.size() < most) inputs.push_back(listener.get());
    std::printf("\nwaiting for the next event\n");
    const duolu::Selected ready = duolu::select(inputs, outputs, inputs).value();
    for (const int fd : ready.readable)
      if (fd != listener.get() && !receive(clients.at(fd))) close(fd);
    for (const int fd : ready.writable)
      if (clients.contains(fd) && !send_one(clients.at(fd))) close(fd);
    for (const int fd : ready.exceptional)
      if (const auto client = clients.extract(fd))  // closed at the end of this statement
        std::printf("handling exceptional condition for %s\n", client.mapped().name.c_str());
    if (ready.readable.empty() || ready.readable.back() != listener.get()) continue;
    duolu::Address peer;  // last, because a new client may get the number of one just closed
    const int fd = kernel.accept(listener.get(), peer.data(), peer.size_slot());
    if (fd == -EMFILE || fd == -ENFILE) most = clients.size();  // one more waits until one goes
    if (fd < 0) continue;
    std::printf("new connection from %s\n", name_of(peer).c_str());
    clients.try_emplace(fd, duolu::Fd(kernel, fd), name_of(peer));
  }
}
