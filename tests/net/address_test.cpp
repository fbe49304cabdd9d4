// Addresses as people write them, as the resolver gives them, and as the kernel takes them.
#include "duolu/net/address.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "duolu/base/prng.hpp"
#include "duolu/testing/fault.hpp"
#include "duolu/testing/forwarding.hpp"

namespace duolu {
namespace {

using namespace std::string_literals;

/// A directory of one test's own, gone afterwards.
class Directory {
 public:
  Directory() {
    std::string name = (std::filesystem::temp_directory_path() / "duolu-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string operator/(std::string_view name) const {
    return path_ + "/" + std::string(name);
  }

 private:
  std::string path_;
};

Address one_address(std::string_view text) {
  const auto endpoint = parse_endpoint(text);
  if (!endpoint) ADD_FAILURE() << endpoint.error();
  const auto found = resolve(real_kernel(), *endpoint);
  if (!found || found->empty()) {
    ADD_FAILURE() << text;
    return {};
  }
  return found->front();
}

Address bound_to(const Fd& fd) {
  Address address;
  EXPECT_EQ(real_kernel().getsockname(fd.get(), address.data(), address.size_slot()), 0);
  return address;
}

int connect_to(const Address& address) {
  const Fd client(real_kernel(), ::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  return real_kernel().connect(client.get(), address.data(), address.size());
}

bool has_ipv6() {
  const Fd fd(real_kernel(), real_kernel().socket(AF_INET6, SOCK_STREAM, 0));
  sockaddr_in6 loopback{};
  loopback.sin6_family = AF_INET6;
  loopback.sin6_addr = in6addr_loopback;
  return fd && real_kernel().bind(fd.get(), reinterpret_cast<const sockaddr*>(&loopback),
                                  sizeof loopback) == 0;
}

#define SKIP_WITHOUT_IPV6() \
  if (!has_ipv6()) GTEST_SKIP() << "this machine has no IPv6 loopback address"

// --- text

TEST(AddressTest, tcp_endpoints) {
  struct Row {
    std::string_view text;
    std::string_view host;
    std::uint16_t port;
  };
  constexpr Row rows[] = {
      {"localhost:5000", "localhost", 5000},
      {"tcp://localhost:5000", "localhost", 5000},
      {":5000", "localhost", 5000},
      {"tcp://:0", "localhost", 0},
      {"127.0.0.1:1", "127.0.0.1", 1},
      {"[::1]:5000", "::1", 5000},
      {"tcp://[fe80::1%lo]:65535", "fe80::1%lo", 65535},
      {"a.b-c:00080", "a.b-c", 80},
      {"0.0.0.0:65535", "0.0.0.0", 65535},
      {"[::]:0", "::", 0},
  };
  for (const Row& row : rows) {
    const auto endpoint = parse_endpoint(row.text);
    ASSERT_TRUE(endpoint) << endpoint.error();
    EXPECT_EQ(endpoint->scheme, Endpoint::Scheme::tcp) << row.text;
    EXPECT_EQ(endpoint->host, row.host) << row.text;
    EXPECT_EQ(endpoint->port, row.port) << row.text;
    EXPECT_EQ(endpoint->path, "") << row.text;
  }
}

TEST(AddressTest, unix_endpoints) {
  for (const std::string_view path :
       {"/tmp/x", "relative", "/a:b", "/with space", "/\xff", "./:/", "../x", "./@file", "/@"}) {
    const auto endpoint = parse_endpoint("unix://" + std::string(path));
    ASSERT_TRUE(endpoint) << endpoint.error();
    EXPECT_EQ(endpoint->scheme, Endpoint::Scheme::unix_socket);
    EXPECT_EQ(endpoint->path, path);
  }
}

TEST(AddressTest, abstract_endpoints) {
  for (const std::string name : {"name", "@", "a/b", "/", "."}) {
    const auto endpoint = parse_endpoint("unix://@" + name);
    ASSERT_TRUE(endpoint) << endpoint.error();
    EXPECT_EQ(endpoint->scheme, Endpoint::Scheme::unix_socket);
    EXPECT_EQ(endpoint->path, '\0' + name);
    EXPECT_EQ(one_address("unix://@" + name).to_string(), "unix://@" + name);
    EXPECT_EQ(one_address("unix://@" + name).path(), "");
  }
}

// What others bind without a NUL at the end, and what they print.
TEST(AddressTest, an_abstract_socket_has_all_its_bytes_and_no_more) {
  const std::string name = "duolu-test-" + std::to_string(::getpid());
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  name.copy(un.sun_path + 1, name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  const Address exact(reinterpret_cast<const sockaddr*>(&un), size);
  EXPECT_EQ(exact.to_string(), "unix://@" + name);
  const Address resolved = one_address("unix://@" + name);
  EXPECT_EQ(resolved.size(), size);
  const auto fd = listen_on(real_kernel(), resolved);
  ASSERT_TRUE(fd) << fd.error().message();
  EXPECT_EQ(connect_to(exact), 0);
  EXPECT_EQ(bound_to(*fd).to_string(), "unix://@" + name);
  EXPECT_EQ(listen_on(real_kernel(), exact).error(), std::errc::address_in_use);
  EXPECT_FALSE(std::filesystem::exists("@" + name));
}

TEST(AddressTest, the_longest_abstract_name) {
  const std::string name(sizeof(sockaddr_un::sun_path) - 1, 'n');
  const Address longest = one_address("unix://@" + name);
  EXPECT_EQ(longest.to_string(), "unix://@" + name);
  EXPECT_TRUE(listen_on(real_kernel(), longest));
  const auto longer = resolve(real_kernel(), parse_endpoint("unix://@n" + name).value());
  EXPECT_EQ(longer.error(), std::errc::filename_too_long);
}

TEST(AddressTest, a_path_is_one_of_the_file_system) {
  EXPECT_EQ(one_address("unix:///tmp/x").path(), "/tmp/x");
  EXPECT_EQ(one_address("unix://./@x").path(), "./@x");
  EXPECT_EQ(one_address("127.0.0.1:1").path(), "");
  EXPECT_EQ(resolve(real_kernel(), Endpoint{.scheme = Endpoint::Scheme::unix_socket}).error(),
            std::errc::invalid_argument);
}

TEST(AddressTest, what_is_no_endpoint_and_what_would_be) {
  struct Row {
    std::string text;
    std::string_view why;
  };
  const Row rows[] = {
      {"", "port is missing"},
      {"localhost", "port is missing"},
      {"5000", "port is missing"},
      {"tcp://", "port is missing"},
      {"tcp://localhost", "port is missing"},
      {"[::1]", "port is missing"},
      {"[::1]5000", "port is missing"},
      {"[::1", "the [ has no ]"},
      {"[]:5000", "no address in the brackets"},
      {"::1", "needs brackets"},
      {"::1:5000", "needs brackets"},
      {"localhost:", "0 to 65535"},
      {":", "0 to 65535"},
      {"localhost:65536", "0 to 65535"},
      {"localhost:99999999999999999999", "0 to 65535"},
      {"localhost:-1", "0 to 65535"},
      {"localhost:+1", "0 to 65535"},
      {"localhost: 1", "0 to 65535"},
      {"localhost:1 ", "0 to 65535"},
      {"localhost:0x10", "0 to 65535"},
      {"localhost:http", "0 to 65535"},
      {"localhost:1/", "0 to 65535"},
      {"localhost:1\0"s, "no NUL"},
      {"local\0host:1"s, "no NUL"},
      {"[::1\0]:1"s, "no NUL"},
      {"udp://localhost:1", "unknown scheme udp://"},
      {"http://localhost:1/", "unknown scheme http://"},
      {"TCP://localhost:1", "unknown scheme TCP://"},
      {"://localhost:1", "unknown scheme"},
      {"unix://", "needs a path"},
      {"unix://@", "needs a path"},
      {"unix:/tmp/x", "followed by //"},
      {"unix://tmp/x", "put ./ there"},
      {"unix://a/", "put ./ there"},
      {"*:5000", "0.0.0.0 and [::]"},
      {"tcp://*:0", "0.0.0.0 and [::]"},
      {"unix:///a\0b"s, "no NUL"},
  };
  for (const Row& row : rows) {
    const auto endpoint = parse_endpoint(row.text);
    ASSERT_FALSE(endpoint) << row.text;
    EXPECT_NE(endpoint.error().find(row.why), std::string::npos) << endpoint.error();
    EXPECT_TRUE(endpoint.error().ends_with("; write HOST:PORT, tcp://HOST:PORT or unix:///PATH"));
  }
}

TEST(AddressTest, nothing_makes_the_parser_fall_over) {
  Prng random(6);
  constexpr std::string_view alphabet("[]:/.%0159ab\0unixtcp", 20);
  std::size_t good = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::string text(random.below(14), '\0');
    for (char& c : text) c = alphabet[random.below(alphabet.size())];
    const auto endpoint = parse_endpoint(text);
    if (!endpoint) {
      ASSERT_FALSE(endpoint.error().empty());
      continue;
    }
    ++good;
    ASSERT_TRUE(!endpoint->host.empty() || !endpoint->path.empty()) << text;
    ASSERT_EQ((endpoint->host + endpoint->path).rfind('\0') + 1,
              text.starts_with("unix://@") ? 1U : 0U)
        << text;
  }
  EXPECT_GT(good, 300U);
}

TEST(AddressTest, addresses_read_back_as_they_were_written) {
  for (const std::string_view text :
       {"tcp://127.0.0.1:5000", "tcp://[::1]:1", "tcp://0.0.0.0:0", "tcp://[::]:65535",
        "unix:///tmp/some where", "unix://@name", "unix://./@name", "unix://./a/b", "unix://.x/y"})
    EXPECT_EQ(one_address(text).to_string(), text);
}

TEST(AddressTest, what_is_printed_is_read_back) {
  for (const std::string_view path : {"relative", "@name", "a/b", ".hidden/x", "./x", "/x"}) {
    const Endpoint endpoint{.scheme = Endpoint::Scheme::unix_socket, .path = std::string(path)};
    // The first is shown to be the same file, if not by the same name.
    const std::string text = resolve(real_kernel(), endpoint).value().front().to_string();
    const std::string back = parse_endpoint(text).value().path;
    EXPECT_TRUE(back == path || back == "./" + std::string(path)) << back;
    EXPECT_EQ(one_address(text).to_string(), text);
  }
}

TEST(AddressTest, those_of_datagrams_print_as_such) {
  for (const std::string authority : {"127.0.0.1:5000", "[::1]:1"}) {
    Address address = one_address(authority);
    address.set_datagram();
    EXPECT_EQ(address.to_string(), "udp://" + authority);
  }
  Address local = one_address("unix:///x");
  local.set_datagram();
  EXPECT_EQ(local.to_string(), "unix:///x");
}

TEST(AddressTest, an_unnamed_unix_peer_has_a_name) {
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  EXPECT_EQ(Address(reinterpret_cast<const sockaddr*>(&un), sizeof un.sun_family).to_string(),
            "unix:");
}

TEST(AddressTest, ports_can_be_set_where_there_are_any) {
  Address v4 = one_address("127.0.0.1:1");
  v4.set_port(65535);
  EXPECT_EQ(v4.port(), 65535);
  Address v6 = one_address("[::1]:1");
  v6.set_port(2);
  EXPECT_EQ(v6.to_string(), "tcp://[::1]:2");
  Address path = one_address("unix:///x");
  path.set_port(3);
  EXPECT_EQ(path.port(), 0);
  EXPECT_EQ(path.to_string(), "unix:///x");
}

// --- names

TEST(AddressTest, localhost_is_this_machine_each_address_once) {
  const auto found = resolve(real_kernel(), *parse_endpoint("localhost:80"));
  ASSERT_TRUE(found) << found.error().message();
  ASSERT_FALSE(found->empty());
  std::set<std::string> texts;
  for (const Address& address : *found) {
    EXPECT_EQ(address.port(), 80);
    EXPECT_TRUE(address.to_string().starts_with("tcp://127.") ||
                address.to_string() == "tcp://[::1]:80")
        << address.to_string();
    EXPECT_TRUE(texts.insert(address.to_string()).second) << address.to_string();
  }
}

/// A resolver that gives everything twice.
class StutteringKernel final : public ForwardingKernel {
 public:
  int getaddrinfo(const char* host, const char* service, const addrinfo* hints,
                  addrinfo** found) noexcept override {
    const int error = ForwardingKernel::getaddrinfo(host, service, hints, found);
    if (error != 0) return error;
    addrinfo* last = *found;
    while (last->ai_next != nullptr) last = last->ai_next;
    return ForwardingKernel::getaddrinfo(host, service, hints, &last->ai_next);
  }
};

TEST(AddressTest, what_the_resolver_gives_twice_comes_once) {
  StutteringKernel kernel;
  EXPECT_EQ(resolve(kernel, *parse_endpoint("127.0.0.1:80"))->size(), 1U);
}

TEST(AddressTest, more_bytes_than_an_address_can_have_are_left_out) {
  sockaddr_storage twice[2]{};
  twice[0].ss_family = AF_INET;
  std::memset(&twice[1], 0xff, sizeof twice[1]);
  const Address address(reinterpret_cast<const sockaddr*>(twice), sizeof twice);
  EXPECT_EQ(address.size(), sizeof(sockaddr_storage));
  EXPECT_EQ(address.to_string(), "tcp://0.0.0.0:0");
}

TEST(AddressTest, an_unknown_name_says_so_in_words) {
  const auto found = resolve(real_kernel(), Endpoint{.host = "no such host!", .port = 1});
  ASSERT_FALSE(found);
  EXPECT_STREQ(found.error().category().name(), "resolver");
  EXPECT_FALSE(found.error().message().empty());
}

TEST(AddressTest, an_error_of_a_system_call_is_that_error) {
  FaultKernel kernel(real_kernel());
  kernel.fail_always(Call::getaddrinfo, EAI_SYSTEM);
  errno = EMFILE;
  EXPECT_EQ(resolve(kernel, Endpoint{.host = "x", .port = 1}).error(),
            std::errc::too_many_files_open);
  kernel.clear();
  kernel.fail_always(Call::getaddrinfo, EAI_AGAIN);
  const auto later = resolve(kernel, Endpoint{.host = "x", .port = 1});
  EXPECT_STREQ(later.error().category().name(), "resolver");
  EXPECT_EQ(later.error().value(), EAI_AGAIN);
}

TEST(AddressTest, a_path_that_does_not_fit_is_refused_and_the_longest_works) {
  constexpr std::size_t room = sizeof(sockaddr_un::sun_path);
  Endpoint endpoint{.scheme = Endpoint::Scheme::unix_socket, .path = std::string(room, 'a')};
  const auto found = resolve(real_kernel(), endpoint);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error(), std::errc::filename_too_long);
  const Directory directory;
  endpoint.path = directory / "";
  endpoint.path.resize(room - 1, 'b');
  const auto longest = resolve(real_kernel(), endpoint);
  ASSERT_TRUE(longest);
  EXPECT_EQ(longest->front().to_string(), "unix://" + endpoint.path);
  const auto fd = listen_on(real_kernel(), longest->front());
  ASSERT_TRUE(fd) << fd.error().message();
  EXPECT_EQ(connect_to(longest->front()), 0);
}

// --- listening

TEST(AddressTest, port_0_gets_one_that_can_be_connected_to) {
  const auto fd = listen_on(real_kernel(), one_address("127.0.0.1:0"));
  ASSERT_TRUE(fd) << fd.error().message();
  const Address address = bound_to(*fd);
  EXPECT_NE(address.port(), 0);
  EXPECT_EQ(connect_to(address), 0);
}

TEST(AddressTest, a_listener_does_not_block_and_is_not_inherited) {
  const auto fd = listen_on(real_kernel(), one_address("127.0.0.1:0"));
  ASSERT_TRUE(fd);
  EXPECT_EQ(real_kernel().accept(fd->get(), nullptr, nullptr), -EAGAIN);
  EXPECT_EQ(real_kernel().fcntl(fd->get(), F_GETFD, 0), FD_CLOEXEC);
}

TEST(AddressTest, accepted_sockets_send_at_once) {
  const auto fd = listen_on(real_kernel(), one_address("127.0.0.1:0"));
  ASSERT_TRUE(fd);
  const Address address = bound_to(*fd);
  const Fd client(real_kernel(), ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(real_kernel().connect(client.get(), address.data(), address.size()), 0);
  const Fd accepted(real_kernel(), real_kernel().accept(fd->get(), nullptr, nullptr));
  ASSERT_TRUE(accepted);
  int value = 0;
  socklen_t size = sizeof value;
  ASSERT_EQ(real_kernel().getsockopt(accepted.get(), IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
  EXPECT_EQ(value, 1);
}

TEST(AddressTest, a_busy_port_is_refused) {
  const auto first = listen_on(real_kernel(), one_address("127.0.0.1:0"));
  ASSERT_TRUE(first);
  const auto second = listen_on(real_kernel(), bound_to(*first));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), std::errc::address_in_use);
}

TEST(AddressTest, a_port_can_be_had_again_while_old_connections_end) {
  auto first = listen_on(real_kernel(), one_address("127.0.0.1:0"));
  ASSERT_TRUE(first);
  const Address address = bound_to(*first);
  {
    const Fd client(real_kernel(), ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(real_kernel().connect(client.get(), address.data(), address.size()), 0);
    // The server's side closes first and is the one that waits (TIME_WAIT).
    Fd accepted(real_kernel(), real_kernel().accept(first->get(), nullptr, nullptr));
    ASSERT_TRUE(accepted);
    accepted.reset();
  }
  first->reset();
  const auto second = listen_on(real_kernel(), address);
  EXPECT_TRUE(second) << second.error().message();
}

TEST(AddressTest, an_address_of_another_machine_is_refused) {
  const auto fd = listen_on(real_kernel(), one_address("192.0.2.1:0"));
  ASSERT_FALSE(fd);
  EXPECT_EQ(fd.error(), std::errc::address_not_available);
}

TEST(AddressTest, ipv6_leaves_the_port_to_ipv4) {
  SKIP_WITHOUT_IPV6();
  // The port may be somebody else's on the other family: that it works once is enough.
  Result<Fd> fd = fail(EADDRINUSE);
  for (int i = 0; i < 32 && !fd && fd.error() == std::errc::address_in_use; ++i) {
    const auto six = listen_on(real_kernel(), one_address("[::]:0"));
    ASSERT_TRUE(six) << six.error().message();
    Address four = one_address("127.0.0.1:0");
    four.set_port(bound_to(*six).port());
    fd = listen_on(real_kernel(), four);
  }
  EXPECT_TRUE(fd) << fd.error().message();
}

TEST(AddressTest, ipv6_answers) {
  SKIP_WITHOUT_IPV6();
  const auto fd = listen_on(real_kernel(), one_address("[::1]:0"));
  ASSERT_TRUE(fd) << fd.error().message();
  EXPECT_TRUE(bound_to(*fd).to_string().starts_with("tcp://[::1]:"));
  EXPECT_EQ(connect_to(bound_to(*fd)), 0);
}

TEST(AddressTest, an_ipv4_address_written_as_ipv6_is_listened_on) {
  SKIP_WITHOUT_IPV6();
  const auto fd = listen_on(real_kernel(), one_address("[::ffff:127.0.0.1]:0"));
  ASSERT_TRUE(fd) << fd.error().message();
  Address four = one_address("127.0.0.1:0");
  four.set_port(bound_to(*fd).port());
  EXPECT_EQ(connect_to(four), 0);
  EXPECT_TRUE(bound_to(*fd).is_loopback());
}

TEST(AddressTest, a_socket_file_nobody_listens_on_is_replaced) {
  const Directory directory;
  const Address address = one_address("unix://" + directory / "socket");
  auto first = listen_on(real_kernel(), address);
  ASSERT_TRUE(first) << first.error().message();
  first->reset();  // the file stays
  ASSERT_EQ(connect_to(address), -ECONNREFUSED);
  const auto second = listen_on(real_kernel(), address);
  ASSERT_TRUE(second) << second.error().message();
  EXPECT_EQ(connect_to(address), 0);
}

TEST(AddressTest, a_socket_file_somebody_listens_on_is_not) {
  const Directory directory;
  const Address address = one_address("unix://" + directory / "socket");
  const auto first = listen_on(real_kernel(), address);
  ASSERT_TRUE(first);
  const auto second = listen_on(real_kernel(), address);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), std::errc::address_in_use);
  EXPECT_EQ(connect_to(address), 0);
}

TEST(AddressTest, a_socket_file_with_a_full_backlog_is_not) {
  const Directory directory;
  const Address address = one_address("unix://" + directory / "socket");
  const auto first = listen_on(real_kernel(), address, 0);
  ASSERT_TRUE(first);
  std::vector<Fd> waiting;
  for (int i = 0; i < 8; ++i) {
    Fd& client = waiting.emplace_back(real_kernel(), real_kernel().socket(AF_UNIX, SOCK_STREAM, 0));
    if (real_kernel().connect(client.get(), address.data(), address.size()) == -EAGAIN) break;
    ASSERT_LT(i, 7);
  }
  const auto second = listen_on(real_kernel(), address);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), std::errc::address_in_use);
}

// Between bind(2) and listen(2) it refuses connections, as one that is gone.
TEST(AddressTest, a_socket_file_whose_owner_does_not_listen_yet_is_not) {
  const Directory directory;
  const Address address = one_address("unix://" + directory / "socket");
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    SCOPED_TRACE(type);
    const Fd owner(real_kernel(), real_kernel().socket(AF_UNIX, type, 0));
    ASSERT_EQ(real_kernel().bind(owner.get(), address.data(), address.size()), 0);
    const auto second = listen_on(real_kernel(), address);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error(), std::errc::address_in_use);
    EXPECT_TRUE(std::filesystem::exists(directory / "socket"));
    std::filesystem::remove(directory / "socket");
  }
}

