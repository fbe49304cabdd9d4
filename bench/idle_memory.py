#!/usr/bin/env python3
"""What an idle connection costs an echo server in user memory: how much its anonymous pages grew
over CONNECTIONS connections that had one echo each.

  bench/idle_memory.py CONNECTIONS PORT COMMAND...    the command serves PORT on 127.0.0.1
"""

import re
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

PER_ADDRESS = 5000  # connections from one source address, far from its 28,000 ports


def connect(port, number):
    connection = socket.socket()
    connection.settimeout(20)
    connection.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
    connection.connect(("127.0.0.1", port))
    connection.sendall(b"x" * 64)
    if connection.recv(64, socket.MSG_WAITALL) != b"x" * 64:
        sys.exit("idle_memory: a wrong echo")
    return connection


def anonymous(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s*(\d+) kB", status)[1]) * 1024


def main():
    count, port, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the server inherits it
    server = subprocess.Popen(command)
    try:
        for _ in range(100):
            try:
                held = [connect(port, 0)]
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        else:
            sys.exit("idle_memory: the server does not listen")
        before = anonymous(server.pid)
        held += [connect(port, number) for number in range(count)]
        print(f"{(anonymous(server.pid) - before) / count:.1f} bytes a connection")
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
