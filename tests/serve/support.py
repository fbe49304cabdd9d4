"""What the end-to-end tests of `duolu serve` share: a server of one's own, clients, measurements.

Standard library only. A test file is a program: it calls main() with its cases and ends with 0, 1
(failed), or 77 (skipped). Lines that begin with "report: " and "SKIP: " are shown by ./test.
"""

import concurrent.futures
import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

TOOL = os.environ["DUOLU_TOOL"]
BACKEND = os.environ.get("DUOLU_BACKEND", "epoll")
TRIGGER = os.environ.get("DUOLU_TRIGGER", "level")  # none: the engine has no triggers
# Under a sanitizer everything is several times slower and larger.
SANITIZED = os.environ.get("DUOLU_SANITIZED", "") not in ("", "0")
UBSAN = "undefined" in os.environ.get("DUOLU_SANITIZED", "")
GUARD = 60  # seconds: long past anything that works, so that a hang ends as a failure

# What a sanitizer finds must not be taken for an exit code of the tool.
ENVIRONMENT = dict(
    os.environ,
    LC_ALL="C",
    ASAN_OPTIONS="exitcode=99",
    UBSAN_OPTIONS="exitcode=99:print_stacktrace=1",
    TSAN_OPTIONS="exitcode=99",
)


# Who is started in the background by a script inherits that these are ignored; tests send them.
for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


class Skip(Exception):
    """This machine cannot show it; the text says why."""


def need(condition, *what):
    """Fails with the values, whatever -O says about assert."""
    if not condition:
        raise AssertionError(" ".join(str(w) for w in what) or "condition does not hold")


def spare_descriptors():
    """For cases in which the server has no descriptor left."""
    if UBSAN:
        raise Skip("UBSan opens a pipe for each check of a virtual call, and takes its failure for "
                   "a bad object")


def raise_descriptor_limit(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise Skip(f"needs {wanted} descriptors, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Server:
    """One `duolu serve` with --json; ended, by its pid, when the block ends."""

    def __init__(self, service="echo", *options, listen=("localhost:0",), stdin=subprocess.DEVNULL,
                 descriptors=None, ignored=(), wrapper=(), choose=True, **popen):
        command = [*wrapper, TOOL, "serve", service, "--json"]
        if choose:
            command += ["--backend", BACKEND]
            if TRIGGER != "none":
                command += ["--trigger", TRIGGER]
        for address in listen:
            command += ["--listen", address]
        self.errors = tempfile.TemporaryFile()

        def limits():
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)

        self.process = subprocess.Popen(
            command + list(options), stdin=stdin, stdout=subprocess.PIPE, stderr=self.errors,
            env=ENVIRONMENT, preexec_fn=limits if descriptors or ignored else None, **popen)
        self.pid = self.process.pid
        self.buffer = b""
        self.lines = []
        try:
            self.serving = self.wait_for("serving")
        except BaseException:
            self.end()
            raise
        self.addresses = self.serving["listening"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def error_text(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def next_line(self, guard=GUARD):
        """The next line of JSON, or None at the end."""
        end = time.monotonic() + guard
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.process.stdout], [], [],
                                        max(0, end - time.monotonic()))
            need(ready, "the server says nothing; it said", self.lines, self.error_text())
            piece = os.read(self.process.stdout.fileno(), 1 << 16)
            if not piece:
                return None
            self.buffer += piece
        line, self.buffer = self.buffer.split(b"\n", 1)
        self.lines.append(json.loads(line.decode("ascii")))
        need(self.lines[-1]["schema"] == "duolu.serve/1", line)
        return self.lines[-1]

    def wait_for(self, event, guard=GUARD):
        while True:
            line = self.next_line(guard)
            if line is None:
                code = self.wait()
                raise AssertionError(f"ended before {event} with {code}: {self.error_text()}")
            if line["event"] == event:
                return line

    def send_signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, guard=GUARD):
        return self.process.wait(guard)

    def stop(self, number=signal.SIGTERM):
        """Stops it gracefully; the totals."""
        self.send_signal(number)
        totals = self.wait_for("totals")
        need(self.wait() == 0, "exit code", self.process.returncode, self.error_text())
        return totals

    # --- clients

    def address(self, index=0):
        text = self.addresses[index]
        if text.startswith("unix://"):
            return socket.AF_UNIX, text[7:]
        host, port = text[len("tcp://"):].rsplit(":", 1)
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        return family, (host.strip("[]"), int(port))

    @property
    def port(self):
        return self.address()[1][1]

    @property
    def host(self):
        return self.address()[1][0]

    def connect(self, index=0, guard=GUARD, **buffers):
        family, where = self.address(index)
        client = socket.socket(family, socket.SOCK_STREAM)
        client.settimeout(guard)
        for name, size in buffers.items():
            option = {"receive": socket.SO_RCVBUF, "send": socket.SO_SNDBUF}[name]
            client.setsockopt(socket.SOL_SOCKET, option, size)
        client.connect(where)
        return client

    # --- what /proc tells

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def descriptors_at_rest(self):
        """To compare with later: one just started has more for moments (UBSan's pipes, say)."""
        self.rest()
        return self.descriptors()

    def status(self, name):
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as file:
            for line in file:
                if line.startswith(name + ":"):
                    return int(line.split()[1])
        raise KeyError(name)

    def cpu(self):
        """Seconds of processor time so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rest(self, span=0.5):
        """Waits until it uses next to no processor time for a while. Who spins never does."""
        end = time.monotonic() + GUARD
        while True:
            before = self.cpu()
            time.sleep(span)
            if self.cpu() - before < 0.1 * span:
                return
            need(time.monotonic() < end, "it spins", self.error_text())

    def settle(self, expected, what, guard=GUARD):
        """Waits until what() is `expected`."""
        end = time.monotonic() + guard
        while (now := what()) != expected:
            need(time.monotonic() < end, "is", now, "not", expected, self.error_text())
            time.sleep(0.02)


def receive(client, size):
    """Exactly so many bytes, or what came before the end."""
    parts = []
    while size > 0:
        piece = client.recv(min(size, 1 << 20))
        if not piece:
            break
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)


def receive_all(client):
    parts = []
    while piece := client.recv(1 << 20):
        parts.append(piece)
    return b"".join(parts)


def ping(client, text=b"ping"):
    client.sendall(text)
    got = receive(client, len(text))
    need(got == text, "sent", text, "got", got)


def reset(client):
    """Closes so that the peer gets a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def run(*arguments, stdin=subprocess.DEVNULL, **options):
    """Runs the tool to its end."""
    return subprocess.run([TOOL, *arguments], stdin=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=GUARD, env=ENVIRONMENT, **options)


