// Public. Layer: task. A channel: values from tasks to tasks, with a bound.
//
//   CH1  Every value that was sent is received once, in the order of sending.
//   CH2  The channel holds at most `capacity` values: send() waits while it is full. With capacity
//       0, it waits for a receiver.
//   CH3  Senders are served in the order in which they began to wait, and so are receivers.
//   CH4  After close(), receive() returns the values that are in the channel, and then EPIPE.
//       send() ends with EPIPE, also one that waits already.
//   CH5  When the chain is cancelled, both end with ECANCELED, at once if it was cancelled before.
//       No value is lost: a receiver that was woken with a value returns it, and a value that was
//       not sent, whatever the error, has not been moved from.
//   CH6  Only the constructor allocates memory.
//   CH7  Sending, receiving and closing resume no task (RQ1).
//   CH8  try_send() and try_receive() never wait, and never overtake a task that waits.
//
// One thread. The channel outlives the tasks that wait for it.
#pragma once

#include <cerrno>
#include <concepts>
#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "duolu/base/check.hpp"
#include "duolu/base/result.hpp"
#include "duolu/task/ready.hpp"

namespace duolu {

/// A bounded queue of T. See the top of this file.
template <class T>
class Channel {
  static_assert(std::is_nothrow_move_constructible_v<T>,
                "Channel<T>: a move of T may throw, and then a value would be lost between two "
                "tasks; send a std::unique_ptr to it (std::deque's move takes memory)");

  struct Sender : detail::WaitEntry {
    static constexpr const char* what = "for room in a channel";
    Sender(Channel* to, T* of) noexcept : channel(to), from(of) {}
    bool begin() noexcept { return channel->accept(*this); }
    void park() noexcept { channel->senders_.push(*this); }
    Result<> value() const noexcept {
      if (failed) return fail(error);
      return {};
    }
    Channel* channel;
    T* from;  ///< Moved from when it is sent.
  };
  struct Moved : Sender {
    struct Of {
      Channel* channel;
      T* value;
    };
    explicit Moved(const Of& of) noexcept : Sender(of.channel, of.value) {}
  };
  struct Copied : Sender {
    struct Of {
      Channel* channel;
      T value;
    };
    explicit Copied(Of&& of) noexcept : Sender(of.channel, &copy), copy(std::move(of.value)) {}
    T copy;
  };
  struct Receiver : detail::WaitEntry {
    static constexpr const char* what = "for a value from a channel";
    explicit Receiver(Channel* from) noexcept : channel(from) {}
    bool begin() noexcept { return channel->supply(*this); }
    void park() noexcept { channel->receivers_.push(*this); }
    Result<T> value() noexcept {
      if (failed) return fail(error);
      DUOLU_CHECK(received.has_value());
      return *std::move(received);
    }
    Channel* channel;
    std::optional<T> received;
  };

 public:
  explicit Channel(std::size_t capacity) : slots_(capacity) {}
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  /// `Result<> sent = co_await channel.send(std::move(value));`: `value` is moved from only if it
  /// was sent, and has to live until send() has ended.
  auto send(T&& value) noexcept {
    return detail::Parking<Moved, typename Moved::Of>(typename Moved::Of{this, &value});
  }
  /// The same with a copy.
  auto send(const T& value)
    requires std::copy_constructible<T>
  {
    return detail::Parking<Copied, typename Copied::Of>(typename Copied::Of{this, value});
  }
  /// `while (Result<T> value = co_await channel.receive())`: the next value. Errors: EPIPE after
  /// the last one, ECANCELED.
  auto receive() noexcept { return detail::Parking<Receiver, Channel*>(this); }
  /// Sends `value` if that is possible now. Returns whether it was sent, and so moved from.
  [[nodiscard]] bool try_send(T&& value) noexcept {
    Sender sender(this, &value);
    return accept(sender) && !sender.failed;
  }
  /// The same with a copy.
  [[nodiscard]] bool try_send(const T& value)
    requires std::copy_constructible<T>
  {
    T copy = value;
    return try_send(std::move(copy));
  }
  /// The next value, if there is one now; nothing, too, when a closed channel is empty.
  [[nodiscard]] std::optional<T> try_receive() noexcept {
    Receiver receiver(this);
    if (!supply(receiver)) return std::nullopt;
    return std::move(receiver.received);
  }
  /// See CH4. A second call does nothing.
  void close() noexcept {
    closed_ = true;
    // If there are waiting receivers, the channel is empty.
    receivers_.wake_all(errno_code(EPIPE));
    senders_.wake_all(errno_code(EPIPE));
  }

  /// How many values are in it, not counting those of waiting senders.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return slots_.size(); }
  [[nodiscard]] bool closed() const noexcept { return closed_; }

 private:
  // Senders wait only while it is full, receivers only while it is empty.

  /// Takes the sender's value. False: the sender has to wait.
  bool accept(Sender& sender) noexcept {
    if (closed_) {
      sender.fail_with(errno_code(EPIPE));
    } else if (!receivers_.empty()) {
      auto& receiver = static_cast<Receiver&>(receivers_.front());
      receiver.received.emplace(std::move(*sender.from));
      receiver.wake();
    } else if (size_ < capacity()) {
      put(std::move(*sender.from));
    } else {
      return false;
    }
    return true;
  }

  /// Passes a value, or EPIPE, to the receiver. False: the receiver has to wait.
  bool supply(Receiver& receiver) noexcept {
    if (size_ > 0) {
      std::optional<T>& slot = slots_[first_];
      DUOLU_CHECK(slot.has_value());
      receiver.received.emplace(std::move(*slot));
      slot.reset();
      first_ = (first_ + 1) % capacity();
      --size_;
      if (!senders_.empty()) put(std::move(*next_sender().from));
    } else if (!senders_.empty()) {
      receiver.received.emplace(std::move(*next_sender().from));
    } else if (closed_) {
      receiver.fail_with(errno_code(EPIPE));
    } else {
      return false;
    }
    return true;
  }

  /// Wakes the sender that has waited longest. It is resumed later, so its value still exists.
  Sender& next_sender() noexcept {
    auto& sender = static_cast<Sender&>(senders_.front());
    sender.wake();
    return sender;
  }

  void put(T&& value) noexcept {
    slots_[(first_ + size_) % capacity()].emplace(std::move(value));
    ++size_;
  }

  std::vector<std::optional<T>> slots_;  ///< A ring: `size_` values from `first_` on.
  std::size_t first_ = 0;
  std::size_t size_ = 0;
  bool closed_ = false;
  detail::WaitQueue senders_;
  detail::WaitQueue receivers_;
};

}  // namespace duolu
