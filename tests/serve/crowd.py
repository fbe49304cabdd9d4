"""2,000 clients at a time who behave as clients do: fast, slow, half-closing, resetting, vanishing.

Every byte that should come back does, in order; the server is alive and holds no descriptor of
theirs afterwards.
"""

import heapq
import random
import selectors
import socket
import time

from support import (BACKEND, GUARD, SANITIZED, TRIGGER, Server, coded, main, need, ping,
                     raise_descriptor_limit, reset)

CLIENTS = 400 if SANITIZED else 2000


class Client:
    """One connection's script: what to send, how to read, how to leave."""

    def __init__(self, number, server, dice):
        self.number = number
        self.kind = dice.choices(("half-close", "slow", "close", "reset", "vanish"),
                                 (5, 2, 1, 1, 1))[0]
        self.size = dice.randint(60_000,
            120_000) if self.kind == "slow" else int(2 ** dice.uniform(0, 15.5))
        self.sent = self.received = 0
        self.leave_at = dice.randint(0, self.size)  # reset, vanish: after so many bytes
        self.resume_at = 0.0
        small = {"receive": 4096} if self.kind == "slow" else {}
        self.socket = server.connect(**small)
        self.socket.setblocking(False)
        self.half_closed = False

    def wants(self):
        mask = selectors.EVENT_READ
        if self.sent < self.size:
            mask |= selectors.EVENT_WRITE
        return mask

    def write(self, dice):
        """Sends a piece; whether the client is still there."""
        limit = self.leave_at if self.kind in ("reset", "vanish") else self.size
        piece = min(limit - self.sent, dice.randint(1, 20_000))
        if piece > 0:
            try:
                self.sent += self.socket.send(coded(self.number, self.sent, piece))
            except BlockingIOError:
                return True
        if self.kind == "reset" and self.sent == limit:
            reset(self.socket)
            return False
        if self.kind == "vanish" and self.sent == limit:
            self.socket.close()
            return False
        if self.sent == self.size and self.kind != "close" and not self.half_closed:
            self.half_closed = True
            self.socket.shutdown(socket.SHUT_WR)
        return True

    def read(self, dice):
        want = dice.randint(1, 6000) if self.kind == "slow" else 1 << 16
        try:
            got = self.socket.recv(want)
        except BlockingIOError:
            return True
        except ConnectionResetError as error:
            what = f"{self.kind} {self.number}: reset after {self.received}"
            raise AssertionError(what) from error
        expected = coded(self.number, self.received, len(got))
        need(got == expected, self.kind, self.number, "other bytes after", self.received)
        self.received += len(got)
        if self.kind == "close" and self.received == self.size:
            self.socket.close()
            return False
        if got:
            return True
        need(self.received == self.size and self.half_closed, self.kind, self.number, "ended after",
             self.received, "of", self.size)
        self.socket.close()
        return False


def everybody_gets_their_bytes():
    raise_descriptor_limit(CLIENTS + 200)
    seed = 12345
    dice = random.Random(seed)
    with Server("echo") as server:
        before = server.descriptors_at_rest()
        with server.connect() as first:
            ping(first)
        server.settle(before, server.descriptors)
        clients = [Client(n, server, dice) for n in range(CLIENTS)]
        selector = selectors.DefaultSelector()
        for client in clients:
            selector.register(client.socket, client.wants(), client)
        pauses = []  # (when to go on, number)
        left = CLIENTS
        complete = sum(c.size for c in clients if c.kind in ("half-close", "slow", "close"))
        end = time.monotonic() + 4 * GUARD
        while left:
            need(time.monotonic() < end, left, "clients are stuck")
            timeout = max(0, pauses[0][0] - time.monotonic()) if pauses else GUARD
            events = selector.select(timeout)
            need(events or pauses, left, "clients are stuck")
            now = time.monotonic()
            while pauses and pauses[0][0] <= now:
                client = clients[heapq.heappop(pauses)[1]]
                selector.register(client.socket, client.wants(), client)
            for key, mask in events:
                client, alive = key.data, True
                selector.unregister(client.socket)
                if mask & selectors.EVENT_READ:
                    alive = client.read(dice)
                if alive and mask & selectors.EVENT_WRITE:
                    alive = client.write(dice)
                if not alive:
                    left -= 1
                elif client.kind == "slow" or dice.random() < 0.05:
                    heapq.heappush(pauses, (now + dice.uniform(0.0, 0.2), client.number))
                else:
                    selector.register(client.socket, client.wants(), client)
        selector.close()
        received = sum(c.received for c in clients if c.kind in ("half-close", "slow", "close"))
        need(received == complete, received, complete)
        with server.connect() as last:
            ping(last)
        server.settle(before, server.descriptors)
        totals = server.stop()
        print(f"report: {BACKEND} {TRIGGER}: {CLIENTS} clients, {complete} bytes back, "
              f"peak {totals['connections_max']}, "
              f"{totals['failed']} failed, seed {seed}")
        # At least: whoever scans the ports of this machine is a client, too.
        need(totals["connections"] >= CLIENTS + 2, totals)
        # The first to come may have left before a slow server has accepted the last ones.
        need(totals["connections_max"] >= CLIENTS * (5 if SANITIZED else 9) // 10, totals)
        need(totals["bytes_out"] >= complete, totals)
        need(totals["cut"] == 0, totals)


main(everybody_gets_their_bytes)
