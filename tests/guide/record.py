#!/usr/bin/env python3
"""Plays the scenes of the guide with the programs of the tutorial: record.py PROGRAMS [SCENE...].

Writes docs/guide/transcripts/SCENE.txt, what the clients and the server said in the order in which
it happened, and SCENE.strace.txt, the system calls of the server meanwhile. Nothing in them is
made up: `>` is what a client sent, `<` what it received, and the server's lines are its own output.
guide_test.py plays every scene again and compares, after normalised().
"""

import argparse
import contextlib
import pathlib
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRANSCRIPTS = ROOT / "docs" / "guide" / "transcripts"
sys.path.insert(0, str(ROOT / "tests" / "tutorial"))
import tutorial_test as tutorial  # noqa: E402

# `?`: not every architecture has each of them.
TRACED = ("?listen,?accept,?accept4,?recvfrom,?sendto,?close,?select,?pselect6,?poll,?ppoll,"
          "?epoll_create1,?epoll_ctl,?epoll_wait,?epoll_pwait,?epoll_pwait2")
STRACE = ("strace", "-D", "-ff", "-qq", "-s", "48", "-e", "signal=none", "-e", f"trace={TRACED}")
CLIENTS = ("ann", "ben", "cas", "dot")


class Server(tutorial.Server):
    """A server of the tutorial, under strace if there is a folder to write to. `-D`: the process
    that is started is the server, and strace the one beside it."""

    def __init__(self, port, folder, name, *options, **more):
        self.folder = folder
        under = (*STRACE, "-o", str(folder / "trace")) if folder else ()
        tutorial.Program.__init__(self, name, "--port", port, *options, under=under, **more)
        self.told = 0
        try:
            line = self.wait_for(lambda lines: lines[:1])[0]
            self.port = int(line.rsplit(" ", 1)[1])
        except BaseException:
            self.__exit__()
            raise

    def threads(self):
        """The system calls after listen() of each thread, in the order in which they began; once
        the program has ended."""
        files = sorted(self.folder.glob("trace.*"), key=lambda file: int(file.suffix[1:]))
        found = [file.read_text().splitlines() for file in files]
        # Not how it ended, and not a call whose name strace was not in time to ask for.
        found = [[line for line in lines if re.match(r"\w+\(", line)] for lines in found]
        begin = next(i for i, line in enumerate(found[0]) if line.startswith("listen("))
        return [found[0][begin + 1:], *found[1:]]


def rest(server):
    """Waits until each thread of the server waits for something, and goes on doing so."""
    tasks = pathlib.Path(f"/proc/{server.process.pid}/task")
    end = time.monotonic() + tutorial.HANG
    seen = 0
    while seen < 5 and server.process.poll() is None:
        states = ["a thread ends"]
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            states = [task.read_text().rsplit(")", 1)[1].split()[0]
                      for task in tasks.glob("*/stat")]
        seen = seen + 1 if set(states) == {"S"} else 0
        if time.monotonic() > end:
            raise AssertionError(f"the server does not come to rest: {states}")
        time.sleep(0.004)


