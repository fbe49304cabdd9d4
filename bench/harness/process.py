"""Starts servers and clients, and ends every one it started."""

import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


NOT_AVAILABLE = 3  # the exit code of what cannot run on this machine


class Failure(Exception):
    """What a server or client did wrong, in its own words if it had any."""


class NotObtained(Exception):
    """No figure, and nobody's failure; why."""


class Ports:
    """A fresh port for each server, so that no run meets the last one's connections in TIME_WAIT.
    Below the range the kernel takes outgoing ports from."""

    FIRST, LAST = 10_000, 32_000

    def __init__(self):
        self.next = self.FIRST + os.getpid() % 10_000

    def take(self):
        for _ in range(self.FIRST, self.LAST):
            self.next = self.next + 1 if self.next < self.LAST else self.FIRST
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", self.next))
                    return self.next
                except OSError:
                    pass
        raise Failure("no free port")


PORTS = Ports()


def raise_descriptor_limit():
    """To the hard limit, for us and whom we start; that limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cores():
    """One for the server and one for the client: not the two halves of one, where there are more.
    One number if there is but one."""
    allowed = sorted(os.sched_getaffinity(0))
    first = allowed[0]
    others = [core for core in allowed if core not in siblings(first)] or allowed[1:]
    return [first, *others[:1]]


def siblings(core):
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
    except OSError:
        return {core}
    found = set()
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return found


class Process:
    """A child, ended when the block is; a client's or server's tool (strace) and what it started
    are a process group of their own, so that Ctrl-C reaches us alone and they can be ended."""

    GRACE = 10

    def __init__(self, words, core=None, environment=None):
        self.output = tempfile.TemporaryFile()
        self.errors = tempfile.TemporaryFile()
        if core is not None:
            words = ["taskset", "-c", str(core), *words]
        self.child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.output,
                                      stderr=self.errors, process_group=0,
                                      env=os.environ | (environment or {}))
        self.pid = self.child.pid

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.child.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.child.wait()
        self.output.close()
        self.errors.close()

    def said(self):
        self.output.seek(0)
        return self.output.read().decode("utf-8", "replace")

    def complaint(self):
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "without a word"

    def expect_alive(self):
        status = self.child.poll()
        if status == NOT_AVAILABLE:
            raise NotObtained(f"not available here: {self.complaint()}")
        if status is not None:
            raise Failure(f"ended by itself, {describe(status)}: {self.complaint()}")

    def wait(self, seconds):
        """The exit status."""
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"not done after {seconds:.0f} s") from None

    def stop(self):
        """As a user would; a server that has died before is a failure."""
        self.expect_alive()
        os.killpg(self.pid, signal.SIGTERM)  # strace ends with its program, and at nothing else
        try:
            self.child.wait(self.GRACE)
        except subprocess.TimeoutExpired:
            raise Failure("does not end on SIGTERM") from None

    def cpu_ns(self):
        """What all its threads have used, those that are gone included. The clock's number is the
        kernel's way to name a process's (clock_getcpuclockid); counted by the scheduler, as
        /proc/PID/schedstat is for one thread."""
        return time.clock_gettime_ns((~self.pid << 3) | 2)

    def waited_ns(self):
        """How long its first thread was ready to run and another process had the core."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1])


def describe(status):
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"


def await_echo(server, port, seconds=30):
    """Until it has echoed a byte and closed the connection. It has then done what was there to do
    before, too: whoever counts the server's calls asks once more at the end."""
    deadline = time.monotonic() + seconds
    while True:
        server.expect_alive()
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as probe:
                probe.sendall(b"?")
                if probe.recv(1) != b"?":
                    raise Failure("answers a wrong byte, or none")
                probe.shutdown(socket.SHUT_WR)
                if probe.recv(1) != b"":
                    raise Failure("answers more than it was told")
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise Failure(f"does not serve after {seconds} s: {error}") from None
        time.sleep(0.01)


def run_client(words, core=None, seconds=120):
    """What it printed; a Failure with its words unless it ends with 0."""
    words = [str(word) for word in words]
    with Process(words, core) as client:
        status = client.wait(seconds)
        if status != 0:
            raise Failure(f"{Path(words[0]).name}: {describe(status)}: {client.complaint()}")
        return client.said()
