"""A hub in a process of its own, and clients: polite ones by `websockets`, rude ones by hand."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import Any

from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from wshub.arena import UNTRACKED

WAIT = 10.0  # seconds until a test gives up; on an idle machine nothing here takes more than two
TWISTD = str(Path(sys.executable).with_name("twistd"))
EXAMPLES = Path(__file__).parents[2] / "services"
OF_A_SERVICE = 4 if UNTRACKED else 5
"""Descriptors that the hub has open for each service."""
LOOPBACK = "tcp:0:interface=127.0.0.1"


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_ports = count(20_000 + 500 * ((os.getppid() + _WORKER) % 24))  # others than those of another run at the same time


def find_free_port() -> int:
    """A port that nobody has, and nobody gets: below those that the system gives away, and another for each test."""
    while True:
        port = next(_ports)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def eventually(holds: Callable[[], Any], what: str, timeout: float = WAIT) -> Any:
    """The first true value of `holds()`, for what tells nobody when it changes, such as /proc."""
    deadline = time.monotonic() + timeout
    while not (value := holds()):
        assert time.monotonic() < deadline, f"not within {timeout} seconds: {what}"
        time.sleep(0.01)
    return value


def processes_in(folder: Path) -> list[int]:
    """The processes that run in `folder` or were started with its name, other than this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                if str(folder) in command or Path(os.readlink(entry / "cwd")).is_relative_to(folder):
                    found.append(int(entry.name))
            except OSError:
                continue  # it has gone, or is not ours
    return found


def cpu_time(pid: int) -> float:
    """The seconds of processor time that a process and its children that have exited have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def zombies_of(parent: int) -> list[int]:
    """The children of `parent` that have exited and were not waited for."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, parent_pid = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state == "Z" and int(parent_pid) == parent:
                found.append(int(entry.name))
    return found


