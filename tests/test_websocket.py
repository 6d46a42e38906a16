"""Connections from their first byte to their last, on a transport of strings and with a fake service process."""

import base64
import hashlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from wshub.config import Settings
from wshub.first_request import SWEEP, PortFactory
from wshub.link import Event
from wshub.poller import Poller
from wshub.resource import UrlNode, make_site
from wshub.supervisor import ServiceSupervisor
from wshub.testing import FakeProcess, FakeReactor
from wshub.websocket import HubFactory
from wshub.wire import CLOSE, DATA, NEWSOCKET, encode_close

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class Transport(StringTransport):
    """One that does not mind when Autobahn unregisters a producer that it never had, as real ones do not."""

    def unregisterProducer(self) -> None:
        """Forget the producer, if there is one."""
        self.producer = None


class Connection:
    """A client's connection, from the client's side."""

    def __init__(self, port: PortFactory) -> None:
        self.protocol = port.buildProtocol(None)
        self.transport = Transport()
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.protocol.dataReceived(data)

    def upgrade(self, path: str = "/echo", headers: str = "") -> None:
        """Ask for a WebSocket."""
        self.send(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n".encode()
        )

    def receive(self) -> bytes:
        """What came since the last time."""
        data = self.transport.value()
        self.transport.clear()
        return bytes(data)

    def receive_status(self) -> int:
        """The status of the response that came."""
        return int(self.receive().split(b" ")[1])

    def lose(self, reason: type[Exception] = ConnectionLost) -> None:
        """The connection is gone."""
        self.protocol.connectionLost(Failure(reason()))

    @property
    def is_closing(self) -> bool:
        """Whether the hub has closed it."""
        return bool(self.transport.disconnecting or self.transport.disconnected)


class Hub:
    """A port with one service behind it, ``/echo``."""

    def __init__(self, reactor: FakeReactor, folder: Path, **settings: object) -> None:
        self.reactor = reactor
        (folder / "echo.py").write_text("")
        self.settings = Settings(document_root=folder, **settings)  # type: ignore[arg-type]
        poller = Poller(reactor)
        self.supervisor = ServiceSupervisor(reactor, self.settings, poller)
        root = UrlNode(self.supervisor, None)
        self.websockets = HubFactory(reactor, self.settings, poller)
        site = make_site(root, self.settings.handshake_timeout)
        self.port = PortFactory(reactor, self.settings, root, site, self.websockets)

    def connect(self) -> Connection:
        """A new connection."""
        return Connection(self.port)

    @property
    def service(self) -> FakeProcess:
        """The service's process."""
        return self.reactor.processes[-1]

    def get_ready(self, **declared: str) -> None:
        """The service gets ready."""
        self.service.get_ready(**declared)
        self.reactor.turn()

    def open(self, headers: str = "", **declared: str) -> Connection:
        """A WebSocket that is open, its response received."""
        connection = self.connect()
        connection.upgrade(headers=headers)
        if not self.supervisor.links[0].subprotocols and self.supervisor.state(("echo",))[0] == "starting":
            self.get_ready(**declared)
        assert connection.receive_status() == 101
        self.reactor.turn()
        return connection


@pytest.fixture
def hub(reactor: FakeReactor, tmp_path: Path) -> Hub:
    """A hub without connections."""
    return Hub(reactor, tmp_path)


def frame(opcode: int, payload: bytes, mask: bytes = b"\1\2\3\4") -> bytes:
    """A client's frame with a small payload."""
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return bytes((0x80 | opcode, 0x80 | len(payload))) + mask + masked


def messages(hub: Hub) -> list[object]:
    """The messages that the service got."""
    hub.reactor.turn()
    return [payload for kind, _, payload in hub.service.read() if kind == DATA]


def test_handshake(hub: Hub) -> None:
    """The 101 comes when the service is ready, and the service is told who came."""
    connection = hub.connect()
    connection.upgrade("/echo?q=1", "Sec-WebSocket-Protocol: c, b, a\r\nX-Thing: one\r\n")
    hub.reactor.turn()
    assert connection.receive() == b""
    assert connection.transport.producerState == "paused"
    hub.get_ready(subprotocols="a,b")
    response = connection.receive().decode().split("\r\n")
    assert response[0] == "HTTP/1.1 101 Switching Protocols"
    assert {"Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT}"} <= set(response)
    assert "Sec-WebSocket-Protocol: a" in response
    assert not any(line.startswith("Sec-WebSocket-Extensions") for line in response)
    digest = hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    assert base64.b64encode(digest).decode() == ACCEPT
    hub.reactor.turn()
    ((kind, socket_id, opening),) = hub.service.read()
    assert (kind, socket_id) == (NEWSOCKET, 1)
    host, port, path, query, headers, subprotocol = opening
    assert (host, port) == (connection.transport.getPeer().host, connection.transport.getPeer().port)
    assert (path, query, subprotocol) == ("/echo", "q=1", "a")
    assert "x-thing: one" in headers.split("\n")


