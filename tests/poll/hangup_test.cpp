// Clauses P5, P6, P7, P24: ends of streams, hang-ups, and descriptors that were closed.
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include <cerrno>
#include <map>

#include "support/descriptors.hpp"
#include "support/scenario.hpp"
#include "support/signals.hpp"

namespace duolu::test {
namespace {

constexpr Interest both = Interest::readable | Interest::writable;

class HangupTest : public Scenario {
 protected:
  /// What a read gives: bytes, 0 for the end, or -errno.
  static ssize_t read_some(int fd) {
    std::array<char, 64> buffer;
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    return got < 0 ? -errno : got;
  }
};

TEST_P(HangupTest, P6_P24_H01_a_peers_end_of_stream_is_read_closed_and_no_hangup) {
  const Pair pair = tcp_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::none);
  ASSERT_EQ(::shutdown(pair.b.get(), SHUT_WR), 0);
  EXPECT_EQ(told(token), Ready::readable | Ready::read_closed);
  EXPECT_EQ(read_some(pair.a.get()), 0);
}

TEST_P(HangupTest, P6_P24_H01_an_end_after_data_is_a_new_report) {
  for (const Kind& kind : two_way_kinds()) {
    if (std::string_view(kind.name) == "unix datagram") continue;  // has no end of stream
    SCOPED_TRACE(kind.name);
    const Pair pair = kind.make();
    const Token token = watch(pair.a.get(), Interest::readable);
    put(pair.b.get(), "x");
    EXPECT_EQ(told(token), Ready::readable);
    EXPECT_EQ(drain(pair.a.get()), 1u);
    proceed(token, Interest::readable);
    EXPECT_EQ(ready(token), Ready::none);
    ASSERT_EQ(::shutdown(pair.b.get(), SHUT_WR), 0);
    EXPECT_EQ(told(token), Ready::readable | Ready::read_closed);
    EXPECT_EQ(read_some(pair.a.get()), 0);
    ASSERT_TRUE(poller->remove(token));
    expect_idle(settle_time);
  }
}

TEST_P(HangupTest, P6_H01_read_closed_is_for_those_who_want_to_read) {
  const Pair pair = tcp_pair();
  ASSERT_EQ(::shutdown(pair.b.get(), SHUT_WR), 0);
  ASSERT_TRUE(settled(pair.a.get(), POLLIN | POLLRDHUP));
  const Token token = watch(pair.a.get(), Interest::writable);
  EXPECT_EQ(told(token), Ready::writable);
}

TEST_P(HangupTest, P6_H02_the_end_of_both_directions_is_a_hangup) {
  Pair pair = tcp_pair();
  ASSERT_EQ(::shutdown(pair.a.get(), SHUT_WR), 0);
  pair.b.reset();
  ASSERT_TRUE(settled(pair.a.get(), POLLIN | POLLHUP));
  const Token token = watch(pair.a.get(), both);
  EXPECT_EQ(told(token), Ready::readable | Ready::writable | Ready::hangup | Ready::read_closed);
  EXPECT_EQ(read_some(pair.a.get()), 0);
  ASSERT_TRUE(poller->remove(token));
  expect_idle();
}

TEST_P(HangupTest, P6_H02_the_end_of_both_directions_ends_a_wait) {
  Pair pair = tcp_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::none);
  ASSERT_EQ(::shutdown(pair.a.get(), SHUT_WR), 0);
  pair.b.reset();
  EXPECT_TRUE(any(told(token), Ready::readable));
  EXPECT_EQ(read_some(pair.a.get()), 0);
  ASSERT_TRUE(settled(pair.a.get(), POLLHUP));
  rearm(token, Interest::readable);
  EXPECT_EQ(told(token), Ready::readable | Ready::hangup | Ready::read_closed);
}

