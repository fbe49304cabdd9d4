#!/usr/bin/env python3
"""What bench/harness computes: statistics, refusals, what the tools print, whose turn it is."""

import math
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench/harness"))

import counts  # noqa: E402
import page  # noqa: E402
import process  # noqa: E402
import programs  # noqa: E402
import report  # noqa: E402
import scenarios  # noqa: E402
import servers  # noqa: E402
import stats  # noqa: E402
import timed  # noqa: E402


class Statistics(unittest.TestCase):
    def test_students_t(self):
        known = {1: 12.706, 2: 4.303, 9: 2.262, 30: 2.042, 40: 2.021, 60: 2.000, 120: 1.980}
        for degrees, t in known.items():
            self.assertAlmostEqual(stats.t_95(degrees), t, delta=0.001)

    def test_quantiles(self):
        self.assertEqual(stats.median([3, 1, 2]), 2)
        self.assertEqual(stats.median([4, 1, 3, 2]), 2.5)
        self.assertEqual(stats.quantile([10, 20, 30, 40, 50], 0.25), 20)
        self.assertEqual(stats.quartile_spread([10, 20, 30, 40, 50]), 20 / 30)
        self.assertEqual(stats.quantile([7], 0.75), 7)

    def test_the_interval_of_paired_ratios(self):
        # Logarithms -0.1, 0, 0.1: mean 0, deviation 0.1, t of 2 degrees 4.303.
        ratio = stats.paired_ratio([(1, math.exp(log)) for log in (-0.1, 0, 0.1)])
        reach = 4.303 * 0.1 / math.sqrt(3)
        self.assertAlmostEqual(ratio.mean, 1)
        self.assertAlmostEqual(ratio.low, math.exp(-reach))
        self.assertAlmostEqual(ratio.high, math.exp(reach))
        self.assertAlmostEqual(ratio.half_width, math.exp(reach) - 1)

    def test_slow_phases_that_strike_both_of_a_pair_cost_nothing(self):
        ratio = stats.paired_ratio([(100, 90), (70, 63), (130, 117)])
        self.assertAlmostEqual(ratio.mean, 0.9)
        self.assertAlmostEqual(ratio.low, ratio.high)

    def test_one_pair_has_no_interval(self):
        self.assertEqual(stats.paired_ratio([(10, 20)])[1:], (0.0, math.inf, 1))


def pairs(ratio, count=10, wobble=0.001):
    return stats.paired_ratio([(1, ratio * (1 + wobble * (-1)**i)) for i in range(count)])


class Verdicts(unittest.TestCase):
    CALM = [100.0, 101.0, 99.0, 100.0]
    BUSY = stats.Side("busy", 0.97, 0.99, True)

    def refusal(self, ratio=None, rates=None, sides=None, cores=2):
        return stats.refusal(ratio or pairs(1.1), rates or self.CALM, sides or [self.BUSY], cores)

    def test_a_result(self):
        self.assertEqual(self.refusal(), "")
        self.assertEqual(stats.verdict(pairs(1.1)), "faster")
        self.assertEqual(stats.verdict(pairs(0.9)), "slower")
        self.assertEqual(stats.verdict(pairs(1.0)), "no difference")

    def test_processor_time_is_judged_whatever_the_client_had(self):
        side = stats.Side("x", 0.5, 0.99, True)
        self.assertEqual(stats.refusal(pairs(0.9), self.CALM, [side], 2, of_rates=False), "")
        self.assertEqual(stats.verdict(pairs(0.9), words=("cheaper", "dearer")), "cheaper")

    def test_a_claim(self):
        self.assertEqual(stats.verdict(pairs(0.98), 0.97), ">= 0.97: holds")
        self.assertEqual(stats.verdict(pairs(0.90), 0.97), ">= 0.97: fails")
        self.assertEqual(stats.verdict(pairs(0.97), 0.97), ">= 0.97: open")

    def test_refused_on_one_core(self):
        self.assertIn("one core", self.refusal(cores=1))

    def test_refused_when_the_client_was_the_limit(self):
        for side in (stats.Side("x", 0.8, 0.5, True), stats.Side("x", 0.8, 0.96, False)):
            self.assertIn("the client was the limit: x", self.refusal(sides=[side]))

    def test_idle_on_both_sides_is_no_reason(self):  # one connection: both wait for the other
        self.assertEqual(self.refusal(sides=[stats.Side("x", 0.3, 0.3, False)]), "")

    def test_refused_when_others_used_the_cores(self):
        side = stats.Side("x", 0.6, 0.6, False, waited=0.3)
        self.assertIn("others used the cores", self.refusal(sides=[side]))

    def test_refused_with_few_pairs(self):
        self.assertEqual(self.refusal(pairs(1.1, 9)), "9 pairs; a claim takes 10")

    def test_refused_on_a_noisy_machine(self):
        self.assertIn("too noisy", self.refusal(rates=[100, 100, 70, 130, 65]))

    def test_refused_when_the_interval_is_wide(self):
        self.assertIn("wider than ±5%", self.refusal(pairs(1.1, wobble=0.1)))