def refused(code, *arguments, wrapper=(), **options):
    """One line on standard error, nothing on standard output, the exit code; the line."""
    done = subprocess.run([*wrapper, TOOL, *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=GUARD, env=ENVIRONMENT, **options)
    what = (arguments, done)
    need(done.returncode == code, *what)
    need(done.stdout == b"", *what)
    need(done.stderr.startswith(b"duolu: ") and done.stderr.endswith(b"\n"), *what)
    need(done.stderr.count(b"\n") == 1, "more than one line", *what)
    need(all(0x20 <= byte < 0x7f for byte in done.stderr[:-1]), "raw bytes", *what)
    return done.stderr.decode()


_pattern = None


def coded(connection, start, size):
    """The bytes at positions start .. start+size of a connection's stream: wrong order shows."""
    global _pattern
    if _pattern is None:
        # Longer than any shift, and no period of a power of two, such as buffers have.
        _pattern = b"".join(b"%07d." % i for i in range(9973)) * 2
    at = (start + connection * 7919) % (len(_pattern) // 2)
    if at + size <= len(_pattern):
        return _pattern[at:at + size]
    whole = _pattern[:len(_pattern) // 2]
    return (_pattern[at:] + whole * (size // len(whole) + 1))[:size]


@contextlib.contextmanager
def many(count, make):
    """So many clients, closed at the end."""
    clients = []
    try:
        for _ in range(count):
            clients.append(make())
        yield clients
    finally:
        for client in clients:
            client.close()


def main(*cases, at_once=1):
    """Runs the cases named in the arguments, or all; some at once where they mostly wait."""
    chosen = [c for c in cases if not sys.argv[1:] or c.__name__ in sys.argv[1:]]
    if not chosen:
        sys.exit(f"no such case; there are: {' '.join(c.__name__ for c in cases)}")
    failed, skipped = [], []

    def execute(case):
        begin = time.monotonic()
        try:
            case()
            outcome = "ok"
        except Skip as why:
            skipped.append(f"{case.__name__}: {why}")
            outcome = "SKIPPED"
        except Exception:
            traceback.print_exc(file=sys.stdout)
            failed.append(case.__name__)
            outcome = "FAILED"
        print(f"{outcome:8} {case.__name__} ({time.monotonic() - begin:.2f} s)", flush=True)

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        list(pool.map(execute, chosen))
    for line in skipped:
        print("SKIP:", line)
    if failed:
        sys.exit(f"failed: {' '.join(failed)}")
    sys.exit(77 if len(skipped) == len(chosen) else 0)
