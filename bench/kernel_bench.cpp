// The time of a call through the Kernel, beside the same call directly to the C library.
//   kernel_bench --benchmark_repetitions=15 --benchmark_enable_random_interleaving=true
#include <benchmark/benchmark.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

#include "duolu/kernel/fd.hpp"
#include "duolu/kernel/kernel.hpp"

namespace {

/// The real kernel, of a type that the compiler does not know: as in a Poller.
duolu::Kernel& hidden_kernel() {
  duolu::Kernel* kernel = &duolu::real_kernel();
  benchmark::DoNotOptimize(kernel);
  return *kernel;
}

struct Sockets {
  Sockets() {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
  }
  ~Sockets() {
    close(fds[0]);
    close(fds[1]);
  }
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;

  int fds[2];
  char buffer[64] = {};
};

void getpid_direct(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(getpid());
}
void getpid_kernel(benchmark::State& state) {
  duolu::Kernel& kernel = hidden_kernel();
  for (auto _ : state) benchmark::DoNotOptimize(kernel.getpid());
}

void write_direct(benchmark::State& state) {
  const duolu::Fd counter(duolu::real_kernel(), eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  const std::uint64_t one = 1;
  for (auto _ : state) benchmark::DoNotOptimize(write(counter.get(), &one, sizeof one));
}
void write_kernel(benchmark::State& state) {
  duolu::Kernel& kernel = hidden_kernel();
  const duolu::Fd counter(kernel, kernel.eventfd());
  const std::uint64_t one = 1;
  for (auto _ : state) benchmark::DoNotOptimize(kernel.write(counter.get(), &one, sizeof one));
}

void send_recv_direct(benchmark::State& state) {
  Sockets s;
  for (auto _ : state) {
    benchmark::DoNotOptimize(send(s.fds[0], s.buffer, sizeof s.buffer, 0));
    benchmark::DoNotOptimize(recv(s.fds[1], s.buffer, sizeof s.buffer, 0));
  }
}
void send_recv_kernel(benchmark::State& state) {
  duolu::Kernel& kernel = hidden_kernel();
  Sockets s;
  for (auto _ : state) {
    benchmark::DoNotOptimize(kernel.send(s.fds[0], s.buffer, sizeof s.buffer, 0));
    benchmark::DoNotOptimize(kernel.recv(s.fds[1], s.buffer, sizeof s.buffer, 0));
  }
}

BENCHMARK(getpid_direct);
BENCHMARK(getpid_kernel);
BENCHMARK(write_direct);
BENCHMARK(write_kernel);
BENCHMARK(send_recv_direct);
BENCHMARK(send_recv_kernel);

}  // namespace

BENCHMARK_MAIN();
