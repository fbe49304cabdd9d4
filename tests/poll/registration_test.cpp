// Clauses P1, P2, P5 and P36: what is registered, what is refused, what is paused.
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <random>

#include "support/conformance.hpp"
#include "support/descriptors.hpp"

namespace duolu::test {
namespace {

constexpr Interest both = Interest::readable | Interest::writable;

class RegistrationTest : public Conformance {};

TEST_P(RegistrationTest, P1_R01_add_modify_and_remove_succeed_and_the_size_follows) {
  Pair pair = unix_pair();
  EXPECT_EQ(poller->size(), 0U);
  const Result<Token> a = poller->add(pair.a.get(), Interest::readable, trigger());
  ASSERT_TRUE(a) << a.error().message();
  const Result<Token> b = poller->add(pair.b.get(), Interest::none, trigger());
  ASSERT_TRUE(b) << b.error().message();
  EXPECT_NE(*a, *b);
  EXPECT_EQ(poller->size(), 2U) << "a paused registration counts";
  EXPECT_TRUE(poller->modify(*a, Interest::writable));
  EXPECT_EQ(poller->size(), 2U);
  EXPECT_EQ(ready(*a), Ready::writable);
  EXPECT_TRUE(poller->remove(*b));
  EXPECT_EQ(poller->size(), 1U);
  EXPECT_TRUE(poller->remove(*a));
  EXPECT_EQ(poller->size(), 0U);
}

TEST_P(RegistrationTest, P1_the_data_given_comes_back_in_every_event) {
  Pair pair = unix_pair();
  constexpr std::uint64_t largest = ~std::uint64_t{0};
  const Token a = watch(pair.a.get(), Interest::writable, largest);
  const Token b = watch(pair.b.get(), Interest::writable);
  for (int round = 0; round < 3; ++round) {
    std::map<Token, std::uint64_t> seen;
    for (const Event& event : events()) seen[event.token] = event.data;
    EXPECT_EQ(seen, (std::map<Token, std::uint64_t>{{a, largest}, {b, 0}}));
    rearm(a, Interest::writable);
    rearm(b, Interest::writable);
  }
}

TEST_P(RegistrationTest, P1_R07_set_data_changes_the_next_event_and_loses_no_readiness) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable, 1);
  put(pair.b.get(), "x");
  ASSERT_TRUE(poller->set_data(token, 2));
  std::vector<Event> found = events();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].data, 2U);
  EXPECT_EQ(found[0].ready, Ready::readable);

  ASSERT_TRUE(poller->set_data(token, 3));
  if (trigger() != Trigger::level) expect_silent();  // it arms nothing
  rearm(token, Interest::readable);
  found = events();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].data, 3U);
}

TEST_P(RegistrationTest, P1_set_data_within_a_batch_is_seen_by_the_rest_of_it) {
  Pair pair = unix_pair();
  const Token tokens[2] = {watch(pair.a.get(), Interest::writable, 7),
                           watch(pair.b.get(), Interest::writable, 7)};
  std::vector<std::uint64_t> seen;
  Result<Poller::Batch> batch = poller->wait(immediately);
  ASSERT_TRUE(batch);
  for (const Event& event : *batch) {
    seen.push_back(event.data);
    for (const Token token : tokens) ASSERT_TRUE(poller->set_data(token, 8));
  }
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{7, 8}));
}

TEST_P(RegistrationTest, P1_a_registered_descriptor_is_not_read_written_or_changed) {
  Pair pair = unix_pair();
  put(pair.b.get(), "untouched");
  const int status = ::fcntl(pair.a.get(), F_GETFL);
  const int flags = ::fcntl(pair.a.get(), F_GETFD);
  const Token token = watch(pair.a.get(), both);
  EXPECT_EQ(ready(token), Ready::readable | Ready::writable);
  rearm(token, both);
  EXPECT_EQ(ready(token), Ready::readable | Ready::writable);
  ASSERT_TRUE(poller->remove(token));
  EXPECT_EQ(::fcntl(pair.a.get(), F_GETFL), status);
  EXPECT_EQ(::fcntl(pair.a.get(), F_GETFD), flags);
  EXPECT_EQ(drain(pair.a.get()), 9U);
  EXPECT_EQ(drain(pair.b.get()), 0U);
}

