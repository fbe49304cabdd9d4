"""What is timed without a client: the loop's own work, and what compiling costs."""

import json
import os
import shlex
from pathlib import Path

from machine import field
from process import Failure, Process, describe, run_client

ROOT = Path(__file__).resolve().parents[2]


def loop(build, quick):
    """[{"task", "name", "count", "ns": [a run's nanoseconds an item, ...]}]; bench/loop/loop.cpp
    says what the tasks are."""
    size = ["--count", 100_000, "--runs", 3] if quick else ["--count", 1_000_000, "--runs", 5]
    said = run_client([build / "bench/loop", *size, "--json"], seconds=600)
    return [json.loads(line) for line in said.splitlines()]


# The same server in coroutines, twice.
SOURCES = (("duolu", "examples/05_coroutine_echo.cpp"),
           ("Asio", "bench/servers/peers/asio_coroutines.cpp"))


def headers(build, quick):
    """[{"name", "source", "optimization", "lines": preprocessed, "cpu_s": [...]}], compiled in
    turns."""
    compiler = field(build / "CMakeCache.txt", r"^CMAKE_CXX_COMPILER:\w+=(.*)$") or "c++"
    found = [{"name": name, "source": source, "optimization": optimization,
              "lines": preprocessed_lines(compiler, source), "cpu_s": []}
             for optimization in ("-O0", "-O2") for name, source in SOURCES]
    for _ in range(1 if quick else 7):
        for each in found:
            each["cpu_s"].append(cpu_seconds(
                [compiler, *FLAGS, each["optimization"], "-c", "-o", os.devnull, each["source"]]))
        found.reverse()
    return sorted(found, key=lambda each: (each["optimization"], each["name"] != "duolu"))


FLAGS = ("-std=c++23", "-DNDEBUG", "-I", str(ROOT / "include"))


def preprocessed_lines(compiler, source):
    """Those with something on them."""
    said = run_client([compiler, *FLAGS, "-E", "-P", ROOT / source])
    return sum(1 for line in said.splitlines() if line.strip())


def cpu_seconds(words):
    """Of a compiler and all that it starts: processor time, which others' work hardly changes."""
    *words, source = words
    with Process([*words, str(ROOT / source)], environment={"CCACHE_DISABLE": "1"}) as compiler:
        _, status, used = os.wait4(compiler.pid, 0)
        compiler.child.returncode = os.waitstatus_to_exitcode(status)  # so that nobody waits again
        if compiler.child.returncode != 0:
            raise Failure(f"{shlex.join(words)}: {describe(compiler.child.returncode)}: "
                          f"{compiler.complaint()}")
    return used.ru_utime + used.ru_stime


PROGRAMS = {"loop": loop, "headers": headers}


def run(name, build, quick):
    """{"name", "results"}, or {"name", "failure"}."""
    try:
        return {"name": name, "results": PROGRAMS[name](build, quick)}
    except (Failure, OSError, ValueError) as why:
        return {"name": name, "results": [], "failure": str(why)}
