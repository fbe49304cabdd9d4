// Clauses P3, P4 and P35: whose event it is when descriptors are closed, duplicated and reused.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <functional>

#include "support/conformance.hpp"
#include "support/descriptors.hpp"

namespace duolu::test {
namespace {

constexpr Interest both = Interest::readable | Interest::writable;

/// Closes what is under `victim`'s number and puts the open file of `fd` there, in one step.
inline void reuse_number(const Fd& victim, int fd) {
  if (::dup3(fd, victim.get(), O_CLOEXEC) != victim.get()) std::abort();
}

class IdentityTest : public Conformance {
 protected:
  /// Two tokens, both readable with data, for tests of one batch.
  struct Two {
    Pair first = unix_pair();
    Pair second = unix_pair();
    Token tokens[2];
  };
  Two two_ready() {
    Two two;
    two.tokens[0] = watch(two.first.a.get(), Interest::readable);
    two.tokens[1] = watch(two.second.a.get(), Interest::readable);
    put(two.first.b.get(), "x");
    put(two.second.b.get(), "x");
    return two;
  }

  /// Visits one batch; `handler` gets every event. Whose events were handed out.
  std::vector<Token> visit(const std::function<void(const Event&)>& handler) {
    std::vector<Token> seen;
    Result<Poller::Batch> batch = poller->wait(immediately);
    EXPECT_TRUE(batch);
    if (!batch) return seen;
    for (const Event& event : *batch) {
      const Event copy = event;
      seen.push_back(copy.token);
      handler(copy);
    }
    return seen;
  }
};

TEST_P(IdentityTest, P3_a_token_is_never_given_twice) {
  Pair pair = unix_pair();
  std::set<Token> given;
  for (int i = 0; i < 1000; ++i) {
    const Token a = watch(pair.a.get(), Interest::readable);
    const Token b = watch(pair.b.get(), Interest::readable);
    EXPECT_TRUE(given.insert(a).second);
    EXPECT_TRUE(given.insert(b).second);
    EXPECT_NE(slot_of(a), slot_of(b));
    ASSERT_TRUE(poller->remove(a));
    ASSERT_TRUE(poller->remove(b));
  }
  EXPECT_FALSE(given.contains(Token{0}));
}

TEST_P(IdentityTest, P3_R14_a_dup_is_a_registration_of_its_own) {
  Pair pair = unix_pair();
  Fd copy = duplicate(pair.a.get());
  const Token original = watch(pair.a.get(), Interest::readable, 1);
  const Token dup = watch(copy.get(), both, 2);
  EXPECT_EQ(poller->size(), 2U);
  put(pair.b.get(), "x");
  std::map<Token, Ready> seen;
  for (const Event& event : events()) seen[event.token] = event.ready;
  EXPECT_EQ(seen, (std::map<Token, Ready>{{original, Ready::readable},
                                          {dup, Ready::readable | Ready::writable}}));
  ASSERT_TRUE(poller->remove(original));
  rearm(dup, Interest::readable);
  ASSERT_TRUE(poller->modify(dup, Interest::readable));
  const std::vector<Event> left = events();
  ASSERT_EQ(left.size(), 1U);
  EXPECT_EQ(left[0].token, dup);
  EXPECT_EQ(left[0].data, 2U);
  ASSERT_TRUE(poller->remove(dup));
  expect_silent();
}

TEST_P(IdentityTest, P3_R15_one_descriptor_in_two_pollers_is_reported_by_both) {
  Pair pair = unix_pair();
  auto other = another();
  const Token here = watch(pair.a.get(), Interest::readable);
  const Token there = watch_in(*other, pair.a.get(), Interest::readable);
  put(pair.b.get(), "x");
  EXPECT_EQ(ready(here), Ready::readable);
  Result<Poller::Batch> batch = other->wait(immediately);
  ASSERT_TRUE(batch);
  ASSERT_FALSE(batch->empty());
  EXPECT_EQ((*batch->begin()).token, there);
  ASSERT_TRUE(other->remove(there));
  rearm(here, Interest::readable);
  EXPECT_EQ(ready(here), Ready::readable) << "the other's remove is not ours";
}

// --- closed without, before and after remove

TEST_P(IdentityTest, P7_R08_a_modify_of_a_closed_descriptor_leaves_the_rest_in_order) {
  Pair closed = unix_pair();
  Pair open = unix_pair();
  const Token dead = watch(closed.a.get(), Interest::readable);
  const Token live = watch(open.a.get(), Interest::readable);
  closed.a.reset();
  EXPECT_TRUE(poller->modify(dead, both)) << "noticed in the next wait";
  EXPECT_EQ(ready(dead) & Ready::invalid, Ready::invalid);
  EXPECT_EQ(error_of(poller->modify(dead, Interest::readable)), std::errc::bad_file_descriptor);
  EXPECT_EQ(poller->size(), 2U);
  expect_silent();  // once
  put(open.b.get(), "x");
  EXPECT_EQ(ready(live), Ready::readable);
  EXPECT_TRUE(poller->remove(dead));
  EXPECT_EQ(error_of(poller->remove(dead)), std::errc::no_such_file_or_directory);
  EXPECT_EQ(poller->size(), 1U);
}

TEST_P(IdentityTest, P7_R08_an_invalid_registration_whose_file_lives_on_stays_silent) {
  Pair pair = unix_pair();
  constexpr int number = 500;  // out of the way of what the poller opens
  Fd gone = on_number(pair.a.get(), number);
  const Token dead = watch(number, Interest::readable);
  gone.reset();
  ASSERT_TRUE(poller->modify(dead, both));
  EXPECT_EQ(ready(dead), Ready::invalid | Ready::readable | Ready::writable);
  put(pair.b.get(), "x");  // the dup is readable, and the kernel may still watch it
  expect_silent();
  // The same file comes back under the number: a new registration, although nobody removed the old.
  Fd back = on_number(pair.a.get(), number);
  const Token fresh = watch(number, Interest::readable);
  EXPECT_NE(fresh, dead);
  EXPECT_EQ(ready(fresh), Ready::readable);
  EXPECT_EQ(error_of(poller->remove(dead)), std::errc::no_such_file_or_directory);
  EXPECT_EQ(poller->size(), 1U);
}

TEST_P(IdentityTest, P4_R09_remove_after_close_works) {
  const std::set<int> before = open_descriptors();
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), both);
  put(pair.b.get(), "x");
  pair.a.reset();
  EXPECT_TRUE(poller->remove(token));
  EXPECT_EQ(poller->size(), 0U);
  expect_silent();
  pair.b.reset();
  EXPECT_EQ(open_descriptors(), before);
}

