#!/usr/bin/env python3
"""The rules of this source tree that no compiler checks.

  tidy.py --root DIR [--cxx CXX] [--cc CC] [--compile-commands FILE] [--define MACRO]...

Prints `file:line: rule: what: use instead` for every finding and exits with 1 if there is one.
Where a rule must be broken, the line (or the one above it) says why:
  // tidy: allow(RULE) REASON
An allowance without a reason, or that allows nothing, is a finding itself. `--list` names the
rules; each has a failing sample under samples/RULE/ (samples_test.py).
"""

import argparse
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

# --- what the rules are about

CXX_FOLDERS = ("include", "src", "apps", "examples", "tests", "bench")
CXX_SUFFIXES = {".cpp", ".hpp", ".h", ".c", ".def"}
HEADER_SUFFIXES = {".hpp", ".h"}
TEXT_SUFFIXES = CXX_SUFFIXES | {".py", ".sh", ".cmake", ".md", ".txt", ".in", ".json", ".yml"}
IGNORED = ("build", ".git", "__pycache__", "tests/tidy/samples")

# A folder is a layer, an include may point only to these: itself and what is further left in
#   base <- kernel <- poll <- engine <- loop <- net <- server <- apps, examples
#   base <- task  <-------------------- loop
#   net  <- load <- lab <- apps;  net <- sim <- apps;  poll <- load, c (the C interface)
#   kernel <- testing
LAYERS = {
    "base": {"base"},
    "kernel": {"base", "kernel"},
    "testing": {"base", "kernel", "testing"},
    "poll": {"base", "kernel", "poll"},
    "c": {"base", "kernel", "poll", "c"},
    "task": {"base", "task"},
    "engine": {"base", "kernel", "poll", "engine"},
    "loop": {"base", "kernel", "poll", "engine", "task", "loop"},
    # Not poll: what net does is the same whichever way readiness or completion is found out.
    "net": {"base", "kernel", "engine", "task", "loop", "net"},
    "server": {"base", "kernel", "engine", "task", "loop", "net", "server"},
    "load": {"base", "kernel", "poll", "engine", "task", "loop", "net", "load"},
    "lab": {"base", "kernel", "poll", "engine", "task", "loop", "net", "load", "lab"},
    "sim": {"base", "kernel", "poll", "engine", "task", "loop", "net", "sim"},
}

# System headers that a public header may include, besides those of C++ (which have no dot).
PUBLIC_SYSTEM_HEADERS = {
    "stdbool.h", "stddef.h", "stdint.h", "sys/socket.h", "sys/types.h", "sys/un.h", "netinet/in.h",
    "signal.h", "time.h",
}
THIRD_PARTY = re.compile(r"^(fmt|CLI|nlohmann|openssl|gtest|gmock|benchmark|boost|absl|uv|event2)/|"
                         r"^(liburing|ev|event|uv|asio)\.h(pp)?$")

KERNEL_CALLS = (
    "accept accept4 bind clock_gettime close connect epoll_create epoll_create1 "
    "epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd fcntl freeaddrinfo fstat getaddrinfo "
    "getpeername getpid getrandom getrlimit getsockname getsockopt ioctl isatty listen lstat "
    "pipe pipe2 poll ppoll pselect read readv recv recvfrom recvmsg select send sendmsg sendto "
    "setrlimit setsockopt shutdown sigaction signal socket socketpair stat syscall uname unlink "
    "write writev").split()
CLOCKS_AND_SLEEPS = "gettimeofday time nanosleep clock_nanosleep sleep usleep".split()
# These names mean nothing but the system call, with or without the leading "::".
UNMISTAKABLE = (
    "accept4 clock_gettime clock_nanosleep epoll_create epoll_create1 epoll_ctl epoll_pwait "
    "epoll_pwait2 epoll_wait eventfd fcntl getaddrinfo getpeername getrandom getrlimit "
    "getsockname getsockopt gettimeofday ioctl nanosleep pipe2 ppoll pselect recvfrom recvmsg "
    "sendmsg sendto setrlimit setsockopt usleep").split()

