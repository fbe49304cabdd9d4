"""Reads what strace and callgrind write."""

import re

ALLOCATORS = {"malloc", "calloc", "realloc", "aligned_alloc", "memalign", "posix_memalign"}


def strace_counts(text):
    """System calls by name, from `strace -c`."""
    counts = {}
    for line in text.splitlines():
        words = line.split()
        # "% time, seconds, usecs/call, calls, [errors,] name"; the last row repeats the sum.
        if len(words) in (5, 6) and words[3].isdigit() and words[-1] != "total":
            counts[words[-1]] = counts.get(words[-1], 0) + int(words[3])
    if not counts:
        raise ValueError("no system calls in strace's summary")
    return counts


class Profile:
    """A callgrind output file: instructions by function, without its callees; and calls."""

    FUNCTION = re.compile(r"(c?fn)=\((\d+)\)(?: (.*))?")

    def __init__(self, text):
        self.instructions = {}
        self.calls = {}
        names, current, called, skip = {}, None, None, False
        for line in text.splitlines():
            if match := self.FUNCTION.fullmatch(line):
                kind, number, name = match.groups()
                if name is not None:
                    names[number] = name
                if kind == "fn":
                    current = names[number]
                else:
                    called = names[number]
            elif line.startswith("calls="):
                count = int(line[len("calls="):].split()[0])
                self.calls[called] = self.calls.get(called, 0) + count
                skip = True  # the next line has the cost of the callee
            elif current is not None and line[:1] in tuple("0123456789+-*"):
                if not skip:
                    cost = int(line.split()[1])
                    self.instructions[current] = self.instructions.get(current, 0) + cost
                skip = False
        if not self.instructions:
            raise ValueError("callgrind counted nothing")

    def total(self, without=""):
        """Instructions, without functions that have `without` in their names."""
        return sum(cost for name, cost in self.instructions.items()
                   if not without or without not in name)

    def allocations(self):
        return sum(self.calls.get(name, 0) for name in ALLOCATORS)
