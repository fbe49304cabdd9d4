"""Runs the programs of the tutorial against real clients: tutorial_test.py PROGRAMS [CASE].

PROGRAMS is the folder they are in. The clients are sockets of Python, nc and curl where they are
installed, and the tutorial's own. A case is a class; CMakeLists.txt makes a test of each, and
`EveryProgram` holds that none is missing.
"""

import contextlib
import os
import pathlib
import re
import resource
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

SOURCES = pathlib.Path(__file__).resolve().parents[2] / "examples" / "tutorial"
PROGRAMS = None  # set below, from the command line
HANG = 60  # seconds: long after anything that works has ended, on a loaded machine too
SANITIZED = os.environ.get("DUOLU_SANITIZED", "")
SILENCE = 0.5  # seconds: how long to see that nothing comes; not a bound on what is right
MEBIBYTE = (bytes(i * 7 % 251 for i in range(251)) * 4200)[:1 << 20]
DASHES = "-" * 40


class Program:
    """One program, its output read line by line; ended, by its pid, when the block ends."""

    def __init__(self, name, *options, stdin=subprocess.DEVNULL, under=()):
        self.process = subprocess.Popen([*under, PROGRAMS / name, *map(str, options)], stdin=stdin,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.seen = []
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.seen.append(line.decode("ascii").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.seen.append(None)  # the end
            self.changed.notify_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        if self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def lines(self):
        with self.changed:
            return [line for line in self.seen if line is not None]

    def wait_for(self, condition):
        """Waits until condition(lines so far) gives something, which is returned."""
        end = time.monotonic() + HANG
        with self.changed:
            while not (found := condition([line for line in self.seen if line is not None])):
                left = end - time.monotonic()
                if left <= 0 or self.seen[-1:] == [None]:
                    raise AssertionError(f"it said only {self.seen}")
                self.changed.wait(left)
        return found

    def wait_for_line(self, line, times=1):
        self.wait_for(lambda lines: lines.count(line) >= times)

    def lines_after_first(self, count):
        return self.wait_for(lambda lines: len(lines) > count and lines[1:])

    def ended(self):
        return self.process.wait(HANG)

    @contextlib.contextmanager
    def stopped(self):
        """What happens inside the block, the program sees all at once."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            state = pathlib.Path(f"/proc/{self.process.pid}/stat")
            while state.read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "T":
                time.sleep(0.001)
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


class Server(Program):
    def __init__(self, name, *options, **more):
        super().__init__(name, "--port", 0, *options, **more)
        try:
            first = self.wait_for(lambda lines: lines[:1])[0]
            self.port = int(re.fullmatch(r"starting up on localhost port (\d+)", first)[1])
        except BaseException:
            self.__exit__()
            raise

    def connect(self, receive_buffer=None):
        client = socket.socket()
        client.settimeout(HANG)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(("127.0.0.1", self.port))
        return client

    def cpu(self):
        """Seconds of processor time so far."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_until_read(self, client):
        """Waits until nothing of what `client` has sent is left for it to read."""
        here, there = (f"0100007F:{port:04X}" for port in (self.port, client.getsockname()[1]))
        end = time.monotonic() + HANG
        while time.monotonic() < end:
            table = pathlib.Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
            for _, mine, other, _, queues, *_ in map(str.split, table):
                if (mine, other) == (here, there) and queues.endswith(":00000000"):
                    return
            time.sleep(0.001)
        raise AssertionError("it does not read")

    def sleeps(self):
        """Whether it comes to rest: one that spins never uses less than half of the time."""
        for _ in range(20):
            before = self.cpu()
            time.sleep(SILENCE)
            if self.cpu() - before < SILENCE / 2:
                return True
        return False


def receive(client, size):
    """Exactly so many bytes, or what came before the end."""
    got = bytearray()
    while len(got) < size and (piece := client.recv(size - len(got))):
        got += piece
    return bytes(got)


def receive_all(client):
    return receive(client, 1 << 30)


def silent(client):
    return not select.select([client], [], [], SILENCE)[0]


def reset(client):
    """Closes so that the peer gets a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def name_of(client):
    """A client as servers name it."""
    return str(client.getsockname())


def run_client(name, server, *options, stdin=b""):
    return subprocess.run([PROGRAMS / name, "--port", str(server.port), *options], input=stdin,
                          capture_output=True, timeout=HANG, check=False)


def nc(server, text):
    """What nc prints that sends `text` and then its end."""
    return subprocess.run(["nc", "-N", "127.0.0.1", str(server.port)], input=text,
                          capture_output=True, timeout=HANG, check=False).stdout


def has_nc():
    return shutil.which("nc") and b"-N" in subprocess.run(["nc", "-h"], capture_output=True,
                                                          check=False).stderr


needs_nc = unittest.skipUnless(has_nc(), "no nc with -N here")
def tool():
    """`duolu`, where it is built."""
    return PROGRAMS.parent / "duolu"


needs_curl = unittest.skipUnless(shutil.which("curl"), "no curl here")


def has_backend(name):
    done = subprocess.run([PROGRAMS / "02_edge"], capture_output=True, timeout=HANG, check=False)
    return name in done.stdout.decode().split()


class Echo:
    """What every server of the tutorial does for its clients, one after the other."""

    program = ""
    sleeps = True  # while it has nothing to do

    def serve(self, *options, **more):
        return Server(self.program, *options, **more)

    def message(self, number=0):
        return b"This is message %d.\n" % number

    def answer(self, message):
        return message

    def exchange(self, client, number=0):
        message = self.message(number)
        client.sendall(message)
        self.assertEqual(receive(client, len(message)), self.answer(message))

    def large(self):
        return MEBIBYTE

    def test_messages_come_back(self):
        with self.serve() as server, server.connect() as client:
            for number in range(10):
                self.exchange(client, number)
            client.sendall(self.message(1) + self.message(2))  # back to back
            both = self.answer(self.message(1) + self.message(2))
            self.assertEqual(receive(client, len(both)), both)

    def test_half_close(self):
        with self.serve() as server, server.connect() as client:
            client.sendall(self.message())
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(receive_all(client), self.answer(self.message()))

    def test_a_mebibyte_to_a_slow_reader(self):
        with self.serve() as server, server.connect(receive_buffer=4096) as client:
            message = self.large()

            def send():
                client.sendall(message)
                client.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            got = receive_all(client)
            sender.join()
            self.assertEqual(len(got), len(message))
            self.assertTrue(got == self.answer(message))

    def test_resets_hurt_nobody_else(self):
        with self.serve() as server:
            for text in (b"", self.message(), self.large()[:100000]):
                client = server.connect()
                client.sendall(text)
                reset(client)
            with server.connect() as client:
                self.exchange(client)

    def test_it_ends_with_a_signal(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.serve() as server, server.connect() as client:
                self.exchange(client)
                server.process.send_signal(number)
                self.assertEqual(server.ended(), -number)

    def test_its_address_can_be_used_again_at_once(self):
        with self.serve() as server, server.connect() as client:
            self.exchange(client)
            server.process.kill()
            server.ended()  # its end of the connection is in TIME_WAIT or FIN_WAIT now
            self.assertEqual(client.recv(1), b"")
            with Program(self.program, "--port", server.port) as next_one:
                next_one.wait_for_line(f"starting up on localhost port {server.port}")

    def test_a_port_in_use_is_an_error(self):
        with self.serve() as server:
            done = subprocess.run([PROGRAMS / self.program, "--port", str(server.port)],
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=HANG,
                                  check=False)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(done.stderr,
                             b"cannot listen on localhost: Address already in use\n")

    @needs_nc
    def test_nc(self):
        with self.serve() as server:
            self.assertEqual(nc(server, self.message()), self.answer(self.message()))

    def test_talk(self):
        if not tool().exists():
            self.skipTest("the tool is not built")
        with self.serve() as server:
            talk = subprocess.run([tool(), "talk", f"127.0.0.1:{server.port}", "--raw"],
                                  input=self.message(), capture_output=True, timeout=HANG,
                                  check=False)
            self.assertEqual((talk.stdout, talk.stderr, talk.returncode),
                             (self.answer(self.message()), b"", 0))

    def test_a_client_that_multiplexes(self):
        """Several connections of one client, which waits with `selectors`."""
        with self.serve() as server, selectors.DefaultSelector() as waiting:
            for number in range(4):
                client = server.connect()
                client.setblocking(False)
                waiting.register(client, selectors.EVENT_WRITE, [number, bytearray()])
            while waiting.get_map():
                for key, _ in waiting.select(HANG):
                    number, got = key.data
                    if key.events == selectors.EVENT_WRITE:
                        key.fileobj.sendall(self.message(number))
                        waiting.modify(key.fileobj, selectors.EVENT_READ, key.data)
                        continue
                    got += key.fileobj.recv(4096)
                    if len(got) >= len(self.message(number)):
                        self.assertEqual(got, self.answer(self.message(number)))
                        waiting.unregister(key.fileobj)
                        key.fileobj.close()


class Stream(Echo):
    """Servers that answer whatever comes, whole messages or not."""

    def test_multi_client(self):
        with self.serve() as server:
            done = run_client("15_multi_client", server)
            self.assertEqual(done.returncode, 0)
            parts = [re.sub(rb"^\('127.0.0.1', \d+\): ", b"", line)
                     for line in done.stdout.splitlines()]
            for part in (b"This is the message. ", b"It will be sent ", b"in parts."):
                self.assertEqual(parts.count(b'sending "%s"' % part), 2)
                self.assertEqual(parts.count(b'received "%s"' % self.answer(part)), 2)

    def test_line_client(self):
        with self.serve() as server:
            done = run_client("16_line_client", server, stdin=b"  Hello \n\n \nworld\n")
            hello, world = self.answer(b"Hello").decode(), self.answer(b"world").decode()
            self.assertEqual(done.stdout.decode(),
                             f"msg>: {hello}\nmsg>: msg>: msg>: {world}\nmsg>: \n")
            self.assertEqual(done.returncode, 0)


class Multiplexed:
    """Servers for which clients do not wait for each other, and that sleep when nobody speaks."""

    def test_two_clients_at_once(self):
        with self.serve() as server, server.connect() as one, server.connect() as other:
            for number in range(10):
                self.exchange(other, number)
                self.exchange(one, number)

    def test_who_does_not_read_is_not_waited_for(self):
        with self.serve() as server, server.connect(receive_buffer=4096) as stuck, \
                server.connect() as other:
            stuck.setblocking(False)
            text = self.large() * 16
            sent = 0
            while sent < len(text) and select.select([], [stuck], [], 0.2)[1]:
                sent += stuck.send(text[sent:sent + 65536])
            for number in range(20):
                self.exchange(other, number)
            if self.sleeps:
                self.assertTrue(server.sleeps())

    @unittest.skipIf("undefined" in SANITIZED, "UBSan needs descriptors of its own")
    def test_out_of_descriptors(self):
        with self.serve() as server, contextlib.ExitStack() as clients:
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (16, 16))
            everybody = [clients.enter_context(server.connect()) for _ in range(20)]
            for client in everybody:
                client.sendall(self.message())
            time.sleep(SILENCE)
            served = select.select(everybody, [], [], 0)[0]
            self.assertTrue(served)
            self.assertLess(len(served), 16)
            self.assertTrue(server.sleeps())  # it does not try again and again
            for client in everybody:
                answer = self.answer(self.message())
                self.assertEqual(receive(client, len(answer)), answer)
                client.close()  # which makes room for the next one

    def test_an_idle_server_sleeps(self):
        with self.serve() as server, server.connect() as one, server.connect() as other:
            self.exchange(one)
            self.exchange(other)
            with server.connect() as gone:
                self.exchange(gone)
            self.assertTrue(server.sleeps())


class Blocking01(Stream, unittest.TestCase):
    program = "01_blocking_echo"

    def test_multi_client(self):
        with self.serve() as server:  # one at a time: two would wait for each other
            done = run_client("15_multi_client", server, "--connections", "1")
            self.assertEqual((done.returncode, done.stdout.count(b"received")), (0, 3))

    def test_the_second_client_waits(self):
        with self.serve() as server, server.connect() as first:
            self.exchange(first)
            with server.connect() as second:  # connected, by the kernel
                second.sendall(b"hello")
                self.assertTrue(silent(second))
                self.exchange(first, 1)
                first.close()
                self.assertEqual(receive(second, 5), b"hello")

    def test_it_tells_what_it_does(self):
        with self.serve() as server, server.connect() as client:
            name = name_of(client)
            self.exchange(client)
            client.sendall(b"\x1b[2J\"\\\t\r\n\xff")
            receive(client, 10)
            client.close()
            server.wait_for_line(f"closing {name}")
            self.assertEqual(server.lines()[1:], [
                f"new connection from {name}",
                f'received "This is message 0.\\n" from {name}',
                f'received "\\x1b[2J\\x22\\x5c\\t\\r\\n\\xff" from {name}',
                f"closing {name}"])

    def test_no_reply(self):
        with self.serve("--no-reply") as server, server.connect() as client:
            client.sendall(b"hello")
            server.wait_for_line(f'received "hello" from {name_of(client)}')
            self.assertTrue(silent(client))
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(client.recv(1), b"")


class Threads02(Stream, unittest.TestCase):
    program = "02_threads_echo"
    test_two_clients_at_once = Multiplexed.test_two_clients_at_once
    test_who_does_not_read_is_not_waited_for = Multiplexed.test_who_does_not_read_is_not_waited_for
    test_an_idle_server_sleeps = Multiplexed.test_an_idle_server_sleeps

    def test_one_client_more_than_threads_waits(self):
        with self.serve("--threads", 2) as server, server.connect() as one, \
                server.connect() as two:
            self.exchange(one)
            self.exchange(two)
            with server.connect() as three:
                three.sendall(b"hello")
                self.assertTrue(silent(three))
                self.exchange(two, 1)
                two.close()
                self.assertEqual(receive(three, 5), b"hello")

    @unittest.skipIf("undefined" in SANITIZED, "UBSan needs descriptors of its own")
    def test_out_of_descriptors(self):
        with self.serve("--threads", 100) as server, contextlib.ExitStack() as clients:
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (16, 16))
            for client in [clients.enter_context(server.connect()) for _ in range(20)]:
                self.exchange(client)
                client.close()  # who is still waiting needs its place

    @unittest.skipIf(SANITIZED, "sanitizers end a program that cannot have a thread")
    def test_out_of_threads(self):
        with self.serve("--threads", 100) as server:
            pid = server.process.pid
            with server.connect() as first:
                self.exchange(first)
                pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text("ascii").split()[0])
                soft, hard = resource.prlimit(pid, resource.RLIMIT_AS)
                # What it has is all it gets: no room for another stack.
                resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize(), hard))
                with server.connect() as second:
                    self.assertEqual(second.recv(1), b"")
                self.exchange(first)
                resource.prlimit(pid, resource.RLIMIT_AS, (soft, hard))
                with server.connect() as third:
                    self.exchange(third)

    def test_it_needs_a_number(self):
        done = subprocess.run([PROGRAMS / self.program, "--port", "0", "--threads", "many"],
                              capture_output=True, timeout=HANG, check=False)
        self.assertEqual((done.returncode, done.stderr),
                         (2, b"--threads needs a number from 0 to 65535\n"))


class Nonblocking03(Stream, unittest.TestCase):
    program = "03_nonblocking_echo"
    sleeps = False
    test_two_clients_at_once = Multiplexed.test_two_clients_at_once
    test_who_does_not_read_is_not_waited_for = Multiplexed.test_who_does_not_read_is_not_waited_for

    def test_it_tells_what_it_costs(self):
        report = re.compile(r"(\d+) clients, (\d+) system calls, (\d+) of them in vain, "
                            r"(\d+) ms of processor time")
        with self.serve() as server, server.connect() as one, server.connect() as two:
            self.exchange(one)
            self.exchange(two)
            server.wait_for(lambda lines: len(lines) >= 3)
            clients, calls, in_vain, spent = map(int, report.fullmatch(server.lines()[2]).groups())
            self.assertEqual(clients, 2)
            self.assertEqual(calls, in_vain)  # nobody said anything any more
            self.assertGreater(calls, 1000)
            self.assertGreater(spent, 10)


class Select04(Stream, Multiplexed, unittest.TestCase):
    program = "04_select_echo"

    def test_two_line_ends_close(self):
        with self.serve() as server, server.connect() as other:
            for pieces in ([b"GET /\r\n\r\n"], [b"GET /\r\n", b"\r\n"], [b"x\r", b"\n\r", b"\n"]):
                with server.connect() as client:
                    for piece in pieces:
                        client.sendall(piece)
                        self.assertEqual(receive(client, len(piece)), piece)
                    self.assertEqual(client.recv(1), b"")
            self.exchange(other)

    def test_data_after_line_ends_keeps_it_open(self):
        with self.serve() as server, server.connect() as client:
            client.sendall(b"one\r\n\r\ntwo")
            self.assertEqual(receive(client, 10), b"one\r\n\r\ntwo"[:10])
            self.exchange(client)

    def test_a_line_on_its_input_stops_it(self):
        with self.serve(stdin=subprocess.PIPE) as server, server.connect() as client:
            self.exchange(client)
            server.process.stdin.write(b"stop\n")
            server.process.stdin.flush()
            self.assertEqual(server.ended(), 0)
            self.assertEqual(client.recv(1), b"")

    def test_the_end_of_its_input_does_not(self):
        with self.serve(stdin=subprocess.PIPE) as server, server.connect() as client:
            server.process.stdin.close()
            self.exchange(client)
            self.assertTrue(server.sleeps())

    @needs_curl
    def test_curl(self):
        with self.serve() as server:
            done = subprocess.run(["curl", "-sS", "--http0.9", f"http://127.0.0.1:{server.port}/"],
                                  capture_output=True, timeout=HANG, check=False)
            self.assertTrue(done.stdout.startswith(b"GET / HTTP/1.1\r\n"), done)
            self.assertTrue(done.stdout.endswith(b"\r\n\r\n"), done)


class Queues05(Stream, Multiplexed, unittest.TestCase):
    program = "05_select_queues"
    WAITING = ["", "waiting for the next event"]

    def test_narration(self):
        with self.serve() as server:
            client = server.connect()
            name = name_of(client)
            server.wait_for_line(self.WAITING[1], times=2)
            client.sendall(b"This is the message. ")
            receive(client, 21)
            server.wait_for_line(self.WAITING[1], times=4)
            client.close()
            server.wait_for_line(self.WAITING[1], times=5)
            self.assertEqual(server.lines(), [
                f"starting up on localhost port {server.port}", *self.WAITING,
                f"new connection from {name}", *self.WAITING,
                f'received "This is the message. " from {name}', *self.WAITING,
                f'sending "This is the message. " to {name}',
                f"output queue for {name} is empty", *self.WAITING,
                f"closing {name} after reading no data", *self.WAITING])

    def test_the_right_peer_is_named(self):
        with self.serve() as server, server.connect() as one, server.connect() as two:
            self.exchange(one)
            self.exchange(two)
            first = name_of(one)
            one.close()
            server.wait_for_line(f"closing {first} after reading no data")
            self.exchange(two, 1)

    def test_one_message_each_time(self):
        with self.serve() as server, server.connect() as client:
            name = name_of(client)
            server.wait_for_line(f"new connection from {name}")
            with server.stopped():
                client.sendall(b"a" * 1024 + b"b" * 1024 + b"c")
            receive(client, 2049)
            server.wait_for_line(f"output queue for {name} is empty")
            turns = "\n".join(server.lines()).split("\n\n" + self.WAITING[1])
            for turn in turns:
                self.assertLessEqual(turn.count("received"), 1)
                self.assertLessEqual(turn.count("sending"), 1)
            self.assertEqual(sum(turn.count("sending") for turn in turns), 3)
            # The queue was never empty in between.
            self.assertEqual(sum(turn.count("is empty") for turn in turns), 1)

    def test_reset_while_reading(self):
        with self.serve() as server, server.connect() as other:
            client = server.connect()
            name = name_of(client)
            self.exchange(client)
            reset(client)
            server.wait_for_line(f"closing {name} after reading no data")
            self.exchange(other)

    def test_reset_while_writing(self):
        with self.serve() as server, server.connect() as other:
            client = server.connect()
            name = name_of(client)
            server.wait_for_line(f"new connection from {name}")
            with server.stopped():  # then it finds data to read, and nobody to write to
                client.sendall(b"x" * 8192)
                reset(client)
            server.wait_for_line(f"closing {name} after writing no data")
            self.exchange(other)

    def test_exceptional_condition(self):
        with self.serve() as server, server.connect() as other:
            client = server.connect()
            client.send(b"!", socket.MSG_OOB)
            server.wait_for_line(f"handling exceptional condition for {name_of(client)}")
            with contextlib.suppress(ConnectionResetError):  # the byte was not read
                self.assertEqual(client.recv(1), b"")
            client.close()
            self.exchange(other)

    def test_queue_and_half_close(self):
        with self.serve() as server, server.connect() as client:
            name = name_of(client)
            server.wait_for_line(f"new connection from {name}")
            with server.stopped():
                client.sendall(b"x" * 5000)
                client.shutdown(socket.SHUT_WR)
            self.assertEqual(receive_all(client), b"x" * 5000)
            server.wait_for_line(f"closing {name} after reading no data")


class Upper06(Stream, Multiplexed, unittest.TestCase):
    program = "06_select_upper"

    def answer(self, message):
        return message.upper()

    def test_it_gets_its_turn_when_nobody_speaks(self):
        with self.serve() as server:
            server.wait_for_line("nothing for half a second, 0 clients")
            with server.connect() as client:
                self.exchange(client)
                server.wait_for_line("nothing for half a second, 1 clients")

    def test_back_to_back(self):
        with self.serve() as server, server.connect() as client:
            text = b"".join(b"message %d\n" % i for i in range(2000))
            client.sendall(text)
            self.assertEqual(receive(client, len(text)), text.upper())


class Poll07(Stream, Multiplexed, unittest.TestCase):
    program = "07_poll_echo"


class Level08(Stream, Multiplexed, unittest.TestCase):
    program = "08_epoll_level_echo"

    def setUp(self):
        if not has_backend("epoll"):
            self.skipTest("a build without epoll")

    def test_what_has_come_is_answered(self):
        """A piece, whatever it ends with: the peer may wait for its answer before it goes on."""
        with self.serve() as server, server.connect() as client:
            for piece in (b"one", b" and two\r\n", b"\n", b"x"):
                client.sendall(piece)
                self.assertEqual(receive(client, len(piece)), piece)
            self.assertEqual(server.lines_after_first(12), [
                DASHES, "one", DASHES, DASHES, " and two\\r", DASHES, DASHES, "", DASHES,
                DASHES, "x", DASHES])

    def test_what_comes_while_a_response_is_unsent_follows_it(self):
        with self.serve() as server, server.connect(receive_buffer=4096) as client:
            client.setblocking(False)
            text, sent = MEBIBYTE * 64, 0
            while sent < len(text) and select.select([], [client], [], 0.2)[1]:
                sent += client.send(text[sent:sent + 65536])
            self.assertLess(sent, len(text), "it takes everything")
            client.setblocking(True)
            self.assertTrue(receive(client, sent) == text[:sent])

    def test_hanging_up_at_any_time(self):
        with self.serve() as server:
            for text in (b"", b"no newline", b"a line\n"):
                for leave in (socket.socket.close, reset):
                    client = server.connect()
                    client.sendall(text)
                    leave(client)
            with server.connect() as client:
                self.exchange(client)

    @needs_curl
    def test_curl(self):
        with self.serve() as server:
            done = subprocess.run(["curl", "-sS", "--http0.9", "--max-time", "2",
                                   f"http://127.0.0.1:{server.port}/"],
                                  capture_output=True, timeout=HANG, check=False)
            self.assertTrue(done.stdout.startswith(b"GET / HTTP/1.1\r\n"), done)


class Edge09(Level08):
    program = "09_epoll_edge_echo"
    # One segment, or two if the kernel splits it: fewer reports than reads it takes.
    request = b"x" * 60000

    def test_more_than_one_read(self):
        with self.serve() as server, server.connect() as client:
            client.sendall(self.request)
            self.assertEqual(receive(client, len(self.request)), self.request)

    def test_who_forgets_to_drain_waits_for_ever(self):
        with self.serve("--forget-to-drain") as server, server.connect() as client:
            self.exchange(client)  # less than one read: nothing is amiss
            with server.stopped():
                client.sendall(self.request)
            received = 0
            while not silent(client):
                received += len(client.recv(4096))
            self.assertLess(received, len(self.request))
            with server.connect() as other:  # only this client has been forgotten
                self.exchange(other)


class Callbacks11(Stream, Multiplexed, unittest.TestCase):
    program = "11_callbacks"

    def test_many_come_and_go(self):
        """Callbacks are added and ended while others run."""
        with self.serve() as server:
            for _ in range(5):
                with contextlib.ExitStack() as clients:
                    everybody = [clients.enter_context(server.connect()) for _ in range(30)]
                    for number, client in enumerate(everybody):
                        client.sendall(self.message(number))
                    for number, client in enumerate(everybody):
                        self.assertEqual(receive(client, len(self.message(number))),
                                         self.message(number))
                        (reset if number % 3 else socket.socket.close)(client)
            with server.connect() as client:
                self.exchange(client)


class Coroutines12(Callbacks11):
    program = "12_coroutines"


class LongHandler13(Echo, Multiplexed, unittest.TestCase):
    program = "13_long_handler"
    WORK = b"work\n"
    SPAN = 0.2  # seconds that it computes: never less

    def stalls(self, server):
        """Who held the loop, and for how many milliseconds, as the server has it."""
        found = [re.fullmatch(r"stall: (.+) held the loop for (\d+) ms, after a (\w+)", line)
                 for line in server.lines()]
        return [(match[1], int(match[2]), match[3]) for match in found if match]

    def test_everybody_waits_for_who_computes(self):
        with self.serve() as server, server.connect() as worker, server.connect() as other:
            self.exchange(worker)
            self.exchange(other)
            with server.stopped():  # then it finds both, the work first
                worker.sendall(self.WORK)
                other.sendall(self.message())
                began = time.monotonic()
            self.assertEqual(receive(other, len(self.message())), self.message())
            self.assertGreaterEqual(time.monotonic() - began, self.SPAN)
            self.assertTrue(select.select([worker], [], [], 0)[0])  # whose turn came before
            self.assertEqual(receive(worker, len(self.WORK)), self.WORK)

    def test_the_report_names_who_held_the_loop(self):
        with self.serve() as server, server.connect() as worker:
            self.exchange(worker)
            worker.sendall(self.WORK)
            self.assertEqual(receive(worker, len(self.WORK)), self.WORK)
            server.wait_for(lambda _: any(
                name == "echo" and held >= self.SPAN * 1000 and cause == "request"
                for name, held, cause in self.stalls(server)))

    def pings_during_work(self, *options):
        """How many answers another client gets while the work is under way, and who held the loop
        for as long as it takes."""
        with self.serve(*options) as server, server.connect() as worker, \
                server.connect() as other:
            self.exchange(other)
            worker.sendall(self.WORK)
            server.wait_for_line("computing")
            pings = 0
            while not select.select([worker], [], [], 0)[0]:
                self.exchange(other, pings)
                pings += 1
            self.assertEqual(receive(worker, len(self.WORK)), self.WORK)
            self.exchange(worker)  # after which the report has been written
            server.wait_for(lambda lines: any(re.fullmatch(r"found [1-9]\d* primes", line)
                                              for line in lines))
        # Everything that it said has been read by now.
        return pings, [held for _, held, _ in self.stalls(server) if held >= self.SPAN * 1000]

    def test_offloaded_work_holds_nobody(self):
        # Once is enough: on a machine with other work, a round may have been too slow.
        for _ in range(10):
            pings, stalls = self.pings_during_work("--offload")
            if pings >= 5 and not stalls:
                return
        self.fail(f"{pings} answers, stalls of {stalls} ms")

    def test_without_offload_it_holds_everybody(self):
        pings, stalls = self.pings_during_work()
        self.assertLessEqual(pings, 1)  # the one that had to wait
        self.assertTrue(stalls)

    def test_several_offload_at_once(self):
        with self.serve("--offload") as server, contextlib.ExitStack() as clients:
            everybody = [clients.enter_context(server.connect()) for _ in range(5)]
            for client in everybody:
                client.sendall(self.WORK + self.message())
            for client in everybody:
                expected = self.WORK + self.message()
                self.assertEqual(receive(client, len(expected)), expected)
            server.wait_for_line("computing", 5)

    def test_who_leaves_while_it_computes_hurts_nobody(self):
        with self.serve("--offload") as server, server.connect() as other:
            leaving = server.connect()
            leaving.sendall(self.WORK)
            server.wait_for_line("computing")
            reset(leaving)
            self.exchange(other)
            server.wait_for(lambda lines: any(line.startswith("found") for line in lines))
            self.exchange(other)

    def test_only_the_whole_line_is_work(self):
        with self.serve() as server, server.connect() as client:
            for line in (b"works\n", b" work\n", b"work\r\n", b"\n"):
                client.sendall(line)
                self.assertEqual(receive(client, len(line)), line)
        self.assertNotIn("computing", server.lines())


class Chat14(unittest.TestCase):
    QUEUE = 64  # lines
    LINE = b"x" * 4000 + b"\n"

    @contextlib.contextmanager
    def room(self, count, **more):
        """A server and so many clients that are in the room."""
        with Server("14_chat") as server, contextlib.ExitStack() as clients:
            yield server, [self.join(server, clients, **more) for _ in range(count)]

    def join(self, server, clients, **more):
        client = clients.enter_context(server.connect(**more))
        server.wait_for_line(f"new connection from {name_of(client)}")
        return client

    def said(self, client, text):
        """What the others get when `client` has said it."""
        return str(client.getsockname()).encode() + b": " + text

    def say(self, client, text, to):
        client.sendall(text)
        for other in to:
            expected = self.said(client, text)
            self.assertEqual(receive(other, len(expected)), expected)

    def test_two(self):
        with self.room(2) as (_, (ann, ben)):
            self.say(ann, b"hello\n", [ben])
            self.say(ben, b"hello too\n", [ann])  # and nothing of her own came before
            self.say(ann, b"\n", [ben])

    def test_alone(self):
        with self.room(1) as (server, (ann,)):
            ann.sendall(b"is anybody there?\n")
            server.wait_until_read(ann)  # or Ben may come in time to hear it
            with contextlib.ExitStack() as clients:
                ben = self.join(server, clients)
                self.say(ann, b"yes\n", [ben])

    def test_many(self):
        with self.room(20) as (_, everybody):
            for client in everybody:
                client.sendall(b"one\ntwo\n")
            for client in everybody:
                others = [other for other in everybody if other is not client]
                expected = [self.said(other, text) for other in others
                            for text in (b"one\n", b"two\n")]
                got = receive(client, sum(map(len, expected))).splitlines(keepends=True)
                self.assertEqual(sorted(got), sorted(expected))
                for other in others:  # what one says comes in its order
                    one, two = self.said(other, b"one\n"), self.said(other, b"two\n")
                    self.assertLess(got.index(one), got.index(two))

    def test_a_line_in_pieces_and_lines_in_one_piece(self):
        with self.room(2) as (_, (ann, ben)):
            ann.sendall(b"hel")
            self.assertTrue(silent(ben))
            ann.sendall(b"lo\nhow are you?\nwell?\n")
            expected = b"".join(self.said(ann, text)
                                for text in (b"hello\n", b"how are you?\n", b"well?\n"))
            self.assertEqual(receive(ben, len(expected)), expected)

    def test_more_lines_at_once_than_a_queue_holds(self):
        with self.room(3) as (server, (ann, ben, cas)):
            texts = [b"line %d\n" % number for number in range(10 * self.QUEUE)]
            ann.sendall(b"".join(texts))
            expected = b"".join(self.said(ann, text) for text in texts)
            for other in (ben, cas):
                self.assertTrue(receive(other, len(expected)) == expected)
        self.assertNotIn("dropped", "".join(server.lines()))

    def test_who_does_not_read_is_dropped_and_the_others_go_on(self):
        with self.room(2) as (server, (ann, ben)), contextlib.ExitStack() as clients:
            stuck = self.join(server, clients, receive_buffer=4096)
            dropped = f"{name_of(stuck)} does not read: dropped"
            lines = 0
            while dropped not in server.lines():
                self.say(ann, self.LINE, [ben])  # who reads each line, so that only one is stuck
                lines += 1
                self.assertLess(lines, 20000)
            self.assertGreater(lines, self.QUEUE)
            server.wait_for_line(f"{name_of(stuck)} has left")
            got = b""
            with contextlib.suppress(ConnectionResetError):
                got = receive_all(stuck)  # it ends
            self.assertLess(len(got), lines * len(self.said(ann, self.LINE)))
            self.say(ben, b"he has gone\n", [ann])
            self.assertEqual(server.lines().count(dropped), 1)

    def test_who_leaves_hurts_nobody(self):
        for leave in (reset, socket.socket.close):
            for text in (b"", b"half a li"):
                with self.room(2) as (server, (ann, ben)), server.connect() as leaving:
                    name = name_of(leaving)
                    server.wait_for_line(f"new connection from {name}")
                    leaving.sendall(text)
                    leave(leaving)
                    server.wait_for_line(f"{name} has left")
                    self.say(ann, b"hello\n", [ben])  # what was no whole line was not said

    def test_a_reset_before_it_was_accepted(self):
        with self.room(2) as (server, (ann, ben)):
            with server.stopped():
                reset(server.connect())
            server.wait_for_line("new connection from (unknown)")
            self.say(ann, b"hello\n", [ben])

    def test_half_close(self):
        with self.room(2) as (server, (ann, ben)):
            with server.stopped():  # then the server finds what ben said first
                ben.sendall(b"still there?\n")
                ann.sendall(b"a last word\nand half a li")
                ann.shutdown(socket.SHUT_WR)
            expected = self.said(ann, b"a last word\n")
            self.assertEqual(receive(ben, len(expected)), expected)
            self.assertEqual(receive_all(ann), self.said(ben, b"still there?\n"))
            server.wait_for_line(f"{name_of(ann)} has left")
            self.assertTrue(silent(ben))

    def test_a_line_without_end_ends_its_client(self):
        with self.room(2) as (server, (ann, ben)), contextlib.ExitStack() as clients:
            cas = self.join(server, clients)
            name = name_of(cas)
            cas.sendall(b"x" * 5000)
            server.wait_for_line(f"{name} has left")
            self.say(ann, b"hello\n", [ben])

    def test_it_sleeps_when_nobody_speaks(self):
        with self.room(2) as (server, (ann, ben)):
            self.say(ann, b"hello\n", [ben])
            self.assertTrue(server.sleeps())


@contextlib.contextmanager
def python_server(handler, clients=1):
    """A server of Python's own; handler(connection) runs for each client in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(HANG)

        def serve():
            def handle(connection):
                with connection:
                    connection.settimeout(HANG)
                    handler(connection)

            threads = []
            for _ in range(clients):
                connection, _address = listener.accept()
                threads.append(threading.Thread(target=handle, args=[connection]))
                threads[-1].start()
            for thread in threads:
                thread.join()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def echo_in_small_pieces(connection):
    while data := connection.recv(4096):
        for byte in data:
            connection.sendall(bytes([byte]))


class MultiClient15(unittest.TestCase):
    PARTS = ("This is the message. ", "It will be sent ", "in parts.")

    def run_against(self, port, *options):
        return subprocess.run([PROGRAMS / "15_multi_client", "--port", str(port), *options],
                              capture_output=True, text=True, timeout=HANG, check=False)

    def test_narration(self):
        for count in (1, 2, 7):
            with Server("05_select_queues") as server:
                done = self.run_against(server.port, "--connections", str(count))
            lines = done.stdout.splitlines()
            self.assertEqual(lines[0], f"connecting to localhost port {server.port}")
            names = [line.split(": sending")[0] for line in lines[1:1 + count]]
            self.assertEqual(len(set(names)), count)
            at = 1
            for part in self.PARTS:
                self.assertEqual(lines[at:at + count],
                                 [f'{name}: sending "{part}"' for name in names])
                self.assertEqual(sorted(lines[at + count:at + 2 * count]),
                                 sorted(f'{name}: received "{part}"' for name in names))
                at += 2 * count
            self.assertEqual(lines[at:], [f"closing socket {name}" for name in names])
            for name in names:
                self.assertRegex(name, r"^\('127\.0\.0\.1', \d+\)$")
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_two_connections_without_being_told(self):
        with Server("05_select_queues") as server:
            self.assertEqual(self.run_against(server.port).stdout.count("closing socket"), 2)

    def test_replies_in_pieces(self):
        with python_server(echo_in_small_pieces, clients=2) as port:
            done = self.run_against(port)
        received = re.findall(r'received "(.*)"', done.stdout)
        self.assertEqual(sorted("".join(received)), sorted("".join(self.PARTS) * 2))
        self.assertEqual(done.returncode, 0)

    def test_a_server_that_leaves(self):
        with python_server(lambda connection: connection.recv(10), clients=2) as port:
            done = self.run_against(port)
        self.assertEqual(done.stdout.count("closing socket"), 2)
        self.assertEqual(done.returncode, 1)

    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        done = self.run_against(port)
        self.assertEqual((done.returncode, done.stderr),
                         (1, "cannot connect to localhost: Connection refused\n"))


class LineClient16(unittest.TestCase):
    def test_a_reply_without_a_newline(self):
        def acknowledge(connection):
            while connection.recv(4096):
                connection.sendall(b"ok")

        with python_server(acknowledge) as port:
            done = subprocess.run([PROGRAMS / "16_line_client", "--port", str(port)],
                                  input=b" a \nb", capture_output=True, timeout=HANG, check=False)
        self.assertEqual(done.stdout, b"msg>: ok\nmsg>: ok\n")

    def test_what_the_server_gets(self):
        got = []

        def note(connection):
            with connection.makefile("rb") as file:
                for line in file:
                    got.append(line)
                    connection.sendall(b"\x1b\n")

        with python_server(note) as port:
            done = subprocess.run([PROGRAMS / "16_line_client", "--port", str(port)],
                                  input=b"\t one  two \r\n\n  \nthree\n", capture_output=True,
                                  timeout=HANG, check=False)
        self.assertEqual(got, [b"one  two\n", b"three\n"])
        self.assertEqual(done.stdout, b"msg>: \\x1b\nmsg>: msg>: msg>: \\x1b\nmsg>: \n")

    def test_a_line_that_nobody_asked_for_is_no_reply(self):
        with python_server(self.greet_and_repeat) as port, \
                Program("16_line_client", "--port", port, stdin=subprocess.PIPE) as client:
            # It waits for the keyboard when the greeting comes, of which its pipe tells only later.
            time.sleep(1.5 if SANITIZED else 0.1)
            client.process.stdin.write(b"one\ntwo\n")
            client.process.stdin.close()
            self.assertEqual(client.ended(), 0)
            client.reader.join()
            self.assertEqual(client.lines(), ["msg>: hello", "one", "msg>: two", "msg>: "])

    @staticmethod
    def greet_and_repeat(connection):
        connection.sendall(b"hello\n")
        time.sleep(0.05)
        while data := connection.recv(4096):
            time.sleep(0.05)
            connection.sendall(data)

    def test_a_line_of_a_mebibyte(self):
        line = MEBIBYTE.translate(bytes(97 + i % 26 for i in range(256)))
        with Server("07_poll_echo") as server:
            done = run_client("16_line_client", server, stdin=line + b"\n")
        self.assertTrue(done.stdout == b"msg>: " + line + b"\nmsg>: \n")

    def test_the_prompt_comes_first_and_a_server_that_leaves_is_noticed(self):
        leave = threading.Event()
        with python_server(lambda _: leave.wait(HANG)) as port, \
                Program("16_line_client", "--port", port, stdin=subprocess.PIPE) as client:
            time.sleep(0.1)
            leave.set()
            client.wait_for_line("msg>: the server has closed the connection")
            self.assertEqual(client.ended(), 0)


class EveryProgram(unittest.TestCase):
    def test_has_a_case_and_the_case_a_test(self):
        cases = [name for name, case in globals().items()
                 if isinstance(case, type) and issubclass(case, unittest.TestCase)]
        numbers = sorted(name[-2:] for name in cases if name[-2:].isdigit())
        self.assertEqual(sorted(source.name[:2] for source in SOURCES.glob("*.cpp")), numbers)
        registered = (pathlib.Path(__file__).parent / "CMakeLists.txt").read_text(encoding="utf-8")
        for name in cases:
            self.assertRegex(registered, rf"\b{name}\b")

    def test_fits_on_two_screens(self):
        for source in SOURCES.glob("*.cpp"):
            self.assertLessEqual(len(source.read_text().splitlines()), 80, source.name)


if __name__ == "__main__":
    PROGRAMS = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
