"""Code in the documentation is code that is compiled and run.

A fenced block with `<!-- include: FILE -->` before it must equal that file, one with
`<!-- include: FILE#REGION -->` the lines between `// [REGION]` and `// [/REGION]` in it, less their
common indentation; the region `clauses` of a header are the numbered promises at its top. Every C++
block of README.md has such a marker, and in docs/guide every block, whatever is in it.
`readme_test.py --write` writes what the markers say into the pages.
"""

import pathlib
import re
import sys
import textwrap
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?:^<!-- include: (?P<target>\S.*?) -->\n\n?)?^```(?P<language>\w*)\n"
                   r"(?P<code>.*?)^```$", re.M | re.S)
MARKER = re.compile(r"^<!-- include:", re.M)


def included(root, target):
    """The text that a marker names; ValueError says why there is none."""
    name, _, region = target.partition("#")
    file = root / name
    if not file.is_file():
        raise ValueError(f"{name} is not there")
    text = file.read_text(encoding="utf-8")
    if not region:
        return text
    if region == "clauses":
        return "".join(clauses(text).values())
    found = re.findall(rf"^ *(?://|#) \[{re.escape(region)}\]\n(.*?)^ *(?://|#) "
                       rf"\[/{re.escape(region)}\]$", text, re.M | re.S)
    if len(found) != 1:
        raise ValueError(f"{name} has {len(found)} regions called {region}")
    return textwrap.dedent(found[0])


def clauses(header):
    """The clauses at the top of a header: number to text, of one line or several."""
    found, last = {}, None
    for line in header.splitlines():
        if begin := re.match(r"//   ([A-Z]{2}\d+) ", line):
            last = begin[1]
            found[last] = ""
        elif not line.startswith("//   "):
            last = None
        if last:
            found[last] += line[len("//   "):] + "\n"
    return found


def differences(root, page, languages=None):
    """What is wrong with the code blocks of a page, as sentences. Blocks in `languages`, a pattern,
    need a marker."""
    blocks = list(BLOCK.finditer(page))
    used = [block for block in blocks if block["target"]]
    if len(used) != len(MARKER.findall(page)):
        yield "a marker has no code block after it"
    for block in used:
        try:
            if block["code"] != included(root, block["target"]):
                yield f"{block['target']}: the block differs from the file"
        except ValueError as problem:
            yield f"{block['target']}: {problem}"
    for block in blocks:
        if languages and re.fullmatch(languages, block["language"]) and not block["target"]:
            yield f"a block without a marker: {block['code'][:40]!r}"
    if languages == ANY:
        outside = BLOCK.sub("", page)
        for line in outside.splitlines():
            if re.match(r" {4}|\t|\s*(```|~~~)|.*<(pre|code)", line):
                yield f"code that is no block with a marker: {line[:40]!r}"


def refreshed(root, page):
    """The page, with every block that has a marker as its file is now."""
    def block(match):
        if not match["target"]:
            return match[0]
        before = match.string[match.start():match.start("code")]
        return f"{before}{included(root, match['target'])}```"

    return BLOCK.sub(block, page)


ANY = r".*"


def languages_of(path):
    """Which blocks of a page need a marker."""
    if path.is_relative_to(ROOT / "docs" / "guide"):
        return ANY
    return "cpp" if path.name == "README.md" and path.parent == ROOT else None


def pages():
    yield ROOT / "README.md"
    yield ROOT / "CONTRIBUTING.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))


class Pages(unittest.TestCase):
    def test_every_block_is_what_its_marker_says(self):
        for path in pages():
            with self.subTest(page=path.name):
                text = path.read_text(encoding="utf-8")
                self.assertEqual(list(differences(ROOT, text, languages_of(path))), [])

    def test_the_readme_has_its_program(self):
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        self.assertIn("<!-- include: examples/readme.cpp -->", text)


