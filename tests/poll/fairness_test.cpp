// Clause P34: when more is ready than a batch holds, everybody gets a turn.
#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <set>

#include "duolu/base/prng.hpp"
#include "support/descriptors.hpp"
#include "support/scenario.hpp"

namespace duolu::test {
namespace {

/// A descriptor that is readable, for as long as nobody reads it.
Fd ready_fd() {
  const int fd = ::eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) std::abort();
  return {real_kernel(), fd};
}

class FairnessTest : public Scenario {
 protected:
  /// The data words reported by so many looks.
  std::set<std::uint64_t> seen_in(std::size_t waits, std::size_t batch) {
    std::set<std::uint64_t> seen;
    for (std::size_t i = 0; i < waits; ++i) {
      const std::vector<Event> found = look();
      EXPECT_LE(found.size(), batch);
      for (const Event& event : found) seen.insert(event.data);
    }
    return seen;
  }
};

TEST_P(FairnessTest, P34_F01_a_thousand_ready_ones_are_seen_in_125_batches_of_8) {
  constexpr std::size_t count = 1000;
  constexpr std::size_t batch = 8;
  const DescriptorLimit limit(2048);
  ASSERT_TRUE(limit.held()) << "the hard limit of descriptors is " << limit.hard();
  open(kernel, {.batch = batch});
  std::vector<Fd> fds;
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < count; ++i) {
    fds.push_back(ready_fd());
    tokens.push_back(watch(fds.back().get(), Interest::readable, i));
  }
  for (int round = 0; round < 2; ++round) {
    SCOPED_TRACE(round);
    EXPECT_EQ(seen_in(count / batch, batch).size(), count);
    if (trigger() != Trigger::level) {
      EXPECT_TRUE(look().empty()) << "each was told once";
    }
    for (const Token token : tokens) rearm(token, Interest::readable);
  }
  // The window is any so many waits, not only those that start a round.
  EXPECT_FALSE(look().empty());
  for (const Token token : tokens) rearm(token, Interest::readable);
  EXPECT_EQ(seen_in(count / batch, batch).size(), count);
}

TEST_P(FairnessTest, P34_F01_what_falls_silent_costs_the_others_no_turn) {
  constexpr std::size_t batch = 8;
  open(kernel, {.batch = batch});
  std::vector<Fd> fds;
  for (std::size_t i = 0; i < 3 * batch; ++i) {
    fds.push_back(ready_fd());
    const Trigger middle = i / batch == 1 ? trigger() : Trigger::level;
    ASSERT_TRUE(poller->add(fds.back().get(), Interest::readable, middle, i));
  }
  EXPECT_EQ(seen_in(3, batch).size(), 3 * batch);
  EXPECT_EQ(seen_in(3, batch).size(), trigger() == Trigger::level ? 3 * batch : 2 * batch);
}

TEST_P(FairnessTest, P34_F02_a_high_descriptor_has_its_turn_beside_busy_low_ones) {
  constexpr std::size_t low = 16;
  constexpr std::size_t batch = 4;
  constexpr std::size_t turns = (low + 1 + batch - 1) / batch;
  open(kernel, {.batch = batch});
  std::vector<Fd> fds;
  for (std::size_t i = 0; i < low; ++i) {
    fds.push_back(ready_fd());
    watch(fds.back().get(), Interest::readable, i);
  }
  const Fd original = ready_fd();
  const Fd high = on_number(original.get(), 900);
  watch(high.get(), Interest::readable, low);
  std::size_t since = 0;
  int served = 0;
  for (int wait = 0; wait < 200; ++wait) {
    ++since;
    for (const Event& event : look()) {
      if (event.data == low) {
        EXPECT_LE(since, turns);
        since = 0;
        ++served;
      }
      rearm(event.token, Interest::readable);  // nobody ever reads: all stay ready
    }
    ASSERT_LE(since, turns) << "in wait " << wait;
  }
  EXPECT_GE(served, 200 / static_cast<int>(turns));
}

TEST_P(FairnessTest, P34_F04_a_storm_of_connections_and_the_established_ones_do_not_starve) {
  constexpr std::size_t established = 20;
  constexpr std::size_t storm = 40;
  constexpr std::size_t batch = 2;
  constexpr std::uint64_t door = 1000;
  open(kernel, {.batch = batch});
  const Listener listener = tcp_listener();
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < established; ++i) {
    pairs.push_back(tcp_pair());
    watch(pairs.back().a.get(), Interest::readable, i);
    put(pairs.back().b.get(), "x");
    ASSERT_TRUE(settled(pairs.back().a.get(), POLLIN));
  }
  std::vector<Attempt> clients;
  for (std::size_t i = 0; i < storm; ++i) {
    clients.push_back(begin_connect(listener.address));
    ASSERT_TRUE(clients.back().result == 0 || clients.back().result == -EINPROGRESS)
        << clients.back().result;
    ASSERT_TRUE(settled(clients.back().fd.get(), POLLOUT));
  }
  watch(listener.fd.get(), Interest::readable, door);

  // One connection and one message a turn, and each client writes again at once: nobody ever stops
  // being ready, but for the listener in the end.
  std::vector<std::size_t> turns(established);
  std::size_t accepted = 0;
  constexpr std::size_t round = (established + 1 + batch - 1) / batch;
  constexpr std::size_t rounds = 30;
  for (std::size_t wait = 0; wait < round * rounds; ++wait) {
    for (const Event& event : look()) {
      if (event.data == door) {
        const Accepted one = accept_one(listener.fd);
        EXPECT_EQ(one.error, 0);
        if (one.error == 0) ++accepted;
      } else {
        const Pair& pair = pairs[event.data];
        EXPECT_EQ(drain(pair.a.get()), 1u);
        ++turns[event.data];
        put(pair.b.get(), "x");
        ASSERT_TRUE(settled(pair.a.get(), POLLIN));
      }
      rearm(event.token, Interest::readable);
    }
  }
  EXPECT_GE(accepted, rounds);
  for (std::size_t i = 0; i < established; ++i) EXPECT_GE(turns[i], rounds) << i;
}

