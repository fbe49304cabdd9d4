"""Runs CPython's own test_selectors on every backend, and prints who passed what.

    run_test_selectors.py LIBDUOLU_C

The tests are the installed ones, unmodified (Debian: libpython3.N-testsuite). Exit status: 0 all
passed, 1 a failure, a leaked descriptor or too few tests, 77 the tests are not installed.
"""

import os
import selectors
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import duolu_selectors  # noqa: E402

try:
    from test import support, test_selectors
except (ImportError, unittest.SkipTest) as missing:
    print(f"skipped: CPython's tests are not here ({missing}); install "
          f"libpython3.{sys.version_info.minor}-testsuite")
    sys.exit(77)

# What has to pass on each backend. CPython 3.11 has 18 tests for every selector (one of them
# skips), 1 for scalable ones (it skips where descriptors run out) and 3 for one backend each, which
# hold here on all; 3 of our own are added.
FLOOR = 23

# CPython's own skips that give no reason.
REASONS = {
    "test_modify_unregister": "patches the insides of CPython's own classes; "
    "test_failed_modify_unregisters stands in for it",
}


class Ours:
    """What CPython tests only on its own classes, said for ours."""

    def test_failed_modify_unregisters(self):
        s = self.SELECTOR()
        self.addCleanup(s.close)
        rd, wr = self.make_socketpair()
        s.register(rd, selectors.EVENT_READ)
        library, token = s.library, s._tokens[rd.fileno()]
        self.assertEqual(library.duolu_poller_remove(s._poller, token), 0)
        with self.assertRaises(FileNotFoundError):
            s.modify(rd, selectors.EVENT_WRITE)
        self.assertEqual(len(s.get_map()), 0)
        s.register(rd, selectors.EVENT_READ)

    def test_unregister_after_the_poller_was_freed(self):
        s = self.SELECTOR()
        self.addCleanup(s.close)
        rd, wr = self.make_socketpair()
        s.register(rd, selectors.EVENT_READ)
        s._free()  # as the garbage collector may do first
        s.unregister(rd)
        self.assertEqual(len(s.get_map()), 0)

    def test_backend(self):
        s = self.SELECTOR()
        self.addCleanup(s.close)
        name = s.library.duolu_poller_backend_name(s._poller).decode()
        self.assertEqual(name, self.SELECTOR.backend)
        self.assertEqual(hasattr(s, "fileno"), s.library.duolu_poller_fd(s._poller) >= 0)


def test_case(selector):
    members = {
        "SELECTOR": selector,
        # These hold for one backend in CPython, and for all here (clauses P2 and P30).
        "test_register_file": test_selectors.EpollSelectorTestCase.test_register_file,
        "test_register_bad_fd": test_selectors.KqueueSelectorTestCase.test_register_bad_fd,
        "test_empty_select_timeout": (
            test_selectors.KqueueSelectorTestCase.test_empty_select_timeout
        ),
    }
    bases = (
        test_selectors.BaseSelectorTestCase,
        test_selectors.ScalableSelectorMixIn,
        Ours,
        unittest.TestCase,
    )
    return type(selector.__name__ + "Test", bases, members)


class Table(unittest.TestResult):
    """Outcomes by test and backend, with what was said about those that did not pass."""

    def __init__(self):
        super().__init__()
        self.outcomes = {}
        self.reasons = {}
        self.traces = []

    def _put(self, test, outcome):
        self.outcomes.setdefault(test._testMethodName, {})[test.SELECTOR.backend] = outcome

    def addSuccess(self, test):
        super().addSuccess(test)
        self._put(test, "pass")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._put(test, "skip")
        name = test._testMethodName
        self.reasons[name] = reason or REASONS.get(name, "no reason given")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._put(test, "FAIL")
        self.traces.append(f"{test.id()}\n{self._exc_info_to_string(error, test)}")

    addError = addFailure

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._put(test, "FAIL")
        self.traces.append(f"{test.id()}: an expected failure passed")


def open_descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def main(path):
    classes = duolu_selectors.classes(duolu_selectors.load(path))
    loader = unittest.defaultTestLoader
    table = Table()
    before = open_descriptors()
    for selector in classes.values():
        unittest.TestSuite(loader.loadTestsFromTestCase(test_case(selector))).run(table)
    support.gc_collect()
    after = open_descriptors()

    width = max(map(len, table.outcomes))
    print(f"{'CPython ' + sys.version.split()[0] + ' test_selectors':{width}}", *classes)
    for name, row in sorted(table.outcomes.items()):
        print(f"{name:{width}}", *(f"{row.get(b, '-'):{len(b)}}" for b in classes))
    for name, reason in sorted(table.reasons.items()):
        print(f"skip {name}: {reason}")
    for trace in table.traces:
        print(trace, file=sys.stderr)

    good = not table.traces
    for backend in classes:
        outcomes = [row.get(backend) for row in table.outcomes.values()]
        counts = {word: outcomes.count(word) for word in ("pass", "skip", "FAIL")}
        print(f"{backend}:", ", ".join(f"{n} {word.lower()}" for word, n in counts.items()))
        if counts["pass"] < FLOOR:
            print(f"{backend}: fewer than {FLOOR} tests passed", file=sys.stderr)
            good = False
    if len(classes) < 2:
        print("fewer than 2 backends", file=sys.stderr)
        good = False
    if after != before:
        print(f"descriptors before {before}, after {after}", file=sys.stderr)
        good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