class Scene:
    """What happens between some clients and a server, written down while it happens."""

    def __init__(self, folder=None, own_port=False):
        self.folder = folder
        self.own_port = own_port  # the port that the program has by itself, or any
        self.got_at = 0.0
        self.rests = True  # whether the server sleeps when it has nothing to do
        self.lines = []
        self.server = None
        self.clients = {}
        self.open = contextlib.ExitStack()

    def note(self, who, what):
        self.lines.append(f"{who:<10}{what}".rstrip())

    @contextlib.contextmanager
    def serve(self, name, *options, port=8080, **more):
        with self.open:
            words = " ".join((name, *map(str, options)))
            self.lines.append(f"$ {words}")
            self.server = self.open.enter_context(
                Server(port if self.own_port else 0, self.folder, name, *options, **more))
            self.hear()
            self.rest()
            yield self
            self.rest()
            self.server.process.kill()  # before the clients close: so it ends while it waits
            self.server.ended()

    def rest(self):
        if self.rests:
            rest(self.server)

    def hear(self, line=None):
        """Writes down what the server has said up to `line`, which may be a pattern; so far, if
        there is none."""
        if line is not None:
            self.server.wait_for(lambda lines: any(re.fullmatch(line, said)
                                                   for said in lines[self.server.told:]))
        while True:
            lines = self.server.lines()
            if self.server.told == len(lines):
                break
            said = lines[self.server.told]
            self.server.told += 1
            self.note("server", said)
            if line is not None and re.fullmatch(line, said):
                break

    def connect(self, who):
        self.clients[who] = self.open.enter_context(self.server.connect())
        self.note(who, "connects")
        self.rest()

    def say(self, who, text):
        self.clients[who].sendall(text.encode())
        self.note(who, f"> {shown(text)}")

    def get(self, who, text):
        got = tutorial.receive(self.clients[who], len(text.encode())).decode()
        self.got_at = time.monotonic()
        if got != text:
            raise AssertionError(f"{who} got {got!r} instead of {text!r}")
        self.note(who, f"< {shown(text)}")
        self.rest()

    def silence(self, who):
        if not tutorial.silent(self.clients[who]):
            raise AssertionError(f"{who} got something")
        self.note(who, "  ... half a second, and nothing comes back")

    def close(self, who):
        self.clients.pop(who).close()
        self.note(who, "closes")
        self.rest()

    def end(self, who):
        if tutorial.receive(self.clients[who], 1) != b"":
            raise AssertionError(f"{who} got something instead of the end")
        self.note(who, "< (the end: the server has closed)")

    def exchange(self, who, text):
        self.say(who, text)
        self.get(who, text)

    def text(self):
        return "\n".join(self.lines) + "\n"

    def calls(self, first=0, last=None, thread=0):
        """System calls of the server; only when traced, and after the scene."""
        return "\n".join(self.server.threads()[thread][first:last]) + "\n"


def shown(text):
    """As one line; long ones by their size."""
    if len(text) > 100:
        return f"({len(text):,} bytes)"
    return text.replace("\r", "\\r").replace("\n", "\\n")


# --- the scenes. Each plays, and yields the system calls if there are some to show.

SCENES = {}


def scene(function):
    SCENES[function.__name__.replace("_", "-")] = function
    return function


@scene
def blocking(play):
    with play.serve("01_blocking_echo", port=8888):
        play.connect("ann")
        play.say("ann", "hello\n")
        play.hear(r"received .*")
        play.get("ann", "hello\n")
        play.connect("ben")
        play.say("ben", "is anybody there?\n")
        play.silence("ben")
        play.say("ann", "still me\n")
        play.hear(r"received .*")
        play.get("ann", "still me\n")
        play.close("ann")
        play.hear(r"received .*")
        play.get("ben", "is anybody there?\n")
    if play.folder:
        return play.calls()
    return None


@scene
def threads(play):
    with play.serve("02_threads_echo", "--threads", 2, port=8888):
        for who in ("ann", "ben"):
            play.connect(who)
            play.hear(r"new connection .*")
        play.exchange("ann", "hello\n")
        play.exchange("ben", "hello too\n")
        play.connect("cas")
        play.say("cas", "and me?\n")
        play.silence("cas")
        play.close("ann")
        play.hear(r"new connection .*")
        play.get("cas", "and me?\n")
    if not play.folder:
        return None
    names = ("the main thread", "ann's thread", "ben's thread", "cas's thread")
    return "\n\n".join("\n".join([f"# {name}", *lines])
                       for name, lines in zip(names, play.server.threads(), strict=True)) + "\n"


