// Clauses P4, P5, P8 and P23 as counts of system calls, and P2 and P4 when the kernel refuses.
#include "duolu/testing/fault.hpp"
#include "support/conformance.hpp"
#include "support/descriptors.hpp"

namespace duolu::test {
namespace {

constexpr Interest both = Interest::readable | Interest::writable;

class CostTest : public Conformance {
 protected:
  void SetUp() override { open(kernel); }
  void TearDown() override { poller.reset(); }  // before the kernel it uses

  [[nodiscard]] std::uint64_t waits() const {
    const std::uint64_t finer = traits().three_sets ? kernel.calls(Call::ppoll) : 0;
    return kernel.calls(call_named(traits().wait_call)) + finer;
  }
  /// System calls that change what the kernel keeps.
  [[nodiscard]] std::uint64_t changes() const {
    return traits().kernel_set ? kernel.calls(call_named(traits().register_call)) : 0;
  }

  /// Every call but the waits and the clock, which is none on Linux.
  [[nodiscard]] std::uint64_t others() const {
    std::uint64_t sum = 0;
    for (unsigned i = 0; i < static_cast<unsigned>(Call::count_); ++i)
      sum += kernel.calls(static_cast<Call>(i));
    return sum - waits() - kernel.calls(Call::now);
  }

  FaultKernel kernel{real_kernel()};
};

TEST_P(CostTest, P8_however_many_changes_are_at_most_one_system_call) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  expect_silent(0ns);
  kernel.reset_counts();
  for (const Interest interest : {both, Interest::none, Interest::writable, both, Interest::none,
                                  Interest::priority, Interest::writable})
    ASSERT_TRUE(poller->modify(token, interest));
  EXPECT_EQ(others(), 0U) << "modify itself makes none";
  EXPECT_EQ(ready(token, 0ns), Ready::writable);
  EXPECT_EQ(changes(), traits().kernel_set ? 1U : 0U);
  EXPECT_EQ(others(), changes());
}

TEST_P(CostTest, P8_a_change_taken_back_before_the_next_wait_costs_nothing) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  expect_silent(0ns);
  kernel.reset_counts();
  ASSERT_TRUE(poller->modify(token, both));
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_EQ(ready(token, 0ns), Ready::none);
  // A oneshot was armed again by it, which the kernel need not be told if it had not fired.
  EXPECT_LE(others(), traits().kernel_set && trigger() == Trigger::oneshot ? 1U : 0U);
  put(pair.b.get(), "x");
  EXPECT_EQ(ready(token, 0ns), Ready::readable);
}

TEST_P(CostTest, P8_a_modify_to_the_same_interest_costs_what_it_arms) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), both);
  EXPECT_EQ(ready(token, 0ns), Ready::writable);
  kernel.reset_counts();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(poller->modify(token, both));
  EXPECT_EQ(ready(token, 0ns), Ready::writable);
  EXPECT_EQ(others(), traits().kernel_set && trigger() != Trigger::level ? 1U : 0U);
}

TEST_P(CostTest, P8_a_change_of_what_is_removed_costs_nothing) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  expect_silent(0ns);
  kernel.reset_counts();
  ASSERT_TRUE(poller->modify(token, both));
  ASSERT_TRUE(poller->remove(token));
  expect_silent(0ns);
  EXPECT_EQ(others(), traits().kernel_set ? 1U : 0U) << "the removal";
}

TEST_P(CostTest, P8_a_change_of_one_says_nothing_about_the_next_in_its_slot) {
  expect_silent(0ns);  // the first wait may prepare the others
  Pair pair = unix_pair();
  const Token old = watch(pair.a.get(), Interest::readable);
  ASSERT_TRUE(poller->modify(old, both));
  ASSERT_TRUE(poller->remove(old));
  const Token fresh = watch(pair.b.get(), Interest::readable);
  ASSERT_EQ(slot_of(fresh), slot_of(old));
  kernel.reset_counts();
  expect_silent(0ns);
  EXPECT_EQ(others(), 0U);
  put(pair.a.get(), "x");
  EXPECT_EQ(ready(fresh, 0ns), Ready::readable);
}

