// The buffers that an engine lends (EN9): how many there may be, and who waits for one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "duolu/base/check.hpp"
#include "duolu/engine/engine.hpp"

namespace duolu {

class LeasePool {
 public:
  /// `spare`: where `owner` keeps the buffers that are not lent (Engine::spare_). At most `limit`.
  LeasePool(Engine& owner, LentBuffer*& spare, std::size_t limit) noexcept
      : owner_(owner), spare_(spare), limit_(limit) {
    DUOLU_CHECK(owner.buffer_size() > 0 && owner.buffer_size() <= Engine::most_bytes);
    DUOLU_CHECK(limit > 0);
  }
  LeasePool(const LeasePool&) = delete;
  LeasePool& operator=(const LeasePool&) = delete;
  ~LeasePool() {
    while (spare_ != nullptr) drop_spare();
    if (made_ != 0 && !exiting()) check_failed("a Lease outlives its loop");
  }

  [[nodiscard]] bool can_lend() const noexcept {
    return spare_ != nullptr || made_ == 0 || (made_ < limit_ && !no_memory_);
  }
  /// Null if all are lent, or there is no memory for one more.
  LentBuffer* take() noexcept {
    return spare_ != nullptr ? std::exchange(spare_, spare_->next) : make_buffer();
  }
  /// Gives `op` a buffer to receive into; false if there is none.
  bool borrow(Op& op) noexcept {
    LentBuffer* const buffer = take();
    if (buffer == nullptr) return false;
    op.data = buffer->bytes();
    op.size = static_cast<std::uint32_t>(owner_.buffer_size());
    return true;
  }
  /// After borrow() has failed: whether no buffer is lent that could come back.
  [[nodiscard]] bool nothing_lent() const noexcept { return made_ == 0; }
  /// Buffers in excess of `needed` are freed, if they are not lent.
  void shrink(std::size_t needed) noexcept {
    while (made_ > needed && spare_ != nullptr) drop_spare();
  }
  /// Before a wait: there may be memory again.
  void try_memory_again() noexcept { no_memory_ = false; }

  // EN10: a buffer that was not sent completely stays with its request, and is not counted any
  // more: another one may be made in its place. A buffer of another engine stays lent.
  void take_out(const LentBuffer& buffer) noexcept {
    if (buffer.engine == &owner_) --made_;
  }
  void put_back(LentBuffer& buffer) noexcept {
    if (buffer.engine == &owner_) {
      if (made_ == limit_) return ::operator delete(&buffer);
      ++made_;
    }
    Engine::give_back(buffer);
  }

  // Requests that wait for a buffer, in order; linked by Op::next and Op::previous.

  /// Null if none waits.
  [[nodiscard]] Op* first_starved() const noexcept { return first_; }
  [[nodiscard]] std::size_t starved() const noexcept { return starved_; }
  /// It waits as the last one.
  void starve(Op& op) noexcept {
    ++starved_;
    op.state = Op::State::starved;
    op.next = nullptr;
    op.previous = last_;
    (last_ == nullptr ? first_ : last_->next) = &op;
    last_ = &op;
  }
  /// It waits as the first one: it was, and there was no buffer after all.
  void starve_again(Op& op) noexcept {
    ++starved_;
    op.state = Op::State::starved;
    op.previous = nullptr;
    op.next = first_;
    (first_ == nullptr ? last_ : first_->previous) = &op;
    first_ = &op;
  }
  /// It no longer waits for a buffer; it is parked.
  void forget(Op& op) noexcept {
    --starved_;
    (op.previous == nullptr ? first_ : op.previous->next) = op.next;
    (op.next == nullptr ? last_ : op.next->previous) = op.previous;
    op.state = Op::State::parked;
  }

 private:
  [[gnu::noinline, gnu::cold]] LentBuffer* make_buffer() noexcept {
    if (made_ == limit_) return nullptr;
    // Any but the first can be waited for, so it must not use up what a new handler has reserved.
    const bool may_wait = made_ > 0;
    const std::new_handler handler = may_wait ? std::set_new_handler(nullptr) : nullptr;
    void* const memory = ::operator new(sizeof(LentBuffer) + owner_.buffer_size(), std::nothrow);
    if (may_wait) std::set_new_handler(handler);
    no_memory_ = memory == nullptr;
    if (no_memory_) return nullptr;
    static_assert(alignof(LentBuffer) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
    ++made_;
    return new (memory) LentBuffer{.engine = &owner_, .next = nullptr, .size = 0};
  }
  void drop_spare() noexcept {
    ::operator delete(std::exchange(spare_, spare_->next));
    --made_;
  }

  Engine& owner_;
  LentBuffer*& spare_;
  const std::size_t limit_;  ///< Upper bound of made_.
  std::size_t made_ = 0;     ///< Buffers that exist, except those that were taken out.
  bool no_memory_ = false;   ///< There was none for one more buffer since the last wait.
  Op* first_ = nullptr;
  Op* last_ = nullptr;
  std::size_t starved_ = 0;  ///< How many are linked from first_ to last_.
};

}  // namespace duolu
