// Public. Layer: poll. The Poller for C and for every language that can call C: which of many
// descriptors can be read or written now. Valid C11 and C++; link with duolu_c.
//
// The contract is the C++ Poller's, clause by clause in docs/contracts.md; this file says what is
// different in C.
//
//   Errors     A function returns 0 or a count, or a negative errno value (-EEXIST). It leaves
//              `errno` alone and the poller as it was. No C++ exception leaves a function: when
//              memory runs out it returns -ENOMEM. A null poller is a mistake of the program and
//              aborts, except for duolu_poller_free().
//   Threads    One poller, one thread at a time; only duolu_poller_wake() may be called from other
//              threads and from signal handlers. Different pollers share no state.
//   Ownership  The caller owns a poller until duolu_poller_free(). The poller never closes, reads
//              or writes a registered descriptor. Returned strings are constants.
//              No call may follow duolu_poller_free(): the pointer is not checked. Where a garbage
//              collector finalizes objects in its own order, the object that frees the poller must
//              also clear the pointer in all others (tests/selectors/duolu_selectors.py does).
//   Fork       In a forked child duolu_poller_free(), _remove() and _modify() do not affect the
//              parent's poller, _wake() does nothing, and _add() and _wait() abort (P37).
//   Files      Regular files, directories and devices such as /dev/null are always ready, and
//              cannot be watched (-EPERM), as with epoll. A caller that has to accept them (as
//              select and poll do) keeps them in a list of its own. While that list is not empty,
//              it waits with timeout 0 and reports the files itself, as readable and writable.
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

// What to wait for: any of these combined with |. 0 is a pause: nothing is reported.
#define DUOLU_READABLE 0x1U  // recv, read or accept would not block (end of stream included)
#define DUOLU_PRIORITY 0x2U  // exceptional condition: TCP urgent data, a packet-mode pty and others
#define DUOLU_WRITABLE 0x4U  // send or write would take bytes; a connect in progress has ended

// What is reported as well, without being asked for.
#define DUOLU_ERROR 0x8U           // an error is pending: the next read or write returns it
#define DUOLU_HANGUP 0x10U         // both directions are shut down, or the pipe's peer closed
#define DUOLU_INVALID 0x20U        // closed while registered; now paused for good
#define DUOLU_READ_CLOSED 0x2000U  // the peer shut down its writing half; comes with READABLE

// When a registration reports.
#define DUOLU_LEVEL 0U    // in every wait, as long as the condition holds
#define DUOLU_EDGE 1U     // once, then silent in that direction until duolu_poller_drained()
#define DUOLU_ONESHOT 2U  // once, then paused until duolu_poller_modify()

// Options of a poller, combined with |.
#define DUOLU_RETURN_ON_SIGNAL 0x1U  // a wait returns -EINTR after a signal handler ran

// A timeout that never passes.
#define DUOLU_FOREVER INT64_C(-1)

// The largest batch of a poller.
#define DUOLU_BATCH_MAX 1048576U

// A poller. Its size and contents are not part of this interface.
struct duolu_poller;

// One report.
struct duolu_event {
  uint64_t token;  // which registration, as duolu_poller_add() named it
  uint64_t data;   // the caller's, as given to duolu_poller_add() or _set_data()
  uint32_t ready;  // its state: any of the bits above
};

// The name of backend number `index`, best first; NULL after the last. Any thread.
DUOLU_API const char* duolu_backend_name(size_t index);

// Makes a poller and puts it into *made (NULL on failure).
//   backend  a name from duolu_backend_name(); NULL or "auto": the first that works here
//   batch    the most events one wait returns, 1 to DUOLU_BATCH_MAX; 16 bytes each are allocated.
//            For one wait to return everything that is ready, it must be at least the number of
//            registrations. If more is ready, the next waits return the rest, in turns (P34)
//   options  0 or DUOLU_RETURN_ON_SIGNAL
// Errors: -EINVAL no such backend, batch or option, or `made` is NULL; -ENOSYS no backend works;
// -EMFILE, -ENFILE descriptors have run out; -ENOMEM.
DUOLU_API int duolu_poller_new(const char* backend, size_t batch, uint32_t options,
                               struct duolu_poller** made);

