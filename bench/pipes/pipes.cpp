// pipes [--pipes N] [--active A] [--writes W] [--runs R] [--json] [NAME...]: libevent's original
// benchmark. A run watches all N pipes again, writes A bytes and polls until W more were passed on
// and all were read. Two times in microseconds: of the passing on ("loop"), and of watching again
// with the first poll after it ("rewatch"), in which some libraries do deferred work.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "watching.hpp"

namespace pipes {

void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

Pipes::Pipes(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    int fds[2];
    if (::pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) die("pipe2");
    ends_.push_back({fds[0], fds[1], 0});
  }
}

Pipes::~Pipes() {
  for (const Ends& ends : ends_) {
    ::close(ends.reader);
    ::close(ends.writer);
  }
}

void Pipes::put(std::size_t index) {
  if (::write(ends_[index].writer, "e", 1) != 1) die("write");
  ++ends_[index].held;
  ++unread_;
}

void Pipes::begin(std::size_t active, std::size_t writes) {
  writes_left_ = writes;
  for (std::size_t i = 0; i < active; ++i) put(i * (count() / active));
}

void Pipes::take_one(std::size_t index) {
  char byte;
  if (::read(ends_[index].reader, &byte, 1) != 1) die("read");
  --ends_[index].held;
  --unread_;
  if (writes_left_ == 0) return;
  --writes_left_;
  put(index + 1 == count() ? 0 : index + 1);
}

namespace {

struct Size {
  std::size_t pipes;
  std::size_t active;
  std::size_t writes;
};

struct Spread {
  double best;
  double median;
};

struct Times {
  Spread loop;
  Spread rewatch;
};

Spread spread_of(std::vector<double> times) {
  std::ranges::sort(times);
  return {times.front(), times[times.size() / 2]};
}

Times measure(const Way& way, const Size& size, std::size_t runs) {
  using Clock = std::chrono::steady_clock;
  using Microseconds = std::chrono::duration<double, std::micro>;
  Pipes pipes(size.pipes);
  const std::unique_ptr<Watching> watching = way.make(pipes);
  std::vector<double> loops;
  std::vector<double> rewatches;
  for (std::size_t run = 0; run <= runs; ++run) {
    const auto stopped = Clock::now();
    watching->rewatch();
    watching->look();
    const auto watched = Clock::now();
    pipes.begin(size.active, size.writes);
    const auto begun = Clock::now();
    while (pipes.under_way()) watching->look();
    const auto ended = Clock::now();
    if (run == 0) continue;  // the warm-up
    loops.push_back(Microseconds(ended - begun).count());
    rewatches.push_back(Microseconds(watched - stopped).count());
  }
  return {spread_of(loops), spread_of(rewatches)};
}

void print(const Way& way, const Size& size, const Times& times, bool json) {
  std::printf(json ? "{\"name\":\"%s\",\"pipes\":%zu,\"active\":%zu,\"writes\":%zu,"
                     "\"loop_us_best\":%.1f,\"loop_us_median\":%.1f,"
                     "\"rewatch_us_best\":%.1f,\"rewatch_us_median\":%.1f}\n"
                   : "%-28s %6zu %6zu %6zu %10.0f %10.0f %10.0f %10.0f\n",
              way.name.c_str(), size.pipes, size.active, size.writes, times.loop.best,
              times.loop.median, times.rewatch.best, times.rewatch.median);
  std::fflush(stdout);
}

std::vector<Way> ways() {
  std::vector<Way> all = poller_ways();
  all.push_back({"raw-epoll/level", watch_by_epoll});
#ifdef DUOLU_BENCH_LIBEVENT
  all.push_back({"libevent", watch_by_libevent});
#endif
#ifdef DUOLU_BENCH_LIBEV
  all.push_back({"libev", watch_by_libev});
#endif
  return all;
}

int run(int argc, char** argv) {
  Size asked{0, 1, 1000};
  std::size_t runs = 25;
  bool json = false;
  std::vector<std::string_view> names;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    std::size_t* const number = word == "--pipes"    ? &asked.pipes
                                : word == "--active" ? &asked.active
                                : word == "--writes" ? &asked.writes
                                : word == "--runs"   ? &runs
                                                     : nullptr;
    if (number != nullptr && i + 1 < argc)
      *number = std::strtoul(argv[++i], nullptr, 10);
    else if (word == "--json")
      json = true;
    else if (number == nullptr && !word.starts_with("-"))
      names.push_back(word);
    else
      return 2;
  }
  std::vector<Size> sizes{asked};
  if (asked.pipes == 0)
    sizes = {{100, 100, asked.writes},
             {1000, 1, asked.writes},
             {1000, 100, asked.writes},
             {9000, 1, asked.writes}};
  if (runs == 0 || asked.active == 0 || asked.active > sizes.front().pipes) return 2;

  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (!json)
    std::printf("%-28s %6s %6s %6s %10s %10s %10s %10s\n", "name", "pipes", "active", "writes",
                "loop", "(median)", "rewatch", "(median)");
  for (const Size& size : sizes)
    for (const Way& way : ways())
      if (names.empty() || std::ranges::any_of(names, [&](std::string_view name) {
            return way.name == name || way.name.starts_with(std::string(name) + '/');
          }))
        print(way, size, measure(way, size, runs), json);
  return 0;
}

}  // namespace
}  // namespace pipes

int main(int argc, char** argv) {
  const int code = pipes::run(argc, argv);
  if (code == 2)
    std::fputs("usage: pipes [--pipes N] [--active A] [--writes W] [--runs R] [--json] [NAME...]\n",
               stderr);
  return code;
}
