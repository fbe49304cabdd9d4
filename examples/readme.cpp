#include "duolu/duolu.hpp"
using namespace duolu;

Task<Result<>> echo(Stream client) {
  while (Lease bytes = co_await try_(client.read_lease()))  // an error ends this connection only
    co_await try_(client.write_all(std::move(bytes)));      // a slow reader holds back only itself
  co_return {};
}

// Ctrl-C: no new clients, the others finish.
int main() { return run(serve("localhost:5000", echo)); }
