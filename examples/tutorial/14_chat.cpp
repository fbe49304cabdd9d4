// Chat: what one client says goes to all the others, each of them as fast as it reads.
//
//   14_chat [--port 8080]
//
// Try: `nc localhost 8080`, in three terminals. Notice: each client has a queue with a bound, and a
// task that sends from it. Who does not read holds back nobody: when its queue is full, it goes.
#include <memory>
#include <vector>

#include "duolu/net/reader.hpp"
#include "duolu/task/channel.hpp"
#include "duolu/task/flag.hpp"
#include "duolu/task/together.hpp"
#include "server.hpp"

using namespace duolu;
using namespace tutorial;
using namespace std::chrono_literals;

namespace {

struct Member {
  Stream stream;
  std::string name = name_of(stream.peer());
  Channel<std::shared_ptr<const std::string>> unsent{64};  // lines, which all queues share
  Flag dropped{false};
};

void say(std::vector<Member*>* room, const Member* from, std::string_view text) {
  const auto line = std::make_shared<const std::string>(from->name + ": " + std::string(text));
  std::erase_if(*room, [&](Member* to) {
    if (to == from || to->unsent.try_send(line)) return false;
    std::printf("%s does not read: dropped\n", to->name.c_str());
    to->dropped.set();
    return true;
  });
}

Task<> send_lines(Member* to) {
  while (const auto line = co_await to->unsent.receive())
    if (const Result<> sent = co_await to->stream.write_all(**line); !sent) break;
}

Task<> receive_lines(Loop* loop, std::vector<Member*>* room, Member* from) {
  Reader reader(from->stream, 4096);
  while (const auto line = co_await reader.read_until("\n")) {
    if (!line->ends_with('\n')) break;  // the end
    say(room, from, *line);
    (void)co_await loop->sleep_for(0ms);  // one line a turn, so that the senders have theirs
  }
  std::erase(*room, from);
  from->unsent.close();                // what is in it is still sent,
  (void)co_await loop->sleep_for(5s);  // if that does not take longer
}

Task<> until_dropped(Member* self) { (void)co_await self->dropped.wait(); }

/// Ends with the first of its tasks, which cancels the others wherever they wait.
Task<> converse(Loop* loop, std::vector<Member*>* room, Stream stream) {
  Member self{.stream = std::move(stream)};
  std::printf("new connection from %s\n", self.name.c_str());
  room->push_back(&self);
  co_await first_of(receive_lines(loop, room, &self), send_lines(&self), until_dropped(&self));
  std::printf("%s has left\n", self.name.c_str());
}

}  // namespace

int main(int, char** argv) {
  const auto loop = make_loop().value();
  std::vector<Member*> room;
  serve(*loop, argv, "chat", [&](Stream s) { return converse(loop.get(), &room, std::move(s)); });
}
