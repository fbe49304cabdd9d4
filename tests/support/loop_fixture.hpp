// A loop over an engine of any cell, and that nothing is left of its tasks.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "duolu/loop/loop.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/task/frames.hpp"
#include "support/conformance.hpp"
#include "support/engines.hpp"
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

class LoopFixture : public testing::TestWithParam<EngineCell> {
 protected:
  LoopFixture() : LoopFixture(real_kernel()) {}
  explicit LoopFixture(Kernel& kernel) : engine(GetParam().make(kernel).value()), loop(*engine) {}
  ~LoopFixture() override { EXPECT_EQ(frames_in_use(), 0); }

  std::unique_ptr<Engine> engine;
  Loop loop;
};

}  // namespace duolu::test
