"""`duolu lab` as people run it: real servers and clients, for a moment; what it says, what it
refuses, what it leaves behind. How fast anything is, is not asked: such a short run tells nothing.
"""

import contextlib
import fcntl
import json
import os
import pty
import resource
import select
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "serve"))

from support import ENVIRONMENT, GUARD, TOOL, Skip, main, need  # noqa: E402

SCHEMA = os.path.join(HERE, "..", "..", "docs", "schema", "duolu.lab-1.json")
# Two rounds: on a busy machine a client may get no processor for as long as a run.
SHORT = ("--rounds", "2", "--duration", "20ms")


def validator():
    sys.path.append("/usr/lib/python3/dist-packages")  # Debian's, whichever python3 runs this
    try:
        import jsonschema
    except ImportError:
        raise Skip("needs python3-jsonschema") from None
    with open(SCHEMA, encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def lab(*arguments, code=0, wrapper=(), **popen):
    done = subprocess.run([*wrapper, TOOL, "lab", *arguments], stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, timeout=GUARD, env=ENVIRONMENT, text=True,
                          **{"stdout": subprocess.PIPE, **popen})
    need(done.returncode == code, done)
    return done.stdout, done.stderr


def every_model_answers():
    check = validator()
    output, errors = lab(*SHORT, "--loads", "c1,c10", "--json", "-")
    report = json.loads(output)
    check.validate(report)
    need(errors == "" and report["failures"] == [] and report["incomplete"] is None, errors, report)
    works = [model["name"] for model in report["models"] if model["works"]]
    need({"blocking", "threads", "busy", "select", "poll"} <= set(works), works)
    measured = {(sample["model"], sample["load"]) for sample in report["samples"]}
    wanted = {(name, load) for name in works for load in ("c1", "c10")} - {("blocking", "c10")}
    need(measured == wanted, measured ^ wanted)
    for sample in report["samples"]:
        need(sample["messages"] > 0 and sample["cpu_us"] > 0, sample)
    for model in report["models"]:
        need(model["works"] == (model["reason"] == ""), model)
    # Two rounds are no ground for anything.
    need(all(claim["verdict"] not in ("holds", "does not hold") for claim in report["claims"]),
         report["claims"])
    need(not check.is_valid({**report, "samples": [{}]}), "the schema lets everything pass")
    need(not check.is_valid({**report, "nonsense": 1}), "the schema lets everything pass")


def idle_connections_and_a_file():
    check = validator()
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/a file.json"
        output, errors = lab(*SHORT, "--models", "poll", "--loads", "idle100", "--json", path)
        need(errors == "", errors)
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
        check.validate(report)
        need([load["connections"] for load in report["loads"]] == [110], report["loads"])
        need("On this machine (" in output and "poll" in output, output)
        need(all(len(line) <= 80 for line in output.splitlines() if directory not in line), output)
        # The command that it names does the same.
        need(f"again: {report['command']}"[:60] in output.replace("\n  ", " "), output)
        words = shlex.split(report["command"])
        need(words[0] == "duolu" and words[-1] == path, words)
        again, _ = lab(*words[2:])
        need("poll" in again, again)


def what_it_refuses():
    def refused(*arguments, words, code=2, **more):
        output, errors = lab(*arguments, code=code, **more)
        need(output == "" and errors.startswith("duolu: ") and errors.count("\n") == 1, output,
             errors)
        for word in words:
            need(word in errors, word, errors)

    refused("--models", "epol", words=("--models epol", "there are blocking, threads"))
    refused("--loads", "c2", words=("--loads c2", "c1, c10, c100, idle100"))
    refused("--models", "blocking", "--loads", "c100", words=("as many connections",))
    refused("--rounds", "0", words=("--rounds 0", "above zero"))
    refused("--rounds", "1001", words=("1000 at most",))
    refused("--duration", "1ms", words=("5ms at least",))
    refused("--seed", "x", words=("--seed",))
    refused("--quik", words=("unknown option --quik; did you mean --quick?",))
    with tempfile.TemporaryDirectory() as directory:
        # Before anything is measured: it would take a minute.
        refused("--quick", "--json", f"{directory}/none/file",
                words=("cannot be written: No such file",))
        refused("--quick", "--json", directory, words=("cannot be written: Is a directory",))
    done = subprocess.run([TOOL, "lab-server", "nonsense"], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=GUARD, env=ENVIRONMENT, text=True)
    need(done.returncode == 2 and "not to be called" in done.stderr, done)
    helped = subprocess.run([TOOL, "--help"], capture_output=True, text=True, check=True).stdout
    need("  lab " in helped and "lab-server" not in helped, helped)


def a_full_disk():
    options = (*SHORT, "--models", "poll", "--loads", "c1")
    output, errors = lab(*options, "--json", "/dev/full", code=1)
    need("cannot write /dev/full: No space left" in errors and "poll" in output, output, errors)
    with open("/dev/full", "wb") as full:
        for more in ((), ("--json", "-")):
            _, errors = lab(*options, *more, code=1, stdout=full)
            need("cannot write to standard output: No space left" in errors, errors)


def limited(descriptors):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))


