// An engine that is as late as the clauses allow (EN1): a double for tests of what is above the
// seam. Nothing ends at once, what has ended is handed out a wait later, and in another order.
#pragma once

#include <cstddef>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "duolu/base/prng.hpp"
#include "duolu/engine/engine.hpp"

namespace duolu::test {

/// Makes its requests to another engine, which has descriptors of its own. What the other one has
/// ended stays outstanding here until a later wait(), even if that one was cancelled meanwhile: so
/// does a kernel that completes requests by itself. Until then the buffer of a recv() holds
/// something else, and is written to when the request ends.
class LateEngine final : public Engine {
 public:
  explicit LateEngine(std::unique_ptr<Engine> inner, std::uint64_t seed = 1)
      : Engine(inner->kernel(), inner->buffer_size()), inner_(std::move(inner)), prng_(seed) {}

  Result<Descriptor*> open(int fd, DescriptorKind kind) override {
    const Result<Descriptor*> opened = inner_->open(fd, kind);
    if (!opened) return fail(opened.error());
    Late& late = descriptors_.emplace_back();
    held_.reserve(2 * descriptors_.size());
    released_.reserve(2 * descriptors_.size());
    late.inner = *opened;
    late.outer.engine = this;
    late.outer.fd = fd;
    late.outer.kind = kind;
    return &late.outer;
  }
  void close(Descriptor& descriptor) noexcept override {
    check_idle(descriptor);
    late(descriptor).inner->may_linger = descriptor.may_linger;
    inner_->close(*late(descriptor).inner);
    descriptor.fd = -1;
  }
  Result<Fd> release(Descriptor& descriptor) noexcept override {
    check_idle(descriptor);
    Result<Fd> given = inner_->release(*late(descriptor).inner);
    if (given) descriptor.fd = -1;
    return given;
  }

  bool start_send(Descriptor& descriptor) override { return start_any_out(descriptor); }
  bool start_send_lent(Descriptor& descriptor) override { return start_any_out(descriptor); }
  bool start_out(Descriptor& descriptor) override { return start_any_out(descriptor); }

  void cancel(Op& op) noexcept override {
    if (op.outstanding()) inner_->cancel(*op.next);  // which does nothing if that one has ended
  }

  Result<bool> wait(Instant deadline) override {
    bool woken = false;
    for (;;) {
      release();
      const Result<bool> waited = inner_->wait(has_finished() || woken ? immediately : deadline);
      if (!waited) return fail(waited.error());
      woken = woken || *waited;
      collect();
      // What came in this wait is held until the next one; but a wait that is to sleep ends with
      // something, so it makes two.
      if (has_finished() || woken || held_.empty() || deadline == immediately) return woken;
    }
  }
  void wake() noexcept override { inner_->wake(); }
  [[nodiscard]] int fd() const noexcept override { return inner_->fd(); }
  [[nodiscard]] bool due() const noexcept override {
    return has_finished() || !held_.empty() || inner_->due();
  }

 private:
  struct Late {
    Descriptor outer;  ///< What the caller has.
    Descriptor* inner = nullptr;
    std::string received;  ///< By a recv() that has ended in the inner engine only.
  };

  static void check_idle(const Descriptor& descriptor) noexcept {
    const bool waits = descriptor.in.outstanding() || descriptor.out.outstanding();
    if (waits && !exiting()) check_failed("closed while a task waits for it");
  }
  static Late& late(Descriptor& descriptor) noexcept {
    return reinterpret_cast<Late&>(descriptor);  // its first member
  }
  static Late& late_of_in(Op& op) noexcept { return reinterpret_cast<Late&>(op); }

  bool try_in(Descriptor& descriptor) override {
    Descriptor& inner = *late(descriptor).inner;
    begin(descriptor.in, inner.in);
    if (inner_->start_in(inner)) hold(inner.in);
    return false;
  }
  bool start_any_out(Descriptor& descriptor) {
    Descriptor& inner = *late(descriptor).inner;
    begin(descriptor.out, inner.out);
    const bool ended = descriptor.out.code == Op::Code::send        ? inner_->start_send(inner)
                       : descriptor.out.code == Op::Code::send_lent ? inner_->start_send_lent(inner)
                                                                    : inner_->start_out(inner);
    if (ended) hold(inner.out);
    return false;
  }

  static void begin(Op& outer, Op& inner) noexcept {
    inner.code = outer.code;
    inner.data = outer.data;
    inner.size = outer.size;
    inner.moved = 0;
    inner.waiter = &outer;
    outer.next = &inner;
    outer.moved = 0;
    outer.state = Op::State::parked;
  }
  void hold(Op& inner) noexcept {
    Op& outer = *static_cast<Op*>(inner.waiter);
    if (inner.code == Op::Code::recv && inner.result > 0) {
      std::string& received = late_of_in(outer).received;
      received.assign(outer.data, static_cast<std::size_t>(inner.result));
      std::memset(outer.data, '?', received.size());
    }
    held_.push_back(&inner);
  }
  void collect() noexcept {
    for (Op* op = inner_->take_finished(); op != nullptr;) {
      Op& inner = *std::exchange(op, op->next);
      inner.state = Op::State::idle;
      hold(inner);
    }
  }
  void release() noexcept {
    released_.swap(held_);
    while (!released_.empty()) {
      std::swap(released_[prng_.below(released_.size())], released_.back());
      Op& inner = *released_.back();
      released_.pop_back();
      Op& outer = *static_cast<Op*>(inner.waiter);
      outer.moved = inner.moved;
      if (inner.code == Op::Code::recv && inner.result > 0)
        std::memcpy(outer.data, late_of_in(outer).received.data(),
                    static_cast<std::size_t>(inner.result));
      else if (inner.code == Op::Code::recv_lent)
        outer.data = inner.data;
      finish(outer, inner.result);
    }
  }

  std::unique_ptr<Engine> inner_;
  Prng prng_;
  std::deque<Late> descriptors_;  ///< Never move, and are never given back, as an engine's.
  std::vector<Op*> held_;         ///< Of the inner engine: ended there, and outstanding here.
  std::vector<Op*> released_;
};

}  // namespace duolu::test
