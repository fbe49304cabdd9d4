#!/usr/bin/env python3
"""Counts what a message costs the servers by hand, all connections active: count_few.py BUILD

BUILD is a build folder with the bench in it (-DDUOLU_BUILD_BENCH=ON). As in the bench
(`./run bench --counts-only`): user instructions by callgrind, system calls by strace, and the
switches to and from the server's threads by getrusage; each the difference of a short and a long
run, with the client on the same processor.
Writes docs/guide/figures/few-connections.txt and switches.txt.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "harness"))
import counted  # noqa: E402
import process  # noqa: E402
import servers  # noqa: E402

FIGURES = ROOT / "docs" / "guide" / "figures"
SERVERS = ("raw-blocking", "raw-threads", "raw-select", "raw-poll", "raw-epoll", "raw-epoll-edge")
FEW, MANY = 200, 600  # messages of each connection


def switches(bench, server, connections, rounds):
    """How often the server's threads went to sleep or were put aside, those that ended included."""
    port = process.PORTS.take()
    words = ["taskset", "-c", bench.core, "chrt", "--batch", "0",
             *server.words(bench.build, port)]
    with subprocess.Popen([str(word) for word in words]) as running:
        running.expect_alive = lambda: None
        process.await_echo(running, port)
        bench.lockstep(port, connections, rounds)
        time.sleep(0.1)  # its threads notice the end
        running.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = status
    return usage.ru_nvcsw + usage.ru_nivcsw


def main():
    bench = counted.Bench(pathlib.Path(sys.argv[1]), True, 1024)
    by_name = {server.name: server for server in servers.SERVERS}
    lines = ["user instructions and system calls for each message of 64 bytes", "",
             f"{'server':<18}{'1 connection':>14}{'calls':>7}{'10 connections':>18}{'calls':>7}"]
    for name in SERVERS:
        line = f"{name:<18}"
        for connections, width in ((1, 14), (10, 18)):
            server = by_name[name]
            if connections > server.most_connections:
                continue
            messages = connections * (MANY - FEW)
            less, more = (counted.profile(bench, server, connections, rounds)
                          for rounds in (FEW, MANY))
            kinds = counted.difference(counted.calls(bench, server, connections, MANY),
                                       counted.calls(bench, server, connections, FEW), messages)
            line += f"{(more.total() - less.total()) / messages:>{width}.1f}"
            line += f"{sum(kinds.values()):>7.2f}"
        lines.append(line)
    (FIGURES / "few-connections.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    lines = ["switches of the server's threads for each message, on one processor", "",
             f"{'server':<18}{'1 connection':>14}{'10':>8}{'100':>8}"]
    for name in ("raw-threads", "raw-epoll"):
        found = [(switches(bench, by_name[name], connections, MANY) -
                  switches(bench, by_name[name], connections, FEW)) / (connections * (MANY - FEW))
                 for connections in (1, 10, 100)]
        lines.append(f"{name:<18}{found[0]:>14.2f}{found[1]:>8.2f}{found[2]:>8.2f}")
    (FIGURES / "switches.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
