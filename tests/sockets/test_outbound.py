"""What a client is sent that reads slowly or not at all, on a transport that is full when the test says so."""

import pytest
from twisted.internet.error import ConnectionDone

from sockets import test_websocket
from sockets.test_websocket import Connection, Hub, frame
from wshub.accounting import Counts
from wshub.processes.delivery import CLOSED_MEANWHILE
from wshub.sockets.frames import BINARY, make_frame
from wshub.sockets.keepalive import SLOT
from wshub.sockets.outbound import SLOW as SLOW_CLIENT
from wshub.testing import FakeReactor
from wshub.wire import BINARY as BINARY_MESSAGE
from wshub.wire import CLOSE, DATA, MULTICAST_BINARY, SLOW
from wshub.wire.payloads import encode_close, encode_multicast

KIB = 1 << 10
LIMIT = 10 * KIB
TOO_SLOW = b"\x88\x0b\x03\xf5Too slow."


class Narrow(test_websocket.Transport):
    """A transport whose peer reads, or does not; it tells its producer so as Twisted's do."""

    buffer_size = 64 * KIB

    def __init__(self) -> None:
        super().__init__()
        self.is_read = True
        """Whether the peer reads."""
        self.is_aborted = False
        self.has_paused = False
        self.dataBuffer = b""
        self.offset = 0
        self._tempDataLen = 0

    def write(self, data: bytes) -> None:
        """Take it, and say so if that is too much."""
        self.dataBuffer += data
        if self.is_read:
            self.drain()
        elif self.producer and len(self.dataBuffer) - self.offset > self.buffer_size:
            self.has_paused = True
            self.producer.pauseProducing()

    def take(self, size: int) -> None:
        """The peer reads so much."""
        super().write(self.dataBuffer[self.offset : self.offset + size])
        self.offset += size

    def drain(self) -> None:
        """The peer reads all that is here, once."""
        self.take(len(self.dataBuffer) - self.offset)
        self.dataBuffer, self.offset = b"", 0
        if self.has_paused and self.producer:
            self.has_paused = False
            self.producer.resumeProducing()

    def abortConnection(self) -> None:
        """The hub has had enough."""
        self.is_aborted = True
        super().abortConnection()


class Timers:
    """Autobahn's timers, on the reactor of the test."""

    def __init__(self, reactor: FakeReactor) -> None:
        self.call_later = reactor.callLater


@pytest.fixture
def hub(reactor: FakeReactor, tmp_path, monkeypatch) -> Hub:
    """A hub whose connections can get full."""
    monkeypatch.setattr(test_websocket, "Transport", Narrow)
    hub = Hub(reactor, tmp_path, max_backlog=LIMIT)
    hub.websockets._batched_timer = Timers(reactor)
    return hub


def open_slow(hub: Hub, policy: str = "close") -> Connection:
    """A client that has stopped to read, with so much in its transport that no message more goes there."""
    client = hub.open(slow_clients=policy)
    hub.service.read()
    client.transport.is_read = False
    send(hub, bytes(64 * KIB))
    assert heard(hub) == []
    return client


def send(hub: Hub, *messages: bytes, socket_id: int = 1) -> None:
    """The service sends binary messages, one a batch."""
    for message in messages:
        hub.service.send((BINARY_MESSAGE, socket_id, message))
        hub.reactor.turn()


def heard(hub: Hub) -> list[tuple[int, int, object]]:
    """What the service was told since the last time."""
    hub.reactor.turn()
    return hub.service.read()


def counts(hub: Hub) -> Counts:
    """What has been counted of the service."""
    return hub.supervisor.accounting.service("/echo")


def receive_all(client: Connection) -> bytes:
    """Read until nothing more comes; what came after the 64 KiB of `open_slow`."""
    while client.transport.dataBuffer:
        client.transport.drain()
    return client.receive().removeprefix(make_frame(BINARY, bytes(64 * KIB)))


def letters(word: str, size: int = KIB) -> list[bytes]:
    """A message of each letter."""
    return [letter.encode() * size for letter in word]


def framed(messages: list[bytes]) -> bytes:
    """Their frames."""
    return b"".join(make_frame(BINARY, message) for message in messages)


@pytest.mark.parametrize("policy", ["close", "drop-oldest", "drop-newest", "pause"])
def test_what_fits_waits(hub: Hub, policy: str) -> None:
    """Within the bound nothing is lost; the service is told when it begins and when it is over, once each."""
    client = open_slow(hub, policy)
    send(hub, *letters("abc"))
    assert heard(hub) == [(SLOW, 1, True)]
    assert receive_all(client) == framed(letters("abc"))
    assert heard(hub) == [(SLOW, 1, False)]
    assert not counts(hub).dropped
    send(hub, b"quick again")
    client.transport.drain()
    assert client.receive() == framed([b"quick again"])
    assert heard(hub) == []


