"""Holds the guide, docs/guide, to what really happens: guide_test.py PROGRAMS CASE.

What stands in its pages is included from files (readme_test), and here those files are made anew:
transcripts and system calls by playing every scene of record.py with the programs in PROGRAMS,
figures from the recorded runs of the bench, pictures by their script. The Chinese pages, in
docs/guide/zh, are held to the English ones (translated.py).
"""

import pathlib
import platform
import re
import sys
import unittest
import xml.etree.ElementTree
from typing import NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import figures  # noqa: E402
import record  # noqa: E402
import translated  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide"
sys.path.insert(0, str(GUIDE / "pictures"))
import draw  # noqa: E402

PICTURES = [one() for one in draw.PICTURES]
ORDER = ("blocking", "threads", "non-blocking", "select", "poll", "epoll", "level-and-edge",
         "the-loop", "coroutines", "long-handlers", "channels", "what-to-choose", "myths")


class Edition(NamedTuple):
    folder: pathlib.Path
    pictures: str  # as its pages link to them
    next: str

    def text(self, name):
        return (self.folder / f"{name}.md").read_text(encoding="utf-8")

    def pages(self):
        return "".join(file.read_text(encoding="utf-8") for file in self.folder.glob("*.md"))


EDITIONS = (Edition(GUIDE, "pictures/", "Next: "),
            Edition(GUIDE / "zh", "../pictures/zh/", "下一页："))


def recorded(name):
    return (record.TRANSCRIPTS / name).read_text(encoding="utf-8")


def has_epoll():
    return record.tutorial.has_backend("epoll")


class Guide(unittest.TestCase):
    maxDiff = None

    def same(self, name, played):
        self.assertEqual(record.normalised(played), record.normalised(recorded(name)),
                         f"docs/guide/transcripts/{name} is not what happens; record.py writes it")


class Transcripts(Guide):
    def test_every_scene(self):
        for name in record.SCENES:
            with self.subTest(scene=name):
                if "epoll" in recorded(f"{name}.txt") and not has_epoll():
                    self.skipTest("a build without epoll")
                self.same(f"{name}.txt", record.transcript(name))

    def test_where_the_limit_of_select_is_written(self):
        if not list(pathlib.Path("/usr/include").glob("x86_64-*/bits/typesizes.h")):
            self.skipTest("no bits/typesizes.h of glibc here, or another machine")
        self.same("fd-setsize.txt", record.fd_setsize())


class SystemCalls(Guide):
    def setUp(self):
        if not has_epoll():
            self.skipTest("a build without epoll")

    def test_every_scene(self):
        for name in record.SCENES:
            with self.subTest(scene=name):
                file = record.TRANSCRIPTS / f"{name}.strace.txt"
                calls = record.system_calls(name)
                self.assertEqual(calls is not None, file.exists())
                if calls is None:
                    continue
                expected = recorded(file.name)
                if "epoll_pwait2" in expected and "epoll_pwait2" not in calls:
                    self.skipTest("epoll_pwait2 is not there, or not allowed")
                self.same(file.name, calls)

    def test_calls_for_each_message(self):
        self.same("counts.txt", record.counts())

    def test_nobody_shares_memory_with_epoll(self):
        self.same("epoll-mmap.txt", record.epoll_mmap())