TEST_P(IdentityTest, P4_R10_removing_after_the_number_was_reused_ends_only_the_old_one) {
  Pair old = unix_pair();
  Pair next = unix_pair();
  const int number = old.a.get();
  const Token token = watch(number, Interest::readable);
  Pair unrelated = unix_pair();
  const Token bystander = watch(unrelated.a.get(), Interest::readable);
  reuse_number(old.a, next.a.get());  // closes the old one
  EXPECT_TRUE(poller->remove(token));
  put(next.b.get(), "x");
  expect_silent();
  const Token fresh = watch(number, Interest::readable);
  EXPECT_NE(fresh, token);
  EXPECT_EQ(ready(fresh), Ready::readable);
  put(unrelated.b.get(), "x");
  EXPECT_EQ(ready(bystander), Ready::readable);
}

TEST_P(IdentityTest, P4_R11_a_number_closed_without_remove_can_be_added_and_the_old_token_is_dead) {
  Pair old = unix_pair();
  Pair next = unix_pair();
  const int number = old.a.get();
  const Token dead = watch(number, both, 1);
  put(old.b.get(), "x");
  reuse_number(old.a, next.a.get());
  const Result<Token> fresh = poller->add(number, Interest::readable, trigger(), 2);
  ASSERT_TRUE(fresh) << fresh.error().message();
  EXPECT_NE(*fresh, dead);
  EXPECT_EQ(poller->size(), 1U);
  EXPECT_EQ(error_of(poller->remove(dead)), std::errc::no_such_file_or_directory);
  EXPECT_EQ(error_of(poller->modify(dead, both)), std::errc::no_such_file_or_directory);
  expect_silent();
  put(next.b.get(), "y");
  const std::vector<Event> found = events();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].token, *fresh);
  EXPECT_EQ(found[0].data, 2U);
  EXPECT_EQ(found[0].ready, Ready::readable);
}