BANNED = [
    (re.compile(r"(?<![\w>])::(" + "|".join(KERNEL_CALLS) + r")\s*\("),
     "a system call outside src/kernel", "the Kernel's function of that name"),
    (re.compile(r"(?<![\w>])::(" + "|".join(CLOCKS_AND_SLEEPS) + r")\s*\("),
     "a clock or sleep outside src/kernel", "Kernel::now, or a Poller's deadline"),
    (re.compile(r"(?<![\w.:>&*])(" + "|".join(UNMISTAKABLE) + r")\s*\("),
     "a system call outside src/kernel", "the Kernel's function of that name"),
    (re.compile(r"\b(?:steady|system|high_resolution)_clock::now\b"),
     "a clock outside src/kernel", "Kernel::now"),
    (re.compile(r"\bthis_thread::sleep_(?:for|until)\b"), "a sleep", "a Poller's deadline"),
    (re.compile(r"\bstd::random_device\b"), "randomness without a seed", "a seed of the caller's"),
    (re.compile(r"\bstd::(?:mt19937(?:_64)?|minstd_rand0?|default_random_engine)\b"),
     "a library's generator", "duolu::Prng"),
    (re.compile(r"\bstd::\w+_distribution\b"),
     "a distribution gives other numbers with other libraries", "Prng::below or Prng::between"),
    (re.compile(r"\bstd::(?:ranges::)?(?:shuffle|sample)\b"),
     "a shuffle gives another order with other libraries", "a loop over Prng::below"),
    (re.compile(r"(?<![\w.>])(?:std::|::)?s?rand\s*\("), "randomness outside src/kernel",
     "duolu::Prng"),
]


class Finding(NamedTuple):
    path: str
    line: int
    rule: str
    what: str
    instead: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}: {self.what}: {self.instead}"


# --- reading C++

TOKEN = re.compile(
    r'(?P<raw>(?:u8|[uUL])?R"(?P<tag>[^()\\\s]{0,16})\((?:.|\n)*?\)(?P=tag)")'
    r"|(?P<line>//(?:[^\n\\]|\\.|\\\n)*)"
    r"|(?P<block>/\*(?:.|\n)*?(?:\*/|\Z))"
    r'|(?P<string>"(?:[^"\\\n]|\\.|\\\n)*")'
    r"|(?P<number>\b\d(?:'?[\w.])*)"  # 1'000: those are no quotes
    r"|(?P<char>'(?:[^'\\\n]|\\.)*')")


def blank(text):
    return re.sub(r"[^\n]", " ", text)


def strip(text):
    """The text without comments, and without comments and contents of literals; same positions."""
    with_literals = TOKEN.sub(lambda m: blank(m[0]) if m["line"] or m["block"] else m[0], text)

    def empty(match):
        if match["line"] or match["block"]:
            return blank(match[0])
        if match["number"]:
            return match[0]
        return match[0][0] + blank(match[0][1:-1]) + match[0][-1]

    return with_literals, TOKEN.sub(empty, text)


CLOSING = {"(": ")", "[": "]", "{": "}"}
OPENING = {close: open_ for open_, close in CLOSING.items()}


def skip_forward(code, start):
    """The position after the bracket that closes the one at `start`."""
    depth = 0
    for position in range(start, len(code)):
        if code[position] in CLOSING:
            depth += 1
        elif code[position] in OPENING:
            depth -= 1
            if depth == 0:
                return position + 1
    return len(code)


def skip_backward(code, end):
    """The position of the bracket that opens the one at `end`."""
    depth = 0
    for position in range(end, -1, -1):
        if code[position] in OPENING:
            depth += 1
        elif code[position] in CLOSING:
            depth -= 1
            if depth == 0:
                return position
    return 0