TEST_P(HangupTest, P5_P6_H04_after_the_peers_end_a_megabyte_still_goes_the_other_way) {
  const Pair pair = tcp_pair();
  ASSERT_EQ(::shutdown(pair.b.get(), SHUT_WR), 0);
  ASSERT_TRUE(settled(pair.a.get(), POLLRDHUP));
  const Token writer = watch(pair.a.get(), Interest::writable);
  const Token reader = watch(pair.b.get(), Interest::readable);

  constexpr std::size_t total = 1 << 20;
  const std::string block(64 * 1024, 'x');
  std::size_t sent = 0;
  std::size_t received = 0;
  const Instant deadline = after(real_kernel().now(), patience);
  while (received < total && real_kernel().now() < deadline) {
    for (const Event& event : events(1s)) {
      EXPECT_FALSE(any(event.ready, Ready::hangup | Ready::error)) << to_string(event.ready);
      if (event.token == writer) {
        while (sent < total) {
          const ssize_t result =
              ::send(pair.a.get(), block.data(), std::min(block.size(), total - sent), 0);
          if (result < 0) {
            ASSERT_EQ(errno, EAGAIN);
            break;
          }
          sent += static_cast<std::size_t>(result);
        }
        if (sent < total)
          proceed(writer, Interest::writable);
        else
          ASSERT_TRUE(poller->modify(writer, Interest::none));
      } else {
        received += drain(pair.b.get());
        proceed(reader, Interest::readable);
      }
    }
  }
  EXPECT_EQ(sent, total);
  EXPECT_EQ(received, total);
}

TEST_P(HangupTest, P5_H04_the_peers_end_is_no_reason_to_look_again_at_what_is_not_asked_for) {
  const Pair pair = tcp_pair();
  const std::size_t sent = fill(pair.a.get());
  ASSERT_EQ(::shutdown(pair.b.get(), SHUT_WR), 0);
  ASSERT_TRUE(settled(pair.a.get(), POLLRDHUP));
  const Token token = watch(pair.a.get(), Interest::writable);
  expect_idle();
  ASSERT_TRUE(poller->modify(token, Interest::priority));
  expect_idle();
  ASSERT_TRUE(poller->modify(token, Interest::writable));
  expect_idle();
  for (std::size_t received = 0; received < sent;) {
    ASSERT_TRUE(settled(pair.b.get(), POLLIN));
    received += drain(pair.b.get());
  }
  EXPECT_EQ(told(token), Ready::writable);
  ASSERT_TRUE(poller->modify(token, both));
  // Edge: the other direction may be silent.
  EXPECT_EQ(told(token) | Ready::writable, Ready::readable | Ready::writable | Ready::read_closed);
  ASSERT_TRUE(poller->remove(token));
  expect_idle();
}

TEST_P(HangupTest, P5_P6_H05_ones_own_end_is_no_hangup_until_the_peer_closes) {
  for (const Kind& kind : two_way_kinds()) {
    if (std::string_view(kind.name) == "unix datagram") continue;  // its peer's end is no hang-up
    SCOPED_TRACE(kind.name);
    Pair pair = kind.make();
    const Token token = watch(pair.a.get(), Interest::readable);
    ASSERT_EQ(::shutdown(pair.a.get(), SHUT_WR), 0);
    expect_idle(settle_time);
    pair.b.reset();
    ASSERT_TRUE(settled(pair.a.get(), POLLHUP));
    EXPECT_EQ(told(token), Ready::readable | Ready::hangup | Ready::read_closed);
    EXPECT_EQ(read_some(pair.a.get()), 0);
    ASSERT_TRUE(poller->remove(token));
  }
}

TEST_P(HangupTest, P6_H06_shutting_down_ones_own_reading_is_an_end) {
  for (const Kind& kind : two_way_kinds()) {
    if (std::string_view(kind.name) == "unix datagram") continue;  // has no end of stream
    SCOPED_TRACE(kind.name);
    const Pair pair = kind.make();
    const Token token = watch(pair.a.get(), Interest::readable);
    EXPECT_EQ(ready(token), Ready::none);
    ASSERT_EQ(::shutdown(pair.a.get(), SHUT_RD), 0);
    EXPECT_EQ(told(token), Ready::readable | Ready::read_closed);
    EXPECT_EQ(read_some(pair.a.get()), 0);
    ASSERT_TRUE(poller->remove(token));
  }
}

