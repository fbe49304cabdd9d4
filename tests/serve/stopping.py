"""Ends: signals, standard input, idle and surplus connections, --close-after."""

import os
import pty
import signal
import socket
import subprocess
import tempfile
import threading
import time

from support import GUARD, Server, coded, main, need, ping, receive, receive_all


def signals_let_what_is_in_flight_finish():
    for number in (signal.SIGINT, signal.SIGTERM):
        with Server("echo", "--grace", "60s") as server, server.connect() as client:
            ping(client)
            data = coded(5, 0, 8_000_000)  # far more than the sockets hold
            sender = threading.Thread(target=client.sendall, args=(data,))
            sender.start()
            got = receive(client, 1000)
            server.send_signal(number)
            server.wait_for("stopping")
            got += receive_all(client)
            sender.join()
            need(got == data, len(got))
            client.close()
            totals = server.wait_for("totals")
            need(server.wait() == 0, server.process.returncode)
            need(totals["bytes_out"] == len(data) + 4 and totals["cut"] == 0, totals)


def a_terminal_that_goes_away_ends_it_in_good_order():
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/socket"
        with Server("echo", listen=[f"unix://{path}"]) as server, server.connect() as client:
            ping(client)
            server.send_signal(signal.SIGHUP)
            server.send_signal(signal.SIGHUP)  # the shell's, after the kernel's
            client.close()
            need(server.wait_for("totals")["connections"] == 1)
            need(server.wait() == 0, server.process.returncode)
            need(not os.path.exists(path))


def what_is_ignored_stays_so():
    """nohup, and the jobs that a script starts in the background."""
    for ignored, ends in ((signal.SIGHUP, signal.SIGINT), (signal.SIGINT, signal.SIGTERM),
                          (signal.SIGTERM, signal.SIGHUP)):
        with Server("echo", ignored=(ignored,)) as server, server.connect() as client:
            server.send_signal(ignored)
            ping(client)
            server.stop(ends)


def nobody_is_let_in_while_stopping():
    with Server("echo", "--grace", "60s") as server, server.connect() as client:
        ping(client)
        server.send_signal()
        server.wait_for("stopping")
        try:
            server.connect().close()
            raise AssertionError("somebody was let in")
        except ConnectionRefusedError:
            pass


def a_second_signal_ends_at_once():
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with Server("echo", "--grace", "60s") as server, server.connect(receive=4096) as client:
            ping(client)  # it is in
            client.setblocking(False)
            try:
                while True:
                    client.send(bytes(1 << 16))
            except BlockingIOError:
                pass
            server.send_signal(number)
            server.wait_for("stopping")
            server.send_signal(number)
            need(server.wait() == code, server.process.returncode)


def the_grace_time_cuts_who_does_not_read():
    with tempfile.TemporaryDirectory() as directory, Server(
            "echo", "--grace", "1s", listen=[f"unix://{directory}/socket"]) as server:
        with server.connect() as stuck, server.connect() as good:
            ping(good)
            stuck.settimeout(0.5)
            try:
                while True:
                    stuck.sendall(bytes(1 << 16))
            except TimeoutError:
                pass
            begin = time.monotonic()
            server.send_signal()
            need(receive_all(good) == b"")
            good.close()
            totals = server.wait_for("totals")
            took = time.monotonic() - begin
            need(server.wait() == 0, server.process.returncode)
            need(took >= 1, "the grace time was cut short", took)
            need(took < 30, took)
            need(totals["cut"] == 1, totals)


def no_grace_cuts_at_once():
    with Server("echo", "--grace", "0") as server, server.connect() as client:
        ping(client)
        need(server.stop()["cut"] == 1)


def standard_input_stops_it():
    with tempfile.TemporaryFile() as empty, tempfile.TemporaryFile() as line, \
            tempfile.TemporaryFile() as part:
        line.write(b"x\ny")
        part.write(b"no line feed")  # the end of the file is behind it
        for file in (empty, line, part):
            file.seek(0)
            with Server("echo", "--stop-on-stdin", stdin=file) as server:
                server.wait_for("totals")
                need(server.wait() == 0)
    with Server("echo", "--stop-on-stdin", stdin=subprocess.DEVNULL) as server:
        need(server.wait_for("totals") and server.wait() == 0)
    for text in (b"\n", b"stop\nmore", b"part and the end"):
        with Server("echo", "--stop-on-stdin", stdin=subprocess.PIPE) as server:
            server.process.stdin.write(text)
            server.process.stdin.close()
            need(server.wait_for("totals") and server.wait() == 0)