def test_close(hub: Hub, log: list[str]) -> None:
    """One message too many: what waited is dropped and counted, 1013 is sent, the log has one line."""
    client = open_slow(hub)
    send(hub, *letters("abcdefghijklm"))
    assert counts(hub).dropped == {SLOW_CLIENT: 13}
    assert receive_all(client) == TOO_SLOW
    assert heard(hub) == [(SLOW, 1, True)]
    client.send(frame(8, b"\x03\xf5"))
    assert client.is_closing
    client.lose(ConnectionDone)
    assert heard(hub) == [(CLOSE, 1, (1013, "Too slow."))]
    assert counts(hub).closed == {1013: 1}
    (line,) = [line for line in log if "too slow" in line]
    assert "/echo: 192.168.1.1 is too slow: more than 10240 bytes wait for it (close)" in line


def test_closed_but_it_never_reads(hub: Hub) -> None:
    """After close_timeout the connection is dropped, and the service still sees 1013."""
    client = open_slow(hub)
    send(hub, *letters("abcdefghijklm"))
    hub.reactor.advance(hub.settings.close_timeout + 1)
    assert client.transport.is_aborted
    client.lose(ConnectionDone)
    assert heard(hub)[-1] == (CLOSE, 1, (1013, "Too slow."))


def test_the_close_frame_of_a_client_that_closes_too(hub: Hub) -> None:
    """A close frame that waits alone is sent when the client's own comes, not forgotten."""
    client = open_slow(hub)
    send(hub, *letters("abcdefghijklm"))
    client.send(frame(8, b"\x03\xe8"))
    assert receive_all(client) == TOO_SLOW


@pytest.mark.parametrize(
    ("policy", "left"), [("drop-oldest", "efghijklm"), ("drop-newest", "abcdefghi")], ids=["oldest", "newest"]
)
def test_drop(hub: Hub, log: list[str], policy: str, left: str) -> None:
    """Whole messages are dropped, at one end or the other; each is counted, and the log has one line for the client."""
    client = open_slow(hub, policy)
    send(hub, *letters("abcdefghijklm"))
    assert counts(hub).dropped == {SLOW_CLIENT: 4}
    assert receive_all(client) == framed(letters(left))
    assert heard(hub) == [(SLOW, 1, True), (SLOW, 1, False)]
    send(hub, bytes(64 * KIB), *letters("abcdefghijklm"))
    assert counts(hub).dropped == {SLOW_CLIENT: 8}
    assert len([line for line in log if "too slow" in line]) == 1


def test_pause(hub: Hub) -> None:
    """Beyond the bound nothing more is read of the service until half of it is left; nothing is lost."""
    client = open_slow(hub, "pause")
    send(hub, *letters("abcdefghijklm"))
    (link,) = hub.supervisor.links
    assert link.is_held
    assert heard(hub) == [(SLOW, 1, True)]
    assert receive_all(client) == framed(letters("abcdefghij"))
    assert not link.is_held
    hub.reactor.turn()
    assert receive_all(client) == framed(letters("klm"))
    assert heard(hub) == [(SLOW, 1, False)]
    assert not counts(hub).dropped


def test_pause_until_half_is_left(reactor: FakeReactor, tmp_path, monkeypatch) -> None:
    """The service is read on when what waits has shrunk to half of the bound: not before, and not only at the end."""
    monkeypatch.setattr(test_websocket, "Transport", Narrow)
    hub = Hub(reactor, tmp_path, max_backlog=400 * KIB)
    client = open_slow(hub, "pause")
    send(hub, *(bytes(66 * KIB) for _ in range(7)))
    (link,) = hub.supervisor.links
    for is_held in (True, True, True, False):
        assert link.is_held
        client.transport.drain()
        assert link.is_held == is_held
    assert client.transport.dataBuffer
    receive_all(client)
    assert not link.is_held


@pytest.mark.parametrize("how", ["loses", "closes"])
def test_pause_ends_with_its_client(hub: Hub, how: str) -> None:
    """A client that goes, or closes, does not hold the service any longer."""
    client = open_slow(hub, "pause")
    send(hub, *letters("abcdefghijklm"))
    (link,) = hub.supervisor.links
    assert link.is_held
    if how == "loses":
        client.lose()
    else:
        client.send(frame(8, b"\x03\xe8"))
    assert not link.is_held


def test_a_large_message_waits_alone(hub: Hub) -> None:
    """What is larger than the bound by itself waits if nothing else does."""
    client = open_slow(hub)
    send(hub, bytes(3 * LIMIT))
    assert receive_all(client) == framed([bytes(3 * LIMIT)])
    assert not counts(hub).dropped


def test_pongs_wait_by_themselves(hub: Hub) -> None:
    """Of pongs only the last one waits, and the service is told nothing of that: no message does."""
    client = open_slow(hub)
    for payload in (b"1", b"2", b"3"):
        client.send(frame(9, payload))
    assert receive_all(client) == b"\x8a\x013"
    assert heard(hub) == []


