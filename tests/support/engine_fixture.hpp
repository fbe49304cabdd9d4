// An engine of any cell, for tests that make requests themselves.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "duolu/engine/engine.hpp"
#include "support/conformance.hpp"
#include "support/endpoints.hpp"
#include "support/engines.hpp"
#include "support/scripted_ring.hpp"

namespace duolu::test {

class EngineFixture : public testing::TestWithParam<EngineCell> {
 protected:
  EngineFixture() { start(real_kernel()); }
  ~EngineFixture() override { stop(); }

  void stop() {
    for (Descriptor* descriptor : open_) engine->close(*descriptor);
    open_.clear();
    engine.reset();
  }
  void start(Kernel& with, const EngineOptions& options = {}) {
    stop();
    kernel = &with;
    if (GetParam().scripted) kernel = &ring_.emplace(with, 0);
    engine = GetParam().make(*kernel, options).value();
  }
  Descriptor& open(Fd fd, DescriptorKind kind = DescriptorKind::tcp) {
    Descriptor* const descriptor = engine->open(fd.get(), kind).value();
    (void)fd.release();
    open_.push_back(descriptor);
    return *descriptor;
  }
  void close(Descriptor& descriptor) {
    engine->close(descriptor);
    std::erase(open_, &descriptor);
  }
  /// Waits until this one has ended; its result. Nothing else may end.
  int result_of(const Op& op) {
    const Instant guard = after(real_kernel().now(), patience);
    while (!has_finished()) {
      if (real_kernel().now() >= guard) {
        ADD_FAILURE() << "nothing ends";
        return -ETIME;
      }
      EXPECT_TRUE(engine->wait(guard));
    }
    EXPECT_EQ(take(), &op);
    return op.result;
  }
  /// The result of a request that has ended if `at_once`, and else is going to. Nothing else may
  /// end.
  int ended(bool at_once, const Op& op) { return at_once ? op.result : result_of(op); }
  /// The next one that has finished, handed out; null if there is none.
  Op* take() {
    if (finished_ == nullptr) finished_ = engine->take_finished();
    if (finished_ == nullptr) return nullptr;
    Op* const op = std::exchange(finished_, finished_->next);
    op->state = Op::State::idle;
    return op;
  }
  bool has_finished() { return finished_ != nullptr || engine->has_finished(); }
  int receive(Descriptor& descriptor, std::string& out, std::size_t size = 4096) {
    out.resize(size);
    const int got = ended(engine->recv(descriptor, out.data(), size), descriptor.in);
    out.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return got;
  }
  int transmit(Descriptor& descriptor, const std::string& bytes) {
    return ended(engine->send(descriptor, bytes.data(), bytes.size()), descriptor.out);
  }
  /// Receives into a lent buffer what its peer sends.
  LentBuffer& lend(Descriptor& in, int peer, const std::string& bytes) {
    put(peer, bytes);
    EXPECT_TRUE(settled(in.fd, POLLIN));
    EXPECT_EQ(ended(engine->recv_lent(in), in.in), static_cast<int>(bytes.size()));
    return Engine::lent(in);
  }

  Kernel* kernel = nullptr;
  std::optional<ScriptedRing> ring_;  ///< Over the kernel that start() was given.
  std::unique_ptr<Engine> engine;
  std::vector<Descriptor*> open_;
  Op* finished_ = nullptr;
};

}  // namespace duolu::test
