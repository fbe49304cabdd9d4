// Signals as something to wait for, beside other work: SIGHUP has a setting read again, SIGUSR1
// asks how it goes, SIGINT (Ctrl-C) and SIGTERM end it in good order.
//   09_signals [BACKEND]        then, with the number it prints:   kill -HUP PID; kill PID
#include <signal.h>

#include <cstdio>

#include "duolu/duolu.hpp"

namespace {

using namespace duolu;
using namespace std::chrono_literals;

/// Stands for the work of a server, which runs until it is cancelled.
Task<> work(int* done) {
  Loop& loop = co_await this_loop();
  for (bool slept = true; slept; ++*done) slept = co_await loop.sleep_for(1ms);
  std::printf("the work has stopped\n");
}

// [obey]
Task<Result<>> obey(Signals* signals, const int* done) {
  for (int settings = 1;;) {
    switch (const int number = co_await try_(signals->next())) {
      case SIGHUP: std::printf("read the settings again, time %d\n", ++settings); break;
      case SIGUSR1: std::printf("%s\n", *done > 0 ? "it goes well" : "not begun yet"); break;
      default: std::printf("signal %d: ending\n", number); co_return {};
    }
    std::fflush(stdout);
  }
}
// [/obey]

Task<> until_told(Signals* signals, const int* done, Scope* scope) {
  (void)co_await obey(signals, done);
  scope->cancel();
}

}  // namespace

int main(int argc, char** argv) {
  // Not run(), which has SIGINT and SIGTERM for itself.
  const auto loop = make_loop({.backend = argc > 1 ? argv[1] : "auto"}).value();
  Signals signals(*loop, {SIGHUP, SIGUSR1, SIGINT, SIGTERM});
  std::printf("process %d\n", loop->kernel().getpid());
  std::fflush(stdout);
  int done = 0;
  loop->run(with_scope([&](Scope& scope) {
    scope.spawn(work(&done), "work");
    return until_told(&signals, &done, &scope);
  }));
  std::printf("everything has ended\n");
}
