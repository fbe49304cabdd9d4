"""Every service with the clients people have: curl, nc, python sockets; TCP and Unix sockets."""

import http.client
import os
import shutil
import socket
import subprocess
import tempfile
import threading

from support import GUARD, Server, Skip, coded, main, need, ping, receive, receive_all


def curl(*arguments, data=None):
    if shutil.which("curl") is None:
        raise Skip("curl is not installed")
    done = subprocess.run(["curl", "-sS", "--max-time", str(GUARD), "--noproxy", "*", *arguments],
                          input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=2 * GUARD)
    need(done.returncode == 0, "curl", done.returncode, done.stderr)
    return done.stdout


def nc(*arguments, data):
    if shutil.which("nc") is None:
        raise Skip("nc is not installed")
    done = subprocess.run(["nc", "-N", *arguments], input=data, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=GUARD)
    need(done.returncode == 0, "nc", done.returncode, done.stderr)
    return done.stdout


def echo_to_python():
    with Server("echo") as server, server.connect() as client:
        every_byte = bytes(range(256)) * 3
        ping(client, every_byte)
        for size in (1, 2, 4095, 4096, 32767, 32768, 32769, 65536):
            ping(client, coded(1, size, size))
        client.shutdown(socket.SHUT_WR)
        need(client.recv(1) == b"")


def echo_to_nc():
    with Server("echo") as server:
        data = coded(2, 0, 300_000)
        need(nc(server.host, str(server.port), data=data) == data)


def echo_to_curl_as_http_0_9():
    with Server("echo", "--close-after", r"\r\n\r\n") as server:
        answer = curl("--http0.9", f"http://{server.host}:{server.port}/a?b")
        need(answer.startswith(b"GET /a?b HTTP/1.1\r\nHost: "), answer)
        need(answer.endswith(b"\r\n\r\n"), answer)


def upper_answers_back_to_back_messages_all():
    with Server("upper") as server, server.connect() as client:
        client.sendall(b"one\ntwo\n")
        client.sendall("straße\n".encode())
        client.shutdown(socket.SHUT_WR)
        need(receive_all(client) == "ONE\nTWO\nSTRAßE\n".encode())
        need(nc(server.host, str(server.port), data=b"abcXYZ\0[{") == b"ABCXYZ\0[{")


def discard_reads_and_says_nothing():
    with Server("discard") as server, server.connect() as client:
        client.sendall(bytes(8 << 20))  # more than any socket buffer: it is really read
        client.shutdown(socket.SHUT_WR)
        need(receive_all(client) == b"")
        need(server.stop()["bytes_in"] == 8 << 20)


def chargen_sends_the_lines_of_rfc_864():
    with Server("chargen") as server, server.connect() as client:
        got = receive(client, 74 * 3000)
        for number in range(3000):
            line = bytes(32 + (number + column) % 95 for column in range(72)) + b"\r\n"
            need(got[number * 74:][:74] == line, number, got[number * 74:][:74])
        client.shutdown(socket.SHUT_WR)
        receive_all(client)  # there is an end


def http_echo_to_curl():
    with Server("http-echo") as server:
        url = f"http://{server.host}:{server.port}/path"
        answer = curl("-A", "me", url)
        need(answer == f"GET /path HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n"
             "User-Agent: me\r\nAccept: */*\r\n\r\n".encode(), answer)
        need(curl("-I", url).startswith(b"HTTP/1.1 200 OK\r\n"))
        # Two requests over one connection.
        twice = curl("-w", "%{num_connects} ", url, url)
        need(twice.count(b"GET /path HTTP/1.1") == 2 and twice.endswith(b"0 "), twice)
        need(curl("-0", url).startswith(b"GET /path HTTP/1.0\r\n"))


