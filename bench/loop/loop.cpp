// loop [--count N] [--runs R] [--json] [TASK...]: what a loop does besides sockets, each task done
// N times with each library, in turns. Medians of R runs after a warm-up run, and the distance of
// the quartiles over the median. The time of an item in nanoseconds:
//
//   timers-cancel   N timers are armed, then all are cancelled in the order of arming
//   timers-fire     N timers are armed, and once all are due the loop calls them (or they are
//                   removed, where there is no loop)
//   sleeps-cancel   the same two with a sleeping coroutine instead of each timer, including its
//   sleeps-fire     start and end
//   post-latency    from post() in another thread to the call, when the loop sleeps; N / 50 posts
//   post-bulk       N posts by another thread as fast as it can, until the last one is called
//   spawn           N coroutines that wait for nothing
//   spawn-sleep     N coroutines that sleep for no time: they resume in a later turn
//   await           one coroutine that awaits N others, each of which returns a number
#include "loop.hpp"

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "duolu/base/prng.hpp"

namespace loops {

void die(const char* what) {
  std::fprintf(stderr, "loop: %s\n", what);
  std::exit(1);
}

namespace {

std::vector<std::chrono::milliseconds> timeouts(std::size_t count, std::uint64_t low,
                                                std::uint64_t high) {
  duolu::Prng random(1);
  std::vector<std::chrono::milliseconds> all(count);
  for (auto& each : all) each = std::chrono::milliseconds(random.between(low, high));
  return all;
}

struct Samples {
  Way way;
  std::vector<double> runs;
};

double quantile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

/// All ways of one task: every other round in reverse order, so that none always follows the same.
void measure(std::vector<Samples>& ways, std::size_t count, std::size_t runs) {
  for (std::size_t round = 0; round <= runs; ++round) {
    for (Samples& each : ways) {
      const double nanoseconds = each.way.run(count);
      if (round > 0) each.runs.push_back(nanoseconds);
    }
    std::ranges::reverse(ways);
  }
  if (runs % 2 == 0) std::ranges::reverse(ways);
}

void print(const std::vector<Samples>& ways, std::size_t count, bool json) {
  const double first = quantile(ways.front().runs, 0.5);
  for (const auto& [way, runs] : ways) {
    const double median = quantile(runs, 0.5);
    if (json) {
      std::printf(R"({"task":"%s","name":"%s","count":%zu,"ns":[)", way.task.c_str(),
                  way.name.c_str(), count);
      for (std::size_t i = 0; i < runs.size(); ++i)
        std::printf("%s%.2f", i == 0 ? "" : ",", runs[i]);
      std::puts("]}");
    } else {
      std::printf("%-14s %-24s %10.1f %7.0f%% %8.2f\n", way.task.c_str(), way.name.c_str(), median,
                  100 * (quantile(runs, 0.75) - quantile(runs, 0.25)) / median, median / first);
    }
  }
  std::fflush(stdout);
}

std::vector<Way> all_ways() {
  std::vector<Way> all = duolu_ways();
  const auto append = [&all](const std::vector<Way>& more) {
    all.insert(all.end(), more.begin(), more.end());
  };
#ifdef DUOLU_BENCH_LIBUV
  append(libuv_ways());
#endif
#ifdef DUOLU_BENCH_ASIO
  append(asio_ways());
#endif
  return all;
}

constexpr std::string_view tasks[] = {"timers-cancel", "timers-fire",  "sleeps-cancel",
                                      "sleeps-fire",   "post-latency", "post-bulk",
                                      "spawn",         "spawn-sleep",  "await"};

int run(int argc, char** argv) {
  std::size_t count = 1'000'000;
  std::size_t runs = 9;
  bool json = false;
  std::vector<std::string_view> chosen;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    std::size_t* const number = word == "--count" ? &count : word == "--runs" ? &runs : nullptr;
    if (number != nullptr && i + 1 < argc)
      *number = std::strtoul(argv[++i], nullptr, 10);
    else if (word == "--json")
      json = true;
    else if (std::ranges::find(tasks, word) != std::end(tasks))
      chosen.push_back(word);
    else
      return 2;
  }
  if (count < batch || count % batch != 0 || runs == 0) return 2;

  const std::vector<Way> all = all_ways();
  if (!json) std::printf("%-14s %-24s %10s %8s %8s\n", "task", "way", "ns", "spread", "ratio");
  for (const std::string_view task : tasks) {
    if (!chosen.empty() && std::ranges::find(chosen, task) == chosen.end()) continue;
    std::vector<Samples> ways;
    for (const Way& way : all)
      if (way.task == task) ways.push_back({way, {}});
    const std::size_t times = task == "post-latency" ? count / 50 : count;
    measure(ways, times, runs);
    print(ways, times, json);
  }
  return 0;
}

}  // namespace

std::vector<std::chrono::milliseconds> timeouts_to_cancel(std::size_t count) {
  return timeouts(count, 60'000, 120'000);
}

std::vector<std::chrono::milliseconds> timeouts_to_fire(std::size_t count) {
  return timeouts(count, 1, static_cast<std::uint64_t>(last_to_fire.count()));
}

}  // namespace loops

int main(int argc, char** argv) {
  const int code = loops::run(argc, argv);
  if (code == 2)
    std::fputs("usage: loop [--count N] [--runs R] [--json] [TASK...]; N a multiple of 1000\n",
               stderr);
  return code;
}
