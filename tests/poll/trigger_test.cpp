// Clauses P20 to P27: level, edge and oneshot.
//
// There is no fourth trigger, edge and oneshot at once: a oneshot reports what is true when it is
// armed, so an edge would add nothing to it. E10 tests what is asked of such a combination by
// changing between the two.
#include <arpa/inet.h>
#include <netinet/in.h>

#include "support/conformance.hpp"

namespace duolu::test {
namespace {

constexpr Interest both = Interest::readable | Interest::writable;
constexpr Ready in = Ready::readable;
constexpr Ready out = Ready::writable;

class TriggerTest : public Conformance {
 protected:
  /// What is reported of a token by one wait that only looks: everything here is local to the
  /// machine's memory, so what happened is visible at once.
  Ready now(Token token) { return ready(token, 0ns); }

  /// Picks the expectation of this cell's trigger.
  template <class T>
  [[nodiscard]] T by_trigger(T level, T edge, T oneshot) const {
    switch (trigger()) {
      case Trigger::level: return level;
      case Trigger::edge: return edge;
      case Trigger::oneshot: return oneshot;
    }
    std::abort();
  }

  /// Edge where the kernel has none of its own: silent until drained (P23).
  [[nodiscard]] bool emulated() const {
    return trigger() == Trigger::edge && !traits().native_edge;
  }
};

TEST_P(TriggerTest, P20_P21_P25_L01_a_fresh_pair_is_writable_and_not_readable) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable | Interest::writable);
  EXPECT_EQ(ready(token), Ready::writable);
}

TEST_P(TriggerTest, P20_P21_P25_E01_a_burst_is_one_report_and_more_only_for_level) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  for (int i = 0; i < 3; ++i) put(pair.b.get(), "burst");
  EXPECT_EQ(now(token), in);
  for (int look = 0; look < 3; ++look)
    EXPECT_EQ(now(token), by_trigger(in, Ready::none, Ready::none));
  // Drained, and a second burst.
  EXPECT_EQ(drain(pair.a.get()), 15U);
  poller->drained(token, Interest::readable);
  EXPECT_EQ(now(token), Ready::none);
  for (int i = 0; i < 3; ++i) put(pair.b.get(), "burst");
  EXPECT_EQ(now(token), by_trigger(in, in, Ready::none));
  EXPECT_EQ(now(token), by_trigger(in, Ready::none, Ready::none));
}

TEST_P(TriggerTest, P21_P23_E02_new_data_after_a_partial_read) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  put(pair.b.get(), "half");
  EXPECT_EQ(now(token), in);
  char two[2];
  ASSERT_EQ(::read(pair.a.get(), two, sizeof two), 2);
  EXPECT_EQ(now(token), by_trigger(in, Ready::none, Ready::none));
  put(pair.b.get(), "more");
  if (emulated()) {
    difference("D1");
    EXPECT_EQ(now(token), Ready::none);
  } else {
    EXPECT_EQ(now(token), by_trigger(in, in, Ready::none));
  }
  // Said to be drained while it is not: the backends that emulate report it again, too.
  poller->drained(token, Interest::readable);
  const Ready again = now(token);
  if (emulated()) {
    EXPECT_EQ(again, in);
  }
  EXPECT_EQ(drain(pair.a.get()), 6U);
}

TEST_P(TriggerTest, P21_P22_P26_E03_what_is_ready_at_add_and_at_modify_is_reported) {
  Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const Token token = watch(pair.a.get(), both);
  EXPECT_EQ(now(token), in | out);
  EXPECT_EQ(now(token), by_trigger(in | out, Ready::none, Ready::none));
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(poller->modify(token, both));
    EXPECT_EQ(now(token), in | out);
    EXPECT_EQ(now(token), by_trigger(in | out, Ready::none, Ready::none));
  }
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_EQ(now(token) & out, Ready::none);
}

