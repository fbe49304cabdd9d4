// Tasks side by side without a loop: what is woken goes on when the test says so.
#pragma once

#include <gtest/gtest.h>

#include <limits>
#include <list>
#include <utility>

#include "duolu/task/frames.hpp"
#include "duolu/task/ready.hpp"
#include "duolu/task/task.hpp"

namespace duolu::test {

class ByHand : public testing::Test {
 protected:
  /// Every task has ended, and nothing is left of them.
  ~ByHand() override {
    for (const Running& each : running_) EXPECT_TRUE(each.task.promise().done());
    running_.clear();
    EXPECT_EQ(frames_in_use(), 0);
  }

  /// Runs a task until it waits, or has ended. The chain it runs on, to cancel it by.
  Chain& start(Task<> task) {
    Running& one = running_.emplace_back(std::move(task));
    run(one);
    return one.chain;
  }
  /// The same on a chain that is cancelled already.
  void start_cancelled(Task<> task) {
    Running& one = running_.emplace_back(std::move(task));
    one.chain.cancel();
    run(one);
  }
  /// Has `most` of those that were woken go on.
  void go_on(int most = std::numeric_limits<int>::max()) { ready.run(most); }

  ReadyQueue ready;

 private:
  struct Running {
    explicit Running(Task<> what) : task(std::move(what)) {}
    Task<> task;
    Chain chain;
  };
  void run(Running& one) {
    one.chain.run_in(&ready);
    one.task.promise().enter(&one.chain);
    one.task.promise().run();
  }

  std::list<Running> running_;
};

}  // namespace duolu::test
