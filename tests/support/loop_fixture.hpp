// A loop over every backend, and that nothing is left of its tasks.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "duolu/loop/loop.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/poll/backends.hpp"
#include "duolu/task/frames.hpp"

namespace duolu::test {

class LoopFixture : public testing::TestWithParam<const Backend*> {
 protected:
  LoopFixture() : LoopFixture(real_kernel()) {}
  explicit LoopFixture(Kernel& kernel)
      : poller(GetParam()->make(kernel, {}).value()),
        engine(make_readiness_engine(*poller)),
        loop(*engine) {}
  ~LoopFixture() override { EXPECT_EQ(frames_in_use(), 0); }

  std::unique_ptr<Poller> poller;
  std::unique_ptr<Engine> engine;
  Loop loop;
};

inline auto every_backend() {
  std::vector<const Backend*> all;
  for (const Backend& backend : backends()) all.push_back(&backend);
  return testing::ValuesIn(all);
}

}  // namespace duolu::test

/// Runs the TEST_Ps of `suite` on every backend.
#define DUOLU_EVERY_BACKEND(suite)                                \
  INSTANTIATE_TEST_SUITE_P(, suite, duolu::test::every_backend(), \
                           [](const auto& cell) { return std::string(cell.param->name); })