TEST_P(TriggerTest, P21_E04_writing_is_reported_once_connected_and_again_after_full_and_free) {
  // Once connected: a connect(2) that is under way when the socket is added.
  Fd listener(real_kernel(), ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(::bind(listener.get(), generic, size), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_EQ(::getsockname(listener.get(), generic, &size), 0);
  Fd client(real_kernel(), ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int connecting = ::connect(client.get(), generic, size);
  ASSERT_TRUE(connecting == 0 || errno == EINPROGRESS);
  const Token connected = watch(client.get(), both);
  EXPECT_EQ(ready(connected, 10s), out);
  EXPECT_EQ(now(connected), by_trigger(out, Ready::none, Ready::none));
  ASSERT_TRUE(poller->remove(connected));

  // Full and free: between AF_UNIX sockets, where nothing moves by itself.
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::writable);
  EXPECT_EQ(now(token), out);
  EXPECT_EQ(now(token), by_trigger(out, Ready::none, Ready::none));
  for (int round = 0; round < 2; ++round) {
    ASSERT_GT(fill(pair.a.get()), 0U);
    poller->drained(token, Interest::writable);
    if (trigger() == Trigger::oneshot) {
      ASSERT_TRUE(poller->modify(token, Interest::writable));
    }
    EXPECT_EQ(now(token), Ready::none);
    ASSERT_GT(drain(pair.b.get()), 0U);
    EXPECT_EQ(now(token), out);
    EXPECT_EQ(now(token), by_trigger(out, Ready::none, Ready::none));
  }
}

TEST_P(TriggerTest, P21_P23_E05_the_trace_of_a_connection_is_the_same_on_every_backend) {
  // Level and oneshot: exactly. Edge: at least what is needed, at most what is true.
  const Trigger mine = trigger();
  Pair pair = unix_pair();
  Token token{};
  const auto drained = [&](Interest directions) {
    poller->drained(token, directions);  // ignored by the other triggers
  };
  int step = 0;
  const auto expect = [&](Ready level, Ready edge, Ready oneshot) {
    ++step;
    const Ready got = now(token);
    if (mine == Trigger::edge) {
      EXPECT_EQ(got & edge, edge) << "step " << step << " lacks something of " << to_string(edge);
      EXPECT_EQ(got - level, Ready::none) << "step " << step << " has " << to_string(got);
    } else {
      EXPECT_EQ(got, mine == Trigger::level ? level : oneshot) << "step " << step;
    }
  };
  constexpr Ready none = Ready::none;

  token = watch(pair.a.get(), both);
  expect(out, out, out);
  expect(out, none, none);
  put(pair.b.get(), "data");
  expect(in | out, in, none);
  char byte = 0;
  ASSERT_EQ(::read(pair.a.get(), &byte, 1), 1);
  expect(in | out, none, none);
  EXPECT_EQ(drain(pair.a.get()), 3U);
  drained(Interest::readable);
  expect(out, none, none);
  put(pair.b.get(), "data");
  expect(in | out, in, none);
  ASSERT_TRUE(poller->modify(token, both));
  expect(in | out, in | out, in | out);
  EXPECT_EQ(drain(pair.a.get()), 4U);
  drained(Interest::readable);
  ASSERT_GT(fill(pair.a.get()), 0U);
  drained(Interest::writable);
  expect(none, none, none);
  ASSERT_GT(drain(pair.b.get()), 0U);
  expect(out, out, none);
  rearm(token, both);
  expect(out, out, out);
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  expect(none, none, none);
  ASSERT_EQ(::shutdown(pair.b.get(), SHUT_WR), 0);
  expect(in | Ready::read_closed, in | Ready::read_closed, in | Ready::read_closed);
}

TEST_P(TriggerTest, P21_P23_E06_reading_behind_the_pollers_back) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  put(pair.b.get(), "one");
  EXPECT_EQ(now(token), in);
  EXPECT_EQ(drain(pair.a.get()), 3U);  // to EAGAIN, and drained is not called
  EXPECT_EQ(now(token), Ready::none);
  put(pair.b.get(), "two");
  if (emulated()) {
    difference("D1");
    EXPECT_EQ(now(token), Ready::none);
    EXPECT_EQ(now(token), Ready::none);
    poller->drained(token, Interest::readable);  // late is not too late
    EXPECT_EQ(now(token), in);
  } else {
    EXPECT_EQ(now(token), by_trigger(in, in, Ready::none));
  }
  rearm(token, Interest::readable);
  EXPECT_EQ(now(token), in) << "nothing was lost for good";
}

TEST_P(TriggerTest, P24_E07_an_end_after_the_data_was_drained_is_a_new_report) {
  for (const bool tcp : {false, true}) {
    Pair pair = tcp ? tcp_pair() : unix_pair();
    const Token token = watch(pair.a.get(), Interest::readable);
    put(pair.b.get(), "last");
    EXPECT_EQ(ready(token, 10s), in);
    EXPECT_EQ(drain(pair.a.get()), 4U);
    poller->drained(token, Interest::readable);
    if (trigger() == Trigger::oneshot) {
      ASSERT_TRUE(poller->modify(token, Interest::readable));
    }
    EXPECT_EQ(now(token), Ready::none);
    ASSERT_EQ(::shutdown(pair.b.get(), SHUT_WR), 0);
    EXPECT_EQ(ready(token, 10s), in | Ready::read_closed);
    char byte = 0;
    EXPECT_EQ(::read(pair.a.get(), &byte, 1), 0);
    ASSERT_TRUE(poller->remove(token));
  }
}

TEST_P(TriggerTest, P24_an_end_with_unread_data_is_reported_after_drained) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  put(pair.b.get(), "last");
  EXPECT_EQ(now(token), in);
  pair.b.reset();  // before anything was read
  char two[2];
  ASSERT_EQ(::read(pair.a.get(), two, sizeof two), 2);
  poller->drained(token, Interest::readable);
  if (trigger() == Trigger::oneshot) {
    ASSERT_TRUE(poller->modify(token, Interest::readable));
  }
  EXPECT_EQ(now(token), in | Ready::read_closed | Ready::hangup);
}