def skip_angles(code, start):
    """The position after the '>' that closes the '<' at `start`."""
    depth = 0
    for position in range(start, len(code)):
        if code[position] == "<":
            depth += 1
        elif code[position] == ">" and code[position - 1] != "-":
            depth -= 1
            if depth == 0:
                return position + 1
        elif code[position] in ";{":
            break
    return start


def top_level_split(text):
    """Splits at the commas outside all brackets."""
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(text):
        if letter in "([{<":
            depth += 1
        elif letter in ")]}" or (letter == ">" and text[position - 1] != "-"):
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]


INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>)', re.M)
ALLOW = re.compile(r"(?://|#)\s*tidy:\s*allow\(([\w-]+)\)[ \t]*(.*)")


class Source:
    """One file: its text, and for C++ also without comments (code keeps quotes only)."""

    def __init__(self, root, path):
        self.path = path
        self.file = root / path
        self.suffix = self.file.suffix
        self.text = self.file.read_bytes().decode("utf-8", "replace")
        self.lines = self.text.split("\n")
        self.is_cxx = self.suffix in CXX_SUFFIXES and path.startswith(CXX_FOLDERS)
        self.is_header = self.is_cxx and self.suffix in HEADER_SUFFIXES
        self.code = self.uncommented = ""
        self.includes = []  # (line, name, is quoted)
        if self.is_cxx:
            self.uncommented, self.code = strip(self.text)
            self.includes = [(self.line_of(m.start()), m[1] or m[2], bool(m[1]))
                             for m in INCLUDE.finditer(self.uncommented)]

    def line_of(self, position):
        return self.text.count("\n", 0, position) + 1

    def under(self, *folders):
        return self.path.startswith(tuple(f"{folder}/" for folder in folders))

    def layer(self):
        """The layer's name; None outside include/ and src/."""
        parts = Path(self.path).parts
        if parts[0] == "src" and len(parts) > 2:
            return parts[1]
        if parts[:2] == ("include", "duolu") and len(parts) > 3:
            return parts[2]
        if self.path == "include/duolu/duolu.hpp":  # what users include
            return "net"
        return None


class Tree:
    def __init__(self, options):
        self.options = options
        self.root = Path(options.root).resolve()
        self.sources = {}
        for folder, folders, files in os.walk(self.root):
            relative = Path(folder).relative_to(self.root)
            folders[:] = sorted(f for f in folders if str(relative / f) not in IGNORED
                                and f not in (".git", "__pycache__"))
            for name in sorted(files):
                path = str(relative / name)
                if Path(name).suffix in TEXT_SUFFIXES or path in ("run", "test", ".ci/run"):
                    self.sources[path] = Source(self.root, path)

    def __iter__(self):
        return iter(self.sources.values())

    def cxx(self, *folders):
        return [s for s in self if s.is_cxx and (not folders or s.under(*folders))]

    def resolve(self, source, name):
        """The file of this tree that `#include "name"` in `source` means; None for others."""
        for base in (Path(source.path).parent, Path("include"), Path("src"), Path("tests"),
                     Path(".")):
            path = os.path.normpath(base / name)
            if path in self.sources:
                return self.sources[path]
        return None


# --- the rules: each yields findings

RULES = {}


def rule(name):
    def register(function):
        RULES[name] = function
        return function
    return register


