"""Times: each subject's runs alternate with its baseline's, and their ratio is taken pair by pair.

A round of a group is A B C A D E A F G ...: every subject runs right before or after a run of the
baseline A, its partner; every other round is in reverse order. So slow phases of the machine, which
are longer than a run, affect both of a pair. Each run starts a new server: otherwise the random
properties of a process (addresses, its place in the kernel's tables) would be part of the result
and of no interval."""

import json
import time
from typing import NamedTuple

import stats
from process import PORTS, Failure, NotObtained, Process, await_echo, cores, describe

SAMPLE_S = 0.05
START_S = 60  # for a client to connect and warm up


class Pace(NamedTuple):
    pairs: int
    warmup_s: float
    duration_s: float


QUICK = Pace(pairs=3, warmup_s=0.2, duration_s=0.9)
FULL = Pace(pairs=stats.PAIRS_FOR_A_CLAIM, warmup_s=0.15, duration_s=0.7)


def in_turns(subjects, backwards):
    """The order of a round: (subject, its partner's number) and (None, number) for the baseline's
    runs."""
    order, number = [], 0
    for start in range(0, len(subjects), 2):
        order.append((None, number))
        for subject in subjects[start:start + 2]:
            # The second of two is next to the following run of the baseline.
            follows = number + (subject is not subjects[start])
            order.append((subject, follows))
        number += 1
    if len(subjects) % 2 == 0:
        order.append((None, number))
    return order[::-1] if backwards else order


def runs_of(group, pace):
    return pace.pairs * len(in_turns(group.subjects, False))


class Meter:
    """The share of its core that a server used, and the share of the time that server and client
    waited for theirs, while the client measured: in the last part of the client's run."""

    def __init__(self, server, client):
        self.server, self.client = server, client
        self.samples = []

    def watch(self, seconds):
        deadline = time.monotonic() + seconds
        while self.client.child.poll() is None:
            if time.monotonic() > deadline:
                raise Failure(f"the client is not done after {seconds:.0f} s")
            self.server.expect_alive()
            self.samples.append((time.monotonic(), self.server.cpu_ns() / 1e9,
                                 max(self.server.waited_ns(), self.client.waited_ns()) / 1e9))
            time.sleep(SAMPLE_S)

    def shares(self, duration):
        """The shares of the server's core used, and of the time waited."""
        end = self.samples[-1][0]
        inside = [sample for sample in self.samples
                  if end - duration + SAMPLE_S <= sample[0] <= end - 2 * SAMPLE_S]
        if len(inside) < 2:
            raise Failure("the client's run was too short to measure the server's CPU time")
        seconds, used, waited = (after - before for before, after in zip(inside[0], inside[-1]))
        return {"server_share": used / seconds, "waited_share": waited / seconds}


def run_once(build, server, load, pace):
    """The figures of one run."""
    server_core, client_core = (cores() * 2)[:2]
    port = PORTS.take()
    with Process(server.words(build, port), server_core) as process:
        await_echo(process, port)
        words = [build / "duolu", "load", f"tcp://127.0.0.1:{port}", *load.words(),
                 "--duration", f"{pace.duration_s}s", "--warmup", f"{pace.warmup_s}s", "--json"]
        with Process([str(word) for word in words], client_core) as client:
            meter = Meter(process, client)
            meter.watch(START_S + pace.warmup_s + pace.duration_s)
            status = client.wait(1)
            report, complaint = client.said(), client.complaint()
        process.stop()
    if status not in (0, 1) or not report.strip():
        raise Failure(f"duolu load: {describe(status)}: {complaint}")
    return figures(json.loads(report), status, meter)


def figures(report, status, meter):
    """The figures from the client's report; raises a Failure if there are errors in it."""
    wrong = [f"{count} {kind}" for kind, count in report["errors"].items() if count]
    if wrong or status != 0:
        raise Failure("; ".join(filter(None, [", ".join(wrong), report.get("stopped")]))
                      or "the client failed without a word")
    shares = meter.shares(report["elapsed_s"])
    latency = report["latency_us"]["uncorrected"]
    return {"rate": report["throughput"], "p50_us": latency["p50"], "p99_us": latency["p99"],
            "messages": report["messages"], "elapsed_s": report["elapsed_s"],
            **shares, "server_cpu_us": shares["server_share"] * 1e6 / report["throughput"],
            "client_share": report["client"]["cpu_share"], "limit": report["limit"],
            "limit_reason": report.get("limit_reason", "")}


class Spare:
    """Runs that may be repeated because other processes used the cores, which says nothing about
    the server: one in ten of all, so that a busy machine ends in time, with its refusals."""

    def __init__(self, runs):
        self.left = max(1, runs // 10)
        self.used = 0

    def undisturbed(self, run):
        result = run()
        while result["waited_share"] > stats.WAITED and self.left > 0:
            self.left -= 1
            self.used += 1
            result = run()
        return result


class Timing:
    """The runs of one group so far."""

    def __init__(self, group):
        self.group = group
        self.baseline = []
        self.pairs = {subject: [] for subject in group.subjects}  # of runs
        self.failures = {}  # message by subject; None is the baseline

    def round(self, run, backwards):
        """Runs everything once that has not failed, with `run(subject)`, and adds the new pairs."""
        alive = [subject for subject in self.group.subjects if subject not in self.failures]
        mine, theirs = {}, {}
        for subject, number in in_turns(alive, backwards):
            try:
                if subject is None:
                    mine[number] = run(self.group.baseline)
                    self.baseline.append(mine[number])
                else:
                    theirs[subject] = number, run(subject)
            except (Failure, NotObtained, OSError, ValueError, KeyError) as why:
                self.failures[subject] = str(why) or repr(why)
                if subject is None:
                    return
        for subject, (number, result) in theirs.items():
            self.pairs[subject].append((mine[number], result))

    def result(self, subject, core_count):
        """The result for a subject; None before its first pair."""
        pairs = self.pairs[subject]
        if not pairs:
            return None
        runs = [theirs for _, theirs in pairs]
        partners = [mine for mine, _ in pairs]
        ratios = {field: stats.paired_ratio([(a[field], b[field]) for a, b in pairs])
                  for field in ("rate", "server_cpu_us")}
        judged_by = self.group.judged_by
        judged, by_rate = ratios[judged_by], judged_by == "rate"
        refusal = stats.refusal(judged, [run[judged_by] for run in self.baseline],
                                [side(self.group.baseline.server, partners),
                                 side(subject.server, runs)], core_count, of_rates=by_rate)
        words = ("slower", "faster") if by_rate else ("cheaper", "dearer")
        return {"server": subject.server, "load": subject.load._asdict()} | stats.medians(runs) | {
            "ratio": ratios["rate"]._asdict(), "cpu_ratio": ratios["server_cpu_us"]._asdict(),
            "judged_by": judged_by, "refusal": refusal,
            "verdict": "" if refusal else stats.verdict(judged, self.group.at_least, words)}


def side(name, runs):
    return stats.Side(name, middle(runs, "server_share"), middle(runs, "client_share"),
                      2 * sum(run["limit"] == "client" for run in runs) > len(runs),
                      middle(runs, "waited_share"))


def middle(runs, field):
    return stats.median([run[field] for run in runs])
