"""Times besides echoing: the loop's own work, compilation, and how a long handler delays other
connections."""

import json
import os
import shlex
from pathlib import Path

from machine import field
from process import PORTS, Failure, Process, await_echo, describe, run_client

ROOT = Path(__file__).resolve().parents[2]


def loop(build, quick):
    """Returns [{"task", "name", "count", "ns": [a run's nanoseconds an item, ...]}]; the tasks are
    described in bench/loop/loop.cpp."""
    size = ["--count", 100_000, "--runs", 3] if quick else ["--count", 1_000_000, "--runs", 5]
    said = run_client([build / "bench/loop", *size, "--json"], seconds=600)
    return [json.loads(line) for line in said.splitlines()]


# The same server in coroutines, twice.
SOURCES = (("duolu", "examples/05_coroutine_echo.cpp"),
           ("Asio", "bench/servers/peers/asio_coroutines.cpp"))


def headers(build, quick):
    """Returns [{"name", "source", "optimization", "lines": preprocessed, "cpu_s": [...]}], compiled
    in turns."""
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
    """The number of lines that are not empty."""
    said = run_client([compiler, *FLAGS, "-E", "-P", ROOT / source])
    return sum(1 for line in said.splitlines() if line.strip())


def cpu_seconds(words):
    """CPU time of a compiler and its children, which other processes hardly change."""
    *words, source = words
    with Process([*words, str(ROOT / source)], environment={"CCACHE_DISABLE": "1"}) as compiler:
        _, status, used = os.wait4(compiler.pid, 0)
        compiler.child.returncode = os.waitstatus_to_exitcode(status)  # no second wait
        if compiler.child.returncode != 0:
            raise Failure(f"{shlex.join(words)}: {describe(compiler.child.returncode)}: "
                          f"{compiler.complaint()}")
    return used.ru_utime + used.ru_stime


def long_handler(build, quick):
    """Returns [{"way", "stalls", "p50_us": [...], "p99_us": [...], "max_us": [...]}], in turns: the
    latencies of other connections while one handler computes for 200 ms in a second. They send at a
    fixed rate, 2,000 a second, so that waiting messages are counted. Server and client are not
    bound to a core: with offload, two threads of the server work."""
    ways = {"nobody computes": "none", "on the loop's thread": "here", "offload": "offload"}
    found = [{"way": way, "stalls": "", "p50_us": [], "p99_us": [], "max_us": []} for way in ways]
    for _ in range(1 if quick else 5):
        for each in found:
            port = PORTS.take()
            with Process([build / "bench/long_handler", str(port), ways[each["way"]]]) as server:
                await_echo(server, port)
                said = run_client(
                    [build / "duolu", "load", f"tcp://127.0.0.1:{port}", "--rate", "2k", "--json",
                     "--connections", "50", "--duration", "3s" if quick else "10s"], seconds=60)
                server.stop()
                each["stalls"] = server.complaint()
            latency = json.loads(said)["latency_us"]["corrected"]
            for key in ("p50", "p99", "max"):
                each[f"{key}_us"].append(latency[key])
    return found


PROGRAMS = {"loop": loop, "headers": headers, "long-handler": long_handler}


def run(name, build, quick):
    """Returns {"name", "results"}, or {"name", "failure"}."""
    try:
        return {"name": name, "results": PROGRAMS[name](build, quick)}
    except (Failure, OSError, ValueError) as why:
        return {"name": name, "results": [], "failure": str(why)}
