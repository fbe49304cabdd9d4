// Clause P4 with a dup that lives on: the kernel may hold a dead registration, and the poller has
// to make a new set. What the others see of that.
#include <poll.h>

#ifndef DUOLU_POSIX_ONLY
#include <sys/epoll.h>
#endif

#include "duolu/testing/forwarding.hpp"
#include "support/conformance.hpp"
#include "support/descriptors.hpp"

namespace duolu::test {
namespace {

class RebuildTest : public Conformance {
 protected:
  /// Leaves the kernel with a registration that nothing can name, and that reports in every wait.
  Fd orphan(Pair& pair) {
    const Token token = watch(pair.a.get(), Interest::readable);
    Fd ghost(real_kernel(), ::fcntl(pair.a.get(), F_DUPFD_CLOEXEC, 0));
    pair.a.reset();
    EXPECT_TRUE(poller->remove(token));
    put(pair.b.get(), "x");
    return ghost;
  }
};

TEST_P(RebuildTest, P4_P25_a_oneshot_that_has_reported_an_end_is_not_told_it_again) {
  Pair ended = unix_pair();
  const auto fired = poller->add(ended.a.get(), Interest::readable, Trigger::oneshot);
  ASSERT_TRUE(fired);
  ended.b.reset();
  EXPECT_EQ(ready(*fired), Ready::readable | Ready::hangup | Ready::read_closed);

  Pair orphaned = unix_pair();
  const Fd ghost = orphan(orphaned);
  EXPECT_TRUE(events().empty());
  EXPECT_TRUE(events().empty());
  ASSERT_TRUE(poller->modify(*fired, Interest::readable));
  EXPECT_EQ(ready(*fired), Ready::readable | Ready::hangup | Ready::read_closed);
}

TEST_P(RebuildTest, P7_P25_a_oneshot_that_has_reported_and_vanished_is_told_when_armed) {
  Pair vanished = unix_pair();
  const auto fired = poller->add(vanished.a.get(), Interest::writable, Trigger::oneshot);
  ASSERT_TRUE(fired);
  EXPECT_EQ(ready(*fired), Ready::writable);
  Pair orphaned = unix_pair();
  const Fd ghost = orphan(orphaned);
  vanished.a.reset();
  EXPECT_TRUE(events().empty());
  EXPECT_TRUE(events().empty());
  ASSERT_TRUE(poller->modify(*fired, Interest::writable));
  EXPECT_TRUE(any(ready(*fired), Ready::invalid));
}

TEST_P(RebuildTest, P4_the_kernel_is_rid_of_a_dead_registration) {
  Pair orphaned = unix_pair();
  const Fd ghost = orphan(orphaned);
  EXPECT_TRUE(events().empty());
  if (poller->fd() < 0) return;  // no set of the kernel's, and nothing to be rid of
  // Nothing is registered, so the poller, watched from outside, has nothing to say.
  pollfd outside{.fd = poller->fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&outside, 1, 0), 0);
}

// --- files that take turns at one number

constexpr int number = 600;  // out of the way of what the poller opens

/// Puts the open file of `fd` on `number` and keeps it open nowhere else.
Fd move_to_number(Fd& fd) {
  Fd moved = on_number(fd.get(), number);
  fd.reset();
  return moved;
}

TEST_P(RebuildTest, P4_P30_a_wait_returns_when_files_take_turns_at_a_number) {
  const Pair x = pipe_pair();
  const Pair y = pipe_pair();
  const Fd first = on_number(x.a.get(), number);
  watch(number, Interest::readable, 1);
  ::dup3(y.a.get(), number, O_CLOEXEC);
  const Token second = watch(number, Interest::readable, 2);
  ::dup3(x.a.get(), number, O_CLOEXEC);
  put(y.b.get(), "y");
  // For epoll the change goes to X, under the token of Y, which goes on about what it was asked.
  ASSERT_TRUE(poller->modify(second, Interest::priority));
  for (int round = 0; round < 3; ++round) {
    const Ready seen = ready(second, 0ns);
    if (traits().kernel_set) {
      EXPECT_TRUE(seen == Ready::none || seen == (Ready::invalid)) << to_string(seen);
    } else {
      EXPECT_EQ(seen, Ready::none);
    }
  }
}

TEST_P(RebuildTest, P4_P25_a_wait_returns_when_an_old_level_speaks_for_a_oneshot_that_has_fired) {
  const Pair x = pipe_pair();
  const Pair y = pipe_pair();
  const Fd first = on_number(x.a.get(), number);
  ASSERT_TRUE(poller->add(number, Interest::readable, Trigger::level, 1));
  ::dup3(y.a.get(), number, O_CLOEXEC);
  const Token second = poller->add(number, Interest::readable, Trigger::level, 2).value();
  ::dup3(x.a.get(), number, O_CLOEXEC);
  put(y.b.get(), "y");
  ASSERT_TRUE(poller->modify(second, Interest::readable, Trigger::oneshot));
  int told = 0;
  for (int round = 0; round < 3; ++round)
    for (const Event& event : events(0ns)) told += event.readable() && !event.invalid() ? 1 : 0;
  EXPECT_LE(told, 1);
}

TEST_P(RebuildTest, P4_P5_a_wait_returns_when_an_old_end_speaks_for_a_pause) {
  const Pair x = pipe_pair();
  Pair y = pipe_pair();
  const Fd first = on_number(x.a.get(), number);
  watch(number, Interest::readable, 1);
  ::dup3(y.a.get(), number, O_CLOEXEC);
  const Token second = poller->add(number, Interest::readable, Trigger::level, 2).value();
  ::dup3(x.a.get(), number, O_CLOEXEC);
  y.b.reset();
  ASSERT_TRUE(poller->modify(second, Interest::none));
  EXPECT_TRUE(events(0ns).empty());
  EXPECT_TRUE(events().empty());
}

TEST_P(RebuildTest, P4_R11_a_number_that_came_back_can_be_added_after_a_new_set) {
  Pair x = pipe_pair();
  Pair z = pipe_pair();
  const Fd held = move_to_number(x.a);
  const Token old = watch(number, Interest::readable, 1);
  Pair orphaned = unix_pair();
  const Fd ghost = orphan(orphaned);  // so that the next wait makes a new set
  ::dup3(z.a.get(), number, O_CLOEXEC);
  z.a.reset();
  for (const Event& event : events(0ns)) EXPECT_TRUE(event.invalid()) << to_string(event.ready);
  const Result<Token> fresh = poller->add(number, Interest::readable, trigger(), 2);
  ASSERT_TRUE(fresh) << fresh.error().message();
  EXPECT_EQ(error_of(poller->remove(old)), std::errc::no_such_file_or_directory);
  put(z.b.get(), "z");
  const std::vector<Event> found = events();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].token, *fresh);
  EXPECT_EQ(found[0].ready, Ready::readable);
}

