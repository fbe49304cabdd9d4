"""`duolu talk` as people run it: pipes, files, terminals; peers that behave and that do not."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "serve"))

from support import (BACKEND, ENVIRONMENT, GUARD, SANITIZED, TOOL, Server, main, need,  # noqa: E402
                     receive_all, reset)


class Peer:
    """A server with a function for each connection, in a thread of its own."""

    def __init__(self, handler, path=None):
        self.handler = handler
        self.failure = None
        if path is None:
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        else:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.listener.listen()
            self.address = f"unix://{path}"
        self.listener.settimeout(GUARD)
        self.threads = []
        self.accepting = threading.Thread(target=self.accept)
        self.accepting.start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            client.settimeout(GUARD)
            thread = threading.Thread(target=self.serve, args=(client,))
            self.threads.append(thread)
            thread.start()

    def serve(self, client):
        try:
            with client:
                self.handler(client)
        except (ConnectionResetError, BrokenPipeError):
            pass  # talk has ended
        except BaseException as error:
            self.failure = error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.accepting.join(GUARD)
        for thread in self.threads:
            thread.join(GUARD)
            need(not thread.is_alive(), "a connection did not end")
        if self.failure:
            raise self.failure


def command(*arguments):
    return [TOOL, "talk", *arguments, "--backend", BACKEND]


def talk(*arguments, text=b"", code=0, **options):
    """Runs it on `text` to its end: what it said on standard output and standard error."""
    done = subprocess.run(command(*arguments), input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=GUARD, env=ENVIRONMENT, **options)
    need(done.returncode == code, done)
    return done.stdout, done.stderr.decode("ascii")


def start(*arguments, **options):
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return subprocess.Popen(command(*arguments), env=ENVIRONMENT, **(pipes | options))


@contextlib.contextmanager
def running(process):
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream and not stream.closed:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def echo(client):
    while piece := client.recv(1 << 16):
        client.sendall(piece)


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def one_line(text, *words):
    need(text.startswith("duolu: ") and text.count("\n") == 1, text)
    for word in words:
        need(word in text, word, text)


# --- input and output

def a_pipe():
    with Server() as server:
        for address in server.addresses:
            for form in (address, address.replace("tcp://", "")):
                need(talk(form, text=b"a\nb\n") == (b"a\nb\n", ""), form)
        need(talk(f":{server.port}", text=b"no newline") == (b"no newline", ""))
        need(talk(server.addresses[0]) == (b"", ""))
        totals = server.stop()
        need(totals["cut"] == 0 and totals["failed"] == 0, totals)


def a_unix_socket_a_file_and_nothing():
    with tempfile.TemporaryDirectory() as directory:
        with Server(listen=[f"unix://{directory}/socket"]) as server:
            with open(f"{directory}/input", "w+b") as file:
                file.write(b"from a file\n")
                file.seek(0)
                done = subprocess.run(command(server.addresses[0]), stdin=file, env=ENVIRONMENT,
                                      stdout=subprocess.PIPE, timeout=GUARD)
                need(done.returncode == 0 and done.stdout == b"from a file\n", done)
                file.seek(0)
                with open(f"{directory}/output", "wb") as output:
                    done = subprocess.run(command(server.addresses[0]), stdin=file, stdout=output,
                                          env=ENVIRONMENT, timeout=GUARD)
                with open(f"{directory}/output", "rb") as output:
                    need(done.returncode == 0 and output.read() == b"from a file\n", done)
            done = subprocess.run(command(server.addresses[0]), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, env=ENVIRONMENT, timeout=GUARD)
            need(done.returncode == 0, done)
            with open(directory + "/output", "ab") as writable:  # nothing to read from
                done = subprocess.run(command(server.addresses[0]), stdin=writable,
                                      env=ENVIRONMENT, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, timeout=GUARD)
                need(done.returncode == 1, done)
                one_line(done.stderr.decode(), "standard input")


def ten_megabytes():
    data = os.urandom(1 << 20) * (2 if SANITIZED else 10)
    with Server() as server:
        need(talk(server.addresses[0], "--raw", text=data)[0] == data, "other bytes")
        with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as output:
            file.write(data)
            file.seek(0)
            done = subprocess.run(command(server.addresses[0], "--raw"), stdin=file, stdout=output,
                                  env=ENVIRONMENT, timeout=GUARD)
            output.seek(0)
            need(done.returncode == 0 and output.read() == data, "other bytes", done)


def line_ends():
    for options, text, sent in (
            (("--crlf",), b"a\nb\r\n\nc", b"a\r\nb\r\n\r\nc"),
            (("--delimiter", r"\0"), b"a\nb\r\n", b"a\0b\r\0"),
            (("--delimiter", "END"), b"a\n", b"aEND"),
            (("--delimiter", ""), b"a\nb\n", b"ab"),
            ((), b"a\r\nb", b"a\r\nb")):
        got = []
        with Peer(lambda client: got.append(receive_all(client))) as peer:
            talk(peer.address, *options, text=text)
        need(got == [sent], options, got)
    got = []  # the newline and its return come in two pieces
    with Peer(lambda client: got.append(receive_all(client))) as peer:
        with running(start(peer.address, "--crlf")) as process:
            process.stdin.write(b"a\r")
            process.stdin.flush()
            time.sleep(0.1)
            process.stdin.write(b"\nb\n")
            process.stdin.close()
            need(process.wait(GUARD) == 0)
    need(got == [b"a\r\nb\r\n"], got)


def how_replies_are_shown():
    said = b'\x1b[31m "q"\\\t\r\n\xe5\xa4\x9a\xff\xe2\x80\xae\xc2\x9b'

    def say(client):
        client.sendall(said)

    with Peer(say) as peer:
        need(talk(peer.address)[0] == b'\\x1b[31m "q"\\\t\n\xe5\xa4\x9a\\xff\\xe2\\x80\\xae'
             b'\\xc2\\x9b', talk(peer.address))
        need(talk(peer.address, "--raw")[0] == said)
        text = talk(peer.address, "--hex")[0].decode("ascii")
    codes = "".join(line.split("|")[0][9:] for line in text.splitlines())
    need(bytes.fromhex(codes) == said, text)
    need(text.startswith("00000000  1b 5b 33 31 6d 20") and "\n00000010  " in text, text)

    def say_slowly(client):
        for byte in "多".encode() + b"\xe5":
            client.sendall(bytes([byte]))
            time.sleep(0.03)

    with Peer(say_slowly) as peer:
        need(talk(peer.address)[0] == "多".encode() + b"\\xe5")


def the_end_of_a_line_is_one():
    """Of servers that end lines with both; a return elsewhere is shown."""
    def say(client):
        for piece in (b"HTTP/1.1 200 OK\r", b"\n\r\na\rb\r\r", b"\nend\r"):
            client.sendall(piece)
            time.sleep(0.03)

    with Peer(say) as peer:
        shown = b"HTTP/1.1 200 OK\n\na\\rb\\r\nend\\r"
        need(talk(peer.address)[0] == shown, talk(peer.address))
        need(b"OK\r\n" in talk(peer.address, "--raw")[0])
        need(b"0d 0a" in talk(peer.address, "--hex")[0])


def host_and_port_as_nc_takes_them():
    with Server() as server:
        for host in ("localhost", "127.0.0.1", *(["::1"] if len(server.addresses) > 1 else [])):
            need(talk(host, str(server.port), text=b"a")[0] == b"a", host)
    for words in (("localhost:1", "2"), ("tcp://localhost", "2"), ("unix:///x", "2"),
                  ("localhost", "x"), ("localhost", "1", "2")):
        one_line(talk(*words, code=2)[1])


def a_server_that_takes_a_half_close_for_the_end():
    def answer(client):
        """Looks for the end before it answers what came, as many simple ones do."""
        text = client.recv(1 << 16)
        client.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while piece := client.recv(1 << 16):
                text += piece
            return  # half-closed: nobody wants an answer any more
        client.sendall(text.upper())

    with Peer(answer) as peer:
        need(talk(peer.address, text=b"a\n")[0] == b"")
        need(talk(peer.address, "--keep-open", text=b"a\n")[0] == b"A\n")
        need(talk(peer.address, "--keep-open", "--send", "b")[0] == b"B")
        need(talk(peer.address, "--keep-open", "--expect", "C", text=b"c")[0] == b"C")
    with Peer(echo) as peer:  # which stays: --for ends it
        need(talk(peer.address, "--keep-open", "--for", "300ms", text=b"a\n")[0] == b"a\n")


def several_connections():
    with Server() as server:
        out, err = talk(server.addresses[0], "--connections", "20", "-v", text=b"one\ntwo\n")
        lines = out.decode().splitlines()
        for number in range(1, 21):
            mine = [line for line in lines if line.startswith(f"[{number}] ")]
            need(mine == [f"[{number}] one", f"[{number}] two"], number, out)
            need(f"[{number}] connected to " in err, err)
            need(f"connection {number}: reply after " in err, err)
        need(len(lines) == 40, out)
        need(b"[2] no end\n" in talk(server.addresses[0], "--connections", "2", text=b"no end")[0])


def reply_times():
    def think(client):
        while client.recv(1 << 16):
            time.sleep(0.05)
            client.sendall(b"x\n")

    with Peer(think) as peer:
        _, err = talk(peer.address, "-v", "--send", "a", "--expect", "x")
        need("connected to tcp://" in err, err)
        took = re.findall(r"^reply after ([0-9.]+)ms$", err, re.M)
        need(len(took) == 1 and float(took[0]) >= 50, err)
        need("reply" not in talk(peer.address, text=b"a")[1])


# --- sending and expecting

def a_reader_of_the_notes_that_stalls():
    """Replies come all the same, and it ends: of the notes some are dropped, and counted."""
    connections, lines = 20, 1_000  # a note for each reply: more than a pipe and the backlog hold
    for comes_back in (True, False):
        with Peer(echo) as peer, running(
                start(peer.address, "-v", "--connections", str(connections))) as process:
            for _ in range(lines):
                os.write(process.stdin.fileno(), b"x\n")
                replies = b""
                while replies.count(b"\n") < connections:
                    ready, _, _ = select.select([process.stdout], [], [], GUARD)
                    need(ready, "it waits for who reads its notes")
                    replies += os.read(process.stdout.fileno(), 1 << 16)
            process.stdin.close()
            if comes_back:
                notes = process.stderr.read()
                told = re.search(rb"dropped (\d+) lines", notes)
                need(told and int(told[1]) + notes.count(b"reply after") == lines * connections,
                     notes[-300:])
            need(process.wait(GUARD) == 0, process.returncode)


def a_line_without_an_end_is_shown_at_the_end():
    with Server() as server:
        address = server.addresses[0]
        for until in (("--expect", "hello"), ("--for", "500ms")):
            out, _ = talk(address, "--connections", "2", "--send", "hello", *until)
            need(sorted(out.splitlines()) == [b"[1] hello", b"[2] hello"], out)


def expectations():
    with Peer(echo) as peer:
        out, err = talk(peer.address, "--send", r"PING\r\n", "--send", "two", "--expect", r"G\r",
                        "--expect", "o")
        need(err == "" and out.startswith(b"PING\n"), out, err)
        for _ in range(20):  # one after the other, in whatever pieces they come
            talk(peer.address, "--send", "abcabd", "--expect", "abd")
        out, err = talk(peer.address, "--send", "one two", "--expect", "two", "--expect", "one",
                        "--for", "200ms", code=1)
        need(out == b"one two", out)
        one_line(err, '"one" did not come within 200ms', "nothing came instead")
        out, err = talk(peer.address, "--send", r"-ERR \x1b", "--expect", "+OK", "--for", "200ms",
                        code=1)
        one_line(err, '"+OK" did not come within 200ms', r'instead: "-ERR \x1b"')
        one_line(talk(peer.address, "--connections", "3", "--send", "x", "--expect", "y", "--for",
                      "200ms", code=1)[1], "connection 1: ", "and 2 more connections")
        # What is piped in counts as sent at its end, and then it need not close.
        need(talk(peer.address, "--expect", "b", text=b"a\nb\n")[0].startswith(b"a"))


def a_peer_that_closes_before_what_is_expected():
    def greet(client):
        client.sendall(b"500 go away\r\n" + b"x" * 3000)
        client.shutdown(socket.SHUT_WR)
        receive_all(client)

    with Peer(greet) as peer:
        line = talk(peer.address, "--send", "", "--expect", "220", code=1)[1]
        one_line(line, '"220" did not come before the peer closed', "ends, after 2813 bytes", "xxx")
        talk(peer.address, "--send", "", "--expect", "go", "--expect", "x")


def staying():
    came = []
    with Peer(lambda client: came.append(receive_all(client))) as peer:
        before = time.monotonic()
        need(talk(peer.address, "--send", "hello", "--for", "300ms") == (b"", ""))
        need(time.monotonic() - before >= 0.3)
        with running(start(peer.address, "--for", "100ms")) as process:  # its input stays open
            need(process.wait(GUARD) == 0, process.stderr.read())
        # Without --for and --expect it half-closes after the last --send.
        talk(peer.address, "--send", "a", "--send", "b")
    need(sorted(came) == [b"", b"ab", b"hello"], came)


# --- peers and outputs that do not behave

def a_refused_connection():
    for options in ((), ("--connections", "5")):
        line = talk(f"127.0.0.1:{closed_port()}", *options, code=4)[1]
        one_line(line, "cannot connect to 127.0.0.1:", "refused", "is the server running?")
    one_line(talk("unix:///no/such/socket", code=4)[1], "there is no such socket")


def a_name_that_cannot_be_resolved():
    one_line(talk("no-such-host.invalid:1", code=4)[1], "no-such-host.invalid", "name right?")


def nobody_answers():
    """A full backlog: the connection is neither made nor refused."""
    with tempfile.TemporaryDirectory() as directory:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{directory}/socket")
        listener.listen(0)
        held = []
        for _ in range(8):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            client.connect_ex(f"{directory}/socket")
            held.append(client)
        before = time.monotonic()
        line = talk(f"unix://{directory}/socket", "--connect-timeout", "200ms", code=4)[1]
        one_line(line, "no answer within 200ms", "--connect-timeout")
        need(time.monotonic() - before >= 0.2)
        for client in (*held, listener):
            client.close()


def a_peer_that_closes_early():
    def say_bye(client):
        client.sendall(b"bye\n")

    with Peer(say_bye) as peer, running(start(peer.address)) as process:
        need(process.wait(GUARD) == 1)
        need(process.stdout.read() == b"bye\n")
        one_line(process.stderr.read().decode(), "the peer closed before the input ended")
    with Peer(say_bye) as peer:
        for _ in range(10):  # an input that ends about then does not count as cut off
            need(talk(peer.address) == (b"bye\n", ""))


def a_peer_that_quits_when_told():
    def until_quit(client):
        while b"QUIT" not in client.recv(1 << 16):
            pass

    with Peer(until_quit) as peer:
        for _ in range(10):
            need(talk(peer.address, text=b"QUIT\n") == (b"", ""))


def a_peer_that_closed_its_direction_only():
    size = 3 << 20
    came = []

    def swallow(client):
        client.shutdown(socket.SHUT_WR)
        time.sleep(0.3)
        came.append(len(receive_all(client)))

    with Peer(swallow) as peer:
        need(talk(peer.address, text=b"x" * size) == (b"", ""))
    need(came == [size], came)


def a_peer_that_resets():
    def greet_and_reset(client):
        client.sendall(b"hello\n")
        time.sleep(0.1)
        reset(client)

    with Peer(greet_and_reset) as peer:
        with running(start(peer.address)) as process:
            process.stdin.write(b"x\n")
            process.stdin.flush()
            need(process.stdout.readline() == b"hello\n")
            process.stdin.close()
            need(process.wait(GUARD) == 1)
            one_line(process.stderr.read().decode(), "the connection is lost", "reset")
        out, err = talk(peer.address, "--connections", "2", "--send", "x", code=1)
        need(err.count("the connection is lost") == 2 and b"[1] hello\n[2] hello\n" in
             b"".join(sorted(out.splitlines(True))), out, err)


def memory(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


def catches(process, number):
    """Waits until it has a handler for the signal: how long a start takes is the machine's."""
    end = time.monotonic() + GUARD
    while time.monotonic() < end:
        with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
            caught = next(line.split()[1] for line in status if line.startswith("SigCgt:"))
        if int(caught, 16) >> (number - 1) & 1:
            return
        time.sleep(0.01)
    need(False, "no handler")


