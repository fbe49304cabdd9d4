#!/usr/bin/env python3
"""Plants faults in a copy of the tree, one at a time, and says which of them the tests notice.

A mutation is a block in tests/mutations/*.mut; blocks are separated by blank lines, lines that
begin with # are comments:

    name: EN6 the budget of send
    file: src/engine/readiness.cpp
    targets: engine_test
    tests: EN6
    -  if (left_ <= 0) return park(op);
    +  if (false) return park(op);

The lines marked - are consecutive whole lines that occur exactly once in the file; those marked +
(there may be none) replace them. `targets` are built, and of the tests whose names match `tests`
(as for ctest -R) at least one has to fail. The copy is build/mutate, kept for the next run.
"""

import argparse
import fcntl
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPY = ROOT / "build" / "mutate"
KEYS = ("name", "file", "targets", "tests")


class Mutation:
    def __init__(self, source):
        self.source = source  # FILE:LINE
        self.before, self.after = [], []
        self.fields = {}

    def __getattr__(self, key):
        return self.fields[key]

    def mutated(self, text):
        """The text of the file with the mutation in it; ValueError says why there is none."""
        if not self.before:
            raise ValueError("no line is marked -")
        if self.before == self.after:
            raise ValueError("it changes nothing")
        lines, size = text.split("\n"), len(self.before)
        found = [i for i in range(len(lines) - size + 1) if lines[i:i + size] == self.before]
        if len(found) != 1:
            raise ValueError(f"its lines occur {len(found)} times in {self.file}")
        lines[found[0]:found[0] + size] = self.after
        return "\n".join(lines)


def read_file(path):
    """The mutations of a file, and what is wrong with its form."""
    mutations, wrong, current = [], [], None
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        where = f"{path.name}:{number}"
        if line.startswith("#"):
            continue
        if not line.strip():
            current = None
            continue
        if current is None:
            current = Mutation(where)
            mutations.append(current)
        key, colon, value = line.partition(":")
        if line[0] == "-" and not current.after:
            current.before.append(line[1:])
        elif line[0] == "+":
            current.after.append(line[1:])
        elif colon and key in KEYS and key not in current.fields and not current.before:
            current.fields[key] = value.strip()
        else:
            wrong.append(f"{where}: what is this? {line}")
    for mutation in mutations:
        for key in KEYS:
            if not mutation.fields.get(key):
                wrong.append(f"{mutation.source}: no line `{key}: ...`")
                mutation.fields[key] = ""
    return mutations, wrong


def read_all(folder, root):
    """All mutations, and what is wrong with them: none may be out of date."""
    mutations, wrong, names = [], [], {}
    for path in sorted(folder.glob("*.mut")):
        found, bad = read_file(path)
        mutations += found
        wrong += bad
    for mutation in mutations:
        if mutation.name in names:
            wrong.append(f"{mutation.source}: {mutation.name}: the name of {names[mutation.name]}")
        names[mutation.name] = mutation.source
        try:
            re.compile(mutation.tests)
            mutation.mutated((root / mutation.file).read_text(encoding="utf-8"))
        except (OSError, ValueError, re.error) as error:
            wrong.append(f"{mutation.source}: {mutation.name}: {error}")
    return mutations, wrong


def synchronize():
    """Makes the copy what the tree is. Files that are equal keep their times: nothing is built
    again for them."""
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True, check=True)
    names = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    for folder, folders, files in os.walk(COPY):
        if pathlib.Path(folder) == COPY and "build" in folders:
            folders.remove("build")
        for name in files:
            path = pathlib.Path(folder, name)
            if str(path.relative_to(COPY)) not in names and path.name != ".lock":
                path.unlink()
    for name in names:
        source, target = ROOT / name, COPY / name
        content = source.read_bytes()
        if target.is_file() and target.read_bytes() == content:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(source.stat().st_mode)