TEST_P(IdentityTest, P4_R11_the_old_file_lives_on_in_a_dup_and_is_not_heard_of) {
  Pair old = unix_pair();
  Pair next = unix_pair();
  const int number = old.a.get();
  Fd copy = duplicate(number);
  watch(number, both, 1);
  reuse_number(old.a, next.a.get());
  const Result<Token> fresh = poller->add(number, Interest::readable, trigger(), 2);
  ASSERT_TRUE(fresh) << fresh.error().message();
  put(old.b.get(), "x");
  expect_silent();
  put(next.b.get(), "y");
  EXPECT_EQ(ready(*fresh), Ready::readable);
  if (traits().kernel_set) {
    EXPECT_EQ(kernel_watches(poller->fd()), 2U) << "the new one and the wake-up";
  }
}

TEST_P(IdentityTest, P4_R11_a_number_reused_by_a_file_of_the_same_inode_is_told_by_epoll_only) {
  Fd old(real_kernel(), ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  const int number = old.get();
  const Token dead = watch(number, Interest::readable);
  Fd next(real_kernel(), ::eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC));
  reuse_number(old, next.get());
  Result<Token> fresh = poller->add(number, Interest::readable, trigger());
  if (traits().kernel_set) {
    ASSERT_TRUE(fresh) << fresh.error().message();
    EXPECT_EQ(error_of(poller->remove(dead)), std::errc::no_such_file_or_directory);
  } else {
    difference("D4");
    ASSERT_FALSE(fresh);
    EXPECT_EQ(fresh.error(), std::errc::file_exists);
    ASSERT_TRUE(poller->remove(dead));  // what the caller has to do there
    fresh = poller->add(number, Interest::readable, trigger());
    ASSERT_TRUE(fresh) << fresh.error().message();
  }
  EXPECT_EQ(poller->size(), 1U);
  EXPECT_EQ(ready(*fresh), Ready::readable);
}