@rule("layering")
def layering(tree):
    for source in tree.cxx("include", "src", "apps", "examples"):
        layer = source.layer()
        if source.under("include", "src"):
            if layer is None or layer not in LAYERS:
                yield source, 1, f"no such layer: {layer or source.path}", \
                    "a folder of a layer that LAYERS in tests/tidy/tidy.py knows"
                continue
        for line, name, quoted in source.includes:
            target = tree.resolve(source, name)
            if target is None:
                continue
            if not quoted:
                yield source, line, f"<{name}> is ours", f'#include "{name}"'
            elif source.under("include") and not target.under("include"):
                yield source, line, f"a public header includes {target.path}", \
                    "a public header, or a forward declaration"
            elif source.under("src") and target.under("apps", "tests", "examples", "bench"):
                yield source, line, f"the library includes {target.path}", "something further left"
            elif source.under("examples") and not target.under("include", "examples"):
                yield source, line, f"an example includes {target.path}", "public headers only"
            elif source.under("apps") and not target.under("include", "apps", "bench/servers"):
                # `duolu lab` measures the servers of the benchmark.
                yield source, line, f"the tool includes {target.path}", "public headers only"
            elif target.under("src") and source.under("src") and target.layer() != layer:
                yield source, line, f"{target.path} is private to its layer", \
                    "a public header of that layer"
            elif layer and target.layer() not in LAYERS[layer]:
                allowed = ", ".join(sorted(LAYERS[layer]))
                yield source, line, f"{layer} includes {target.layer()}", f"only {allowed}"


@rule("public-include")
def public_include(tree):
    for source in tree.cxx("include", "src"):
        for line, name, quoted in source.includes:
            if tree.resolve(source, name):
                continue
            if THIRD_PARTY.match(name):
                yield source, line, f"<{name}> in the library", "libc and C++ only"
            elif source.under("include") and quoted:
                yield source, line, f'"{name}" is no header of this tree', \
                    "its path under include/"
            elif source.under("include") and not (name in PUBLIC_SYSTEM_HEADERS
                                                  or re.fullmatch(r"[a-z_0-9]+", name)):
                yield source, line, f"<{name}> in a public header", \
                    "a forward declaration, and the include in src/"


# What users may have as errors: the headers are clean under all of it.
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wsign-conversion",
          "-Wundef", "-Wcast-qual", "-Wdouble-promotion", "-Wformat=2", "-Wredundant-decls")
STRICT_CXX = ("-Wnon-virtual-dtor", "-Wold-style-cast", "-Woverloaded-virtual")


@rule("self-contained")
def self_contained(tree):
    options = tree.options
    headers = [s for s in tree.cxx("include") if s.is_header]
    defines = [f"-D{define}" for define in options.define]

    def compile_alone(source):
        # C++ headers end in .hpp. A .h is for C, and must do for both.
        problems = ""
        languages = [("c++", options.cxx, "c++23")]
        if source.suffix == ".h":
            languages.append(("c", options.cc, "c11"))
        for language, compiler, standard in languages:
            done = subprocess.run(
                [*compiler.split(), f"-std={standard}", "-fsyntax-only",
                 *STRICT, *(STRICT_CXX if language == "c++" else ()),
                 "-Werror", *defines, f"-I{tree.root / 'include'}", "-x", language, "-include",
                 str(source.file), "/dev/null"],
                capture_output=True, text=True, check=False)
            if done.returncode != 0:
                problems += done.stderr
        return source, problems

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for source, problems in pool.map(compile_alone, headers):
            if problems:
                error = re.search(re.escape(str(source.file)) + r":(\d+)(?::\d+)?: (.*)", problems)
                line, what = (int(error[1]), error[2]) if error else (1, problems.strip()[:300])
                yield source, line, f"does not compile alone: {what}", "include what it uses"


@rule("banned-call")
def banned_call(tree):
    for source in tree.cxx("include", "src", "apps"):
        if source.under("src/kernel", "include/duolu/kernel"):
            continue
        seen = set()
        for pattern, what, instead in BANNED:
            for match in pattern.finditer(source.code):
                line = source.line_of(match.start())
                if line in seen or declares(source.code[:match.start()], match[0]):
                    continue
                seen.add(line)
                yield source, line, f"{match[0].rstrip('( ')}: {what}", instead


def declares(before, call):
    """Whether `call` is a function of that name being declared: a type stands before it."""
    word = re.search(r"(\w+|>)\s*$", before)
    return bool(word) and not call.startswith(("::", "std::")) and \
        word[1] not in ("return", "co_return", "co_await", "case", "else", "do")


