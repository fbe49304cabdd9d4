// The report of `duolu lab`, from results that were made up.
#include "apps/lab_report.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "lab/synthetic.hpp"

namespace duolu::apps {
namespace {

using namespace std::chrono_literals;

const std::vector<std::string> names{"blocking", "threads",       "select",     "poll",
                                     "epoll",    "epoll-oneshot", "raw-select", "raw-epoll"};

LabRun run_of(lab::Results results) {
  LabRun run;
  run.command = {"duolu", "lab", "--quick", "--json", "'a file'"};
  run.pace = "quick";
  for (const std::string& name : results.subjects)
    run.models.push_back({name, "duolu", "a summary of it", ""});
  run.models.push_back({"uring", "duolu", "completion",
                        "io_uring is disabled by the administrator (kernel.io_uring_disabled)"});
  run.machine = {{"processor", std::string(60, 'p')},
                 {"kernel", "Linux 6.18.44-with-a-long-name"},
                 {"governor", {}}};
  run.plan.duration = 50ms;
  run.plan.cores = {0, 1};
  run.results = std::move(results);
  return run;
}

lab::Results usual() { return lab::synthetic(names, lab::usual_cost); }

std::vector<std::string> lines(std::string_view text) {
  std::vector<std::string> found;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    found.emplace_back(line);
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return found;
}

TEST(LabReportTest, no_line_is_longer_than_a_terminal) {
  for (const double scale : {1e-3, 0.01, 1.0, 30.0, 1e3, 1e5, 1e7}) {
    lab::Results results =
        lab::synthetic(names, [&](const std::string& name, const lab::Load& load) {
          return lab::usual_cost(name, load) * (name == lab::by_select ? scale : 1.0);
        });
    for (lab::Sample& sample : results.samples) {
      sample.client_share = 1;
      sample.server_share = 0.5;
      sample.user_share = 1;
      sample.switches *= 10;
    }
    results.failures.push_back({1, 0, std::string(100, 'x') + " the server ended: signal 9"});
    results.incomplete = "interrupted after 4711 of 99999 runs";
    const std::string text = to_text(run_of(results));
    for (const std::string& line : lines(text)) {
      const bool one_word = line.find(std::string(60, 'x')) != std::string::npos;
      EXPECT_TRUE(one_word || line.size() <= 80) << text;
    }
  }
}

TEST(LabReportTest, it_says_what_it_found) {
  const std::string text = to_text(run_of(usual()));
  for (const char* part :
       {"On this machine (", "server on core 0, client on core 1", "100 connections, all active",
        "holds           select: the cost grows linearly with idle connections",
        "holds           epoll: the cost does not depend on idle connections",
        "holds           select costs more than epoll", "raw-select", "uring is left out: io_uring",
        "again: duolu lab --quick --json 'a file'", "flat"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  EXPECT_EQ(text.find("can't tell"), std::string::npos) << text;
  EXPECT_EQ(text.find("refused"), std::string::npos) << text;
}

TEST(LabReportTest, LB3_a_refusal_is_shown_with_its_reason) {
  lab::Results results = usual();
  for (lab::Sample& sample : results.samples) sample.waited_share = 0.4;
  const std::string text = to_text(run_of(results));
  EXPECT_NE(text.find("No verdict: others"), std::string::npos) << text;
  EXPECT_NE(text.find("- refused: others used the cores for 40 % of the time"), std::string::npos);
  for (const char* word : {" cheaper", " dearer", " same", "holds "})
    EXPECT_EQ(text.find(word), std::string::npos) << word << "\n" << text;
}

TEST(LabReportTest, a_rate_that_the_client_limited_is_marked) {
  lab::Results results = usual();
  EXPECT_EQ(to_text(run_of(results)).find('>'), std::string::npos);
  for (lab::Sample& sample : results.samples) {
    sample.client_share = 0.99;
    sample.server_share = 0.7;
  }
  const std::string text = to_text(run_of(results));
  EXPECT_NE(text.find("  > the client was busy"), std::string::npos);
  EXPECT_NE(text.find(" >2"), std::string::npos) << text;
}

TEST(LabReportTest, nothing_was_measured) {
  lab::Results results = usual();
  results.samples.clear();
  results.incomplete = "interrupted after 0 of 48 runs";
  const std::string text = to_text(run_of(results));
  EXPECT_NE(text.find("- nothing was measured"), std::string::npos);
  EXPECT_NE(text.find("- not complete: interrupted after 0 of 48 runs"), std::string::npos);
  EXPECT_TRUE(nlohmann::json::parse(to_json(run_of(results)))["figures"].empty());
}

TEST(LabReportTest, json_has_every_sample) {
  const lab::Results results = usual();
  const auto json = nlohmann::json::parse(to_json(run_of(results)));
  EXPECT_EQ(json["schema"], "duolu.lab/1");
  EXPECT_EQ(json["samples"].size(), results.samples.size());
  EXPECT_EQ(json["samples"][0]["cpu_us"], results.samples[0].cpu_us);
  EXPECT_EQ(json["figures"].size(), names.size() * results.loads.size());
  EXPECT_EQ(json["claims"].size(), 7U);
  EXPECT_EQ(json["models"].back()["works"], false);
  EXPECT_TRUE(json["machine"]["governor"].is_null());
  EXPECT_TRUE(json["incomplete"].is_null());
}

TEST(LabReportTest, LB8_the_same_samples_give_the_same_report) {
  EXPECT_EQ(to_text(run_of(usual())), to_text(run_of(usual())));
  EXPECT_EQ(to_json(run_of(usual())), to_json(run_of(usual())));
}

TEST(LabReportTest, bars) {
  EXPECT_EQ(bar(0, 10), "");
  EXPECT_EQ(bar(0.001, 10), "#");
  EXPECT_EQ(bar(0.5, 10), "#####");
  EXPECT_EQ(bar(7, 10), "##########");
}

TEST(LabReportTest, progress_fits_into_the_terminal) {
  const lab::LabProgress progress{.done = 99,
                                  .runs = 402,
                                  .subject = "epoll-oneshot",
                                  .load = "10 active beside 1000 idle",
                                  .left = 31400ms};
  EXPECT_EQ(to_line(progress, 80),
            "run 100 of 402: 32 s left, epoll-oneshot, 10 active beside 1000 idle");
  for (std::size_t columns = 0; columns < 80; ++columns) {
    const std::string line = to_line(progress, columns);
    EXPECT_TRUE(line.empty() || line.size() < columns) << columns;
  }
}

}  // namespace
}  // namespace duolu::apps
