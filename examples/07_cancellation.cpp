// Cancellation: what is asked to end goes on from where it waits, tidies up, and ends itself.
//   07_cancellation [BACKEND]
#include <cstdio>

#include "duolu/loop/loop.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/poll/backends.hpp"
#include "duolu/task/channel.hpp"
#include "duolu/task/together.hpp"

namespace {

using namespace duolu;
using namespace std::chrono_literals;

/// Takes work until there is no more, or it is cancelled; either way it says goodbye.
Task<> worker(const char* name, Channel<int>* work, Loop* loop) {
  // Each error has its name: closed (broken pipe) or cancelled.
  Result<int> job = 0;
  for (;;) {
    job = co_await work->receive();
    if (!job) break;
    std::printf("%s: job %d\n", name, *job);
  }
  std::printf("%s: %s\n", name, job.error().message().c_str());
  // From now on every wait ends at once, unless it is shielded from the cancellation.
  const bool slept = co_await loop->sleep_for(1h);
  if (!slept) std::printf("%s: no time to sleep\n", name);
}

Task<Result<>> save(Loop* loop) {
  (void)co_await loop->sleep_for(1ms);
  std::printf("saved\n");
  co_return {};
}

/// What must be done is done in a shield; the rest of a cancelled task cannot wait any more.
Task<> careful(Loop* loop) {
  (void)co_await loop->sleep_for(1h);
  const Result<> saved = co_await shielded(save(loop));
  std::printf("careful: %s\n", saved ? "cancelled, but saved" : "not saved");
}

Task<const char*> say_after(Loop* loop, Duration span, const char* what) {
  const bool passed = co_await loop->sleep_for(span);
  if (!passed) std::printf("the slower one was cancelled\n");
  co_return what;
}

Task<> give_work(Loop* loop, Scope* scope, Channel<int>* work) {
  scope->spawn(worker("worker", work, loop));
  scope->spawn(careful(loop));
  for (int job = 1; job <= 3; ++job) (void)co_await work->send(job);
  while (work->size() > 0) (void)co_await loop->sleep_until(immediately);
  scope->cancel();  // and with_scope waits until both have ended
}

Task<> race(Loop* loop) {
  const auto first =
      co_await first_of(say_after(loop, 1ms, "the quick one"), say_after(loop, 1h, "the slow one"));
  std::printf("first: %s\n", std::get<0>(first));
}

}  // namespace

int main(int argc, char** argv) {
  const auto poller = make_poller(real_kernel(), argc > 1 ? argv[1] : "auto").value();
  const auto engine = make_readiness_engine(*poller);
  Loop loop(*engine);
  Channel<int> work(1);
  loop.run(with_scope([&](Scope& scope) { return give_work(&loop, &scope, &work); }));
  loop.run(race(&loop));
}