@rule("console-output")
def console_output(tree):
    pattern = re.compile(r"\bstd::(?:cout|cerr|clog)\b|"
                         r"(?<![\w.>])(?:std::|::)?(?:v?f?printf|f?puts|putchar|perror)\s*\(")
    for source in tree.cxx("include", "src"):
        if source.path == "src/loop/run.cpp":  # main() of a program, which has to say why it ends
            continue
        for match in pattern.finditer(source.code):
            yield source, source.line_of(match.start()), \
                f"{match[0].rstrip('( ')}: a library does not talk", \
                "a Result, or DUOLU_CHECK for mistakes of the program"


@rule("using-namespace")
def using_namespace(tree):
    opening = re.compile(r'(?:\bnamespace\b[^;{}()]*|extern\s*"\s*")$')
    for source in tree.cxx("include", "src", "apps", "examples"):
        if not source.is_header:
            continue
        for match in re.finditer(r"\busing\s+namespace\b[^;]*", source.code):
            blocks = []
            for position, letter in enumerate(source.code[:match.start()]):
                if letter == "{":
                    blocks.append(bool(opening.search(source.code[:position].rstrip()[-200:])))
                elif letter == "}" and blocks:
                    blocks.pop()
            if all(blocks):
                yield source, source.line_of(match.start()), \
                    f"{match[0]} in every file that includes this", "a using declaration"


@rule("assert")
def no_assert(tree):
    for source in tree.cxx():
        for match in re.finditer(r"(?<![\w.>:])assert\s*\(", source.code):
            yield source, source.line_of(match.start()), \
                "assert is not there in release builds", "DUOLU_CHECK"


@rule("backend-name")
def backend_name(tree):
    name = r'"(?:epoll|poll|select)"'
    pattern = re.compile(rf"[=!]=\s*{name}|{name}\s*[=!]=|\bstrcmp\s*\([^;]*?{name}")
    for source in tree.cxx():
        for match in pattern.finditer(source.uncommented):
            yield source, source.line_of(match.start()), \
                "a backend's name decides what is done", "what BackendTraits tells of its row"


@rule("dead-file")
def dead_file(tree):
    if not tree.options.compile_commands:
        return
    database = Path(tree.options.compile_commands)
    compiled = set()
    for entry in json.loads(database.read_text(encoding="utf-8")):
        file = database.parent / entry.get("directory", ".") / entry["file"]
        compiled.add(file.resolve())
    included = {target.path for source in tree.cxx() for _, name, _ in source.includes
                if (target := tree.resolve(source, name))}
    # Benchmarks are built on demand only, so they are not in the database.
    for source in tree.cxx("include", "src", "apps", "examples", "tests"):
        if source.path not in included and source.file.resolve() not in compiled:
            if source.suffix in (".cpp", ".c"):
                yield source, 1, "no target compiles it", "add it to a CMakeLists.txt, or remove it"
            else:
                yield source, 1, "nothing includes it", "a test at least, or remove it"


def slug(heading):
    """GitHub's anchor of a heading."""
    heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


def without_code(text):
    """Markdown without fenced blocks and code spans; same positions."""
    text = re.sub(r"^[ ]{0,3}(```+|~~~+)[^\n]*\n.*?^[ ]{0,3}\1[ ]*$", lambda m: blank(m[0]), text,
                  flags=re.M | re.S)
    return re.sub(r"(`+)(?!`)(?:[^`\n]|(?!\1)`)+?\1(?!`)", lambda m: blank(m[0]), text)


def links(source):
    """(position, target) of every link that leads to a file."""
    text = without_code(source.text)
    pattern = r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s*<?(\S+?)>?\s*$"
    for match in re.finditer(pattern, text, re.M):
        target = match[1] or match[2]
        if not re.match(r"[a-z][a-z0-9+.-]*:|//", target, re.I):
            yield match.start(), target


