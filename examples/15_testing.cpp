// A test of one's own task: it counts lines, and must count right, or fail, whatever the system
// does. Every system call goes through a Kernel; this one injects what real ones do now and then.
//   15_testing
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <string>

#include "duolu/duolu.hpp"
#include "duolu/testing/fault.hpp"

namespace {

using namespace duolu;

// What is tested.
Task<Result<long>> count_lines(Stream* input) {
  long lines = 0;
  while (const Lease lease = co_await try_(input->read_lease())) {
    const std::string_view text = lease.text();
    lines += std::count(text.begin(), text.end(), '\n');
  }
  co_return lines;
}

// [fixture]
/// Runs the task once, on `kernel`: 1000 lines come out of a pipe.
Result<long> run_once(Kernel& kernel) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "a line\n";
  int ends[2];
  if (const int error = real_kernel().pipe(ends); error < 0) return fail(-error);
  Fd reader(kernel, ends[0]);
  Fd writer(real_kernel(), ends[1]);  // the test itself asks the real one: no fault strikes it
  if (real_kernel().write(writer.get(), text.data(), text.size()) < 0) return fail(EIO);
  writer.reset();

  const std::unique_ptr<Loop> loop = make_loop({.kernel = &kernel}).value();
  Result<Stream> input = Stream::open(*loop, std::move(reader));
  if (!input) return fail(input.error());
  return loop->run(count_lines(&*input));
}
// [/fixture]

// [random]
/// What only happens under load: short reads, EAGAIN, signals, events that come late. By seed, so
/// that a failure can be repeated.
bool survives_bad_days() {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    FaultKernel kernel(real_kernel(), seed);
    kernel.set_rates(
        {.short_transfers = 500, .eagain = 200, .eintr = 200, .delayed_readiness = 200});
    if (run_once(kernel) != 1000) return false;
  }
  return true;
}
// [/random]

// [planned]
/// The first read fails, then the second one of the next run, until no run has so many.
bool reports_every_error() {
  for (std::uint64_t nth = 1;; ++nth) {
    FaultKernel kernel(real_kernel());
    kernel.fail(Call::read, nth, EIO);
    const Result<long> lines = run_once(kernel);
    if (kernel.injected() == 0) return nth > 1 && lines == 1000;
    if (lines || lines.error() != std::errc::io_error) return false;
  }
}
// [/planned]

}  // namespace

int main() {
  std::printf("random faults: %s\n", survives_bad_days() ? "passed" : "FAILED");
  std::printf("failing reads: %s\n", reports_every_error() ? "passed" : "FAILED");
}