TEST_P(CostTest, P23_drained_and_a_round_of_messages_cost_no_change) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), both);
  EXPECT_EQ(ready(token, 0ns), Ready::writable);
  kernel.reset_counts();
  for (int i = 0; i < 10; ++i) {
    put(pair.b.get(), "x");
    if (trigger() != Trigger::oneshot) {
      EXPECT_TRUE(any(ready(token, 0ns), Ready::readable));
    }
    EXPECT_EQ(drain(pair.a.get()), 1U);
    poller->drained(token, Interest::readable);
  }
  EXPECT_EQ(others(), 0U);
}

// --- idle is idle

TEST_P(CostTest, P5_a_pause_costs_at_most_one_wake_up_whatever_happens_to_it) {
  Pair pipe = pipe_pair();
  Pair reset = tcp_pair();
  Pair hung = unix_pair();
  const Token tokens[] = {watch(pipe.a.get(), Interest::readable),
                          watch(reset.a.get(), Interest::readable),
                          watch(hung.a.get(), Interest::none)};
  expect_silent(0ns);
  for (const Token token : tokens) ASSERT_TRUE(poller->modify(token, Interest::none));
  expect_silent(0ns);
  put(pipe.b.get(), "x");
  pipe.b.reset();
  const linger abort{.l_onoff = 1, .l_linger = 0};
  ASSERT_EQ(::setsockopt(reset.b.get(), SOL_SOCKET, SO_LINGER, &abort, sizeof abort), 0);
  reset.b.reset();  // an error, not only an end
  hung.b.reset();
  kernel.reset_counts();
  EXPECT_TRUE(events(50ms).empty());
  EXPECT_LE(waits(), 1U + std::size(tokens)) << "one for each, and the wait itself";
  kernel.reset_counts();
  EXPECT_TRUE(events(50ms).empty());
  EXPECT_EQ(waits(), 1U) << "and then never again";
}

TEST_P(CostTest, P4_R12_a_dead_registration_is_got_rid_of_and_the_wait_sleeps) {
  Pair pair = unix_pair();
  Fd copy = duplicate(pair.a.get());
  const Token token = watch(pair.a.get(), both);  // writable all the time
  pair.a.reset();
  ASSERT_TRUE(poller->remove(token));
  kernel.reset_counts();
  EXPECT_TRUE(events(50ms).empty());
  EXPECT_LE(waits(), 2U);
  EXPECT_EQ(kernel.calls(Call::epoll_create), traits().kernel_set ? 1U : 0U);
  kernel.reset_counts();
  put(pair.b.get(), "x");
  EXPECT_TRUE(events(50ms).empty());
  EXPECT_EQ(waits(), 1U);
  EXPECT_EQ(others(), 0U);
}

TEST_P(CostTest, P4_R12_a_removal_within_a_batch_rebuilds_nothing) {
  // Its event is left out of the batch; the kernel was told, and keeps nothing.
  Pair first = unix_pair();
  Pair second = unix_pair();
  const Token tokens[2] = {watch(first.a.get(), Interest::writable),
                           watch(second.a.get(), Interest::writable)};
  Result<Poller::Batch> batch = poller->wait(immediately);
  ASSERT_TRUE(batch);
  int visited = 0;
  for (const Event& event : *batch) {
    ++visited;
    ASSERT_TRUE(poller->remove(event.token == tokens[0] ? tokens[1] : tokens[0]));
  }
  EXPECT_EQ(visited, 1);
  kernel.reset_counts();
  for (int i = 0; i < 3; ++i) events(0ns);
  EXPECT_EQ(kernel.calls(Call::epoll_create), 0U);
  EXPECT_EQ(waits(), traits().three_sets && trigger() == Trigger::level ? 6U : 3U)
      << "select asks poll what exactly it found";
}