class Clauses(unittest.TestCase):
    """What is promised above the Poller is in contracts.md, and a test has its number. (That of the
    Poller is held by conformance_table.)"""

    def setUp(self):
        self.headers = {path.relative_to(ROOT).as_posix(): found
                        for path in sorted((ROOT / "include").rglob("*.hpp"))
                        if (found := clauses(path.read_text(encoding="utf-8")))}
        self.assertGreater(len(self.headers), 10)

    def test_each_header_is_in_the_contracts(self):
        page = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
        for header in self.headers:
            self.assertIn(f"<!-- include: {header}#clauses -->", page)

    def test_numbers_are_given_once_and_in_order(self):
        numbers = [number for found in self.headers.values() for number in found]
        self.assertEqual(len(numbers), len(set(numbers)))
        for found in self.headers.values():
            self.assertEqual([int(number[2:]) for number in found], [*range(1, len(found) + 1)])

    def test_each_clause_has_a_test(self):
        tests = "".join(path.read_text(encoding="utf-8")
                        for path in (ROOT / "tests").rglob("*_test.cpp"))
        names = re.findall(r"^TEST(?:_P|_F)?\(\s*\w+,\s*(\w+)", tests, re.M)
        cited = {number for name in names for number in re.findall(r"[A-Z]{2}\d+(?=_)", name)}
        for found in self.headers.values():
            self.assertEqual(set(found) - cited, set())


class TheCheckItself(unittest.TestCase):
    """Each way to be wrong is found."""

    FILE = "examples/02_edge.cpp"

    def found(self, page, languages="cpp"):
        return list(differences(ROOT, page, languages))

    def page(self, target, code):
        return f"text\n\n<!-- include: {target} -->\n```cpp\n{code}```\n"

    def test_equal(self):
        whole = (ROOT / self.FILE).read_text(encoding="utf-8")
        self.assertEqual(self.found(self.page(self.FILE, whole)), [])
        self.assertEqual(self.found(self.page(self.FILE + "#drain",
                                              included(ROOT, self.FILE + "#drain"))), [])

    def test_one_character_differs(self):
        whole = (ROOT / self.FILE).read_text(encoding="utf-8")
        self.assertEqual(len(self.found(self.page(self.FILE, whole.replace("24", "25", 1)))), 1)
        self.assertEqual(len(self.found(self.page(self.FILE, whole + "\n"))), 1)

    def test_refreshing_makes_it_equal_and_changes_nothing_else(self):
        for target in (self.FILE, self.FILE + "#drain"):
            old = self.page(target, "int x;\n") + "\nwords\n```sh\nls\n```\n"
            new = refreshed(ROOT, old)
            self.assertEqual(self.found(new), [])
            self.assertEqual(new.replace(included(ROOT, target), "int x;\n"), old)

    def test_clauses_of_a_header(self):
        self.assertEqual(clauses("// AB1 no\n//   AB1  One,\n//        of two lines.\n"
                                 "//   AB2  Two.\n//\n//   other\n//   AB3  Three.\n"),
                         {"AB1": "AB1  One,\n     of two lines.\n", "AB2": "AB2  Two.\n",
                          "AB3": "AB3  Three.\n"})

    def test_no_such_file_or_region(self):
        self.assertIn("is not there", self.found(self.page("examples/none.cpp", "x\n"))[0])
        self.assertIn("0 regions", self.found(self.page(self.FILE + "#none", "x\n"))[0])

    def test_marker_without_block(self):
        self.assertEqual(len(self.found(f"<!-- include: {self.FILE} -->\n\nwords\n")), 1)

    def test_block_without_marker(self):
        self.assertEqual(len(self.found("```cpp\nint x;\n```\n")), 1)
        self.assertEqual(self.found("```sh\nls\n```\n"), [])

    def test_in_the_guide_no_block_without_marker(self):
        self.assertEqual(self.found("words, and `code`\n- words\n  words\n", ANY), [])
        for page in ("```cpp\nint x;\n```\n", "```sh\nls\n```\n", "```\nls\n```\n",
                     "words\n\n    int x;\n", "~~~\nint x;\n~~~\n", "- words\n  ```\n  x\n  ```\n",
                     "<pre>int x;</pre>\n"):
            with self.subTest(page=page):
                self.assertTrue(self.found(page, ANY))

    def test_pages_of_the_guide_are_held_to_that(self):
        guide = [path for path in pages() if path.is_relative_to(ROOT / "docs" / "guide")]
        self.assertTrue(guide)
        for path in guide:
            self.assertEqual(languages_of(path), ANY)


def write():
    for path in pages():
        text = path.read_text(encoding="utf-8")
        if (new := refreshed(ROOT, text)) != text:
            path.write_text(new, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        unittest.main(verbosity=2)