TEST_P(RegistrationTest, P2_R02_adding_twice_is_EEXIST_and_the_first_goes_on) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable, 1);
  for (const Interest interest : {Interest::readable, Interest::writable, Interest::none}) {
    const Result<Token> again = poller->add(pair.a.get(), interest, trigger(), 2);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error(), std::errc::file_exists);
  }
  EXPECT_EQ(poller->size(), 1U);
  expect_silent();  // none of the attempts changed the interest
  put(pair.b.get(), "x");
  const std::vector<Event> found = events();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].token, token);
  EXPECT_EQ(found[0].data, 1U);
  EXPECT_TRUE(poller->remove(token));
  EXPECT_TRUE(poller->add(pair.a.get(), Interest::readable, trigger()));
}

TEST_P(RegistrationTest, P2_R02_adding_twice_is_EEXIST_while_the_first_is_paused_or_silent) {
  Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const Token token = watch(pair.a.get(), Interest::readable);
  EXPECT_EQ(ready(token), Ready::readable);  // a oneshot is disarmed now, an edge silent
  EXPECT_EQ(error_of(poller->add(pair.a.get(), both, trigger())), std::errc::file_exists);
  ASSERT_TRUE(poller->modify(token, Interest::none));
  EXPECT_EQ(error_of(poller->add(pair.a.get(), both, trigger())), std::errc::file_exists);
  expect_silent();
  EXPECT_EQ(error_of(poller->add(pair.a.get(), both, trigger())), std::errc::file_exists);
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_EQ(ready(token), Ready::readable);
  EXPECT_EQ(poller->size(), 1U);
}

TEST_P(RegistrationTest, P2_R03_a_number_that_is_not_open_is_EBADF_and_leaves_nothing) {
  Pair pair = unix_pair();
  Fd spare = duplicate(pair.a.get());
  const int closed = spare.get();
  spare.reset();
  for (const int fd : {-1, INT_MIN, INT_MAX, closed}) {
    const Result<Token> added = poller->add(fd, Interest::readable, trigger());
    ASSERT_FALSE(added) << fd;
    EXPECT_EQ(added.error(), std::errc::bad_file_descriptor) << fd;
    EXPECT_EQ(poller->size(), 0U);
  }
  expect_silent();
  Fd opened = on_number(pair.a.get(), closed);
  const Token token = watch(closed, Interest::readable);
  put(pair.b.get(), "x");
  EXPECT_EQ(ready(token), Ready::readable);
}

