// The verdicts, from results that were made up.
#include "duolu/lab/claims.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "lab/synthetic.hpp"

namespace duolu::lab {
namespace {

const std::vector<std::string> usual{"blocking", "select", "poll", "epoll", "epoll-edge"};

Claim claim(const Results& results, std::string_view name) {
  for (Claim& each : judge(results))
    if (each.name == name) return each;
  ADD_FAILURE() << name;
  return {};
}

Verdict verdict(const Results& results, std::string_view name) {
  return claim(results, name).verdict;
}

/// The same with other figures of one server.
Results changed(Results results, std::string_view subject,
                const std::function<void(Sample&)>& change) {
  for (Sample& sample : results.samples)
    if (results.subjects[sample.subject] == subject) change(sample);
  return results;
}

Results without(Results results, std::string_view subject) {
  std::erase_if(results.samples,
                [&](const Sample& sample) { return results.subjects[sample.subject] == subject; });
  return results;
}

TEST(ClaimsTest, LB5_linear_and_flat) {
  const Results results = synthetic(usual, usual_cost);
  EXPECT_EQ(verdict(results, "select-linear"), Verdict::holds);
  EXPECT_EQ(verdict(results, "poll-linear"), Verdict::holds);
  EXPECT_EQ(verdict(results, "epoll-flat"), Verdict::holds);
}

TEST(ClaimsTest, LB5_the_contrary) {
  const Results results = synthetic(usual, [](const std::string& subject, const Load& load) {
    const auto idle = static_cast<double>(load.idle());
    if (subject == by_epoll) return 4 + 0.01 * idle;
    if (subject == by_poll) return 4 + idle * idle / 1e5;
    return 4.0;
  });
  EXPECT_EQ(verdict(results, "select-linear"), Verdict::does_not_hold);  // flat
  EXPECT_EQ(verdict(results, "poll-linear"), Verdict::does_not_hold);    // with a square
  EXPECT_EQ(verdict(results, "epoll-flat"), Verdict::does_not_hold);
}

TEST(ClaimsTest, LB5_no_verdict_through_noise) {
  // The truth is right at the limits, and the noise is on both sides of it.
  const auto little = [](const std::string& subject, const Load& load) {
    return load.idle() == 0 ? 4.0 : subject == by_epoll ? 4.4 : 4.6;
  };
  const Results results = synthetic(usual, little, 0.2, 0);
  EXPECT_EQ(verdict(results, "select-linear"), Verdict::cannot_tell);
  EXPECT_EQ(verdict(results, "epoll-flat"), Verdict::cannot_tell);
}

TEST(ClaimsTest, LB6_holds_from_a_number_on) {
  const auto late = [](const std::string& subject, const Load& load) {
    return subject == by_select && load.idle() >= 500 ? 6.0 : 4.0;
  };
  const Claim found = claim(synthetic(usual, late), "select-dearer");
  EXPECT_EQ(found.verdict, Verdict::holds_from);
  EXPECT_EQ(found.from, 500U);
  EXPECT_EQ(verdict(synthetic(usual, usual_cost), "select-dearer"), Verdict::holds);
  EXPECT_EQ(verdict(synthetic(usual, late), "poll-dearer"), Verdict::does_not_hold);
}

TEST(ClaimsTest, LB6_what_is_dearer_only_in_between_does_not_count) {
  const auto between = [](const std::string& subject, const Load& load) {
    return subject == by_select && load.idle() == 500 ? 6.0 : 4.0;
  };
  EXPECT_EQ(verdict(synthetic(usual, between), "select-dearer"), Verdict::does_not_hold);
}

TEST(ClaimsTest, LB6_no_verdict_if_the_highest_is_open) {
  EXPECT_EQ(verdict(synthetic(
                        usual, [](const std::string&, const Load&) { return 4.0; }, 0.13, 0),
                    "select-dearer"),
            Verdict::cannot_tell);
}

TEST(ClaimsTest, one_connection) {
  const std::string_view name = "one-connection-blocking";
  const Results same = synthetic(usual, usual_cost);
  EXPECT_EQ(verdict(same, name), Verdict::holds);
  EXPECT_EQ(verdict(changed(same, "blocking", [](Sample& s) { s.rate *= 1.4; }), name),
            Verdict::holds);
  EXPECT_EQ(verdict(changed(same, "blocking", [](Sample& s) { s.rate *= 0.8; }), name),
            Verdict::does_not_hold);
  EXPECT_EQ(verdict(changed(same, "blocking", [](Sample& s) { s.rate *= 0.95; }), name),
            Verdict::cannot_tell);
}

TEST(ClaimsTest, edge_and_level) {
  const std::string_view name = "edge-wakes-less";
  const Results same = synthetic(usual, usual_cost);
  EXPECT_EQ(verdict(same, name), Verdict::does_not_hold);
  EXPECT_EQ(verdict(changed(same, "epoll-edge", [](Sample& s) { s.switches *= 0.5; }), name),
            Verdict::holds);
  // Nobody waits: there is nothing to compare.
  Results busy = same;
  for (Sample& sample : busy.samples) sample.switches = 0;
  EXPECT_EQ(verdict(busy, name), Verdict::cannot_tell);
}

TEST(ClaimsTest, LB7_what_was_not_measured) {
  const Results results = synthetic(usual, usual_cost);
  EXPECT_EQ(verdict(without(results, "select"), "select-linear"), Verdict::not_measured);
  EXPECT_EQ(verdict(without(results, "select"), "poll-linear"), Verdict::holds);
  EXPECT_EQ(verdict(without(results, "blocking"), "one-connection-blocking"),
            Verdict::not_measured);
  EXPECT_EQ(verdict(without(results, "epoll-edge"), "edge-wakes-less"), Verdict::not_measured);
  for (const Claim& each : judge(without(results, "epoll")))
    EXPECT_EQ(each.verdict, each.name == "select-linear" || each.name == "poll-linear"
                                ? Verdict::holds
                                : Verdict::not_measured)
        << each.name;
  Results nothing;
  nothing.loads = synthetic_loads();
  for (const Claim& each : judge(nothing)) EXPECT_EQ(each.verdict, Verdict::not_measured);
}

TEST(ClaimsTest, LB3_refused) {
  const Results good = synthetic(usual, usual_cost);
  Results one_core = good;
  one_core.one_core = true;
  Results hog = good;
  for (Sample& sample : hog.samples) sample.waited_share = 0.5;
  for (const Results* results : {&one_core, &hog})
    for (const Claim& each : judge(*results))
      EXPECT_EQ(each.verdict, Verdict::cannot_tell) << each.name;
  EXPECT_NE(claim(hog, "epoll-flat").figures.find("50 % of the time"), std::string::npos);
}

TEST(ClaimsTest, LB1_five_rounds_are_too_few) {
  for (const Claim& each : judge(synthetic(usual, usual_cost, 0.01, 0.2, 5)))
    EXPECT_EQ(each.verdict, Verdict::cannot_tell) << each.name;
}

TEST(ClaimsTest, LB8_the_same_samples_give_the_same_verdicts) {
  const Results results = synthetic(usual, usual_cost, 0.05);
  const std::vector<Claim> first = judge(results);
  const std::vector<Claim> second = judge(results);
  ASSERT_EQ(first.size(), second.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].verdict, second[i].verdict);
    EXPECT_EQ(first[i].figures, second[i].figures);
  }
}

}  // namespace
}  // namespace duolu::lab
