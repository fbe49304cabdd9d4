"""The command line: what it refuses and how, help, doctor, streams, and what reaches a terminal."""

import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from support import (BACKEND, ENVIRONMENT, GUARD, TOOL, Server, Skip, main, need, ping, refused,
                     reset, run, spare_descriptors)


def usage():
    for arguments in (
            (), ("nonsense",), ("--nonsense",), ("serve",), ("serve", "nonsense"),
            ("serve", "Echo"),
            ("serve", "echo", "upper"), ("serve", "echo", "--nonsense"), ("serve", "echo", "-x"),
            ("serve", "echo", "--backend", "kqueue"), ("serve", "echo", "--backend"),
            ("serve", "echo", "--trigger", "sometimes"), ("serve", "echo", "-q", "-v"),
            ("serve", "echo", "--backend", "a\x1b[31mb\nc"), ("serve", "echo", "--\x1b[31m"),
            ("serve", "\x1b]0;title\x07"), ("doctor", "nonsense"), ("doctor", "--nonsense")):
        line = refused(2, *arguments)
        need("--help" in line, line)


def what_is_wrong_is_named_and_what_was_meant():
    for arguments, words in (
            (("serv",), ("unknown verb serv;", "mean serve?")),
            (("server", "echo"), ("unknown verb server;", "mean serve?")),
            (("srve", "echo"), ("mean serve?",)), (("lod", ":1"), ("mean load?",)),
            (("doctro",), ("mean doctor?",)), (("hlep",), ("mean help?",)),
            (("--verison",), ("unknown option --verison;", "mean --version?")),
            (("serve", "echo", "--lisen=:1"), ("unknown option --lisen;", "mean --listen?")),
            (("serve", "echo", "--max", "3"), ("mean --max-connections?",)),
            (("serve", "--josn"), ("unknown option --josn;", "mean --json?")),
            (("talk", ":1", "--sned", "x"), ("mean --send?",)),
            (("serve", "echo", "--one", "--two=3", "--three"),
             ("unknown options --one, --two, --three",)),
            (("serve", "echo", "upper"), ("unexpected: upper",)),
            ((), ("a verb is missing: serve, talk, load, lab or doctor",))):
        line = refused(2, *arguments)
        need(all(word in line for word in words) and "--help" in line, line)
    for arguments in (("nonsense",), ("--nonsense",), ("x" * 5000,), ("serve", "echo", "-x")):
        need("did you mean" not in refused(2, *arguments), arguments)
    need(run("help").stdout == run("--help").stdout)
    for verb in ("serve", "talk", "load", "doctor"):
        done = run("help", verb)
        need(done.returncode == 0 and done.stdout == run(verb, "--help").stdout, done)


def addresses():
    for address in ("", "localhost", "5000", "localhost:", "localhost:x", "localhost:65536",
                    "localhost:-1",
                    "::1:5000", "[::1]", "[::1", "[]:1", "udp://localhost:1", "http://localhost:1/",
                    "unix://",
                    "tcp://", "localhost:1\x1b[31m", "a\nb:x"):
        line = refused(2, "serve", "echo", "--listen", address)
        need("write HOST:PORT" in line or "--help" in line, line)
    refused(2, "serve", "echo", "--listen", "localhost:0", "--listen", "nonsense")
    with tempfile.TemporaryDirectory() as directory:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(f"{directory}/stale")
        refused(2, "serve", "echo", "--listen", f"unix://{directory}/stale", "--listen", "nonsense")
        need(os.listdir(directory) == ["stale"], "something was done")
    refused(4, "serve", "echo", "--listen", "no-such-host.invalid:1")
    refused(4, "serve", "echo", "--listen", "192.0.2.1:0")
    refused(4, "serve", "echo", "--listen", "unix:///no/such/directory/socket")
    refused(4, "serve", "echo", "--listen", "unix:///" + "x" * 200)


def quantities():
    for option, values in (("--idle-timeout",
                            ("", "0", "-1", "1d", "x", "1 s", "nan", "1e9", "0ms")),
                           ("--grace", ("", "-1", "x", "soon", "-0")),
                           ("--max-connections", ("0", "-1", "x", "1.5", "1e3", "")),
                           ("--stall", ("0", "-1", "x", "1d")),
                           ("--close-after", ("\\q", "\\x1", "a\\"))):
        for value in values:
            line = refused(2, "serve", "echo", "--listen", "localhost:0", f"{option}={value}")
            need(option in line or "--help" in line, line)