class Pages(unittest.TestCase):
    maxDiff = None

    def test_figures_are_those_of_the_recorded_runs(self):
        for name, text in figures.tables(figures.Recorded(figures.page.runs())).items():
            self.assertEqual((figures.FIGURES / name).read_text(encoding="utf-8"), text, name)

    def test_commands_of_the_bench_name_what_there_is(self):
        sys.path.insert(0, str(ROOT / "bench" / "harness"))
        import counted  # pylint: disable=import-outside-toplevel
        import programs  # pylint: disable=import-outside-toplevel
        import scenarios  # pylint: disable=import-outside-toplevel
        names = (*scenarios.ALL, *scenarios.NAMES, *counted.MEASURES, *programs.PROGRAMS)
        text = "".join(file.read_text(encoding="utf-8") for file in
                       (*figures.FIGURES.glob("*.txt"), *GUIDE.rglob("*.md")))
        commands = re.findall(r"run bench .*?--only (\S+?)[`\s]", text)
        self.assertGreater(len(commands), 5)
        for pattern in (word for command in commands for word in command.split(",")):
            self.assertTrue(scenarios.matching(names, [pattern]), pattern)

    def test_pictures_are_those_of_their_script(self):
        for language in draw.LANGUAGES:
            drawn = {f"{picture.name}.svg": picture.svg(language) for picture in PICTURES}
            there = {file.name for file in language.folder.glob("*.svg")}
            self.assertEqual(set(drawn), there)
            for name, svg in drawn.items():
                self.assertEqual((language.folder / name).read_text(encoding="utf-8"), svg, name)
                xml.etree.ElementTree.fromstring(svg)
                self.assertIn("prefers-color-scheme: dark", svg)

    def test_labels_in_chinese_are_used_and_keep_their_numbers(self):
        self.assertEqual(set(draw.TO_CHINESE), set().union(*(one.labels() for one in PICTURES)))
        for english, chinese in draw.TO_CHINESE.items():
            self.assertEqual(translated.numbers(english), translated.numbers(chinese))

    def test_the_pages_are_all_there_and_in_order(self):
        for edition in EDITIONS:
            self.assertEqual({file.stem for file in edition.folder.glob("*.md")},
                             {*ORDER, "README"})
            listed = re.findall(r"\]\(([a-z-]+)\.md\)", edition.text("README"))
            self.assertEqual([page for page in listed if page in ORDER][:len(ORDER)], list(ORDER))
            for before, after in zip(ORDER, ORDER[1:]):
                last = edition.text(before).rstrip().splitlines()[-1]
                self.assertTrue(last.startswith(edition.next) and f"({after}.md)" in last, last)

    def test_each_page_has_a_picture_and_what_was_run(self):
        for edition in EDITIONS:
            for page in ORDER[:-1]:
                self.assertRegex(edition.text(page),
                                 rf"!\[[^\]]+\]\({re.escape(edition.pictures)}[a-z-]+\.svg\)", page)
            for page in ORDER[:-2]:
                for folder in ("transcripts/", "examples/tutorial/"):
                    self.assertRegex(edition.text(page), f"<!-- include: .*{folder}", page)

    def test_nothing_is_left_unread(self):
        for edition in EDITIONS:
            pages = edition.pages()
            for folder in ("transcripts", "figures"):
                for file in (GUIDE / folder).glob("*.txt"):
                    self.assertIn(f"<!-- include: docs/guide/{folder}/{file.name} -->", pages)
            for file in (edition.folder / edition.pictures).glob("*.svg"):
                self.assertIn(f"]({edition.pictures}{file.name})", pages)

    def test_each_language_leads_to_the_other(self):
        for edition, other in zip(EDITIONS, ("zh/README.md", "../README.md")):
            self.assertIn(f"]({other})", edition.text("README"))

    def test_chinese_pages_follow_the_english_ones(self):
        for page in ("README", *ORDER):
            path = GUIDE / f"{page}.md"
            other = translated.counterpart(path)
            english = translated.of_original(path, path.read_text(encoding="utf-8"))
            chinese = translated.of_translation(other, other.read_text(encoding="utf-8"))
            for what, here, there in zip(english._fields, english, chinese):
                with self.subTest(page=page, what=what):
                    self.assertEqual(here, there)