def a_peer_that_does_not_read():
    """Standard input is not read any more, and memory does not grow."""
    release = threading.Event()
    with Peer(lambda client: release.wait(GUARD)) as peer, running(start(peer.address)) as process:
        catches(process, signal.SIGTERM)
        os.set_blocking(process.stdin.fileno(), False)
        piece, taken, quiet = b"x" * 65536, 0, 0
        while quiet < 10:
            _, writable, _ = select.select([], [process.stdin], [], 0.05)
            quiet = 0 if writable else quiet + 1
            if writable:
                taken += os.write(process.stdin.fileno(), piece)
                need(taken < 256 << 20, "it reads without end")
        need(memory(process.pid) < (400_000 if SANITIZED else 30_000), memory(process.pid))
        process.send_signal(signal.SIGTERM)
        need(process.wait(GUARD) == 143, process.returncode)
        release.set()


def a_peer_that_floods():
    """What is typed gets through."""
    got = threading.Event()

    def flood(client):
        client.settimeout(None)

        def listen():
            with contextlib.suppress(OSError):
                while b"stop" not in client.recv(100):
                    pass
                got.set()

        thread = threading.Thread(target=listen)
        thread.start()
        with contextlib.suppress(OSError):
            while not got.is_set():
                client.sendall(b"flood " * 10000 + b"\n")
        thread.join(GUARD)

    with Peer(flood) as peer:
        with running(start(peer.address, stdout=subprocess.DEVNULL)) as process:
            time.sleep(0.2)
            process.stdin.write(b"stop\n")
            process.stdin.flush()
            need(got.wait(GUARD), "it starves")
            process.stdin.close()
            process.wait(GUARD)


