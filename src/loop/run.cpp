#include "duolu/loop/run.hpp"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <initializer_list>
#include <memory>
#include <new>
#include <optional>
#include <string>

#include "duolu/engine/engines.hpp"
#include "duolu/loop/signals.hpp"

namespace duolu::detail {
namespace {

bool is_ignored(Kernel& kernel, int number) {
  struct sigaction before{};
  return kernel.sigaction(number, nullptr, &before) == 0 && before.sa_handler == SIG_IGN;
}

/// At the first signal, removes the handlers, for the second one (RN2), and cancels `task`.
Task<> cancel_on_signal(std::unique_ptr<Signals>* signals, Chain* task, int* received) {
  const Result<int> number = co_await (*signals)->next();
  if (!number) co_return;
  *received = *number;
  signals->reset();
  task->cancel();
}

std::string line_of(const std::string& why) {
  return std::string(program_invocation_short_name) + ": " + why + '\n';
}

/// For the end of the program.
int say(const std::string& why) noexcept {
  // In one call, so that output of other processes does not come between.
  (void)std::fputs(line_of(why).c_str(), stderr);
  return 1;
}

/// See RN4. poll(2) reports a pipe as writable when it has room for PIPE_BUF bytes.
void say_at_once(Kernel& kernel, const std::string& why) {
  pollfd out{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  const timespec at_once{};
  if (kernel.ppoll(&out, 1, &at_once) <= 0) return;
  std::string line = line_of(why);
  if (line.size() > PIPE_BUF) line.replace(PIPE_BUF - 1, std::string::npos, "\n");
  (void)kernel.write(STDERR_FILENO, line.data(), line.size());
}

int run_on(Loop& loop, Task<Result<int>> task, std::source_location where) {
  loop.report_to([&loop](const std::string& line) {
    try {
      say_at_once(loop.kernel(), line);
    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): none for the line either
    }
  });
  const bool interrupt = !is_ignored(loop.kernel(), SIGINT);
  const bool terminate = !is_ignored(loop.kernel(), SIGTERM);
  std::unique_ptr<Signals> signals;
  if (interrupt && terminate)
    signals = std::make_unique<Signals>(loop, std::initializer_list<int>{SIGINT, SIGTERM});
  else if (interrupt || terminate)
    signals =
        std::make_unique<Signals>(loop, std::initializer_list<int>{interrupt ? SIGINT : SIGTERM});
  Chain chain;
  chain.set_origin({nullptr, where});
  Chain watching;
  watching.set_origin({"signals", {}});
  int received = 0;
  std::optional<Task<>> watch;
  if (signals) loop.start(watch.emplace(cancel_on_signal(&signals, &chain, &received)), watching);

  Result<int> ended = 0;
  std::exception_ptr thrown;
  try {
    ended = loop.run(std::move(task), chain);
  } catch (...) {
    thrown = std::current_exception();
  }
  watching.cancel();
  while (watch && !watch->promise().done()) (void)loop.turn(immediately);
  if (thrown) std::rethrow_exception(thrown);
  if (ended) return *ended;
  if (received != 0 && ended.error() == std::errc::operation_canceled) return 128 + received;
  return say(loop.explanation(ended.error()));
}

}  // namespace

int run_main(Task<Result<int>> task, const LoopOptions& options,
             std::source_location where) noexcept {
  try {
    const Result<std::unique_ptr<Loop>> loop = make_loop(options);
    if (loop) return run_on(**loop, std::move(task), where);
    Kernel& kernel = options.kernel != nullptr ? *options.kernel : real_kernel();
    const EngineChoice choice = choose_engine(kernel, options.backend);
    return say("cannot make a loop: " +
               (choice.kind == nullptr ? choice.why : loop.error().message()));
  } catch (const std::exception& exception) {
    return say(exception.what());
  } catch (...) {
    return say("the task threw something that is no std::exception");
  }
}

}  // namespace duolu::detail
