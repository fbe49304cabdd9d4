"""The loads that servers are timed with, and the comparisons for each load."""

import fnmatch
from typing import NamedTuple, Optional

from servers import BASELINE, QUICK, SERVERS


class Load(NamedTuple):
    active: int = 100
    idle: int = 0
    size: int = 64
    pipeline: int = 1
    churn: int = 0  # messages after which a connection is closed and the next one opened

    @property
    def connections(self):
        return self.active + self.idle

    def words(self):
        words = ["--connections", self.connections, "--active", self.active, "--size", self.size,
                 "--pipeline", self.pipeline]
        return words + (["--churn", self.churn] if self.churn else [])


class Subject(NamedTuple):
    server: str
    load: Load


class Group(NamedTuple):
    """Subjects that are compared with one baseline, run by run in turns."""
    name: str
    title: str
    baseline: Subject
    subjects: tuple
    at_least: Optional[float] = None  # the claim: every ratio is at least this
    judged_by: str = "rate"  # or "server_cpu_us", where every client is the limit


ALL = tuple(server.name for server in SERVERS)
TIMED = tuple(name for name in ALL if name != "coroutine-epoll-own")  # that one is only counted
SOME = ("raw-uring-own", "libuv", "libevent", "libev", "asio-coroutines", "poller-epoll",
        "poller-epoll-edge", "coroutine-epoll", "coroutine-uring", "serve-epoll", "serve-uring")
FEW = ("raw-uring-own", "libuv", "libevent", "asio-coroutines", "poller-epoll", "coroutine-epoll",
       "coroutine-uring", "serve-epoll", "serve-uring")
BY_HAND = ("raw-blocking", "raw-threads", "raw-poll", "raw-select")
MULTIPLEXERS = ("raw-poll", "raw-select", "poller-epoll", "poller-poll", "poller-select")
ECHO = (
    ("c1", "64 B, 1 connection", Load(active=1), ("raw-blocking", *SOME)),
    ("one", "64 B, 1 connection, by hand", Load(active=1), BY_HAND),
    ("c10", "64 B, 10 connections", Load(active=10), (*BY_HAND, *FEW)),
    ("c100", "64 B, 100 connections", Load(), TIMED),
    ("c1000", "64 B, 1,000 connections", Load(active=1_000), SOME),
    ("c10000", "64 B, 10,000 connections", Load(active=10_000), FEW),
    ("large", "16 KiB, 100 connections", Load(size=16_384), SOME),
    ("huge", "256 KiB, 100 connections", Load(size=262_144), FEW),
    ("deep", "64 B, 16 deep, 100 connections", Load(pipeline=16), SOME),
    ("churn", "connect, one echo, close; 64 at a time (judged by CPU time)",
     Load(active=64, churn=1), SOME),
    ("idle1000", "64 B, 100 active and 1,000 idle connections", Load(idle=1_000), MULTIPLEXERS),
    ("idle10000", "64 B, 100 active and 10,000 idle connections", Load(idle=10_000), MULTIPLEXERS),
)
ON_DEMAND = ("one", "c10", "c10000", "huge", "idle1000")  # only if they are named
CROWDED = ("raw-epoll", "poller-epoll", "coroutine-uring", "serve-epoll")
QUICK_GROUPS = ("c1", "c100", "large", "deep", "churn", "keeps-poller-epoll")


def groups(quick, chosen, most_connections):
    """The groups and servers that the patterns in `chosen` match (all, if none). A server that
    cannot hold the connections of a load is left out of it."""
    limits = {server.name: min(server.most_connections, most_connections) for server in SERVERS}
    wanted_servers = matching(ALL, chosen) or (QUICK if quick else ALL)
    found = [Group(name, title, Subject(BASELINE, load),
                   tuple(Subject(server, load) for server in servers
                         if server in wanted_servers and server != BASELINE
                         and load.connections <= limits[server]),
                   judged_by="server_cpu_us" if load.churn else "rate")
             for name, title, load, servers in ECHO]
    crowd = Load(idle=10_000)
    found += [Group(f"keeps-{server}", f"{server} with 10,000 idle connections, to itself without",
                    Subject(server, Load()), (Subject(server, crowd),), at_least=0.97)
              for server in CROWDED
              if server in wanted_servers and crowd.connections <= limits[server]]
    wanted = matching(NAMES, chosen) or (
        QUICK_GROUPS if quick else [name for name in NAMES if name not in ON_DEMAND])
    return [group for group in found if group.name in wanted and group.subjects]


NAMES = (*(name for name, *_ in ECHO), *(f"keeps-{server}" for server in CROWDED))


def matching(names, patterns):
    return [name for name in names
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
