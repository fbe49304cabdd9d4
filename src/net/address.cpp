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

using namespace std::string_view_literals;

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

/// The bytes of a Unix address after its family.
std::string_view unix_name(const Address& address) noexcept {
  constexpr std::size_t start = offsetof(sockaddr_un, sun_path);
  if (address.family() != AF_UNIX || address.size() <= start) return {};
  const auto* un = reinterpret_cast<const sockaddr_un*>(address.data());
  return {un->sun_path, std::min<std::size_t>(address.size() - start, sizeof un->sun_path)};
}

/// After EADDRINUSE: removes the socket file if its socket no longer exists. Returns 0, or -errno:
/// why the address cannot be bound.
int remove_stale_socket(Kernel& kernel, const Address& address) {
  const std::string path(address.path());
  struct stat status{};
  if (path.empty() || kernel.lstat(path.c_str(), &status) < 0) return -EADDRINUSE;
  if (!S_ISSOCK(status.st_mode)) return -EEXIST;
  // connect(2) first looks for the socket that is bound to the file: ECONNREFUSED if there is none,
  // EPROTOTYPE if it is of another type (unix_find_bsd() in net/unix/af_unix.c). A stream would
  // also be refused by a socket that does not listen yet, and enter the backlog of one that does.
  const Fd probe(kernel, kernel.socket(AF_UNIX, SOCK_DGRAM, 0));
  if (!probe || kernel.connect(probe.get(), address.data(), address.size()) != -ECONNREFUSED)
    return -EADDRINUSE;
  // Another process that found it stale, too, may have put its own file there meanwhile.
  struct stat again{};
  if (kernel.lstat(path.c_str(), &again) < 0 || again.st_dev != status.st_dev ||
      again.st_ino != status.st_ino)
    return -EADDRINUSE;
  return kernel.unlink(path.c_str()) < 0 ? -EADDRINUSE : 0;
}

void set(Kernel& kernel, int fd, int level, int option, int value) {
  // The socket works without any of these, so a failure is ignored.
  kernel.setsockopt(fd, level, option, &value, sizeof value);
}

/// Whether it is an IPv4 address in IPv6 form: ::ffff:127.0.0.1.
bool is_mapped(const Address& address) noexcept {
  return address.family() == AF_INET6 &&
         IN6_IS_ADDR_V4MAPPED(&reinterpret_cast<const sockaddr_in6*>(address.data())->sin6_addr);
}

}  // namespace

std::expected<Endpoint, std::string> parse_endpoint(std::string_view text) {
  // System calls take C strings, which end at a NUL: the rest would be ignored silently.
  if (text.find('\0') != std::string_view::npos)
    return wrong(text, "there is no NUL in an address");
  std::string_view rest = text;
  Endpoint endpoint;
  if (rest.starts_with("unix://")) {
    endpoint.scheme = Endpoint::Scheme::unix_socket;
    endpoint.path = rest.substr(7);
    const bool abstract = endpoint.path.starts_with('@');
    if (endpoint.path.size() <= (abstract ? 1U : 0U))
      return wrong(text, "a unix address needs a path");
    if (abstract) endpoint.path.front() = '\0';
    const bool relative = endpoint.path.find_first_of("/.@\0"sv) != 0;
    if (relative && endpoint.path.find('/') != std::string::npos)
      return wrong(text, "the path has no / at its front; if that is meant, put ./ there");
    return endpoint;
  }
  if (rest.starts_with("unix:/")) return wrong(text, "unix: is followed by // and the path");
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
    if (endpoint.host == "*")
      return wrong(text, "* is no address; 0.0.0.0 and [::] are all of this machine");
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
  if (!is_mapped(*this)) return IN6_IS_ADDR_LOOPBACK(&address);
  std::uint32_t host = 0;
  std::memcpy(&host, &address.s6_addr[12], sizeof host);
  return in_127(ntohl(host));
}

std::string_view Address::path() const noexcept {
  const std::string_view name = unix_name(*this);
  return name.substr(0, name.find('\0'));
}

std::string Address::to_string() const {
  if (family() == AF_UNIX) {
    const std::string_view name = unix_name(*this);
    if (name.empty()) return "unix:";
    if (name.front() == '\0') return "unix://@" + std::string(name.substr(1));
    const bool plain = name.front() == '/' || name.front() == '.';
    return std::string(plain ? "unix://" : "unix://./").append(path());
  }
  char host[NI_MAXHOST];
  if (::getnameinfo(data(), size_, host, sizeof host, nullptr, 0, NI_NUMERICHOST) != 0)
    return "unknown";
  const bool v6 = family() == AF_INET6;
  std::string text = datagram_ ? "udp://" : "tcp://";
  return text.append(v6 ? "[" : "")
      .append(host)
      .append(v6 ? "]:" : ":")
      .append(std::to_string(port()));
}

std::string to_string(const Endpoint& endpoint) {
  if (endpoint.scheme == Endpoint::Scheme::unix_socket) {
    const bool abstract = endpoint.path.starts_with('\0');
    return (abstract ? "unix://@" : "unix://") + endpoint.path.substr(abstract ? 1 : 0);
  }
  const bool v6 = endpoint.host.find(':') != std::string::npos;
  return (v6 ? "tcp://[" : "tcp://") + endpoint.host + (v6 ? "]:" : ":") +
         std::to_string(endpoint.port);
}

Result<std::vector<Address>> resolve(Kernel& kernel, const Endpoint& endpoint) {
  std::vector<Address> addresses;
  if (endpoint.scheme == Endpoint::Scheme::unix_socket) {
    if (endpoint.path.empty()) return fail(EINVAL);
    sockaddr_un un{};
    un.sun_family = AF_UNIX;
    // unix(7): all bytes of the size belong to an abstract name, so that it has no NUL at its end.
    const std::size_t room = endpoint.path.size() + (endpoint.path.starts_with('\0') ? 0 : 1);
    if (room > sizeof un.sun_path) return fail(ENAMETOOLONG);
    std::memcpy(un.sun_path, endpoint.path.c_str(), room);
    const std::size_t size = offsetof(sockaddr_un, sun_path) + room;
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
  if (error == EAI_SYSTEM) return fail(errno != 0 ? errno : EIO);
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
    set(kernel, made, SOL_SOCKET, SO_REUSEADDR, 1);
    set(kernel, made, IPPROTO_TCP, TCP_NODELAY, 1);
    // bind(2) refuses a mapped IPv4 address on a socket that is IPv6 only.
    if (address.family() == AF_INET6)
      set(kernel, made, IPPROTO_IPV6, IPV6_V6ONLY, is_mapped(address) ? 0 : 1);
  }
  int result = kernel.bind(made, address.data(), address.size());
  if (result == -EADDRINUSE) {
    result = remove_stale_socket(kernel, address);
    if (result == 0) result = kernel.bind(made, address.data(), address.size());
  }
  if (result >= 0) result = kernel.listen(made, backlog);
  if (result < 0) return fail(-result);
  return fd;
}

}  // namespace duolu
