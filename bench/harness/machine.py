"""The machine that the figures were measured on."""

import datetime
import os
import re
import subprocess
from pathlib import Path

from servers import PEER_PACKAGES


def first_line(*words):
    """Of the output of a program; empty if it does not run."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return ""
    return done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else ""


def field(path, pattern):
    try:
        found = re.search(pattern, Path(path).read_text(), re.M)
    except OSError:
        return ""
    return found[1].strip() if found else ""


def describe(root, build):
    compiler = field(build / "CMakeCache.txt", r"^CMAKE_CXX_COMPILER:\w+=(.*)$")
    versions = {package: first_line("dpkg-query", "-W", "-f=${Version}", package)
                for package in PEER_PACKAGES}
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "kernel": os.uname().release,
        "cpu": field("/proc/cpuinfo", r"^model name\s*:(.*)$") or os.uname().machine,
        "cores": len(os.sched_getaffinity(0)),
        "compiler": first_line(compiler, "--version") if compiler else "",
        "flags": field(build / "CMakeCache.txt", r"^CMAKE_CXX_FLAGS_RELEASE:\w+=(.*)$"),
        "libc": " ".join(os.confstr("CS_GNU_LIBC_VERSION").split()),
        "valgrind": first_line("valgrind", "--version"),
        "revision": first_line("git", "-C", str(root), "describe", "--always", "--dirty"),
        "peers": {package: version for package, version in versions.items() if version},
    }


def lines(machine):
    peers = ", ".join(f"{name} {version}" for name, version in machine["peers"].items())
    return [f"{machine['date']}, revision {machine['revision'] or 'unknown'}",
            f"Linux {machine['kernel']}, {machine['cpu']}, {machine['cores']} cores",
            f"{machine['compiler']}, {machine['flags']}, {machine['libc']}, "
            f"{machine['valgrind']}", f"peers: {peers or 'none'}"]