def test_messages_to_and_fro(hub: Hub) -> None:
    """Frames become messages for the service, and what it sends frames for the client."""
    connection = hub.open()
    hub.service.read()
    connection.send(frame(1, "žluť".encode()) + frame(2, b"\xff") + frame(1, b""))
    assert messages(hub) == ["žluť", b"\xff", ""]
    hub.service.send((DATA, 1, b"one"), (DATA, 1, b"two"))
    hub.reactor.turn()
    assert connection.receive() == b"\x81\x03one\x81\x03two"


@given(st.lists(st.one_of(st.text(max_size=20), st.binary(max_size=20)), max_size=6), st.lists(st.integers(0, 200)))
def test_cuts_do_not_matter(tmp_path_factory: pytest.TempPathFactory, sent: list[str | bytes], cuts: list[int]) -> None:
    """However a client's bytes are cut on their way, the service gets the same messages."""
    hub = Hub(FakeReactor(), tmp_path_factory.mktemp("hub"))
    connection = hub.open()
    data = b"".join(frame(1, each.encode()) if isinstance(each, str) else frame(2, each) for each in sent)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(places):
        connection.send(data[start:end])
    assert messages(hub) == sent
    hub.reactor.close()
    hub.supervisor.links[0].happen(Event.EXITED)
    hub.service.exit()


def test_message_behind_the_request(hub: Hub) -> None:
    """A client that does not wait for the 101 loses nothing."""
    connection = hub.connect()
    connection.upgrade()
    connection.send(frame(1, b"ear")[:4])
    connection.send(frame(1, b"ear")[4:] + frame(1, b"ly"))
    hub.get_ready()
    assert connection.receive().endswith(b"\r\n\r\n")
    assert messages(hub) == ["ear", "ly"]


