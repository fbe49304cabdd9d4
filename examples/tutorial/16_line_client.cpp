// A client that sends lines and prints replies: the keyboard and the server in one select.
//
//   16_line_client [--port 8081]
//
// Try: it against `06_select_upper`; with --port 8080 against `08_epoll_level_echo`. Notice: stop
// the server while the prompt waits, and it is known at once. Who waits for the keyboard alone
// learns of it with the next line.
#include "tutorial.hpp"

using namespace tutorial;
using namespace std::chrono_literals;

namespace {

/// Appends what has arrived. False at the end.
bool receive(const duolu::Fd& server, std::string& bytes) {
  char buffer[65536];
  const ssize_t size = kernel.recv(server.get(), buffer, sizeof buffer, 0);
  if (size > 0) bytes.append(buffer, static_cast<std::size_t>(size));
  return size > 0 || size == -EAGAIN;
}

/// Sends a message, and reads the reply until a newline ends it or it goes on no more. Both at
/// once: while a long message leaves, its reply is arriving. False when the server has gone.
bool exchange(const duolu::Fd& server, std::string message, std::string& reply) {
  const std::vector<int> it{server.get()};
  const std::size_t before = reply.size();  // what nobody asked for is no reply
  while (!message.empty() ||
         ((reply.size() == before || !reply.ends_with('\n')) && reply.size() < 16 << 20)) {
    std::optional<duolu::Duration> patience;  // none: for ever
    if (message.empty() && reply.size() > before) patience = 200ms;
    const auto senders = message.empty() ? std::vector<int>() : it;
    const duolu::Selected ready = duolu::select(it, senders, {}, patience).value();
    if (ready.readable.empty() && ready.writable.empty()) return true;
    if (!ready.writable.empty() && !send_some(server, message)) return false;
    if (!ready.readable.empty() && !receive(server, reply)) return false;
  }
  return true;
}

std::string_view trimmed(std::string_view text) {
  constexpr const char* blanks = " \t\r\n";
  text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
  return text.substr(0, text.find_last_not_of(blanks) + 1);
}

}  // namespace

int main(int, char** argv) {
  const duolu::Fd server = connect_to_localhost(number_after(argv, "--port", 8081));
  std::string typed;
  for (bool open = true, more = true; open && (more || !typed.empty());) {
    std::printf("msg>: ");
    std::fflush(stdout);
    std::string heard;  // what nobody asked for, and the reply
    while (open && more && !typed.contains('\n')) {
      const std::vector<int> keyboard_and_server{0, server.get()};
      const duolu::Selected ready = duolu::select(keyboard_and_server, {}, {}).value();
      if (ready.readable.back() == server.get()) open = receive(server, heard);
      if (ready.readable.front() != 0) continue;
      char bytes[4096];
      const ssize_t size = kernel.read(0, bytes, sizeof bytes);
      if (size > 0) typed.append(bytes, static_cast<std::size_t>(size));
      more = size > 0 || size == -EAGAIN;
    }
    const std::size_t end = std::min(typed.find('\n'), typed.size());
    const std::string line(trimmed(std::string_view(typed).substr(0, end)));
    typed.erase(0, end + 1);
    if (!line.empty()) open = open && exchange(server, line + '\n', heard);
    if (!heard.empty()) std::printf("%s\n", printable(trimmed(heard), "\n").c_str());
    if (line.empty() && !more) std::printf("\n");
    if (!open) std::printf("the server has closed the connection\n");
  }
}