class TheCheckItself(unittest.TestCase):
    """Noise is taken out, and nothing else."""

    def test_ports_keep_their_order(self):
        one = "localhost port 5000\n('127.0.0.1', 40001) ('127.0.0.1', 40002) htons(40001)"
        self.assertEqual(record.normalised(one),
                         record.normalised(one.replace("4000", "3999").replace("5000", "123")))
        self.assertNotEqual(record.normalised(one),
                            record.normalised(one.replace("htons(40001)", "htons(40002)")))

    def test_counts_and_times_have_no_value(self):
        for one, other in (("7 system calls, 6 of them in vain, 5 ms",
                            "70 system calls, 60 of them in vain, 50 ms"),
                           ("after 0.1 ms", "after 200.3 ms"),
                           ("held the loop for 200 ms", "held the loop for 213 ms"),
                           ("found 30 primes", "found 12345 primes"),
                           ("4,001 bytes, 750 times", "4,001 bytes, 1,200 times"),
                           ("{tv_sec=0, tv_nsec=499999892}", "{tv_sec=0, tv_nsec=499999748}"),
                           ("recvfrom(4, 0x7ffe5856c6a0)   = 1",
                            "recvfrom(4, 0x7fff00000000) = 1")):
            self.assertEqual(record.normalised(one), record.normalised(other))

    def test_all_else_counts(self):
        for one, other in (("recvfrom(4) = 6", "recvfrom(4) = 7"), ("ann", "ben"),
                           ("1 clients", "2 clients"), ("a\nb\n", "a\n"),
                           ("found 1 primes", "found 0 primes"),
                           ("{tv_sec=0, tv_nsec=0}", "{tv_sec=0, tv_nsec=1}")):
            self.assertNotEqual(record.normalised(one), record.normalised(other))

    ENGLISH = """# One

Twice 1,024 is 2,048,
see [limits](select.md#its-limits).

![a picture](pictures/poll.svg)

<!-- include: a.txt -->
```text
17
```

| a | b |
|---|---|
| 1 | [c](../journey.md) |

- an item
  of two lines
- another

> a quote
> of 3 lines
"""
    CHINESE = """# 一

两个 1,024 是 2,048，见[局限](select.md#局限)。

![一张图](../pictures/zh/poll.svg)

<!-- include: a.txt -->
```text
17
```

| 一 | 二 |
|---|---|
| 1 | [三](../../journey.md) |

- 一项
- 又一项

> 3 行引文
"""

    def common(self, chinese):
        return (translated.of_original(GUIDE / "poll.md", self.ENGLISH),
                translated.of_translation(GUIDE / "zh" / "poll.md", chinese))

    def test_a_translation_is_the_same_in_other_words(self):
        self.assertEqual(*self.common(self.CHINESE))

    def test_a_translation_that_differs(self):
        for what, here, there in (
                ("shape", "# 一", "## 一"), ("shape", "- 又一项\n", ""), ("shape", "| 二 |", "|"),
                ("shape", "| 一 | 二 |\n", ""), ("shape", "a.txt", "b.txt"),
                ("shape", "```text", "```cpp"), ("shape", "> 3", "3"), ("shape", "。\n", "。\n\n多"),
                ("shape", "\n![一张图](../pictures/zh/poll.svg)\n", ""),
                ("numbers", "1,024", "1,025"), ("numbers", "1,024", "1024"),
                ("numbers", "2,048", "两千"), ("numbers", "3 行", "三行"), ("numbers", "又一", "又 1"),
                ("links", "#局限", "#开销"), ("links", "#局限", ""), ("links", "#局限", "#its-limits"),
                ("links", "select.md#局限", "../select.md#its-limits"),
                ("links", "](../pictures/zh/poll", "](../pictures/poll"),
                ("links", "zh/poll.svg", "zh/select.svg"), ("links", "journey", "tool"),
                ("links", "[三](../../journey.md)", "三")):
            with self.subTest(what=what, there=there):
                self.assertEqual(self.CHINESE.count(here), 1)
                english, chinese = self.common(self.CHINESE.replace(here, there))
                self.assertNotEqual(getattr(english, what), getattr(chinese, what))

    def test_a_label_without_a_translation_cannot_be_drawn(self):
        picture = draw.Picture("one", "the loop", 100).text(0, 0, "in no table")
        self.assertIn("in no table", picture.svg(draw.ENGLISH))
        with self.assertRaises(KeyError):
            picture.svg(draw.CHINESE)


def main():
    record.tutorial.PROGRAMS = pathlib.Path(sys.argv.pop(1)).resolve()
    if "SystemCalls" in sys.argv:
        reason = record.why_no_strace()
        if reason is None and platform.machine() != "x86_64":
            reason = "recorded on x86-64, where some system calls have other names"
        if reason is not None:
            print(f"SKIP: {reason}")
            return 77
    return 0 if unittest.main(verbosity=2, exit=False).result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
