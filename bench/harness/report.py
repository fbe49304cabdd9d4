"""Tables, for the terminal and for Markdown, and the JSON."""

import sys
import time

import stats

SCHEMA = "duolu.bench/1"
MOST_COLUMNS = 100


class Progress:
    """One line on a terminal: the current run, and the time that is left."""

    def __init__(self, steps):
        self.steps, self.done, self.start = steps, 0, time.monotonic()
        self.shown = sys.stderr.isatty()

    def step(self, what):
        if self.shown:
            left = ""
            if self.done:
                seconds = (time.monotonic() - self.start) / self.done * (self.steps - self.done)
                left = f", {seconds / 60:.0f} min left"
            line = f"[{self.done + 1}/{self.steps}{left}] {what}"
            print(f"\r\033[K{line[:MOST_COLUMNS]}", end="", file=sys.stderr, flush=True)
        self.done += 1

    def clear(self):
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


class Table:
    def __init__(self, title, headings):
        self.title, self.headings, self.rows, self.notes = title, headings, [], []

    def add(self, *cells):
        self.rows.append([str(cell) for cell in cells])

    def footnote(self, text):
        """Returns the mark of a note. Equal notes have the same mark."""
        text = text[:1].upper() + text[1:]
        if text not in self.notes:
            self.notes.append(text)
        return f"[{self.notes.index(text) + 1}]"

    def numbered_notes(self):
        return [f"[{number}] {text}" for number, text in enumerate(self.notes, 1)]

    def plain(self):
        grid = [self.headings, *self.rows]
        widths = [max(len(row[i]) for row in grid) for i in range(len(self.headings))]
        gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= MOST_COLUMNS else " "
        body = [gap.join(cell.rjust(width) if i else cell.ljust(width)
                         for i, (cell, width) in enumerate(zip(row, widths))).rstrip()
                for row in grid]
        return "\n".join(["", self.title, *body, *self.numbered_notes()])

    def markdown(self):
        return "\n".join([f"### {self.title}", "", *self.markdown_lines(), ""])

    def markdown_lines(self):
        """Rows and notes. A last column without a heading has the marks of notes."""
        grid = [self.headings, *self.rows]
        if not any(row[-1] for row in grid):
            grid = [row[:-1] for row in grid]
        rule = "|---" + "|---:" * (len(grid[0]) - 1) + "|"
        notes = [f"- {note}" for note in self.numbered_notes()]
        lines = [f"| {' | '.join(cells)} |" for cells in grid]
        return [lines[0], rule, *lines[1:], *([""] if notes else []), *notes]


def number(value, digits=0):
    """Returns `-` for none."""
    return "-" if value is None else f"{value + 0.0:,.{digits}f}"


# --- counted

COUNTED = (("instructions_100", "instr. c=100", 1), ("instructions_1", "c=1", 1),
           ("allocations", "alloc.", 2), ("calls_message", "calls c=100", 3),
           ("calls_message_1", "c=1", 2), ("calls_connection", "calls/conn.", 2),
           ("bytes_idle", "B/idle conn.", 0), ("wakeups_idle", "wake-ups", 0))


def counted_table(results):
    table = Table("Counted: user instructions, allocations and system calls a message of 64 B; "
                  "idle connections", ["server", *(heading for _, heading, _ in COUNTED), ""])
    for result in results:
        marks = "".join(map(table.footnote, result["notes"] +
                            [f"failed: {result['server']}: {words}"
                             for words in result["failures"]]))
        table.add(result["server"], *(number(result["figures"].get(field), digits)
                                      for field, _, digits in COUNTED), marks)
    return table


def scripted_table(results):
    kinds = sorted({kind for result in results for kind in result.get("calls", {})})
    table = Table("Counted on a scripted kernel: instructions of library and server, and calls, a "
                  "message", ["server", "instr. c=100", "c=1", *kinds, ""])
    for result in results:
        mark = table.footnote(f"failed: {result['failure']}") if "failure" in result else ""
        what = (result["server"], result["backend"], result["trigger"])
        table.add(", ".join(filter(None, what)),
                  number(result.get("instructions_100"), 1),
                  number(result.get("instructions_1"), 1),
                  *(number(result.get("calls", {}).get(kind), 2) for kind in kinds), mark)
    return table