TEST_P(RegistrationTest, P2_R04_unknown_tokens_are_ENOENT) {
  Pair pair = unix_pair();
  const auto expect_unknown = [&](Token token) {
    EXPECT_EQ(error_of(poller->modify(token, Interest::readable)),
              std::errc::no_such_file_or_directory);
    EXPECT_EQ(error_of(poller->modify(token, Interest::readable, trigger())),
              std::errc::no_such_file_or_directory);
    EXPECT_EQ(error_of(poller->set_data(token, 1)), std::errc::no_such_file_or_directory);
    EXPECT_EQ(error_of(poller->remove(token)), std::errc::no_such_file_or_directory);
    poller->drained(token, both);  // ignored
  };
  // The empty token, the wake-up's slot, a slot that never was, and one far beyond the table.
  const Token never_given[] = {Token{0}, Token{std::uint64_t{1} << 32U},
                               Token{(std::uint64_t{1} << 32U) | 1}, Token{~std::uint64_t{0}}};
  for (const Token token : never_given) expect_unknown(token);
  const Token token = watch(pair.a.get(), Interest::writable);
  // The right slot with a generation it has not had.
  expect_unknown(Token{static_cast<std::uint64_t>(token) + (std::uint64_t{1} << 32U)});
  expect_unknown(Token{static_cast<std::uint64_t>(token) & 0xFFFF'FFFFU});
  EXPECT_EQ(poller->size(), 1U);
  EXPECT_EQ(ready(token), Ready::writable);
}

TEST_P(RegistrationTest, P2_R05_removing_twice_is_ENOENT_the_second_time) {
  Pair pair = unix_pair();
  const Token a = watch(pair.a.get(), Interest::writable);
  const Token b = watch(pair.b.get(), Interest::writable);
  EXPECT_TRUE(poller->remove(a));
  EXPECT_EQ(error_of(poller->remove(a)), std::errc::no_such_file_or_directory);
  EXPECT_EQ(poller->size(), 1U);
  const Token anew = watch(pair.a.get(), Interest::writable);  // takes the slot
  EXPECT_EQ(error_of(poller->remove(a)), std::errc::no_such_file_or_directory);
  EXPECT_EQ(error_of(poller->modify(a, Interest::none)), std::errc::no_such_file_or_directory);
  std::map<Token, Ready> seen;
  for (const Event& event : events()) seen[event.token] = event.ready;
  EXPECT_EQ(seen, (std::map<Token, Ready>{{b, Ready::writable}, {anew, Ready::writable}}));
}

TEST_P(RegistrationTest, P2_an_unknown_interest_or_trigger_is_EINVAL_and_changes_nothing) {
  Pair pair = unix_pair();
  const auto no_trigger = static_cast<Trigger>(3);
  for (const unsigned bits : {0x08U, 0x10U, 0x80U, 0x09U, 0xFFU}) {
    const auto interest = static_cast<Interest>(bits);
    EXPECT_EQ(error_of(poller->add(pair.a.get(), interest, trigger())),
              std::errc::invalid_argument);
  }
  EXPECT_EQ(error_of(poller->add(pair.a.get(), Interest::readable, no_trigger)),
            std::errc::invalid_argument);
  EXPECT_EQ(poller->size(), 0U);

  const Token token = watch(pair.a.get(), Interest::writable);
  EXPECT_EQ(error_of(poller->modify(token, static_cast<Interest>(0x08))),
            std::errc::invalid_argument);
  EXPECT_EQ(error_of(poller->modify(token, Interest::none, no_trigger)),
            std::errc::invalid_argument);
  EXPECT_EQ(ready(token), Ready::writable);
}

TEST_P(RegistrationTest, P5_R06_interest_none_is_a_pause_until_modify) {
  Pair pair = unix_pair();
  put(pair.b.get(), "x");
  const Token token = watch(pair.a.get(), Interest::none);
  EXPECT_EQ(poller->size(), 1U);
  expect_silent();
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_EQ(ready(token), Ready::readable);
  ASSERT_TRUE(poller->modify(token, Interest::none));
  expect_silent();
  put(pair.b.get(), "y");
  expect_silent();
  ASSERT_TRUE(poller->modify(token, both));
  EXPECT_EQ(ready(token), Ready::readable | Ready::writable);
}

TEST_P(RegistrationTest, P5_a_reader_is_not_told_of_writable_nor_a_writer_of_readable) {
  Pair pair = tcp_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  expect_silent();
  ASSERT_TRUE(poller->modify(token, Interest::writable));
  put(pair.b.get(), "x");
  EXPECT_EQ(ready(token), Ready::writable);
  ASSERT_TRUE(poller->modify(token, Interest::priority));
  expect_silent();
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_EQ(ready(token), Ready::readable);
}

TEST_P(RegistrationTest, P5_what_became_true_in_a_pause_is_reported_when_it_ends) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  expect_silent();
  ASSERT_TRUE(poller->modify(token, Interest::none));
  expect_silent();
  put(pair.b.get(), "last words");
  pair.b.reset();
  expect_silent();
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_EQ(ready(token), Ready::readable | Ready::read_closed | Ready::hangup);
  EXPECT_EQ(drain(pair.a.get()), 10U);
}

TEST_P(RegistrationTest, P5_a_pause_before_the_report_was_fetched_holds_it_back) {
  Pair pair = unix_pair();
  const Token token = watch(pair.a.get(), Interest::readable);
  put(pair.b.get(), "x");  // the kernel knows by now; nobody has waited
  ASSERT_TRUE(poller->modify(token, Interest::none));
  expect_silent();
  ASSERT_TRUE(poller->modify(token, Interest::readable));
  EXPECT_EQ(ready(token), Ready::readable);
}

TEST_P(RegistrationTest, P5_P30_a_pause_that_is_hung_up_does_not_hide_a_ready_one) {
  // The batch holds one. A paused registration may wake the kernel's set up, but takes no place.
  auto small = another(real_kernel(), {.batch = 1});
  Pair paused = unix_pair();
  Pair live = unix_pair();
  const Token silent = watch_in(*small, paused.a.get(), Interest::none);
  const Token token = watch_in(*small, live.a.get(), Interest::readable);
  paused.b.reset();
  put(live.b.get(), "x");
  Result<Poller::Batch> batch = small->wait(immediately);
  ASSERT_TRUE(batch);
  std::vector<Token> seen;
  for (const Event& event : *batch) seen.push_back(event.token);
  EXPECT_EQ(seen, std::vector<Token>{token});
  EXPECT_TRUE(small->remove(silent));
}

// --- what cannot be watched

TEST_P(RegistrationTest, P2_files_that_are_always_ready_are_EPERM_and_leave_nothing) {
  char name[] = "/tmp/duolu-registration-XXXXXX";
  Fd regular(real_kernel(), ::mkostemp(name, O_CLOEXEC));
  ASSERT_TRUE(regular);
  ASSERT_EQ(::unlink(name), 0);
  EXPECT_EQ(error_of(poller->add(regular.get(), Interest::readable, trigger())),
            std::errc::operation_not_permitted);
  for (const char* path :
       {"/etc/passwd", "/", "/dev/null", "/dev/zero", "/dev/full", "/dev/urandom"}) {
    Fd fd(real_kernel(), ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    ASSERT_TRUE(fd) << path;
    for (const Interest interest : {Interest::readable, Interest::writable, Interest::none}) {
      const Result<Token> added = poller->add(fd.get(), interest, trigger());
      ASSERT_FALSE(added) << path;
      EXPECT_EQ(added.error(), std::errc::operation_not_permitted) << path;
    }
  }
  EXPECT_EQ(poller->size(), 0U);
  expect_silent();
  // The number of a refused file, with something else on it.
  Pair pair = unix_pair();
  const int number = regular.release();
  Fd socket = on_number(pair.a.get(), number);
  const Token token = watch(number, Interest::writable);
  EXPECT_EQ(ready(token), Ready::writable);
}

TEST_P(RegistrationTest, P2_R03_special_files_get_the_same_answer_everywhere) {
  const auto expect = [&](const std::string& what, int number, bool watchable) {
    Fd fd(real_kernel(), number);
    if (!fd) return;  // not on this machine, or not for this user
    const Result<Token> added = poller->add(fd.get(), Interest::readable, trigger());
    EXPECT_EQ(added.has_value(), watchable) << what;
    if (added)
      EXPECT_TRUE(poller->remove(*added)) << what;
    else
      EXPECT_EQ(added.error(), std::errc::operation_not_permitted) << what;
  };
  struct Path {
    const char* name;
    bool watchable;
  };
  // Measured with epoll on Linux 6.18. The devices without waiting are those of memory (major 1);
  // D9 has the ones that only epoll knows.
  constexpr Path paths[] = {
      {"/dev/null", false}, {"/dev/zero", false},   {"/dev/full", false},
      {"/dev/mem", false},  {"/dev/random", true},  {"/dev/urandom", false},
      {"/dev/kmsg", true},  {"/dev/ptmx", true},    {"/dev/tty", true},
      {"/dev/fuse", true},  {"/etc/passwd", false}, {"/", false},
      {"/dev", false},      {"/dev/loop0", false},  {"/proc/self/status", false}};
  for (const Path& path : paths)
    expect(path.name, ::open(path.name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY),
           path.watchable);
  expect("eventfd", ::eventfd(0, EFD_CLOEXEC), true);
  expect("timerfd", ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), true);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR2);
  expect("signalfd", ::signalfd(-1, &signals, SFD_CLOEXEC), true);
  expect("inotify", ::inotify_init1(IN_CLOEXEC), true);
  expect("pidfd", static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)), true);
  expect("epoll", ::epoll_create1(EPOLL_CLOEXEC), true);
  expect("UDP", ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), true);
  expect("TCP", ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), true);
  EXPECT_EQ(poller->size(), 0U);
}

