"""A log that is read slowly, not at all, or cannot be written: the server serves all the same."""

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import tempfile
import time

from support import BACKEND, ENVIRONMENT, GUARD, TOOL, main, need, ping

MESSAGES = 6_000  # lines of about 130 bytes: more than a pipe and the backlog hold
TEXT = b"x" * 50


@contextlib.contextmanager
def serving(stdout, stderr, *options, command=None):
    """A verbose server on a Unix socket, and a client of it."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/socket"
        process = subprocess.Popen(
            [TOOL, "serve", "echo", "-v", "--backend", BACKEND, *options, "--listen",
             f"unix://{path}"], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            env=ENVIRONMENT)
        try:
            end = time.monotonic() + GUARD
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(GUARD)
            while client.connect_ex(path):
                need(process.poll() is None and time.monotonic() < end, process.poll())
                time.sleep(0.01)
            with client:
                yield process, client
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def streams(kind):
    """The end that the server writes to, and ours."""
    if kind == "pipe":
        reader, writer = os.pipe()
    elif kind == "terminal":
        reader, writer = pty.openpty()
    else:
        ours, theirs = socket.socketpair()
        reader, writer = ours.detach(), theirs.detach()
    return writer, reader


def read_until(reader, pattern, text=b""):
    """Reads on until the pattern has come."""
    while not re.search(pattern, text):
        piece = os.read(reader, 1 << 16)
        need(piece, "it ended before", pattern)
        text += piece
    return text


def a_reader_that_stalls_stops_nobody():
    """And when it is back everything is accounted for, although nothing more happens."""
    for kind in ("pipe", "terminal", "socket"):
        for as_json in (False, True):
            writer, reader = streams(kind)
            to = dict(stdout=writer, stderr=subprocess.DEVNULL) if as_json else dict(
                stdout=subprocess.DEVNULL, stderr=writer)
            options = ("--json",) if as_json else ()
            with serving(to["stdout"], to["stderr"], *options) as (process, client):
                os.close(writer)
                for _ in range(MESSAGES):
                    ping(client, TEXT)
                dropped = (rb'"dropped","entries":\d+}\r?\n'
                           if as_json else rb"dropped \d+ lines.*\n")
                text = read_until(reader, dropped)
                count = int(re.search(rb"\d+", re.search(dropped, text)[0])[0])
                told = text.count(b"received")
                need(told + count == MESSAGES, kind, as_json, told, count)
                ping(client, b"after that")
                read_until(reader, rb"after that", text)
                process.terminate()
                last = read_until(reader, rb'"totals".*\n' if as_json else rb"served 1 .*\n")
                need(process.wait(GUARD) == 0, kind, process.returncode)
                if as_json and kind != "terminal":
                    for line in (text + last).splitlines()[1:]:
                        need(json.loads(line)["event"], line)
            os.close(reader)


def a_slow_reader_loses_nothing():
    """What is behind by less than the bound is all there, in order, and with whole lines."""
    reader, writer = os.pipe()
    with serving(writer, subprocess.DEVNULL, "--json") as (process, client):
        os.close(writer)
        for i in range(1_500):
            ping(client, b"%06d" % i)
        process.terminate()
        text = read_until(reader, rb'"totals".*\n')
        need(process.wait(GUARD) == 0)
        events = [json.loads(line) for line in text.splitlines()]
        got = [event["text"] for event in events if event["event"] == "received"]
        need(got == [f"{i:06}" for i in range(1_500)], len(got))
    os.close(reader)


def it_stops_although_nobody_reads():
    for as_json, number in ((False, signal.SIGTERM), (True, signal.SIGTERM),
                            (False, signal.SIGINT)):
        reader, writer = os.pipe()
        errors = tempfile.TemporaryFile()
        options = ("--json",) if as_json else ()
        with serving(writer if as_json else subprocess.DEVNULL, errors if as_json else writer,
                     *options) as (process, client):
            os.close(writer)
            for _ in range(MESSAGES):
                ping(client, TEXT)
            process.send_signal(number)
            code = process.wait(GUARD)
            errors.seek(0)
            said = errors.read()
            # Events are data, and some are lost; a log for people is not worth a failure.
            need(code == (1 if as_json else 0), as_json, code, said)
            need(not as_json or b"is not read" in said, said)
        os.close(reader)
        errors.close()


def events_that_cannot_be_written_are_a_failure():
    with open("/dev/full", "wb") as full, tempfile.TemporaryFile() as errors:
        with serving(full, errors, "--json") as (process, client):
            for _ in range(100):
                ping(client, TEXT)
            process.terminate()
            need(process.wait(GUARD) == 1, process.returncode)
            errors.seek(0)
            lines = errors.read().decode().splitlines()
            need(len(lines) == 2, lines)  # when it began, and that it lasted
            need(all("No space left on device" in line for line in lines), lines)


main(a_reader_that_stalls_stops_nobody, a_slow_reader_loses_nothing,
     it_stops_although_nobody_reads, events_that_cannot_be_written_are_a_failure, at_once=4)
