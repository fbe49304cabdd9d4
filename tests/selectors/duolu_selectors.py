"""The Poller as Python selectors, through the C interface (include/duolu/poll/poller.h).

classes(library) gives one selectors.BaseSelector a backend, with level triggers: the contract of
https://docs.python.org/3/library/selectors.html, as CPython's own tests hold it.
"""

import ctypes
import errno
import math
import os
import selectors
import time
import weakref

READABLE, WRITABLE = 0x1, 0x4
READ_CLOSED = 0x2000
LEVEL = 0
RETURN_ON_SIGNAL = 0x1
FOREVER = -1
INT64_MAX = 2**63 - 1


class Event(ctypes.Structure):
    _fields_ = [
        ("token", ctypes.c_uint64),
        ("data", ctypes.c_uint64),
        ("ready", ctypes.c_uint32),
    ]


def load(path):
    """libduolu_c.so with the argument types of its functions. The calls release the GIL."""
    library = ctypes.CDLL(path)
    poller, u32, u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    signatures = {
        "backend_name": (ctypes.c_char_p, [ctypes.c_size_t]),
        "poller_new": (
            ctypes.c_int,
            [ctypes.c_char_p, ctypes.c_size_t, u32, ctypes.POINTER(poller)],
        ),
        "poller_free": (None, [poller]),
        "poller_backend_name": (ctypes.c_char_p, [poller]),
        "poller_fd": (ctypes.c_int, [poller]),
        "poller_add": (
            ctypes.c_int,
            [poller, ctypes.c_int, u32, u32, u64, ctypes.POINTER(u64)],
        ),
        "poller_modify": (ctypes.c_int, [poller, u64, u32, u32]),
        "poller_set_data": (ctypes.c_int, [poller, u64, u64]),
        "poller_remove": (ctypes.c_int, [poller, u64]),
        "poller_drained": (None, [poller, u64, u32]),
        "poller_wait": (
            ctypes.c_int,
            [
                poller,
                ctypes.POINTER(Event),
                ctypes.c_size_t,
                ctypes.c_int64,
                ctypes.POINTER(ctypes.c_int),
            ],
        ),
        "poller_wake": (None, [poller]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, "duolu_" + name)
        function.restype, function.argtypes = result, arguments
    return library


def backend_names(library):
    names = []
    while (name := library.duolu_backend_name(len(names))) is not None:
        names.append(name.decode())
    return names


def check(result):
    """Raises the OSError of a negative errno value."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def interest_of(events):
    return (READABLE if events & selectors.EVENT_READ else 0) | (
        WRITABLE if events & selectors.EVENT_WRITE else 0
    )


def end(library, poller):
    """Frees a poller, and makes whoever has this object forget it.

    The garbage collector ends the objects of a cycle in an order of its own: one that unregisters
    in its __del__ may come after the selector.
    """
    pointer, poller.value = poller.value, None
    library.duolu_poller_free(pointer)


class DuoluSelector(selectors._BaseSelectorImpl):
    """One backend's selector; made by classes()."""

    library = None
    backend = None
    # Less than what CPython's largest test has ready at once, so that it passes through many waits.
    batch = 1024

    def __init__(self):
        super().__init__()
        made = ctypes.c_void_p()
        check(
            self.library.duolu_poller_new(
                self.backend.encode(),
                self.batch,
                RETURN_ON_SIGNAL,
                ctypes.byref(made),
            )
        )
        self._poller = made
        self._tokens = {}  # by descriptor
        self._events = (Event * self.batch)()
        self._free = weakref.finalize(self, end, self.library, made)

    def register(self, fileobj, events, data=None):
        key = super().register(fileobj, events, data)
        token = ctypes.c_uint64()
        try:
            check(
                self.library.duolu_poller_add(
                    self._poller,
                    key.fd,
                    interest_of(events),
                    LEVEL,
                    key.fd,
                    ctypes.byref(token),
                )
            )
        except BaseException:
            super().unregister(fileobj)
            raise
        self._tokens[key.fd] = token.value
        return key

    def unregister(self, fileobj):
        key = super().unregister(fileobj)
        token = self._tokens.pop(key.fd)
        if self._poller:  # or it has been freed, and all registrations with it
            check(self.library.duolu_poller_remove(self._poller, token))
        return key

    def modify(self, fileobj, events, data=None):
        try:
            key = self._fd_to_key[self._fileobj_lookup(fileobj)]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None
        if (not events) or (events & ~(selectors.EVENT_READ | selectors.EVENT_WRITE)):
            raise ValueError(f"Invalid events: {events!r}")
        if events != key.events:
            try:
                check(
                    self.library.duolu_poller_modify(
                        self._poller, self._tokens[key.fd], interest_of(events), LEVEL
                    )
                )
            except BaseException:
                # As CPython does (bpo-30014): a registration that could not be changed is gone.
                super().unregister(fileobj)
                token = self._tokens.pop(key.fd)
                self.library.duolu_poller_remove(self._poller, token)
                raise
        if events != key.events or data != key.data:
            key = key._replace(events=events, data=data)
            self._fd_to_key[key.fd] = key
        return key

    def _wait(self, timeout):
        """One wait, or as many as signals ask for; how many events it put into self._events.

        Python runs its signal handlers when a call into C has returned. So a signal has to end the
        wait; if no handler raised, the rest of the time is waited for, as PEP 475 says.
        """
        if timeout is None:
            nanoseconds, deadline = FOREVER, None
        elif timeout <= 0:
            nanoseconds, deadline = 0, None
        else:
            nanoseconds = min(math.ceil(timeout * 1e9), INT64_MAX)
            deadline = time.monotonic_ns() + nanoseconds
        while True:
            count = self.library.duolu_poller_wait(
                self._poller, self._events, self.batch, nanoseconds, None
            )
            if count != -errno.EINTR:
                return check(count)
            if deadline is not None:
                nanoseconds = max(deadline - time.monotonic_ns(), 0)

    def select(self, timeout=None):
        found = {}
        count = self._wait(timeout)
        # A full batch may not be all. Who was ready is reported within as many waits as it takes
        # to hand out every registration once (clause P34).
        for _ in range(len(self._fd_to_key) // self.batch + 1):
            for event in self._events[:count]:
                found[event.data] = found.get(event.data, 0) | event.ready
            if count < self.batch:
                break
            count = self._wait(0)
        ready = []
        for fd, bits in found.items():
            key = self._fd_to_key.get(fd)
            events = (selectors.EVENT_READ if bits & (READABLE | READ_CLOSED) else 0) | (
                selectors.EVENT_WRITE if bits & WRITABLE else 0
            )
            if key and events & key.events:
                ready.append((key, events & key.events))
        return ready

    def close(self):
        self._free()
        self._tokens.clear()
        super().close()


def classes(library):
    """A selector class a backend, by name."""
    made = {}
    for name in backend_names(library):
        members = {"library": library, "backend": name}
        one = type(f"Duolu{name.title()}Selector", (DuoluSelector,), members)
        probe = one()
        if library.duolu_poller_fd(probe._poller) >= 0:

            def fileno(self):
                return check(self.library.duolu_poller_fd(self._poller))

            one.fileno = fileno
        probe.close()
        made[name] = one
    return made