STRACE = """strace: Process 12 attached
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 51.23    0.021000           2      9999           sendto
 48.77    0.020000           1     10100       100 recvfrom
  0.00    0.000000           0         1           exit_group
------ ----------- ----------- --------- --------- ----------------
100.00    0.041000           2     20100       100 total
"""

CALLGRIND = """# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 1
cmd:  server 7000
part: 1
positions: line
events: Ir
summary: 141

ob=(1) /server
fl=(1) ???
fn=(1) serve
0 10
cob=(2) /libc.so.6
cfn=(2) malloc
calls=3 0
0 60
+0 5
cfn=(3) (anonymous namespace)::ScriptedKernel::recv(int)
calls=2 0
* 6

fn=(3)
0 6

ob=(2)
fn=(2)
0 40
cfn=(4) _int_malloc
calls=3 0
0 20

fn=(4)
0 20
totals: 81
"""


class Tools(unittest.TestCase):
    def test_system_calls(self):
        self.assertEqual(counts.strace_counts(STRACE),
                         {"sendto": 9999, "recvfrom": 10100, "exit_group": 1})

    def test_no_system_calls_are_an_error(self):
        self.assertRaises(ValueError, counts.strace_counts, "strace: exec failed\n")

    def test_instructions_without_those_of_callees(self):
        profile = counts.Profile(CALLGRIND)
        self.assertEqual(profile.instructions["serve"], 15)
        self.assertEqual(profile.total(), 81)
        self.assertEqual(profile.total(without="ScriptedKernel::"), 75)

    def test_allocations(self):
        self.assertEqual(counts.Profile(CALLGRIND).allocations(), 3)

    def test_an_empty_profile_is_an_error(self):
        self.assertRaises(ValueError, counts.Profile, "version: 1\nevents: Ir\n")


def client_report(**changes):
    return {"throughput": 1000.0, "messages": 1000, "elapsed_s": 1.0, "limit": None,
            "latency_us": {"uncorrected": {"p50": 1.0, "p99": 2.0}}, "client": {"cpu_share": 0.5},
            "errors": {"reset": 0, "wrong_byte": 0}, "stopped": None} | changes


class Meter:
    def shares(self, _duration):
        return {"server_share": 0.5, "waited_share": 0.0}