TEST_P(TriggerTest, P25_P26_E08_oneshot_reports_once_an_arming_and_at_once_when_ready) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), both);
  put(pair.b.get(), "x");
  EXPECT_EQ(now(token), in | out);
  for (int i = 0; i < 3; ++i) {
    put(pair.b.get(), "x");
    EXPECT_EQ(any(now(token), in), trigger() != Trigger::oneshot && !emulated());
  }
  if (emulated()) difference("D1");
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(poller->modify(token, both));
    EXPECT_EQ(now(token), in | out);
    EXPECT_EQ(now(token), by_trigger(in | out, Ready::none, Ready::none));
  }
  // Armed while nothing is there: it waits for it.
  EXPECT_EQ(drain(pair.a.get()), 4U);
  poller->drained(token, Interest::readable);
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_EQ(now(token), Ready::none);
  EXPECT_EQ(now(token), Ready::none);
  put(pair.b.get(), "x");
  EXPECT_EQ(now(token), in);
}

TEST_P(TriggerTest, P25_a_fired_oneshot_hears_neither_ends_nor_drained) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  put(pair.b.get(), "x");
  EXPECT_EQ(now(token), in);
  poller->drained(token, both);  // means nothing to level and oneshot
  const Ready again = now(token);
  if (trigger() == Trigger::oneshot) {
    EXPECT_EQ(again, Ready::none);
  }
  pair.b.reset();
  const Ready end = in | Ready::read_closed | Ready::hangup;
  EXPECT_EQ(now(token), by_trigger(end, emulated() ? Ready::none : end, Ready::none));
  if (emulated()) difference("D1");
  poller->drained(token, both);
  if (emulated()) {
    EXPECT_EQ(now(token), end);
  }
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_EQ(now(token), end);
}

