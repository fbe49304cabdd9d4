"""Starts servers and clients, and ends all of them."""

import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


NOT_AVAILABLE = 3  # the exit code of a program that cannot run on this machine


class Failure(Exception):
    """An error of a server or client, with its own message if it printed one."""


class NotObtained(Exception):
    """Why there is no figure, although nothing failed."""


class Ports:
    """A new port for each server, so that no run has the previous one's connections in TIME_WAIT.
    They are below the range of the kernel's outgoing ports."""

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
    """Raises it to the hard limit, also for children. Returns that limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cores():
    """One core for the server and one for the client: not two threads of one core, if there are
    more. Only one number if there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    first = allowed[0]
    others = [core for core in allowed if core not in group(first)] or allowed[1:]
    return [first, *others[:1]]


def group(core):
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
    """A child that ends with the block. It has a process group of its own, with the program that a
    tool (strace) starts, so that Ctrl-C reaches only this process and the group can be ended."""

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
        """Returns the exit status."""
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"not done after {seconds:.0f} s") from None

    def stop(self):
        """Ends it as a user would. If it has died before, that is a failure."""
        self.expect_alive()
        os.killpg(self.pid, signal.SIGTERM)  # strace ends with its program only
        try:
            self.child.wait(self.GRACE)
        except subprocess.TimeoutExpired:
            raise Failure("does not end on SIGTERM") from None

    def cpu_ns(self):
        """CPU time of all its threads, including ended ones. The number names the clock of the
        process, as for clock_getcpuclockid; the scheduler counts it, as it does
        /proc/PID/schedstat for one thread."""
        return time.clock_gettime_ns((~self.pid << 3) | 2)

    def waited_ns(self):
        """How long its first thread was ready to run while another process had the core."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1])


def describe(status):
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"


def await_echo(server, port, seconds=30):
    """Waits until it has echoed a byte and closed the connection. It has then finished all earlier
    work, too: a caller that counts the server's calls therefore calls this again at the end."""
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
    """Returns its output; raises a Failure with its message unless it exits with 0."""
    words = [str(word) for word in words]
    with Process(words, core) as client:
        status = client.wait(seconds)
        if status != 0:
            raise Failure(f"{Path(words[0]).name}: {describe(status)}: {client.complaint()}")
        return client.said()