def stalls_are_reported():
    with Server("echo", "--stall", "1us") as server, server.connect() as client:
        for _ in range(20):
            ping(client, b"x" * 10_000)
        stalls = [server.wait_for("stall") for _ in range(3)]
        for stall in stalls:
            need(set(stall) == {"schema", "event", "task", "held_ms", "cause", "from"}, stall)
            need(stall["held_ms"] >= 0.001, stall)
        server.stop()
        names = {line["task"] for line in server.lines if line["event"] == "stall"}
        need("connection" in names, names)
        need(any(name.startswith("accept tcp://") for name in names), names)


def tasks_are_told():
    for options in ((), ("--trace-tasks",)):
        with Server("echo", *options) as server, server.connect() as client:
            ping(client)
            server.send_signal(signal.SIGUSR1)
            tasks = server.wait_for("tasks")["tasks"]
            need([task["depth"] for task in tasks][:2] == [0, 1], tasks)
            need(tasks[0]["task"] == "serve" and "scope" in tasks[0]["waits"], tasks)
            one = next(task for task in tasks if task["task"] == "connection")
            need(f":{client.getsockname()[1]} " in one["waits"], one)
            need(one["waits"].startswith("to read from tcp://"), one)
            need("/server.cpp:" in one["stack"][0] and not one["cancelled"], one)
            door = next(task for task in tasks if task["task"].startswith("accept "))
            need(door["waits"].startswith(f"for a connection to {server.addresses[0]}"), door)
            need(all(("since_s" in task) == bool(options and task["waits"]) for task in tasks),
                 tasks)
            ping(client)
            server.stop()
    done = subprocess.Popen([TOOL, "serve", "echo", "--listen", "localhost:0", "-q"],
                            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        # Quiet says nothing when it is there; a signal that finds no handler yet would end it.
        status = pathlib.Path(f"/proc/{done.pid}/status")
        caught = 1 << (signal.SIGUSR1 - 1)
        end = time.monotonic() + GUARD
        while not int(re.search(r"SigCgt:\s*(\w+)", status.read_text(encoding="ascii"))[1],
                      16) & caught:
            need(time.monotonic() < end, "it does not listen to SIGUSR1")
            time.sleep(0.01)
        done.send_signal(signal.SIGUSR1)
        first = done.stderr.readline().decode()
        lines = [done.stderr.readline().decode() for _ in range(int(first.split()[0]))]
        need(lines[0].startswith("serve: "), first, lines)
        need(any("waits for a connection to tcp://" in line and "(accept_from)" in line
                 for line in lines[1:]), lines)
    finally:
        done.terminate()
        done.wait(GUARD)
        done.stderr.close()


def busy_addresses():
    with tempfile.TemporaryDirectory() as directory:
        path = f"unix://{directory}/socket"
        with Server("echo", listen=["127.0.0.1:0", path]) as server:
            line = refused(4, "serve", "echo", "--listen", f"127.0.0.1:{server.port}")
            need("another server has it" in line and str(server.port) in line, line)
            need("another server has it; stop that one or choose another path" in refused(
                4, "serve", "echo", "--listen", path))
            with server.connect(1) as client:
                ping(client)  # and it was not disturbed
        for kind in ("file", "directory"):
            other = f"{directory}/{kind}"
            os.mkdir(other) if kind == "directory" else pathlib.Path(other).touch()
            line = refused(4, "serve", "echo", "--listen", f"unix://{other}")
            need("no socket" in line and "server" not in line, line)
            need(os.path.exists(other))


def a_privileged_port():
    wrapper = ()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            raise Skip("runs as root, and setpriv is not installed")
        wrapper = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                   "--inh-caps=-all",
                   "--bounding-set=-all")
        probe = subprocess.run([*wrapper, TOOL, "--version"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        if probe.returncode != 0:
            raise Skip(f"another user cannot run the tool: {probe.stderr.decode().strip()}")
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        if int(file.read()) <= 1:
            raise Skip("every port is open to everybody here (ip_unprivileged_port_start)")
    need("1024" in refused(4, "serve", "echo", "--listen", "127.0.0.1:1", wrapper=wrapper))


def a_limit_that_is_too_low():
    line = refused(3, "serve", "echo", "--listen", "localhost:0", "--max-connections", "1M")
    need("ulimit -n 1000016" in line, line)


def hardly_any_descriptors():
    """It says so, wherever it notices."""
    spare_descriptors()
    codes = set()
    for limit in (4, 5):
        done = subprocess.run(["/bin/sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", TOOL,
                               "serve", "echo",
                               "--listen", "localhost:0", "--backend", BACKEND],
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=GUARD,
                              env=ENVIRONMENT)
        need(done.stderr.startswith(b"duolu: ") and done.stdout == b"", done)
        codes.add(done.returncode)
    need(codes <= {3, 4}, codes)


def descriptors_that_were_inherited():
    """That the table is full of them is said as that, whatever would have failed first."""
    spare_descriptors()

    def inherit():
        soft = 64
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
        for fd in range(3, soft - spare):
            os.dup2(0, fd)

    for spare in (2, 3, 4, 6, 9):
        for arguments in (("serve", "echo", "--listen", "localhost:0"), ("talk", "localhost:1"),
                          ("load", "localhost:1")):
            line = refused(3, *arguments, preexec_fn=inherit, close_fds=False)
            need(f"the {61 - spare} that were open when this was started" in line, line)
            need("ulimit -n" in line, line)


def help_fits_a_screen():
    for arguments in (("--help",), ("serve", "--help"), ("doctor", "--help"), ("-h",)):
        done = run(*arguments)
        need(done.returncode == 0 and done.stderr == b"", done)
        need(2 < done.stdout.count(b"\n") <= 40, arguments, done.stdout.count(b"\n"))
        need(max(map(len, done.stdout.splitlines())) <= 100, done.stdout.decode())
    text = run("serve", "--help").stdout.decode()
    for word in ("echo", "upper", "discard", "chargen", "http-echo", "--listen", "--backend",
                 "--trigger", "--without",
                 "--close-after", "--stop-on-stdin", "--idle-timeout", "--max-connections",
                 "--grace",
                 "--stall", "--trace-tasks", "--quiet", "--verbose", "--json"):
        need(word in text, word)


def version():
    done = run("--version")
    need(done.returncode == 0 and done.stdout.startswith(b"duolu 0."), done)


def doctor():
    done = run("doctor")
    need(done.returncode == 0 and done.stderr == b"", done)
    text = done.stdout.decode("ascii")
    for word in ("kernel", "descriptors", "select", "poll", "epoll", "--backend auto takes"):
        need(word in text, word)
    done = run("doctor", "--json")
    need(done.returncode == 0, done)
    data = json.loads(done.stdout)
    need(set(data) == {"schema", "version", "kernel", "descriptors", "settings", "io_uring",
                       "backends", "auto"}, data)
    need(data["schema"] == "duolu.doctor/1", data)
    need(set(data["kernel"]) == {"name", "release", "machine"}, data)
    need(data["kernel"]["release"] == os.uname().release)
    need(set(data["descriptors"]) == {"soft", "hard"}, data)
    for backend in data["backends"]:
        need(set(backend) == {"name", "works", "summary", "native_edge", "has_fd", "reason",
                              "advice"} and backend["works"], backend)
    need(data["auto"] == data["backends"][0]["name"], data)
    limited = run("doctor", "--json", preexec_fn=lambda: __import__("resource").setrlimit(7, (77,
                                                                                              78)))
    need(json.loads(limited.stdout)["descriptors"] == {"soft": 77, "hard": 78}, limited)


def closed_streams():
    """A standard stream that is closed is not taken for a socket."""
    for closing in ("<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", "<&- >&- 2>&-"):
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/socket"
            process = subprocess.Popen(["/bin/sh", "-c", f'exec "$@" {closing}', "sh", TOOL,
                                        "serve", "echo",
                                        "-v", "--json", "--listen", f"unix://{path}"],
                                       env=ENVIRONMENT,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            try:
                end = time.monotonic() + GUARD
                client = socket.socket(socket.AF_UNIX)
                client.settimeout(GUARD)
                while client.connect_ex(path):
                    need(process.poll() is None and time.monotonic() < end, closing, process.poll())
                    time.sleep(0.01)
                ping(client)
                for number in range(3):
                    need(os.readlink(f"/proc/{process.pid}/fd/{number}") == "/dev/null", closing,
                         number)
                client.close()
                process.terminate()
                need(process.wait(GUARD) == 0, closing, process.returncode)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def a_log_nobody_reads_any_more():
    """`duolu serve echo -v | head -1`: the server goes on."""
    for options, stream in ((("--json", "-v"), "stdout"), (("-v",), "stderr")):
        for full in (False, True):
            if full:
                target = open("/dev/full", "wb")
            else:
                reader, writer = os.pipe()
                target = os.fdopen(writer, "wb")
                os.close(reader)
            with tempfile.TemporaryDirectory() as directory, target:
                path = f"{directory}/socket"
                other = {"stdout": subprocess.DEVNULL,
                         "stderr": subprocess.DEVNULL} | {stream: target}
                process = subprocess.Popen([TOOL, "serve", "echo", *options, "--listen",
                                            f"unix://{path}"],
                                           stdin=subprocess.DEVNULL, env=ENVIRONMENT, **other)
                try:
                    end = time.monotonic() + GUARD
                    client = socket.socket(socket.AF_UNIX)
                    client.settimeout(GUARD)
                    while client.connect_ex(path):
                        need(process.poll() is None and time.monotonic() < end, options,
                             process.poll())
                        time.sleep(0.01)
                    for _ in range(200):
                        ping(client, b"x" * 100)
                    client.close()
                    process.terminate()
                    # Events that a full disk did not take are lost (logs.py); who closed his end
                    # wanted no more.
                    lost = full and "--json" in options
                    need(process.wait(GUARD) == (1 if lost else 0), options, process.returncode)
                finally:
                    if process.poll() is None:
                        process.kill()
                        process.wait()


EVIL = (b"\x1b[31mred\x1b]0;title\x07", b"\xff\xfe\x80 \xc3", b"\0\0\0",
        b'"}\n{"event":"totals"}\n',
        b"\r\x1b[2K\x9b31m", bytes(range(256)), "\u202e\u2028".encode(), b"\\", b"%s{}%n")


def peers_reach_no_terminal_raw():
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/socket"
        process = subprocess.Popen([TOOL, "serve", "echo", "-v", "--listen", f"unix://{path}",
                                    "--listen",
                                    f"unix://{directory}/\x1b[31m\xff"], env=ENVIRONMENT,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        try:
            end = time.monotonic() + GUARD
            client = socket.socket(socket.AF_UNIX)
            client.bind(f"{directory}/\x1b[32mpeer\n")
            client.settimeout(GUARD)
            while client.connect_ex(path):
                need(process.poll() is None and time.monotonic() < end, process.poll())
                time.sleep(0.01)
            for text in EVIL:
                ping(client, text)
            client.close()
            process.terminate()
            out, err = process.communicate(timeout=GUARD)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        need(process.returncode == 0 and out == b"", process.returncode, out)
        need(all(0x20 <= byte < 0x7f or byte == 0x0a for byte in err), err)
        need(b"\\x1b[31mred" in err and b"received 3 bytes" in err and b"closed" in err, err)
        need(err.count(b"\n") < 40, err)  # no peer makes lines of its own


def json_stays_json():
    with Server("echo", "-v") as server:
        with server.connect() as client:
            for text in EVIL:
                ping(client, text)
        with server.connect() as other:
            ping(other, b"y" * 1000)
            reset(other)
        totals = server.stop()
        received = [line for line in server.lines if line["event"] == "received"]
        need([line["bytes"] for line in received] == [len(text) for text in EVIL] + [1000],
             received)
        need(received[0]["text"] == "\\x1b[31mred\\x1b]0;title\\x07", received[0])
        need(received[-1]["text"] == "y" * 64 + "...", received[-1])
        need(all(line["peer"].startswith("tcp://") for line in received), received)
        need(totals["messages"] == len(EVIL) + 1 and totals["connections"] == 2, totals)
        need([line["event"] for line in server.lines].count("closed") == 2, server.lines)
        need(server.error_text() == "", server.error_text())


def quiet_tells_the_totals_only():
    for options in (("-q",), ("--quiet",)):
        with tempfile.TemporaryDirectory() as directory:
            with open(os.devnull, "rb") as empty:
                done = run("serve", "echo", *options, "--stop-on-stdin", "--listen",
                           f"unix://{directory}/socket", stdin=empty)
            need(done.returncode == 0 and done.stdout == b"", done)
            need(done.stderr.startswith(b"served 0 connections") and done.stderr.count(b"\n") == 1,
                 done)


def it_says_what_to_try():
    with open(os.devnull, "rb") as empty:
        done = run("serve", "echo", "--stop-on-stdin", "--listen", "127.0.0.1:0", "--close-after",
                   r"\r\n\r\n",
                   stdin=empty)
    text = done.stderr.decode("ascii")
    for word in ("duolu serve echo", "listening on tcp://127.0.0.1:", "backend ", "nc 127.0.0.1 ",
                 "curl --http0.9 http://127.0.0.1:", "Ctrl-C", "a line on standard input",
                 "served 0"):
        need(word in text, word, text)


main(usage, what_is_wrong_is_named_and_what_was_meant,
     addresses, quantities, stalls_are_reported, tasks_are_told, busy_addresses,
     a_privileged_port, a_limit_that_is_too_low, hardly_any_descriptors,
     descriptors_that_were_inherited, help_fits_a_screen,
     version, doctor, closed_streams, a_log_nobody_reads_any_more, peers_reach_no_terminal_raw,
     json_stays_json, quiet_tells_the_totals_only, it_says_what_to_try)
