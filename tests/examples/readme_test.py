"""Code in the documentation is code that is compiled and run.

A fenced block with `<!-- include: FILE -->` before it must equal that file, one with
`<!-- include: FILE#REGION -->` the lines between `// [REGION]` and `// [/REGION]` in it, less their
common indentation. Every C++ block of README.md has such a marker.
"""

import pathlib
import re
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
    found = re.findall(rf"^ *(?://|#) \[{re.escape(region)}\]\n(.*?)^ *(?://|#) "
                       rf"\[/{re.escape(region)}\]$", text, re.M | re.S)
    if len(found) != 1:
        raise ValueError(f"{name} has {len(found)} regions called {region}")
    return textwrap.dedent(found[0])


def differences(root, page, needs_marker):
    """What is wrong with the code blocks of a page, as sentences."""
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
    if needs_marker:
        for block in blocks:
            if block["language"] == "cpp" and not block["target"]:
                yield f"a C++ block without a marker: {block['code'][:40]!r}"


def pages():
    yield ROOT / "README.md"
    yield ROOT / "CONTRIBUTING.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))


class Pages(unittest.TestCase):
    def test_every_block_is_what_its_marker_says(self):
        for path in pages():
            with self.subTest(page=path.name):
                text = path.read_text(encoding="utf-8")
                self.assertEqual(list(differences(ROOT, text, path.name == "README.md")), [])

    def test_the_readme_has_its_program(self):
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        self.assertIn("<!-- include: examples/readme.cpp -->", text)


class TheCheckItself(unittest.TestCase):
    """Each way to be wrong is found."""

    FILE = "examples/02_edge.cpp"

    def found(self, page):
        return list(differences(ROOT, page, True))

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

    def test_no_such_file_or_region(self):
        self.assertIn("is not there", self.found(self.page("examples/none.cpp", "x\n"))[0])
        self.assertIn("0 regions", self.found(self.page(self.FILE + "#none", "x\n"))[0])

    def test_marker_without_block(self):
        self.assertEqual(len(self.found(f"<!-- include: {self.FILE} -->\n\nwords\n")), 1)

    def test_block_without_marker(self):
        self.assertEqual(len(self.found("```cpp\nint x;\n```\n")), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
