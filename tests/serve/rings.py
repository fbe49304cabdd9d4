"""Where io_uring is forbidden or missing: what does without it works, and the rest says why not."""

import errno
import json
import os
import re
import signal
import subprocess
import sys

from support import ENVIRONMENT, GUARD, TOOL, Server, Skip, main, need, ping, refused, run

RINGS = ("uring", "uring-poll")
FILTER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "without_io_uring.py")


def under(answer):
    """What goes before a command whose calls of io_uring are answered so."""
    wrapper = (sys.executable, "-B", FILTER, str(answer))
    probe = subprocess.run([*wrapper, TOOL, "--version"], capture_output=True, timeout=GUARD,
                           env=ENVIRONMENT)
    if probe.returncode == 77:
        raise Skip(probe.stderr.decode().strip())
    need(probe.returncode == 0, probe)
    return wrapper


def doctor(*options, wrapper=()):
    done = subprocess.run([*wrapper, TOOL, "doctor", *options], capture_output=True, timeout=GUARD,
                          env=ENVIRONMENT)
    need(done.returncode == 0 and done.stderr == b"", done)
    return done.stdout.decode("ascii")


def rows(wrapper=()):
    return json.loads(doctor("--json", wrapper=wrapper))


def pollers():
    return [row["name"] for row in rows()["backends"] if row["native_edge"] is not None]


def no_other_poller_makes_a_call_of_io_uring():
    """The filter kills at the first one."""
    wrapper = under("kill")
    for backend in pollers():
        if backend == "uring-poll":
            continue
        with Server("echo", "--backend", backend, choose=False, wrapper=wrapper) as server:
            with server.connect() as client:
                ping(client)
            need(server.serving["backend"] == backend, server.serving)
            address = server.addresses[0]
            for arguments in (("talk", address, "--send", "x", "--expect", "x"),
                              ("load", address, "--messages", "100")):
                done = subprocess.run([*wrapper, TOOL, *arguments, "--backend", backend],
                                      capture_output=True, timeout=GUARD, env=ENVIRONMENT)
                need(done.returncode == 0, done)
            server.stop()
    # And it does kill.
    for backend in RINGS:
        done = subprocess.run([*wrapper, TOOL, "serve", "echo", "--listen", "localhost:0",
                               "--backend", backend], capture_output=True, timeout=GUARD,
                              env=ENVIRONMENT)
        need(done.returncode == -signal.SIGSYS, done)


def disabled():
    """Whether the administrator has: then each EPERM is explained by that."""
    try:
        with open("/proc/sys/kernel/io_uring_disabled", encoding="ascii") as file:
            return file.read().strip() != "0"
    except OSError:
        return False


def a_refusal_is_explained_and_there_is_another():
    forbidden = "kernel.io_uring_disabled" if disabled() else "seccomp"
    for number, reason, advice in (
            (errno.EPERM, forbidden, "io_uring_disabled=0" if disabled() else "io_uring_setup"),
            (errno.ENOSYS, "5.11", "newer kernel"), (errno.ENOMEM, "no memory", "ulimit -l")):
        wrapper = under(number)
        data = rows(wrapper)
        for row in [row for row in data["backends"] if row["name"] in RINGS]:
            need(not row["works"] and reason in row["reason"] and advice in row["advice"], row)
        need(data["io_uring"] is None, data)
        text = doctor(wrapper=wrapper)
        need(" ".join(row["reason"].split()) in " ".join(text.split()), text)
        need(" ".join(row["advice"].split()) in " ".join(text.split()), text)
        need(max(map(len, text.splitlines())) <= 80, text)

        with Server("echo", choose=False, wrapper=wrapper) as server, server.connect() as client:
            ping(client)
            need(server.serving["backend"] == data["auto"] not in RINGS, server.serving,
                 data["auto"])
            for backend in RINGS:
                line = refused(3, "serve", "echo", "--listen", "localhost:0", "--backend", backend,
                               wrapper=wrapper)
                need(f"--backend {backend}" in line, line)
                need(row["reason"] in line and row["advice"] in line, line)
                line = refused(3, "talk", server.addresses[0], "--backend", backend,
                               wrapper=wrapper)
                need(row["reason"] in line, line)


def what_has_no_poller_is_refused_where_one_is_needed():
    line = refused(2, "serve", "echo", "--listen", "localhost:0", "--backend", "uring", "--trigger",
                   "edge")
    need("--trigger edge" in line and "uring" in line, line)
    line = refused(2, "serve", "echo", "--listen", "localhost:0", "--backend", pollers()[0],
                   "--without", "buffer-ring")
    need("--without buffer-ring" in line and pollers()[0] in line, line)
    line = refused(2, "load", "localhost:1", "--backend", "uring")
    need("poller" in line and all(name in line for name in pollers()), line)
    text = run("load", "--help").stdout.decode()
    line = next(line for line in text.splitlines() if "--backend" in line)
    need("uring" not in re.findall(r"[a-z-]+", line), line)


def features_are_those_of_the_ring():
    found = rows()["io_uring"]
    if found is None:
        raise Skip("no io_uring here")
    need(set(found) >= {"cqe-skip", "submit-all", "registered-ring", "buffer-ring", "coop-taskrun",
                        "defer-taskrun", "no-sqarray"}, found)
    need(not (found["coop-taskrun"] and found["defer-taskrun"]), found)
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    if release >= (6, 6):
        need(all(has for name, has in found.items() if name != "coop-taskrun"), found)
    text = doctor()
    for name, has in found.items():
        need(not has or name in text, name, text)
    need(max(map(len, text.splitlines())) <= 80, text)


def it_serves_without_each_feature_and_without_all():
    found = rows()["io_uring"]
    if found is None:
        raise Skip("no io_uring here")
    for names in [*([name] for name in found), list(found)]:
        options = [word for name in names for word in ("--without", name)]
        with Server("echo", "--backend", "uring", *options, choose=False) as server:
            need(server.serving["without"] == names, server.serving)
            clients = [server.connect() for _ in range(40)]
            for client in clients:
                ping(client)
            for client in clients:
                client.close()
            with server.connect() as client:
                ping(client)
            server.stop()


def what_is_left_out_is_not_used():
    """The filter kills where the feature is registered."""
    if rows()["io_uring"] is None:
        raise Skip("no io_uring here")
    for name, operation in (("buffer-ring", 22), ("registered-ring", 20)):
        wrapper = under(f"kill:{operation}")
        with Server("echo", "--backend", "uring", "--without", name, choose=False,
                    wrapper=wrapper) as server, server.connect() as client:
            ping(client)
        done = subprocess.run([*wrapper, TOOL, "serve", "echo", "--listen", "localhost:0",
                               "--backend", "uring"], capture_output=True, timeout=GUARD,
                              env=ENVIRONMENT)
        need(done.returncode == -signal.SIGSYS, done)


main(no_other_poller_makes_a_call_of_io_uring, a_refusal_is_explained_and_there_is_another,
     what_has_no_poller_is_refused_where_one_is_needed, features_are_those_of_the_ring,
     it_serves_without_each_feature_and_without_all, what_is_left_out_is_not_used)
