// The tool's client and its server are tasks: both run on one loop, in one thread.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "apps/server.hpp"
#include "duolu/load/load.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/poll/backends.hpp"
#include "support/conformance.hpp"
#include "support/engines.hpp"

namespace duolu::apps {
namespace {

using namespace std::chrono_literals;
using test::EngineCell;

/// A poller that a loop can wait for; null where no backend has a descriptor.
std::unique_ptr<Poller> make_poller_with_descriptor() {
  for (const Backend& backend : backends()) {
    if (!backend.traits.has_fd) continue;
    auto poller = backend.make(real_kernel(), {});
    if (poller && (*poller)->fd() >= 0) return *std::move(poller);
  }
  return nullptr;
}

class OneLoopTest : public testing::TestWithParam<EngineCell> {
 protected:
  void SetUp() override {
    if (poller == nullptr) GTEST_SKIP() << "no backend has a descriptor";
    const auto listening = server.listen(parse_endpoint("127.0.0.1:0").value());
    ASSERT_TRUE(listening) << listening.error().error.message();
    targets = {listening->front()};
  }

  /// Serves while the load runs; then the server stops.
  Result<LoadReport> run(const LoadOptions& options) { return loop.run(beside(options)); }
  Task<Result<LoadReport>> beside(LoadOptions options) {
    Result<LoadReport> report = fail(EINVAL);
    co_await with_scope([&](Scope& scope) -> Task<> {
      Spawned serving = scope.spawn(count(&totals));
      report = co_await load(*poller, targets, options);
      serving.cancel();
    });
    co_return report;
  }
  Task<> count(Totals* into) {
    const Result<Totals> served = co_await server.serve();
    EXPECT_TRUE(served);
    if (served) *into = *served;
  }

  std::unique_ptr<Service> service = services().front().make(real_host());  // echo
  std::unique_ptr<Engine> engine =
      GetParam().make(real_kernel(), {.buffer_size = service->read_size()}).value();
  Loop loop{*engine};
  Journal journal{Verbosity::quiet, false, "test"};
  Server server{loop, *service, {.grace = 5s}, journal};
  std::unique_ptr<Poller> poller = make_poller_with_descriptor();
  std::vector<Address> targets;
  Totals totals;
};
DUOLU_EVERY_ENGINE_AND_TRIGGER(OneLoopTest);

TEST_P(OneLoopTest, a_closed_loop_beside_its_server) {
  const Result<LoadReport> report = run({.connections = 10, .pipeline = 2, .messages = 2000});
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->messages, 2000U);
  EXPECT_EQ(report->opened, 10U);
  EXPECT_EQ(report->stopped, "");
  for (const std::uint64_t errors : report->errors) EXPECT_EQ(errors, 0U);
  EXPECT_EQ(totals.accepted, 10U);
  EXPECT_EQ(totals.bytes_in, totals.bytes_out);
  EXPECT_GE(totals.bytes_in, 2000U * 64);
}

TEST_P(OneLoopTest, an_open_loop_beside_its_server) {
  const Result<LoadReport> report =
      run({.connections = 4, .active = 3, .churn = 10, .rate = 5000, .messages = 100});
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->messages, 100U);
  EXPECT_EQ(report->corrected.count(), 100U);
  EXPECT_EQ(report->stopped, "");
  for (const std::uint64_t errors : report->errors) EXPECT_EQ(errors, 0U);
}

TEST_P(OneLoopTest, the_first_of_several_addresses) {
  targets.push_back(targets.front());
  const Result<LoadReport> report = run({.connections = 4, .messages = 100});
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->messages, 100U);
  EXPECT_EQ(report->opened, 4U);
}

TEST_P(OneLoopTest, a_cancelled_load_reports_what_it_has) {
  Result<LoadReport> report = fail(EINVAL);
  loop.run(with_scope([&](Scope& scope) -> Task<> {
    Spawned serving = scope.spawn(count(&totals));
    Scope* loads = nullptr;
    co_await with_scope([&](Scope& inner) -> Task<> {
      loads = &inner;
      const LoadOptions options{.duration = 1h};
      std::function<bool(const LoadProgress&)> watch = [&](const LoadProgress& progress) {
        if (progress.answered > 0) loads->cancel();
        return true;
      };
      report = co_await load(*poller, targets, options, std::move(watch));
    });
    serving.cancel();
  }));
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->stopped, "interrupted");
  EXPECT_GT(report->messages, 0U);
}

}  // namespace
}  // namespace duolu::apps
