"""The servers that are compared. Each is PROGRAM PORT... on 127.0.0.1 and ends on SIGTERM."""

from typing import NamedTuple


class Server(NamedTuple):
    name: str
    kind: str  # "raw": the least code, without a library; "peer": another library; "duolu"
    command: str  # below the build folder; PORT stands for the port
    package: str = ""  # the Debian package that its build needs
    most_connections: int = 1_000_000
    uses_uring: bool = False

    def words(self, build, port):
        program, *arguments = self.command.replace("PORT", str(port)).split()
        return [str(build / program), *arguments]

    def program(self, build):
        return build / self.command.split()[0]

    def missing(self, build):
        """Why it cannot run; empty if it can."""
        if self.program(build).exists():
            return ""
        return "not built" + (f" (package {self.package})" if self.package else "")


def raw(name, command, **more):
    return Server(f"raw-{name}", "raw", f"bench/raw_{command}", **more)


def peer(name, command, package):
    return Server(name, "peer", f"bench/peer_{command} PORT", package)


def poller(backend, trigger):
    suffix = "" if trigger == "level" else f"-{trigger}"
    return Server(f"poller-{backend}{suffix}", "duolu",
                  f"bench/poller_echo PORT {backend} {trigger}", uses_uring="uring" in backend)


def coroutine(backend, buffer="lent"):
    suffix = "" if buffer == "lent" else f"-{buffer}"
    return Server(f"coroutine-{backend}{suffix}", "duolu",
                  f"bench/coroutine_echo PORT {backend} {buffer}", uses_uring=backend == "uring")


def serve(backend, trigger):
    suffix = "" if trigger in ("level", None) else f"-{trigger}"
    return Server(f"serve-{backend}{suffix}", "duolu",
                  f"duolu serve echo --quiet --listen tcp://127.0.0.1:PORT --backend {backend}" +
                  (f" --trigger {trigger}" if trigger else ""), uses_uring=backend == "uring")


BASELINE = "raw-epoll"

SERVERS = (
    raw("epoll", "epoll PORT level"),
    raw("epoll-edge", "epoll PORT edge"),
    raw("poll", "poll PORT"),
    raw("select", "select PORT"),
    raw("blocking", "blocking PORT", most_connections=1),
    raw("threads", "threads PORT"),
    raw("uring-multishot", "uring PORT multishot", uses_uring=True),
    raw("uring-own", "uring PORT own", uses_uring=True),
    peer("libuv", "libuv", "libuv1-dev"),
    peer("libevent", "libevent", "libevent-dev"),
    peer("libev", "libev", "libev-dev"),
    peer("asio-callbacks", "asio_callbacks", "libasio-dev"),
    peer("asio-coroutines", "asio_coroutines", "libasio-dev"),
    poller("epoll", "level"),
    poller("epoll", "edge"),
    poller("epoll", "oneshot"),
    poller("poll", "level"),
    poller("select", "level"),
    poller("uring-poll", "level"),
    coroutine("epoll"),
    coroutine("epoll", "own"),  # a buffer in each coroutine
    coroutine("uring"),
    coroutine("uring", "own"),
    coroutine("poll"),
    coroutine("select"),
    serve("epoll", "level"),
    serve("epoll", "edge"),
    serve("poll", "level"),
    serve("select", "level"),
    serve("uring", None),
)

# The servers of --quick.
QUICK = {"raw-epoll", "raw-uring-own", "libuv", "libevent", "asio-coroutines", "poller-epoll",
         "coroutine-epoll", "serve-epoll"}

PEER_PACKAGES = ("libuv1-dev", "libevent-dev", "libev-dev", "libasio-dev")