class Runs(unittest.TestCase):
    def test_every_subject_is_next_to_its_partner(self):
        for count in range(1, 8):
            subjects = list(range(count))
            for backwards in (False, True):
                order = timed.in_turns(subjects, backwards)
                self.assertEqual(sorted(who for who, _ in order if who is not None), subjects)
                for place, (who, number) in enumerate(order):
                    if who is not None:
                        self.assertIn((None, number), order[max(place - 1, 0):place + 2])

    def test_processor_time_a_message(self):
        run = timed.figures(client_report(), 0, Meter())
        self.assertEqual(run["server_cpu_us"], 500)

    def test_wrong_bytes_are_a_failure(self):
        broken = client_report(errors={"reset": 2, "wrong_byte": 1}, stopped="a wrong byte")
        with self.assertRaisesRegex(process.Failure, "2 reset, 1 wrong_byte; a wrong byte"):
            timed.figures(broken, 1, Meter())

    def test_only_the_end_of_the_clients_time_is_metered(self):
        meter = timed.Meter(None, None)
        # Busy while connecting, which takes the first half; then a quarter of the core.
        meter.samples = [(t / 20, t / 20 if t < 20 else 1 + (t - 20) / 80, t / 200)
                         for t in range(41)]
        shares = meter.shares(1.0)
        self.assertAlmostEqual(shares["server_share"], 0.25)
        self.assertAlmostEqual(shares["waited_share"], 0.1)

    def test_a_run_without_samples_is_a_failure(self):
        meter = timed.Meter(None, None)
        meter.samples = [(0.0, 0.0, 0.0), (0.05, 0.0, 0.0)]
        self.assertRaises(process.Failure, meter.shares, 1.0)

    def test_disturbed_runs_are_made_again_within_bounds(self):
        spare = timed.Spare(30)
        results = iter([0.3, 0.2, 0.0, 0.3, 0.3])
        waited = [spare.undisturbed(lambda: {"waited_share": next(results)})["waited_share"]
                  for _ in range(2)]
        self.assertEqual((waited, spare.used, spare.left), ([0.0, 0.3], 3, 0))

    def test_a_failure_ends_its_server_and_no_other(self):
        load = scenarios.Load()
        good, bad = scenarios.Subject("good", load), scenarios.Subject("bad", load)
        group = scenarios.Group("g", "t", scenarios.Subject("base", load), (bad, good))

        def run(subject):
            if subject is bad:
                raise process.Failure("ended by itself")
            return timed.figures(client_report(), 0, Meter())

        timing = timed.Timing(group)
        for number in range(10):
            timing.round(run, number % 2 == 1)
        self.assertEqual(timing.failures, {bad: "ended by itself"})
        self.assertIsNone(timing.result(bad, 2))
        self.assertEqual(timing.result(good, 2)["verdict"], "no difference")
        table = report.timed_table(report.timed_json(timing, 2))
        self.assertEqual([row[0] for row in table.rows], ["base", "good"])
        self.assertEqual(table.notes, ["Failed: bad: ended by itself"])


class Plans(unittest.TestCase):
    def test_a_server_is_not_asked_for_more_than_it_can(self):
        found = {group.name: {subject.server for subject in group.subjects}
                 for group in scenarios.groups(False, [], 1_000_000)}
        self.assertIn("raw-blocking", found["c1"])
        self.assertNotIn("raw-blocking", found["c100"])
        self.assertIn("raw-select", found["idle10000"])

    def test_a_small_descriptor_table_leaves_crowds_out(self):
        names = {group.name for group in scenarios.groups(False, [], 2_000)}
        self.assertIn("c1000", names)
        self.assertFalse({"idle10000", "keeps-raw-epoll"} & names)

    def test_coming_and_going_is_judged_by_processor_time(self):
        by = {group.name: group.judged_by for group in scenarios.groups(False, [], 1_000_000)}
        self.assertEqual([name for name in by if by[name] != "rate"], ["churn"])

    def test_chosen_names(self):
        found = scenarios.groups(False, ["c1*", "poller-*"], 1_000_000)
        self.assertEqual([group.name for group in found], ["c1", "c10", "c100", "c1000", "c10000"])
        self.assertEqual({subject.server for group in found for subject in group.subjects},
                         {name for name in scenarios.ALL if name.startswith("poller-")})

    def test_servers_by_hand_with_few_connections(self):
        found = {group.name: [subject.server for subject in group.subjects]
                 for group in scenarios.groups(False, ["one", "c10", "raw-*"], 1_000_000)}
        self.assertEqual(found["one"], ["raw-blocking", "raw-threads", "raw-poll", "raw-select"])
        self.assertEqual(found["c10"], ["raw-threads", "raw-poll", "raw-select", "raw-uring-own"])

    def test_names_are_what_groups_there_are(self):
        self.assertEqual([group.name for group in scenarios.groups(False, ["*"], 1_000_000)],
                         list(scenarios.NAMES))
        self.assertEqual({group.name for group in scenarios.groups(False, [], 1_000_000)},
                         set(scenarios.NAMES) - set(scenarios.ON_DEMAND))
        self.assertLessEqual(servers.QUICK, set(scenarios.ALL))
        self.assertLessEqual(set(scenarios.QUICK_GROUPS), set(scenarios.NAMES))