class HubProcess:
    """``twistd -n wshub`` with `folder` as its current folder, on a free port of the loopback interface."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        port: str = LOOPBACK,
        bring_services: bool = True,
        twistd: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        launcher: tuple[str, ...] = (),
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        self.folder = folder.resolve()
        self.services = self.folder / "services"
        if bring_services and not self.services.exists():
            shutil.copytree(EXAMPLES, self.services, ignore=shutil.ignore_patterns("__pycache__"))
        self.may_fail: set[str] = set()
        """The routes whose tracebacks are expected in the log."""
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._has_ended = False
        self._is_checked = False
        self.process = subprocess.Popen(
            [*launcher, TWISTD, "-n", "--pidfile=", *twistd, "wshub", "--port", port, *options],
            cwd=self.folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
        )
        self._follower = threading.Thread(target=self._follow_log)
        self._follower.start()
        try:
            address = self.wait_for_log(r"(?:\[wshub#info\] |\"message\": \")listening: ([^\"]*)")[1]
            host_and_port = re.fullmatch(r"http://(.*):(\d+)/", address)
            self.host, self.port = (
                (host_and_port[1].strip("[]"), int(host_and_port[2])) if host_and_port else ("localhost", 0)
            )
            self._descriptors = self.measure_descriptors() if self.port else 0
        except BaseException:
            self.kill()
            raise

    # Its log.

    def _follow_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.decode(errors="backslashreplace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def wait_for_log(self, pattern: str, timeout: float = WAIT) -> re.Match[str]:
        """The first match of `pattern` in the log, as soon as it is there."""
        return self.wait_for_logs(pattern, 1, timeout)[0]

    def wait_for_logs(self, pattern: str, count: int, timeout: float = WAIT) -> list[re.Match[str]]:
        """All matches of `pattern` in the log, as soon as there are `count`."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self.search(pattern)) >= count or self._has_ended, timeout)
            found = self.search(pattern)
        assert enough, f"no {pattern!r} within {timeout} seconds in the log:\n" + "\n".join(self.lines)
        assert len(found) >= count, f"no {pattern!r} in the log:\n" + "\n".join(self.lines)
        return found

    def search(self, pattern: str) -> list[re.Match[str]]:
        """The matches of `pattern` in the log so far, one a line."""
        return [match for match in map(re.compile(pattern).search, list(self.lines)) if match]

    # Its services.

    def save(self, name: str, source: str) -> Path:
        """Save a module in the folder of services, as an editor does: all of it, or nothing."""
        file = self.services / name
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}.draft")
        draft.write_text(dedent(source))
        draft.rename(file)
        return file

    def pid_of(self, route: str) -> int:
        """The process that serves `route`, or the last that did."""
        return int(self.search(rf"\] {re.escape(route)}: started, process (\d+)")[-1][1])

    def list_services(self) -> dict[str, dict[str, Any]]:
        """What the hub says of its services, by path."""
        listing = json.loads(self.get("/_wshub/services.json").body)
        return {service["path"]: service for service in listing["services"]}

    def count_clients(self) -> int:
        """How many clients the hub has."""
        return sum(service["clients"] for service in self.list_services().values())

    def count_descriptors(self) -> int:
        """How many descriptors the hub has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def measure_descriptors(self) -> int:
        """How many it has open while it runs and has no connection."""
        listening = self.count_sockets()
        self.get("/_wshub/services.json")  # so the reactor does run
        eventually(lambda: self.count_sockets() == listening, "that connection closed")
        return self.count_descriptors()

    def count_sockets(self) -> int:
        """How many of its descriptors are sockets."""
        count = 0
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                count += os.readlink(entry).startswith("socket:")
            except OSError:
                continue  # closed meanwhile
        return count

    # Clients.

    def url(self, path: str) -> str:
        """The URL of a service."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}{path}"

    def connect(self, path: str, **options: Any) -> ClientConnection:
        """A client of `websockets`; a context manager."""
        options = {"compression": None, "proxy": None, "open_timeout": WAIT, "max_size": None, **options}
        return connect(self.url(path), **options)

    def connect_async(self, path: str, **options: Any) -> connect_async:
        """The same for asyncio, where there are many."""
        options = {"compression": None, "proxy": None, "open_timeout": WAIT, "max_size": None, **options}
        return connect_async(self.url(path), **options)

    def open_socket(self) -> socket.socket:
        """A bare TCP connection."""
        return socket.create_connection((self.host, self.port), WAIT)

    def request(self, data: bytes) -> "Response":
        """Send bytes and read the response to them."""
        with self.open_socket() as connection:
            connection.sendall(data)
            return read_response(connection)

    def get(self, path: str, method: str = "GET", headers: str = "") -> "Response":
        """A plain request. `headers` are lines that end with CRLF."""
        return self.request(f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{headers}\r\n".encode())

    def upgrade(self, path: str, headers: str = "", **replaced: str | None) -> "Response":
        """A request for a WebSocket, with whatever headers; see `make_upgrade`."""
        return self.request(make_upgrade(path, headers, **{"host": f"{self.host}:{self.port}", **replaced}))

    @contextmanager
    def rude_client(self, path: str) -> Iterator["RudeClient"]:
        """A WebSocket by hand, that sends whatever it is told to."""
        with self.open_socket() as connection:
            connection.sendall(make_upgrade(path, host=f"{self.host}:{self.port}"))
            response = read_response(connection)
            assert response.status == 101, response
            yield RudeClient(connection, response.body)

    # Its end.

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it with a signal and wait; return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait until it has exited and all of its log is here; return the exit code."""
        code = self.process.wait(WAIT)
        self._follower.join(WAIT)
        assert not self._follower.is_alive(), f"somebody holds its output: {processes_in(self.folder)}"
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        """End it at once, when a test has gone wrong, and whatever it leaves behind."""
        self.process.kill()
        for pid in processes_in(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()

    def check_nothing_leaked(self) -> None:
        """Assert that it has no client left, no zombie, no descriptor too many; and that it still answers."""
        with self.connect("/echo") as client:
            client.send("Are you there?")
            assert client.recv(WAIT) == "Are you there?"
        eventually(lambda: self.count_clients() == 0, "all clients gone")
        eventually(lambda: not zombies_of(self.process.pid), "no zombie")
        running = [each for each in self.list_services().values() if each["state"] in ("running", "starting")]
        eventually(
            lambda: (
                self.count_descriptors() <= self._descriptors + OF_A_SERVICE * len(running) + 1
            ),  # the poller's, from the first client on
            f"no descriptor leaked: {self._descriptors} at first, {len(running)} services",
        )

    def check_end(self) -> None:
        """Stop it, if no test has, and assert that all is well: exit code 0, no process left, no error in the log."""
        if self._is_checked:
            return
        self._is_checked = True
        code = self.stop() if self.process.returncode is None else self.process.returncode
        eventually(lambda: not processes_in(self.folder), f"no process left of {processes_in(self.folder)}")
        assert code == 0, "\n".join(self.lines)
        self.check_log()

    def check_log(self) -> None:
        """Assert that the log has no error but those that a test asked for."""
        errors = [
            line
            for line in self.lines
            if re.search("Traceback|Unhandled", line) and not any(f" {route}" in line for route in self.may_fail)
        ]
        assert not errors, "\n".join(self.lines)


@dataclass
class Response:
    """The response to a request; `headers` by name in lower case, `body` as far as it came."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes


def read_response(connection: socket.socket) -> Response:
    """Read to the end of the stream, or of the head if it is 101."""
    data = b""
    while not (data.startswith(b"HTTP/1.1 101") and b"\r\n\r\n" in data):
        chunk = connection.recv(65536)
        if not chunk:
            break
        data += chunk
    head, end, body = data.partition(b"\r\n\r\n")
    assert end, f"no response: {data!r}"
    status_line, *lines = head.decode("latin-1").split("\r\n")
    version, status, reason = status_line.split(" ", 2)
    assert version in ("HTTP/1.0", "HTTP/1.1")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
    return Response(int(status), reason, headers, body)


def make_upgrade(path: str, headers: str = "", method: str = "GET", **replaced: str | None) -> bytes:
    """A request for a WebSocket. Keywords replace headers, `_` for `-`; None leaves one out."""
    usual: dict[str, str | None] = {
        "host": "localhost",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec_websocket_key": base64.b64encode(os.urandom(16)).decode(),
        "sec_websocket_version": "13",
        **replaced,
    }
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in usual.items() if value is not None)
    return f"{method} {path} HTTP/1.1\r\n{lines}{headers}\r\n".encode("latin-1")


