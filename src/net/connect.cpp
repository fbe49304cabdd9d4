#include "duolu/net/connect.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "duolu/loop/scope.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/task/flag.hpp"
#include "open_descriptor.hpp"

namespace duolu {
namespace {

using namespace std::chrono_literals;

struct ConnectRequest : detail::OutRequest {
  Address address;
  bool start(Descriptor& descriptor) {
    Engine::prepare_out(descriptor, Op::Code::connect, address.data(), address.size());
    return descriptor.engine->start_out(descriptor);
  }
};

/// One attempt on a socket of its own.
Task<Result<Stream>> attempt(Loop* loop, Address address) {
  Kernel& kernel = loop->kernel();
  const int made = kernel.socket(address.family(), SOCK_STREAM, 0);
  if (made < 0) co_return fail(-made);
  Fd fd(kernel, made);
  if (address.family() != AF_UNIX) {
    const int on = 1;
    (void)kernel.setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  const Result<Descriptor*> opened =
      open_descriptor(loop->engine(), std::move(fd), kind_of(address));
  if (!opened) co_return fail(opened.error());
  (*opened)->may_linger = false;
  Stream stream(**opened);
  const detail::MessageAwaitable<ConnectRequest, true> connecting{*opened, {{}, address}};
  co_await connecting;  // an error ends this, as with try_
  if (is_connected_to_itself(kernel, made, address)) {
    // Closed by a reset: otherwise the port would be in use for a while (TIME_WAIT), and the server
    // could not bind it.
    const linger none{.l_onoff = 1, .l_linger = 0};
    (void)kernel.setsockopt(made, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    co_return fail(ECONNREFUSED);
  }
  co_return stream;
}

Task<Result<Stream>> connect_one(Loop* loop, Address address) {
  // connect(2): EAGAIN of a Unix socket means that the backlog is full; the kernel does not report
  // when it no longer is.
  for (Duration pause = 1ms;; pause = std::min<Duration>(pause * 2, 50ms)) {
    Result<Stream> stream = co_await attempt(loop, address);
    const bool full = !stream && stream.error() == errno_code(EAGAIN);
    if (!full) co_return stream;
    const bool waited = co_await loop->sleep_for(pause);
    if (!waited) co_return fail(ECANCELED);
  }
}

/// What the attempts of one connect() share.
struct Race {
  Loop* loop;
  std::vector<Address> addresses;
  Duration stagger;
  Scope* scope = nullptr;
  std::size_t failed = 0;
  Flag changed{};  ///< An attempt has failed, or one has won.
  std::optional<Stream> winner{};
  std::error_code last = errno_code(EADDRNOTAVAIL);
};

Task<> run_attempt(Race* race, Address address) {
  Result<Stream> stream = co_await connect_one(race->loop, address);
  if (!stream) {
    race->last = stream.error();
    ++race->failed;
  } else if (!race->winner) {
    race->winner = std::move(*stream);
    race->scope->cancel();
  }
  race->changed.set();
}

Task<Result<>> until_changed(Race* race) {
  const bool changed = co_await race->changed.wait();
  if (!changed) co_return fail(ECANCELED);
  co_return Result<>();
}

/// Starts the attempts in order: the next one at each failure, or when `stagger` has passed without
/// one. A loop, so that attempts that fail at once take no stack.
Task<> begin_attempts(Race* race, Scope* scope) {
  race->scope = scope;
  std::size_t answered = 0;  // failures that another attempt was started for
  for (const Address& address : race->addresses) {
    race->changed.reset();
    scope->spawn(run_attempt(race, address));
    if (answered == race->failed) {
      const Result<> changed = co_await within(*race->loop, race->stagger, until_changed(race));
      if (!changed && changed.error() == std::errc::operation_canceled) co_return;
    }
    if (race->winner) co_return;
    if (answered < race->failed) ++answered;
  }
}

/// Alternates between the family of the first address and the other one (RFC 8305, section 4).
std::vector<Address> by_turns(const std::vector<Address>& addresses) {
  std::vector<Address> first;
  std::vector<Address> other;
  for (const Address& address : addresses)
    (address.family() == addresses.front().family() ? first : other).push_back(address);
  std::vector<Address> mixed;
  mixed.reserve(addresses.size());
  for (std::size_t i = 0; i < std::max(first.size(), other.size()); ++i) {
    if (i < first.size()) mixed.push_back(first[i]);
    if (i < other.size()) mixed.push_back(other[i]);
  }
  return mixed;
}

Task<Result<Stream>> connect_any(Loop* loop, std::vector<Address> addresses, Duration stagger) {
  Race race{.loop = loop, .addresses = by_turns(addresses), .stagger = stagger};
  co_await with_scope([&race](Scope& scope) { return begin_attempts(&race, &scope); });
  if (!race.winner) co_return fail(race.last);
  co_return *std::move(race.winner);
}

Task<Result<std::vector<Address>>> look_up(Workers* workers, Kernel* kernel, Endpoint endpoint) {
  auto work = [kernel, &endpoint] { return resolve(*kernel, endpoint); };
  co_return co_await offload(*workers, work);
}

Task<Result<Stream>> connect_endpoint(Loop* loop, Workers* workers, Endpoint endpoint,
                                      Duration stagger) {
  std::vector<Address> addresses =
      co_await try_(look_up(workers, &loop->kernel(), std::move(endpoint)));
  co_return co_await connect_any(loop, std::move(addresses), stagger);
}

/// Whether it can be resolved without a look-up, and so without blocking.
bool is_numeric(const Endpoint& endpoint) {
  in6_addr any{};
  return endpoint.scheme == Endpoint::Scheme::unix_socket ||
         ::inet_pton(AF_INET, endpoint.host.c_str(), &any) == 1 ||
         ::inet_pton(AF_INET6, endpoint.host.c_str(), &any) == 1;
}

Task<Result<Stream>> connect_parsed(Loop* loop, Endpoint endpoint, Duration stagger) {
  if (is_numeric(endpoint)) {
    std::vector<Address> addresses = co_await try_(resolve(loop->kernel(), endpoint));
    co_return co_await connect_any(loop, std::move(addresses), stagger);
  }
  Workers* const workers = co_await try_(loop->workers());
  co_return co_await connect_endpoint(loop, workers, std::move(endpoint), stagger);
}

Task<Result<Stream>> connect_text(std::string text, Duration stagger) {
  Loop& loop = co_await this_loop();
  std::expected<Endpoint, std::string> endpoint = parse_endpoint(text);
  if (!endpoint) {
    loop.explain(errno_code(EINVAL), endpoint.error());
    co_return fail(EINVAL);
  }
  Result<Stream> stream = co_await connect_parsed(&loop, *std::move(endpoint), stagger);
  if (!stream)
    loop.explain(stream.error(), "cannot connect to " + text + ": " + stream.error().message());
  co_return stream;
}

}  // namespace

bool is_connected_to_itself(Kernel& kernel, int fd, const Address& target) {
  Address own;
  Address peer;
  if (target.port() == 0 || kernel.getsockname(fd, own.data(), own.size_slot()) < 0 ||
      own.port() != target.port() || kernel.getpeername(fd, peer.data(), peer.size_slot()) < 0)
    return false;
  return own.to_string() == peer.to_string();
}

Task<Result<std::vector<Address>>> resolve(Workers& workers, Kernel& kernel, Endpoint endpoint) {
  return look_up(&workers, &kernel, std::move(endpoint));
}

Task<Result<Stream>> connect(Loop& loop, Workers& workers, Endpoint endpoint,
                             ConnectOptions options) {
  return connect_endpoint(&loop, &workers, std::move(endpoint), options.stagger);
}

Task<Result<Stream>> connect(Loop& loop, Address address) { return connect_one(&loop, address); }

Task<Result<Stream>> connect(Loop& loop, std::vector<Address> addresses, ConnectOptions options) {
  return connect_any(&loop, std::move(addresses), options.stagger);
}

Task<Result<Stream>> connect(std::string endpoint, ConnectOptions options) {
  return connect_text(std::move(endpoint), options.stagger);
}

}  // namespace duolu
