// A loop with callbacks: whose report it is, the loop finds out; what to do, each object knows.
//
//   11_callbacks [--port 8080]
//
// Try: `nc localhost 8080`, twice. Notice: no function here is a whole conversation. A connection
// is an object that is called, does what can be done now, says what it waits for next, and returns.
// What it must remember until then are its members.
#include <map>

#include "duolu/base/function.hpp"
#include "duolu/poll/backends.hpp"
#include "tutorial.hpp"

using namespace tutorial;
using duolu::Interest;

namespace {

/// Calls back whoever has something to do, until the program ends.
class CallbackLoop {
 public:
  /// Called when there is something. Returns what it waits for next; nothing when it is over.
  using Callback = duolu::Function<std::optional<Interest>()>;

  duolu::Token watch(int fd, Callback callback) {
    const duolu::Token token = poller_->add(fd, Interest::readable).value();
    callbacks_.emplace(token, std::move(callback));
    return token;
  }
  void wait_for(duolu::Token token, Interest what) { (void)poller_->modify(token, what); }

  [[noreturn]] void run() {
    for (;;) {
      const auto batch = poller_->wait(duolu::never).value();
      for (const duolu::Event& event : batch) {
        if (const auto next = callbacks_.at(event.token)()) {
          wait_for(event.token, *next);
        } else {
          (void)poller_->remove(event.token);  // before its descriptor is closed
          callbacks_.erase(event.token);       // not from inside: it has returned
        }
      }
    }
  }

 private:
  std::unique_ptr<duolu::Poller> poller_ = duolu::make_poller(kernel).value();
  std::map<duolu::Token, Callback> callbacks_;
};

}  // namespace

int main(int, char** argv) {
  const duolu::Fd listener = listen_on_localhost(number_after(argv, "--port", 8080));
  CallbackLoop loop;
  duolu::Token door{};
  const auto connection = [&](duolu::Fd fd) {
    return [&, fd = std::move(fd), unsent = std::string()]() mutable -> std::optional<Interest> {
      char buffer[4096];
      const ssize_t size = unsent.empty() ? kernel.recv(fd.get(), buffer, sizeof buffer, 0) : 0;
      if (size > 0) unsent.assign(buffer, static_cast<std::size_t>(size));
      const bool open = !unsent.empty() || size == -EAGAIN;
      if (open && send_some(fd, unsent))
        return unsent.empty() ? Interest::readable : Interest::writable;
      loop.wait_for(door, Interest::readable);  // there is a descriptor for somebody new
      return {};
    };
  };
  door = loop.watch(listener.get(), [&]() -> std::optional<Interest> {
    const int fd = kernel.accept(listener.get(), nullptr, nullptr);
    if (fd >= 0) loop.watch(fd, connection(duolu::Fd(kernel, fd)));
    return fd == -EMFILE || fd == -ENFILE ? Interest::none : Interest::readable;
  });
  loop.run();
}
