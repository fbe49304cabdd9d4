#!/usr/bin/env python3
"""What the coroutine echo server costs may not grow unseen: counts, not times.

  cost_test.py BUILD    the folder with bench/coroutine_echo and bench/scripted_cost

On a kernel that is played from memory (bench/scripted_cost.cpp), so that neither a scheduler nor
libc has a part in it; connections are counted on the real one. Made for x86-64, g++ 12 and -O2.
"""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench/harness"))

import counted  # noqa: E402
from process import raise_descriptor_limit  # noqa: E402
from servers import coroutine  # noqa: E402

# The limits, each with the figure it was made from: 3 % above it, where a compiler's update moves
# it a little. Whoever makes a figure better lowers its limit; a limit is raised with a reason.
LIMITS = {
    "user instructions a message, 100 connections": 192.5,  # 186.7, of which 12 are for lending
    "the same with a buffer in the coroutine": 180,         # 174.7
    "user instructions a message, 1 connection": 564.5,     # 548.0
    "system calls a message, 100 connections": 2.02,        # 2.01: a wait finds 100 messages
    "heap allocations a message": 0,
    "user memory of an idle connection, bytes": 350,        # 344
}
STALE = 0.94  # a figure below this share of its limit should have lowered it


def messages(bench):
    found = counted.scripted(bench, "coroutine", "epoll", None)
    own = counted.scripted(bench, "coroutine-own", "epoll", None)
    calls = {name: count for name, count in found["calls"].items() if name != "now"}
    return {
        "user instructions a message, 100 connections": found["instructions_100"],
        "the same with a buffer in the coroutine": own["instructions_100"],
        "user instructions a message, 1 connection": found["instructions_1"],
        "system calls a message, 100 connections": sum(calls.values()),
        "heap allocations a message": max(found["allocations_100"], found["allocations_1"]),
    }


def connections(bench):
    bench.idle, bench.watch_s = (500, 4_500), 0
    # Pages are counted, and a few may come for another reason: the least of three.
    found = [counted.idle(bench, coroutine("epoll"))["bytes_idle"] for _ in range(3)]
    return {"user memory of an idle connection, bytes": min(found)}


def main():
    if not shutil.which("valgrind"):
        print("SKIP: valgrind is not installed")
        return 77
    bench = counted.Bench(Path(sys.argv[1]), True, raise_descriptor_limit())
    figures = messages(bench) | connections(bench)
    failed = False
    for name, limit in LIMITS.items():
        figure = figures[name]
        print(f"{name:46} {figure:8.2f}   limit {limit}")
        if figure > limit:
            failed = True
            print(f"FAILED: {name}: {figure:.2f}, and the limit is {limit}")
        elif figure < STALE * limit:
            print(f"report: {name}: {figure:.2f}; lower its limit of {limit} in {__file__}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
