// One body of tests for every backend and every trigger: derive from Conformance, write TEST_P, and
// instantiate with DUOLU_EVERY_BACKEND_AND_TRIGGER. See docs/contracts.md for what is held.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "duolu/kernel/fd.hpp"
#include "duolu/kernel/kernel.hpp"
#include "duolu/poll/backends.hpp"
#include "duolu/testing/fault.hpp"
#include "support/param_name.hpp"

namespace duolu::test {

using namespace std::chrono_literals;

/// Long enough for the loopback interface, short enough to be waited for when nothing comes.
inline constexpr Duration settle_time = 20ms;

/// The cell of the conformance table a test runs in.
struct Cell {
  const Backend* backend = nullptr;
  Trigger trigger = Trigger::level;

  [[nodiscard]] std::string name() const {
    return param_name(backend->name) + "_" + to_string(trigger);
  }
  [[nodiscard]] const BackendTraits& traits() const { return backend->traits; }
};

inline void PrintTo(const Cell& cell, std::ostream* out) { *out << cell.name(); }

inline std::vector<Cell> every_cell() {
  std::vector<Cell> cells;
  for (const Backend& backend : backends())
    for (const Trigger trigger : {Trigger::level, Trigger::edge, Trigger::oneshot})
      cells.push_back({&backend, trigger});
  return cells;
}

/// Two connected descriptors, both non-blocking, closed at the end.
struct Pair {
  Fd a;
  Fd b;
};

inline Pair unix_pair(int type = SOCK_STREAM) {
  int fds[2];
  if (::socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
  return {Fd(real_kernel(), fds[0]), Fd(real_kernel(), fds[1])};
}

/// a reads, b writes.
inline Pair pipe_pair() {
  int fds[2];
  if (::pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) std::abort();
  return {Fd(real_kernel(), fds[0]), Fd(real_kernel(), fds[1])};
}

/// A connected pair of TCP sockets on 127.0.0.1; b is the accepted one.
Pair tcp_pair();

/// Reads until EAGAIN or the end; the number of bytes.
inline std::size_t drain(int fd) {
  std::array<char, 4096> buffer;
  std::size_t total = 0;
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got <= 0) return total;
    total += static_cast<std::size_t>(got);
  }
}

inline void put(int fd, std::string_view text) {
  ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

/// Writes until EAGAIN; the number of bytes.
inline std::size_t fill(int fd) {
  static const std::array<char, 4096> block{};
  std::size_t total = 0;
  for (;;) {
    const ssize_t sent = ::write(fd, block.data(), block.size());
    if (sent <= 0) return total;
    total += static_cast<std::size_t>(sent);
  }
}

/// The error of a result; none if it succeeded.
template <class T>
std::error_code error_of(const Result<T>& result) {
  return result ? std::error_code{} : result.error();
}

/// The system call of that name, as BackendTraits has it.
inline Call call_named(std::string_view name) {
  for (unsigned i = 0; i < static_cast<unsigned>(Call::count_); ++i)
    if (to_string(static_cast<Call>(i)) == name) return static_cast<Call>(i);
  ADD_FAILURE() << "there is no system call " << name;
  return Call::count_;
}

/// Marks this cell of the conformance table: it passed as a documented difference ("D1").
inline void difference(const std::string& id) { testing::Test::RecordProperty("difference", id); }

class Conformance : public testing::TestWithParam<Cell> {
 protected:
  // A ring that is closed interrupts the thread that made it some time later (io_ring_exit_work):
  // not in the next test, which may count.
  ~Conformance() override {
    if (!traits().holds_files) return;
    poller.reset();
    const Fd set(real_kernel(), real_kernel().epoll_create());
    epoll_event none;
    (void)real_kernel().epoll_wait(set.get(), &none, 1, 25);
  }
  void SetUp() override { open(real_kernel()); }

  void open(Kernel& kernel, PollerOptions options = {}) {
    auto made = GetParam().backend->make(kernel, options);
    ASSERT_TRUE(made) << made.error().message();
    poller = std::move(*made);
  }

  [[nodiscard]] Trigger trigger() const { return GetParam().trigger; }
  [[nodiscard]] static const BackendTraits& traits() { return GetParam().traits(); }

  /// Registers with this cell's trigger.
  Token watch(int fd, Interest interest, std::uint64_t data = 0) {
    const Result<Token> token = poller->add(fd, interest, trigger(), data);
    EXPECT_TRUE(token) << token.error().message();
    return token.value_or(Token{});
  }

  /// What one wait reports within `limit`.
  std::vector<Event> events(Duration limit = settle_time) {
    std::vector<Event> found;
    Result<Poller::Batch> batch = poller->wait(after(real_kernel().now(), limit));
    EXPECT_TRUE(batch) << batch.error().message();
    if (batch)
      for (const Event& event : *batch) found.push_back(event);
    return found;
  }

  /// What is reported of one token within `limit`, by one wait; Ready::none for nothing.
  Ready ready(Token token, Duration limit = settle_time) {
    Ready found = Ready::none;
    for (const Event& event : events(limit))
      if (event.token == token) found |= event.ready;
    return found;
  }

  /// Makes a report of a still true condition possible again, as this trigger asks for it: edge by
  /// re-arming with modify, oneshot too, level needs nothing.
  void rearm(Token token, Interest interest) {
    if (trigger() != Trigger::level) {
      ASSERT_TRUE(poller->modify(token, interest));
    }
  }

  /// Nothing at all is reported, however often one looks.
  void expect_silent(Duration limit = settle_time) {
    for (const Event& event : events(limit))
      ADD_FAILURE() << "slot " << slot_of(event.token) << " reports " << to_string(event.ready);
    for (const Event& event : events(0ns))
      ADD_FAILURE() << "slot " << slot_of(event.token) << " reports " << to_string(event.ready);
  }

  /// A second poller of this cell's backend; the caller destroys it before its kernel.
  [[nodiscard]] std::unique_ptr<Poller> another(Kernel& kernel = real_kernel(),
                                                PollerOptions options = {}) const {
    auto made = GetParam().backend->make(kernel, options);
    if (!made) std::abort();
    return std::move(*made);
  }

  /// Registers with this cell's trigger in a poller that is not the fixture's.
  Token watch_in(Poller& where, int fd, Interest interest, std::uint64_t data = 0) {
    const Result<Token> token = where.add(fd, interest, trigger(), data);
    EXPECT_TRUE(token) << token.error().message();
    return token.value_or(Token{});
  }

  std::unique_ptr<Poller> poller;
};

#define DUOLU_EVERY_BACKEND_AND_TRIGGER(suite)                                         \
  INSTANTIATE_TEST_SUITE_P(Every, suite, testing::ValuesIn(duolu::test::every_cell()), \
                           [](const auto& cell) { return cell.param.name(); })

}  // namespace duolu::test
