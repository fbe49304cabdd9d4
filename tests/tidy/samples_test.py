#!/usr/bin/env python3
"""Proves the rules of tidy.py: each finds exactly what its sample's `expected` file lists.

A sample is a small source tree of its own, samples/RULE/, that breaks one rule; samples/clean/
comes close to breaking many and breaks none. `expected` lists the findings, each as `file:line`.
"""

import sys
import unittest
from collections import Counter
from pathlib import Path

import tidy

SAMPLES = Path(__file__).resolve().parent / "samples"
COMPILERS = sys.argv[1:3]


def findings(sample, only=None):
    arguments = ["--root", str(SAMPLES / sample)]
    if COMPILERS:
        arguments += ["--cxx", COMPILERS[0], "--cc", COMPILERS[1]]
    database = SAMPLES / sample / "compile_commands.json"
    if database.exists():
        arguments += ["--compile-commands", str(database)]
    options = tidy.arguments().parse_args(arguments)
    return tidy.check(tidy.Tree(options), only)


class Samples(unittest.TestCase):
    def test_every_rule_has_a_sample(self):
        folders = {folder.name for folder in SAMPLES.iterdir()}
        self.assertEqual(folders, {"clean", *tidy.RULES})

    def test_each_rule_finds_its_sample(self):
        for rule in tidy.RULES:
            with self.subTest(rule=rule):
                expected = Counter((SAMPLES / rule / "expected").read_text().split())
                self.assertTrue(expected, "a sample that breaks nothing proves nothing")
                # Allowances are judged when all rules have run.
                only = None if rule == "allowance" else {rule}
                found = [f for f in findings(rule, only) if f.rule == rule]
                self.assertEqual(Counter(f"{f.path}:{f.line}" for f in found), expected)
                for finding in found:
                    self.assertTrue(finding.what and finding.instead, finding)

    def test_the_clean_sample_passes_every_rule(self):
        self.assertEqual(findings("clean"), [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