TEST_P(RegistrationTest, P2_files_of_the_kernel_that_do_change_are_watched_by_epoll_only) {
  // fstat calls it a regular file, and only epoll_ctl knows that the kernel can wait for it.
  Fd mounts(real_kernel(), ::open("/proc/self/mounts", O_RDONLY | O_CLOEXEC));
  if (!mounts) GTEST_SKIP() << "/proc/self/mounts cannot be opened";
  const Result<Token> added = poller->add(mounts.get(), Interest::priority, trigger());
  if (traits().kernel_set) {
    ASSERT_TRUE(added) << added.error().message();
    EXPECT_TRUE(poller->remove(*added));
  } else {
    difference("D9");
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error(), std::errc::operation_not_permitted);
  }
}

TEST_P(RegistrationTest, P2_devices_without_readiness_are_known_to_epoll_only) {
  Fd device;
  for (const char* path : {"/dev/hwrng", "/dev/loop-control", "/dev/btrfs-control", "/dev/autofs"})
    if (!device) device = Fd(real_kernel(), ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!device) GTEST_SKIP() << "none of the devices in question can be opened here";
  const Result<Token> added = poller->add(device.get(), Interest::readable, trigger());
  if (traits().kernel_set) {
    EXPECT_EQ(error_of(added), std::errc::operation_not_permitted);
    EXPECT_EQ(poller->size(), 0U);
  } else {
    difference("D12");
    ASSERT_TRUE(added) << added.error().message();
    EXPECT_EQ(ready(*added), Ready::readable);
  }
}

