#!/usr/bin/env python3
"""Writes docs/cases.md, the list of the conformance cases of a poller, from the names of the tests.

usage: case_list.py [--check]

With --check nothing is written: the exit status is 1 if the page is not what it would write.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "cases.md"
NAME = re.compile(r"^TEST(?:_P|_F)?\(\w+,\s*((?:[PD]\d+_|[RELHTF]\d\d_)+)(\w+)\)", re.M)
GROUPS = {"R": "registrations", "E": "edges and oneshot", "L": "readiness of every kind of file",
          "H": "ends, half-closes and errors", "T": "time, signals and waking", "F": "fairness"}
HEAD = """\
# The cases of the conformance suite

Those that depend on the backend run on every backend, and those that depend on the trigger with
every trigger. `./test CASE` runs one (`./test R07`); a name begins with the clauses that it holds
([contracts.md](contracts.md)).

This page is written by `scripts/case_list.py` from the names of the tests."""


def cases():
    """{case: [(clauses, title, file)]}"""
    found = {}
    for path in sorted((ROOT / "tests" / "poll").glob("*.cpp")):
        for prefix, title in NAME.findall(path.read_text(encoding="utf-8")):
            ids = prefix.strip("_").split("_")
            clauses = [one for one in ids if one[0] in "PD"]
            for case in (one for one in ids if one[0] not in "PD"):
                found.setdefault(case, []).append((clauses, title.replace("_", " "), path.name))
    return found


def page():
    lines = [HEAD]
    found = cases()
    for letter, title in GROUPS.items():
        lines += ["", f"## {letter}: {title}", "", "| case | clauses | what holds | in |",
                  "|---|---|---|---|"]
        for case in sorted(one for one in found if one[0] == letter):
            for clauses, text, file in found[case]:
                lines.append(f"| {case} | {', '.join(clauses)} | {text} "
                             f"| [{file}](../tests/poll/{file}) |")
    return "\n".join(lines) + "\n"


def main():
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text(encoding="utf-8") != page():
            sys.exit("docs/cases.md is not up to date: scripts/case_list.py writes it")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
