#!/usr/bin/env python3
"""What the coroutine server and `duolu serve echo` cost may not grow unseen: counts, not times.

  cost_test.py BUILD            the folder with duolu, bench/coroutine_echo and bench/scripted_cost
  cost_test.py BUILD --where    where `duolu serve echo` spends the instructions of a message

The coroutines run on a kernel that is played from memory (bench/scripted_cost.cpp), so that neither
a scheduler nor libc has a part in it; `duolu serve echo`, and connections, are counted on the real
one. Made for x86-64, g++ 12 and -O2.
"""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench/harness"))

import counted  # noqa: E402
from process import raise_descriptor_limit  # noqa: E402
from servers import coroutine, serve  # noqa: E402

# The limits, each with the figure it was made from: 3 % above it, where a compiler's update moves
# it a little. Whoever makes a figure better lowers its limit; a limit is raised with a reason.
LIMITS = {
    "user instructions a message, 100 connections": 186,    # 180.5, of which 13 are for lending
    "the same with a buffer in the coroutine": 172.5,       # 167.5
    "user instructions a message, 1 connection": 543,       # 527.0
    "system calls a message, 100 connections": 2.02,        # 2.01: a wait finds 100 messages
    "heap allocations a message": 0,
    "user memory of an idle connection, bytes": 350,        # 344
    "serve echo: user instructions a message, 100 connections": 212,  # 205.6
    "serve echo: the same with 1 connection": 585,                    # 568.0
    "serve echo: heap allocations a message": 0,
    "serve echo: user memory of an idle connection, bytes": 400,      # 392
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


def served(bench):
    found = counted.instructions(bench, serve("epoll", "level"))
    return {
        "serve echo: user instructions a message, 100 connections": found["instructions_100"],
        "serve echo: the same with 1 connection": found["instructions_1"],
        "serve echo: heap allocations a message": found["allocations"],
    }


def connections(bench):
    bench.idle, bench.watch_s = (500, 4_500), 0
    # Pages are counted, and a few may come for another reason: the least of three.
    return {name: min(counted.idle(bench, server)["bytes_idle"] for _ in range(3))
            for name, server in (
                ("user memory of an idle connection, bytes", coroutine("epoll")),
                ("serve echo: user memory of an idle connection, bytes", serve("epoll", "level")))}


def where(bench):
    """Prints the functions in which `duolu serve echo` spends instructions, a message each."""
    short, long = 100, 300
    less, more = (counted.profile(bench, serve("epoll", "level"), counted.CROWD, rounds)
                  for rounds in (short, long))
    found = counted.difference(more.instructions, less.instructions,
                               counted.CROWD * (long - short))
    for name, count in sorted(found.items(), key=lambda item: -item[1]):
        if count >= 0.05:
            print(f"{count:8.1f}  {name[:120]}")
    print(f"{sum(found.values()):8.1f}")


def main():
    if not shutil.which("valgrind"):
        print("SKIP: valgrind is not installed")
        return 77
    bench = counted.Bench(Path(sys.argv[1]), True, raise_descriptor_limit())
    if "--where" in sys.argv:
        where(bench)
        return 0
    figures = messages(bench) | served(bench) | connections(bench)
    failed = False
    for name, limit in LIMITS.items():
        figure = figures[name]
        print(f"{name:58} {figure:8.2f}   limit {limit}")
        if figure > limit:
            failed = True
            print(f"FAILED: {name}: {figure:.2f}, and the limit is {limit}")
        elif figure < STALE * limit:
            print(f"report: {name}: {figure:.2f}; lower its limit of {limit} in {__file__}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