@rule("dead-link")
def dead_link(tree):
    for source in tree:
        if source.suffix != ".md":
            continue
        for position, target in links(source):
            name, _, anchor = target.partition("#")
            file = (source.file.parent / name) if name else source.file
            line = source.line_of(position)
            if not file.exists():
                yield source, line, f"{target} is not there", "the file's place, from this page"
            elif anchor and file.suffix == ".md":
                page = file.read_text(encoding="utf-8")
                headings = re.findall(r"^#+[ \t]+(.*?)[ \t#]*$",
                                      re.sub(r"^```.*?^```", "", page, flags=re.M | re.S), re.M)
                anchors = {slug(heading) for heading in headings}
                anchors |= set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", page))
                if re.sub(r"-\d+$", "", anchor) not in anchors and anchor not in anchors:
                    yield source, line, f"{target} has no such heading", "a heading of that page"


@rule("dead-doc")
def dead_doc(tree):
    linked = set()
    for source in tree:
        if source.suffix == ".md":
            for _, target in links(source):
                file = (source.file.parent / target.partition("#")[0]).resolve()
                if file != source.file.resolve():
                    linked.add(file)
    for source in tree:
        if source.suffix == ".md" and source.under("docs"):
            # A link to the folder shows its files.
            folders = set(source.file.resolve().parents) - {tree.root}
            if source.file.resolve() not in linked and not folders & linked:
                yield source, 1, "no page links to it", "a link from README.md or another page"


# The patterns g++ 12 compiles into a double free, or not at all; clang is right.

def opens_block(code, position):
    """Whether the brace at `position` opens statements, and not a value."""
    before = code[:position].rstrip()
    return not before or before[-1] in ");{}:" or bool(re.search(
        r"\b(?:else|do|try|noexcept|mutable|const|override)$|->\s*[\w:<>,&* ]+$", before[-200:]))


@rule("coroutine-conditional")
def coroutine_conditional(tree):
    for source in tree.cxx():
        code = source.code
        for match in re.finditer(r"\bco_await\b", code):
            # Backwards to the start of the expression. Past a comma is another operand, until an
            # opening bracket leads to what all of it is part of.
            position, same_operand = match.start() - 1, True
            while position >= 0:
                letter = code[position]
                if letter in OPENING:
                    position = skip_backward(code, position)
                    if code[position] == "{" and opens_block(code, position):
                        break
                elif letter == ";" or (letter == "{" and opens_block(code, position)):
                    break
                elif letter in CLOSING:
                    same_operand = True
                elif letter == ",":
                    same_operand = False
                elif letter == "?" and same_operand:
                    yield source, source.line_of(match.start()), \
                        "co_await in a branch of ?: (g++ 12 destroys the result twice)", \
                        "if and else"
                    break
                position -= 1


LAMBDA_HEAD = re.compile(
    r"\]\s*(?:<[^{};]*>\s*)?(?:\([^{};]*\)\s*)?(?:(?:mutable|noexcept|constexpr|static)\s*)*"
    r"(?:->\s*[\w:<>,&* ]+\s*)?$")


@rule("coroutine-braces")
def coroutine_braces(tree):
    for source in tree.cxx():
        code = source.code
        for match in re.finditer(r"(?<!operator )\bco_await\b", code):
            depth, position = 0, match.end()
            while position < len(code):
                letter = code[position]
                if letter == "{":
                    if LAMBDA_HEAD.search(code[match.end():position]):
                        position = skip_forward(code, position)
                        continue
                    yield source, source.line_of(position), \
                        "braces inside a co_await expression (g++ 12 destroys them twice)", \
                        "a named variable before it, or a type with a constructor"
                    break
                if letter in "([":
                    depth += 1
                elif letter in ")]}":
                    depth -= 1
                    if depth < 0:
                        break
                elif letter == ";" or (letter == "," and depth == 0):
                    break
                position += 1


