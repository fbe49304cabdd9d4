// Signals as something to wait for, beside other work: SIGHUP has a setting read again, SIGUSR1
// asks how it goes, SIGINT (Ctrl-C) and SIGTERM end it in good order.
//   09_signals [BACKEND]        then, with the number it prints:   kill -HUP PID; kill PID
#include <signal.h>

#include <cstdio>

#include "duolu/loop/scope.hpp"
#include "duolu/loop/signals.hpp"
#include "duolu/poll/backends.hpp"

namespace {

using namespace duolu;

/// Stands for the work of a server: it goes on until it is cancelled.
Task<> work(Loop* loop, int* done) {
  constexpr Duration tick = std::chrono::milliseconds(1);
  for (bool slept = true; slept; ++*done) slept = co_await loop->sleep_for(tick);
  std::printf("the work has stopped\n");
}

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

Task<> until_told(Signals* signals, const int* done, Scope* scope) {
  (void)co_await obey(signals, done);
  scope->cancel();
}

}  // namespace

int main(int argc, char** argv) {
  const auto poller = make_poller(real_kernel(), argc > 1 ? argv[1] : "auto").value();
  const auto engine = make_readiness_engine(*poller);
  Loop loop(*engine);
  Signals signals(loop, {SIGHUP, SIGUSR1, SIGINT, SIGTERM});
  std::printf("process %d\n", loop.kernel().getpid());
  std::fflush(stdout);
  int done = 0;
  loop.run(with_scope([&](Scope& scope) {
    scope.spawn(work(&loop, &done), "work");
    return until_told(&signals, &done, &scope);
  }));
  std::printf("everything has ended\n");
}
