#!/usr/bin/env python3
"""Makes ctest's output short: what failed, in full; what passed, not at all.

Reads ctest's output from standard input while it runs and keeps all of it in LOG. Afterwards, from
the JUnit file ctest wrote: what tests report, the reason of every skip; and, last of all, ctest's
own summary. The counts go to COUNTS for whoever adds up.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree

START = re.compile(r"^\s*Start\s+\d+: ")
RESULT = re.compile(r"^\s*(\d+/\d+) Test\s+#\d+: (\S+) \.*\s*\**(\w.*?)\s+\d+\.\d+ sec")
PROGRESS = 30  # seconds between two lines about it, where there is no terminal
SUMMARY = re.compile(r"^\d+% tests passed, (\d+) tests failed out of (\d+)")


class Progress:
    """Says now and then how far it is, also while the tests that run take long."""

    def __init__(self, seconds):
        self.seconds, self.begin, self.done = seconds, time.monotonic(), "0"
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.tell)

    def tell(self):
        while not self.ended.wait(self.seconds):
            print(f"{self.done} tests, {time.monotonic() - self.begin:.0f} s", flush=True)

    def __enter__(self):
        if self.seconds:
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        if self.seconds:
            self.thread.join()


def follow(stream, log, progress):
    """Passes on what is worth seeing and returns ctest's summary, which is held back."""
    summary = []
    terminal = sys.stdout.isatty()
    passing = True  # Until the first result there is nothing but ctest's banner.
    for line in stream:
        log.write(line)
        log.flush()
        if SUMMARY.match(line):
            summary.append(line)
        elif summary:
            summary.append(line)
        elif START.match(line):
            passing = True
        elif result := RESULT.match(line):
            passing = result[3] in ("Passed", "Skipped", "Not Run (Disabled)")
            progress.done = result[1]
            if terminal:
                sys.stdout.write("\r\033[K")
                if passing:
                    sys.stdout.write(f"{result[1]} {result[2]}"[:100])
            if not passing:
                sys.stdout.write(line)
            sys.stdout.flush()
        elif not passing or re.match(r"(CMake |No tests|Unable|Errors? )", line):
            sys.stdout.write(line)
    if terminal:
        sys.stdout.write("\r\033[K")
    return summary


def skip_reason(output):
    """What GTEST_SKIP() << "reason" or a line "SKIP: reason" said."""
    if said := re.search(r"^SKIP(?:PED)?: *(.+)$", output, re.M):
        return said[1].strip()
    reasons = re.findall(r"^[^\n]*: Skipped\n(.*?)(?=^\n|^\[|\Z)", output, re.M | re.S)
    reason = " ".join(" ".join(reasons).split())
    return reason or "no reason given"


def skipped_inside(output):
    """The tests that a suite has skipped, with their reasons."""
    for name, block in re.findall(r"^\[ RUN      \] (\S+)\n(.*?)^\[  SKIPPED \] \1", output,
                                  re.M | re.S):
        yield name, skip_reason(block)


def run_inside(output):
    """How many tests a process has run: more than one if it is a suite of GoogleTest."""
    ran = re.search(r"^\[==========\] (\d+) tests? from .* ran\.", output, re.M)
    return int(ran[1]) if ran else 1


def report_tests(build):
    """The names of the tests with the label "report", which the JUnit file does not tell."""
    listed = subprocess.run(
        ["ctest", "--test-dir", build, "-L", "^report$", "--show-only=json-v1"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return {test["name"] for test in json.loads(listed.stdout)["tests"]}


def reports(name, output, in_full):
    """What a test has to tell although it passed: all of it, or the lines that begin with
    "report: "."""
    if in_full:
        return f"\n--- {name}\n{output.strip()}\n"
    return "".join(line + "\n" for line in re.findall(r"^report: ?(.*)$", output, re.M))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", required=True)
    parser.add_argument("--junit", required=True)
    parser.add_argument("--reports", help="a file for what tests report, instead of the output")
    parser.add_argument("--counts", required=True, help="where `RUN FAILED SKIPPED` goes")
    options = parser.parse_args()

    sys.stdin.reconfigure(errors="replace")
    sys.stdout.reconfigure(errors="replace")
    with open(options.log, "w", encoding="utf-8", errors="replace") as log:
        with Progress(0 if sys.stdout.isatty() else PROGRESS) as progress:
            summary = follow(sys.stdin, log, progress)

    skipped, told, more = [], "", 0
    in_full = report_tests(os.path.dirname(options.junit) or ".")
    try:
        suite = ElementTree.parse(options.junit).getroot()
    except (OSError, ElementTree.ParseError) as error:
        print(f"no result file from ctest: {error}")
        suite = []
    for case in suite:
        name, output = case.get("name"), case.findtext("system-out") or ""
        mark = case.find("skipped")
        if case.get("status") == "disabled":
            skipped.append((name, "disabled"))
        elif mark is not None and mark.get("message", "").startswith("SKIP_"):
            skipped.append((name, skip_reason(output)))
        elif case.get("status") == "run":
            skipped += skipped_inside(output)
            more += run_inside(output) - 1
            told += reports(name, output, name in in_full)

    if options.reports:
        with open(options.reports, "w", encoding="utf-8", errors="replace") as out:
            out.write(told)
    else:
        sys.stdout.write(told)
    print(f"\n{len(skipped)} skipped" + (":" if skipped else ""))
    for name, reason in sorted(skipped, key=lambda skip: skip[1]):
        print(f"  {name}: {reason}")

    # ctest repeats the names of what was skipped; the reasons above say more.
    print()
    section = ""
    for line in summary:
        if line.startswith("The following tests"):
            section = line
        if "did not run" in section and (line == section or line.startswith("\t")):
            continue
        if line.strip():
            sys.stdout.write(line)

    if summary:
        failed, run = SUMMARY.match(summary[0]).groups()
        with open(options.counts, "w", encoding="utf-8") as out:
            print(int(run) + more, failed, len(skipped), file=out)


if __name__ == "__main__":
    main()
