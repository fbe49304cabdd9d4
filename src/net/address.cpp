#include "duolu/net/address.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>

namespace duolu {
namespace {

class ResolverCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "resolver"; }
  std::string message(int code) const override { return ::gai_strerror(code); }
};

const std::error_category& resolver_category() noexcept {
  static const detail::Immortal<ResolverCategory> category;
  return category.value;
}

std::unexpected<std::string> wrong(std::string_view text, std::string_view why) {
  std::string sentence(text);
  sentence.append(": ").append(why);
  return std::unexpected(sentence.append("; write HOST:PORT, tcp://HOST:PORT or unix:///PATH"));
}

/// Whether an address is the file-system kind of Unix address, and its path.
std::string_view path_of(const Address& address) noexcept {
  const auto* un = reinterpret_cast<const sockaddr_un*>(address.data());
  const std::size_t start = offsetof(sockaddr_un, sun_path);
  if (address.family() != AF_UNIX || address.size() <= start) return {};
  const std::size_t room = std::min<std::size_t>(address.size() - start, sizeof un->sun_path);
  return {un->sun_path, ::strnlen(un->sun_path, room)};
}

/// After EADDRINUSE: removes a socket file if nobody answers behind it.
bool remove_stale_socket(Kernel& kernel, const Address& address) {
  const std::string path(path_of(address));
  struct stat status{};
  if (path.empty() || kernel.lstat(path.c_str(), &status) < 0 || !S_ISSOCK(status.st_mode))
    return false;
  const Fd probe(kernel, kernel.socket(AF_UNIX, SOCK_STREAM, 0));
  if (!probe || kernel.connect(probe.get(), address.data(), address.size()) != -ECONNREFUSED)
    return false;
  // Who found it stale too may have put its own there meanwhile.
  struct stat again{};
  if (kernel.lstat(path.c_str(), &again) < 0 || again.st_dev != status.st_dev ||
      again.st_ino != status.st_ino)
    return false;
  return kernel.unlink(path.c_str()) == 0;
}

void switch_on(Kernel& kernel, int fd, int level, int option) {
  const int one = 1;
  // None of these decides whether the socket works, so a refusal is no reason not to serve.
  kernel.setsockopt(fd, level, option, &one, sizeof one);
}

}  // namespace

std::expected<Endpoint, std::string> parse_endpoint(std::string_view text) {
  // The calls below take C strings and would quietly stop there.
  if (text.find('\0') != std::string_view::npos)
    return wrong(text, "there is no NUL in an address");
  std::string_view rest = text;
  Endpoint endpoint;
  if (rest.starts_with("unix://")) {
    endpoint.scheme = Endpoint::Scheme::unix_socket;
    endpoint.path = rest.substr(7);
    if (endpoint.path.empty()) return wrong(text, "a unix address needs a path");
    return endpoint;
  }
  if (rest.starts_with("tcp://"))
    rest.remove_prefix(6);
  else if (const std::size_t scheme = rest.find("://"); scheme != std::string_view::npos)
    return wrong(text, "unknown scheme " + std::string(rest.substr(0, scheme)) + "://");
  std::string_view port;
  if (rest.starts_with('[')) {
    const std::size_t end = rest.find(']');
    if (end == std::string_view::npos) return wrong(text, "the [ has no ]");
    endpoint.host = rest.substr(1, end - 1);
    if (endpoint.host.empty()) return wrong(text, "there is no address in the brackets");
    if (!rest.substr(end + 1).starts_with(':')) return wrong(text, "a port is missing");
    port = rest.substr(end + 2);
  } else {
    const std::size_t colon = rest.rfind(':');
    if (colon == std::string_view::npos) return wrong(text, "a port is missing");
    endpoint.host = rest.substr(0, colon);
    port = rest.substr(colon + 1);
    if (endpoint.host.find(':') != std::string::npos)
      return wrong(text, "an IPv6 address needs brackets, like [::1]:5000");
    if (endpoint.host.empty()) endpoint.host = "localhost";
  }
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  if (port.empty() || error != std::errc() || end != port.data() + port.size())
    return wrong(text, "the port must be a number from 0 to 65535");
  return endpoint;
}