def test_request_byte_by_byte(hub: Hub) -> None:
    """A request may come in any pieces."""
    connection = hub.connect()
    request = (
        f"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
    for i in range(len(request)):
        connection.send(request[i : i + 1])
    hub.get_ready()
    assert connection.receive_status() == 101


def test_close_by_the_service(hub: Hub) -> None:
    """The code and the reason are on the wire, once; messages after it are dropped, and on_close comes at the end."""
    connection = hub.open()
    hub.service.read()
    hub.service.send((DATA, 1, b"last"), (CLOSE, 1, encode_close(4000, "x")), (DATA, 1, b"late"))
    hub.service.send((CLOSE, 1, encode_close(4001, "again")))
    hub.reactor.turn()
    assert connection.receive() == b"\x81\x04last\x88\x03\x0f\xa0x"
    connection.send(frame(1, b"crossing"))
    assert hub.service.read() == []
    connection.send(frame(8, (4000).to_bytes(2, "big") + b"x"))
    assert connection.is_closing
    connection.lose(ConnectionDone)
    hub.reactor.turn()
    assert hub.service.read() == [(CLOSE, 1, (4000, "x"))]


def test_close_by_the_client(hub: Hub) -> None:
    """The service is told the client's code and reason, the client gets its close frame and the end."""
    connection = hub.open()
    hub.service.read()
    connection.send(frame(8, (4321).to_bytes(2, "big") + "ž".encode()))
    assert connection.receive()[:2] in (b"\x88\x02", b"\x88\x04")
    assert connection.is_closing
    connection.lose(ConnectionDone)
    hub.reactor.turn()
    assert hub.service.read() == [(CLOSE, 1, (4321, "ž"))]


@pytest.mark.parametrize(("sent", "code"), [(b"", 1006), (frame(8, b""), 1005)], ids=["no frame", "no code"])
def test_close_without_a_code(hub: Hub, sent: bytes, code: int) -> None:
    """The service is told 1006 if the connection broke, 1005 if the close frame had no code; each once."""
    connection = hub.open()
    hub.service.read()
    if sent:
        connection.send(sent)
    connection.lose()
    hub.reactor.turn()
    assert hub.service.read() == [(CLOSE, 1, (code, ""))]


def test_death_of_the_service(hub: Hub) -> None:
    """The clients of a service that dies get 1011."""
    connections = [hub.open() for _ in range(3)]
    hub.service.exit(1)
    for connection in connections:
        assert connection.receive() == b"\x88\x13\x03\xf3The service died."


def test_service_that_does_not_start(hub: Hub) -> None:
    """All who wait get a 500 with a generic body, and the connection is closed."""
    connections = [hub.connect() for _ in range(3)]
    for connection in connections:
        connection.upgrade()
    hub.service.fail("secret")
    hub.reactor.turn()
    for connection in connections:
        response = connection.receive()
        assert response.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert b"secret" not in response
        assert connection.is_closing


def test_client_that_could_not_wait(hub: Hub) -> None:
    """The service sees nothing of a client that has gone before it was ready."""
    connection = hub.connect()
    connection.upgrade()
    connection.lose()
    hub.get_ready()
    hub.reactor.turn()
    assert hub.service.read() == []
    assert hub.supervisor.state(("echo",)) == ("running", 0)


@pytest.mark.parametrize("sent", [b"", b"GET /ec"])
def test_late_request(hub: Hub, sent: bytes) -> None:
    """A connection without a whole request is closed when its time is up, and no later than the next sweep."""
    connection = hub.connect()
    if sent:
        connection.send(sent)
    limit = hub.settings.handshake_timeout
    for _ in range(int((limit - SWEEP) / SWEEP)):
        hub.reactor.advance(SWEEP)
    assert not connection.is_closing
    for _ in range(3):
        hub.reactor.advance(SWEEP)
    assert connection.is_closing
    connection.lose()
    hub.reactor.advance(SWEEP)
    assert hub.reactor.getDelayedCalls() == []


def test_open_connection_is_never_late(hub: Hub) -> None:
    """Neither a WebSocket nor one that waits for its service is closed by that."""
    waiting = hub.connect()
    waiting.upgrade()
    for _ in range(20):
        hub.reactor.advance(SWEEP)
    assert not waiting.is_closing
    hub.get_ready()
    for _ in range(20):
        hub.reactor.advance(SWEEP)
    assert not waiting.is_closing


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\xa5 TLS\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000, 431),
        (b"GET /" + b"x" * 9000, 414),
    ],
    ids=["method", "version", "TLS", "long head", "long line"],
)
def test_refusals(hub: Hub, request_bytes: bytes, status: int) -> None:
    """What cannot be served gets one response, and the connection is closed; what comes after that changes nothing."""
    connection = hub.connect()
    connection.send(request_bytes)
    assert connection.receive_status() == status
    assert connection.is_closing


def test_origins(reactor: FakeReactor, tmp_path: Path) -> None:
    """A page of an allowed origin gets its WebSocket, another does not."""
    hub = Hub(reactor, tmp_path, origins=("https://friend.example",))
    foe = hub.connect()
    foe.upgrade(headers="Origin: https://foe.example\r\n")
    assert foe.receive_status() == 403
    hub.open(headers="Origin: https://friend.example\r\n")
    hub.open(headers="Origin: http://localhost\r\n")


def test_compression_is_negotiated_if_it_is_on(reactor: FakeReactor, tmp_path: Path) -> None:
    """permessage-deflate is agreed to by setting alone, and a message then goes compressed."""
    hub = Hub(reactor, tmp_path, compression=True)
    connection = hub.connect()
    connection.upgrade(headers="Sec-WebSocket-Extensions: permessage-deflate\r\n")
    hub.get_ready()
    assert b"Sec-WebSocket-Extensions: permessage-deflate" in connection.receive()
    hub.service.send((DATA, 1, b"a" * 100))
    hub.reactor.turn()
    sent = connection.receive()
    assert sent[0] == 0xC1
    assert len(sent) < 20


def test_when_empty(hub: Hub) -> None:
    """The hub is told when the last WebSocket is gone, at once if there is none."""
    told: list[object] = []
    hub.websockets.when_empty().addCallback(told.append)
    assert told == [None]
    first, second = hub.open(), hub.open()
    hub.websockets.when_empty().addCallback(told.append)
    first.lose()
    assert told == [None]
    second.lose()
    assert told == [None, None]
