"""WebSockets on their way from one process of a service to the next, on transports of strings."""

from pathlib import Path

import pytest
from twisted.internet.error import ConnectionDone

from sockets import test_websocket
from sockets.test_websocket import Hub, frame
from wshub.sockets.keepalive import SLOT
from wshub.testing import FakeProcess, FakeReactor
from wshub.wire import ACCEPT, CLOSE, DATA, NEWSOCKET, REQUEST, SLOW, SYNC
from wshub.wire.payloads import encode_close

hub = test_websocket.hub
RELOADED = (1012, "The service is reloaded.")


class Reload:
    """A hub whose service is being reloaded while it has a client: the new process is ready."""

    def __init__(self, hub: Hub, **declared: str) -> None:
        self.hub = hub
        self.connection = hub.open(resumes="yes", **declared)
        self.old = hub.service
        self.opening = self.old.read()[0][2]
        self.reload(**declared)

    def reload(self, **declared: str) -> None:
        """Another process gets ready."""
        self.hub.supervisor.reload([("echo",)])
        self.hub.get_ready(resumes="yes", **declared)

    @property
    def new(self) -> FakeProcess:
        """The process that was started last."""
        return self.hub.service

    @property
    def is_read(self) -> bool:
        """Whether the hub reads from the client."""
        return self.connection.transport.producerState == "producing"

    def answer(self, process: FakeProcess | None = None, socket_id: int = 1) -> None:
        """The old process has dealt with everything."""
        (process or self.old).send((SYNC, socket_id, b""))
        self.hub.reactor.turn()


@pytest.fixture
def moving(hub: Hub) -> Reload:
    """One client that waits for the old process's answer."""
    return Reload(hub)


def test_the_order(moving: Reload) -> None:
    """No reading, SYNC, answer; then CLOSE to the old process, the client to the new one, reading."""
    assert moving.old.read() == [(SYNC, 1, None)]
    assert not moving.is_read
    assert moving.new.read() == []
    moving.old.send((DATA, 1, b"last"))
    moving.answer()
    assert moving.connection.receive() == b"\x81\x04last"
    assert moving.old.read() == [(CLOSE, 1, RELOADED)]
    assert moving.old.input_is_closed
    assert moving.new.read() == [(NEWSOCKET, 1, (*moving.opening, True))]
    assert moving.is_read
    moving.connection.send(frame(1, b"hello"))
    moving.hub.reactor.turn()
    assert moving.new.read() == [(DATA, 1, "hello")]
    moving.new.send((DATA, 1, b"and you"))
    moving.hub.reactor.turn()
    assert moving.connection.receive() == b"\x81\x07and you"
    counts = moving.hub.supervisor.accounting.service("/echo")
    assert (counts.opened, counts.handed_over, dict(counts.closed)) == (1, 1, {})


PLAIN = frame(1, b"in two")
FRAGMENTED = bytes([0x01, *frame(1, b"in ")[1:]]) + bytes([0x80, *frame(1, b"two")[1:]])


@pytest.mark.parametrize("data", [PLAIN, FRAGMENTED])
@pytest.mark.parametrize("missing", [1, 3, 9])
def test_half_a_message(hub: Hub, data: bytes, missing: int) -> None:
    """What has begun to come when the client goes is the new process's, whole."""
    connection = hub.open(resumes="yes")
    old = hub.service
    old.read()
    connection.send(data[:-missing])
    hub.supervisor.reload([("echo",)])
    hub.get_ready(resumes="yes")
    old.send((SYNC, 1, b""))
    hub.reactor.turn()
    connection.send(data[-missing:])
    assert old.read() == [(SYNC, 1, None), (CLOSE, 1, RELOADED)]
    assert test_websocket.messages(hub) == ["in two"]


def test_a_third_process_meanwhile(moving: Reload) -> None:
    """The client goes to the process that is the current one when the old one lets it go."""
    second = moving.new
    moving.reload()
    moving.answer()
    assert second.read() == []
    assert second.input_is_closed
    assert moving.new.read() == [(NEWSOCKET, 1, (*moving.opening, True))]


def test_a_third_process_meanwhile_that_does_not_resume(moving: Reload) -> None:
    """It does not take over whom its class has not asked for: the client stays, and is read from."""
    moving.hub.supervisor.reload([("echo",)])
    moving.hub.get_ready()
    moving.answer()
    assert moving.new.read() == []
    assert moving.is_read
    moving.connection.send(frame(1, b"hello"))
    moving.hub.reactor.turn()
    assert (DATA, 1, "hello") in moving.old.read()
    moving.hub.reactor.advance(30)
    assert moving.connection.receive().endswith(b"\x88\x1a" + encode_close(*RELOADED))


def test_the_new_process_dies_meanwhile(moving: Reload) -> None:
    """The client stays where it is: the old process is still there, and reads on."""
    moving.new.exit(1)
    moving.answer()
    assert moving.is_read
    moving.connection.send(frame(1, b"hello"))
    moving.hub.reactor.turn()
    assert (DATA, 1, "hello") in moving.old.read()