TEST_P(RebuildTest, P4_R11_a_file_that_comes_back_to_its_number_can_be_added) {
  const Pair x = pipe_pair();
  const Pair y = pipe_pair();
  const Fd held = on_number(x.a.get(), number);
  watch(number, Interest::readable, 1);
  ::dup3(y.a.get(), number, O_CLOEXEC);
  const Token second = watch(number, Interest::readable, 2);
  ::dup3(x.a.get(), number, O_CLOEXEC);
  const Result<Token> third = poller->add(number, Interest::readable, trigger(), 3);
  ASSERT_TRUE(third) << third.error().message();
  EXPECT_EQ(error_of(poller->remove(second)), std::errc::no_such_file_or_directory);
  EXPECT_EQ(poller->size(), 1U);
  put(y.b.get(), "y");
  expect_silent(0ns);
  put(x.b.get(), "x");
  EXPECT_EQ(ready(*third), Ready::readable);
  EXPECT_EQ(error_of(poller->add(number, Interest::readable, trigger())), std::errc::file_exists);
  EXPECT_EQ(poller->size(), 1U);
}

TEST_P(RebuildTest, P2_R11_a_number_that_is_registered_is_refused_whatever_the_kernel_still_holds) {
  Pair orphaned = unix_pair();
  const Fd ghost = orphan(orphaned);
  const Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);  // while the kernel holds a dead one
  EXPECT_EQ(error_of(poller->add(pair.a.get(), Interest::readable)), std::errc::file_exists);
  put(pair.b.get(), "x");
  EXPECT_EQ(ready(token), Ready::readable);
  EXPECT_EQ(error_of(poller->add(pair.a.get(), Interest::readable)), std::errc::file_exists);
}

TEST_P(RebuildTest,
       P7_what_was_closed_and_reused_is_told_by_a_new_set_and_in_a_pause_when_it_ends) {
  if (traits().notices_close) return;  // D10: the others go on with the file of the number
  Pair x = pipe_pair();
  Pair z = pipe_pair();
  for (const bool paused : {false, true}) {
    SCOPED_TRACE(paused);
    const Pair next = pipe_pair();
    put(next.b.get(), "z");
    Pair gone = pipe_pair();
    const Token token = watch(gone.a.get(), Interest::readable);
    if (paused) {
      ASSERT_TRUE(poller->modify(token, Interest::none));
    }
    EXPECT_TRUE(events(0ns).empty());
    ::dup3(next.a.get(), gone.a.get(), O_CLOEXEC);
    Pair orphaned = unix_pair();
    const Fd ghost = orphan(orphaned);
    EXPECT_EQ(ready(token, 0ns), paused ? Ready::none : Ready::invalid | Ready::readable);
    if (!paused) continue;
    ASSERT_TRUE(poller->modify(token, Interest::readable));
    EXPECT_EQ(ready(token, 0ns), Ready::invalid | Ready::readable);
  }
}

