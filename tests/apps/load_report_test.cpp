// The report of `duolu load`, as wide as a terminal whatever the figures are.
#include "apps/load_report.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace duolu::apps {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> lines(std::string_view text) {
  std::vector<std::string> found;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    found.emplace_back(line);
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return found;
}

Run run_of(double rate, std::uint64_t figures) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  std::fill_n(address.sin6_addr.s6_addr, 16, std::uint8_t{0xfe});
  address.sin6_port = 0xffff;
  Run run;
  run.command = {"duolu", "load", "'[fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe]:65535'"};
  for (const char* option : {"--connections", "--active", "--duration", "--size", "--pipeline",
                             "--rate", "--arrivals", "--churn", "--warmup", "--timeout"})
    run.command.insert(run.command.end(), {option, std::to_string(figures)});
  run.command.emplace_back("--allow-remote");
  run.backend = "select";
  run.options.rate = rate;
  run.options.connections = run.options.size = figures;
  run.options.pipeline = figures + 1;
  run.options.churn = figures;
  run.options.active = figures > 1 ? figures - 1 : 0;
  LoadReport& r = run.report;
  r.target = Address(reinterpret_cast<const sockaddr*>(&address), sizeof address);
  r.elapsed = 1s;
  r.messages = r.answered = r.opened = r.open_at_end = r.lost = r.gaps = r.preempted = figures;
  r.gap_time = r.longest_gap = Duration(static_cast<std::int64_t>(figures));
  r.cpu = 990ms;
  r.errors.fill(figures);
  for (Histogram* histogram :
       {&r.uncorrected, &r.corrected, &r.unanswered, &r.connecting, &r.start_error, &r.bare_sleep})
    for (const std::uint64_t part : {1U, 10U, 1000U}) histogram->record(figures / part);
  r.limit = "the client was busy 99 % of the time: the server may be able to do more";
  r.stopped =
      "wrong answer: connection 4294967295, byte 18446744073709551615 of the answers: "
      "255 instead of 254";
  return run;
}

TEST(LoadReportTest, no_line_is_longer_than_a_terminal) {
  for (const double rate : {0.0, 0.001, 0.5, 999'999.0}) {
    for (const std::uint64_t figures :
         {std::uint64_t{1}, std::uint64_t{999'949'999}, std::uint64_t{999'999'999},
          std::uint64_t{99'999'999'999}, Histogram::default_highest}) {
      const std::string text = to_text(run_of(rate, figures));
      for (const std::string& line : lines(text)) EXPECT_LE(line.size(), 80U) << text;
    }
  }
}

TEST(LoadReportTest, the_command_goes_on_behind_a_backslash) {
  const std::string text = to_text(run_of(0, 1));
  std::string again = text.substr(text.find("  again") + 15);
  for (std::size_t at; (at = again.find(" \\\n")) != std::string::npos;)
    again.erase(at, again.find_first_not_of(' ', at + 3) - 1 - at);
  std::string wanted;
  for (const std::string& word : run_of(0, 1).command) wanted += word + ' ';
  wanted.back() = '\n';
  EXPECT_EQ(again, wanted);
}

TEST(LoadReportTest, one_of_a_thing_is_one_thing) {
  auto run = run_of(0, 1);
  run.options.active = 0;
  run.options.pipeline = 1;
  run.report.unanswered = Histogram();
  run.report.unanswered.record(5000);
  const std::string one = to_text(run);
  for (const char* words : {", 1 connection, 1 byte,", "preempted 1 time\n",
                            " 1 message, given up after p50 5.0,", "made; 1 connection lost"})
    EXPECT_NE(one.find(words), std::string::npos) << words << one;
  const std::string two = to_text(run_of(0, 2));
  for (const char* words : {", 2 connections (1 ", "2 bytes x 3 deep", "preempted 2 times\n"})
    EXPECT_NE(two.find(words), std::string::npos) << words << two;
}

TEST(LoadReportTest, low_rates_are_not_rounded_away) {
  const std::string text = to_text(run_of(0.5, 1));
  EXPECT_NE(text.find("asked for    0.5 a second"), std::string::npos) << text;
}

TEST(LoadReportTest, the_line_of_progress_fits) {
  LoadProgress progress{.phase = LoadProgress::Phase::measuring, .elapsed = 12'345ms};
  progress.connections = 1;
  progress.answered = 1'234'567'890;
  EXPECT_EQ(to_line(progress, 80), "measuring 12.3 s: 1234567890 answers, 1 connection");
  EXPECT_EQ(to_line(progress, 40), "measuring 12.3 s: 1234567890 answers");
  EXPECT_EQ(to_line(progress, 37), "measuring 12.3 s: 1234567890 answers");
  EXPECT_EQ(to_line(progress, 36), "measuring 12.3 s: 1 connection");
  progress.errors = 2;
  EXPECT_EQ(to_line(progress, 80), "measuring 12.3 s: 2 errors, 1234567890 answers, 1 connection");
  for (std::size_t columns = 1; columns < 80; ++columns)
    EXPECT_LT(to_line(progress, columns).size(), columns);
}

}  // namespace
}  // namespace duolu::apps
