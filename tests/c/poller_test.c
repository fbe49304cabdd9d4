// The C interface, from C: every function, on every backend. Without arguments all of it runs.
#define _POSIX_C_SOURCE 200809L
#include "duolu/poll/poller.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char* where = "";
static int checks = 0;

#define CHECK(condition)                                                                  \
  do {                                                                                    \
    ++checks;                                                                             \
    if (!(condition)) {                                                                   \
      fprintf(stderr, "%s:%d: %s: %s is false\n", __FILE__, __LINE__, where, #condition); \
      exit(1);                                                                            \
    }                                                                                     \
  } while (0)

#define CHECK_EQ(actual, wanted)                                                           \
  do {                                                                                     \
    const long long got_ = (long long)(actual);                                            \
    const long long want_ = (long long)(wanted);                                           \
    ++checks;                                                                              \
    if (got_ != want_) {                                                                   \
      fprintf(stderr, "%s:%d: %s: %s is %lld, not %s (%lld)\n", __FILE__, __LINE__, where, \
              #actual, got_, #wanted, want_);                                              \
      exit(1);                                                                             \
    }                                                                                      \
  } while (0)

enum { batch = 4 };
static const int64_t ms = 1000000;

static int64_t now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static struct duolu_poller* open_poller(const char* backend, uint32_t options) {
  struct duolu_poller* poller = NULL;
  CHECK_EQ(duolu_poller_new(backend, batch, options, &poller), 0);
  CHECK(poller != NULL);
  return poller;
}

static uint64_t watch(struct duolu_poller* poller, int fd, uint32_t interest, uint32_t trigger,
                      uint64_t data) {
  uint64_t token = 0;
  CHECK_EQ(duolu_poller_add(poller, fd, interest, trigger, data, &token), 0);
  CHECK(token != 0);
  return token;
}

/// What is reported of a token by one wait, which expects no one else; 0 for nothing.
static uint32_t look(struct duolu_poller* poller, uint64_t token, int64_t timeout) {
  struct duolu_event events[batch];
  const int count = duolu_poller_wait(poller, events, batch, timeout, NULL);
  CHECK(count == 0 || count == 1);
  if (count == 0) return 0;
  CHECK_EQ(events[0].token, token);
  return events[0].ready;
}

static void make_pair(int fds[2]) {
  CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  CHECK_EQ(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
  CHECK_EQ(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
}

static void close_pair(const int fds[2]) {
  close(fds[0]);
  close(fds[1]);
}

static void tcp_pair(int fds[2]) {
  struct sockaddr_in address;
  socklen_t size = sizeof address;
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK_EQ(bind(listener, (struct sockaddr*)&address, size), 0);
  CHECK_EQ(listen(listener, 1), 0);
  CHECK_EQ(getsockname(listener, (struct sockaddr*)&address, &size), 0);
  fds[0] = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_EQ(connect(fds[0], (struct sockaddr*)&address, size), 0);
  fds[1] = accept(listener, NULL, NULL);
  CHECK(fds[1] >= 0);
  close(listener);
}

// --- what does not depend on the backend

static void test_making(void) {
  where = "making";
  struct duolu_poller* poller = (struct duolu_poller*)&checks;
  CHECK_EQ(duolu_poller_new("no such backend", batch, 0, &poller), -EINVAL);
  CHECK(poller == NULL);
  CHECK_EQ(duolu_poller_new("auto", 0, 0, &poller), -EINVAL);
  CHECK_EQ(duolu_poller_new("auto", (size_t)DUOLU_BATCH_MAX + 1, 0, &poller), -EINVAL);
  CHECK_EQ(duolu_poller_new("auto", batch, 2, &poller), -EINVAL);
  CHECK_EQ(duolu_poller_new("auto", batch, 0, NULL), -EINVAL);
  duolu_poller_free(NULL);

  CHECK_EQ(duolu_poller_new("auto", 1, 0, &poller), 0);
  CHECK_EQ(strcmp(duolu_poller_backend_name(poller), duolu_backend_name(0)), 0);
  duolu_poller_free(poller);
  CHECK_EQ(duolu_poller_new(NULL, DUOLU_BATCH_MAX, DUOLU_RETURN_ON_SIGNAL, &poller), 0);
  duolu_poller_free(poller);
}

// --- on every backend

static void test_errors(const char* backend) {
  struct duolu_poller* poller = open_poller(backend, 0);
  struct duolu_event events[batch];
  int fds[2];
  make_pair(fds);
  errno = 0;
  const uint64_t token = watch(poller, fds[0], DUOLU_READABLE, DUOLU_LEVEL, 1);
  CHECK_EQ(duolu_poller_add(poller, fds[0], DUOLU_WRITABLE, DUOLU_LEVEL, 0, NULL), -EEXIST);
  CHECK_EQ(duolu_poller_add(poller, -1, DUOLU_READABLE, DUOLU_LEVEL, 0, NULL), -EBADF);
  const int closed = dup(fds[1]);
  close(closed);
  CHECK_EQ(duolu_poller_add(poller, closed, DUOLU_READABLE, DUOLU_LEVEL, 0, NULL), -EBADF);
  const int null = open("/dev/null", O_RDWR);
  CHECK_EQ(duolu_poller_add(poller, null, DUOLU_READABLE, DUOLU_LEVEL, 0, NULL), -EPERM);
  close(null);
  // Values that would be fine after a cast to the narrower C++ types among them.
  static const uint32_t wrong[] = {8, 0x2000, 0x100, 0x101, UINT32_MAX};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; ++i) {
    CHECK_EQ(duolu_poller_add(poller, fds[1], wrong[i], DUOLU_LEVEL, 0, NULL), -EINVAL);
    CHECK_EQ(duolu_poller_add(poller, fds[1], DUOLU_READABLE, wrong[i], 0, NULL), -EINVAL);
    CHECK_EQ(duolu_poller_modify(poller, token, wrong[i], DUOLU_LEVEL), -EINVAL);
    CHECK_EQ(duolu_poller_modify(poller, token, DUOLU_READABLE, wrong[i]), -EINVAL);
  }
  static const uint64_t unknown[] = {0, 77, UINT64_MAX};
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; ++i) {
    CHECK_EQ(duolu_poller_modify(poller, unknown[i], DUOLU_READABLE, DUOLU_LEVEL), -ENOENT);
    CHECK_EQ(duolu_poller_set_data(poller, unknown[i], 1), -ENOENT);
    CHECK_EQ(duolu_poller_remove(poller, unknown[i]), -ENOENT);
    duolu_poller_drained(poller, unknown[i], DUOLU_READABLE);
  }
  CHECK_EQ(duolu_poller_wait(poller, NULL, batch, 0, NULL), -EINVAL);
  CHECK_EQ(duolu_poller_wait(poller, events, batch, -2, NULL), -EINVAL);
  CHECK_EQ(duolu_poller_wait(poller, events, batch, INT64_MIN, NULL), -EINVAL);
  CHECK_EQ(duolu_poller_wait(poller, events, batch - 1, 0, NULL), -EINVAL);
  const int own = duolu_poller_fd(poller);
  CHECK(own >= -1);
  if (own >= 0)
    CHECK_EQ(duolu_poller_add(poller, own, DUOLU_READABLE, DUOLU_LEVEL, 0, NULL), -EINVAL);
  // None of the failures left anything behind: the one registration works, the other can be added.
  CHECK_EQ(write(fds[1], "x", 1), 1);
  CHECK_EQ(look(poller, token, DUOLU_FOREVER), DUOLU_READABLE);
  CHECK_EQ(duolu_poller_remove(poller, token), 0);
  CHECK_EQ(duolu_poller_remove(poller, token), -ENOENT);
  CHECK_EQ(look(poller, 0, 0), 0);
  CHECK(watch(poller, fds[0], DUOLU_READABLE, DUOLU_LEVEL, 1) != token);
  duolu_poller_free(poller);
  CHECK(fcntl(fds[0], F_GETFD) >= 0);  // the poller closed its own descriptors only
  close_pair(fds);
}

static void test_triggers(const char* backend) {
  struct duolu_poller* poller = open_poller(backend, 0);
  struct duolu_event events[batch];
  char byte;
  int fds[2];
  make_pair(fds);
  CHECK_EQ(write(fds[1], "x", 1), 1);

  const uint64_t token = watch(poller, fds[0], DUOLU_READABLE, DUOLU_LEVEL, 0xfeedfacecafebeefU);
  for (int i = 0; i < 2; ++i) {
    CHECK_EQ(duolu_poller_wait(poller, events, batch, DUOLU_FOREVER, NULL), 1);
    CHECK(events[0].token == token);
    CHECK(events[0].data == 0xfeedfacecafebeefU);
    CHECK_EQ(events[0].ready, DUOLU_READABLE);
  }
  CHECK_EQ(duolu_poller_set_data(poller, token, UINT64_MAX), 0);
  CHECK_EQ(duolu_poller_wait(poller, events, batch, DUOLU_FOREVER, NULL), 1);
  CHECK(events[0].data == UINT64_MAX);

  CHECK_EQ(duolu_poller_modify(poller, token, 0, DUOLU_LEVEL), 0);
  CHECK_EQ(look(poller, token, 0), 0);
  CHECK_EQ(duolu_poller_modify(poller, token, DUOLU_READABLE | DUOLU_WRITABLE, DUOLU_LEVEL), 0);
  CHECK_EQ(look(poller, token, 0), DUOLU_READABLE | DUOLU_WRITABLE);

  CHECK_EQ(duolu_poller_modify(poller, token, DUOLU_READABLE, DUOLU_EDGE), 0);
  CHECK_EQ(look(poller, token, 0), DUOLU_READABLE);
  CHECK_EQ(look(poller, token, 0), 0);
  CHECK_EQ(read(fds[0], &byte, 1), 1);
  duolu_poller_drained(poller, token, DUOLU_READABLE);
  CHECK_EQ(look(poller, token, 0), 0);
  CHECK_EQ(write(fds[1], "y", 1), 1);
  CHECK_EQ(look(poller, token, DUOLU_FOREVER), DUOLU_READABLE);
  CHECK_EQ(look(poller, token, 0), 0);

  CHECK_EQ(duolu_poller_modify(poller, token, DUOLU_READABLE, DUOLU_ONESHOT), 0);
  // A capacity that is refused takes nothing away.
  CHECK_EQ(duolu_poller_wait(poller, events, 1, 0, NULL), -EINVAL);
  CHECK_EQ(look(poller, token, 0), DUOLU_READABLE);
  CHECK_EQ(write(fds[1], "z", 1), 1);
  CHECK_EQ(look(poller, token, 0), 0);
  CHECK_EQ(duolu_poller_modify(poller, token, DUOLU_READABLE, DUOLU_ONESHOT), 0);
  CHECK_EQ(look(poller, token, DUOLU_FOREVER), DUOLU_READABLE);

  close_pair(fds);
  duolu_poller_free(poller);
}

static void test_ready_bits(const char* backend) {
  struct duolu_poller* poller = open_poller(backend, 0);
  int fds[2];

  make_pair(fds);
  uint64_t token = watch(poller, fds[0], DUOLU_READABLE, DUOLU_LEVEL, 0);
  CHECK_EQ(shutdown(fds[1], SHUT_WR), 0);
  CHECK_EQ(look(poller, token, DUOLU_FOREVER), DUOLU_READABLE | DUOLU_READ_CLOSED);
  CHECK_EQ(duolu_poller_remove(poller, token), 0);
  close_pair(fds);

  CHECK_EQ(pipe(fds), 0);
  token = watch(poller, fds[0], DUOLU_READABLE, DUOLU_LEVEL, 0);
  close(fds[1]);
  CHECK_EQ(look(poller, token, DUOLU_FOREVER), DUOLU_READABLE | DUOLU_HANGUP);
  CHECK_EQ(duolu_poller_remove(poller, token), 0);
  close(fds[0]);

  CHECK_EQ(pipe(fds), 0);
  token = watch(poller, fds[1], DUOLU_WRITABLE, DUOLU_LEVEL, 0);
  close(fds[0]);
  CHECK_EQ(look(poller, token, DUOLU_FOREVER), DUOLU_WRITABLE | DUOLU_ERROR);
  CHECK_EQ(duolu_poller_remove(poller, token), 0);
  close(fds[1]);

  tcp_pair(fds);
  token = watch(poller, fds[0], DUOLU_PRIORITY, DUOLU_LEVEL, 0);
  CHECK_EQ(look(poller, token, 0), 0);
  CHECK_EQ(send(fds[1], "!", 1, MSG_OOB), 1);
  CHECK_EQ(look(poller, token, DUOLU_FOREVER), DUOLU_PRIORITY);
  CHECK_EQ(duolu_poller_remove(poller, token), 0);
  close_pair(fds);

  // Closed under its registration; the modify makes epoll notice too (D2).
  make_pair(fds);
  token = watch(poller, fds[0], DUOLU_READABLE, DUOLU_LEVEL, 0);
  close(fds[0]);
  CHECK_EQ(duolu_poller_modify(poller, token, DUOLU_WRITABLE, DUOLU_LEVEL), 0);
  CHECK_EQ(look(poller, token, DUOLU_FOREVER), DUOLU_WRITABLE | DUOLU_INVALID);
  CHECK_EQ(look(poller, token, 0), 0);
  CHECK_EQ(duolu_poller_modify(poller, token, DUOLU_READABLE, DUOLU_LEVEL), -EBADF);
  CHECK_EQ(duolu_poller_remove(poller, token), 0);
  close(fds[1]);
  duolu_poller_free(poller);
}

static void test_more_than_a_batch(const char* backend) {
  enum { pairs = 3 * batch + 1 };
  struct duolu_poller* poller = open_poller(backend, 0);
  int fds[pairs][2];
  int seen[pairs] = {0};
  for (int i = 0; i < pairs; ++i) {
    make_pair(fds[i]);
    watch(poller, fds[i][0], DUOLU_WRITABLE, DUOLU_ONESHOT, (uint64_t)i);
  }
  int total = 0;
  for (int wait = 0; wait < 4; ++wait) {
    struct duolu_event events[batch + 1];  // more room than a batch is allowed, and not used
    const int count = duolu_poller_wait(poller, events, batch + 1, 0, NULL);
    CHECK(count >= 1 && count <= batch);
    total += count;
    for (int i = 0; i < count; ++i) ++seen[events[i].data];
  }
  CHECK_EQ(total, pairs);
  for (int i = 0; i < pairs; ++i) {
    CHECK_EQ(seen[i], 1);
    close_pair(fds[i]);
  }
  duolu_poller_free(poller);
}

static void test_timeouts(const char* backend) {
  struct duolu_poller* poller = open_poller(backend, 0);
  struct duolu_event events[batch];
  int woken = 7;
  static const int64_t spans[] = {0, 1, 1000, 300000, 20000000};
  for (size_t i = 0; i < sizeof spans / sizeof *spans; ++i) {
    const int64_t start = now();
    CHECK_EQ(duolu_poller_wait(poller, events, batch, spans[i], &woken), 0);
    CHECK(now() - start >= spans[i]);
    CHECK_EQ(woken, 0);
  }
  // The longest time there is does not overflow into a short one: only the wake ends it.
  duolu_poller_wake(poller);
  CHECK_EQ(duolu_poller_wait(poller, events, batch, INT64_MAX, &woken), 0);
  CHECK_EQ(woken, 1);
  duolu_poller_free(poller);
}

static struct duolu_poller* volatile signalled = NULL;
static volatile sig_atomic_t signals = 0;

static void on_alarm(int number) {
  (void)number;
  ++signals;
  if (signalled != NULL) duolu_poller_wake(signalled);
}

/// SIGALRM every `interval` milliseconds, so that none that comes too early matters; 0 stops it.
static void alarm_every(int interval) {
  struct itimerval timer;
  timer.it_interval.tv_sec = timer.it_value.tv_sec = 0;
  timer.it_interval.tv_usec = timer.it_value.tv_usec = interval * 1000;
  CHECK_EQ(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

static void* wake_from_thread(void* poller) {
  duolu_poller_wake(poller);
  return NULL;
}

static void test_wakes_and_signals(const char* backend) {
  struct duolu_poller* poller = open_poller(backend, 0);
  struct duolu_event events[batch];
  int woken = 0;

  duolu_poller_wake(poller);
  duolu_poller_wake(poller);
  CHECK_EQ(duolu_poller_wait(poller, events, batch, DUOLU_FOREVER, NULL), 0);
  CHECK_EQ(duolu_poller_wait(poller, events, batch, 0, &woken), 0);
  CHECK_EQ(woken, 0);  // they merged

  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, wake_from_thread, poller), 0);
  CHECK_EQ(duolu_poller_wait(poller, events, batch, DUOLU_FOREVER, &woken), 0);
  CHECK_EQ(woken, 1);
  CHECK_EQ(pthread_join(thread, NULL), 0);

  int fds[2];
  make_pair(fds);
  const uint64_t token = watch(poller, fds[0], DUOLU_WRITABLE, DUOLU_LEVEL, 0);
  duolu_poller_wake(poller);
  CHECK_EQ(duolu_poller_wait(poller, events, batch, DUOLU_FOREVER, &woken), 1);
  CHECK_EQ(woken, 1);  // a wake takes the place of no event
  CHECK_EQ(duolu_poller_remove(poller, token), 0);
  close_pair(fds);

  struct sigaction action, old;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_alarm;
  CHECK_EQ(sigaction(SIGALRM, &action, &old), 0);

  signalled = poller;
  alarm_every(5);
  CHECK_EQ(duolu_poller_wait(poller, events, batch, DUOLU_FOREVER, &woken), 0);
  CHECK_EQ(woken, 1);
  alarm_every(0);
  signalled = NULL;
  CHECK(duolu_poller_wait(poller, events, batch, 0, NULL) == 0);  // takes a wake left over

  alarm_every(5);
  const int before = signals;
  const int64_t start = now();
  do {
    CHECK_EQ(duolu_poller_wait(poller, events, batch, 30 * ms, &woken), 0);
    CHECK_EQ(woken, 0);
  } while (signals == before);  // signals ended no wait
  CHECK(now() - start >= 30 * ms);
  duolu_poller_free(poller);

  poller = open_poller(backend, DUOLU_RETURN_ON_SIGNAL);
  CHECK_EQ(duolu_poller_wait(poller, events, batch, DUOLU_FOREVER, &woken), -EINTR);
  CHECK_EQ(woken, 0);
  alarm_every(0);
  duolu_poller_free(poller);
  CHECK_EQ(sigaction(SIGALRM, &old, NULL), 0);
}

int main(void) {
  static void (*const tests[])(const char*) = {
      test_errors,   test_triggers,          test_ready_bits, test_more_than_a_batch,
      test_timeouts, test_wakes_and_signals,
  };
  alarm(60);  // a wait for ever that nothing ends fails the test
  test_making();
  size_t backends = 0;
  for (; duolu_backend_name(backends) != NULL; ++backends) {
    const char* backend = where = duolu_backend_name(backends);
    struct duolu_poller* poller = open_poller(backend, 0);
    CHECK_EQ(strcmp(duolu_poller_backend_name(poller), backend), 0);
    duolu_poller_free(poller);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; ++i) tests[i](backend);
    printf("%s: ok\n", backend);
  }
  CHECK(duolu_backend_name(backends + 1) == NULL);
  CHECK(duolu_backend_name(SIZE_MAX) == NULL);
  CHECK(backends >= 2);  // POSIX alone has select and poll
  printf("%zu backends, %d checks\n", backends, checks);
  return 0;
}