@scene
def non_blocking(play):
    play.rests = False
    with play.serve("03_nonblocking_echo", port=8888):
        play.connect("ann")
        play.connect("ben")
        reports = 0
        for who, text in (("ann", "hello\n"), ("ben", "hello too\n")):
            reports += 1  # so that it has begun to spin, in vain, before each message
            play.server.wait_for(lambda lines, n=reports: sum(line[0] == "2" for line in lines) > n)
            play.exchange(who, text)
        play.server.told = len(play.server.lines())
        play.hear(r"2 clients, .*")
    if not play.folder:
        return None
    calls = play.server.threads()[0]
    at = next(i for i, line in enumerate(calls) if '"hello too' in line)
    return "\n".join(calls[at - 2:at + 7]) + "\n"


@scene
def select(play):
    with play.serve("04_select_echo", port=5000, stdin=subprocess.PIPE):
        play.connect("ann")
        play.exchange("ann", "hello\r\n")
        play.connect("ben")
        play.exchange("ben", "hello too\r\n")
        play.exchange("ann", "goodbye\r\n\r\n")
        play.end("ann")
        play.server.process.stdin.write(b"quit\n")
        play.server.process.stdin.flush()
        play.note("keyboard", "quit\\n")
        play.server.ended()
        play.end("ben")
    return play.calls() if play.folder else None


@scene
def select_queues(play):
    """Server and client of their own, so what they print stands one after the other."""
    with play.serve("05_select_queues", port=10000):
        done = tutorial.run_client("15_multi_client", play.server, "--connections", "1")
        play.server.wait_for(lambda lines: any(line.startswith("closing") for line in lines))
        time.sleep(0.05)  # its last line
        play.server.wait_for(lambda lines: lines[-1] == "waiting for the next event")
        play.lines[1:] = play.server.lines()
        play.lines += ["", "$ 15_multi_client --connections 1", *done.stdout.decode().splitlines()]
    return None


@scene
def select_timeout(play):
    with play.serve("06_select_upper", port=8081):
        play.connect("ann")
        play.say("ann", "hello\n")
        play.get("ann", "HELLO\n")
        play.hear(r"nothing for half a second, 1 clients")
    if not play.folder:
        return None
    calls = play.server.threads()[0]
    at = next(i for i, line in enumerate(calls) if '"HELLO' in line)
    return "\n".join(calls[at:at + 3]) + "\n"


@scene
def select_many(play):
    """More than FD_SETSIZE."""
    room_for(4096)
    with play.serve("04_select_echo", port=5000, stdin=subprocess.PIPE):
        for _ in range(1100):
            play.open.enter_context(play.server.connect())
        play.lines.append("1,100 clients connect and are silent")
        play.connect("ann")
        play.exchange("ann", "hello\r\n")
        fds = pathlib.Path(f"/proc/{play.server.process.pid}/fd")
        most = max(int(fd.name) for fd in fds.iterdir())
        play.lines.append(f"the server's highest descriptor is {most}")
    return None


@scene
def poll(play):
    with play.serve("07_poll_echo"):
        play.connect("ann")
        play.exchange("ann", "hello\n")
        play.connect("ben")
        play.exchange("ben", "hello too\n")
        play.exchange("ann", "still me\n")
        play.close("ann")
        play.exchange("ben", "goodbye\n")
    return play.calls(0, 8) if play.folder else None


def pieces(play, name):
    def exchange(who, text):
        play.say(who, text)
        for _ in range(2):
            play.hear("-" * 40)
        play.get(who, text)

    with play.serve(name):
        play.connect("ann")
        exchange("ann", "no line yet, ")
        play.connect("ben")
        exchange("ben", "a line\n")
        exchange("ann", "now it is one\n")
    return play.calls(0, 19) if play.folder else None


@scene
def epoll(play):
    return pieces(play, "08_epoll_level_echo")


BIG = "x" * 6001 + "\n"