def too_few_descriptors():
    output, errors = lab(*SHORT, "--models", "poll", "--loads", "c1,idle1000", "--json", "-",
                         preexec_fn=limited(200))
    report = json.loads(output)
    need([load["name"] for load in report["loads"]] == ["c1"], report["loads"])
    need("idle1000 is left out" in report["notes"][0] and "ulimit -n" in report["notes"][0],
         report["notes"])
    output, errors = lab(*SHORT, "--loads", "c100", code=3, preexec_fn=limited(100))
    need(output == "" and "The load c100 needs a limit of" in errors, errors)


def one_core():
    core = min(os.sched_getaffinity(0))
    baseline = "epoll" if "\n  epoll " in lab("--list")[0] else "select"
    output, _ = lab("--rounds", "6", "--duration", "20ms", "--models", f"{baseline},poll",
                    "--loads", "c1", "--json", "-",
                    preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    report = json.loads(output)
    need(report["method"]["one_core"] and report["method"]["cores"] == [core], report["method"])
    need("one core only" in report["notes"][0], report["notes"])
    need(len(report["figures"]) == 2, report["figures"])
    for figures in report["figures"]:
        compared = figures["cpu_to_baseline"]
        need(compared is None or compared["refusal"] == "server and client shared one core",
             figures)


def await_server(process):
    """Waits until it has a server; returns that one's number."""
    deadline = time.monotonic() + GUARD
    while time.monotonic() < deadline:
        need(process.poll() is None, "it has ended")
        with contextlib.suppress(OSError, IndexError):
            with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
                return int(file.read().split()[0])
        time.sleep(0.001)
    raise AssertionError("no server was started")


def gone(pid):
    deadline = time.monotonic() + GUARD
    while os.path.exists(f"/proc/{pid}"):
        need(time.monotonic() < deadline, f"the server {pid} is left")
        time.sleep(0.01)


@contextlib.contextmanager
def started(*options):
    """A lab that runs until it is ended, at the latest by this."""
    with subprocess.Popen([TOOL, "lab", "--models", "poll", "--loads", "c1", "--rounds", "1000",
                           *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=ENVIRONMENT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def interrupted():
    """A signal ends it with what it has."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with started("--duration", "20ms") as process:
            first = await_server(process)
            while (last := await_server(process)) == first:  # so one run is complete
                time.sleep(0.001)
            process.send_signal(number)
            output, errors = process.communicate(timeout=GUARD)
            need(process.returncode == 128 + number and errors == "", process.returncode, errors)
            need("not complete: interrupted after" in output, output)
            need("1 connection, messages of 64 bytes" in output, output)
            gone(last)


def killed():
    """No server is left, even if nothing could end it."""
    if os.environ.get("POSIX_ONLY") == "ON":
        raise Skip("POSIX has no call that ends a child with its parent")
    with started("--duration", "30s") as process:
        server = await_server(process)
        time.sleep(0.1)  # it has begun to serve, so it is no longer about to be started
        process.kill()
        gone(server)


def progress_on_a_terminal():
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with subprocess.Popen([TOOL, "lab", "--rounds", "3", "--duration", "20ms", "--models", "poll",
                           "--loads", "c1,c10"], stdin=subprocess.DEVNULL, stderr=slave,
                          stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        os.close(slave)
        seen = b""
        while True:
            if not select.select([master], [], [], GUARD)[0]:
                raise AssertionError("hangs")
            try:
                data = os.read(master, 4096)
            except OSError:  # the terminal has closed
                break
            if not data:
                break
            seen += data
        process.communicate(timeout=GUARD)
    os.close(master)
    shown = seen.decode().split("\r\x1b[K")
    need(shown[1].startswith("run 1 of 6: poll, 1 connection") and shown[-1] == "", shown)
    need(any(" s left, poll, 10 connections" in line for line in shown), shown)
    need(all(len(line) < 60 for line in shown), shown)


main(every_model_answers, idle_connections_and_a_file, what_it_refuses, a_full_disk,
     too_few_descriptors, one_core, interrupted, killed, progress_on_a_terminal)