def an_output_that_nobody_reads_any_more():
    with Peer(echo) as peer:
        with running(start(peer.address)) as process:
            process.stdin.write(b"one\n")
            process.stdin.flush()
            need(process.stdout.readline() == b"one\n")
            process.stdout.close()
            process.stdin.write(b"two\n")
            process.stdin.flush()
            need(process.wait(GUARD) == 0 and process.stderr.read() == b"", process.returncode)
        with open("/dev/full", "wb") as full:
            done = subprocess.run(command(peer.address), input=b"x\n", stdout=full,
                                  stderr=subprocess.PIPE, timeout=GUARD, env=ENVIRONMENT)
            need(done.returncode == 1, done)
            one_line(done.stderr.decode(), "cannot write the replies", "space")


def closed_streams():
    with Peer(echo) as peer:
        for closing, code in (("<&-", 0), ("<&- >&-", 0), ("<&- >&- 2>&-", 0)):
            done = subprocess.run(["/bin/sh", "-c", f'exec "$@" {closing}', "sh",
                                   *command(peer.address)], env=ENVIRONMENT, timeout=GUARD)
            need(done.returncode == code, closing, done)


def signals_end_it():
    with Peer(echo) as peer:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with running(start(peer.address)) as process:
                process.stdin.write(b"there\n")
                process.stdin.flush()
                need(process.stdout.readline() == b"there\n")
                process.send_signal(number)
                need(process.wait(GUARD) == 128 + number, process.returncode)
                need(process.stderr.read() == b"")