def big_request(play, *words):
    """More than one read of 4,096 bytes takes; the server finds it whole."""
    with play.serve(*words):
        play.connect("ann")
        play.exchange("ann", "small\n")
        play.say("ann", BIG)
        if "--forget-to-drain" in words:
            play.get("ann", BIG[:4096])
            play.silence("ann")
        else:
            play.get("ann", BIG)
        play.lines[:] = [line for line in play.lines if not line.startswith("server")]
    if not play.folder:
        return None
    calls = play.server.threads()[0]
    at = next(i for i, line in enumerate(calls) if re.search(r'"xxx.*= \d+$', line))
    return "\n".join(calls[at - 1:]) + "\n"


@scene
def level_big(play):
    return big_request(play, "08_epoll_level_echo")


@scene
def edge_big(play):
    return big_request(play, "09_epoll_edge_echo")


@scene
def edge_forgotten(play):
    return big_request(play, "09_epoll_edge_echo", "--forget-to-drain")


def two_echoes(play, name):
    with play.serve(name):
        play.connect("ann")
        play.connect("ben")
        play.exchange("ann", "hello\n")
        play.exchange("ben", "hello too\n")
        play.exchange("ann", "still me\n")
        play.close("ann")
        play.exchange("ben", "goodbye\n")
    if not play.folder:
        return None
    calls = play.server.threads()[0]
    first_registration = "u64=4294967297"  # before, it was found out whether epoll works here
    begin = next(i for i, line in enumerate(calls) if first_registration in line)
    return play.calls(begin, begin + 20)


@scene
def callbacks(play):
    return two_echoes(play, "11_callbacks")


@scene
def coroutines(play):
    return two_echoes(play, "12_coroutines")


def timed(play, who, text, began):
    play.get(who, text)
    play.lines[-1] += f"   after {(play.got_at - began) * 1000:.2f} ms"


def ask(play, who, text):
    began = time.monotonic()
    play.say(who, text)
    return began


def since(play, text, count=None):
    """The server's system calls from the wait on that found these bytes."""
    if not play.folder:
        return None
    calls = play.server.threads()[0]
    at = next(i for i, line in enumerate(calls) if f'"{text}' in line) - 1
    return "\n".join(calls[at:count and at + count]) + "\n"


@scene
def long_handler(play):
    with play.serve("13_long_handler"):
        play.connect("ann")
        play.connect("ben")
        timed(play, "ben", "ping\n", ask(play, "ben", "ping\n"))
        ask(play, "ann", "work\n")
        play.hear("computing")
        asked = ask(play, "ben", "ping\n")
        play.hear(r"stall: .*")
        timed(play, "ben", "ping\n", asked)
        # By then ann has her answer, since one thread served both of them in turn.
        if not tutorial.select.select([play.clients["ann"]], [], [], 0)[0]:
            raise AssertionError("ben was served while ann's handler computed")
        play.get("ann", "work\n")
        timed(play, "ben", "ping\n", ask(play, "ben", "ping\n"))
    return since(play, "work", 6)


@scene
def long_handler_offload(play):
    with play.serve("13_long_handler", "--offload"):
        play.connect("ann")
        play.connect("ben")
        ask(play, "ann", "work\n")
        play.hear("computing")
        play.rests = False  # the pool computes
        for _ in range(3):
            timed(play, "ben", "ping\n", ask(play, "ben", "ping\n"))
        play.rests = True
        play.hear(r"found .*")
        play.get("ann", "work\n")
    return since(play, "work")


@scene
def chat(play):
    with play.serve("14_chat"):
        for who in CLIENTS[:3]:
            play.connect(who)
            play.hear(r"new connection .*")
        names = {who: str(client.getsockname()) for who, client in play.clients.items()}
        for who, text in (("ann", "hello\n"), ("ben", "hello too\n")):
            play.say(who, text)
            for other in play.clients:
                if other != who:
                    play.get(other, f"{names[who]}: {text}")
        play.close("cas")
        play.hear(r".* has left")
        play.say("ann", "who is still here?\n")
        play.get("ben", f"{names['ann']}: who is still here?\n")
        play.say("ben", "I am\n")
        play.get("ann", f"{names['ben']}: I am\n")
    return since(play, "hello", 5)


