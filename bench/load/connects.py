"""Connecting: opened and closed for a while, or a thousand at the same moment. Plain sockets and epoll."""

import contextlib
import select
import socket
from array import array
from time import perf_counter, sleep
from typing import Any

from bench.load.raw import CLOSE, TIMEOUT, request_for
from bench.load.window import Window


class Connection:
    """A handshake, and if `closes`, the closing handshake after it."""

    def __init__(self, address: tuple[str, int], request: bytes, closes: bool) -> None:
        self.begun = perf_counter()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.connect_ex(address)
        self.request = request
        self.closes = closes
        self.answer = b""
        self.seconds = 0.0
        """From the first packet to the 101."""

    def step(self, events: int) -> bool:
        """Go on; return whether it is done."""
        if self.request:
            if events & select.EPOLLOUT:
                self.sock.send(self.request)
                self.request = b""
            return False
        data = self.sock.recv(4096)
        if self.seconds:
            return not data  # the server's close frame, then its end
        self.answer += data
        if not data or (b"\r\n\r\n" in self.answer and not self.answer.startswith(b"HTTP/1.1 101 ")):
            raise RuntimeError(f"the server answered the handshake with {self.answer[:40]!r}")
        if b"\r\n\r\n" not in self.answer:
            return False
        self.seconds = perf_counter() - self.begun
        if self.closes:
            self.sock.send(CLOSE)
        return not self.closes

    @property
    def interest(self) -> int:
        """What epoll is to look for."""
        return select.EPOLLOUT if self.request else select.EPOLLIN


class Crowd:
    """Connections that are on their way."""

    def __init__(self, url: str, closes: bool) -> None:
        self.address, self.request = request_for(url)
        self.closes = closes
        self.refused = 0
        self.poll = select.epoll()
        self.open: dict[int, Connection] = {}
        self.latencies = array("d")
        self.done = 0

    def add(self) -> None:
        """One more."""
        connection = Connection(self.address, self.request, self.closes)
        self.open[connection.sock.fileno()] = connection
        self.poll.register(connection.sock, connection.interest)

    def turn(self) -> list[Connection]:
        """Wait until something happens; return those that are done with."""
        ready = self.poll.poll(TIMEOUT)
        if not ready:
            raise RuntimeError(f"{len(self.open)} connections got no answer within {TIMEOUT:.0f} seconds")
        finished = []
        for fd, events in ready:
            connection = self.open[fd]
            before = connection.interest
            try:
                is_done = connection.step(events)
            except OSError:  # reset, refused
                self.poll.unregister(fd)
                self.open.pop(fd).sock.close()
                self.refused += 1
                continue
            if is_done:
                self.poll.unregister(fd)
                finished.append(self.open.pop(fd))
                self.latencies.append(connection.seconds)
                self.done += 1
            elif connection.interest != before:
                self.poll.modify(fd, connection.interest)
        return finished


def run_connects(spec: dict[str, Any]) -> dict[str, Any]:
    """Open and close connections, `at_once` at a time. `spec`: urls, at_once, seconds, warmup, pid of the server."""
    crowd = Crowd(spec["urls"][0], closes=True)
    for _ in range(spec["at_once"]):
        crowd.add()

    def go_on(seconds: float) -> None:
        ends = perf_counter() + seconds
        while perf_counter() < ends:
            for connection in crowd.turn():
                connection.sock.close()
                crowd.add()
            if crowd.refused:
                raise RuntimeError("the server refused a connection")

    go_on(spec["warmup"])
    window = Window(spec["pid"])
    crowd.latencies = window.latencies
    begun = crowd.done
    go_on(spec["seconds"])
    return window.close(crowd.done - begun)


def run_storm(spec: dict[str, Any]) -> dict[str, Any]:
    """All at once, and all stay. `spec`: urls, connections, pid of the server. Figures: also how many were served."""
    first = Crowd(spec["urls"][0], closes=False)
    first.add()  # the first of all starts the service, which is another line's business
    while not first.done:
        first.turn()
    crowd = Crowd(spec["urls"][0], closes=False)
    window = Window(spec["pid"])
    crowd.latencies = window.latencies
    kept = []
    for _ in range(spec["connections"]):
        crowd.add()
    with contextlib.suppress(RuntimeError):  # those who get no answer are missing from the number served
        while crowd.open:
            kept += crowd.turn()
    figures = window.close(crowd.done)
    sleep(0.2)  # the last handshakes' books are closed
    return {**figures, "served": crowd.done, "last_ms": max(crowd.latencies, default=0) * 1e3}