def test_the_client_goes_meanwhile(moving: Reload) -> None:
    """The old process is told so, the new one hears nothing of it, and the old one's answer is passed over."""
    moving.connection.lose()
    moving.hub.reactor.turn()
    assert moving.old.read() == [(SYNC, 1, None), (CLOSE, 1, (1006, ""))]
    moving.answer()
    assert moving.new.read() == []


def test_the_old_process_closes_it_meanwhile(moving: Reload) -> None:
    """It is closed as usual, and its answer is heard."""
    moving.old.send((CLOSE, 1, encode_close(4000, "enough")))
    moving.answer()
    assert moving.connection.receive() == b"\x88\x08" + encode_close(4000, "enough")
    assert moving.is_read
    moving.connection.send(frame(8, encode_close(4000, "enough")))
    moving.connection.lose(ConnectionDone)
    moving.hub.reactor.turn()
    assert moving.old.read() == [(SYNC, 1, None), (CLOSE, 1, (4000, "enough"))]
    assert moving.new.read() == []


def test_the_deadline(moving: Reload) -> None:
    """Who is not let go is closed with 1012 in the end, and then heard again."""
    moving.hub.reactor.advance(30)
    assert moving.connection.receive() == b"\x88\x1a" + encode_close(*RELOADED)
    assert moving.is_read
    moving.answer()
    assert moving.new.read() == []


def test_the_deadline_of_a_process_that_does_not_keep_up(reactor: FakeReactor, tmp_path: Path) -> None:
    """Its clients were not read from: they are when they are closed, or nobody would hear their answers."""
    hub = Hub(reactor, tmp_path, drain_timeout=5.0)
    connection = hub.open()
    old = hub.supervisor.link(("echo",))
    hub.supervisor.reload([("echo",)])
    hub.get_ready()
    old.pause()
    reactor.advance(5)
    assert connection.receive()[:1] == b"\x88"
    assert connection.transport.producerState == "producing"
    connection.send(frame(8, encode_close(*RELOADED)))
    assert connection.is_closing
    connection.lose(ConnectionDone)


def test_who_waits_is_not_silent(reactor: FakeReactor, tmp_path: Path) -> None:
    """The hub does not read from it: that it says nothing tells nothing, and afterwards its time begins anew."""
    hub = Hub(reactor, tmp_path, ping_interval=2.0, ping_timeout=2.0, drain_timeout=60.0)
    moving = Reload(hub)
    for _ in range(40):
        reactor.advance(SLOT)
    assert not moving.connection.is_closing
    moving.answer()
    for _ in range(3):
        reactor.advance(SLOT)
    assert not moving.connection.is_closing


def test_the_old_process_catches_up_meanwhile(moving: Reload) -> None:
    """That its clients may be read from again is not for those who are about to go."""
    (old, _) = (link for link in moving.hub.supervisor.links[::-1])
    old.pause()
    old.resume()
    assert not moving.is_read
    moving.answer()
    assert moving.is_read


def test_the_new_process_does_not_keep_up(moving: Reload) -> None:
    """Then its new client waits like its others."""
    new = moving.hub.supervisor.link(("echo",))
    new.pause()
    moving.answer()
    assert not moving.is_read
    new.resume()
    assert moving.is_read


def test_a_slow_client(moving: Reload) -> None:
    """The new process is told that messages wait for it."""
    moving.connection.protocol._successor.wshub_is_slow = True
    moving.answer()
    assert [each[0] for each in moving.new.read()] == [NEWSOCKET, SLOW]


def test_a_client_that_has_broken_the_protocol(hub: Hub) -> None:
    """It is about to be closed, and stays for that."""
    connection = hub.open(resumes="yes")
    old = hub.service
    connection.send(b"\xff\xff")
    hub.supervisor.reload([("echo",)])
    hub.get_ready(resumes="yes")
    old.send((SYNC, 1, b""))
    hub.reactor.turn()
    assert connection.receive()[:1] == b"\x88"
    assert hub.service.read() == []


def test_who_waits_for_the_old_process_gets_the_new_one(hub: Hub) -> None:
    """A request that came before the old one was ready is answered by whichever is ready first."""
    connection = hub.connect()
    connection.upgrade()
    hub.supervisor.reload([("echo",)])
    hub.get_ready()
    assert connection.receive_status() == 101
    hub.reactor.turn()
    assert [kind for kind, *_ in hub.service.read()] == [NEWSOCKET]


def test_whom_the_old_process_never_decides_about(reactor: FakeReactor, tmp_path: Path) -> None:
    """The new one is asked about it when the old one's time is over."""
    hub = Hub(reactor, tmp_path, drain_timeout=5.0)
    connection = hub.connect()
    connection.upgrade()
    hub.get_ready(on_request="yes")
    old = hub.service
    hub.supervisor.reload([("echo",)])
    hub.get_ready(on_request="yes")
    reactor.advance(5)
    reactor.turn()
    assert connection.receive() == b""
    assert [kind for kind, *_ in old.read()] == [REQUEST, CLOSE]
    ((kind, socket_id, _),) = hub.service.read()
    assert kind == REQUEST
    hub.service.send((ACCEPT, socket_id, b""))
    reactor.turn()
    assert connection.receive_status() == 101
    assert hub.supervisor.accounting.service("/echo").refused == {}