Address::Address(const sockaddr* address, socklen_t size) noexcept
    : size_(std::min<socklen_t>(size, sizeof storage_)) {
  std::memcpy(&storage_, address, size_);
}

std::uint16_t Address::port() const noexcept {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(data())->sin_port);
  if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(data())->sin6_port);
  return 0;
}

void Address::set_port(std::uint16_t port) noexcept {
  if (family() == AF_INET) reinterpret_cast<sockaddr_in*>(data())->sin_port = htons(port);
  if (family() == AF_INET6) reinterpret_cast<sockaddr_in6*>(data())->sin6_port = htons(port);
}

bool Address::is_loopback() const noexcept {
  const auto in_127 = [](std::uint32_t host) { return host >> 24U == IN_LOOPBACKNET; };
  if (family() == AF_UNIX) return true;
  if (family() == AF_INET)
    return in_127(ntohl(reinterpret_cast<const sockaddr_in*>(data())->sin_addr.s_addr));
  if (family() != AF_INET6) return false;
  const in6_addr& address = reinterpret_cast<const sockaddr_in6*>(data())->sin6_addr;
  if (!IN6_IS_ADDR_V4MAPPED(&address)) return IN6_IS_ADDR_LOOPBACK(&address);
  std::uint32_t host = 0;
  std::memcpy(&host, &address.s6_addr[12], sizeof host);
  return in_127(ntohl(host));
}

std::string Address::to_string() const {
  if (family() == AF_UNIX) {
    const std::string_view path = path_of(*this);
    return path.empty() ? "unix:" : "unix://" + std::string(path);
  }
  char host[NI_MAXHOST];
  if (::getnameinfo(data(), size_, host, sizeof host, nullptr, 0, NI_NUMERICHOST) != 0)
    return "unknown";
  const bool v6 = family() == AF_INET6;
  std::string text = v6 ? "tcp://[" : "tcp://";
  return text.append(host).append(v6 ? "]:" : ":").append(std::to_string(port()));
}

Result<std::vector<Address>> resolve(Kernel& kernel, const Endpoint& endpoint) {
  std::vector<Address> addresses;
  if (endpoint.scheme == Endpoint::Scheme::unix_socket) {
    sockaddr_un un{};
    un.sun_family = AF_UNIX;
    if (endpoint.path.size() >= sizeof un.sun_path) return fail(ENAMETOOLONG);
    std::memcpy(un.sun_path, endpoint.path.c_str(), endpoint.path.size() + 1);
    const std::size_t size = offsetof(sockaddr_un, sun_path) + endpoint.path.size() + 1;
    addresses.emplace_back(reinterpret_cast<const sockaddr*>(&un), static_cast<socklen_t>(size));
    return addresses;
  }
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(endpoint.port);
  const int error = kernel.getaddrinfo(endpoint.host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) return std::unexpected(std::error_code(error, resolver_category()));
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    const Address address(each->ai_addr, each->ai_addrlen);
    const bool known = std::any_of(addresses.begin(), addresses.end(), [&](const Address& other) {
      return other.size() == address.size() &&
             std::memcmp(other.data(), address.data(), address.size()) == 0;
    });
    if (!known) addresses.push_back(address);
  }
  kernel.freeaddrinfo(found);
  return addresses;
}

Result<Fd> listen_on(Kernel& kernel, const Address& address, int backlog) {
  const int made = kernel.socket(address.family(), SOCK_STREAM, 0);
  if (made < 0) return fail(-made);
  Fd fd(kernel, made);
  if (address.family() != AF_UNIX) {
    switch_on(kernel, made, SOL_SOCKET, SO_REUSEADDR);
    switch_on(kernel, made, IPPROTO_TCP, TCP_NODELAY);
    if (address.family() == AF_INET6) switch_on(kernel, made, IPPROTO_IPV6, IPV6_V6ONLY);
  }
  int result = kernel.bind(made, address.data(), address.size());
  if (result == -EADDRINUSE && remove_stale_socket(kernel, address))
    result = kernel.bind(made, address.data(), address.size());
  if (result >= 0) result = kernel.listen(made, backlog);
  if (result < 0) return fail(-result);
  return fd;
}

}  // namespace duolu