@scene
def chat_stuck(play):
    """Cas never reads."""
    line = "x" * 4000 + "\n"
    with play.serve("14_chat"):
        for who in CLIENTS[:2]:
            play.connect(who)
            play.hear(r"new connection .*")
        play.clients["cas"] = play.open.enter_context(play.server.connect(receive_buffer=4096))
        play.note("cas", "connects, and never reads")
        play.hear(r"new connection .*")
        names = {who: str(client.getsockname()) for who, client in play.clients.items()}
        expected = len(f"{names['ann']}: {line}")
        spoken = 0
        while not any("dropped" in said for said in play.server.lines()):
            play.clients["ann"].sendall(line.encode())
            if len(tutorial.receive(play.clients["ben"], expected)) < expected:
                raise AssertionError("ben was dropped")
            spoken += 1
        play.note("ann", f"> (a line of {len(line):,} bytes, {spoken:,} times)")
        play.note("ben", "< (each of them)")
        play.hear(r".* dropped")
        play.hear(r".* has left")
        play.say("ben", "she has gone\n")
        play.get("ann", f"{names['ben']}: she has gone\n")
    return None


# --- what is no scene, but comes from programs and files too

def counts(programs=None):
    """System calls a message, of one client that waits for each answer, and until the server waits
    for it: the difference of a run with 80 messages and one with 20."""
    message = b"a message of some words\n"
    few, many = 20, 80
    lines = ["system calls for each message, one client, one message at a time", ""]
    for name in programs or ("01_blocking_echo", "02_threads_echo", "04_select_echo",
                             "07_poll_echo", "08_epoll_level_echo", "09_epoll_edge_echo",
                             "11_callbacks", "12_coroutines"):
        found = []
        for messages in (few, many):
            with tempfile.TemporaryDirectory() as folder:
                with Server(0, pathlib.Path(folder), name) as server, server.connect() as client:
                    rest(server)
                    for _ in range(messages):
                        client.sendall(message)
                        tutorial.receive(client, len(message))
                        rest(server)
                found.append([line.split("(")[0] for calls in server.threads() for line in calls])
        kinds = sorted(set(found[1]))
        # To a tenth: at the beginning there may be one call more or less.
        each = {kind: round((found[1].count(kind) - found[0].count(kind)) / (many - few), 1)
                for kind in kinds}
        parts = ", ".join(f"{kind} {value:g}" for kind, value in each.items() if value)
        lines.append(f"{name:<20} {sum(each.values()):g}   {parts}")
    return "\n".join(lines) + "\n"


NO_MMAP = "import mmap, select; events = select.epoll(); mmap.mmap(events.fileno(), 4096)"


def epoll_mmap():
    """What the kernel says to who wants to share memory with an epoll set."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "trace"
        done = subprocess.run(["strace", "-qq", "-o", out, "-e", "trace=epoll_create1,mmap",
                               sys.executable, "-c", NO_MMAP], capture_output=True, text=True,
                              timeout=tutorial.HANG, check=False)
        calls = out.read_text().splitlines()
    begin = next(i for i, line in enumerate(calls) if line.startswith("epoll_create1"))
    kept = [calls[begin], next(line for line in calls[begin:] if "ENODEV" in line)]
    command = f"$ strace -e trace=epoll_create1,mmap python3 -c '{NO_MMAP}'"
    return "\n".join([command, *kept, done.stderr.splitlines()[-1]]) + "\n"


def fd_setsize():
    """Where the 1024 is written."""
    found = sorted(pathlib.Path("/usr/include").glob("*/bits/typesizes.h"))
    if not found:
        raise FileNotFoundError("no bits/typesizes.h of glibc here")
    line = next(line for line in found[0].read_text().splitlines() if "__FD_SETSIZE" in line)
    return (f"$ grep __FD_SETSIZE {found[0]}\n{line.expandtabs(8)}\n"
            "$ python3 -c 'import select; select.select([1024], [], [])'\n"
            f"{python_select()}\n")


def python_select():
    """The last line of what Python says to a descriptor of 1024."""
    done = subprocess.run([sys.executable, "-c", "import select; select.select([1024], [], [])"],
                          capture_output=True, text=True, timeout=tutorial.HANG, check=False)
    return done.stderr.splitlines()[-1]


OTHERS = {"counts.txt": counts, "epoll-mmap.txt": epoll_mmap, "fd-setsize.txt": fd_setsize}
NEED_STRACE = {"counts.txt", "epoll-mmap.txt"}


# --- playing and comparing

def room_for(descriptors):
    """Descriptors for this process and for the servers it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < descriptors:
        raise unittest_skip(f"only {hard} descriptors are allowed here")
    if soft < descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))


