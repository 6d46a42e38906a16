"""The how-to of Redis: its service in two hubs, and a real Redis that is restarted."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection

from .harness import WAIT, HubProcess, eventually, find_free_port

REDIS = shutil.which("redis-server")
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "redis.md"
SERVICE, PUBLISHER = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
THERE, AWAY = r"/room#info\] room: Redis is there$", r"/room#warn\] room: no Redis: .*; next attempt in"

pytestmark = pytest.mark.skipif(
    REDIS is None and os.environ.get("CI") != "true",
    reason="no Redis here: install the package redis-server (Debian's name for it)",
)


class Redis:
    """A Redis that keeps nothing, in a folder of its own, that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._port = find_free_port()
        self.url = f"redis://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert REDIS, "CI must have a Redis: install the package redis-server"
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [REDIS, *options], cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        eventually(lambda: self.say("ping") == "PONG", "Redis answers")

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(WAIT)

    def say(self, *words: str) -> str:
        """What it answers to a command in the shell."""
        command = ["redis-cli", "-p", str(self._port), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=False).stdout.strip()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    """A Redis."""
    server = Redis(tmp_path / "redis")
    yield server
    server.stop()


@pytest.fixture
def hubs(server: Redis, tmp_path: Path) -> Iterator[list[HubProcess]]:
    """Two hubs that share it, with a room."""
    hubs = []
    try:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            hub = HubProcess(tmp_path / name, environment={"WSHUB_REDIS": server.url})
            hubs.append(hub)
            hub.save("room.py", SERVICE)
        yield hubs
        for hub in hubs:
            hub.check_end()
    finally:
        for hub in hubs:
            if hub.process.returncode is None:
                hub.kill()


def enter(stack: ExitStack, hubs: list[HubProcess]) -> list[ClientConnection]:
    """A client at each hub, whose services listen to Redis."""
    clients = [stack.enter_context(hub.connect("/room")) for hub in hubs]
    for hub in hubs:
        hub.wait_for_log(THERE)
    return clients


def check_heard(clients: list[ClientConnection], text: str) -> None:
    """All of them hear it, next and once."""
    assert [client.recv(WAIT) for client in clients] == [text] * len(clients)


def test_room_of_two_hubs(server: Redis, hubs: list[HubProcess]) -> None:
    """What a client says in one hub is heard in both, and so is what other programs publish."""
    with ExitStack() as stack:
        clients = enter(stack, hubs)
        clients[0].send("hello 🐎")
        check_heard(clients, "hello 🐎")
        clients[1].send("and hello")
        check_heard(clients, "and hello")
        assert server.say("publish", "room", "by the shell") == "2"
        check_heard(clients, "by the shell")
        subprocess.run(
            [sys.executable, "-c", PUBLISHER.replace("redis://localhost", server.url)], check=True, timeout=WAIT
        )
        check_heard(clients, "The shop opens.")


def test_redis_is_restarted(server: Redis, hubs: list[HubProcess]) -> None:
    """Fault: Redis is killed under two hubs that share a room, and comes back. Seen: clients stay, and are told
    what was not sent; the log says that Redis is away and that it is back, and then the room is one again.
    """
    with ExitStack() as stack:
        clients = enter(stack, hubs)
        server.stop()
        for hub in hubs:
            hub.wait_for_log(AWAY)
        clients[0].send("lost")
        assert clients[0].recv(WAIT) == "This was not sent: try again in a moment."
        server.start()
        for hub in hubs:
            hub.wait_for_logs(THERE, 2)
        clients[1].send("back")
        check_heard(clients, "back")
    for hub in hubs:
        assert not hub.search("died")
        assert len(hub.search(AWAY)) < 20


def test_redis_is_not_there_at_the_start(server: Redis, hubs: list[HubProcess]) -> None:
    """Fault: a service that needs Redis starts before Redis does. Seen: clients are let in, and join later."""
    server.stop()
    with hubs[0].connect("/room") as client:
        hubs[0].wait_for_log(AWAY)
        server.start()
        hubs[0].wait_for_log(THERE)
        client.send("hello")
        assert client.recv(WAIT) == "hello"