TEST_P(HangupTest, P6_H07_a_unix_peer_that_closes_hangs_up) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), both);
  EXPECT_EQ(told(token), Ready::writable);
  pair.b.reset();
  rearm(token, both);
  EXPECT_EQ(told(token), Ready::readable | Ready::writable | Ready::hangup | Ready::read_closed);
  EXPECT_EQ(read_some(pair.a.get()), 0);
}

TEST_P(HangupTest, P6_H07_a_unix_peer_that_closes_over_unread_data_resets) {
  Pair pair = unix_pair();
  put(pair.a.get(), "never read");
  pair.b.reset();
  const Token token = watch(pair.a.get(), Interest::readable);
  EXPECT_EQ(told(token), Ready::readable | Ready::error | Ready::hangup | Ready::read_closed);
  EXPECT_EQ(read_some(pair.a.get()), -ECONNRESET);
  EXPECT_EQ(read_some(pair.a.get()), 0) << "told once, then it is an end";
}

TEST_P(HangupTest, P6_H07_what_was_sent_before_the_close_can_still_be_read) {
  Pair pair = unix_pair();
  put(pair.b.get(), "last words");
  pair.b.reset();
  const Token token = watch(pair.a.get(), Interest::readable);
  EXPECT_EQ(told(token), Ready::readable | Ready::hangup | Ready::read_closed);
  EXPECT_EQ(read_some(pair.a.get()), 10);
  EXPECT_EQ(read_some(pair.a.get()), 0);
}

TEST_P(HangupTest, P5_H08_a_pause_hides_every_end_and_costs_nothing) {
  Pair reset = tcp_pair();
  Pair local = unix_pair();
  Pair channel = pipe_pair();
  const Pair other = unix_pair();
  const Token paused[] = {watch(reset.a.get(), Interest::none),
                          watch(local.a.get(), Interest::readable),
                          watch(channel.a.get(), Interest::readable)};
  EXPECT_TRUE(look().empty());
  ASSERT_TRUE(poller->modify(paused[1], Interest::none));
  ASSERT_TRUE(poller->modify(paused[2], Interest::none));
  close_with_reset(reset.b);
  local.b.reset();
  channel.b.reset();
  ASSERT_TRUE(settled(reset.a.get(), POLLHUP | POLLERR));

  const int waits = kernel.waits;
  const Duration used = thread_cpu_time();
  EXPECT_TRUE(events(200ms).empty());
  EXPECT_LE(kernel.waits - waits, 4) << "at most one wake-up inside the kernel for each";
  EXPECT_LT(thread_cpu_time() - used, 50ms);
  expect_idle();

  const Token alive = watch(other.a.get(), Interest::writable);
  EXPECT_EQ(told(alive), Ready::writable);
  ASSERT_TRUE(poller->remove(alive));

  for (const Token token : paused) {
    ASSERT_TRUE(poller->modify(token, Interest::readable));
    const Ready found = told(token);
    EXPECT_TRUE(any(found, Ready::hangup)) << to_string(found);
    EXPECT_TRUE(any(found, Ready::readable)) << to_string(found);
    ASSERT_TRUE(poller->modify(token, Interest::none));
  }
  expect_idle();
}

TEST_P(HangupTest, P5_P30_H08_what_is_paused_hides_nothing_else_from_a_look) {
  open(kernel, {.batch = 1});
  std::vector<Pair> gone;
  std::vector<Token> paused;
  for (int i = 0; i < 4; ++i) {
    gone.push_back(unix_pair());
    paused.push_back(watch(gone.back().a.get(), Interest::none));
    gone.back().b.reset();
  }
  const Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const Token token = watch(pair.a.get(), Interest::readable);
  const std::vector<Event> found = look();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].token, token);
}

