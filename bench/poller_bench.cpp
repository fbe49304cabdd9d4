// The time of each call of a Poller with N registrations, one of them ready, on every backend.
//   poller_bench --benchmark_filter=wait
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <string>
#include <vector>

#include "duolu/poll/backends.hpp"

namespace {

using duolu::Interest;

/// N eventfds in one poller; the last of them is readable.
struct Crowd {
  Crowd(const duolu::Backend& backend, std::int64_t count) {
    duolu::Kernel& kernel = duolu::real_kernel();
    poller = backend.make(kernel, {}).value();
    for (std::int64_t i = 0; i < count; ++i) {
      fds.emplace_back(kernel, kernel.eventfd());
      tokens.push_back(poller->add(fds.back().get(), Interest::readable).value());
    }
    const std::uint64_t one = 1;
    (void)kernel.write(fds.back().get(), &one, sizeof one);
  }

  std::vector<duolu::Fd> fds;  // outlive the poller
  std::unique_ptr<duolu::Poller> poller;
  std::vector<duolu::Token> tokens;
};

void visit(duolu::Poller& poller) {
  const auto batch = poller.wait(duolu::immediately).value();
  for (const duolu::Event& event : batch) benchmark::DoNotOptimize(event.ready);
}

void wait_one_ready(benchmark::State& state, const duolu::Backend& backend) {
  Crowd crowd(backend, state.range(0));
  for (auto _ : state) visit(*crowd.poller);
}

void modify_and_wait(benchmark::State& state, const duolu::Backend& backend) {
  Crowd crowd(backend, state.range(0));
  bool paused = false;
  for (auto _ : state) {
    paused = !paused;
    (void)crowd.poller->modify(crowd.tokens.front(), paused ? Interest::none : Interest::readable);
    visit(*crowd.poller);
  }
}

void modify_back_and_wait(benchmark::State& state, const duolu::Backend& backend) {
  Crowd crowd(backend, state.range(0));
  for (auto _ : state) {
    (void)crowd.poller->modify(crowd.tokens.front(), Interest::none);
    (void)crowd.poller->modify(crowd.tokens.front(), Interest::readable);
    visit(*crowd.poller);
  }
}

void remove_and_add(benchmark::State& state, const duolu::Backend& backend) {
  Crowd crowd(backend, state.range(0));
  for (auto _ : state) {
    (void)crowd.poller->remove(crowd.tokens.front());
    crowd.tokens.front() = crowd.poller->add(crowd.fds.front().get(), Interest::readable).value();
  }
}

/// Raises the descriptor limit to the hard limit. Returns the sizes that fit.
std::vector<std::int64_t> sizes() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  std::vector<std::int64_t> fitting;
  for (const std::int64_t size : {10, 100, 1000, 10000, 15000})
    if (static_cast<rlim_t>(size) + 16 < limit.rlim_cur) fitting.push_back(size);
  return fitting;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::int64_t> fitting = sizes();
  for (const duolu::Backend& backend : duolu::backends()) {
    using Body = void (*)(benchmark::State&, const duolu::Backend&);
    const std::pair<const char*, Body> bodies[] = {{"wait", wait_one_ready},
                                                   {"modify+wait", modify_and_wait},
                                                   {"modify+back+wait", modify_back_and_wait},
                                                   {"remove+add", remove_and_add}};
    for (const auto& [name, body] : bodies)
      for (const std::int64_t size : fitting)
        benchmark::RegisterBenchmark((std::string(backend.name) + "/" + name).c_str(), body,
                                     backend)
            ->Arg(size);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