TEST_P(TriggerTest, P25_E09_a_report_of_one_direction_disarms_both_of_a_oneshot) {
  Pair pair = unix_pair();
  ASSERT_GT(fill(pair.a.get()), 0U);
  const Token token = watch(pair.a.get(), both);
  EXPECT_EQ(now(token), Ready::none);
  put(pair.b.get(), "x");
  EXPECT_EQ(now(token), in);
  ASSERT_GT(drain(pair.b.get()), 0U);  // now it could be written to
  const Ready second = now(token);
  switch (trigger()) {
    case Trigger::level: EXPECT_EQ(second, in | out); break;
    case Trigger::edge: EXPECT_EQ(second & out, out); break;  // directions are apart
    case Trigger::oneshot:
      EXPECT_EQ(second, Ready::none) << "the whole registration is disarmed";
      EXPECT_EQ(now(token), Ready::none);
      break;
  }
  ASSERT_TRUE(poller->modify(token, both));
  EXPECT_EQ(now(token), in | out) << "and the wish to write was not consumed";
}

TEST_P(TriggerTest, P27_E10_from_edge_to_oneshot_and_back_on_a_live_registration) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable, 5);
  ASSERT_TRUE(poller->modify(token, Interest::readable, Trigger::edge));
  for (int round = 0; round < 3; ++round) {
    put(pair.b.get(), "x");
    EXPECT_EQ(now(token), in) << "edge, round " << round;
    EXPECT_EQ(now(token), Ready::none);

    ASSERT_TRUE(poller->modify(token, Interest::readable, Trigger::oneshot));
    EXPECT_EQ(now(token), in) << "a new trigger arms";
    drain(pair.a.get());
    poller->drained(token, Interest::readable);
    put(pair.b.get(), "y");
    EXPECT_EQ(now(token), Ready::none) << "a oneshot that has fired knows no edges";

    ASSERT_TRUE(poller->modify(token, Interest::readable, Trigger::edge));
    EXPECT_EQ(now(token), in);
    EXPECT_EQ(now(token), Ready::none);
    for (int edge = 0; edge < 2; ++edge) {  // and it is no oneshot any more
      EXPECT_EQ(drain(pair.a.get()), 1U);
      poller->drained(token, Interest::readable);
      put(pair.b.get(), "z");
      EXPECT_EQ(now(token), in);
    }
    drain(pair.a.get());
    poller->drained(token, Interest::readable);
    EXPECT_EQ(now(token), Ready::none);
  }
  EXPECT_EQ(poller->size(), 1U);
}

TEST_P(TriggerTest, P27_E11_modify_changes_the_trigger_between_any_two) {
  constexpr Trigger triggers[] = {Trigger::level, Trigger::edge, Trigger::oneshot};
  for (const Trigger from : triggers) {
    for (const Trigger to : triggers) {
      for (const bool waited : {true, false}) {
        SCOPED_TRACE(std::string(to_string(from)) + " to " + to_string(to));
        Pair pair = unix_pair();
        const Token token = watch(pair.a.get(), Interest::readable);
        ASSERT_TRUE(poller->modify(token, Interest::readable, from));
        put(pair.b.get(), "x");
        if (waited) {
          EXPECT_EQ(now(token), in);
          EXPECT_EQ(now(token), from == Trigger::level ? in : Ready::none);
        }
        ASSERT_TRUE(poller->modify(token, Interest::readable, to));
        EXPECT_EQ(now(token), in) << "armed by the change";
        EXPECT_EQ(now(token), to == Trigger::level ? in : Ready::none);
        EXPECT_EQ(drain(pair.a.get()), 1U);
        poller->drained(token, Interest::readable);
        EXPECT_EQ(now(token), Ready::none);
        put(pair.b.get(), "y");
        EXPECT_EQ(now(token), to == Trigger::oneshot ? Ready::none : in);
        ASSERT_TRUE(poller->modify(token, Interest::readable));
        EXPECT_EQ(now(token), in) << "modify without a trigger keeps it, and arms";
        EXPECT_EQ(now(token), to == Trigger::level ? in : Ready::none);
        ASSERT_TRUE(poller->remove(token));
      }
    }
  }
}

