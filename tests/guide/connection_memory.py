#!/usr/bin/env python3
"""What an idle TCP connection costs the kernel: connection_memory.py PROGRAMS (as root).

10,000 clients connect to 08_epoll_level_echo, send one request, get it back and are silent. Then
the kernel has that many more objects in the caches that sockets and epoll take them from
(/proc/slabinfo). Client and server are on one machine, so what a socket takes is there
twice. Others use these caches too, and can only add: of three runs the least counts. Then 2,000
clients with 02_threads_echo: what /proc/meminfo says of the kernel's stacks, and the caches of what
the kernel notes of a thread.
Prints docs/guide/figures/connection-memory.txt.
"""

import contextlib
import os
import pathlib
import resource
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tutorial"))
import tutorial_test as tutorial  # noqa: E402

CONNECTIONS = 10_000
THREADS = 2_000
REQUEST = b"hello\n"
BOTH_ENDS = ("TCP", "sock_inode_cache", "dentry", "filp", "lsm_inode_cache", "lsm_file_cache")
# eppoll_entry, the place in a socket's wait queue, is in a cache that others of 64 bytes share.
OF_A_THREAD = ("task_struct", "pid")
OF_EPOLL = ("eventpoll_epi", "eventpoll_pwq", "anon_vma_chain", "ep_head")


def caches():
    """Objects in use and their size, by the name of the cache."""
    lines = pathlib.Path("/proc/slabinfo").read_text(encoding="ascii").splitlines()[2:]
    return {line.split()[0]: (int(line.split()[1]), int(line.split()[3])) for line in lines}


def field(path, name):
    """A number of bytes that a file of /proc gives in kB."""
    text = pathlib.Path(path).read_text(encoding="ascii")
    return int(text.split(f"{name}:")[1].split()[0]) * 1024


def with_clients(count, name, measure, *options):
    """measure(pid) with `count` silent clients, and before."""
    with tutorial.Server(name, *options) as server, contextlib.ExitStack() as clients:
        values = []
        for number in (1, count):
            for _ in range(number):
                client = clients.enter_context(server.connect())
                client.sendall(REQUEST)
                tutorial.receive(client, len(REQUEST))
            time.sleep(2)
            values.append(measure(server.process.pid))
        return values


def main():
    tutorial.PROGRAMS = pathlib.Path(sys.argv[1]).resolve()
    resource.setrlimit(resource.RLIMIT_NOFILE, (CONNECTIONS + 100, CONNECTIONS + 100))
    grown, user = {}, []
    for _ in range(3):
        (before, user_before), (after, user_after) = with_clients(
            CONNECTIONS, "08_epoll_level_echo",
            lambda pid: (caches(), field(f"/proc/{pid}/status", "RssAnon")))
        user.append((user_after - user_before) / CONNECTIONS)
        for cache in (*BOTH_ENDS, *OF_EPOLL):
            if cache in after:
                each = (after[cache][0] - before[cache][0]) / CONNECTIONS
                grown[cache] = min(each, grown.get(cache, each))
    system = os.uname()
    print(f"{CONNECTIONS:,} idle connections, {system.sysname} {system.release.split('-')[0]}, "
          f"{system.machine}\n")
    print(f"{'cache':<18}{'objects':>8}{'bytes each':>12}{'bytes of one end':>18}")
    total = 0
    for cache, each in grown.items():
        each /= 2 if cache in BOTH_ENDS else 1
        size = after[cache][1]
        if cache == "anon_vma_chain":
            cache = "eppoll_entry"
        total += each * size
        print(f"{cache:<18}{each:>8.2f}{size:>12,}{each * size:>18,.0f}")
    print(f"{'kernel, one end':<18}{total:>38,.0f}")
    print(f"{'the program':<18}{min(user):>38,.0f}")
    (stacks_before, before), (stacks_after, after) = with_clients(
        THREADS, "02_threads_echo", lambda _: (field("/proc/meminfo", "KernelStack"), caches()),
        "--threads", THREADS + 1)
    print(f"\na thread for each: the kernel's stack, bytes "
          f"{(stacks_after - stacks_before) / THREADS:>11,.0f}")
    for cache in OF_A_THREAD:
        each = (after[cache][0] - before[cache][0]) / THREADS
        print(f"{cache:<18}{each:>8.2f}{after[cache][1]:>12,}{each * after[cache][1]:>18,.0f}")


if __name__ == "__main__":
    main()