TEST(AddressTest, who_listens_does_not_notice_that_another_wants_to) {
  const Directory directory;
  const Address address = one_address("unix://" + directory / "socket");
  const auto first = listen_on(real_kernel(), address);
  ASSERT_TRUE(first);
  EXPECT_FALSE(listen_on(real_kernel(), address));
  EXPECT_EQ(real_kernel().accept(first->get(), nullptr, nullptr), -EAGAIN);
}

/// Does something after the probe of a socket file has been refused.
class MeddlingKernel final : public ForwardingKernel {
 public:
  std::function<void()> meddle;
  int connect(int fd, const sockaddr* address, socklen_t size) noexcept override {
    const int result = ForwardingKernel::connect(fd, address, size);
    meddle();
    return result;
  }
};

TEST(AddressTest, a_socket_file_that_was_replaced_meanwhile_is_left_alone) {
  const Directory directory;
  const Address address = one_address("unix://" + directory / "socket");
  // Held, so that the new file has another inode.
  std::filesystem::path old = directory / "old";
  {
    ASSERT_TRUE(listen_on(real_kernel(), address));
  }
  Result<Fd> quicker = fail(ENOENT);
  MeddlingKernel kernel;
  kernel.meddle = [&] {
    std::filesystem::rename(directory / "socket", old);
    quicker = listen_on(real_kernel(), address);
  };
  const auto slower = listen_on(kernel, address);
  ASSERT_TRUE(quicker);
  ASSERT_FALSE(slower);
  EXPECT_EQ(slower.error(), std::errc::address_in_use);
  EXPECT_EQ(connect_to(address), 0);
}