TEST_P(HangupTest, P6_H09_a_pipe_whose_writer_closed_is_read_to_its_end) {
  for (auto* const make : {pipe_pair, fifo_pair}) {
    Pair pair = make();
    const Token token = watch(pair.a.get(), Interest::readable);
    put(pair.b.get(), "x");
    pair.b.reset();
    EXPECT_EQ(told(token), Ready::readable | Ready::hangup);
    EXPECT_EQ(read_some(pair.a.get()), 1);
    EXPECT_EQ(read_some(pair.a.get()), 0);
    ASSERT_TRUE(poller->remove(token));
  }
}

TEST_P(HangupTest, P6_P24_H09_a_pipe_whose_writer_closed_without_data_is_at_its_end) {
  for (auto* const make : {pipe_pair, fifo_pair}) {
    Pair pair = make();
    const Token token = watch(pair.a.get(), Interest::readable);
    EXPECT_EQ(ready(token), Ready::none);
    pair.b.reset();
    EXPECT_EQ(told(token), Ready::readable | Ready::hangup);
    EXPECT_EQ(read_some(pair.a.get()), 0);
    ASSERT_TRUE(poller->remove(token));
    expect_idle(settle_time);
  }
}

TEST_P(HangupTest, P6_H10_a_pipe_whose_reader_closed_is_an_error_to_its_writer) {
  const SignalHandler ignored(SIGPIPE, SIG_IGN);
  for (const bool full : {false, true}) {
    for (auto* const make : {pipe_pair, fifo_pair}) {
      SCOPED_TRACE(full);
      Pair pair = make();
      if (full) fill(pair.b.get());
      const Token token = watch(pair.b.get(), Interest::writable);
      EXPECT_EQ(ready(token), full ? Ready::none : Ready::writable);
      pair.a.reset();
      rearm(token, Interest::writable);
      EXPECT_EQ(told(token), Ready::writable | Ready::error);
      EXPECT_EQ(::write(pair.b.get(), "x", 1), -1);
      EXPECT_EQ(errno, EPIPE);
      ASSERT_TRUE(poller->remove(token));
    }
  }
}

TEST_P(HangupTest, P6_H11_a_fifo_lives_on_from_writer_to_writer) {
  ScratchDirectory scratch;
  const std::string path = scratch.path("fifo");
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const auto open_fifo = [&](int mode) {
    return Fd(real_kernel(), ::open(path.c_str(), mode | O_NONBLOCK | O_CLOEXEC));
  };
  const Fd reader = open_fifo(O_RDONLY);
  const Token token = watch(reader.get(), Interest::readable);
  expect_idle(settle_time);
  for (int i = 0; i < 3; ++i) {
    SCOPED_TRACE(i);
    Fd writer = open_fifo(O_WRONLY);
    ASSERT_TRUE(writer);
    rearm(token, Interest::readable);
    EXPECT_EQ(ready(token), Ready::none) << "a writer alone is no news";
    put(writer.get(), "x");
    EXPECT_EQ(told(token), Ready::readable);
    EXPECT_EQ(drain(reader.get()), 1u);
    proceed(token, Interest::readable);
    EXPECT_EQ(ready(token), Ready::none);
    writer.reset();
    EXPECT_EQ(told(token), Ready::readable | Ready::hangup);
    EXPECT_EQ(read_some(reader.get()), 0);
  }
}

TEST_P(HangupTest, P6_H12_a_terminal_that_was_closed_is_at_its_end) {
  Pair pair = pty_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::none);
  put(pair.b.get(), "bye");
  EXPECT_EQ(told(token), Ready::readable);
  pair.b.reset();
  ASSERT_TRUE(settled(pair.a.get(), POLLIN | POLLHUP));
  rearm(token, Interest::readable);
  EXPECT_EQ(told(token), Ready::readable | Ready::hangup);
  EXPECT_EQ(read_some(pair.a.get()), 3);
  EXPECT_EQ(read_some(pair.a.get()), -EIO) << "how Linux tells the end of a terminal";
  rearm(token, Interest::readable);
  EXPECT_EQ(told(token), Ready::readable | Ready::hangup);
  ASSERT_TRUE(poller->modify(token, Interest::none));
  expect_idle();
  ASSERT_TRUE(poller->remove(token));
  expect_idle(settle_time);
}

