// Runs commands side by side and prints what each one says, when it says it, for 10 s at most:
//   14_commands 'for i in 1 2 3; do date; sleep 1; done' 'sleep 2; echo two seconds'
#include <unistd.h>

#include <cstdio>
#include <vector>

#include "duolu/poll/backends.hpp"

int main(int, char** argv) {
  duolu::Kernel& kernel = duolu::real_kernel();
  const auto poller = duolu::make_poller(kernel).value();  // epoll, or the best that works here
  std::vector<int> outputs(1);                             // outputs[i] is what argv[i] writes to
  for (std::size_t i = 1; argv[i] != nullptr; ++i) {
    FILE* output = popen(argv[i], "r");
    if (output == nullptr) return 1;
    outputs.push_back(fileno(output));
    (void)poller->add(fileno(output), duolu::Interest::readable, duolu::Trigger::level, i);
  }
  const duolu::Instant deadline = duolu::after(kernel.now(), std::chrono::seconds(10));
  while (poller->size() > 0) {
    const auto batch = poller->wait(deadline).value();
    if (batch.empty()) return 1;  // the deadline has passed
    for (const duolu::Event& event : batch) {
      char text[4096];
      const ssize_t size = read(outputs[event.data], text, sizeof text);
      if (size > 0)
        dprintf(1, "[%s] %.*s", argv[event.data], static_cast<int>(size), text);
      else
        (void)poller->remove(event.token);  // the command has ended
    }
  }
}
