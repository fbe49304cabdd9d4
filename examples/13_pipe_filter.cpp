// A filter: standard input to standard output in capital letters, whatever the two are.
//   ls | 13_pipe_filter | less        13_pipe_filter <FILE >OTHER
#include <cstdio>

#include "duolu/net/standard.hpp"
#include "duolu/poll/backends.hpp"

namespace {

using namespace duolu;

void capitalise(std::span<char> bytes) {
  for (char& c : bytes)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
}

/// Backpressure, and nothing is said about it: write_all() ends when the output has taken every
/// byte, and until then nothing more is read. So who does not read stops us, we stop who writes,
/// and no memory grows.
Task<Result<>> filter(Stream* input, Stream* output) {
  while (Lease lease = co_await try_(input->read_lease())) {
    capitalise(lease.bytes());
    co_await try_(output->write_all(std::move(lease)));
  }
  co_return {};
}

}  // namespace

int main() {
  const auto poller = make_poller(real_kernel()).value();
  const auto engine = make_readiness_engine(*poller);
  Loop loop(*engine);
  Result<StandardStream> input = StandardStream::open(loop, 0);
  Result<StandardStream> output = StandardStream::open(loop, 1);
  const Result<> done = !input    ? fail(input.error())
                        : !output ? fail(output.error())
                                  : loop.run(filter(&**input, &**output));
  if (done) return 0;
  std::fprintf(stderr, "13_pipe_filter: %s\n", done.error().message().c_str());
  return 1;
}
