// The load engine over real sockets: on every backend, and with a kernel that fails now and then.

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <thread>
#include <vector>

#include "duolu/load/load.hpp"
#include "duolu/poll/backends.hpp"
#include "duolu/testing/fault.hpp"
#include "support/param_name.hpp"

namespace duolu {
namespace {

using namespace std::chrono_literals;

/// Blocking echo, a thread for each connection.
class EchoServer {
 public:
  EchoServer() {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (::bind(listener_, generic, sizeof address) != 0 || ::listen(listener_, 128) != 0)
      std::abort();
    ::getsockname(listener_, address_.data(), address_.size_slot());
    acceptor_ = std::jthread([this] { accept_all(); });
  }
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;
  ~EchoServer() {
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    threads_.clear();  // each ends with its client's connection
    ::close(listener_);
  }

  [[nodiscard]] const Address& address() const { return address_; }

 private:
  void accept_all() {
    for (int client; (client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;)
      threads_.emplace_back([client] { echo(client); });
  }
  static void echo(int client) {
    std::vector<char> buffer(65'536);
    for (ssize_t got; (got = ::recv(client, buffer.data(), buffer.size(), 0)) > 0;)
      for (ssize_t sent = 0, n = 0; sent < got; sent += n)
        if ((n = ::send(client, buffer.data() + sent, static_cast<std::size_t>(got - sent),
                        MSG_NOSIGNAL)) < 0)
          break;
    ::close(client);
  }

  int listener_ = -1;
  Address address_;
  std::vector<std::jthread> threads_;
  std::jthread acceptor_;
};

class RealLoad : public testing::TestWithParam<const Backend*> {
 protected:
  Result<LoadReport> run(Kernel& kernel, const LoadOptions& options) {
    const auto poller = GetParam()->make(kernel, {}).value();
    return run_load(*poller, server.address(), options);
  }
  static void expect_clean(const Result<LoadReport>& report, std::uint64_t messages) {
    ASSERT_TRUE(report.has_value()) << report.error().message();
    EXPECT_EQ(report->messages, messages);
    EXPECT_EQ(report->stopped, "");
    for (std::size_t kind = 0; kind < report->errors.size(); ++kind)
      EXPECT_EQ(report->errors[kind], 0U) << to_string(static_cast<LoadError>(kind));
  }

  EchoServer server;
};

INSTANTIATE_TEST_SUITE_P(, RealLoad, testing::ValuesIn([] {
                           std::vector<const Backend*> all;
                           for (const Backend& backend : backends()) all.push_back(&backend);
                           return all;
                         }()),
                         [](const auto& suite) { return test::param_name(suite.param->name); });

TEST_P(RealLoad, small_and_large_messages_deep_and_anew) {
  expect_clean(run(real_kernel(), {.connections = 20, .active = 10, .messages = 5000}), 5000);
  expect_clean(run(real_kernel(), {.connections = 4, .size = 1'000'000, .messages = 40}), 40);
  expect_clean(run(real_kernel(), {.connections = 4, .pipeline = 64, .messages = 20'000}), 20'000);
  expect_clean(run(real_kernel(), {.connections = 8, .churn = 3, .messages = 600}), 600);
  expect_clean(run(real_kernel(), {.connections = 8, .rate = 20'000, .messages = 2000}), 2000);
}

TEST_P(RealLoad, short_transfers_eagain_eintr_and_late_readiness_change_nothing) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    FaultKernel kernel(real_kernel(), seed);
    kernel.set_rates(
        {.short_transfers = 200, .eagain = 200, .eintr = 200, .delayed_readiness = 200});
    expect_clean(run(kernel, {.connections = 5, .size = 3000, .pipeline = 4, .messages = 500}),
                 500);
    EXPECT_GT(kernel.injected(), 100U);
    expect_clean(
        run(kernel, {.connections = 5, .size = 100, .churn = 5, .rate = 10'000, .messages = 200}),
        200);
  }
}

TEST_P(RealLoad, no_local_port_left_is_no_end_on_loopback) {
  FaultKernel kernel(real_kernel());
  kernel.fail(Call::connect, 2, EADDRNOTAVAIL);
  kernel.fail(Call::bind, 2, EADDRINUSE);
  expect_clean(run(kernel, {.connections = 5, .messages = 100}), 100);
  EXPECT_GE(kernel.calls(Call::bind), 4U);
}

TEST_P(RealLoad, an_address_that_cannot_be_reached_is_not_the_last_one) {
  // Where nobody listens, so that what the first address gives is known.
  Address silent;
  const Fd taken(real_kernel(), ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(taken.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
  ASSERT_EQ(::getsockname(taken.get(), silent.data(), silent.size_slot()), 0);
  for (const int error : {0, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT, EACCES}) {
    SCOPED_TRACE(testing::Message() << "errno " << error);
    FaultKernel kernel(real_kernel());
    if (error != 0) kernel.fail(Call::connect, 1, error);
    const auto poller = GetParam()->make(kernel, {}).value();
    const std::vector<Address> targets{silent, server.address()};
    const Result<LoadReport> report =
        run_load(*poller, targets, {.connections = 4, .messages = 100});
    expect_clean(report, 100);
    EXPECT_EQ(report->target.to_string(), server.address().to_string());
    EXPECT_EQ(report->opened, 4U);
    EXPECT_EQ(report->connecting.count(), 4U);
    EXPECT_EQ(poller->size(), 0U);
  }
  const auto poller = GetParam()->make(real_kernel(), {}).value();
  const Result<LoadReport> none = run_load(*poller, {silent, silent}, {.messages = 10});
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error(), std::errc::connection_refused);
}

TEST_P(RealLoad, an_address_that_does_not_answer_is_not_the_last_one) {
  // A full backlog: the kernel drops what asks to be connected, and says nothing.
  Address full;
  const Fd listener(real_kernel(), ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
  ASSERT_EQ(::getsockname(listener.get(), full.data(), full.size_slot()), 0);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  std::vector<Fd> filling;
  for (int i = 0; i < 4; ++i) {
    filling.emplace_back(real_kernel(),
                         ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    (void)::connect(filling.back().get(), full.data(), full.size());
  }
  const auto poller = GetParam()->make(real_kernel(), {}).value();
  expect_clean(run_load(*poller, {full, server.address()}, {.connections = 4, .messages = 100}),
               100);
  // Both silent: the time is up.
  const Result<LoadReport> none =
      run_load(*poller, {full, full}, {.messages = 10, .timeout = 300ms});
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error(), std::errc::timed_out);
  // Whoever watches can end that too.
  const Result<LoadReport> ended = run_load(
      *poller, {full, full}, {.messages = 10, .timeout = 1h}, [](const LoadProgress& progress) {
        EXPECT_EQ(progress.phase, LoadProgress::Phase::connecting);
        return false;
      });
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->stopped, "interrupted");
}

TEST_P(RealLoad, limits_of_this_machine_are_a_failure_not_a_figure) {
  for (const int error : {EMFILE, ENFILE, ENOMEM}) {
    FaultKernel kernel(real_kernel());
    kernel.fail(Call::socket, 3, error);
    const Result<LoadReport> report = run(kernel, {.connections = 5, .messages = 100});
    ASSERT_FALSE(report.has_value());
    EXPECT_EQ(report.error().value(), error);
  }
}

TEST_P(RealLoad, a_broken_connection_is_counted_and_replaced) {
  FaultKernel kernel(real_kernel());
  kernel.fail(Call::recv, 50, ECONNRESET);
  kernel.fail(Call::send, 70, EPIPE);
  const Result<LoadReport> report = run(kernel, {.connections = 5, .messages = 200});
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->error_count(LoadError::reset), 2U);
  EXPECT_EQ(report->error_count(LoadError::unanswered), 2U);
  EXPECT_EQ(report->opened, 7U);
}

TEST_P(RealLoad, a_message_costs_a_send_and_a_recv) {
  FaultKernel kernel(real_kernel());
  const auto poller = GetParam()->make(kernel, {}).value();
  const auto cost = [&](std::uint64_t messages) {
    kernel.reset_counts();
    expect_clean(run_load(*poller, server.address(), {.messages = messages}), messages);
    return std::array{kernel.calls(Call::send), kernel.calls(Call::recv),
                      kernel.calls(Call::epoll_ctl)};
  };
  const auto few = cost(100);
  const auto many = cost(1100);
  EXPECT_EQ(many[0] - few[0], 1000U);
  EXPECT_EQ(many[1] - few[1], 1000U);
  EXPECT_EQ(many[2], few[2]);
}

}  // namespace
}  // namespace duolu
