#!/usr/bin/env python3
"""Runs the conformance tests and prints them as a table: cases x (backend, trigger).

usage: conformance_table.py GTEST_BINARY [--require IDS] [--contracts FILE] [--json FILE]

A row is a TEST_P body of a suite instantiated as Every/..., a column a cell, such as epoll_edge. A
cell says

    ok     it passed
    D1     it passed as the documented difference D1 (docs/contracts.md, "Where backends differ")
    skip   it was skipped; the reasons follow the table
    FAIL   it failed
    -      it was not there

The exit status is 0 if nothing failed, nothing is missing, every case id of --require (such as
"R01-R23 R25") has a row, and every difference is one of the table in --contracts. With --json an
earlier report of the binary is read instead of running it.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

PREFIX = "Every/"
CLAUSE = re.compile(r"[PD]\d+")
CASE = re.compile(r"[A-Z]\d\d")  # after the clauses: the id of the case; P and D are clauses


def run(binary):
    """The binary's JSON report and exit status; its output is shown only if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "report.json")
        done = subprocess.run(
            [binary, f"--gtest_filter={PREFIX}*", f"--gtest_output=json:{path}", "--gtest_brief=1"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            check=False)
        if done.returncode != 0:
            print(done.stdout)
        if not os.path.exists(path):
            sys.exit(f"{binary} ended with status {done.returncode} and left no report")
        with open(path, encoding="utf-8") as file:
            return json.load(file), done.returncode


def read_name(name):
    """P4_R17_a_closed_number -> (["P4"], ["R17"], "a closed number")."""
    words = name.split("_")
    clauses, cases = [], []
    while words and (CLAUSE.fullmatch(words[0]) or CASE.fullmatch(words[0])):
        (clauses if CLAUSE.fullmatch(words[0]) else cases).append(words.pop(0))
    return clauses, cases, " ".join(words)


def outcome(test):
    """(what the cell shows, reason for a skip)."""
    if test.get("failures"):
        return "FAIL", None
    if test.get("result") == "SKIPPED":
        return "skip", " ".join(s.get("message", "").strip() for s in test.get("skipped", []))
    if test.get("status") != "RUN":
        return "-", None
    return test.get("difference", "ok"), None


def collect(report):
    """{(suite, test): {cell: outcome}}, the cells in order, and the skips."""
    rows, skips = {}, []
    for suite in report["testsuites"]:
        if not suite["name"].startswith(PREFIX):
            continue
        for test in suite["testsuite"]:
            name, _, cell = test["name"].partition("/")
            shown, reason = outcome(test)
            rows.setdefault((suite["name"].removeprefix(PREFIX), name), {})[cell] = shown
            if reason is not None:
                skips.append(f"{name}/{cell}: {reason or 'no reason given'}")
    # In the order of the fullest row: the first may lack a cell.
    cells = list(dict.fromkeys(cell for row in sorted(rows.values(), key=len, reverse=True)
                               for cell in row))
    return rows, cells, skips


def expand(ids):
    """"R01-R03 E01" -> {"R01", "R02", "R03", "E01"}."""
    wanted = set()
    for part in re.split(r"[ ,;]+", ids.strip()):
        first, _, last = part.partition("-")
        if last:
            wanted |= {f"{first[0]}{n:02}" for n in range(int(first[1:]), int(last[1:]) + 1)}
        elif first:
            wanted.add(first)
    return wanted


def print_table(rows, cells):
    def line(case, clauses, values, title):
        print(f"{case:<6}{clauses:<13}" + "".join(f"{value:<8}" for value in values) + title)

    backends = [cell.rpartition("_")[0] for cell in cells]
    line("", "", [name if name not in backends[:i] else "" for i, name in enumerate(backends)], "")
    line("case", "clauses", [cell.rpartition("_")[2] for cell in cells], "")
    named = [(*read_name(name), rows[suite, name]) for suite, name in rows]
    for clauses, cases, title, row in sorted(named, key=lambda n: (n[1] or ["~"], n[0], n[2])):
        line(" ".join(cases), " ".join(clauses), [row.get(cell, "-") for cell in cells], title)


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("binary")
    options.add_argument("--require", default="", metavar="IDS")
    options.add_argument("--contracts", metavar="FILE")
    options.add_argument("--json", metavar="FILE")
    given = options.parse_args()

    if given.json:
        with open(given.json, encoding="utf-8") as file:
            report, status = json.load(file), 0
    else:
        report, status = run(given.binary)
    rows, cells, skips = collect(report)
    if not rows:
        sys.exit("no conformance tests were found")
    print_table(rows, cells)

    shown = [rows[key].get(cell, "-") for key in rows for cell in cells]
    differences = [s for s in shown if re.fullmatch(r"D\d+", s)]
    passed = shown.count("ok")
    failed, missing = shown.count("FAIL"), shown.count("-")
    print(f"\n{len(rows)} cases x {len(cells)} cells = {len(shown)}: {passed} ok, "
          f"{len(differences)} documented differences, {len(skips)} skipped, {failed} failed, "
          f"{missing} missing")
    for skip in skips:
        print("skipped:", skip)

    covered = {case for _, name in rows for case in read_name(name)[1]}
    absent = sorted(expand(given.require) - covered)
    if absent:
        print("no test has the case", " ".join(absent))
    odd = set(shown) - set(differences) - {"ok", "skip", "FAIL", "-"}
    if given.contracts:
        with open(given.contracts, encoding="utf-8") as file:
            odd |= set(differences) - set(re.findall(r"^\| (D\d+) ", file.read(), re.MULTILINE))
    if odd:
        print("not a documented difference:", " ".join(sorted(odd)))
    if status != 0 and failed == 0:
        print(f"the test program ended with status {status}")
    sys.exit(1 if failed or missing or absent or odd or status else 0)


if __name__ == "__main__":
    main()
