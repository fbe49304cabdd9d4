#!/usr/bin/env python3
"""Whether the echo servers of the benchmark are right, byte by byte, before they are timed.

  check.py [--seconds N] SERVER...    SERVER: a program with what follows PORT, as one argument:
                                      check.py build/release/bench/raw_poll "…/raw_epoll edge"

Starts each server on a free port of 127.0.0.1 and runs every case with it; prints a line for each
that failed, and exits with 1 if one did. A server that exits with 3 is not supported here.
--seconds bounds a case (default 10).
"""

import argparse
import contextlib
import os
import random
import resource
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

BYTES = random.Random(1).randbytes(1 << 25)  # at any offset the bytes are different
SOFT_LIMIT = 256  # of descriptors, for the servers to raise
PARALLEL = 2  # servers at the same time


class Unsupported(Exception):
    pass


class Server:
    def __init__(self, words, seconds, environment=None):
        self.seconds = seconds
        self.one_at_a_time = os.path.basename(words[0]) == "raw_blocking"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.process = subprocess.Popen(
            [words[0], str(self.port), *words[1:]], stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT_LIMIT, hard)))
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.connect().close()
                return
            except ConnectionRefusedError:
                if self.process.poll() == 3:
                    raise Unsupported(self.process.stderr.read().strip()) from None
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.end()
                    raise AssertionError(f"did not start: {self.process.stderr.read()}") from None
                time.sleep(0.01)

    def connect(self, receive_buffer=0):
        client = socket.socket()
        client.settimeout(self.seconds)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.connect(("127.0.0.1", self.port))
        return client

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@contextlib.contextmanager
def crowd(server, count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.connect()) for _ in range(count)]


def exchange(server, clients, messages):
    """Sends messages[i] on clients[i], all at the same time, and reads as many bytes back."""
    deadline = time.monotonic() + server.seconds
    with selectors.DefaultSelector() as selector:
        unsent = [memoryview(message) for message in messages]
        received = [bytearray() for _ in messages]
        left = len(clients)
        for number, client in enumerate(clients):
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE, number)
        while left:
            assert time.monotonic() < deadline, f"{left} of {len(clients)} echoes are missing"
            for key, ready in selector.select(0.1):
                number, client = key.data, key.fileobj
                if ready & selectors.EVENT_WRITE:
                    unsent[number] = unsent[number][client.send(unsent[number]):]
                    if not unsent[number]:
                        selector.modify(client, selectors.EVENT_READ, number)
                if ready & selectors.EVENT_READ:
                    piece = client.recv(1 << 18)
                    assert piece, "the connection was closed"
                    received[number] += piece
                    if len(received[number]) >= len(messages[number]):
                        assert received[number] == messages[number], "other bytes came back"
                        selector.unregister(client)
                        left -= 1
    for client in clients:
        client.settimeout(server.seconds)


def read_to_end(client):
    return b"".join(iter(lambda: client.recv(1 << 18), b""))


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def fill(client):
    """Sends without reading until no more is taken, which must happen. Returns what was sent."""
    client.settimeout(0.1)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while True:
            assert sent < len(BYTES), "the server takes any number of bytes without an end"
            sent += client.send(BYTES[sent:sent + (1 << 16)])
    return BYTES[:sent]


# --- the cases

def messages_of_every_size(server):
    for size in (1, 64, 4096, 16383, 16384, 16385, 65536, 1 << 20):
        with server.connect() as client:
            for start in range(3):
                exchange(server, [client], [BYTES[start:start + size]])


def pipelined(server):
    """Sixteen messages at once, whose echoes must come in order."""
    for size in (64, 16384):
        with crowd(server, 1 if server.one_at_a_time else 20) as clients:
            for _ in range(5):
                exchange(server, clients, [BYTES[i:i + 16 * size] for i in range(len(clients))])


def many_large_messages(server):
    """With more messages outstanding than the server has buffers for."""
    with crowd(server, 1 if server.one_at_a_time else 24) as clients:
        exchange(server, clients, [BYTES[i:i + (1 << 20)] for i in range(len(clients))])


def sends_all_before_it_reads(server):
    with server.connect() as client:
        client.sendall(BYTES[:1 << 20])
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == BYTES[:1 << 20], "other bytes came back"