def signals_end_it_whatever_it_waits_for():
    # While connecting: the backlog is full.
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/socket")
        listener.listen(0)
        with contextlib.ExitStack() as held:
            for _ in range(8):
                client = held.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect_ex(f"{directory}/socket")
            with running(start(f"unix://{directory}/socket", "--connect-timeout", "1h")) as process:
                catches(process, signal.SIGTERM)
                time.sleep(0.3)
                need(process.poll() is None, process.returncode)
                process.terminate()
                need(process.wait(GUARD) == 143, process.returncode)
                need(process.stderr.read() == b"")

    # While nobody reads its output.
    def flood(client):
        with contextlib.suppress(OSError):
            while True:
                client.sendall(b"flood " * 10000)

    with Peer(flood) as peer, running(start(peer.address)) as process:
        need(select.select([process.stdout], [], [], GUARD)[0], "nothing comes")
        time.sleep(0.3)
        need(memory(process.pid) < (400_000 if SANITIZED else 30_000), memory(process.pid))
        process.send_signal(signal.SIGINT)
        need(process.wait(GUARD) == 130, process.returncode)


# --- terminals

class Terminal:
    """It, on a terminal of its own: what it controls, and what it shows."""

    def __init__(self, *arguments):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)

        def own_terminal():
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(command(*arguments), env=ENVIRONMENT, stdin=self.slave,
                                        stdout=self.slave, stderr=self.slave,
                                        preexec_fn=own_terminal)
        self.text = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def wait_for(self, text):
        """What it shows until there is `text`."""
        end = time.monotonic() + GUARD
        while text not in self.text:
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            need(ready, "waits for", text, "shows", self.text)
            self.text += os.read(self.master, 1 << 16)
        shown, self.text = self.text.split(text, 1)
        return shown + text

    def type(self, text):
        os.write(self.master, text)

    def ends_with(self, code):
        need(self.process.wait(GUARD) == code, self.process.returncode, self.text)
        need(termios.tcgetattr(self.slave) == self.before, "other modes")
        need(not fcntl.fcntl(self.slave, fcntl.F_GETFL) & os.O_NONBLOCK, "still non-blocking")


