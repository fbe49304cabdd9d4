#!/usr/bin/env python3
"""Counts and times the library's servers beside servers by hand and other libraries'.

docs/performance.md explains the figures, and when they are results. `./run bench` builds the
programs for this and executes it."""

import argparse
import json
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent / "harness"))

import counted  # noqa: E402
import machine  # noqa: E402
import programs  # noqa: E402
import report  # noqa: E402
import scenarios  # noqa: E402
import timed  # noqa: E402
from process import Failure, NotObtained, cores, raise_descriptor_limit  # noqa: E402
from servers import QUICK, SERVERS  # noqa: E402

MEASURES = (*counted.MEASURES, "scripted")
QUICK_PROGRAMS = ["loop"]


def arguments():
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__.partition("\n")[0],
                                     epilog="Exit codes: 0 all measured, 1 something failed, 2 "
                                     "usage, 130 interrupted.")
    parser.add_argument("--quick", action="store_true",
                        help="some servers and loads, few pairs: 5 minutes, and no claims")
    parser.add_argument("--only", metavar="NAME,...", default="",
                        help="servers, loads, measures, programs of --list; * stands for any "
                        "letters")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--counts-only", action="store_true", help="what has no spread")
    only.add_argument("--times-only", action="store_true")
    parser.add_argument("--pairs", type=int, metavar="N", help="runs of each pair; 10 (quick: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure, raw ones too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables for a page")
    parser.add_argument("--list", action="store_true", help="what there is to measure")
    parser.add_argument("--build", type=Path, metavar="DIR", default=ROOT / "build/release",
                        help="where the programs are; default: build/release")
    return parser


