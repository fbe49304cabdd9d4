"""Runs every example and compares what it prints: examples_test.py FOLDER_OF_PROGRAMS."""

import contextlib
import functools
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

SOURCES = pathlib.Path(__file__).resolve().parents[2] / "examples"
PROGRAMS = None  # set below, from the command line
HANG = 60  # seconds: long after any of them has ended, on a loaded machine too


def run(name, *arguments):
    return subprocess.run([PROGRAMS / name, *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=HANG, check=False)


def backends():
    """The backends this build has, as 02_edge lists them."""
    return [line.split()[0] for line in run("02_edge").stdout.splitlines()]


class Examples(unittest.TestCase):
    maxDiff = None

    def test_every_example_is_run_here(self):
        run_here = {"01_poller", "02_edge", "03_select", "04_echo", "05_coroutine_echo",
                    "06_deadline", "07_cancellation", "08_offload", "09_signals", "10_embedding",
                    "11_datagram", "12_unix_client", "13_pipe_filter", "14_commands",
                    "15_testing", "16_lines",
                    "17_proxy", "18_loops", "19_file_copy", "readme"}
        self.assertEqual({source.stem for source in SOURCES.glob("*.cpp")}, run_here)

    def test_every_example_fits_on_two_screens(self):
        for source in SOURCES.glob("*.cpp"):
            self.assertLessEqual(len(source.read_text().splitlines()), 80, source.name)

    def test_01_poller(self):
        self.assertTrue(backends())
        for backend in backends():
            with self.subTest(backend=backend):
                done = run("01_poller", backend)
                self.assertEqual(done.stdout, """\
add it a second time              -> File exists
nobody wrote, wait 10 ms          -> nothing
the peer wrote                    -> readable (data 42)
nobody read: level reports again  -> readable (data 42)
paused                            -> nothing
both directions                   -> readable|writable (data 42)
wake() from another thread        -> woken
the peer closed                   -> readable|hangup|read_closed (data 42)
removed                           -> 0 left
""")
                self.assertEqual(done.stderr, f"backend: {backend}\n")
                self.assertEqual(done.returncode, 0)

    def test_01_poller_refuses_an_unknown_backend(self):
        done = run("01_poller", "kqueue")
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (1, "", "no poller: Invalid argument\n"))

    def test_02_edge_is_right_everywhere(self):
        for arguments in ((), ("right",)):
            lines = run("02_edge", *arguments).stdout.splitlines()
            self.assertEqual([line.split()[1:] for line in lines],
                             [["right", "24", "of", "24", "bytes"]] * len(lines))

    def test_02_edge_shows_each_mistake_where_it_hurts(self):
        # Where edges come from the kernel, the first mistake does no harm; where they are made of
        # levels, the second.
        counts = {"24 12", "8 24"}
        forgotten, too_early = (run("02_edge", mode).stdout.splitlines()
                                for mode in ("forgotten", "too-early"))
        for first, second in zip(forgotten, too_early, strict=True):
            with self.subTest(first=first, second=second):
                self.assertRegex(first, r"^\S+ +forgotten +\d+ of 24 bytes$")
                self.assertRegex(second, r"^\S+ +too-early +\d+ of 24 bytes$")
                self.assertIn(f"{first.split()[2]} {second.split()[2]}", counts)

    def test_03_select(self):
        done = run("03_select")
        self.assertEqual(done.stdout, """\
fresh connection
  readable:    -
  writable:    client server
  exceptional: -
the server sent a byte
  readable:    client
  writable:    -
  exceptional: -
and an urgent one
  readable:    -
  writable:    -
  exceptional: client
a closed descriptor
  Bad file descriptor
""")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_04_echo_returns_everything_to_everybody(self):
        for backend in backends():
            with self.subTest(backend=backend):
                self.echo("04_echo", backend)

    def test_05_coroutine_echo_does_the_same(self):
        for backend in backends():
            with self.subTest(backend=backend):
                self.echo("05_coroutine_echo", backend)

    def test_06_deadline(self):
        for backend in backends():
            with self.subTest(backend=backend):
                done = run("06_deadline", backend)
                self.assertEqual(done.stdout, """\
within 5 ms: Connection timed out
within 30 s: one
asked again: two
""")
                self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_07_cancellation(self):
        for backend in backends():
            with self.subTest(backend=backend):
                done = run("07_cancellation", backend)
                self.assertEqual(done.stdout, """\
worker: job 1
worker: job 2
worker: job 3
worker: Operation canceled
worker: no time to sleep
saved
careful: cancelled, but saved
the slower one was cancelled
first: the quick one
""")
                self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_08_offload(self):
        for names in ((), ("127.0.0.1", "::1")):
            done = run("08_offload", *names)
            self.assertEqual(done.stdout, """\
127.0.0.1: 127.0.0.1
::1: ::1
counting: Connection timed out
the loop went on meanwhile: yes
""")
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_15_testing(self):
        done = run("15_testing")
        self.assertEqual(done.stdout, "random faults: passed\nfailing reads: passed\n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_09_signals_does_what_each_signal_says(self):
        for backend in backends():
            for end in (signal.SIGINT, signal.SIGTERM):
                with self.subTest(backend=backend, end=end):
                    self.signals(backend, end)

    def test_10_embedding_both_loops_do_their_work(self):
        if not (PROGRAMS / "10_embedding").exists():
            self.skipTest("10_embedding is not built: libuv is missing")
        embedded = 0
        for backend in backends():
            done = run("10_embedding", backend)
            lines = done.stdout.splitlines()
            if lines == ["this backend has no descriptor to watch"]:
                self.assertEqual(done.returncode, 1)
                continue
            embedded += 1
            self.assertEqual([line for line in lines if "slept" in line],
                             [f"duolu: slept {number}" for number in (1, 2, 3)])
            self.assertEqual(sorted(lines), ["both have ended", "duolu: posted", "duolu: slept 1",
                                             "duolu: slept 2", "duolu: slept 3", "libuv: timer"])
            self.assertEqual((lines[-1], done.returncode), ("both have ended", 0))
        if not embedded:
            self.skipTest("no backend of this build has a descriptor")

    def test_11_datagram_answers_everybody(self):
        for backend in backends():
            with self.subTest(backend=backend):
                self.datagrams(backend)

    def test_12_unix_client(self):
        # The server says nothing before it has heard everything.
        heard = self.talk(["hello", "", "two words"], lambda lines: b"".join(reversed(lines)))
        self.assertEqual(heard, (b"hello\n\ntwo words\n", "two words\n\nhello\n", "", 0))
        # An end without a newline, and one who has nothing to say.
        self.assertEqual(self.talk(["hello"], lambda _: b"a\nb"), (b"hello\n", "a\nb", "", 0))
        self.assertEqual(self.talk([], lambda _: b"welcome\n"), (b"", "welcome\n", "", 0))

    def test_12_unix_client_reads_while_it_sends(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/s")
            listener.listen()
            # An echo that has no buffer of its own: it reads no more until its answer is taken.
            lines = ["x" * 10000] * 150

            def echo():
                with listener.accept()[0] as connection:
                    while data := connection.recv(65536):
                        connection.sendall(data)

            thread = threading.Thread(target=echo)
            thread.start()
            done = run("12_unix_client", f"unix://{folder}/s", *lines)
            thread.join()
            self.assertTrue(done.stdout == "".join(line + "\n" for line in lines))
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_12_unix_client_ends_when_an_answer_is_no_line(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/s")
            listener.listen()

            def babble():
                with listener.accept()[0] as connection, contextlib.suppress(ConnectionError):
                    while True:  # and reads nothing
                        connection.sendall(b"x" * 4096)

            thread = threading.Thread(target=babble)
            thread.start()
            done = run("12_unix_client", f"unix://{folder}/s", *["y" * 10000] * 150)
            thread.join()
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertTrue(done.stderr.startswith("12_unix_client: "))

    def test_12_unix_client_says_what_is_wrong(self):
        done = run("12_unix_client", "unix:///nowhere/at/all")
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (1, "", "12_unix_client: cannot connect to unix:///nowhere/at/all: "
                                 "No such file or directory\n"))
        done = run("12_unix_client")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertTrue(done.stderr)

    def test_13_pipe_filter(self):
        text = bytes(range(256)) * (8 << 12)  # 8 MiB: many times what pipes hold
        for given in (b"", b"aZ{`\n", text):
            done = subprocess.run([PROGRAMS / "13_pipe_filter"], input=given, capture_output=True,
                                  timeout=HANG, check=False)
            self.assertTrue(done.stdout == given.upper())
            self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_13_pipe_filter_between_files(self):
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
            source.write(b"some text\n" * 100000)
            source.seek(0)
            done = subprocess.run([PROGRAMS / "13_pipe_filter"], stdin=source, stdout=target,
                                  timeout=HANG, check=False)
            target.seek(0)
            self.assertTrue(target.read() == b"SOME TEXT\n" * 100000)
            self.assertEqual(done.returncode, 0)

    def test_13_pipe_filter_is_held_back_by_who_does_not_read(self):
        with self.filter() as program:
            os.set_blocking(program.stdin.fileno(), False)
            sent = 0
            while select.select([], [program.stdin], [], 0.3)[1]:
                sent += os.write(program.stdin.fileno(), b"x" * 4096)
                # Two pipes of 64 KiB, or what the system makes of them, and a buffer between.
                self.assertLess(sent, 4 << 20)
            os.set_blocking(program.stdin.fileno(), True)
            program.stdin.close()
            self.assertTrue(program.stdout.read() == b"X" * sent)
            self.assertEqual(program.wait(HANG), 0)

    def test_13_pipe_filter_passes_on_what_there_is(self):
        with self.filter() as program:
            for text in (b"a", b"line\n"):
                program.stdin.write(text)
                program.stdin.flush()
                self.assertEqual(program.stdout.read(len(text)), text.upper())

    def test_13_pipe_filter_ends_when_nobody_reads_any_more(self):
        with self.filter() as program:
            program.stdout.close()
            program.stdin.write(b"text")
            program.stdin.flush()
            self.assertEqual(program.wait(HANG), -signal.SIGPIPE)

    @contextlib.contextmanager
    def filter(self):
        with subprocess.Popen([PROGRAMS / "13_pipe_filter"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as program:
            try:
                yield program
            finally:
                program.kill()

    def talk(self, lines, answer):
        """What 12_unix_client sends, prints and ends with, when the server gives `answer`."""
        heard = []
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/s")
            listener.listen()

            def serve():
                with listener.accept()[0] as connection, connection.makefile("rb") as file:
                    heard.extend(file)
                    connection.sendall(answer(heard))

            thread = threading.Thread(target=serve)
            thread.start()
            done = run("12_unix_client", f"unix://{folder}/s", *lines)
            thread.join()
        return b"".join(heard), done.stdout, done.stderr, done.returncode

    def datagrams(self, backend):
        with subprocess.Popen([PROGRAMS / "11_datagram", backend], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True) as server:
            try:
                port = int(server.stdout.readline().split()[-1])
                with contextlib.ExitStack() as open_sockets:
                    clients = [open_sockets.enter_context(
                        socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)]
                    for client in clients:
                        client.settimeout(HANG)
                        client.connect(("127.0.0.1", port))
                    # Each comes back whole, an empty one and the longest one too.
                    for size in (5, 0, 1, 65507):
                        texts = [bytes([97 + i]) * size for i in range(3)]
                        for client, text in zip(clients, texts):
                            client.send(text)
                        for client, text in zip(clients, texts):
                            self.assertTrue(client.recv(1 << 16) == text)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
                    gone.sendto(b"no answer, please", ("127.0.0.1", port))
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as after:
                    after.settimeout(HANG)
                    after.sendto(b"still there?", ("127.0.0.1", port))
                    self.assertEqual(after.recv(64), b"still there?")
                self.assertEqual(server.poll(), None)
            finally:
                server.kill()

    def signals(self, backend, end):
        with subprocess.Popen([PROGRAMS / "09_signals", backend], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True) as program:
            try:
                said = program.stdout.readline
                self.assertEqual(said(), f"process {program.pid}\n")
                for time in (2, 3):
                    program.send_signal(signal.SIGHUP)
                    self.assertEqual(said(), f"read the settings again, time {time}\n")
                answer = ""
                while answer != "it goes well\n":
                    program.send_signal(signal.SIGUSR1)
                    answer = said()
                    self.assertIn(answer, ("not begun yet\n", "it goes well\n"))
                program.send_signal(end)
                rest = program.stdout.read()
                self.assertEqual(rest, f"signal {end.value}: ending\nthe work has stopped\n"
                                       "everything has ended\n")
                self.assertEqual(program.wait(HANG), 0)
            finally:
                program.kill()

    def echo(self, name, backend):
        message = bytes(i * 7 % 251 for i in range(251)) * (32 << 12)  # 32 MiB
        with subprocess.Popen([PROGRAMS / name, backend], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as server:
            try:
                port = int(server.stdout.readline().split()[-1])
                with socket.socket() as slow, \
                        socket.create_connection(("127.0.0.1", port), timeout=HANG) as quick:
                    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    slow.connect(("127.0.0.1", port))
                    slow.setblocking(False)
                    sent = 0
                    # As long as the kernel takes it, and nothing is read back: the server meets
                    # backpressure.
                    while sent < len(message) and select.select([], [slow], [], 0.05)[1]:
                        sent += slow.send(message[sent:sent + (1 << 16)])
                    for number in range(100):  # which does not delay the other one
                        quick.sendall(b"ping %d" % number)
                        self.assertEqual(quick.recv(64), b"ping %d" % number)
                    slow.settimeout(HANG)
                    slow.shutdown(socket.SHUT_WR)
                    got = bytearray()
                    while block := slow.recv(1 << 20):
                        got += block
                    self.assertGreater(sent, 0)
                    self.assertEqual(len(got), sent)
                    self.assertTrue(got == message[:sent])
                if name == "04_echo":
                    server.stdin.close()  # the end of its input ends it
                    self.assertEqual(server.wait(HANG), 0)
                self.assertIn(server.poll(), (None, 0))
            finally:
                server.kill()

    def test_14_commands_prints_what_each_command_says(self):
        done = run("14_commands", "echo one", "echo two", "true")
        self.assertEqual(sorted(done.stdout.splitlines()), ["[echo one] one", "[echo two] two"])
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_14_commands_prints_it_when_it_is_said(self):
        # The first command goes on only after both have been heard.
        with subprocess.Popen([PROGRAMS / "14_commands", "echo a; read line; echo c", "echo b"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
            try:
                before = sorted(program.stdout.readline() for _ in range(2))
                self.assertEqual([line.split("] ")[1] for line in before], ["a\n", "b\n"])
                program.stdin.write("go on\n")
                program.stdin.close()
                self.assertTrue(program.stdout.readline().endswith("] c\n"))
                self.assertEqual(program.wait(HANG), 0)
            finally:
                program.kill()

    def test_14_commands_without_commands_ends(self):
        self.assertEqual(run("14_commands").returncode, 0)

    @contextlib.contextmanager
    def server_on_a_socket(self, name, *arguments, **more):
        """An example that listens on a Unix socket, and a function that connects to it."""
        with tempfile.TemporaryDirectory() as folder, \
                subprocess.Popen([PROGRAMS / name, f"unix://{folder}/s", *arguments],
                                 stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                 text=True, **more) as program:
            def connect():
                client = socket.socket(socket.AF_UNIX)
                client.settimeout(HANG)
                end = time.monotonic() + HANG
                while time.monotonic() < end:
                    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                        client.connect(f"{folder}/s")
                        return client
                    time.sleep(0.01)
                raise TimeoutError
            try:
                yield program, connect
            finally:
                program.kill()

    def test_16_lines_answers_each_line(self):
        with self.server_on_a_socket("16_lines") as (program, connect):
            with connect() as client, connect() as silent:
                client.sendall(b"hel")
                client.sendall(b"lo\nand ")
                self.assertEqual(client.recv(6, socket.MSG_WAITALL), b"HELLO\n")
                client.sendall(b"world")
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(client.recv(9, socket.MSG_WAITALL), b"AND WORLD")
                self.assertEqual(client.recv(1), b"")
                program.send_signal(signal.SIGTERM)
                silent.sendall(b"still here\n")
                self.assertEqual(silent.recv(11, socket.MSG_WAITALL), b"STILL HERE\n")
            self.assertEqual(program.wait(HANG), 0)
            self.assertEqual(program.stderr.read(), "")

    def test_16_lines_bounds_a_line(self):
        with self.server_on_a_socket("16_lines") as (program, connect), connect() as client:
            with contextlib.suppress(ConnectionError):  # it closes with bytes unread
                client.sendall(b"x" * 5000)
                self.assertEqual(client.recv(1), b"")
            with connect() as other:
                other.sendall(b"a\n")
                self.assertEqual(other.recv(2, socket.MSG_WAITALL), b"A\n")

    def test_16_lines_says_where_it_cannot_listen(self):
        done = run("16_lines", "unix:///nowhere/at/all")
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (1, "", "16_lines: cannot listen on unix:///nowhere/at/all: "
                                 "No such file or directory\n"))

    def test_17_proxy_passes_on_both_directions_and_their_ends(self):
        with socket.create_server(("127.0.0.1", 0)) as upstream, \
                self.server_on_a_socket(
                    "17_proxy", f"127.0.0.1:{upstream.getsockname()[1]}") as (program, connect):
            upstream.settimeout(HANG)
            with connect() as client, upstream.accept()[0] as server:
                server.settimeout(HANG)
                client.sendall(b"ask")
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(server.recv(4, socket.MSG_WAITALL), b"ask")  # 3, and the end
                program.send_signal(signal.SIGTERM)  # this pair may finish
                server.sendall(b"answer")
                self.assertEqual(client.recv(6, socket.MSG_WAITALL), b"answer")
                server.close()
                self.assertEqual(client.recv(1), b"")
            self.assertEqual(program.wait(HANG), 0)
            self.assertEqual(program.stderr.read(), "")

    def test_17_proxy_an_error_ends_both_directions(self):
        with socket.create_server(("127.0.0.1", 0)) as upstream, \
                self.server_on_a_socket(
                    "17_proxy", f"127.0.0.1:{upstream.getsockname()[1]}") as (_, connect):
            upstream.settimeout(HANG)
            with connect() as client:
                server = upstream.accept()[0]
                server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                server.close()  # with a reset
                self.assertEqual(client.recv(1), b"")
        # Nobody listens there: the client is let go.
        with self.server_on_a_socket("17_proxy", "127.0.0.1:1") as (_, connect), \
                connect() as client:
            self.assertEqual(client.recv(1), b"")

    def test_18_loops_hands_connections_to_its_threads_in_turn(self):
        with self.server_on_a_socket("18_loops", "3", stdout=subprocess.PIPE) as (program, connect):
            clients = [connect() for _ in range(6)]
            for i, client in enumerate(clients):
                client.sendall(b"client %d" % i)
                self.assertEqual(client.recv(8, socket.MSG_WAITALL), b"client %d" % i)
            program.send_signal(signal.SIGTERM)
            for client in clients:
                self.assertEqual(client.recv(1), b"")
                client.close()
            self.assertEqual(program.wait(HANG), 0)
            self.assertEqual(sorted(program.stdout.read().splitlines()),
                             [f"a connection for thread {n}" for n in (1, 1, 2, 2, 3, 3)])
            self.assertEqual(program.stderr.read(), "")

    def test_19_file_copy(self):
        content = os.urandom(200_000)
        with tempfile.TemporaryDirectory() as folder:
            source, target = pathlib.Path(folder, "source"), pathlib.Path(folder, "target")
            source.write_bytes(content)
            target.write_bytes(2 * content)  # is replaced
            done = run("19_file_copy", source, target)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            self.assertEqual(target.read_bytes(), content)
            done = run("19_file_copy", source.with_name("none"), target)
            self.assertEqual((done.returncode, done.stdout, done.stderr),
                             (1, "", f"19_file_copy: cannot open {folder}/none: "
                                     "No such file or directory\n"))
            self.assertEqual(target.read_bytes(), content)
        self.assertEqual(run("19_file_copy").returncode, 2)

    @contextlib.contextmanager
    def readme_server(self, **more):
        """The program of the README, and a client that it has answered. Where somebody has its
        port: what it says then."""
        with subprocess.Popen([PROGRAMS / "readme"], stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, **more) as program:
            try:
                client = None
                end = time.monotonic() + HANG
                while client is None and program.poll() is None and time.monotonic() < end:
                    with contextlib.suppress(ConnectionRefusedError):
                        client = socket.create_connection(("127.0.0.1", 5000), HANG)
                if program.poll() is not None:
                    self.assertRegex(program.stderr.read(),
                                     r"^readme: cannot listen on tcp://\S+:5000: "
                                     r"Address already in use\n$")
                    self.assertEqual(program.returncode, 1)
                    self.skipTest("something else has port 5000")
                with client:
                    client.sendall(b"hello")
                    self.assertEqual(client.recv(5, socket.MSG_WAITALL), b"hello")
                    yield program, client
            finally:
                program.kill()

    @staticmethod
    def wait_until_refused():
        """Until its listeners are closed. Who is in the backlog at that moment is reset."""
        while True:
            try:
                socket.create_connection(("127.0.0.1", 5000), HANG).close()
            except ConnectionRefusedError:
                return
            except ConnectionResetError:
                pass

    def test_readme_lets_clients_finish(self):
        for end in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(end=end), self.readme_server() as (program, client):
                program.send_signal(end)
                self.wait_until_refused()
                client.sendall(b"and after")
                self.assertEqual(client.recv(9, socket.MSG_WAITALL), b"and after")
                client.close()
                self.assertEqual(program.wait(HANG), 0)
                self.assertEqual(program.stderr.read(), "")

    def test_readme_RN2_ends_with_the_second_signal(self):
        with self.readme_server() as (program, client):
            program.send_signal(signal.SIGINT)
            self.wait_until_refused()
            program.send_signal(signal.SIGINT)
            self.assertEqual(program.wait(HANG), -signal.SIGINT)

    def test_readme_leaves_an_ignored_signal_ignored(self):
        ignore = functools.partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
        with self.readme_server(preexec_fn=ignore) as (program, client):
            program.send_signal(signal.SIGINT)
            client.sendall(b"again")
            self.assertEqual(client.recv(5, socket.MSG_WAITALL), b"again")
            client.close()
            program.send_signal(signal.SIGTERM)
            self.assertEqual(program.wait(HANG), 0)


if __name__ == "__main__":
    PROGRAMS = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
