"""Costs that are counted, and so without spread: each is the difference of a short and a long run,
which leaves out start, accepting and end.

Server and client share a core, and the server is in the class that preempts no process when it
wakes up (SCHED_BATCH): so the client has sent all of a round before the server waits again, and
the number of messages that one wait finds does not depend on the scheduler."""

import contextlib
import os
import socket
import tempfile
import time
from pathlib import Path

import counts
from process import PORTS, Failure, NotObtained, Process, await_echo, cores, run_client

MESSAGE = 64
CROWD = 100  # connections
AT_ONCE = 64  # short-lived connections at a time


class Bench:
    """Where the programs are, and how long to measure."""

    def __init__(self, build, quick, descriptors):
        self.build = build
        self.core = cores()[0]
        self.idle = (1_000, 4_000) if quick else (2_000, 10_000)
        self.idle = tuple(min(count, descriptors - 1_000) for count in self.idle)
        self.watch_s = 2 if quick else 5

    def lockstep(self, port, connections, rounds, crowds=1):
        run_client([self.build / "bench/lockstep", port, connections, rounds, crowds], self.core)


@contextlib.contextmanager
def served(bench, server, *tool, visitors=None):
    """Runs a server under `tool`, waits until it echoes, and ends it after the block. With
    `visitors`, the number of connections it makes, the server ends by itself after the last."""
    port = PORTS.take()
    words = ["chrt", "--batch", "0", *tool, *server.words(bench.build, port)]
    probes = 2
    until = {"DUOLU_BENCH_UNTIL": str(visitors + probes)} if visitors else None
    with Process(words, bench.core, until) as process:
        await_echo(process, port)
        yield process, port
        await_echo(process, port)
        if visitors:
            process.wait(Process.GRACE)
        else:
            process.stop()


def profile(bench, server, connections, rounds):
    """The profile of a server that echoed this much, by callgrind. Inside io_uring_enter, valgrind
    delivers no signal."""
    visitors = connections if server.uses_uring else None
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        with served(bench, server, "valgrind", "--tool=callgrind",
                    f"--callgrind-out-file={out}", visitors=visitors) as (_, port):
            bench.lockstep(port, connections, rounds)
        return counts.Profile(out.read_text())


def calls(bench, server, *work):
    """System calls by name of a server that did `work`, by strace."""
    with tempfile.NamedTemporaryFile("r") as out:
        with served(bench, server, "strace", "-f", "-c", "-o", out.name) as (_, port):
            bench.lockstep(port, *work)
        return counts.strace_counts(out.read())


def difference(more, less, units):
    """The differences by name, per unit, without those that are 0."""
    names = sorted(set(more) | set(less))
    each = {name: (more.get(name, 0) - less.get(name, 0)) / units for name in names}
    return {name: value for name, value in each.items() if value != 0}


def instructions(bench, server):
    """User instructions, libc included, and allocations: with a crowd, and with one connection."""
    found = {}
    for connections, short, long in ((CROWD, 100, 300), (1, 2_000, 6_000)):
        if connections > server.most_connections:
            continue
        less = profile(bench, server, connections, short)
        more = profile(bench, server, connections, long)
        messages = connections * (long - short)
        found[f"instructions_{connections}"] = (more.total() - less.total()) / messages
        found[f"allocations_{connections}"] = (more.allocations() - less.allocations()) / messages
    found["allocations"] = max(value for name, value in found.items() if "allocations" in name)
    return found


def system_calls(bench, server):
    found = {}
    for connections, suffix, messages in ((CROWD, "", 5_000), (1, "_1", 500)):
        if connections > server.most_connections:
            continue
        rounds = messages // connections
        kinds = difference(calls(bench, server, connections, 3 * rounds),
                           calls(bench, server, connections, rounds), 2 * messages)
        found |= {f"calls_message{suffix}": sum(kinds.values()),
                  f"calls_message{suffix}_kinds": kinds}
    if server.most_connections >= AT_ONCE:
        kinds = difference(calls(bench, server, AT_ONCE, 1, 32),
                           calls(bench, server, AT_ONCE, 1, 16), AT_ONCE * 16)
        found |= {"calls_connection": sum(kinds.values()), "calls_connection_kinds": kinds}
    return found


