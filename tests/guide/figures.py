#!/usr/bin/env python3
"""The figures of the guide as tables, docs/guide/figures/*.txt, out of the recorded runs of
`./run bench` (docs/performance/*.json): figures.py writes them, guide_test.py compares.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "harness"))
import page  # noqa: E402
import stats  # noqa: E402

FIGURES = ROOT / "docs" / "guide" / "figures"


class Recorded:
    """All recorded runs; of several of one thing, the latest."""

    def __init__(self, runs):
        self.counted = {one["server"]: one["figures"] for run in runs for one in run["counted"]}
        self.timed = {one["name"]: one for run in runs for one in run["timed"]}
        self.programs = {one["name"]: one["results"] for run in runs for one in run["programs"]}

    def times(self, load, servers):
        """A server a line: its own rate and CPU time, and what the pairs with raw-epoll say."""
        group = self.timed[load]
        by_name = {subject["server"]: subject["result"] for subject in group["subjects"]}
        lines = [f"{group['title']}; ratio to raw-epoll, and its 95 % interval",
                 f"{'server':<20}{'messages/s':>11}{'CPU us':>8}{'ratio':>8}   interval"]
        own = stats.medians(group["baseline"]["runs"])
        lines.append(f"{'raw-epoll':<20}{thousands(own['rate']):>11}{own['server_cpu_us']:>8.2f}"
                     f"{1:>8}")
        for server in servers:
            one = by_name[server]
            ratio = one["ratio"]
            verdict = one["verdict"] or "no verdict"
            lines.append(f"{server:<20}{thousands(one['rate']):>11}{one['server_cpu_us']:>8.2f}"
                         f"{ratio['mean']:>8.3f}   {ratio['low']:.3f} to {ratio['high']:.3f}"
                         f"   {verdict}")
        return lines

    def long_handlers(self):
        """A way a line: what others waited, in milliseconds."""
        lines = ["2,000 messages a second beside a handler that computes for 200 ms in every "
                 "second; milliseconds",
                 f"{'it computes':<22}{'median':>8}{'99 %':>9}{'longest':>9}"]
        for one in self.programs["long-handler"]:
            figures = (stats.median(one["p50_us"]), stats.median(one["p99_us"]),
                       max(one["max_us"]))
            lines.append(f"{one['way']:<22}" + "".join(
                f"{figure / 1000:>{width}.2f}" for figure, width in zip(figures, (8, 9, 9))))
        return lines

    def counts(self, servers, columns):
        """A server a line, the counted figures in columns."""
        lines = [f"{'server':<20}" + "".join(f"{title:>{len(title) + 3}}" for title, _ in columns)]
        for server in servers:
            figures = self.counted[server]
            lines.append(f"{server:<20}" + "".join(
                f"{shown(figures.get(key)):>{len(title) + 3}}" for title, key in columns))
        return lines


def thousands(value):
    return f"{value / 1000:.1f}k"


def shown(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:,.2f}"


INSTRUCTIONS = ("instructions/message", "instructions_100")
ONE = ("with 1 connection", "instructions_1")
CALLS = ("calls/message", "calls_message")
BYTES = ("bytes/idle connection", "bytes_idle")


def tables(recorded):
    """File name to lines, each with the command that measures it anew on top."""
    def table(command, *blocks):
        lines = [f"$ ./run bench {command}"]
        for block in blocks:
            lines += ["", *block]
        return "\n".join(lines) + "\n"

    coroutines = ("poller-epoll", "coroutine-epoll", "coroutine-epoll-own", "asio-coroutines")
    by_hand = ("raw-epoll", "raw-poll", "raw-select")
    return {
        "one-connection.txt": table(
            "--only c1,raw-epoll,raw-blocking", recorded.times("c1", ["raw-blocking"])),
        "threads.txt": table(
            "--only c100,instructions,system-calls,idle,raw-epoll,raw-threads",
            recorded.times("c100", ["raw-threads"]),
            recorded.counts(["raw-epoll", "raw-threads"], [INSTRUCTIONS, CALLS, BYTES])),
        "scan.txt": table(
            "--only c100,idle1000,idle10000,instructions,raw-epoll,raw-poll,raw-select",
            *(recorded.times(load, by_hand[1:]) for load in ("c100", "idle1000", "idle10000")),
            recorded.counts(by_hand, [INSTRUCTIONS, ONE])),
        "edge.txt": table(
            "--only c100,c1000,large,instructions,raw-epoll,raw-epoll-edge,poller-epoll,"
            "poller-epoll-edge",
            recorded.times("c100", ["raw-epoll-edge", "poller-epoll", "poller-epoll-edge"]),
            *(recorded.times(load, ["poller-epoll", "poller-epoll-edge"])
              for load in ("c1000", "large")),
            recorded.counts(["raw-epoll", "raw-epoll-edge", "poller-epoll", "poller-epoll-edge"],
                            [INSTRUCTIONS, ONE])),
        "loops.txt": table(
            "--only c100,instructions,idle,raw-epoll,poller-epoll,libev,libuv,libevent,asio-*",
            recorded.times("c100", ["poller-epoll", "libev", "libevent", "libuv",
                                    "asio-callbacks", "asio-coroutines"]),
            recorded.counts(["raw-epoll", "poller-epoll", "libev", "libuv", "libevent",
                             "asio-callbacks", "asio-coroutines"], [INSTRUCTIONS, BYTES])),
        "coroutines.txt": table(
            "--only c1,c100,instructions,idle,raw-epoll,poller-epoll,coroutine-*,asio-coroutines",
            *(recorded.times(load, ["poller-epoll", "coroutine-epoll", "asio-coroutines"])
              for load in ("c1", "c100")),
            recorded.counts(coroutines, [INSTRUCTIONS, ONE, BYTES])),
        "long-handlers.txt": table("--only long-handler", recorded.long_handlers()),
    }


def main():
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name, text in tables(Recorded(page.runs())).items():
        (FIGURES / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