// --- the poller's own descriptors, and pollers in pollers

TEST_P(RegistrationTest, P2_R23_the_pollers_own_descriptors_are_EINVAL) {
  const std::set<int> before = open_descriptors();
  auto mine = another();
  std::size_t own = 0;
  for (const int fd : open_descriptors()) {
    if (before.contains(fd)) continue;
    ++own;
    for (const Interest interest : {Interest::readable, Interest::none}) {
      const Result<Token> added = mine->add(fd, interest, trigger());
      ASSERT_FALSE(added);
      EXPECT_EQ(added.error(), std::errc::invalid_argument);
    }
  }
  EXPECT_GE(own, 1U) << "a wake-up descriptor";
  EXPECT_EQ(mine->size(), 0U);
  mine->wake();  // still works
  const Result<Poller::Batch> batch = mine->wait(after(real_kernel().now(), 10s));
  ASSERT_TRUE(batch);
  EXPECT_TRUE(batch->woken());
  mine.reset();
  EXPECT_EQ(open_descriptors(), before);
}

TEST_P(RegistrationTest, P2_R23_a_poller_with_a_descriptor_can_be_watched_by_any_other) {
  Pair pair = unix_pair();
  const Token inner = watch(pair.a.get(), Interest::readable);
  if (!traits().has_fd) {
    difference("D5");
    EXPECT_EQ(poller->fd(), -1);
    return;
  }
  ASSERT_GE(poller->fd(), 0);
  for (const Backend& backend : backends()) {
    auto outer = backend.make(real_kernel(), {}).value();
    const Token watched = outer->add(poller->fd(), Interest::readable, Trigger::level).value();
    EXPECT_TRUE(outer->wait(immediately)->empty()) << backend.name;
    put(pair.b.get(), "x");
    std::vector<Event> seen;
    Result<Poller::Batch> batch = outer->wait(after(real_kernel().now(), 10s));
    ASSERT_TRUE(batch);
    for (const Event& event : *batch) seen.push_back(event);
    ASSERT_EQ(seen.size(), 1U) << backend.name;
    EXPECT_EQ(seen[0].token, watched);
    EXPECT_EQ(seen[0].ready, Ready::readable);
    EXPECT_EQ(ready(inner), Ready::readable);
    EXPECT_EQ(drain(pair.a.get()), 1U);
    poller->drained(inner, Interest::readable);
    rearm(inner, Interest::readable);
    expect_silent(0ns);
    EXPECT_TRUE(outer->wait(immediately)->empty()) << backend.name;
  }
}

