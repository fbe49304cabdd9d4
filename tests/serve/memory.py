"""A server with an address space that is too small, and one that a crowd has left."""

import resource
import select
import signal
import time

from support import (BACKEND, GUARD, Server, Skip, main, many, need, ping, raise_descriptor_limit,
                     receive)

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
KIB = 1024
CROWD = 600


def allow(server, extra):
    """Lets the server take no more than `extra` KiB beyond what it has, or as much as it likes."""
    server.rest(0.2)
    size = resource.RLIM_INFINITY if extra is None else (server.status("VmSize") + extra) * KIB
    resource.prlimit(server.pid, resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))


def told(server):
    """Its events so far."""
    while select.select([server.process.stdout], [], [], 0)[0] or b"\n" in server.buffer:
        need(server.next_line() is not None, "it has ended", server.error_text())
    return [line["event"] for line in server.lines]


def answered(clients, size):
    """Those of whom an answer comes; waits for the first, then until none comes for long."""
    waiting, done = set(clients), []
    while ready := select.select(list(waiting), [], [], 0.3 if done else GUARD)[0]:
        for client in ready:
            got = receive(client, size)
            need(len(got) == size, "dropped after", got)
            waiting.remove(client)
            done.append(client)
    return done


def nobody_is_dropped_without_memory():
    """They come at once. Those not served wait, a line says so, and their turn comes."""
    with Server() as server:
        allow(server, 0)
        with many(CROWD, server.connect) as clients:
            for client in clients:
                client.sendall(b"first")
            left = set(clients)
            while left:
                inside = answered(left, 5)
                for client in inside:
                    ping(client)
                    client.close()
                left.difference_update(inside)
                if "accept_paused" in told(server):
                    allow(server, None)  # enough seen
        need("accept_paused" in told(server), server.lines)
        totals = server.stop()
        need(totals["failed"] == 0 and totals["connections"] == CROWD, totals)


def a_crowd_without_memory_leaves_no_damage():
    """1,000 who say nothing come and go, twice; then a request is answered."""
    raise_descriptor_limit(1200)
    with Server("http-echo") as server:
        allow(server, 400)
        for _ in range(2):
            with many(1000, server.connect):
                server.rest(0.2)
        with server.connect() as client:
            client.sendall(REQUEST)
            need(client.recv(65_536).startswith(b"HTTP/1.1 200"), server.error_text())
        need("accept_paused" in told(server), "it had memory for all: nothing is shown")
        need(server.stop()["failed"] == 0, server.lines)


def it_stops_without_memory():
    """SIGTERM while it has none: those who are in finish, and the totals are told."""
    with Server() as server:
        allow(server, 0)
        with many(CROWD, server.connect) as clients:
            for client in clients:
                client.sendall(b"first")
            inside = answered(clients, 5)
            need(inside and "accept_paused" in told(server), len(inside), server.lines)
            server.send_signal(signal.SIGTERM)
            server.wait_for("stopping")
            for client in inside:
                client.close()
            totals = server.wait_for("totals")
            need(server.wait() == 0, server.process.returncode, server.error_text())
            need(totals["cut"] == 0 and totals["failed"] == 0, totals)
            need("bad_alloc" not in server.error_text(), server.error_text())


def a_crowd_that_has_left_takes_its_memory_along():
    if BACKEND == "select":
        raise Skip("select takes 1,023 descriptors")
    raise_descriptor_limit(2200)
    with Server() as server:
        for _ in range(2):
            with server.connect() as client:
                ping(client)
            before = server.status("VmRSS")
            with many(2000, server.connect) as clients:
                for client in clients:
                    ping(client)
                most = server.status("VmRSS")
            server.settle(server.descriptors_at_rest(), server.descriptors)
            after = server.status("VmRSS")
            print(f"report: {before} KiB before 2,000 connections, {most} with them, {after} after")
            # The tables stay, of a first crowd: some hundred KiB.
            need(after <= before + 1024 and after + 200 <= most, before, most, after)


main(nobody_is_dropped_without_memory, a_crowd_without_memory_leaves_no_damage,
     it_stops_without_memory, a_crowd_that_has_left_takes_its_memory_along)