TEST_P(IdentityTest, P4_R11_a_fifo_opened_again_on_the_number_is_told_by_epoll_only) {
  char directory[] = "/tmp/duolu-identity-XXXXXX";
  ASSERT_NE(::mkdtemp(directory), nullptr);
  const std::string path = std::string(directory) + "/fifo";
  const auto open_fifo = [&] {
    return Fd(real_kernel(), ::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  };
  const int made = ::mkfifo(path.c_str(), 0600);
  Fd old = open_fifo();
  Fd next = open_fifo();
  ::unlink(path.c_str());
  ::rmdir(directory);
  ASSERT_EQ(made, 0);
  ASSERT_TRUE(old && next);
  const int number = old.get();
  const Token dead = watch(number, Interest::readable);
  reuse_number(old, next.get());
  const Result<Token> fresh = poller->add(number, Interest::writable, trigger());
  if (traits().kernel_set) {
    ASSERT_TRUE(fresh) << fresh.error().message();
    EXPECT_EQ(ready(*fresh), Ready::writable);
  } else {
    difference("D4");
    ASSERT_FALSE(fresh);
    EXPECT_EQ(fresh.error(), std::errc::file_exists);
    ASSERT_TRUE(poller->modify(dead, Interest::writable));
    EXPECT_EQ(ready(dead), Ready::writable) << "the registration goes on with the same file";
  }
}

TEST_P(IdentityTest, P4_R10_until_remove_a_reused_number_is_watched_by_select_and_poll) {
  Pair old = unix_pair();
  Pair next = unix_pair();
  const int number = old.a.get();
  const Token token = watch(number, Interest::readable);
  reuse_number(old.a, next.a.get());
  put(next.b.get(), "x");
  if (!traits().notices_close) {
    expect_silent();
  } else {
    difference("D10");
    EXPECT_EQ(ready(token), Ready::readable);
  }
  EXPECT_TRUE(poller->remove(token));
  expect_silent();
}

// --- the file lives on behind the poller's back: in a dup (trio's can_survive_unnotified_close)

TEST_P(IdentityTest, P4_R12_closed_then_removed_while_a_dup_lives) {
  Pair pair = unix_pair();
  Fd copy = duplicate(pair.a.get());
  const Token token = watch(pair.a.get(), Interest::readable);
  pair.a.reset();
  EXPECT_TRUE(poller->remove(token));
  put(pair.b.get(), "x");
  expect_silent();
  if (traits().kernel_set) {
    EXPECT_EQ(kernel_watches(poller->fd()), 1U) << "the wake-up only";
  }
  // The dup itself is as good as any descriptor.
  const Token fresh = watch(copy.get(), Interest::readable);
  EXPECT_EQ(ready(fresh), Ready::readable);
}

TEST_P(IdentityTest, P4_R12_removed_then_closed_while_a_dup_lives) {
  Pair pair = unix_pair();
  Fd copy = duplicate(pair.a.get());
  const Token token = watch(pair.a.get(), Interest::readable);
  EXPECT_TRUE(poller->remove(token));
  pair.a.reset();
  put(pair.b.get(), "x");
  expect_silent();
  const Token fresh = watch(copy.get(), Interest::readable);
  EXPECT_EQ(ready(fresh), Ready::readable);
}

TEST_P(IdentityTest, P4_R12_closed_reported_and_then_removed_while_a_dup_lives) {
  Pair pair = unix_pair();
  Fd copy = duplicate(pair.a.get());
  const Token token = watch(pair.a.get(), Interest::readable);
  pair.a.reset();
  put(pair.b.get(), "x");
  if (!traits().notices_close) {  // the kernel still watches the file, and the registration was not
                                  // removed
    EXPECT_EQ(ready(token), Ready::readable);
  } else {
    difference("D2");
    EXPECT_EQ(ready(token), Ready::invalid | Ready::readable);
  }
  EXPECT_TRUE(poller->remove(token));
  EXPECT_EQ(drain(copy.get()), 1U);
  put(pair.b.get(), "y");
  expect_silent();
}

TEST_P(IdentityTest, P4_R12_closed_removed_and_back_on_its_number_while_a_dup_lives) {
  Pair pair = unix_pair();
  const int number = pair.a.get();
  Fd copy = duplicate(number);
  const Token dead = watch(number, both);
  pair.a.reset();
  EXPECT_TRUE(poller->remove(dead));
  Fd back = on_number(copy.get(), number);  // the very file the kernel may still hold
  const Result<Token> fresh = poller->add(number, Interest::readable, trigger());
  ASSERT_TRUE(fresh) << fresh.error().message();
  put(pair.b.get(), "x");
  const std::vector<Event> found = events();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].token, *fresh);
  EXPECT_EQ(found[0].ready, Ready::readable);
  EXPECT_EQ(poller->size(), 1U);
}

TEST_P(IdentityTest, P4_R12_a_dead_one_takes_no_place_from_a_live_one) {
  auto small = another(real_kernel(), {.batch = 1});
  Pair gone = unix_pair();
  Pair live = unix_pair();
  Fd copy = duplicate(gone.a.get());
  const Token dead = watch_in(*small, gone.a.get(), Interest::writable);
  const Token token = watch_in(*small, live.a.get(), Interest::writable);
  gone.a.reset();
  ASSERT_TRUE(small->remove(dead));
  for (int look = 0; look < 3; ++look) {
    Result<Poller::Batch> batch = small->wait(immediately);
    ASSERT_TRUE(batch);
    ASSERT_FALSE(batch->empty()) << "look " << look;
    EXPECT_EQ((*batch->begin()).token, token);
    if (trigger() != Trigger::level) {
      ASSERT_TRUE(small->modify(token, Interest::writable));
    }
  }
}