class Programs(unittest.TestCase):
    def test_processor_time_is_the_childs(self):
        busy = [sys.executable, "-c", "for i in range(1_000_000): pass"]
        self.assertGreater(programs.cpu_seconds([*busy, "x"]), 0.005)
        with self.assertRaisesRegex(process.Failure, "exit code 7: gone wrong"):
            programs.cpu_seconds([sys.executable, "-c", "import sys; "
                                  "print('gone wrong', file=sys.stderr); sys.exit(7)", "x"])

    def test_a_failure_is_kept_for_the_table(self):
        with tempfile.TemporaryDirectory() as build:
            program = Path(build) / "bench/loop"
            program.parent.mkdir()
            program.write_text("#!/bin/sh\necho 'no timers' >&2\nexit 4\n")
            program.chmod(0o755)
            found = programs.run("loop", Path(build), True)
        self.assertEqual(report.program_table(found).notes,
                         ["Failed: loop: exit code 4: no timers"])

    def test_ratios_are_to_the_first_way_of_a_task(self):
        found = [{"task": "a", "name": "ours", "ns": [1, 2, 3]},
                 {"task": "a", "name": "theirs", "ns": [6, 5, 4]},
                 {"task": "b", "name": "ours", "ns": [8]}]
        table = report.program_table({"name": "loop", "results": found})
        self.assertEqual([row[-1] for row in table.rows], ["1.00", "2.50", "1.00"])

    def test_what_is_compiled_is_there(self):
        for _, source in programs.SOURCES:
            self.assertTrue((programs.ROOT / source).is_file(), source)


class Tables(unittest.TestCase):
    def test_notes_and_markdown(self):
        table = report.Table("title", ["server", "value"])
        table.add("a", report.number(1234.5, 1) + table.footnote("same words"))
        table.add("b", report.number(None) + table.footnote("same words"))
        self.assertEqual(table.plain().splitlines(),
                         ["", "title", "server       value", "a       1,234.5[1]",
                          "b             -[1]", "[1] Same words"])
        self.assertIn("| a | 1,234.5[1] |", table.markdown())

    def test_a_column_of_marks_is_left_out_where_there_are_none(self):
        table = report.Table("title", ["server", "value", ""])
        table.add("a", "1", "")
        self.assertEqual(table.markdown_lines(), ["| server | value |", "|---|---:|", "| a | 1 |"])
        table.add("b", "-", table.footnote("why"))
        self.assertEqual(table.markdown_lines()[2:], ["| a | 1 |  |", "| b | - | [1] |", "",
                                                      "- [1] Why"])


class Page(unittest.TestCase):
    """The tables of docs/performance.md are those of the recorded runs."""

    def test_every_table_is_what_its_marker_says(self):
        text = page.PAGE.read_text(encoding="utf-8")
        self.assertGreater(len(page.MARKER.findall(text)), 10)
        self.assertEqual(page.refreshed(text), text,
                         "bench/harness/page.py writes the recorded tables into the page")

    def test_every_recorded_run_is_read_and_linked(self):
        text = page.PAGE.read_text(encoding="utf-8")
        for file in page.RUNS.glob("*.json"):
            self.assertIn(f"performance/{file.name}", text)
        shown = {name for _, name in page.MARKER.findall(text)}
        self.assertEqual(set(page.recorded()) - shown, set())

    def test_a_table_is_replaced_with_its_notes(self):
        tables = {"one": ["| a |", "|---|", "| 1 |", "", "- [1] Why"]}
        old = ("words\n\n<!-- bench: one -->\n| a |\n|---|\n| 2 |\n| 3 |\n\n- [1] Old\n- [2] Old\n"
               "\nmore\n")
        new = "words\n\n<!-- bench: one -->\n| a |\n|---|\n| 1 |\n\n- [1] Why\n\nmore\n"
        self.assertEqual(page.refreshed(old, tables), new)
        self.assertEqual(page.refreshed(new, tables), new)
        with self.assertRaises(KeyError):
            page.refreshed("<!-- bench: other -->\n| a |\n", tables)


if __name__ == "__main__":
    unittest.main()