def part_of_a_line_does_not_stop_it():
    with Server("echo", "--stop-on-stdin",
                stdin=subprocess.PIPE) as server, server.connect() as client:
        for _ in range(3):
            os.write(server.process.stdin.fileno(), b"part")
            ping(client)
            time.sleep(0.05)
            ping(client)
        need(server.process.poll() is None)
        os.write(server.process.stdin.fileno(), b" of a line\n")
        need(server.wait_for("totals") and server.wait() == 0)
        server.process.stdin.close()


def a_terminal_stops_it():
    keyboard, terminal = pty.openpty()
    try:
        with Server("echo", "--stop-on-stdin",
                    stdin=terminal) as server, server.connect() as client:
            os.write(keyboard, b"typed")
            ping(client)
            os.write(keyboard, b"\n")
            need(server.wait_for("totals") and server.wait() == 0)
        with Server("echo", "--stop-on-stdin", stdin=terminal) as server:
            os.write(keyboard, b"\x04")  # end of file
            need(server.wait_for("totals") and server.wait() == 0)
    finally:
        os.close(keyboard)
        os.close(terminal)


def only_the_idle_are_closed_for_it():
    with Server("echo", "--idle-timeout", "1500ms") as server:
        begin = time.monotonic()
        with server.connect() as busy, server.connect() as idle, server.connect() as mute:
            ping(idle)
            closed = []
            watcher = threading.Thread(target=lambda: closed.append(
                (idle.recv(1), mute.recv(1), time.monotonic() - begin)))
            watcher.start()
            while watcher.is_alive():
                ping(busy)
                time.sleep(0.05)
                need(time.monotonic() - begin < GUARD)
            watcher.join()
            need(closed[0][:2] == (b"", b""), closed)
            need(closed[0][2] >= 1.5, "too early", closed)
            ping(busy)


def a_head_that_comes_byte_by_byte_is_not_waited_for():
    with Server("http-echo", "--idle-timeout", "500ms") as server:
        for head in (b"GET / HTTP/1.1\r\nHost: " + b"a" * 2000, b"\r\n" * 1000):
            with server.connect() as client:
                begin = time.monotonic()
                client.settimeout(0.05)
                for byte in head:
                    try:
                        client.send(bytes([byte]))
                        need(client.recv(1) == b"")
                        break
                    except TimeoutError:
                        need(time.monotonic() - begin < GUARD, "it waits for ever")
                need(time.monotonic() - begin >= 0.5, "too early")
        with server.connect() as client:  # a body is echoed as it comes: that is traffic
            client.sendall(b"POST / HTTP/1.0\r\nContent-Length: 20\r\n\r\n")
            for _ in range(20):
                client.sendall(b"x")
                time.sleep(0.05)
            need(receive_all(client).endswith(b"\r\n\r\n" + b"x" * 20))


def who_is_one_too_many_waits():
    with Server("echo", "--max-connections", "3") as server:
        inside = [server.connect() for _ in range(3)]
        for client in inside:
            ping(client)
        waiting = [server.connect() for _ in range(5)]
        for client in waiting:
            client.sendall(b"first")
        server.rest()
        for client in waiting:
            client.setblocking(False)
            try:
                need(not client.recv(1), "served although there is no room")
                raise AssertionError("closed although it should wait")
            except BlockingIOError:
                client.settimeout(GUARD)
        for client in waiting:
            inside.pop(0).close()
            need(receive(client, 5) == b"first")
            inside.append(client)
        for client in inside:
            ping(client)
            client.close()
        totals = server.stop()
        need(totals["connections"] >= 8 and totals["connections_max"] == 3, totals)


# --- --close-after

CLOSE = ("--close-after", r"\r\n\r\n")


def is_open(client):
    """That it is: an answer comes, and nothing else."""
    ping(client, b"open?")
    return True


def close_after_its_end_however_it_is_cut():
    for pieces in ((b"GET\r\n\r\n",), (b"\r\n\r\n",), (b"\r", b"\n", b"\r", b"\n"),
                   (b"a\r\n\r", b"\n"),
                   (b"a" * 100_000 + b"\r\n", b"\r\n"), (b"\r\n\r", b"\r\n\r", b"\n"),
                   (b"\r\n\r\n\r\n\r\n",), (b"x\r\n\r\ny\r\n\r\n",)):
        with Server("echo", *CLOSE) as server, server.connect() as client:
            for piece in pieces:
                client.sendall(piece)
                got = receive(client, len(piece))  # so that each piece is read by itself
                need(got == piece, piece, got)
            need(client.recv(1) == b"", pieces)