def unittest_skip(reason):
    return tutorial.unittest.SkipTest(reason)


def transcript(name, own_port=False):
    play = Scene(own_port=own_port)
    SCENES[name](play)
    return play.text()


def system_calls(name):
    """The strace of a scene; None if none is shown of it."""
    with tempfile.TemporaryDirectory() as folder:
        return SCENES[name](Scene(pathlib.Path(folder)))


def why_no_strace():
    """A reason, or None."""
    if not shutil.which("strace"):
        return "strace is not installed"
    if tutorial.SANITIZED not in ("", "0"):
        return "sanitizers make system calls of their own"
    if not pathlib.Path("/proc/self/maps").exists() or sys.platform != "linux":
        return "no Linux"
    done = subprocess.run(["strace", "-D", "-o", "/dev/null", "true"], capture_output=True,
                          timeout=tutorial.HANG, check=False)
    return None if done.returncode == 0 else "strace is not allowed to trace here"


def normalised(text):
    """Ports by their order, counts and times without their value."""
    ports = {}

    def port(match):
        return match[1] + ports.setdefault(match[2], f"PORT{len(ports) + 1}") + match[3]

    text = re.sub(r"(htons\(|'127\.0\.0\.1', |localhost port )(\d+)(\)?)", port, text)
    # strace prints an event's data as one number since 6.7, and the parts of the union before.
    text = re.sub(r"data=0x([0-9a-f]+)", lambda match: "data={{u32={}, u64={}}}".format(
        int(match[1], 16) & 0xffffffff, int(match[1], 16)), text)
    text = re.sub(r"\d+ system calls, \d+ of them in vain, \d+ ms",
                  "N system calls, N of them in vain, N ms", text)
    text = re.sub(r"after [\d.]+ ms", "after N ms", text)
    text = re.sub(r"held the loop for \d+ ms", "held the loop for N ms", text)
    text = re.sub(r"found [1-9]\d* primes", "found N primes", text)
    text = re.sub(r"bytes, [\d,]+ times", "bytes, N times", text)
    text = re.sub(r"tv_nsec=[1-9]\d*", "tv_nsec=N", text)
    text = re.sub(r"0x[0-9a-f]{5,}", "ADDRESS", text)
    return re.sub(r" +(= )", r" \1", text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("scenes", nargs="*")
    arguments = parser.parse_args()
    tutorial.PROGRAMS = arguments.programs.resolve()
    TRANSCRIPTS.mkdir(parents=True, exist_ok=True)
    for name in SCENES:
        if arguments.scenes and name not in arguments.scenes:
            continue
        (TRANSCRIPTS / f"{name}.txt").write_text(transcript(name, own_port=True))
        if calls := system_calls(name):
            (TRANSCRIPTS / f"{name}.strace.txt").write_text(calls)
    for name, make in OTHERS.items():
        if not arguments.scenes or name in arguments.scenes:
            (TRANSCRIPTS / name).write_text(make())


if __name__ == "__main__":
    main()