TEST_P(RebuildTest, P7_a_number_that_went_to_the_new_set_or_to_a_file_is_closed) {
  if (traits().notices_close) return;  // D10
  for (const bool to_file : {false, true}) {
    SCOPED_TRACE(to_file);
    Pair pair = unix_pair();
    Pair orphaned = unix_pair();
    const Token token = watch(pair.a.get(), Interest::none);
    EXPECT_TRUE(events(0ns).empty());
    const Fd ghost = orphan(orphaned);
    const int before = pair.a.get();
    if (to_file) {
      const Fd null(real_kernel(), ::open("/dev/null", O_RDWR | O_CLOEXEC));
      ::dup3(null.get(), before, O_CLOEXEC);
    } else {
      pair.a.reset();  // the lowest that is free, so that the new set takes it
    }
    EXPECT_TRUE(events(0ns).empty());
    EXPECT_TRUE(is_open(before));
    ASSERT_TRUE(poller->modify(token, Interest::readable));
    EXPECT_EQ(ready(token, 0ns), Ready::invalid | Ready::readable);
    EXPECT_TRUE(poller->remove(token));
  }
}

TEST_P(RebuildTest, P7_P31_a_full_batch_of_dead_ones_is_no_empty_one) {
  auto small = another(real_kernel(), {.batch = 2});
  const Pair x = pipe_pair();
  const Pair y = pipe_pair();
  Fd removed = duplicate(x.a.get());
  Fd closed = duplicate(y.a.get());
  put(x.b.get(), "x");
  put(y.b.get(), "y");
  const Token first = watch_in(*small, removed.get(), Interest::readable);
  const Token second = watch_in(*small, closed.get(), Interest::readable);
  removed.reset();
  ASSERT_TRUE(small->remove(first));
  closed.reset();
  int invalid = 0;
  for (int round = 0; round < 2; ++round) {
    const Instant deadline = after(real_kernel().now(), settle_time);
    const Result<Poller::Batch> batch = small->wait(deadline);
    ASSERT_TRUE(batch);
    if (batch->empty()) {
      EXPECT_GE(real_kernel().now(), deadline) << "in wait " << round;
    }
    for (const Event& event : *batch) {
      EXPECT_EQ(event.token, second);
      invalid += event.invalid() ? 1 : 0;
    }
  }
  // A oneshot that epoll has reported is told when it is armed.
  EXPECT_EQ(invalid, !traits().notices_close && trigger() == Trigger::oneshot ? 0 : 1);
}

/// A kernel whose epoll says something of its first registration in every wait, asked or not.
class TalkingKernel final : public ForwardingKernel {
 public:
  bool talks = false;

#ifndef DUOLU_POSIX_ONLY
  int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept override {
    if (event != nullptr && event->data.u64 != 0) last_ = event->data.u64;
    return ForwardingKernel::epoll_ctl(epoll, operation, fd, event);
  }
  int epoll_pwait2(int epoll, epoll_event* events, int count,
                   const timespec* timeout) noexcept override {
    if (!talks) return ForwardingKernel::epoll_pwait2(epoll, events, count, timeout);
    events[0] = {.events = EPOLLHUP, .data = {.u64 = last_}};
    return 1;
  }

 private:
  std::uint64_t last_ = 0;
#endif
};

TEST_P(RebuildTest, P31_a_wait_ends_whatever_the_kernel_keeps_saying) {
  TalkingKernel kernel;
  const auto mine = another(kernel);
  const Pair pair = unix_pair();
  ASSERT_TRUE(mine->add(pair.a.get(), Interest::none, trigger()));
  kernel.talks = true;
  for (const Duration span : {Duration(0ns), settle_time}) {
    const Instant deadline = after(real_kernel().now(), span);
    const Result<Poller::Batch> batch = mine->wait(span == 0ns ? immediately : deadline);
    ASSERT_TRUE(batch);
    EXPECT_TRUE(batch->empty());
    EXPECT_GE(real_kernel().now(), deadline);
  }
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(RebuildTest);

}  // namespace
}  // namespace duolu::test