TEST_P(RegistrationTest, P2_R23_pollers_that_would_watch_each_other_are_refused) {
  auto other = another();
  if (other->fd() < 0) {
    difference("D5");
    EXPECT_EQ(poller->fd(), -1);  // nothing to build a circle from
    return;
  }
  EXPECT_EQ(error_of(poller->add(poller->fd(), Interest::readable, trigger())),
            std::errc::invalid_argument);
  watch(other->fd(), Interest::readable);
  const Result<Token> circle = other->add(poller->fd(), Interest::readable, trigger());
  ASSERT_FALSE(circle);
  EXPECT_EQ(circle.error(), std::errc::too_many_symbolic_link_levels);  // ELOOP
  EXPECT_EQ(other->size(), 0U);
  Pair pair = unix_pair();
  const Token token = watch_in(*other, pair.a.get(), Interest::writable);
  const Result<Poller::Batch> batch = other->wait(immediately);
  ASSERT_TRUE(batch);
  ASSERT_FALSE(batch->empty());
  EXPECT_EQ((*batch->begin()).token, token);
}

// --- how many, and how high

TEST_P(RegistrationTest, P1_R20_descriptors_beyond_FD_SETSIZE_work) {
  const DescriptorLimit limit(4096);
  if (!limit.held()) GTEST_SKIP() << "the hard limit of descriptors is " << limit.hard();
  Pair low = unix_pair();
  for (const int number : {1023, 1024, 1025, 2047, 4095}) {
    ASSERT_FALSE(is_open(number)) << number;
    Fd high = on_number(low.a.get(), number);
    const Token token = watch(number, both);
    EXPECT_EQ(ready(token), Ready::writable) << number;
    put(low.b.get(), "x");
    rearm(token, both);
    EXPECT_EQ(ready(token), Ready::readable | Ready::writable) << number;
    drain(low.a.get());
    ASSERT_TRUE(poller->modify(token, Interest::readable));
    expect_silent();
    ASSERT_TRUE(poller->remove(token));
  }
}

TEST_P(RegistrationTest, P1_R20_five_thousand_descriptors_are_held) {
  constexpr std::size_t pairs = 2500;
  const DescriptorLimit limit(2 * pairs + 500);
  if (!limit.held()) GTEST_SKIP() << "the hard limit of descriptors is " << limit.hard();
  std::vector<Pair> held;
  held.reserve(pairs);
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < pairs; ++i) {
    held.push_back(unix_pair());
    tokens.push_back(watch(held[i].a.get(), Interest::readable, 2 * i));
    tokens.push_back(watch(held[i].b.get(), Interest::readable, 2 * i + 1));
  }
  EXPECT_EQ(poller->size(), 2 * pairs);
  expect_silent();

  std::mt19937 random(20);
  std::set<std::uint64_t> expected;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t which = random() % (2 * pairs);
    const Pair& pair = held[which / 2];
    put(which % 2 == 0 ? pair.b.get() : pair.a.get(), "x");
    expected.insert(which);
  }
  std::set<std::uint64_t> seen;
  for (const Event& event : events()) {
    EXPECT_EQ(event.token, tokens[event.data]);
    EXPECT_EQ(event.ready, Ready::readable);
    EXPECT_TRUE(seen.insert(event.data).second) << "reported twice";
  }
  EXPECT_EQ(seen, expected);
  for (const Token token : tokens) ASSERT_TRUE(poller->remove(token));
  EXPECT_EQ(poller->size(), 0U);
  expect_silent();
}

