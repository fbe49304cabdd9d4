// The load engine against a server in memory, on a clock of its own: every figure is known.
#include "duolu/load/load.hpp"

#include <gtest/gtest.h>

#include <system_error>
#include <vector>

#include "duolu/poll/backends.hpp"
#include "virtual_server.hpp"

namespace duolu {
namespace {

using namespace std::chrono_literals;
using test::VirtualServer;

class LoadTest : public testing::Test {
 protected:
  LoadReport run(LoadOptions options) {
    options.host = &server;
    const auto poller = make_poller(server, "poll").value();
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(5000);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    Result<LoadReport> report = run_load(
        *poller, Address(reinterpret_cast<const sockaddr*>(&address), sizeof address), options);
    if (!report) throw std::system_error(report.error());
    return std::move(*report);
  }
  static std::uint64_t errors(const LoadReport& report) {
    std::uint64_t sum = 0;
    for (const std::uint64_t times : report.errors) sum += times;
    return sum;
  }

  VirtualServer server;
};

/// A histogram's value, in a unit that a test can read.
double ms(const Histogram& histogram, double percent) {
  return static_cast<double>(histogram.percentile(percent)) / 1e6;
}

TEST_F(LoadTest, closed_loop_keeps_every_connection_busy) {
  const LoadReport report = run({.connections = 10, .duration = 1s});
  EXPECT_EQ(errors(report), 0U);
  EXPECT_EQ(report.elapsed / 1ms, 1000);
  // The server takes 20 us for each, and ten wait in line.
  EXPECT_NEAR(report.throughput(), 50'000, 500);
  EXPECT_NEAR(ms(report.uncorrected, 50), 0.2, 0.01);
  EXPECT_EQ(report.messages, report.uncorrected.count());
  EXPECT_EQ(report.corrected.count(), 0U);
  EXPECT_EQ(report.opened, 10U);
  EXPECT_EQ(report.open_at_end, 10U);
  EXPECT_EQ(report.connecting.count(), 10U);
  EXPECT_EQ(report.limit, "");
  EXPECT_EQ(report.stopped, "");
}

TEST_F(LoadTest, open_loop_starts_at_the_rate_whatever_the_server_does) {
  for (const Arrivals arrivals : {Arrivals::constant, Arrivals::poisson}) {
    const LoadReport report = run(
        {.connections = 10, .rate = 2000, .arrivals = arrivals, .warmup = 100ms, .duration = 2s});
    EXPECT_EQ(errors(report), 0U);
    const double off = arrivals == Arrivals::constant ? 1 : 200;  // about three deviations
    EXPECT_NEAR(static_cast<double>(report.messages), 4000, off);
    EXPECT_EQ(report.corrected.count(), report.uncorrected.count());
    EXPECT_LT(report.start_error.percentile(99), 1000U);  // ns: spun, not slept
    EXPECT_EQ(report.bare_sleep.percentile(50), 60'000U + 50) << "as the clock does it";
    EXPECT_GT(report.spun, Duration::zero());
  }
}

TEST_F(LoadTest, a_stall_shows_in_the_corrected_latency_and_hides_in_the_uncorrected) {
  server.stall = 100ms;
  const LoadReport report = run({.connections = 5, .rate = 1000, .warmup = 300ms, .duration = 10s});
  EXPECT_EQ(errors(report), 0U);
  EXPECT_EQ(report.messages, 10'000U);
  // A tenth of the messages is due in a stall, and waits for the rest of it: 100 ms to 0.
  EXPECT_NEAR(ms(report.corrected, 99), 90, 3);
  EXPECT_NEAR(ms(report.corrected, 95), 50, 3);
  EXPECT_LT(ms(report.corrected, 89), 3);
  // But only five a second are sent into it, so that 99.5 % look well.
  EXPECT_LT(ms(report.uncorrected, 99), 1);
  EXPECT_NEAR(ms(report.uncorrected, 99.9), 98, 4);
  EXPECT_NEAR(ms(report.uncorrected, 100), 100, 2);
  // The client was not late: no connection was free.
  EXPECT_LT(report.start_error.max(), 1'000'000U);
  EXPECT_EQ(report.limit, "");
}

TEST_F(LoadTest, counts_exactly_the_messages_asked_for) {
  for (const std::size_t pipeline : {1U, 4U}) {
    for (const std::uint64_t churn : {0U, 1U, 7U}) {
      for (const double rate : {0.0, 5000.0}) {
        for (const Duration warmup : {Duration(0ms), Duration(20ms)}) {
          SCOPED_TRACE(testing::Message() << pipeline << " deep, churn " << churn << ", rate "
                                          << rate << ", warm-up " << warmup / 1ms);
          const LoadReport report = run({.connections = 6,
                                         .active = 3,
                                         .size = 1000,
                                         .pipeline = pipeline,
                                         .churn = churn,
                                         .rate = rate,
                                         .warmup = warmup,
                                         .messages = 500});
          EXPECT_EQ(report.messages, 500U);
          EXPECT_EQ(errors(report), 0U);
          EXPECT_EQ(report.stopped, "");
          EXPECT_GE(report.opened, churn != 0 ? 3 + 500 / churn : 6);
        }
      }
    }
  }
}

TEST_F(LoadTest, counts_exactly_even_when_the_warm_up_has_sent_more) {
  for (const std::uint64_t messages : {1U, 3U, 799U, 800U, 801U}) {
    for (const std::uint64_t churn : {0U, 5U}) {
      SCOPED_TRACE(testing::Message() << messages << " messages, churn " << churn);
      const LoadReport report = run({.connections = 50,
                                     .pipeline = 16,
                                     .churn = churn,
                                     .warmup = 50ms,
                                     .messages = messages});
      EXPECT_EQ(report.messages, messages);
      EXPECT_EQ(report.answered, messages);
      EXPECT_EQ(report.uncorrected.count(), messages);
      EXPECT_EQ(errors(report), 0U);
    }
  }
}

TEST_F(LoadTest, a_rate_slower_than_the_timeout_is_no_silence) {
  server.service = 600ms;  // long enough to be looked at while a message is on its way
  const LoadReport report = run({.connections = 2, .rate = 0.2, .duration = 60s, .timeout = 2s});
  EXPECT_EQ(report.messages, 12U);
  EXPECT_EQ(report.stopped, "");
  EXPECT_EQ(errors(report), 0U);
}

TEST_F(LoadTest, large_messages_go_out_and_come_back_in_parts) {
  const LoadReport report = run({.connections = 2, .size = 300'001, .pipeline = 3, .messages = 50});
  EXPECT_EQ(report.messages, 50U);
  EXPECT_EQ(errors(report), 0U);
}

TEST_F(LoadTest, a_slow_client_is_reported_as_the_limit) {
  server.service = 1us;
  server.client_cost = 100us;
  const LoadReport closed = run({.connections = 10, .duration = 1s});
  EXPECT_NE(closed.limit.find("busy"), std::string::npos) << closed.limit;
  EXPECT_GT(closed.busy(), 0.95);
  const LoadReport open = run({.connections = 100, .rate = 20'000, .duration = 1s});
  EXPECT_NE(open.limit, "");
  server.client_cost = 1us;
  EXPECT_EQ(run({.connections = 10, .rate = 1000, .duration = 1s}).limit, "");
}

TEST_F(LoadTest, a_client_that_is_held_up_is_late_and_says_so) {
  server.client_cost = 3ms;  // over before the next one is to start
  const LoadReport report = run({.connections = 10, .rate = 100, .duration = 2s});
  EXPECT_LT(report.busy(), 0.95);
  EXPECT_EQ(report.limit, "");
  server.client_cost = 8ms;
  const LoadReport late =
      run({.connections = 10, .rate = 50, .arrivals = Arrivals::poisson, .duration = 5s});
  EXPECT_NE(late.limit.find("late"), std::string::npos) << late.limit;
}

TEST_F(LoadTest, what_fell_due_while_the_client_was_held_up_is_sent_even_after_the_end) {
  server.held_up = 3ms;
  for (const std::uint64_t length : {100U, 101U, 102U, 103U, 105U, 107U, 110U, 111U, 112U}) {
    const LoadReport report =
        run({.connections = 4, .rate = 1000, .duration = std::chrono::milliseconds(length)});
    EXPECT_EQ(report.messages, length);
    EXPECT_EQ(errors(report), 0U) << length;
  }
}

TEST_F(LoadTest, what_is_late_from_the_warm_up_is_not_counted) {
  server.held_up = 3ms;
  for (const std::uint64_t length : {20U, 21U, 22U, 23U, 25U, 27U, 30U, 31U, 32U})
    EXPECT_EQ(run({.connections = 4,
                   .rate = 1000,
                   .warmup = std::chrono::milliseconds(length),
                   .messages = 50})
                  .messages,
              50U)
        << length;
}

TEST_F(LoadTest, a_wrong_byte_is_caught_and_named) {
  server.wrong_at = 64 * 1000 + 17;
  const LoadReport report = run({.connections = 1, .duration = 10s});
  EXPECT_EQ(report.error_count(LoadError::wrong_byte), 1U);
  EXPECT_EQ(report.messages, 1000U);
  EXPECT_NE(report.stopped.find("connection 0, byte 64017"), std::string::npos) << report.stopped;
}

TEST_F(LoadTest, a_byte_too_many_is_caught) {
  server.adds = "!";
  const LoadReport report = run({.connections = 1, .messages = 10});
  EXPECT_EQ(report.error_count(LoadError::wrong_byte), 1U);
  EXPECT_NE(report.stopped.find("more than was sent"), std::string::npos) << report.stopped;
}

TEST_F(LoadTest, an_idle_connection_that_is_spoken_to_is_wrong_too) {
  server.adds = "!";
  const LoadReport report = run({.connections = 2, .active = 1, .messages = 10});
  EXPECT_EQ(report.error_count(LoadError::wrong_byte), 1U);
}

TEST_F(LoadTest, a_server_that_dies_ends_the_run_with_the_figures_so_far) {
  server.dies_at = VirtualServer::origin + 1200ms;
  const LoadReport report = run({.connections = 10, .duration = 20s, .timeout = 2s});
  EXPECT_EQ(report.stopped, "the server is gone: nothing listens there any more");
  EXPECT_NEAR(static_cast<double>(report.messages), 50'000, 500);
  EXPECT_NEAR(static_cast<double>(report.elapsed / 1ms), 3000, 260);
  EXPECT_EQ(report.error_count(LoadError::reset), 10U);
  EXPECT_EQ(report.error_count(LoadError::refused), 1U);
  EXPECT_EQ(report.error_count(LoadError::unanswered), 10U);
  EXPECT_EQ(report.gaps, 1U);
  EXPECT_NEAR(static_cast<double>(report.gap_time / 1ms), 2000, 260);
}

TEST_F(LoadTest, a_server_that_restarts_makes_a_gap_and_the_run_goes_on) {
  server.dies_at = VirtualServer::origin + 1200ms;
  server.returns_at = server.dies_at + 300ms;
  const LoadReport report = run({.connections = 12, .active = 10, .duration = 2s});
  EXPECT_EQ(report.stopped, "");
  EXPECT_EQ(report.gaps, 1U);
  EXPECT_GE(report.gap_time, 300ms);
  EXPECT_LT(report.gap_time, 325ms) << "it is tried every 10 ms";
  EXPECT_EQ(report.longest_gap, report.gap_time);
  EXPECT_EQ(report.lost, 12U);
  EXPECT_EQ(report.opened, 24U) << "idle ones too";
  EXPECT_EQ(report.open_at_end, 12U);
  EXPECT_EQ(report.error_count(LoadError::reset), 12U);
  EXPECT_EQ(report.error_count(LoadError::refused), 1U) << "one for the gap, not for each attempt";
  EXPECT_EQ(report.error_count(LoadError::unanswered), 10U);
  EXPECT_NEAR(static_cast<double>(report.messages), 1.7 * 50'000, 2000);
  EXPECT_LT(server.connects, 80U);
}

TEST_F(LoadTest, a_connection_to_itself_is_nobodys_answer) {
  server.dies_at = VirtualServer::origin + 1200ms;
  server.returns_at = server.dies_at + 300ms;
  server.to_itself = true;
  const LoadReport report = run({.connections = 10, .duration = 2s});
  EXPECT_EQ(report.stopped, "");
  EXPECT_EQ(report.gaps, 1U);
  EXPECT_GE(report.gap_time, 300ms);
  EXPECT_EQ(report.opened, 20U);
  EXPECT_EQ(report.error_count(LoadError::refused), 1U);
}

TEST_F(LoadTest, a_gap_is_in_the_corrected_latency) {
  server.dies_at = VirtualServer::origin + 1200ms;
  server.returns_at = server.dies_at + 300ms;
  const LoadReport report = run({.connections = 10, .rate = 1000, .duration = 2s});
  EXPECT_EQ(report.stopped, "");
  EXPECT_EQ(report.gaps, 1U);
  EXPECT_EQ(report.messages + report.error_count(LoadError::unanswered), 2000U);
  EXPECT_EQ(report.corrected.count(), 2000U);
  EXPECT_NEAR(ms(report.corrected, 100), 310, 20);
  EXPECT_LT(ms(report.uncorrected, 100), 20);
}

TEST_F(LoadTest, exactly_the_messages_asked_for_are_sent_across_a_gap) {
  for (const std::uint64_t churn : {0U, 1U, 7U}) {
    for (const double rate : {0.0, 5000.0}) {
      SCOPED_TRACE(testing::Message() << "churn " << churn << ", rate " << rate);
      server.dies_at = server.now() + 100ms;
      server.returns_at = server.dies_at + 200ms;
      const LoadReport report =
          run({.connections = 4, .pipeline = 3, .churn = churn, .rate = rate, .messages = 20'000});
      EXPECT_EQ(report.messages + report.error_count(LoadError::unanswered), 20'000U);
      EXPECT_LE(report.error_count(LoadError::unanswered), 12U);
      EXPECT_EQ(report.gaps, 1U);
      EXPECT_GE(report.gap_time, 199ms);
      EXPECT_LT(report.gap_time, 225ms);
      EXPECT_EQ(report.stopped, "");
    }
  }
}

TEST_F(LoadTest, a_gap_between_two_messages_is_as_long_as_it_was) {
  server.dies_at = VirtualServer::origin + 1200ms;
  server.returns_at = server.dies_at + 300ms;
  const LoadReport report = run({.connections = 2, .rate = 0.2, .duration = 20s, .timeout = 2s});
  EXPECT_EQ(report.stopped, "");
  EXPECT_EQ(report.messages, 4U);
  EXPECT_EQ(report.gaps, 1U);
  EXPECT_GE(report.gap_time, 299ms);
  EXPECT_LT(report.gap_time, 325ms);
  EXPECT_EQ(report.error_count(LoadError::unanswered), 0U);
}

TEST_F(LoadTest, a_gap_that_lasts_to_the_end_is_counted) {
  server.dies_at = VirtualServer::origin + 1200ms;
  const LoadReport report = run({.connections = 2, .duration = 2s});
  EXPECT_EQ(report.stopped, "");
  EXPECT_EQ(report.gaps, 1U);
  EXPECT_NEAR(static_cast<double>(report.gap_time / 1ms), 1000, 30);
  EXPECT_EQ(report.open_at_end, 0U);
}

TEST_F(LoadTest, a_server_that_says_nothing_any_more_ends_the_run) {
  server.goes_silent_at = VirtualServer::origin + 1200ms;
  for (const std::uint64_t messages : {0U, 1'000'000U}) {
    const LoadReport report =
        run({.connections = 4, .duration = 60s, .messages = messages, .timeout = 2s});
    EXPECT_EQ(report.stopped, "no more answers arrived");
    EXPECT_EQ(report.error_count(LoadError::unanswered), 4U);
    server.goes_silent_at = VirtualServer::origin + 10s;
  }
}

TEST_F(LoadTest, answers_that_never_come_are_counted) {
  server.goes_silent_at = VirtualServer::origin + 1200ms;
  const LoadReport report = run({.connections = 4, .duration = 1100ms, .timeout = 2s});
  EXPECT_EQ(report.stopped, "");
  EXPECT_EQ(report.error_count(LoadError::unanswered), 4U);
  EXPECT_EQ(report.unanswered.count(), 4U);
  EXPECT_NEAR(ms(report.unanswered, 0), 2100, 10) << "100 ms to the end, and the timeout";
  EXPECT_LT(ms(report.uncorrected, 100), 1);
}

TEST_F(LoadTest, what_could_not_even_be_sent_is_unanswered_too) {
  server.goes_silent_at = VirtualServer::origin + 700ms;
  const LoadReport report = run({.connections = 4, .rate = 1000, .duration = 1s, .timeout = 2s});
  EXPECT_NEAR(static_cast<double>(report.messages), 480, 20);
  EXPECT_EQ(report.messages + report.error_count(LoadError::unanswered), 1000U);
  EXPECT_EQ(report.corrected.count(), 1000U);
  EXPECT_NEAR(ms(report.corrected, 50), 1500, 30) << "what never came is no fast answer";
  EXPECT_NEAR(ms(report.corrected, 100), 2000, 30);
  EXPECT_LT(ms(report.uncorrected, 100), 1);
  const LoadReport stopped = run({.connections = 4, .rate = 1000, .duration = 9s, .timeout = 2s});
  EXPECT_EQ(stopped.stopped, "no more answers arrived");
  EXPECT_GT(stopped.error_count(LoadError::unanswered), 1900U);
}

TEST_F(LoadTest, nobody_there_is_a_failure_of_the_whole) {
  server.dies_at = immediately;
  const auto poller = make_poller(server, "poll").value();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  const Result<LoadReport> report =
      run_load(*poller, Address(reinterpret_cast<const sockaddr*>(&address), sizeof address),
               {.connections = 3});
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error(), std::errc::connection_refused);
}

TEST_F(LoadTest, whoever_watches_is_told_when_the_measurement_begins_and_ends) {
  const auto poller = make_poller(server, "poll").value();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  using Phase = LoadProgress::Phase;
  std::vector<Phase> phases;
  std::uint64_t answered = 0;
  const Result<LoadReport> report = run_load(
      *poller, Address(reinterpret_cast<const sockaddr*>(&address), sizeof address),
      {.connections = 3, .warmup = 10ms, .duration = 10ms}, [&](const LoadProgress& progress) {
        if (progress.phase == Phase::connecting) return true;
        EXPECT_EQ(progress.elapsed, 0ms);  // so short a run has no other calls
        phases.push_back(progress.phase);
        answered = progress.answered;
        return true;
      });
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(phases, (std::vector{Phase::measuring, Phase::draining}));
  EXPECT_EQ(answered, report->answered);
}

TEST_F(LoadTest, whoever_watches_can_end_it) {
  const auto poller = make_poller(server, "poll").value();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  int calls = 0;
  const Result<LoadReport> report =
      run_load(*poller, Address(reinterpret_cast<const sockaddr*>(&address), sizeof address),
               {.connections = 3, .duration = 100s}, [&](const LoadProgress& progress) {
                 EXPECT_EQ(progress.errors, 0U);
                 if (progress.phase == LoadProgress::Phase::measuring) ++calls;
                 return calls < 4;
               });
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->stopped, "interrupted");
  EXPECT_NEAR(static_cast<double>(report->elapsed / 1ms), 1000, 260);
  EXPECT_GT(report->messages, 10'000U);
}

}  // namespace
}  // namespace duolu