class RudeClient:
    """A WebSocket by hand: frames in and out, with no rule kept (RFC 6455, section 5.2)."""

    TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

    def __init__(self, connection: socket.socket, received: bytes) -> None:
        self.connection = connection
        self._received = received

    def send_frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True
    ) -> None:
        """Send one frame, with a mask of zeros."""
        size = len(payload)
        length = (
            bytes((size,)) if size < 126 else struct.pack(">BH" if size < 65536 else ">BQ", 126 + (size > 65535), size)
        )
        head = bytes((fin << 7 | rsv << 4 | opcode, length[0] | mask << 7)) + length[1:]
        self.connection.sendall(head + bytes(4 * mask) + payload)

    def read_frame(self) -> tuple[int, bytes]:
        """The first byte and the payload of the next frame."""
        first, size = self._read(2)
        if size > 125:
            size = int.from_bytes(self._read(2 if size == 126 else 8), "big")
        return first, self._read(size)

    def read_close(self) -> tuple[int, str]:
        """Code and reason of the next frame, which must be a close frame."""
        first, payload = self.read_frame()
        assert first == 0x80 | self.CLOSE, (first, payload)
        return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    def finish(self, code: int) -> None:
        """Answer a close frame and wait for the end of the stream, orderly or not."""
        try:
            self.send_frame(self.CLOSE, code.to_bytes(2, "big"))
            self.read_end()
        except ConnectionError:
            pass  # the other side did not wait for the answer

    def read_end(self) -> None:
        """Wait for the orderly end of the stream."""
        assert self.connection.recv(1) == b""

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            data = self.connection.recv(65536)
            assert data, f"the stream ended after {self._received!r}"
            self._received += data
        data, self._received = self._received[:size], self._received[size:]
        return data


def closed_with(client: ClientConnection) -> tuple[int, str]:
    """Wait until the other side closes: its code and reason. Messages on the way are dropped."""
    with suppress(ConnectionClosed):
        while True:
            client.recv(WAIT)
    assert client.close_code is not None
    return client.close_code, client.close_reason or ""