TEST_P(FairnessTest, P34_who_is_removed_and_added_again_costs_the_others_no_turn) {
  open(kernel, {.batch = 1});
  for (const std::size_t count : {5U, 20U}) {
    Prng random(3);
    std::vector<Fd> fds;
    std::vector<Token> tokens;
    for (std::size_t i = 0; i < count; ++i) {
      fds.push_back(ready_fd());
      tokens.push_back(watch(fds[i].get(), Interest::readable, i));
    }
    std::vector<std::size_t> turn(count);
    for (std::size_t wait = 1; wait <= 2000; ++wait) {
      const std::vector<Event> found = look();
      ASSERT_EQ(found.size(), 1U);
      const auto which = static_cast<std::size_t>(found[0].data);
      turn[which] = wait;
      for (std::size_t i = 0; i < count; ++i) ASSERT_LE(wait - turn[i], count) << i;
      if (random.chance(1, 2)) {
        ASSERT_TRUE(poller->remove(tokens[which]));
        tokens[which] = watch(fds[which].get(), Interest::readable, which);
      } else {
        rearm(tokens[which], Interest::readable);
      }
    }
    for (const Token token : tokens) ASSERT_TRUE(poller->remove(token));
  }
}

TEST_P(FairnessTest, P34_those_that_come_and_go_cost_the_others_no_turn) {
  // Whoever is reported is removed, and another one is added, which gets another number.
  open(kernel, {.batch = 1});
  constexpr std::size_t count = 8;
  std::map<Token, std::size_t> last;  // of the live ones: the wait of the last turn, or of add
  std::map<Token, Fd> fds;
  const auto begin = [&](std::size_t wait) {
    Fd fd = ready_fd();
    const Token token = watch(fd.get(), Interest::readable);
    last[token] = wait;
    fds.emplace(token, std::move(fd));
  };
  for (std::size_t i = 0; i < count; ++i) begin(0);
  for (std::size_t wait = 1; wait <= 500; ++wait) {
    const std::vector<Event> found = look();
    ASSERT_EQ(found.size(), 1U);
    const Token token = found[0].token;
    begin(wait);
    ASSERT_TRUE(poller->remove(token));
    fds.erase(token);
    last.erase(token);
    for (const auto& [other, turn] : last) ASSERT_LE(wait - turn, count + 1) << slot_of(other);
  }
}

TEST_P(FairnessTest, P34_removals_in_between_cost_nobody_a_turn) {
  open(kernel, {.batch = 2});
  constexpr std::size_t count = 40;
  std::vector<Fd> fds;
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < count; ++i) {
    fds.push_back(ready_fd());
    tokens.push_back(watch(fds[i].get(), Interest::readable, i));
  }
  // Two have their turn, then a third that had its turn before goes.
  std::set<std::uint64_t> seen;
  for (std::size_t wait = 0; wait < count / 2; ++wait) {
    for (const Event& event : look()) EXPECT_TRUE(seen.insert(event.data).second) << event.data;
    if (wait % 2 == 1) {
      ASSERT_TRUE(poller->remove(tokens[*seen.begin()]));
      tokens[*seen.begin()] = Token{};
      seen.insert(*seen.begin() + 1000);
      seen.erase(seen.begin());
    }
  }
  EXPECT_EQ(seen.size(), count);
}

TEST_P(FairnessTest, P5_P34_F05_without_a_free_descriptor_a_paused_listener_does_not_spin) {
  const Listener listener = tcp_listener();
  const Pair pair = tcp_pair();
  const Token door = watch(listener.fd.get(), Interest::readable);
  const Token connection = watch(pair.a.get(), Interest::readable);
  const Attempt client = begin_connect(listener.address);
  EXPECT_EQ(told(door), Ready::readable);
  EXPECT_TRUE(look().empty() || trigger() == Trigger::level);

  Fd spare = duplicate(listener.fd.get());
  const DescriptorLimit limit(static_cast<rlim_t>(*open_descriptors().rbegin()) + 1);
  ASSERT_TRUE(limit.held());
  std::vector<Fd> all_free;
  for (;;) {
    const int fd = ::fcntl(listener.fd.get(), F_DUPFD_CLOEXEC, 0);
    if (fd < 0) break;
    all_free.emplace_back(real_kernel(), fd);
  }
  EXPECT_EQ(accept_one(listener.fd).error, -EMFILE);
  ASSERT_TRUE(poller->modify(door, Interest::none));
  expect_idle();

  put(pair.b.get(), "x");
  EXPECT_EQ(told(connection), Ready::readable);
  EXPECT_EQ(drain(pair.a.get()), 1u);
  proceed(connection, Interest::readable);

  spare.reset();
  ASSERT_TRUE(poller->modify(door, Interest::readable));
  EXPECT_EQ(told(door), Ready::readable);
  EXPECT_EQ(accept_one(listener.fd).error, 0);
  proceed(door, Interest::readable);
  expect_idle(settle_time);
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(FairnessTest);

}  // namespace
}  // namespace duolu::test