@rule("coroutine-condition")
def coroutine_condition(tree):
    for source in tree.cxx():
        code = source.code
        for match in re.finditer(r"\b(?:if|while|switch)\s*\(", code):
            condition = code[match.end():skip_forward(code, match.end() - 1) - 1]
            before, awaits, _ = condition.partition("co_await")
            declares_something = re.search(r"(?<![=!<>])=(?!=)", before)
            if awaits and not declares_something and "{" not in before:
                yield source, source.line_of(match.start()), \
                    "co_await in a condition (g++ 12 crashes if the coroutine has no variable)", \
                    "a variable: const bool ready = co_await ...; if (ready)"


@rule("statement-expression")
def statement_expression(tree):
    for source in tree.cxx():
        code = source.code.replace("\\\n", " \n")
        for match in re.finditer(r"\(\s*\{", code):
            if re.search(r"\b(?:EXPECT|ASSERT)_(?:DEATH|EXIT)$", code[:match.start()]):
                continue  # a block as an argument of a macro
            start, depth = match.end(), 0
            for position in range(start, len(code)):
                letter = code[position]
                if letter in CLOSING:
                    depth += 1
                elif letter in OPENING:
                    depth -= 1
                    if depth < 0:
                        break
                elif letter == ";" and depth == 0:
                    yield source, source.line_of(match.start()), \
                        "a statement expression (g++ 12 crashes on co_await in one)", \
                        "a function, or co_await try_(...)"
                    break


# What takes a closure that gives a task, and keeps it for as long as the task.
KEEPS_CLOSURE = re.compile(r"\b(?:with_scope|spawn|run|within|task_of|when_all|first_of|shielded|"
                           r"serve|serve_while)$")


def opening_around(code, position):
    """The position of the bracket around what is at `position`."""
    depth = 0
    for at in range(position - 1, -1, -1):
        if code[at] in OPENING:
            depth += 1
        elif code[at] in CLOSING:
            if depth == 0:
                return at
            depth -= 1
    return 0


@rule("coroutine-capture")
def coroutine_capture(tree):
    # [something](...) ... -> Task<: the closure usually dies before the coroutine ends.
    pattern = re.compile(r"(?<![\w\])\[])\[(?!\[)\s*[^\[\]\s][^\[\]]*\]\s*(?:<[^{};()]*>\s*)?\(")
    for source in tree.cxx():
        code = source.code
        for match in pattern.finditer(code):
            end = skip_forward(code, match.end() - 1)
            task = re.match(r"\s*(?:(?:mutable|noexcept|static)\s*)*->\s*(?:\w+::)*Task\b[^{;]*",
                            code[end:])
            if task:
                called = re.match(r"\s*\(", code[skip_forward(code, end + task.end()):])
                if not called and KEEPS_CLOSURE.search(code[:opening_around(code, match.start())]):
                    continue
                yield source, source.line_of(match.start()), \
                    "a coroutine lambda with captures: they die with the closure", \
                    "parameters by value"


@rule("coroutine-reference")
def coroutine_reference(tree):
    what = "binds to a temporary that may die before the coroutine does"
    for source in tree.cxx():
        code = source.code
        for match in re.finditer(r"\bTask\s*<", code):
            end = skip_angles(code, match.end() - 1)
            name = re.match(r"\s+(?:\w+::)*(?:operator\s*\(\s*\)|\w+)\s*\(", code[end:])
            trailing = re.search(
                r"(\))\s*(?:(?:const|mutable|noexcept|static)\s*)*->\s*(?:\w+::)*$",
                code[:match.start()])
            if name:
                open_ = end + name.end() - 1
            elif trailing:
                open_ = skip_backward(code, trailing.start(1))
            else:
                continue
            for parameter in top_level_split(code[open_ + 1:skip_forward(code, open_) - 1]):
                declared = parameter.partition("=")[0]
                while (inner := re.sub(r"<[^<>]*>|\([^()]*\)", "", declared)) != declared:
                    declared = inner
                is_const_reference = re.search(r"\bconst\b[^*]*&|&\s*const\b", declared)
                if "&&" in declared or is_const_reference:
                    yield source, source.line_of(open_), \
                        f"coroutine parameter {' '.join(parameter.split())} {what}", \
                        "a parameter by value, or a pointer"


