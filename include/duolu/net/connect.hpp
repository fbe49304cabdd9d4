// Public. Layer: net. Connecting, for tasks.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "duolu/loop/offload.hpp"
#include "duolu/net/stream.hpp"

namespace duolu {

/// Connects to a TCP or Unix address; TCP with TCP_NODELAY. Errors: socket(2)'s, connect(2)'s
/// (ECONNREFUSED, ETIMEDOUT, ENOENT ...) and Engine::open()'s. A Unix listener whose backlog is
/// full is tried again until there is room. Where nobody listens, TCP can connect a socket to
/// itself, see is_connected_to_itself(): that is ECONNREFUSED, too. Cancelled: ECANCELED, and the
/// socket is closed.
[[nodiscard]] Task<Result<Stream>> connect(Loop& loop, Address address);

/// Whether a socket that was connected to `target` has met itself: connect(2) may choose, for its
/// own end, the very port that it connects to, if that is of this machine, in the range of those it
/// chooses from (ip_local_port_range, ip(7)), and nobody listens there. Both ends are then the same
/// (simultaneous open, RFC 9293, section 3.5), and what is written comes back. For those who call
/// connect(2) themselves.
[[nodiscard]] bool is_connected_to_itself(Kernel& kernel, int fd, const Address& target);

/// The addresses of an endpoint, as resolve(); looked up by `workers`, since that blocks.
/// Cancelled: ECANCELED, at once if it has not begun, else when it has ended (OF3).
[[nodiscard]] Task<Result<std::vector<Address>>> resolve(Workers& workers, Kernel& kernel,
                                                         Endpoint endpoint);

/// How to connect to what has several addresses.
struct ConnectOptions {
  /// How long to give an attempt before the next one starts beside it (RFC 8305, section 5).
  AnyDuration stagger = std::chrono::milliseconds(250);
};

/// Connects to whichever of the addresses answers first ("Happy Eyeballs", RFC 8305): they are
/// tried in order, the two families by turns; the next one when one has failed or `stagger` has
/// passed. The first connection wins, the other attempts are cancelled. Errors: of the attempt that
/// failed last; EADDRNOTAVAIL without addresses; ECANCELED.
[[nodiscard]] Task<Result<Stream>> connect(Loop& loop, std::vector<Address> addresses,
                                           ConnectOptions options = {});
/// The same with the addresses of an endpoint. Errors: resolve()'s as well.
[[nodiscard]] Task<Result<Stream>> connect(Loop& loop, Workers& workers, Endpoint endpoint,
                                           ConnectOptions options = {});

/// `Stream stream = co_await try_(connect("localhost:5000"));`: the same with an endpoint as
/// parse_endpoint() has it, on the loop that runs the task. Names are looked up by
/// Loop::workers(). Errors: EINVAL if it is no endpoint, and those above; Loop::explain() has the
/// sentence.
[[nodiscard]] Task<Result<Stream>> connect(std::string endpoint, ConnectOptions options = {});

}  // namespace duolu
