"""What others cost: readers who never read, a full descriptor table, thousands who say nothing."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

from support import (BACKEND, GUARD, SANITIZED, TOOL, TRIGGER, Server, Skip, main, many, need, ping,
                     raise_descriptor_limit, receive, spare_descriptors)


def push(clients, data, quiet=1.5):
    """Sends on all of them until nobody takes anything for a while; the bytes taken. A while that a
    busy machine does not take by itself."""
    total = 0
    poller = select.poll()
    by_number = {client.fileno(): client for client in clients}
    offsets = dict.fromkeys(by_number, 0)
    for client in clients:
        client.setblocking(False)
        poller.register(client, select.POLLOUT)
    end = time.monotonic() + GUARD
    while events := poller.poll(quiet * 1000):
        need(time.monotonic() < end, "they take bytes without end")
        for number, _ in events:
            try:
                sent = by_number[number].send(data[offsets[number]:] or data)
            except BlockingIOError:
                continue
            offsets[number] = (offsets[number] + sent) % len(data)
            total += sent
    return total


def readers_who_never_read(service, data, unix):
    """`unix`: over a Unix socket, whose queues are short and have no timers."""
    readers = 200
    message, answer = b"HELLO", b"HELLO"
    if service == "http-echo":
        message, answer = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\n"
    with tempfile.TemporaryDirectory() as directory, Server(
            service, listen=[f"unix://{directory}/socket" if unix else "localhost:0"]) as server:
        empty = server.descriptors_at_rest()
        buffers = {} if unix else {"receive": 4096, "send": 65536}
        with many(readers, lambda: server.connect(**buffers)) as clients, server.connect() as good:
            server.settle(readers + 1, lambda: server.descriptors() - empty)
            before = server.status("RssAnon")
            taken = push(clients, data)
            slowest = 0.0
            for _ in range(200):  # while they hold all they can
                begin = time.monotonic()
                good.sendall(message)
                need(good.recv(65536).startswith(answer))
                slowest = max(slowest, time.monotonic() - begin)
            grown = server.status("RssAnon") - before
            print(f"report: {service}: {readers} readers who do not read sent {taken} bytes "
                  f"and cost "
                  f"{grown / readers:.1f} KiB each; the slowest of 200 answers to another took "
                  f"{slowest * 1000:.1f} ms")
            need(taken >= readers * 4096, "they never began", taken)
            if not SANITIZED:  # whose allocators keep what is freed
                need(grown <= readers * 64, grown, "KiB")
                need(grown >= readers * 4, grown, "KiB: nothing is kept, so nothing is shown")
            need(slowest < (30 if SANITIZED else 10), slowest)
            server.rest()


def never_reading_echo():
    readers_who_never_read("echo", os.urandom(1 << 16), unix=False)


def never_reading_upper():
    readers_who_never_read("upper", b"abcdefgh" * 8192, unix=True)


def never_reading_http_echo():
    # The most answer for the least request; and a head of nearly 16 KiB from an earlier read first.
    long_head = b"A / HTTP/1.1\nHost:\nX:" + b"x" * 16_300 + b"\n\n"
    readers_who_never_read("http-echo", b"A / HTTP/1.1\nHost:\n\n" * 3000 + long_head, unix=True)


def never_reading_chargen():
    readers = 200
    with Server("chargen") as server:
        empty = server.descriptors_at_rest()
        with many(readers, lambda: server.connect(receive=4096)) as clients:
            server.settle(readers, lambda: server.descriptors() - empty)
            need(all(client.recv(1) for client in clients))
            server.rest()


def a_full_descriptor_table():
    """64 descriptors and 200 clients: nobody is lost, nothing spins."""
    spare_descriptors()
    with Server("echo", descriptors=64) as server, many(200, server.connect) as clients:
        waiting = set(clients)
        for client in clients:
            client.sendall(b"first")

        def admitted(timeout):
            ready, _, _ = select.select(list(waiting), [], [], timeout)
            for client in ready:
                need(receive(client, 5) == b"first")
            waiting.difference_update(ready)
            return ready

        inside = []
        while ready := admitted(0.7):
            inside += ready
        need(40 <= len(inside) <= 60, len(inside), "are in")
        seconds, used, answers = 3, server.cpu(), 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for client in inside[:5]:
                ping(client, b"still here")
                answers += 1
            time.sleep(0.05)
        share = (server.cpu() - used) / seconds
        print(f"report: {len(inside)} in, {len(waiting)} waiting: {answers} answers, "
              f"{share:.1%} of a core")
        need(share < (0.25 if SANITIZED else 0.05), share)
        need(not admitted(0), "somebody was let in without a descriptor")
        served = len(inside)
        while waiting:
            need(inside, len(waiting), "wait and nobody is in")
            inside.pop(0).close()
            ready = admitted(GUARD)
            need(ready, len(waiting), "wait although somebody left")
            inside += ready
            served += len(ready)
        need(served == 200, served)
        for client in inside:
            ping(client)
        need("accepting is paused" in server.error_text() or
             any(line["event"] == "accept_paused" for line in drain_lines(server)))


def drain_lines(server):
    """The lines of JSON so far and those up to the totals."""
    server.stop()
    return server.lines


def idle_clients_do_not_wake_it():
    idle = 300 if SANITIZED else 2000
    raise_descriptor_limit(idle + 200)
    with Server("echo") as server, many(idle, server.connect) as clients:
        for client in clients:
            ping(client)
        time.sleep(0.3)
        before = server.status("voluntary_ctxt_switches"), server.cpu()
        time.sleep(10)
        after = server.status("voluntary_ctxt_switches"), server.cpu()
        print(f"report: {BACKEND}: {idle} idle connections, 10 s: {after[0] - before[0]} wake-ups, "
              f"{after[1] - before[1]:.2f} s of processor time")
        need(after[0] == before[0], before, after)
        need(after[1] - before[1] < 0.05, before, after)
        ping(clients[0])
        ping(clients[-1])


def system_calls_per_message():
    """100 connections, 64 bytes to and fro: epoll makes at most 2.1 calls a message, a ring 1.1."""
    if shutil.which("strace") is None:
        raise Skip("strace is not installed")
    rounds, message = (40 if SANITIZED else 200), b"m" * 64
    with Server("echo") as server, many(100, server.connect) as clients:
        for client in clients:
            ping(client)

        def round_trip():
            for client in clients:
                client.sendall(message)
            for client in clients:
                need(receive(client, 64) == message)

        def calls_of(count):
            with tempfile.NamedTemporaryFile("r") as summary:
                tracer = subprocess.Popen(["strace", "-c", "-f", "-p", str(server.pid), "-o",
                                           summary.name],
                                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                try:
                    first = tracer.stderr.readline().decode()
                    if "attached" not in first:
                        raise Skip(f"strace cannot attach here: {first.strip()}")
                    for _ in range(count):
                        round_trip()
                    tracer.send_signal(signal.SIGINT)
                    tracer.wait(GUARD)
                finally:
                    if tracer.poll() is None:
                        tracer.kill()
                        tracer.wait()
                    tracer.stderr.close()
                text = summary.read()
            total = re.search(r"^\s*100\.00\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total$", text,
                              re.M)
            need(total, text)
            return int(total.group(1)), text

        few, _ = calls_of(rounds // 10)
        all_calls, text = calls_of(rounds + rounds // 10)
        figure = (all_calls - few) / (rounds * len(clients))
        print(f"report: {BACKEND} {TRIGGER}: {figure:.3f} system calls a message, "
              f"{rounds * len(clients)} messages")
        print(text)
        rows = json.loads(subprocess.run([TOOL, "doctor", "--json"], check=True,
                                         capture_output=True).stdout)["backends"]
        native = next(row for row in rows if row["name"] == BACKEND)["native_edge"]
        if native is None:  # one call submits, waits and harvests
            need(figure <= 1.1, figure)
        elif native and TRIGGER in ("level", "edge"):
            need(figure <= 2.1, figure)
        else:
            need(figure <= 4.2, figure)


main(never_reading_echo, never_reading_upper, never_reading_http_echo, never_reading_chargen,
     a_full_descriptor_table, idle_clients_do_not_wake_it, system_calls_per_message)
