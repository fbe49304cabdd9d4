// A filter: standard input to standard output in capital letters, whatever the two are.
//   ls | 13_pipe_filter | less        13_pipe_filter <FILE >OTHER
#include "duolu/duolu.hpp"

namespace {

using namespace duolu;

void capitalise(std::span<char> bytes) {
  for (char& c : bytes)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
}

/// Backpressure, and nothing is said about it: write_all() ends when the output has taken every
/// byte, and until then nothing more is read. So who does not read stops us, we stop who writes,
/// and no memory grows.
Task<Result<>> filter() {
  Loop& loop = co_await this_loop();
  StandardStream input = co_await try_(StandardStream::open(loop, 0));
  StandardStream output = co_await try_(StandardStream::open(loop, 1));
  while (Lease lease = co_await try_(input->read_lease())) {
    capitalise(lease.bytes());
    co_await try_(output->write_all(std::move(lease)));
  }
  co_return {};
}

}  // namespace

int main() { return run(filter()); }