@rule("line-length")
def line_length(tree):
    for source in tree:
        if source.is_cxx or source.suffix in ("", ".py", ".sh", ".cmake"):
            for number, line in enumerate(source.lines, 1):
                if len(line) > 100:
                    yield source, number, f"{len(line)} columns", "100 at most"


@rule("tab")
def tab(tree):
    for source in tree:
        for number, line in enumerate(source.lines, 1):
            if "\t" in line:
                yield source, number, "a tab", "spaces, or \\t in a string"


@rule("trailing-space")
def trailing_space(tree):
    for source in tree:
        for number, line in enumerate(source.lines, 1):
            if line != line.rstrip():
                yield source, number, "blanks or a carriage return at the end of the line", "none"


@rule("final-newline")
def final_newline(tree):
    for source in tree:
        if source.text and (not source.text.endswith("\n") or source.text.endswith("\n\n")):
            yield source, len(source.text.splitlines()), "the file's end", "exactly one newline"


@rule("pragma-once")
def pragma_once(tree):
    # A header for C may have the guard that every C compiler knows.
    for source in tree.cxx():
        guarded = re.search(r"^#pragma once$", source.text, re.M) or (
            source.suffix == ".h" and
            re.match(r"\s*#ifndef (\w+)\n#define \1\n", source.uncommented))
        if source.is_header and not guarded:
            yield source, 1, "no include guard", "#pragma once"


@rule("marker")
def marker(tree):
    pattern = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    for source in tree:
        for number, line in enumerate(source.lines, 1):
            if found := pattern.search(line):
                yield source, number, f"{found[1]}: work left over", "do it, or say plainly what is"


@rule("allowance")
def allowance(_tree):
    """Findings of this rule come from check(): allowances without a reason or without a use."""
    return ()


# --- running them

def check(tree, only=None):
    findings, used = [], set()
    allowances = {}
    for source in tree:
        for number, line in enumerate(source.lines, 1):
            # Here and in the documentation the form is quoted, not used.
            if (match := ALLOW.search(line)) and match[1] in RULES:
                allowances[source.path, number] = match
    for name, function in RULES.items():
        if only and name not in only:
            continue
        for source, line, what, instead in function(tree):
            for where in ((source.path, line), (source.path, line - 1)):
                if where in allowances and allowances[where][1] == name:
                    used.add(where)
                    break
            else:
                findings.append(Finding(source.path, line, name, what, instead))
    for (path, line), match in allowances.items():
        if only:
            break
        if not match[2].strip():
            findings.append(Finding(path, line, "allowance", "no reason", "say why, beside it"))
        if (path, line) not in used and not (match[1] == "dead-file"
                                             and not tree.options.compile_commands):
            findings.append(Finding(path, line, "allowance", f"{match[1]} finds nothing here",
                                    "remove the comment"))
    return sorted(findings)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default=Path(__file__).resolve().parents[2])
    parser.add_argument("--cxx", default="c++", help="compiler for the headers")
    parser.add_argument("--cc", default="cc", help="compiler for the C headers")
    parser.add_argument("--define", action="append", default=[], help="macro for the headers")
    parser.add_argument("--compile-commands", default="", help="without it: no rule dead-file")
    parser.add_argument("--list", action="store_true", help="name the rules")
    return parser


def main():
    options = arguments().parse_args()
    if options.list:
        print("\n".join(RULES))
        return 0
    tree = Tree(options)
    findings = check(tree)
    for finding in findings:
        print(finding)
    print(f"{len(RULES)} rules, {len(tree.sources)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