class Bench:
    """One run of the bench: its options, and the results so far."""

    def __init__(self, options):
        self.options = options
        self.chosen = [pattern for pattern in options.only.split(",") if pattern]
        self.core_count = len(cores())
        self.descriptors = raise_descriptor_limit()
        self.machine = machine.describe(ROOT, options.build)
        self.counted, self.scripted, self.timings, self.programs = [], [], [], []
        self.tables = []
        self.failed = False

    def servers(self):
        names = scenarios.matching(scenarios.ALL, self.chosen) or (
            QUICK if self.options.quick else scenarios.ALL)
        return [server for server in SERVERS if server.name in names]

    def named(self, *kinds):
        return [name for kind in kinds for name in scenarios.matching(kind, self.chosen)]

    def measures(self):
        """The counted ones that are selected: none if only others are named."""
        named = self.named(MEASURES)
        others_alone = self.named(scenarios.NAMES, programs.PROGRAMS) and not named
        return () if self.options.times_only or others_alone else named or MEASURES

    def wanted_programs(self):
        if self.options.counts_only:
            return []
        everything = QUICK_PROGRAMS if self.options.quick else list(programs.PROGRAMS)
        return self.named(programs.PROGRAMS) if self.chosen else everything

    def groups(self):
        others_alone = (self.named(MEASURES, programs.PROGRAMS)
                        and not self.named(scenarios.NAMES))
        if self.options.counts_only or others_alone:
            return []
        built = {server.name for server in SERVERS if not server.missing(self.options.build)}
        most = self.descriptors - 100
        return [group._replace(subjects=subjects)
                for group in scenarios.groups(self.options.quick, self.chosen, most)
                if (subjects := tuple(s for s in group.subjects if s.server in built))]

    def show(self, table):
        self.tables.append(table)
        print(table.plain(), flush=True)

    def count(self):
        measures = [name for name in self.measures() if name != "scripted"]
        if not measures:
            return
        bench = counted.Bench(self.options.build, self.options.quick, self.descriptors)
        progress = report.Progress(len(self.servers()))
        try:
            for server in self.servers():
                progress.step(f"counting {server.name}")
                self.counted.append(counted.count(bench, server, measures))
        finally:
            progress.clear()
            self.failed |= any(result["failures"] for result in self.counted)
            self.show(report.counted_table(self.counted))

    def count_scripted(self):
        if "scripted" not in self.measures():
            return
        bench = counted.Bench(self.options.build, self.options.quick, self.descriptors)
        progress = report.Progress(len(counted.SCRIPTED))
        try:
            for server, backend, trigger in counted.SCRIPTED:
                progress.step(f"counting {server}, {backend} on a scripted kernel")
                try:
                    self.scripted.append(counted.scripted(bench, server, backend, trigger))
                except (Failure, NotObtained, ValueError) as why:
                    self.scripted.append({"server": server, "backend": backend,
                                          "trigger": trigger, "failure": str(why)})
                    self.failed = True
        finally:
            progress.clear()
            self.show(report.scripted_table(self.scripted))

    def run_programs(self):
        for name in self.wanted_programs():
            progress = report.Progress(1)
            progress.step(f"timing {name}")
            try:
                found = programs.run(name, self.options.build, self.options.quick)
            finally:
                progress.clear()
            self.programs.append(found)
            self.failed |= "failure" in found
            self.show(report.program_table(found))

    def time(self):
        pace = timed.QUICK if self.options.quick else timed.FULL
        if self.options.pairs:
            pace = pace._replace(pairs=self.options.pairs)
        groups = self.groups()
        for server in self.servers():
            if groups and (reason := server.missing(self.options.build)):
                print(f"left out: {server.name}: {reason}")
        runs = sum(timed.runs_of(group, pace) for group in groups)
        progress = report.Progress(runs)
        spare = timed.Spare(runs)
        for group in groups:
            timing = timed.Timing(group)
            self.timings.append(timing)

            def run(subject, title=group.title):
                progress.step(f"{title}: {subject.server}")
                server = next(each for each in SERVERS if each.name == subject.server)
                return spare.undisturbed(
                    lambda: timed.run_once(self.options.build, server, subject.load, pace))

            try:
                for number in range(pace.pairs):
                    timing.round(run, backwards=number % 2 == 1)
            finally:
                progress.clear()
                self.failed |= bool(timing.failures)
                self.show(report.timed_table(report.timed_json(timing, self.core_count)))
        if spare.used:
            print(f"\n{spare.used} runs were made again: others had used the cores", flush=True)

    def write(self, interrupted):
        if self.options.json:
            self.options.json.write_text(json.dumps({
                "schema": report.SCHEMA, "machine": self.machine,
                "command": " ".join(["./run bench", *sys.argv[1:]]), "interrupted": interrupted,
                "counted": self.counted, "scripted": self.scripted, "programs": self.programs,
                "timed": [report.timed_json(each, self.core_count) for each in self.timings],
            }, indent=1) + "\n")
        if self.options.markdown:
            facts = [f"- {line}" for line in machine.lines(self.machine)]
            self.options.markdown.write_text(
                "\n".join([*facts, "", *(table.markdown() for table in self.tables)]))


def show_list(build):
    print("servers")
    for server in SERVERS:
        reason = server.missing(build)
        print(f"  {server.name:22} {server.kind:6}{' ' + reason if reason else ''}".rstrip())
    print("loads (timed)")
    for group in scenarios.groups(False, [], 1_000_000):
        print(f"  {group.name:22} {group.title}")
    print("measures (counted)\n  " + "\n  ".join(MEASURES))
    print("programs (timed)\n  " + "\n  ".join(programs.PROGRAMS))


def main():
    parser = arguments()
    options = parser.parse_args()
    if options.list:
        show_list(options.build)
        return 0
    for pattern in filter(None, options.only.split(",")):
        everything = (*scenarios.ALL, *scenarios.NAMES, *MEASURES, *programs.PROGRAMS)
        if not scenarios.matching(everything, [pattern]):
            parser.error(f"--only: nothing is named {pattern}; see --list")
    if options.pairs is not None and options.pairs < 1:
        parser.error("--pairs: at least 1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends all children, as Ctrl-C does
    bench = Bench(options)
    print("\n".join(machine.lines(bench.machine)), flush=True)
    interrupted = False
    try:
        bench.count()
        bench.count_scripted()
        bench.run_programs()
        bench.time()
    except KeyboardInterrupt:
        interrupted = True
        print("interrupted", file=sys.stderr)
    bench.write(interrupted)
    return 130 if interrupted else int(bench.failed)


if __name__ == "__main__":
    sys.exit(main())
