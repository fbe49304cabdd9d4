"""`duolu load` as people run it: figures, JSON, errors, and what it refuses."""

import contextlib
import fcntl
import json
import os
import pty
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "serve"))

from support import ENVIRONMENT, GUARD, SANITIZED, TOOL, Server, Skip, main, need  # noqa: E402

SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "schema",
                      "duolu.load-1.json")


ERROR_SCHEMA = os.path.join(os.path.dirname(SCHEMA), "duolu.load-error-1.json")


def validator(path=SCHEMA):
    sys.path.append("/usr/lib/python3/dist-packages")  # Debian's, whichever python3 runs this
    try:
        import jsonschema
    except ImportError:
        raise Skip("needs python3-jsonschema") from None
    with open(path, encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def load(*arguments, code=0):
    """Runs it to its end; what it said on standard output and standard error."""
    done = subprocess.run([TOOL, "load", *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=GUARD, env=ENVIRONMENT, text=True)
    need(done.returncode == code, done)
    return done.stdout, done.stderr


def load_json(*arguments, code=0):
    output, _ = load(*arguments, "--json", code=code)
    return json.loads(output)


def json_is_as_documented():
    check = validator()
    with Server() as server:
        for options in ("--duration 200ms --warmup 50ms", "--messages 500 --pipeline 8",
                        "--messages 100 --rate 2k --arrivals poisson",
                        "--messages 50 --churn 5 --connections 4",
                        "--duration 100ms --rate 100 --size 10KiB",
                        "-c 3 -n 20 --rate 6k/m", "-d 100ms -c 2"):
            report = load_json(server.addresses[0], *options.split())
            check.validate(report)
            need(report["messages"] == report["latency_us"]["uncorrected"]["count"], report)
            need(report["messages"] * report["options"]["size"] == report["bytes"], report)
            need(sum(report["errors"].values()) == 0 and report["stopped"] is None, report)
            # The command it names does the same.
            again = load_json(*shlex.split(report["command"])[2:])
            need(again["options"] == report["options"], report["command"], again["options"])
    need(not check.is_valid({**report, "messages": -1}), "the schema lets everything pass")
    need(not check.is_valid({**report, "nonsense": 1}), "the schema lets everything pass")


def every_kind_of_address():
    with tempfile.TemporaryDirectory() as directory:
        with Server(listen=["localhost:0", f"unix://{directory}/socket"]) as server:
            for address in (*server.addresses, f"localhost:{server.port}", f":{server.port}"):
                report = load_json(address, "--messages", "1000", "--connections", "200")
                need(report["messages"] == 1000 and report["connections"]["opened"] == 200, report)


class Echo:
    """An echo server that has nothing of ours: threads and sendall(). `.address` to connect to."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client:
            while data := client.recv(100_000):
                client.sendall(data)


class Socat:
    """socat and cat(1): a process for each connection, pipes between."""

    def __init__(self):
        if not shutil.which("socat"):
            raise Skip("needs socat")
        self.directory = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.directory.name, "socket")
        self.address = "unix://" + self.path

    def __enter__(self):
        self.process = subprocess.Popen(
            ["socat", f"UNIX-LISTEN:{self.path},fork,backlog=100", "EXEC:cat"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + GUARD
        while not os.path.exists(self.path):
            need(self.process.poll() is None and time.monotonic() < end, "socat does not listen")
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.directory.cleanup()


PERIOD, MOST = 65521, 65536  # of the payload: src/load/payload.hpp


def accuses_nobody(server, depths):
    """Sizes around the period of the payload and around the buffer, and many depths: a correct
    server never gives a wrong answer."""
    sizes = [1, 2, 7, 64, 4096, MOST - PERIOD, 10_000, 32_760, 32_761]
    for near in (PERIOD, MOST, 2 * PERIOD, 2 * MOST, 3 * PERIOD):
        sizes += [near - 16, near - 15, near - 1, near, near + 1, near + 15]
    if SANITIZED:  # what is slow then is to start the tool
        sizes, depths = sizes[::7], depths[::2]
    for size in sizes:
        for depth in depths:
            messages = max(12, min(300, 4 * MOST // size))
            report = load_json(server.address, "--size", str(size), "--pipeline", str(depth),
                               "--connections", "3", "--messages", str(messages))
            need(report["messages"] == messages, report)
            need(sum(report["errors"].values()) == 0, report["errors"], report["stopped"])


def a_correct_server_is_not_accused():
    with Echo() as server:
        report = load_json(server.address, "--connections", "1", "--size", "64KiB",
                           "--duration", "300ms")
        need(report["messages"] > 100, report)
        accuses_nobody(server, (1, 2, 3, 16, 17, 64))


def socat_is_not_accused():
    with Socat() as server:
        accuses_nobody(server, (1, 3, 17))


def a_name_whose_first_address_does_not_answer():
    with Server(listen=["127.0.0.1:0"]) as server:  # localhost may be ::1 first
        need(load_json(f"localhost:{server.port}", "--messages", "10")["messages"] == 10)


def the_table():
    with Server() as server:
        output, _ = load(server.addresses[0], "--messages", "1000")
        for word in ("messages     1000 in", "p99.9", "closed loop", "errors       none",
                     "this client", "again        duolu load"):
            need(word in output, word, output)
        output, _ = load(server.addresses[0], "--messages", "100", "--rate", "1000")
        for word in ("corrected", "uncorrected", "start error", "bare sleep", "asked for"):
            need(word in output, word, output)


def idle_connections_are_really_there():
    with Server() as server:
        report = load_json(server.addresses[0], "--connections", "500", "--active", "5",
                           "--messages", "1000")
        need(report["connections"] == {"opened": 500, "open_at_end": 500, "lost": 0}, report)
        server.process.send_signal(signal.SIGTERM)
        totals = server.wait_for("totals")
        need(totals["connections"] == 500 and totals["messages"] >= 1000 + 495, totals)


def refusals():
    for arguments in ((), ("x",), (":1", "--connections", "0"), (":1", "--active", "11"),
                      (":1", "--size", "0"), (":1", "--size", "2GiB"), (":1", "--pipeline", "-1"),
                      (":1", "--rate", "0"), (":1", "--rate", "x"), (":1", "--rate", "1/d"),
                      (":1", "--rate", "1/m"), (":1", "--rate", "0.5", "--duration", "1s"),
                      (":1", "--duration", "0"),
                      (":1", "--duration", "soon"), (":1", "--arrivals", "poisson"),
                      (":1", "--rate", "5", "--arrivals", "late"), (":1", "--seed", "-1"),
                      (":1", "--duration", "1s", "--messages", "1"), (":0",), (":1", "--nonsense"),
                      (":1", "--backend", "kqueue"), (":1", "--timeout", "0"), (":1", ":2")):
        _, errors = load(*arguments, code=2)
        need(errors.startswith("duolu: ") and errors.count("\n") == 1, arguments, errors)
    for address in ("192.0.2.1:1", "[2001:db8::1]:1", "0.0.0.0:1"):
        _, errors = load(address, code=2)
        need("--allow-remote" in errors, errors)
    with socket.socket() as bound:  # bound, not listening
        bound.bind(("127.0.0.1", 0))
        _, errors = load(f"127.0.0.1:{bound.getsockname()[1]}", code=4)
        need("Connection refused" in errors, errors)
    done = subprocess.run(["sh", "-c", f"ulimit -n 100; exec '{TOOL}' load :1 --connections 1k"],
                          capture_output=True, timeout=GUARD, env=ENVIRONMENT, text=True)
    need(done.returncode == 3 and "ulimit -n" in done.stderr, done)


def what_cannot_be_connected_to_is_explained():
    """One line that names the error and what to do about it."""

    def failing(address, *words, wrapper=()):
        done = subprocess.run([*wrapper, TOOL, "load", address, "-c", "3", "--timeout", "300ms"],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=GUARD,
                              env=ENVIRONMENT, text=True)
        line = done.stderr
        need(done.returncode == 4 and line.count("\n") == 1 and not done.stdout, done)
        need(line.startswith(f"duolu: cannot connect to {address}: "), line)
        need(all(word in line for word in words), line, words)

    with socket.socket() as bound:  # bound, not listening
        bound.bind(("127.0.0.1", 0))
        nobody = f"tcp://127.0.0.1:{bound.getsockname()[1]}"
        failing(nobody, "refused", "is the server running?")
        failing("unix:///no/such/socket", "No such file", "is the server running, and the path")
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(0)
            with contextlib.ExitStack() as held:
                for _ in range(4):  # a full backlog drops what else comes
                    client = held.enter_context(socket.socket())
                    client.setblocking(False)
                    client.connect_ex(silent.getsockname())
                failing(f"tcp://127.0.0.1:{silent.getsockname()[1]}", "timed out",
                        "no answer within 300ms", "--timeout waits longer")
        for error, words in (("EADDRNOTAVAIL", ("local port", "TIME-WAIT", "ip_local_port_range")),
                             ("EACCES", ("Permission denied", "its permissions")),
                             ("EPERM", ("not permitted", "firewall"))):
            inject = ("strace", "-qq", "-o", "/dev/null", "-e", f"inject=connect:error={error}")
            if SANITIZED or subprocess.run([*inject, "true"], capture_output=True).returncode:
                raise Skip("needs strace(1), and no sanitizer")
            failing(nobody, *words, wrapper=inject)


def a_failure_is_an_object_too():
    check = validator(ERROR_SCHEMA)
    with socket.socket() as bound:  # bound, not listening
        bound.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{bound.getsockname()[1]}"
        for arguments, code in (((nobody,), 4), ((":0",), 2),
                                (("unix:///no/such/'socket\n\xff",), 4),
                                ((nobody, "--size", "0"), 2), (("192.0.2.1:1",), 2)):
            output, errors = load(*arguments, "--json", code=code)
            report = json.loads(output)
            check.validate(report)
            need(report["exit_code"] == code and report["schema"] == "duolu.load-error/1", report)
            need(errors == f"duolu: {report['error']}\n", errors, report)
            need(report["command"].startswith("duolu load "), report)
        # One that cannot be written changes neither the line nor the code.
        with open("/dev/full", "wb") as full:
            done = subprocess.run([TOOL, "load", nobody, "--json"], stdin=subprocess.DEVNULL,
                                  stdout=full, stderr=subprocess.PIPE, timeout=GUARD,
                                  env=ENVIRONMENT)
        need(done.returncode == 4 and b"Connection refused" in done.stderr, done)


def the_command_is_quoted_for_a_shell():
    with tempfile.TemporaryDirectory() as directory:
        path = f"unix://{directory}/a b'c;$x\\"
        with Server(listen=[path]) as server:
            report = load_json(path, "--messages", "5", "--size", "10")
            need(shlex.split(report["command"]) ==
                 ["duolu", "load", path, "--messages", "5", "--size", "10"], report["command"])
            output, _ = load(path, "--messages", "5")
            again = output[output.index("duolu load"):].replace("duolu load", f"'{TOOL}' load", 1)
            done = subprocess.run(["sh", "-c", again], stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=GUARD, env=ENVIRONMENT, text=True)
            need(done.returncode == 0 and "messages     5 in" in done.stdout, again, done)
            server.stop()


def low_rates():
    with Server() as server:
        report = load_json(server.addresses[0], "--rate", "0.5", "--messages", "2")
        need(report["messages"] == 2 and report["elapsed_s"] >= 1.9, report)
        need(report["options"]["rate"] == 0.5, report["options"])
        output, _ = load(server.addresses[0], "--rate", "1/h", "--messages", "1")
        need("asked for    0.000278 a second, evenly" in output, output)


def need_the_errors_of_one_gap(report):
    """Each lost connection is an error (a reset where input was not read), and the first try that
    failed. The kernel may close the listener of a killed process after its connections: that try
    is then reset instead of refused, or its connection is one more that is lost."""
    errors = [report["errors"][name] for name in ("refused", "reset", "closed")]
    need(sum(errors) == report["connections"]["lost"] + 1 and errors[0] <= 1, report)


def a_server_that_restarts():
    """The run goes on, and says how long nobody was there; the exit code is 1."""
    check = validator()
    with Server() as first:
        address = first.addresses[0]
        process = subprocess.Popen(
            [TOOL, "load", address, "-c", "8", "--duration", "3s", "--warmup", "0", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
        time.sleep(0.5)  # in the middle of the measurement
        first.process.kill()
        first.wait()
        time.sleep(0.3)  # the least that the gap is long
        with Server(listen=[address]) as second:
            output, _ = process.communicate(timeout=GUARD)
            need(second.stop()["messages"] > 0)
    report = json.loads(output)
    check.validate(report)
    need(process.returncode == 1 and report["stopped"] is None, process.returncode, report)
    need(report["gaps"]["count"] == 1 and report["gaps"]["total_s"] >= 0.3, report["gaps"])
    need(report["gaps"]["longest_s"] == report["gaps"]["total_s"], report["gaps"])
    need(report["connections"]["lost"] >= 8, report["connections"])
    need(report["connections"]["open_at_end"] == 8, report["connections"])
    need_the_errors_of_one_gap(report)


def read_screen(master, process):
    """What comes out of a terminal until the process has ended."""
    shown = b""
    while True:
        ready, _, _ = select.select([master], [], [], 0.1)
        if ready:
            try:
                shown += os.read(master, 65536)
            except OSError:  # EIO: nobody has the other end any more
                process.wait()
                return shown
        elif process.poll() is not None:
            return shown


def terminal(columns):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return master, slave


def progress_fits_a_narrow_terminal():
    with Server() as server:
        master, slave = terminal(40)
        process = subprocess.Popen([TOOL, "load", server.addresses[0], "-d", "1s", "-c", "100"],
                                   stdout=subprocess.DEVNULL, stderr=slave, env=ENVIRONMENT)
        os.close(slave)
        shown = read_screen(master, process)
        os.close(master)
        need(process.returncode == 0, process.returncode, shown)
        lines = [line for line in shown.split(b"\r\x1b[K") if line]
        need(any(line.startswith(b"measuring") for line in lines), shown)
        need(all(len(line) < 40 and b"\n" not in line for line in lines), lines)
        need(shown.endswith(b"\r\x1b[K"), "the line is erased at the end", shown)


def a_terminal_that_does_not_read_holds_up_nothing():
    with Server() as server:
        master, slave = terminal(80)
        # Full: whoever writes to it now waits.
        os.set_blocking(slave, False)
        try:
            while True:
                os.write(slave, b"x" * 4096)
        except BlockingIOError:
            pass
        os.set_blocking(slave, True)
        process = subprocess.Popen([TOOL, "load", server.addresses[0], "-d", "1s", "--json"],
                                   stdout=subprocess.PIPE, stderr=slave, env=ENVIRONMENT)
        output, _ = process.communicate(timeout=GUARD)
        os.close(slave)
        os.close(master)
        report = json.loads(output)
        need(process.returncode == 0 and report["stopped"] is None, report)
        need(0.99 < report["elapsed_s"] < 5 and report["latency_us"]["uncorrected"]["max"] < 5e6,
             report)


def every_address_of_a_name_is_tried():
    """A name with two addresses, the first of which never answers."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0:
        raise Skip("needs unshare(1) to give a program an /etc/hosts of its own")
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(0)
    # A port that is free on the address that only this test uses.
    with silent, Server(listen=[f"127.0.0.9:{silent.getsockname()[1]}"]) as server, \
            tempfile.NamedTemporaryFile("w") as hosts:
        fill = []
        for _ in range(4):  # a full backlog drops what else comes
            fill.append(socket.socket())
            fill[-1].setblocking(False)
            fill[-1].connect_ex(silent.getsockname())
        hosts.write("127.0.0.1 both.test\n127.0.0.9 both.test\n")
        hosts.flush()
        os.chmod(hosts.name, 0o644)
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', hosts.name,
             TOOL, "load", f"both.test:{server.port}", "--messages", "100", "--json"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=GUARD, env=ENVIRONMENT,
            text=True)
        for client in fill:
            client.close()
        if "mount" in done.stderr:
            raise Skip(done.stderr.strip())
        need(done.returncode == 0, done)
        report = json.loads(done.stdout)
        need(report["target"] == server.addresses[0] and report["messages"] == 100, report)
        need(report["connections"]["opened"] == 10, report)


def a_wrong_answer_ends_it():
    with Server("upper") as server:
        report = load_json(server.addresses[0], "--duration", "30s", code=1)
        need(report["errors"]["wrong_byte"] == 1 and "instead of" in report["stopped"], report)


def a_server_that_dies():
    with Server() as server:
        killer = threading.Timer(1, server.process.kill)
        killer.start()
        report = load_json(server.addresses[0], "--duration", "50s", "--warmup", "0", code=1)
        killer.join()
        need("the server is gone" in report["stopped"], report)
        need(report["messages"] > 0 and report["elapsed_s"] < 40, report)
        need_the_errors_of_one_gap(report)


def catches(process, number):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        caught = next(line.split()[1] for line in file if line.startswith("SigCgt"))
    return int(caught, 16) >> (number - 1) & 1


def ctrl_c_shows_the_figures_so_far():
    with Server() as server:
        for number, more in ((signal.SIGINT, ("--warmup", "0")),
                             (signal.SIGTERM, ("--warmup", "0")),
                             (signal.SIGINT, ("--warmup", "60s", "--rate", "1k"))):
            process = subprocess.Popen(
                [TOOL, "load", server.addresses[0], "--duration", "60s", "--json", *more],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
            end = time.monotonic() + GUARD
            while not catches(process, number) and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(1)
            process.send_signal(number)
            output, _ = process.communicate(timeout=GUARD)
            need(process.returncode == 128 + number, process.returncode)
            report = json.loads(output)
            need(report["stopped"] == "interrupted" and report["elapsed_s"] >= 0, report)
            need((report["messages"] > 0) == (more[1] == "0"), report)


def a_report_that_cannot_be_written_is_a_failure():
    with Server() as server:
        for options in ((), ("--json",)):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([TOOL, "load", server.addresses[0], "--messages", "10",
                                       *options], stdin=subprocess.DEVNULL, stdout=full,
                                      stderr=subprocess.PIPE, timeout=GUARD, env=ENVIRONMENT)
            need(done.returncode == 1 and b"cannot write" in done.stderr, done)


def a_stall_shows_in_the_corrected_latency():
    """One echo server that rests 0.4 s after every 1,000 messages, measured at 1,000 a second."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        client, _ = listener.accept()
        with client:
            messages = 0
            while data := client.recv(65536):
                client.sendall(data)
                messages += 1
                if messages % 1000 == 500:
                    time.sleep(0.4)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        report = load_json(f"127.0.0.1:{listener.getsockname()[1]}", "--connections", "1", "--rate",
                           "1000", "--duration", "2s", "--warmup", "0")
    thread.join(GUARD)
    corrected, uncorrected = (report["latency_us"][key] for key in ("corrected", "uncorrected"))
    need(corrected["p90"] > 40_000, report)
    need(corrected["p99"] > uncorrected["p99"], report)
    need(uncorrected["max"] > 390_000, report)
    print(f"report: a stall of 400 ms a second: p99 {corrected['p99'] / 1000:.1f} ms corrected, "
          f"{uncorrected['p99'] / 1000:.1f} ms uncorrected")


if __name__ == "__main__":
    main(json_is_as_documented, every_kind_of_address, a_name_whose_first_address_does_not_answer,
         every_address_of_a_name_is_tried, a_correct_server_is_not_accused, socat_is_not_accused,
         the_table, idle_connections_are_really_there, refusals,
         what_cannot_be_connected_to_is_explained, a_failure_is_an_object_too,
         the_command_is_quoted_for_a_shell, low_rates, a_wrong_answer_ends_it, a_server_that_dies,
         a_server_that_restarts, ctrl_c_shows_the_figures_so_far,
         a_report_that_cannot_be_written_is_a_failure, progress_fits_a_narrow_terminal,
         a_terminal_that_does_not_read_holds_up_nothing, a_stall_shows_in_the_corrected_latency)