TEST_P(HangupTest, P7_D2_H13_a_closed_descriptor_is_reported_invalid_once) {
  Pair closed = unix_pair();
  const Pair other = unix_pair();
  const Token token = watch(closed.a.get(), Interest::readable);
  const Token bystander = watch(other.a.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::none);
  closed.a.reset();
  if (!traits().notices_close || traits().holds_files) {
    expect_idle();
    ASSERT_TRUE(poller->modify(token, both));
  }
  const Ready found = told(token);
  EXPECT_TRUE(any(found, Ready::invalid)) << to_string(found);
  EXPECT_TRUE(any(found, Ready::readable)) << "P6: reading tells, by EBADF";
  EXPECT_FALSE(any(found, Ready::error | Ready::hangup)) << to_string(found);
  expect_idle();
  const Result<> modified = poller->modify(token, Interest::readable);
  ASSERT_FALSE(modified);
  EXPECT_EQ(modified.error(), std::errc::bad_file_descriptor);
  expect_idle(settle_time);

  put(other.b.get(), "x");
  EXPECT_EQ(told(bystander), Ready::readable);
  EXPECT_EQ(poller->size(), 2u);
  EXPECT_TRUE(poller->remove(token));
  EXPECT_EQ(poller->size(), 1u);
  EXPECT_FALSE(poller->remove(token));
}

TEST_P(HangupTest, P4_D2_H13_the_peer_of_what_is_removed_and_closed_sees_the_end_at_once) {
  enum class Way { remove_first, close_first, destroy_first };
  for (const Way way : {Way::remove_first, Way::close_first, Way::destroy_first}) {
    SCOPED_TRACE(static_cast<int>(way));
    Pair pair = unix_pair();
    const Token token = watch(pair.a.get(), both);
    EXPECT_EQ(told(token), Ready::writable);
    EXPECT_TRUE(look().empty() || trigger() == Trigger::level);
    ASSERT_TRUE(poller->modify(token, Interest::readable));
    expect_idle();
    if (way == Way::remove_first) {
      ASSERT_TRUE(poller->remove(token));
    }
    if (way == Way::destroy_first) poller.reset();
    pair.a.reset();
    if (way == Way::close_first) {
      if (traits().holds_files) {
        difference("D2");
        EXPECT_EQ(read_some(pair.b.get()), -EAGAIN);
      }
      ASSERT_TRUE(poller->remove(token));
    }
    EXPECT_EQ(read_some(pair.b.get()), 0);
  }
}

TEST_P(HangupTest, P5_P7_D2_H13_a_paused_closed_descriptor_is_not_reported) {
  Pair closed = unix_pair();
  const Token token = watch(closed.a.get(), Interest::none);
  closed.a.reset();
  expect_idle();
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_TRUE(any(told(token), Ready::invalid));
  expect_idle(settle_time);
  EXPECT_TRUE(poller->remove(token));
}

TEST_P(HangupTest, P5_P7_H13_a_closed_descriptor_that_is_paused_is_not_reported) {
  Pair closed = unix_pair();
  const Token token = watch(closed.a.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::none);
  closed.a.reset();
  ASSERT_TRUE(poller->modify(token, Interest::none));
  expect_idle();
  EXPECT_TRUE(poller->remove(token));
}