class Builder:
    def __init__(self, options):
        self.jobs, self.build = str(options.jobs), COPY / "build" / options.preset
        self.log = open(COPY / "build" / "mutate.log", "w", encoding="utf-8", errors="replace")
        if not self.run(["cmake", "--preset", options.preset, "--compile-no-warning-as-error",
                         "-DDUOLU_BUILD_TESTS=ON", f"-DDUOLU_TEST_TIMEOUT={options.timeout}"])[0]:
            sys.exit(f"configuring failed (log: {self.log.name})")

    def run(self, command):
        self.log.write(f"\n$ {' '.join(command)}\n")
        done = subprocess.run(command, cwd=COPY, stdin=subprocess.DEVNULL, text=True,
                              errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=False)
        self.log.write(done.stdout)
        self.log.flush()
        return done.returncode == 0, done.stdout

    def make(self, targets):
        """None when it was built, otherwise the first line that says why not."""
        good, output = self.run(["cmake", "--build", str(self.build), "--parallel", self.jobs,
                                 "--target", *targets])
        if good:
            return None
        errors = re.findall(r"^.*(?:error:|undefined reference).*$", output, re.M)
        # A test program that cannot list its tests was built, and is broken.
        return errors[0] if errors else ""

    def failing(self, regex):
        """The names of the tests that fail; None if there is no test of such a name."""
        good, output = self.run(["ctest", "--test-dir", str(self.build), "-R", regex, "-j",
                                 self.jobs, "--no-tests=error"])
        if "No tests were found" in output:
            return None
        names = re.findall(r"Test +#\d+: (\S+) \.*\s*\**(?:Failed|Timeout|Exception|Not Run)",
                           output)
        return names or ([] if good else ["ctest"])


def try_one(builder, mutation):
    path = COPY / mutation.file
    original = path.read_text(encoding="utf-8")
    try:
        path.write_text(mutation.mutated(original), encoding="utf-8")
        error = builder.make(mutation.targets.split())
        if error:
            return "did not compile", error
        if error is not None:
            return "caught", "the test program does not start"
        failing = builder.failing(mutation.tests)
        if failing is None:
            return "MISSED", f"no test is called {mutation.tests}"
        return ("caught", ", ".join(failing)) if failing else ("MISSED", f"by {mutation.tests}")
    finally:
        path.write_text(original, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit codes: 0 all were caught; 1 one was missed, did not compile or does not "
               "apply; 2 wrong usage, or tests that fail without a mutation.")
    parser.add_argument("select", nargs="*", metavar="REGEX",
                        help="only mutations whose FILE.mut:LINE or name one of these matches")
    parser.add_argument("--list", action="store_true", help="show them, and do nothing")
    parser.add_argument("--check", action="store_true", help="only see that all of them apply")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, metavar="N",
                        help="parallel compilations and tests")
    parser.add_argument("--timeout", type=int, default=60, metavar="SECONDS",
                        help="after which a test has failed (%(default)s)")
    parser.add_argument("--preset", default="release", help="what to build (%(default)s)")
    parser.add_argument("--mutations", type=pathlib.Path, default=ROOT / "tests" / "mutations",
                        metavar="FOLDER", help="where the files *.mut are")
    options = parser.parse_args()

    mutations, wrong = read_all(options.mutations, ROOT)
    if wrong:
        print("\n".join(wrong))
        sys.exit(1)
    if options.check:
        print(f"{len(mutations)} mutations apply")
        return
    mutations = [m for m in mutations if not options.select
                 or any(re.search(s, f"{m.source} {m.name}") for s in options.select)]
    # Side by side: what the one before changed is built again anyway.
    mutations.sort(key=lambda mutation: mutation.file)
    if options.list:
        for m in mutations:
            print(f"{m.source:20}  {m.name}  ({m.file}; -R '{m.tests}')")
        return
    if not mutations:
        print("no mutation is called so", file=sys.stderr)
        sys.exit(2)

    (COPY / "build").mkdir(parents=True, exist_ok=True)
    with open(COPY / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        synchronize()
        builder = Builder(options)
        print("building, and running the tests without a mutation", flush=True)
        targets = sorted({target for m in mutations for target in m.targets.split()})
        if (error := builder.make(targets)) is not None:
            print(f"the tree does not build: {error} (log: {builder.log.name})", file=sys.stderr)
            sys.exit(2)
        regexes = sorted({f"({m.tests})" for m in mutations})
        if failing := builder.failing("|".join(regexes)):
            print("these fail without a mutation:", *failing, file=sys.stderr)
            sys.exit(2)

        counts = {"caught": 0, "MISSED": 0, "did not compile": 0}
        for mutation in mutations:
            start = time.monotonic()
            verdict, why = try_one(builder, mutation)
            counts[verdict] += 1
            print(f"{verdict:15} {time.monotonic() - start:5.0f} s  {mutation.name}: {why[:200]}",
                  flush=True)
    print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    sys.exit(0 if counts["caught"] == len(mutations) else 1)


if __name__ == "__main__":
    main()