def close_after_nothing_else():
    with Server("echo", *CLOSE) as server, server.connect() as client:
        for piece in (b"\r\n\r\nx", b"\r\n", b"\n\r\n", b"\r\n \r\n", b"\n\n", b"\r\n\r", b"x"):
            ping(client, piece)
        need(is_open(client))
    with Server("echo", "--close-after", r"\x00\\") as server, server.connect() as client:
        ping(client, b"\\0")
        ping(client, b"\0")
        client.sendall(b"\\")
        need(receive_all(client) == b"\\")


def close_after_loses_nothing_to_what_comes_behind():
    with Server("echo", *CLOSE) as server:
        for size in (0, 1000, 1 << 20):
            with server.connect(receive=8192) as client:
                text = coded(6, 0, size) + b"\r\n\r\n"
                sender = threading.Thread(target=client.sendall, args=(text,))
                sender.start()
                got = receive(client, max(0, size - 10_000))
                sender.join()
                time.sleep(0.05)  # the end is read by itself, or else it is not the end
                client.sendall(b"more that is thrown away" * 100)
                got += receive_all(client)
                need(got[:len(text)] == text, size, len(got))


def close_after_waits_for_a_slow_reader():
    with Server("echo", *CLOSE) as server, server.connect(receive=4096) as client:
        text = coded(7, 0, 1 << 20) + b"\r\n\r\n"
        sender = threading.Thread(target=client.sendall, args=(text,))
        sender.start()
        got = b""
        while piece := client.recv(1 << 14):
            got += piece
            time.sleep(0.008)  # 256 pieces: longer than the server waits for an end
        sender.join()
        need(got == text, len(got))


def close_after_for_a_peer_who_closes_first():
    with Server("echo", *CLOSE) as server, server.connect() as client:
        client.sendall(b"a\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        need(receive_all(client) == b"a\r\n\r\n")
        need(server.stop()["failed"] == 0)


def close_after_a_peer_who_is_sent_things_without_end():
    with Server("chargen", *CLOSE) as server, server.connect() as client:
        client.sendall(b"stop\r\n\r\n")
        end = time.monotonic() + GUARD
        while client.recv(1 << 20):
            need(time.monotonic() < end, "it goes on and on")


def what_came_in_time_is_answered_however_late_the_server_is():
    with Server("echo", "--idle-timeout", "600ms") as server, server.connect() as client:
        ping(client)
        time.sleep(0.2)
        server.send_signal(signal.SIGSTOP)
        client.sendall(b"in time")
        time.sleep(0.8)
        server.send_signal(signal.SIGCONT)
        need(receive(client, 7) == b"in time")


def a_socket_file_of_another_server_stays():
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/socket"
        with Server("echo", listen=[f"unix://{path}"]) as old:
            os.unlink(path)
            with Server("echo", listen=[f"unix://{path}"]) as new:
                old.stop()
                with new.connect() as client:
                    ping(client)
                new.stop()
                need(not os.path.exists(path))


def close_after_a_peer_who_stays():
    with Server("echo", *CLOSE) as server:
        before = server.descriptors_at_rest()
        with server.connect() as client:
            client.sendall(b"\r\n\r\n")
            need(receive_all(client) == b"\r\n\r\n")
            server.settle(before, server.descriptors)  # although the client never closes


main(signals_let_what_is_in_flight_finish, a_terminal_that_goes_away_ends_it_in_good_order,
     what_is_ignored_stays_so, a_head_that_comes_byte_by_byte_is_not_waited_for,
     nobody_is_let_in_while_stopping,
     a_second_signal_ends_at_once, the_grace_time_cuts_who_does_not_read, no_grace_cuts_at_once,
     standard_input_stops_it, part_of_a_line_does_not_stop_it, a_terminal_stops_it,
     only_the_idle_are_closed_for_it, who_is_one_too_many_waits,
     close_after_its_end_however_it_is_cut, close_after_nothing_else,
     close_after_loses_nothing_to_what_comes_behind, close_after_waits_for_a_slow_reader,
     close_after_for_a_peer_who_closes_first, close_after_a_peer_who_stays,
     close_after_a_peer_who_is_sent_things_without_end,
     what_came_in_time_is_answered_however_late_the_server_is,
     a_socket_file_of_another_server_stays, at_once=6)
