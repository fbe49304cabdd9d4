#!/usr/bin/env python3
"""Writes the tables of the recorded runs, docs/performance/*.json, into docs/performance.md.

`<!-- bench: NAME -->` before a table names it: `counted`, `scripted`, a load, a program. If several
runs have it, the latest is used. harness_test.py compares.
"""

import json
import re
from pathlib import Path

import report

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "performance.md"
RUNS = ROOT / "docs" / "performance"
# A marker, and the table after it with its notes.
MARKER = re.compile(r"(<!-- bench: (\S+) -->\n)(?:\|.*\n)*(?:\n(?:- \[\d+\] .*\n)+)?")


def runs():
    """The files that `./run bench --json` wrote, the earliest first."""
    found = [run for file in sorted(RUNS.glob("*.json"))
             for run in json.loads(file.read_text(encoding="utf-8"))]
    return sorted(found, key=lambda run: run["machine"]["date"])


def recorded():
    """Maps names to lines."""
    found = {}
    for run in runs():
        found |= {name: table.markdown_lines() for name, table in report.tables(run).items()}
    return found


def refreshed(text, tables=None):
    tables = tables or recorded()
    return MARKER.sub(lambda match: match[1] + "\n".join(tables[match[2]]) + "\n", text)


def main():
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