def does_not_read(server):
    """Delays no other client, and gets its echoes when it reads at last, twice."""
    if server.one_at_a_time:
        return
    with server.connect(receive_buffer=4096) as client, server.connect() as another:
        for _ in range(2):
            message = fill(client)
            assert len(message) > 1 << 17, "the server took nothing"
            exchange(server, [another], [BYTES[:64]])
            exchange(server, [another], [BYTES[:1 << 18]])
            received = bytearray()
            client.settimeout(server.seconds)
            while len(received) < len(message):
                piece = client.recv(1 << 18)
                assert piece, "the connection was closed"
                received += piece
            assert received == message, "other bytes came back"
        exchange(server, [client, another], [BYTES[:100], BYTES[:200]])


def half_closed(server):
    for size in (0, 64, 100_000):
        with server.connect() as client:
            client.sendall(BYTES[:size])
            client.shutdown(socket.SHUT_WR)
            assert read_to_end(client) == BYTES[:size], "other bytes came back"


def resets(server):
    reset(server.connect())
    for fill_first in (False, True):
        client = server.connect(receive_buffer=4096)
        if fill_first:
            fill(client)
        else:
            client.send(BYTES[:64])
        reset(client)
    client = server.connect(receive_buffer=4096)
    fill(client)
    client.close()  # with bytes unread: a reset too
    with server.connect() as client:
        exchange(server, [client], [BYTES[:64]])


def a_thousand_connections(server):
    """More than FD_SETSIZE, if allowed; half of them are closed and replaced in between."""
    count = min(1100, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // PARALLEL - 50)
    if server.one_at_a_time:
        for start in range(count):
            with server.connect() as client:
                exchange(server, [client], [BYTES[start:start + 64]])
        return
    with crowd(server, count // 2) as clients:
        with crowd(server, count - len(clients)) as others:
            for size in (64, 16384):
                exchange(server, clients + others, [BYTES[i:i + size] for i in range(count)])
        with crowd(server, count - len(clients)) as others:
            exchange(server, others + clients, [BYTES[i:i + 64] for i in range(count)])


CASES = (messages_of_every_size, pipelined, many_large_messages, sends_all_before_it_reads,
         does_not_read, half_closed, resets, a_thousand_connections)


# --- one server: its cases, that it keeps no descriptors, and its three ends

def ends_by_itself(words, seconds):
    server = Server(words, seconds, {"DUOLU_BENCH_UNTIL": "3"})  # Server() has closed one
    try:
        for _ in range(2):
            with server.connect() as client:
                exchange(server, [client], [BYTES[:64]])
        assert server.process.wait(seconds) == 0, f"exited with {server.process.returncode}"
    finally:
        server.end()


def refuses(words):
    done = subprocess.run([words[0]], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 2 and done.stderr.startswith("usage: "), f"without PORT: {done}"


def check(command, seconds):
    """The failures of a server, as lines."""
    words, failures = command.split(), []
    name = " ".join([os.path.basename(words[0]), *words[1:]])

    def attempt(case, *arguments):
        try:
            case(*arguments)
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            failures.append(f"{name}: {case.__name__}: {error or type(error).__name__}")

    def keeps_no_descriptors(server, before):
        deadline = time.monotonic() + seconds
        while server.descriptors() > before:
            assert time.monotonic() < deadline, f"{server.descriptors()} descriptors, not {before}"
            time.sleep(0.01)

    def ends_on_sigterm(server):
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(seconds) == -signal.SIGTERM, \
            f"exited with {server.process.returncode}"

    try:
        server = Server(words, seconds)
    except Unsupported as reason:
        print(f"report: {name}: {reason}")
        return []
    except AssertionError as error:
        return [f"{name}: {error}"]
    try:
        with server.connect() as client:  # what the server opens for the first client stays open
            exchange(server, [client], [BYTES[:64]])
        time.sleep(0.05)
        before = server.descriptors()
        for case in CASES:
            attempt(case, server)
            if server.process.poll() is not None:
                return [*failures, f"{name}: died of it: {server.process.returncode}"]
        attempt(keeps_no_descriptors, server, before)
        attempt(ends_on_sigterm, server)
    finally:
        server.end()
    attempt(ends_by_itself, words, seconds)
    attempt(refuses, words)
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("servers", nargs="+", metavar="SERVER")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ThreadPoolExecutor(PARALLEL) as pool:
        failures = sum(pool.map(lambda name: check(name, options.seconds), options.servers), [])
    print("\n".join(failures) or f"{len(options.servers)} servers, {len(CASES)} cases: all right")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
