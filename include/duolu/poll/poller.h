// Public. Layer: poll. The Poller for C and for every language that can call C: which of many
// descriptors can be read or written now. Valid C11 and C++; link with duolu_c.
//
// What is promised is what docs/contracts.md says of the C++ Poller, clause by clause; this file
// says how it looks from C.
//
//   Errors     A function returns 0 or a count, or a negative errno value (-EEXIST). It leaves
//              `errno` alone and the poller as it was. C++ exceptions never come out: memory that
//              ran out is -ENOMEM. A null poller is a mistake of the program and aborts, except
//              for duolu_poller_free().
//   Threads    One poller, one thread at a time; only duolu_poller_wake() may be called from other
//              threads and from signal handlers. Different pollers have nothing in common.
//   Ownership  A poller belongs to whoever made it, until duolu_poller_free(). It never closes,
//              reads or writes a registered descriptor. Strings that come back are constants.
//              No call may follow duolu_poller_free(): the pointer is not checked. Where a garbage
//              collector ends objects in its own order, the one that frees also has to make the
//              others forget the pointer (tests/selectors/duolu_selectors.py does).
//   Fork       In a forked child duolu_poller_free(), _remove() and _modify() leave what is the
//              parent's alone, _wake() does nothing, and _add() and _wait() abort (P37).
//   Files      Regular files, directories and devices such as /dev/null are always ready, and
//              cannot be watched (-EPERM), as with epoll. A caller that has to take them (select
//              and poll do) keeps them in a list of its own; while one on it is waited for, it
//              waits with timeout 0 and reports those on the list as readable and writable itself.
//   Time       Nanoseconds of CLOCK_MONOTONIC, in 64 bits.
//
//   struct duolu_poller* poller;
//   if (duolu_poller_new("auto", 64, 0, &poller) < 0) ...
//   duolu_poller_add(poller, fd, DUOLU_READABLE, DUOLU_LEVEL, 7, NULL);
//   struct duolu_event events[64];
//   int count = duolu_poller_wait(poller, events, 64, DUOLU_FOREVER, NULL);
//   for (int i = 0; i < count; ++i)
//     if (events[i].ready & DUOLU_READABLE) ... // events[i].data is 7
#ifndef DUOLU_POLL_POLLER_H
#define DUOLU_POLL_POLLER_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define DUOLU_API __attribute__((visibility("default")))
#else
#define DUOLU_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

// What to wait for: any of these combined with |. 0 is a pause: nothing at all is reported.
#define DUOLU_READABLE 0x1U  // recv, read or accept would not block (end of stream included)
#define DUOLU_PRIORITY 0x2U  // exceptional condition: TCP urgent data, a packet-mode pty and others
#define DUOLU_WRITABLE 0x4U  // send or write would take something; a connect in progress has ended

// What is reported besides, unasked.
#define DUOLU_ERROR 0x8U           // an error is pending: the next read or write tells which
#define DUOLU_HANGUP 0x10U         // both directions are shut, or the pipe's peer is gone
#define DUOLU_INVALID 0x20U        // closed under its registration, which is now paused for good
#define DUOLU_READ_CLOSED 0x2000U  // the peer shut down its writing half; comes with READABLE

// When a registration reports.
#define DUOLU_LEVEL 0U    // in every wait, as long as the condition holds
#define DUOLU_EDGE 1U     // once, then silent in that direction until duolu_poller_drained()
#define DUOLU_ONESHOT 2U  // once, then paused until duolu_poller_modify()

// Options of a poller, combined with |.
#define DUOLU_RETURN_ON_SIGNAL 0x1U  // a signal handler that ran ends the wait with -EINTR

// A timeout without end.
#define DUOLU_FOREVER INT64_C(-1)

// The largest batch a poller can be made with.
#define DUOLU_BATCH_MAX 1048576U

// A poller. Its size and contents are no part of this interface.
struct duolu_poller;

// One report.
struct duolu_event {
  uint64_t token;  // which registration, as duolu_poller_add() named it
  uint64_t data;   // the caller's word for it
  uint32_t ready;  // what is true of it
};

// The name of backend number `index`, best first; NULL when there are no more. Any thread.
DUOLU_API const char* duolu_backend_name(size_t index);

