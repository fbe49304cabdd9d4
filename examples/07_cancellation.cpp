// Cancellation: a cancelled task resumes from where it waits, tidies up, and returns.
//   07_cancellation [BACKEND]
#include <cstdio>

#include "duolu/duolu.hpp"

namespace {

using namespace duolu;
using namespace std::chrono_literals;

/// Takes work until there is no more, or it is cancelled; either way it says goodbye.
Task<> worker(const char* name, Channel<int>* work) {
  // Each error has its name: closed (broken pipe) or cancelled.
  Result<int> job = 0;
  for (;;) {
    job = co_await work->receive();
    if (!job) break;
    std::printf("%s: job %d\n", name, *job);
  }
  std::printf("%s: %s\n", name, job.error().message().c_str());
  // From now on every wait ends at once, unless it is shielded from the cancellation.
  Loop& loop = co_await this_loop();
  const bool slept = co_await loop.sleep_for(1h);
  if (!slept) std::printf("%s: no time to sleep\n", name);
}

Task<Result<>> save() {
  co_await sleep(1ms);
  std::printf("saved\n");
  co_return {};
}

// [shielded]
/// What must be done is done in a shield; the rest of a cancelled task cannot wait any more.
Task<> careful(Flag* never_set) {
  (void)co_await never_set->wait();
  const Result<> saved = co_await shielded(save());
  std::printf("careful: %s\n", saved ? "cancelled, but saved" : "not saved");
}
// [/shielded]

Task<const char*> say_after(Duration span, const char* what) {
  Loop& loop = co_await this_loop();
  const bool passed = co_await loop.sleep_for(span);
  if (!passed) std::printf("the slower one was cancelled\n");
  co_return what;
}

Task<> give_work(Scope* scope, Channel<int>* work, Flag* never_set) {
  scope->spawn(worker("worker", work));
  scope->spawn(careful(never_set));
  for (int job = 1; job <= 3; ++job) (void)co_await work->send(job);
  while (work->size() > 0) co_await sleep(0ms);
  scope->cancel();  // and with_scope waits until both have ended
}

Task<> demonstrate() {
  Channel<int> work(1);
  Flag never_set;
  co_await with_scope([&](Scope& scope) { return give_work(&scope, &work, &never_set); });
  const auto first =
      co_await first_of(say_after(1ms, "the quick one"), say_after(1h, "the slow one"));
  std::printf("first: %s\n", std::get<0>(first));
}

}  // namespace

int main(int argc, char** argv) {
  return run(demonstrate(), {.backend = argc > 1 ? argv[1] : "auto"});
}