TEST_P(IdentityTest, P4_R23_the_descriptor_to_watch_a_poller_by_stays_after_a_renewal) {
  Pair gone = unix_pair();
  Pair live = unix_pair();
  Fd copy = duplicate(gone.a.get());
  const Token dead = watch(gone.a.get(), Interest::writable);
  const Token token = watch(live.a.get(), Interest::readable);
  const int before = poller->fd();
  std::vector<std::unique_ptr<Poller>> outers;  // from before on, and nobody tells them
  if (traits().has_fd) {
    for (const Backend& backend : backends()) {
      outers.push_back(backend.make(real_kernel(), {}).value());
      ASSERT_TRUE(outers.back()->add(before, Interest::readable));
    }
  }
  gone.a.reset();
  ASSERT_TRUE(poller->remove(dead));
  expect_silent(0ns);
  if (!traits().has_fd) {
    difference("D5");
    EXPECT_EQ(poller->fd(), -1);
    return;
  }
  EXPECT_EQ(poller->fd(), before);
  EXPECT_EQ(kernel_watches(before), 2U) << "the live one and the wake-up";
  EXPECT_EQ(error_of(poller->add(before, Interest::readable, trigger())),
            std::errc::invalid_argument);
  for (const auto& outer : outers) {
    EXPECT_TRUE(outer->wait(immediately)->empty()) << outer->name();
    put(live.b.get(), "x");
    EXPECT_FALSE(outer->wait(immediately)->empty()) << outer->name();
    EXPECT_EQ(ready(token), Ready::readable);
    drain(live.a.get());
    poller->drained(token, Interest::readable);
    rearm(token, Interest::readable);
    expect_silent(0ns);
  }
}

TEST_P(IdentityTest, P4_R12_many_dead_ones_between_live_ones) {
  std::vector<Pair> gone;
  std::vector<Fd> copies;
  std::vector<Pair> live;
  std::set<Token> expected;
  for (int i = 0; i < 20; ++i) {
    gone.push_back(unix_pair());
    copies.push_back(duplicate(gone.back().a.get()));
    const Token dead = watch(gone.back().a.get(), Interest::writable);
    gone.back().a.reset();
    ASSERT_TRUE(poller->remove(dead));
    live.push_back(unix_pair());
    expected.insert(watch(live.back().a.get(), Interest::writable));
  }
  for (int round = 0; round < 3; ++round) {
    std::set<Token> seen;
    for (const Event& event : events()) EXPECT_TRUE(seen.insert(event.token).second);
    EXPECT_EQ(seen, expected);
    for (const Token token : expected) rearm(token, Interest::writable);
  }
  for (const Token token : expected) ASSERT_TRUE(poller->remove(token));
  expect_silent();
  if (traits().kernel_set) {
    EXPECT_EQ(kernel_watches(poller->fd()), 1U);
  }
}

TEST_P(IdentityTest, P4_R12_what_was_silent_is_silent_after_the_dead_ones_are_gone) {
  // Getting rid of a dead registration must not wake the others up: a fired oneshot, a pause.
  Pair gone = unix_pair();
  Pair fired = unix_pair();
  Pair paused = unix_pair();
  Fd copy = duplicate(gone.a.get());
  const Token shot = watch(fired.a.get(), Interest::writable);
  const Token pause = watch(paused.a.get(), Interest::none);
  EXPECT_EQ(ready(shot), Ready::writable);
  const Token dead = watch(gone.a.get(), Interest::readable);
  gone.a.reset();
  ASSERT_TRUE(poller->remove(dead));
  put(gone.b.get(), "x");  // makes the dead one speak
  const Ready again = ready(shot);
  if (trigger() == Trigger::oneshot) {
    EXPECT_EQ(again, Ready::none);
  } else if (trigger() == Trigger::level) {
    EXPECT_EQ(again, Ready::writable);
  }  // edge: an extra report is allowed
  ASSERT_TRUE(poller->modify(shot, Interest::writable));
  ASSERT_TRUE(poller->modify(pause, Interest::writable));
  std::set<Token> seen;
  for (const Event& event : events()) seen.insert(event.token);
  EXPECT_EQ(seen, (std::set<Token>{shot, pause}));
}