// Makes a poller and puts it into *made (NULL on failure).
//   backend  a name from duolu_backend_name(); NULL or "auto": the first that works here
//   batch    the most events one wait hands out, 1 to DUOLU_BATCH_MAX; 16 bytes each are allocated.
//            Who expects everything that is ready from one wait takes at least as many as there
//            are registrations: of more, the rest comes with the next waits, in turns (P34)
//   options  0 or DUOLU_RETURN_ON_SIGNAL
// Errors: -EINVAL no such backend, batch or option, or `made` is NULL; -ENOSYS no backend works;
// -EMFILE, -ENFILE no descriptor is left; -ENOMEM.
DUOLU_API int duolu_poller_new(const char* backend, size_t batch, uint32_t options,
                               struct duolu_poller** made);

// Ends a poller: closes its own descriptors and no others. NULL is allowed. No wait or wake may be
// under way in another thread.
DUOLU_API void duolu_poller_free(struct duolu_poller* poller);

// The name of the poller's backend.
DUOLU_API const char* duolu_poller_backend_name(const struct duolu_poller* poller);

// A descriptor that is readable when a wait would report something, to watch the whole poller from
// another event loop; -1 where the backend has none, or it cannot be made now. It stays the
// poller's, and the same.
DUOLU_API int duolu_poller_fd(const struct duolu_poller* poller);

// Starts to watch descriptor `fd`. `data` comes back in every event. *token (may be NULL) receives
// the name of the registration: never 0, and never used again for another one. Its lower 32 bits
// are small, dense numbers from 1, which are reused.
// Errors: -EEXIST is registered here; -EBADF no open descriptor; -EPERM is always ready (see Files
// above); -EINVAL one of the poller's own, unknown interest or trigger;
// -ENOSPC, -ENOMEM limits; -EMFILE the number is over what select can take (not on Linux).
DUOLU_API int duolu_poller_add(struct duolu_poller* poller, int fd, uint32_t interest,
                               uint32_t trigger, uint64_t data, uint64_t* token);

// Changes interest and trigger, from the next wait on. Edge: directions that were not wanted before
// are reported if they are ready; the same interest again, or another trigger, arms all of them.
// Oneshot: arms again.
// Errors: -ENOENT no such registration; -EBADF it was reported invalid; -EINVAL.
DUOLU_API int duolu_poller_modify(struct duolu_poller* poller, uint64_t token, uint32_t interest,
                                  uint32_t trigger);

// Changes the word that comes back in events, without losing readiness. Errors: -ENOENT.
DUOLU_API int duolu_poller_set_data(struct duolu_poller* poller, uint64_t token, uint64_t data);

// Stops watching. Call it before the descriptor is closed; after is allowed, and works. No later
// wait reports the token. Errors: -ENOENT.
DUOLU_API int duolu_poller_remove(struct duolu_poller* poller, uint64_t token);

// Edge only: reading, writing or accepting met EAGAIN in these directions, so report the next
// readiness. Unknown tokens, other triggers and other bits are ignored.
DUOLU_API void duolu_poller_drained(struct duolu_poller* poller, uint64_t token,
                                    uint32_t directions);

// Waits until there is something to report, duolu_poller_wake() was called, or `timeout`
// nanoseconds have passed (never shorter): 0 only looks, DUOLU_FOREVER has no end. Fills `events`
// and returns how many; 0 for the timeout, or for a wake alone. *woken (may be NULL) becomes 1 if
// there was a wake, else 0.
//
// `capacity`, the size of `events`, has to be the poller's batch at least: a smaller one is refused
// before anything is waited for, so that no edge or oneshot report is lost. The events are copies,
// and the array is the caller's. Hence, other than in C++, events further down in it are not taken
// back when a registration is removed or changed while they are visited: the caller passes over
// tokens it has removed.
// Errors: -EINVAL capacity, `events` is NULL, or a negative timeout other than DUOLU_FOREVER;
// -EINTR with DUOLU_RETURN_ON_SIGNAL; -ENOMEM, -ENOSPC, -EMFILE, -ENFILE: the kernel lacks memory
// or descriptors, nothing is lost, and a later wait may succeed; -EBADF: somebody has closed one of
// the poller's own descriptors, and none will.
DUOLU_API int duolu_poller_wait(struct duolu_poller* poller, struct duolu_event* events,
                                size_t capacity, int64_t timeout, int* woken);

// Ends the wait under way, or else the next one. Any thread, any signal handler; does not block.
// Wakes merge: one wait returns for all of them. In a forked child it does nothing.
DUOLU_API void duolu_poller_wake(struct duolu_poller* poller);

#ifdef __cplusplus
}
#endif

#endif