def a_terminal():
    with Peer(echo) as peer, Terminal(peer.address) as terminal:
        terminal.wait_for(b"> ")
        terminal.type(b"hello\n")
        terminal.wait_for(b"hello\r\n")  # the terminal's own echo
        terminal.wait_for(b"hello\r\n")
        terminal.wait_for(b"> ")
        terminal.type(b"\x04")
        terminal.ends_with(0)


def ctrl_c_on_a_terminal():
    with Peer(echo) as peer, Terminal(peer.address) as terminal:
        terminal.wait_for(b"> ")
        terminal.type(b"half a li\x03")
        terminal.ends_with(130)
    with Peer(echo) as peer, Terminal(peer.address) as terminal:
        terminal.wait_for(b"> ")
        terminal.process.terminate()
        terminal.ends_with(143)


def a_terminal_and_a_peer_that_speaks_first():
    def greet(client):
        client.sendall(b"login: ")
        client.recv(100)
        client.sendall(b"\x1b]0;owned\x07welcome\n")

    with Peer(greet) as peer, Terminal(peer.address) as terminal:
        terminal.wait_for(b"login: ")
        terminal.type(b"me\n")
        terminal.wait_for(b"\\x1b]0;owned\\x07welcome\r\n")
        terminal.wait_for(b"closed before the input ended")
        terminal.ends_with(1)