// Destroys a poller: closes its own descriptors and no others. NULL is allowed. No wait or wake may
// be running in another thread.
DUOLU_API void duolu_poller_free(struct duolu_poller* poller);

// The name of the poller's backend.
DUOLU_API const char* duolu_poller_backend_name(const struct duolu_poller* poller);

// A descriptor that is readable when a wait would report something, to watch the whole poller from
// another event loop; -1 where the backend has none, or it cannot be made now. The poller owns it,
// and it stays the same.
DUOLU_API int duolu_poller_fd(const struct duolu_poller* poller);

// Starts to watch descriptor `fd`. Every event carries `data`. *token (may be NULL) receives the
// name of the registration: never 0, and never used again for another one. Its lower 32 bits are
// small, dense numbers from 1, which are reused.
// Errors: -EEXIST already registered here; -EBADF not an open descriptor; -EPERM is always ready
// (see Files above); -EINVAL one of the poller's own, unknown interest or trigger;
// -ENOSPC, -ENOMEM limits; -EMFILE the number is too high for select (not on Linux).
DUOLU_API int duolu_poller_add(struct duolu_poller* poller, int fd, uint32_t interest,
                               uint32_t trigger, uint64_t data, uint64_t* token);

// Changes interest and trigger, from the next wait on. Edge: directions that were not wanted before
// are reported if they are ready; the same interest again, or another trigger, re-arms all of them.
// Oneshot: re-arms.
// Errors: -ENOENT no such registration; -EBADF it was reported invalid; -EINVAL.
DUOLU_API int duolu_poller_modify(struct duolu_poller* poller, uint64_t token, uint32_t interest,
                                  uint32_t trigger);

// Changes the `data` of its events, without losing readiness. Errors: -ENOENT.
DUOLU_API int duolu_poller_set_data(struct duolu_poller* poller, uint64_t token, uint64_t data);

// Stops watching. Call it before the descriptor is closed; calling it later is allowed and works.
// No later wait reports the token. Errors: -ENOENT.
DUOLU_API int duolu_poller_remove(struct duolu_poller* poller, uint64_t token);

// Edge only: reading, writing or accepting returned EAGAIN in these directions, so report the next
// readiness. Unknown tokens, other triggers and other bits are ignored.
DUOLU_API void duolu_poller_drained(struct duolu_poller* poller, uint64_t token,
                                    uint32_t directions);

// Waits until there is something to report, duolu_poller_wake() was called, or `timeout`
// nanoseconds have passed (never fewer): 0 does not block, DUOLU_FOREVER never passes. Fills
// `events` and returns how many; 0 for the timeout, or for a wake alone. *woken (may be NULL)
// becomes 1 if there was a wake, else 0.
//
// `capacity`, the size of `events`, must be at least the poller's batch: a smaller one is refused
// before the wait, so that no edge or oneshot report is lost. The events are copies in the caller's
// array. So, unlike in C++, removing or changing a registration does not take its events out of the
// rest of the array: the caller skips tokens that it has removed.
// Errors: -EINVAL capacity, `events` is NULL, or a negative timeout other than DUOLU_FOREVER;
// -EINTR with DUOLU_RETURN_ON_SIGNAL; -ENOMEM, -ENOSPC, -EMFILE, -ENFILE: the kernel lacks memory
// or descriptors, nothing is lost, and a later wait may succeed; -EBADF: one of the poller's own
// descriptors was closed by other code, and no wait will succeed.
DUOLU_API int duolu_poller_wait(struct duolu_poller* poller, struct duolu_event* events,
                                size_t capacity, int64_t timeout, int* woken);

// Ends the current wait, or the next one if none is running. Any thread, any signal handler; does
// not block. Wakes merge: one wait returns for all of them. In a forked child it does nothing.
DUOLU_API void duolu_poller_wake(struct duolu_poller* poller);

#ifdef __cplusplus
}
#endif

#endif