# --- programs

def loop_table(results):
    """The ratio is to the first way of the same task."""
    table = Table("The loop's own work: nanoseconds an item",
                  ["task", "way", "median", "spread", "ratio"])
    first = {}
    for result in results:
        median = stats.median(result["ns"])
        ratio = median / first.setdefault(result["task"], median)
        table.add(result["task"], result["name"], number(median, 1),
                  f"{stats.quartile_spread(result['ns']):.0%}", f"{ratio:.2f}")
    return table


def headers_table(results):
    table = Table("Compiling a coroutine echo server",
                  ["library", "", "CPU s", "spread", "preprocessed lines"])
    for result in results:
        table.add(result["name"], result["optimization"],
                  number(stats.median(result["cpu_s"]), 2),
                  f"{stats.quartile_spread(result['cpu_s']):.0%}", number(result["lines"]))
    return table


def long_handler_table(results):
    table = Table("What others wait while one handler computes for 200 ms in every second: "
                  "microseconds", ["it computes", "p50", "p99", "spread", "longest", "reported"])
    for result in results:
        table.add(result["way"], number(stats.median(result["p50_us"])),
                  number(stats.median(result["p99_us"])),
                  f"{stats.quartile_spread(result['p99_us']):.0%}",
                  number(max(result["max_us"])), result["stalls"])
    return table


def program_table(found):
    """The table of a result of programs.run()."""
    tables = {"loop": loop_table, "headers": headers_table, "long-handler": long_handler_table}
    table = tables[found["name"]](found["results"])
    if "failure" in found:
        table.footnote(f"failed: {found['failure']}")
    return table


# --- timed

def timed_table(group):
    """The table of a result of timed_json()."""
    table = Table(group["title"], ["server", "messages/s", "spread", "CPU us", "p50 us", "p99 us",
                                   "ratio", "CPU ratio", "95 %", "verdict"])

    def row(server, result, ratio, cpu_ratio, interval, verdict):
        table.add(server, number(result["rate"]), f"{result['spread']:.0%}",
                  number(result["server_cpu_us"], 2), number(result["p50_us"]),
                  number(result["p99_us"]), ratio, cpu_ratio, interval, verdict)

    def failed(subject):
        if subject["failure"]:
            table.footnote(f"failed: {subject['server']}: {subject['failure']}")

    baseline = group["baseline"]
    if baseline["runs"]:
        row(baseline["server"], stats.medians(baseline["runs"]), "1", "1", "", "baseline")
    for subject in group["subjects"]:
        result = subject["result"]
        if result is None:
            continue
        ratio, cpu = result["ratio"], result["cpu_ratio"]
        judged = ratio if result["judged_by"] == "rate" else cpu
        known = judged["pairs"] > 1 and judged["high"] < 10
        interval = f"{judged['low']:.3f}-{judged['high']:.3f}" if known else "-"
        verdict = table.footnote(result["refusal"]) if result["refusal"] else result["verdict"]
        row(subject["server"], result, f"{ratio['mean']:.3f}", f"{cpu['mean']:.3f}", interval,
            verdict)
    for subject in (baseline, *group["subjects"]):
        failed(subject)
    return table


def tables(run):
    """Maps names to tables, for all results in the JSON of a bench."""
    found = {}
    if run["counted"]:
        found["counted"] = counted_table(run["counted"])
    if run["scripted"]:
        found["scripted"] = scripted_table(run["scripted"])
    found |= {each["name"]: program_table(each) for each in run["programs"]}
    return found | {group["name"]: timed_table(group) for group in run["timed"]}


def timed_json(timing, core_count):
    group = timing.group
    return {"name": group.name, "title": group.title, "at_least": group.at_least,
            "baseline": {"server": group.baseline.server, "load": group.baseline.load._asdict(),
                         "runs": timing.baseline, "failure": timing.failures.get(None)},
            "subjects": [{"server": subject.server, "load": subject.load._asdict(),
                          "result": timing.result(subject, core_count),
                          "pairs": [{"baseline": mine, "subject": theirs}
                                    for mine, theirs in timing.pairs[subject]],
                          "failure": timing.failures.get(subject)}
                         for subject in group.subjects]}
