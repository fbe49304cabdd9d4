"""What a page of the guide and its translation must have in common, for guide_test.py.

Words differ; what does not is how a page is made up, the numbers in its sentences, and where its
links lead to: a page to the same page of its own language, a heading to the same one in the order
of headings.
"""

import collections
import pathlib
import re
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide"
FOLDER = "zh"  # of the translations: beside the pages, and beside the pictures

sys.path.insert(0, str(ROOT / "tests" / "tidy"))
import tidy  # noqa: E402

FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def counterpart(path):
    """The same page or picture in the other language; what has none is for both."""
    for folder in (GUIDE, GUIDE / "pictures"):
        if path.parent == folder and path.suffix in (".md", ".svg"):
            return folder / FOLDER / path.name
        if path.parent == folder / FOLDER:
            return folder / path.name
    return path


def shape(page):
    """What the page is made of, in order; paragraphs and quotes are one each, however long."""
    found = [""]
    for line in re.sub(r"^```(\w*)\n.*?^```$", r"```\1", page, flags=re.M | re.S).splitlines():
        if line.startswith(("<!--", "```")):
            found.append(line)
        elif heading := re.match(r"#+ ", line):
            found.append(heading[0] + "heading")
        elif line.startswith("|"):
            found.append(f"row of {line.count('|') - 1}")
        elif line.startswith("!["):
            found.append("picture")
        elif line.startswith("- "):
            found.append("item")
        elif line.startswith(">"):
            if found[-1] != "quote":
                found.append("quote")
        elif not line:
            found.append("")
        elif found[-1] not in ("text", "item"):
            found.append("text")
    return [part for part in found if part]


def numbers(page):
    """How often each number is in the sentences, tables and captions, as it is written."""
    prose = LINK.sub("]", re.sub(r"^<!--.*$", "", FENCED.sub("", page), flags=re.M))
    return collections.Counter(re.findall(r"\d+(?:[.,]\d+)*", prose))


def anchors(page):
    return [tidy.slug(heading) for heading in
            re.findall(r"^#+[ \t]+(.*?)$", FENCED.sub("", page), re.M)]


def links(path, page):
    """Where the links of a page at `path` lead to; for a heading of the guide, which one it is."""
    found = []
    for target in LINK.findall(FENCED.sub("", page)):
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if anchor and file.is_relative_to(GUIDE):
            there = anchors(page if file == path else file.read_text(encoding="utf-8"))
            anchor = f"heading {there.index(anchor)}" if anchor in there else anchor
        found.append((file, anchor))
    return found


class Common(NamedTuple):
    shape: list
    numbers: dict
    links: list


def of_original(path, page):
    return Common(shape(page), numbers(page), sorted((counterpart(file), anchor)
                                                     for file, anchor in links(path, page)))


def of_translation(path, page):
    return Common(shape(page), numbers(page), sorted(links(path, page)))