// --- and in a child

/// A forked child that holds every descriptor until it is told to end.
class Child {
 public:
  Child() {
    pid_ = ::fork();
    if (pid_ < 0) std::abort();
    if (pid_ != 0) return;
    for (;;) ::pause();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  pid_t pid_ = -1;
};

TEST_P(IdentityTest, P4_R13_a_child_that_holds_the_socket_causes_no_events) {
  Pair removed_first = unix_pair();
  Pair closed_first = unix_pair();
  const Token a = watch(removed_first.a.get(), Interest::readable);
  const Token b = watch(closed_first.a.get(), Interest::readable);
  const Child child;
  EXPECT_TRUE(poller->remove(a));
  removed_first.a.reset();
  closed_first.a.reset();
  EXPECT_TRUE(poller->remove(b));
  put(removed_first.b.get(), "x");  // the child's copies are readable now
  put(closed_first.b.get(), "x");
  expect_silent();
  Pair pair = unix_pair();  // takes the numbers that were given back
  const Token c = watch(pair.a.get(), Interest::readable);
  const Token d = watch(pair.b.get(), Interest::readable);
  expect_silent();
  put(pair.b.get(), "y");
  EXPECT_EQ(ready(c), Ready::readable);
  put(pair.a.get(), "y");
  EXPECT_EQ(ready(d), Ready::readable);
  if (traits().kernel_set) {
    EXPECT_EQ(kernel_watches(poller->fd()), 3U);
  }
}

// --- within one batch

TEST_P(IdentityTest, P35_R16_what_a_handler_removes_is_not_handed_out_any_more) {
  Two two = two_ready();
  const std::vector<Token> seen = visit([&](const Event& event) {
    EXPECT_TRUE(poller->remove(event.token == two.tokens[0] ? two.tokens[1] : two.tokens[0]));
  });
  EXPECT_EQ(seen.size(), 1U);
  EXPECT_EQ(poller->size(), 1U);
}

TEST_P(IdentityTest, P4_R17_a_closed_and_reused_number_gets_no_event_of_the_batch) {
  enum class Way { remove_then_close, close_then_remove, close_only };
  for (const Way way : {Way::remove_then_close, Way::close_then_remove, Way::close_only}) {
    Two two = two_ready();
    Pair next = unix_pair();
    Token fresh{};
    const std::vector<Token> seen = visit([&](const Event& event) {
      ASSERT_EQ(fresh, Token{}) << "the other one was handed out";
      const bool first = event.token == two.tokens[0];
      Fd& victim = first ? two.second.a : two.first.a;
      const Token dead = two.tokens[first ? 1 : 0];
      if (way == Way::remove_then_close) {
        ASSERT_TRUE(poller->remove(dead));
      }
      reuse_number(victim, next.a.get());
      if (way == Way::close_then_remove) {
        ASSERT_TRUE(poller->remove(dead));
      }
      fresh = watch(victim.get(), Interest::readable);
    });
    EXPECT_EQ(seen.size(), 1U) << static_cast<int>(way);
    EXPECT_EQ(poller->size(), 2U);
    put(next.b.get(), "y");
    EXPECT_EQ(ready(fresh), Ready::readable) << static_cast<int>(way);
    ASSERT_TRUE(poller->remove(fresh));
    ASSERT_TRUE(poller->remove(seen.front()));
  }
}

TEST_P(IdentityTest, P35_R18_a_handler_that_removes_and_adds_itself_is_registered_once) {
  Pair pair = unix_pair();
  put(pair.b.get(), "x");
  Token current = watch(pair.a.get(), Interest::readable);
  for (int round = 0; round < 3; ++round) {
    const Token before = current;
    const std::vector<Token> seen = visit([&](const Event& event) {
      ASSERT_TRUE(poller->remove(event.token));
      current = watch(pair.a.get(), Interest::readable);
    });
    EXPECT_EQ(seen, std::vector<Token>{before});
    EXPECT_NE(current, before);
    EXPECT_EQ(poller->size(), 1U);
  }
}

TEST_P(IdentityTest, P35_a_handler_adds_others_without_end_of_the_batch) {
  // The table of registrations grows under the batch that is being visited.
  std::vector<Pair> pairs;
  for (int i = 0; i < 8; ++i) {
    pairs.push_back(unix_pair());
    watch(pairs.back().a.get(), Interest::writable, 1);
  }
  std::vector<Pair> more;
  std::size_t visited = 0;
  visit([&](const Event& event) {
    EXPECT_EQ(event.data, 1U) << "added while the batch was visited";
    ++visited;
    for (int i = 0; i < 32; ++i) {
      more.push_back(unix_pair());
      watch(more.back().a.get(), Interest::writable, 2);
    }
  });
  EXPECT_EQ(visited, 8U);
  EXPECT_EQ(poller->size(), 8U + 8U * 32U);
  std::size_t fresh = 0;
  while (fresh < more.size()) {
    const std::vector<Event> found = events();
    ASSERT_FALSE(found.empty());
    for (const Event& event : found) {
      if (event.data == 2) {
        ++fresh;
        ASSERT_TRUE(poller->remove(event.token));
      }
    }
  }
}

TEST_P(IdentityTest, P35_what_a_handler_pauses_is_left_out_of_the_batch) {
  Two two = two_ready();
  const auto other_of = [&](Token token) {
    return token == two.tokens[0] ? two.tokens[1] : two.tokens[0];
  };
  const std::vector<Token> seen = visit([&](const Event& event) {
    EXPECT_TRUE(poller->modify(other_of(event.token), Interest::none));
  });
  ASSERT_EQ(seen.size(), 1U);
  ASSERT_TRUE(poller->modify(other_of(seen[0]), Interest::readable));
  EXPECT_EQ(ready(other_of(seen[0])), Ready::readable) << "the readiness is not lost";
}

TEST_P(IdentityTest, P35_a_direction_no_longer_wanted_is_left_out_of_the_batch) {
  Pair pair = unix_pair();
  put(pair.a.get(), "x");
  put(pair.b.get(), "x");
  const Token tokens[2] = {watch(pair.a.get(), both), watch(pair.b.get(), both)};
  std::vector<Ready> seen;
  const std::vector<Token> visited = visit([&](const Event& event) {
    seen.push_back(event.ready);
    for (const Token token : tokens) ASSERT_TRUE(poller->modify(token, Interest::readable));
  });
  EXPECT_EQ(visited.size(), 2U);
  EXPECT_EQ(seen, (std::vector<Ready>{Ready::readable | Ready::writable, Ready::readable}));
}

// --- for long

TEST_P(IdentityTest, P3_R19_ten_thousand_cycles_grow_nothing) {
  Pair pair = unix_pair();
  const std::set<int> before = open_descriptors();
  std::uint32_t highest = 0;
  for (int i = 0; i < 10'000; ++i) {
    const Token token = watch(pair.a.get(), Interest::writable);
    highest = std::max(highest, slot_of(token));
    if (i % 3 == 0) {
      ASSERT_TRUE(poller->modify(token, Interest::readable));
    }
    if (i % 100 == 0) {
      ASSERT_TRUE(poller->wait(immediately));
    }
    ASSERT_TRUE(poller->remove(token));
  }
  EXPECT_EQ(highest, 1U) << "slots are reused";
  EXPECT_EQ(poller->size(), 0U);
  EXPECT_EQ(open_descriptors(), before);
  expect_silent();
  if (traits().kernel_set) {
    EXPECT_EQ(kernel_watches(poller->fd()), 1U) << "the wake-up only";
  }
  const Token token = watch(pair.a.get(), Interest::writable);
  EXPECT_EQ(ready(token), Ready::writable);
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(IdentityTest);

}  // namespace
}  // namespace duolu::test