TEST_P(CostTest, P7_R08_an_invalid_one_costs_nothing_afterwards) {
  Pair pair = unix_pair();
  Fd copy = duplicate(pair.a.get());
  const Token token = watch(pair.a.get(), Interest::readable);
  pair.a.reset();
  ASSERT_TRUE(poller->modify(token, both));
  EXPECT_TRUE(any(ready(token), Ready::invalid));
  put(pair.b.get(), "x");  // the file lives on in the dup
  events(0ns);
  kernel.reset_counts();
  EXPECT_TRUE(events(50ms).empty());
  EXPECT_EQ(waits(), 1U);
}

// --- when the kernel refuses

TEST_P(CostTest, P2_R22_what_the_kernel_refuses_at_add_comes_through_and_leaves_nothing) {
  Pair pair = unix_pair();
  // Where nothing is kept in the kernel, only looking at the descriptor can fail.
  if (!traits().kernel_set) difference("D11");
  const Call call = call_named(traits().register_call);
  kernel.fail(call, 1, traits().kernel_set ? ENOSPC : EOVERFLOW);
  kernel.fail(call, 2, ENOMEM);
  const Result<Token> first = poller->add(pair.a.get(), Interest::readable, trigger());
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error(),
            traits().kernel_set ? std::errc::no_space_on_device : std::errc::value_too_large);
  const Result<Token> second = poller->add(pair.a.get(), Interest::readable, trigger());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), std::errc::not_enough_memory);
  EXPECT_EQ(poller->size(), 0U);
  put(pair.b.get(), "x");
  expect_silent(0ns);
  const Token token = watch(pair.a.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::readable);
}

/// For the renewal of epoll's set: a dead registration that speaks, and a live one that is ready.
struct DeadAndLive {
  Pair gone = unix_pair();
  Fd copy = duplicate(gone.a.get());
  Pair live = unix_pair();
};

TEST_P(CostTest, P4_R12_a_renewal_that_fails_is_an_error_and_is_made_up_for) {
  for (const Call call : {Call::epoll_create, Call::epoll_ctl}) {
    DeadAndLive files;
    const Token dead = watch(files.gone.a.get(), Interest::writable);
    files.gone.a.reset();
    ASSERT_TRUE(poller->remove(dead));
    const Token token = watch(files.live.a.get(), Interest::readable);
    // Of epoll_ctl the first asks the old set whether the live one is still what it was.
    kernel.fail(call, call == Call::epoll_ctl ? 2 : 1, ENOMEM);
    const Result<Poller::Batch> batch = poller->wait(immediately);
    if (traits().kernel_set) {
      ASSERT_FALSE(batch) << to_string(call);
      EXPECT_EQ(batch.error(), std::errc::not_enough_memory);
    } else {
      EXPECT_TRUE(batch);
      kernel.clear();
    }
    put(files.live.b.get(), "x");
    EXPECT_EQ(ready(token), Ready::readable) << to_string(call);
    poller->wake();
    const Result<Poller::Batch> woken = poller->wait(after(real_kernel().now(), 10s));
    ASSERT_TRUE(woken);
    EXPECT_TRUE(woken->woken());
    ASSERT_TRUE(poller->remove(token));
  }
}

TEST_P(CostTest, P4_R12_a_renewal_with_no_descriptor_left_uses_its_own) {
  DeadAndLive files;
  const Token dead = watch(files.gone.a.get(), Interest::writable);
  const Token token = watch(files.live.a.get(), Interest::readable);
  files.gone.a.reset();
  ASSERT_TRUE(poller->remove(dead));
  put(files.live.b.get(), "x");
  kernel.fail(Call::epoll_create, 1, EMFILE);
  EXPECT_EQ(ready(token), Ready::readable);
  rearm(token, Interest::readable);
  EXPECT_EQ(ready(token), Ready::readable);
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(CostTest);

}  // namespace
}  // namespace duolu::test
