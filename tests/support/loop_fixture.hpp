// A loop over every backend, with every trigger where that is asked for, and that nothing is left
// of its tasks.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "duolu/loop/loop.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/poll/backends.hpp"
#include "duolu/task/frames.hpp"
#include "support/conformance.hpp"
#include "support/sanitizers.hpp"

#if DUOLU_ASAN
#include <sanitizer/lsan_interface.h>
#endif

namespace duolu::test {

/// In the child of a death test that exits while tasks wait: they are left where they are (LO13),
/// and that is no leak.
inline void leave_tasks_behind() {
#if DUOLU_ASAN
  __lsan_disable();
#endif
}

class LoopFixture : public testing::TestWithParam<Cell> {
 protected:
  LoopFixture() : LoopFixture(real_kernel()) {}
  explicit LoopFixture(Kernel& kernel)
      : poller(GetParam().backend->make(kernel, {}).value()),
        engine(make_readiness_engine(*poller, {.trigger = GetParam().trigger})),
        loop(*engine) {}
  ~LoopFixture() override { EXPECT_EQ(frames_in_use(), 0); }

  std::unique_ptr<Poller> poller;
  std::unique_ptr<Engine> engine;
  Loop loop;
};

/// With the trigger that the engine would choose.
inline std::vector<Cell> every_backend() {
  std::vector<Cell> all = every_cell();
  std::erase_if(all, [](const Cell& cell) {
    return cell.trigger != (cell.traits().native_edge ? Trigger::edge : Trigger::level);
  });
  return all;
}

}  // namespace duolu::test

/// Runs the TEST_Ps of `suite` on every backend.
#define DUOLU_EVERY_BACKEND(suite)                                                   \
  INSTANTIATE_TEST_SUITE_P(, suite, testing::ValuesIn(duolu::test::every_backend()), \
                           [](const auto& cell) { return std::string(cell.param.backend->name); })