def http_echo_takes_bodies():
    body = coded(3, 0, 700_000)
    with Server("http-echo") as server:
        url = f"http://{server.host}:{server.port}/"
        for options in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"],
                        ["-0"]):
            answer = curl("--data-binary", "@-", *options, url, data=body)
            head, _, rest = answer.partition(b"\r\n\r\n")
            need(head.startswith(b"POST / HTTP/1."), head)
            if "Transfer-Encoding: chunked" in options:
                plain = b""
                while rest:
                    size, _, rest = rest.partition(b"\r\n")
                    plain += rest[:int(size, 16)]
                    rest = rest[int(size, 16) + 2:]
                rest = plain
            need(rest == body, len(rest))


def http_echo_to_pythons_client():
    with Server("http-echo") as server:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=GUARD)
        for number in range(20):
            connection.request("POST", f"/{number}", body=b"x" * number)
            answer = connection.getresponse()
            need(answer.status == 200, answer.status)
            need(answer.read().startswith(b"POST /%d HTTP/1.1" % number))
        connection.close()


def http_echo_answers_a_pipeline():
    with Server("http-echo") as server, server.connect() as client:
        requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(5000))
        sender = threading.Thread(target=client.sendall, args=(
            requests + b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",))
        sender.start()
        got = receive_all(client)
        sender.join()
        places = [got.find(b"GET /%d " % i) for i in range(5000)]
        need(-1 not in places and places == sorted(places))
        need(got.count(b"HTTP/1.1 200 OK\r\n") == 5001, got.count(b"HTTP/1.1 200 OK\r\n"))
        need(got.endswith(b"Connection: close\r\n\r\n"))


def http_echo_refuses_and_closes():
    with Server("http-echo") as server:
        for request, status in ((b"GET / HTTP/1.1\r\n\r\n", b"400"),
                                (b"GET / HTTP/2.0\r\n\r\n", b"505"),
                                (b"\x16\x03\x01\r\n\r\n", b"400"),
                                (b"GET /" + b"a" * 70_000, b"414")):
            with server.connect() as client:
                client.sendall(request)
                need(receive_all(client).startswith(b"HTTP/1.1 " + status), request[:20])


def unix_sockets():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "s o\x1bcket")
        with Server("echo", listen=[f"unix://{path}", "localhost:0"]) as server:
            need(server.addresses[0].endswith("/s o\\x1bcket"), server.addresses)
            family = socket.AF_UNIX
            with socket.socket(family) as client, server.connect(1) as other:
                client.settimeout(GUARD)
                client.connect(path)
                data = coded(4, 0, 500_000)
                sender = threading.Thread(target=lambda: (client.sendall(data),
                                                          client.shutdown(socket.SHUT_WR)))
                sender.start()
                need(receive_all(client) == data)
                sender.join()
                ping(other)
            need(nc("-U", path, data=data) == data)
            server.stop()
        need(not os.path.exists(path), "the socket file is left behind")
        with Server("http-echo", listen=[f"unix://{path}"]):
            need(curl("--unix-socket", path, "http://a/b").startswith(b"GET /b HTTP/1.1"))


def every_address_of_a_name_is_served():
    found = {i[4][0] for i in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    with Server("echo") as server:
        need(len(server.addresses) >= 1)
        need(len({a.rsplit(":", 1)[1] for a in server.addresses}) == 1, server.addresses)
        for index in range(len(server.addresses)):
            need(server.address(index)[1][0] in found, server.addresses)
            with server.connect(index) as client:
                ping(client)


def two_addresses_and_neither_is_the_default():
    with Server("echo", listen=["127.0.0.1:0", "127.0.0.2:0"]) as server:
        need(len(server.addresses) == 2 and not any(a.endswith(":5000") for a in server.addresses))
        for index in range(2):
            with server.connect(index) as client:
                ping(client)


main(echo_to_python, echo_to_nc, echo_to_curl_as_http_0_9, upper_answers_back_to_back_messages_all,
     discard_reads_and_says_nothing, chargen_sends_the_lines_of_rfc_864, http_echo_to_curl,
     http_echo_takes_bodies, http_echo_to_pythons_client, http_echo_answers_a_pipeline,
     http_echo_refuses_and_closes, unix_sockets, every_address_of_a_name_is_served,
     two_addresses_and_neither_is_the_default)