TEST_P(TriggerTest, P22_E12_a_budget_for_a_hot_peer_loses_nothing_and_starves_nobody) {
  // A handler that stops early says so by modify: the rest is reported again, after the others.
  Pair hot = unix_pair();
  Pair cold = unix_pair();
  const Token loud = watch(hot.a.get(), Interest::readable);
  const Token quiet = watch(cold.a.get(), Interest::readable);
  std::size_t written = fill(hot.b.get());
  std::size_t read = 0;
  int asked = 0;
  int answered = 0;
  const std::array<char, 1024> block{};
  constexpr int turns = 5000;
  for (int turn = 0; turn < turns && (turn < 100 || read < written); ++turn) {
    if (turn % 10 == 3 && turn < 100) {
      put(cold.b.get(), "?");
      ++asked;
    }
    const ssize_t sent = turn < 100 ? ::write(hot.b.get(), block.data(), block.size()) : 0;
    if (sent > 0) written += static_cast<std::size_t>(sent);
    bool heard = false;
    for (const Event& event : events(0ns)) {
      if (event.token == quiet) {
        heard = true;
        ++answered;
        EXPECT_EQ(drain(cold.a.get()), 1U);
        poller->drained(quiet, Interest::readable);
        rearm(quiet, Interest::readable);
      } else {
        std::array<char, 1024> budget;
        const ssize_t got = ::read(hot.a.get(), budget.data(), budget.size());
        ASSERT_GT(got, 0) << "reported in vain";
        read += static_cast<std::size_t>(got);
        rearm(loud, Interest::readable);
      }
    }
    EXPECT_TRUE(heard || asked == answered) << "turn " << turn;
  }
  EXPECT_EQ(read, written);
  EXPECT_EQ(asked, 10);
  EXPECT_EQ(answered, asked);
}

TEST_P(TriggerTest, P22_modify_arms_what_was_not_wanted_before) {
  Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const Token token = watch(pair.a.get(), Interest::readable);
  EXPECT_EQ(now(token), in);
  ASSERT_TRUE(poller->modify(token, both));
  EXPECT_EQ(now(token) & out, out) << "new, and ready";
  EXPECT_EQ(now(token), by_trigger(in | out, Ready::none, Ready::none));
  ASSERT_TRUE(poller->modify(token, Interest::writable));
  now(token);
  ASSERT_TRUE(poller->modify(token, both));
  EXPECT_EQ(now(token) & in, in) << "gone and back again";
}

TEST_P(TriggerTest, P22_a_direction_given_up_and_taken_back_between_two_waits_is_armed) {
  Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const Token token = watch(pair.a.get(), Interest::readable);
  EXPECT_EQ(now(token), in);
  ASSERT_TRUE(poller->modify(token, Interest::none));
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_EQ(now(token), in);
  ASSERT_TRUE(poller->modify(token, Interest::writable));
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_EQ(now(token), in);
}

TEST_P(TriggerTest, P23_drained_speaks_for_the_directions_it_names) {
  Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const Token token = watch(pair.a.get(), both);
  EXPECT_EQ(now(token), in | out);
  EXPECT_EQ(drain(pair.a.get()), 1U);
  poller->drained(token, Interest::readable);
  // Still writable, which was reported and has not changed.
  EXPECT_EQ(now(token), by_trigger(out, Ready::none, Ready::none));
  put(pair.b.get(), "y");
  const Ready second = now(token);
  EXPECT_EQ(second & in, by_trigger(in, in, Ready::none));
}

TEST_P(TriggerTest, P20_P21_P25_several_registrations_are_silent_each_for_itself) {
  Pair first = unix_pair();
  Pair second = unix_pair();
  const Token a = watch(first.a.get(), Interest::readable);
  const Token b = watch(second.a.get(), Interest::readable);
  put(first.b.get(), "x");
  EXPECT_EQ(now(a), in);
  put(second.b.get(), "x");
  std::map<Token, Ready> seen;
  for (const Event& event : events(0ns)) seen[event.token] = event.ready;
  std::map<Token, Ready> expected{{b, in}};
  if (trigger() == Trigger::level) expected[a] = in;
  EXPECT_EQ(seen, expected);
  rearm(a, Interest::readable);
  seen.clear();
  for (const Event& event : events(0ns)) seen[event.token] = event.ready;
  expected = {{a, in}};
  if (trigger() == Trigger::level) expected[b] = in;
  EXPECT_EQ(seen, expected);
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(TriggerTest);

}  // namespace
}  // namespace duolu::test