def idle(bench, server):
    """Costs of connections that have echoed once and are silent: memory and wake-ups."""
    few, many = bench.idle
    if server.most_connections < many:
        few, many = server.most_connections // 4, server.most_connections * 9 // 10
    if few == 0:
        raise NotObtained("one connection at a time")
    with contextlib.ExitStack() as held, served(bench, server) as (process, port):
        bytes_at = []
        for more in (few, many - few):
            for start in range(0, more, AT_ONCE):
                connect(held, port, min(AT_ONCE, more - start))
            bytes_at.append(anonymous_bytes(process.pid))
        time.sleep(0.2)  # until the server has finished with the last of them
        before = switches(process.pid)
        time.sleep(bench.watch_s)
        wakeups = switches(process.pid) - before
    return {"bytes_idle": (bytes_at[1] - bytes_at[0]) / (many - few), "wakeups_idle": wakeups,
            "idle_connections": [few, many]}


def connect(held, port, count):
    """Opens connections and makes one echo on each; `held` closes them. One echo at a time, since
    the number of buffers that a server needs at once is not a property of its connections."""
    message = os.urandom(MESSAGE)
    clients = [held.enter_context(socket.create_connection(("127.0.0.1", port), 10))
               for _ in range(count)]
    for client in clients:
        client.sendall(message)
        if client.recv(MESSAGE, socket.MSG_WAITALL) != message:
            raise Failure("a wrong echo, or none")


def status_field(path, field):
    for line in path.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise Failure(f"no {field} in {path}")


def anonymous_bytes(pid):
    return status_field(Path(f"/proc/{pid}/status"), "RssAnon") * 1024


def switches(pid):
    return sum(status_field(task / "status", "voluntary_ctxt_switches")
               for task in Path(f"/proc/{pid}/task").iterdir())


MEASURES = {"instructions": instructions, "system-calls": system_calls, "idle": idle}


def count(bench, server, measures):
    """Returns {"figures": {...}, "notes": [...], "failures": [...]} of one server."""
    result = {"server": server.name, "kind": server.kind, "figures": {}, "notes": [],
              "failures": []}
    if reason := server.missing(bench.build):
        result["notes"].append(f"left out: {reason}")
        return result
    for name in measures:
        try:
            result["figures"] |= MEASURES[name](bench, server)
        except NotObtained as why:
            result["notes"].append(f"{name}: not obtained: {why}")
        except (Failure, OSError, ValueError) as why:
            result["failures"].append(f"{name}: {why}")
    return result


# --- on a scripted kernel

# (server, backend, trigger). The coroutines have no choice of trigger.
SCRIPTED = (("poller", "epoll", "level"), ("poller", "epoll", "edge"),
            ("poller", "epoll", "oneshot"), ("poller", "poll", "level"),
            ("poller", "select", "level"), ("coroutine", "epoll", None),
            ("coroutine-own", "epoll", None),
            ("coroutine", "poll", None), ("coroutine", "select", None))


def scripted(bench, server, backend, trigger):
    """Instructions of library and server alone, allocations, and calls by kind, a message each."""
    words = [bench.build / "bench/scripted_cost", backend, trigger or server]
    few, many = 10_000, 30_000

    def profile_of(connections, messages):
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "out"
            run_client(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *words,
                        connections, messages])
            return counts.Profile(out.read_text())

    def calls_of(messages):
        lines = run_client([*words, CROWD, messages, "count"]).splitlines()
        return {name: int(number) for name, number in map(str.split, lines)}

    found = {"server": server, "backend": backend, "trigger": trigger,
             "calls": difference(calls_of(many), calls_of(few), many - few)}
    for connections in (CROWD, 1):
        more, less = (profile_of(connections, messages) for messages in (many, few))
        instructions = [each.total(without="ScriptedKernel::") for each in (more, less)]
        found[f"instructions_{connections}"] = (instructions[0] - instructions[1]) / (many - few)
        found[f"allocations_{connections}"] = (
            more.allocations() - less.allocations()) / (many - few)
    return found