def test_close_by_the_service_while_messages_wait(hub: Hub) -> None:
    """The close frame comes after all of them; what is sent later is dropped and counted as that."""
    client = open_slow(hub)
    send(hub, *letters("ab"))
    hub.service.send((CLOSE, 1, encode_close(4000, "x")), (DATA, 1, b"late"))
    hub.reactor.turn()
    assert receive_all(client) == framed(letters("ab")) + b"\x88\x03\x0f\xa0x"
    assert counts(hub).dropped == {CLOSED_MEANWHILE: 1}
    assert heard(hub) == [(SLOW, 1, True)]  # nobody is to go on sending


def test_close_by_the_client_while_messages_wait(hub: Hub) -> None:
    """They are sent, then the answer to its close frame; if it takes too long over that, the connection is dropped."""
    client = open_slow(hub)
    send(hub, *letters("ab"))
    client.send(frame(8, b"\x03\xe8"))
    assert client.is_closing
    assert not client.transport.is_aborted
    client.transport.take(64 * KIB)
    hub.reactor.advance(hub.settings.close_timeout + 1)
    assert client.transport.is_aborted
    assert receive_all(client).endswith(framed(letters("ab")) + b"\x88\x02\x03\xe8")


def test_a_connection_that_breaks_while_messages_wait(hub: Hub) -> None:
    """They are counted as dropped, and nothing is left of the client."""
    client = open_slow(hub)
    send(hub, *letters("ab"))
    client.lose()
    assert counts(hub).dropped == {CLOSED_MEANWHILE: 2}
    assert hub.websockets.wshub_full == set()
    assert heard(hub) == [(SLOW, 1, True), (CLOSE, 1, (1006, ""))]
    assert not any("look" in str(call) for call in hub.reactor.getDelayedCalls())


def test_a_broadcast_reaches_the_others(hub: Hub) -> None:
    """One client is slow, another is not: that one gets everything at once."""
    slow = open_slow(hub, "drop-newest")
    quick = hub.open()
    for letter in "abcdefghijklm":
        hub.service.send((MULTICAST_BINARY, 0, encode_multicast([1, 2], letter.encode() * KIB)))
        hub.reactor.turn()
    assert quick.receive() == framed(letters("abcdefghijklm"))
    assert receive_all(slow) == framed(letters("abcdefghi"))


# Keeping alive.


def pass_time(hub: Hub, seconds: float) -> None:
    """Let time pass, slot by slot."""
    for _ in range(int(seconds / SLOT)):
        hub.reactor.advance(SLOT)


def test_silent_client(hub: Hub, log: list[str]) -> None:
    """It is pinged after ping_interval, dropped after ping_timeout, with a line in the log; the service sees 1006."""
    client = hub.open()
    heard(hub)
    pass_time(hub, 19)
    assert client.receive() == b""
    pass_time(hub, 1.5)
    assert client.receive() == b"\x89\x00"
    pass_time(hub, 19)
    assert not client.is_closing
    pass_time(hub, 1.5)
    assert client.transport.is_aborted
    client.lose(ConnectionDone)
    assert heard(hub) == [(CLOSE, 1, (1006, ""))]
    assert len([line for line in log if "192.168.1.1 is gone: no answer to a ping within 20 s" in line]) == 1


def test_client_that_answers(hub: Hub) -> None:
    """A pong, or anything else, keeps it."""
    client = hub.open()
    for _ in range(5):
        pass_time(hub, 20.5)
        assert client.receive() == b"\x89\x00"
        client.send(frame(10, b""))
    assert not client.is_closing


def test_no_pings(reactor: FakeReactor, tmp_path) -> None:
    """With a ping_interval of 0 nobody is asked, and no clock runs."""
    hub = Hub(reactor, tmp_path, ping_interval=0)
    client = hub.open()
    pass_time(hub, 100)
    assert client.receive() == b""


def test_slow_but_alive(hub: Hub) -> None:
    """A client that never says a word is alive as long as it takes something of what waits for it."""
    client = open_slow(hub, "drop-newest")
    for _ in range(200):
        pass_time(hub, 10)
        client.transport.take(100)
    assert not client.is_closing


def test_talkative_but_takes_nothing(hub: Hub) -> None:
    """A client that takes nothing of what waits for it is dropped in the same time, whatever it says."""
    client = open_slow(hub, "drop-newest")
    client.transport.take(100)
    for second in range(42):
        assert client.transport.is_aborted == (second > 40)
        client.send(frame(10, b""))
        pass_time(hub, 1)
    assert client.transport.is_aborted


def test_not_read_is_not_silent(hub: Hub) -> None:
    """While its service does not keep up, a client is not heard, and that is not held against it; nor just after."""
    client = hub.open()
    (link,) = hub.supervisor.links
    link.pause()
    pass_time(hub, 99.5)
    assert client.receive() == b""
    link.resume()
    pass_time(hub, 19)
    assert client.receive() == b""
    pass_time(hub, 1.5)
    assert client.receive() == b"\x89\x00"
    pass_time(hub, 21.5)
    assert client.is_closing
