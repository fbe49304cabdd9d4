// Public. Layer: net. Connecting, for tasks.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "duolu/loop/offload.hpp"
#include "duolu/net/stream.hpp"

namespace duolu {

/// Connects to a TCP or Unix address; TCP with TCP_NODELAY. Errors: as socket(2), connect(2)
/// (ECONNREFUSED, ETIMEDOUT, ENOENT ...) and Engine::open(). If the backlog of a Unix listener is
/// full, it is tried again until there is room. Without a listener, TCP can connect a socket to
/// itself, see is_connected_to_itself(): that is ECONNREFUSED, too. If cancelled: ECANCELED, and
/// the socket is closed.
Task<Result<Stream>> connect(Loop& loop, Address address);

/// Whether a socket that was connected to `target` is connected to itself: connect(2) may choose
/// the port it connects to as the port of its own end, if that port is on this machine, in the
/// range to choose from (ip_local_port_range, ip(7)), and has no listener. Both ends are the same
/// socket then (simultaneous open, RFC 9293, section 3.5), and everything written is read back. For
/// programs that call connect(2) themselves.
[[nodiscard]] bool is_connected_to_itself(Kernel& kernel, int fd, const Address& target);

/// The addresses of an endpoint, as resolve() returns them; looked up by `workers`, since that
/// blocks. If cancelled: ECANCELED at once if the look-up has not begun; else it is waited for, and
/// its result returned (OF3).
Task<Result<std::vector<Address>>> resolve(Workers& workers, Kernel& kernel, Endpoint endpoint);

/// How to connect to one of several addresses.
struct ConnectOptions {
  /// How long an attempt may take before the next one is started beside it (RFC 8305, section 5).
  AnyDuration stagger = std::chrono::milliseconds(250);
};

/// Connects to whichever of the addresses answers first ("Happy Eyeballs", RFC 8305). They are
/// tried in order, alternating between the two families; the next attempt starts when one has
/// failed or `stagger` has passed. The first connection wins, and the other attempts are cancelled.
/// Errors: of the attempt that failed last; EADDRNOTAVAIL without addresses; ECANCELED.
Task<Result<Stream>> connect(Loop& loop, std::vector<Address> addresses,
                             ConnectOptions options = {});
/// The same with the addresses of an endpoint. Errors: those of resolve() as well.
Task<Result<Stream>> connect(Loop& loop, Workers& workers, Endpoint endpoint,
                             ConnectOptions options = {});

/// `Stream stream = co_await try_(connect("localhost:5000"));`: the same with an endpoint in the
/// syntax of parse_endpoint(), on the loop that runs the task. Names are looked up by
/// Loop::workers(). Errors: EINVAL if it is no endpoint, and those above; Loop::explanation()
/// returns a sentence about it.
Task<Result<Stream>> connect(std::string endpoint, ConnectOptions options = {});

}  // namespace duolu
