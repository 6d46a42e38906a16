"""What systemd is told: heard at a real datagram socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from wshub.monitoring.notify import Notifier, read_watchdog_interval
from wshub.testing import FakeReactor


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket such as systemd's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(0)
        yield channel


def hear(systemd: socket.socket) -> list[bytes]:
    """What it has been told since the last time."""
    heard = []
    while True:
        try:
            heard.append(systemd.recv(1000))
        except BlockingIOError:
            return heard


def test_from_start_to_end(reactor: FakeReactor, systemd: socket.socket) -> None:
    """It says that it is ready, that it stops, and twice in each of the watchdog's times that it lives."""
    notifier = Notifier(reactor, {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "3000000"})
    assert hear(systemd) == []
    notifier.ready()
    assert hear(systemd) == [b"READY=1", b"WATCHDOG=1"]
    reactor.advance(1.4)
    assert hear(systemd) == []
    reactor.advance(0.1)
    assert hear(systemd) == [b"WATCHDOG=1"]
    notifier.stopping()
    assert hear(systemd) == [b"STOPPING=1"]
    reactor.advance(1.5)
    assert hear(systemd) == [b"WATCHDOG=1"]
    notifier.end()
    assert reactor.getDelayedCalls() == []


def test_abstract_address(reactor: FakeReactor) -> None:
    """An address that begins with @ is in the abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0wshub-test-{os.getpid()}")
        systemd.settimeout(0)
        Notifier(reactor, {"NOTIFY_SOCKET": f"@wshub-test-{os.getpid()}"}).stopping()
        assert hear(systemd) == [b"STOPPING=1"]


def test_without_systemd(reactor: FakeReactor, tmp_path: Path) -> None:
    """Nobody is told anything, and nothing goes wrong if the one who would be is gone."""
    for environ in ({"WATCHDOG_USEC": "1000"}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        notifier = Notifier(reactor, environ)
        notifier.ready()
        notifier.stopping()
        notifier.end()
        assert reactor.getDelayedCalls() == []


def test_nobody_reads(reactor: FakeReactor, systemd: socket.socket) -> None:
    """If nobody reads what it says, it does not wait for that."""
    notifier = Notifier(reactor, {"NOTIFY_SOCKET": systemd.getsockname()})
    for _ in range(2000):
        notifier.stopping()
    assert 0 < len(hear(systemd)) < 2000


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "30000000"}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "4711"}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "4712"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
        ({"WATCHDOG_USEC": "-1"}, 0),
    ],
)
def test_watchdog_interval(environ: dict[str, str], seconds: float) -> None:
    """Half of the time that systemd waits for this process; none if it waits for another, or not at all."""
    assert read_watchdog_interval(environ, 4711) == seconds