TEST_P(RegistrationTest, P2_R21_D7_a_limit_lowered_below_the_registrations_loses_nothing) {
  std::vector<Pair> pairs;
  std::vector<Token> tokens;
  for (int i = 0; i < 100; ++i) {
    pairs.push_back(unix_pair());
    tokens.push_back(watch(pairs.back().a.get(), Interest::readable));
  }
  if (traits().obeys_rlimit) difference("D7");  // late by up to 10 ms
  expect_silent();
  for (const rlim_t least : {32U, 5U, 2U, 1U, 0U}) {
    SCOPED_TRACE(least);
    const DescriptorLimit limit(least);
    ASSERT_TRUE(limit.held());
    EXPECT_TRUE(events(0ns).empty());
    const Instant deadline = after(real_kernel().now(), settle_time);
    EXPECT_TRUE(poller->wait(deadline)->empty());
    EXPECT_GE(real_kernel().now(), deadline);
    poller->wake();
    EXPECT_TRUE(poller->wait(never)->woken());
    if (least == 0 && traits().obeys_rlimit) continue;  // nothing tells what is ready
    put(pairs[3].b.get(), "x");
    put(pairs[97].b.get(), "x");
    std::set<Token> seen;
    while (seen.size() < 2) {
      const Result<Poller::Batch> batch = poller->wait(never);
      ASSERT_TRUE(batch);
      for (const Event& event : *batch) seen.insert(event.token);
    }
    EXPECT_EQ(seen, (std::set<Token>{tokens[3], tokens[97]}));
    for (const int i : {3, 97}) {
      EXPECT_EQ(drain(pairs[static_cast<std::size_t>(i)].a.get()), 1U);
      poller->drained(tokens[static_cast<std::size_t>(i)], Interest::readable);
      rearm(tokens[static_cast<std::size_t>(i)], Interest::readable);
    }
    expect_silent(0ns);
  }
  for (const Pair& pair : pairs) put(pair.b.get(), "x");
  {
    const DescriptorLimit limit(7);
    EXPECT_EQ(events().size(), pairs.size());
  }
  if (trigger() == Trigger::level) {
    EXPECT_EQ(events().size(), pairs.size());
  }
}

TEST_P(RegistrationTest, P34_D7_with_a_lowered_limit_everybody_has_a_turn) {
  open(real_kernel(), {.batch = 3});
  std::vector<Pair> pairs;
  for (std::uint64_t i = 0; i < 20; ++i) {
    pairs.push_back(unix_pair());
    watch(pairs.back().a.get(), Interest::writable, i);
  }
  const DescriptorLimit limit(6);
  ASSERT_TRUE(limit.held());
  std::set<std::uint64_t> seen;
  for (int wait = 0; wait < 7; ++wait)
    for (const Event& event : events(0ns)) seen.insert(event.data);
  EXPECT_EQ(seen.size(), pairs.size());
}

TEST_P(RegistrationTest, P2_a_batch_that_is_impossible_is_refused) {
  for (const std::size_t batch :
       {std::size_t{0}, PollerOptions::max_batch + 1, SIZE_MAX / 12, SIZE_MAX - 1, SIZE_MAX}) {
    EXPECT_EQ(error_of(GetParam().backend->make(real_kernel(), {.batch = batch})),
              std::errc::invalid_argument)
        << batch;
    EXPECT_EQ(error_of(make_poller(real_kernel(), GetParam().backend->name, {.batch = batch})),
              std::errc::invalid_argument)
        << batch;
  }
  EXPECT_TRUE(GetParam().backend->make(real_kernel(), {.batch = PollerOptions::max_batch}));
}

// --- the end

TEST_P(RegistrationTest, P36_R25_a_poller_destroyed_with_registrations_closes_only_its_own) {
  const std::set<int> before = open_descriptors();
  {
    Pair pair = unix_pair();
    Pair pipe = pipe_pair();
    const std::set<int> with_pairs = open_descriptors();
    auto mine = another();
    watch_in(*mine, pair.a.get(), both);
    watch_in(*mine, pair.b.get(), Interest::none);
    watch_in(*mine, pipe.a.get(), Interest::readable);
    EXPECT_FALSE(mine->wait(immediately)->empty());
    mine.reset();
    EXPECT_EQ(open_descriptors(), with_pairs);
    put(pair.a.get(), "x");
    EXPECT_EQ(drain(pair.b.get()), 1U);
    put(pipe.b.get(), "y");
    EXPECT_EQ(drain(pipe.a.get()), 1U);
    // Nothing of the old one is in the way of a new one.
    const Token token = watch(pair.a.get(), Interest::writable);
    EXPECT_EQ(ready(token), Ready::writable);
    ASSERT_TRUE(poller->remove(token));
  }
  EXPECT_EQ(open_descriptors(), before);
}

DUOLU_EVERY_BACKEND_AND_TRIGGER(RegistrationTest);

}  // namespace
}  // namespace duolu::test