TEST_P(HangupTest, P4_P7_H13_what_was_reported_invalid_stays_silent_while_a_dup_lives) {
  Pair closed = unix_pair();
  const Pair other = unix_pair();
  const Fd twin = duplicate(closed.a.get());
  const Token token = watch(closed.a.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::none);
  closed.a.reset();
  ASSERT_TRUE(poller->modify(token, both));
  EXPECT_TRUE(any(told(token), Ready::invalid));
  put(closed.b.get(), "for the dup");
  expect_idle();
  closed.b.reset();
  expect_idle();

  const Token bystander = watch(other.a.get(), Interest::writable);
  EXPECT_EQ(told(bystander), Ready::writable);
  const Token of_twin = watch(twin.get(), Interest::readable);
  EXPECT_TRUE(any(told(of_twin), Ready::readable));
  EXPECT_TRUE(poller->remove(token));
}

TEST_P(HangupTest, P5_P7_H13_a_closed_descriptor_that_is_paused_stays_silent_while_a_dup_lives) {
  Pair closed = unix_pair();
  const Pair other = unix_pair();
  const Fd twin = duplicate(closed.a.get());
  put(closed.b.get(), "for the dup");
  const Token token = watch(closed.a.get(), Interest::readable);
  EXPECT_EQ(told(token), Ready::readable);
  rearm(token, Interest::readable);
  EXPECT_EQ(told(token), Ready::readable);
  closed.a.reset();
  ASSERT_TRUE(poller->modify(token, Interest::none));
  put(closed.b.get(), "more");
  EXPECT_TRUE(look().empty());
  expect_idle();
  const Token bystander = watch(other.a.get(), Interest::writable);
  EXPECT_EQ(told(bystander), Ready::writable);
  EXPECT_TRUE(poller->remove(token));
}

TEST_P(HangupTest, P7_D2_P34_H14_closed_descriptors_do_not_disturb_the_others) {
  for (const std::size_t batch : {std::size_t{1}, std::size_t{3}, std::size_t{256}}) {
    SCOPED_TRACE(batch);
    open(kernel, {.batch = batch});
    std::vector<Pair> pairs;
    std::map<Token, Ready> found;
    for (std::size_t i = 0; i < 12; ++i) {
      pairs.push_back(unix_pair());
      found[watch(pairs.back().a.get(), Interest::readable, i)] = Ready::none;
      put(pairs.back().b.get(), "x");
    }
    for (std::size_t i = 0; i < pairs.size(); i += 2) pairs[i].a.reset();
    if (!traits().notices_close) {
      for (const auto& [token, bits] : found) ASSERT_TRUE(poller->modify(token, both));
    }

    std::map<Token, int> invalid;
    std::map<Token, std::uint64_t> data;
    // A closed descriptor is noticed by one wait and may be reported by the next.
    for (std::size_t wait = 0; wait < 2 * pairs.size() + 2; ++wait) {
      const std::vector<Event> events_now = look();
      EXPECT_LE(events_now.size(), batch);
      for (const Event& event : events_now) {
        found[event.token] |= event.ready;
        data[event.token] = event.data;
        if (event.invalid()) ++invalid[event.token];
      }
    }
    EXPECT_EQ(data.size(), pairs.size());
    for (const auto& [token, bits] : found) {
      const bool closed = data[token] % 2 == 0;
      EXPECT_EQ(invalid[token], closed ? 1 : 0) << data[token];
      EXPECT_TRUE(any(bits, Ready::readable)) << data[token];
      EXPECT_TRUE(poller->remove(token));
    }
    expect_idle(settle_time);
  }
}

TEST_P(HangupTest, D3_select_with_priority_alone_is_told_of_no_end) {
  Pair pair = tcp_pair();
  const Token token = watch(pair.a.get(), Interest::priority);
  EXPECT_EQ(ready(token), Ready::none);
  close_with_reset(pair.b);
  ASSERT_TRUE(settled(pair.a.get(), POLLHUP | POLLERR));
  if (traits().three_sets) {
    expect_idle();
    ASSERT_TRUE(poller->modify(token, Interest::priority | Interest::readable));
    EXPECT_EQ(told(token), Ready::readable | Ready::error | Ready::hangup | Ready::read_closed);
  } else {
    EXPECT_EQ(told(token), Ready::error | Ready::hangup);
  }
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(HangupTest);

}  // namespace
}  // namespace duolu::test