TEST(AddressTest, other_files_are_left_alone) {
  const Directory directory;
  const std::string file = directory / "file";
  std::ofstream(file) << "precious";
  const std::string link = directory / "link";
  {
    auto dead = listen_on(real_kernel(), one_address("unix://" + directory / "dead"));
    ASSERT_TRUE(dead);
  }
  std::filesystem::create_symlink(directory / "dead", link);
  for (const std::string& path : {file, link, directory / "."}) {
    const auto fd = listen_on(real_kernel(), one_address("unix://" + path));
    ASSERT_FALSE(fd) << path;
    EXPECT_EQ(fd.error(), std::errc::file_exists) << fd.error().message();
  }
  std::string content;
  std::ifstream(file) >> content;
  EXPECT_EQ(content, "precious");
  EXPECT_TRUE(std::filesystem::is_symlink(link));
}

TEST(AddressTest, a_directory_that_is_not_there_is_told) {
  const Directory directory;
  const auto fd = listen_on(real_kernel(), one_address("unix://" + directory / "no/socket"));
  ASSERT_FALSE(fd);
  EXPECT_EQ(fd.error(), std::errc::no_such_file_or_directory);
}

TEST(AddressTest, a_failure_leaves_no_descriptor_behind) {
  const auto lowest = [] {
    return Fd(real_kernel(), real_kernel().socket(AF_INET, SOCK_STREAM, 0)).get();
  };
  const auto first = listen_on(real_kernel(), one_address("127.0.0.1:0"));
  ASSERT_TRUE(first);
  const int before = lowest();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(listen_on(real_kernel(), bound_to(*first)));
  EXPECT_EQ(lowest(), before);
}

}  // namespace
}  // namespace duolu