def a_terminal_that_goes_away():
    with Peer(echo) as peer, Terminal(peer.address) as terminal:
        terminal.wait_for(b"> ")
        os.close(terminal.master)
        terminal.master = os.open(os.devnull, os.O_RDONLY)
        # Of the end of its input and SIGHUP, either may come first.
        need(terminal.process.wait(GUARD) in (0, 129), terminal.process.returncode)


def nohup():
    with Peer(echo) as peer, running(start(
            peer.address, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))) as it:
        it.stdin.write(b"one\n")
        it.stdin.flush()
        need(it.stdout.readline() == b"one\n")
        it.send_signal(signal.SIGHUP)
        it.stdin.write(b"two\n")
        it.stdin.close()
        need(it.stdout.read() == b"two\n")
        need(it.wait(GUARD) == 0, it.returncode)


def what_is_ignored_stays_so():
    """A script's background jobs begin so: Ctrl-C in the terminal is not for them."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for ignored in (numbers[:1], numbers[:2], numbers[1:], numbers):
        def ignore(those=ignored):
            for number in those:
                signal.signal(number, signal.SIG_IGN)

        with Peer(echo) as peer, running(start(peer.address, preexec_fn=ignore)) as it:
            for number in ignored:
                it.stdin.write(b"one\n")
                it.stdin.flush()
                need(it.stdout.readline() == b"one\n")
                it.send_signal(number)
            it.stdin.write(b"two\n")
            it.stdin.close()
            need(it.stdout.read() == b"two\n")
            need(it.wait(GUARD) == 0, it.returncode)


# --- the command line

def usage():
    for arguments in ((), ("nonsense",), ("localhost:0",), ("localhost:1", "--for", "x"),
                      ("localhost:1", "--connections", "0"), ("localhost:1", "--send", "\\q"),
                      ("localhost:1", "--expect", ""), ("localhost:1", "--connect-timeout", "0"),
                      ("localhost:1", "--crlf", "--delimiter", "x"),
                      ("localhost:1", "--hex", "--raw"),
                      ("localhost:1", "--send", "x", "--crlf"),
                      ("localhost:1", "--delimiter", "\\q"), ("udp://localhost:1",),
                      ("unix://",), ("\x1b[31m:x",)):
        out, err = talk(*arguments, code=2)
        need(out == b"", arguments)
        one_line(err)
    need(subprocess.run([TOOL, "talk", "localhost:1", "--backend", "kqueue"], env=ENVIRONMENT,
                        stderr=subprocess.PIPE, timeout=GUARD).returncode == 2)


def help_fits_a_screen():
    out = talk("--help")[0].decode("ascii")
    need(out.count("\n") <= 40 and max(map(len, out.splitlines())) <= 100, out)
    for word in ("ADDRESS", "--connections", "--connect-timeout", "--send", "--expect", "--for",
                 "--delimiter", "--crlf", "--hex", "--raw", "--backend", "--verbose"):
        need(word in out, word)


main(a_pipe, a_unix_socket_a_file_and_nothing, ten_megabytes, line_ends, how_replies_are_shown,
     the_end_of_a_line_is_one, host_and_port_as_nc_takes_them,
     a_server_that_takes_a_half_close_for_the_end, several_connections,
     a_reader_of_the_notes_that_stalls, a_line_without_an_end_is_shown_at_the_end, reply_times,
     expectations,
     a_peer_that_closes_before_what_is_expected, staying, a_refused_connection,
     a_name_that_cannot_be_resolved, nobody_answers, a_peer_that_closes_early,
     a_peer_that_quits_when_told, a_peer_that_closed_its_direction_only, a_peer_that_resets,
     a_peer_that_does_not_read, a_peer_that_floods, an_output_that_nobody_reads_any_more,
     closed_streams, signals_end_it, signals_end_it_whatever_it_waits_for, a_terminal,
     ctrl_c_on_a_terminal, a_terminal_and_a_peer_that_speaks_first, a_terminal_that_goes_away,
     nohup, what_is_ignored_stays_so, usage, help_fits_a_screen)
