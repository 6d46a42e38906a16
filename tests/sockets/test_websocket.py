"""Connections from their first byte to their last, on a transport of strings and with a fake service process."""

import base64
import hashlib
import signal
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from wshub.accounting import Counts
from wshub.config import Settings
from wshub.door.deadlines import SWEEP
from wshub.door.first_request import MAX_EARLY, PortFactory
from wshub.poller import Poller
from wshub.processes.life import Event
from wshub.processes.pending import ENDED, LATE, LEFT
from wshub.processes.supervisor import ServiceSupervisor
from wshub.resource import UrlNode, make_site
from wshub.sockets.factory import HubFactory
from wshub.testing import FakeProcess, FakeReactor
from wshub.wire import ACCEPT, CLOSE, DATA, NEWSOCKET, REFUSE, REQUEST, SYNC
from wshub.wire.payloads import encode_close

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ACCEPT_KEY = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


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
    assert {"Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT_KEY}"} <= set(response)
    assert "Sec-WebSocket-Protocol: a" in response
    assert not any(line.startswith("Sec-WebSocket-Extensions") for line in response)
    digest = hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    assert base64.b64encode(digest).decode() == ACCEPT_KEY
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


# Services that say who may connect.


class Asking:
    """A hub whose service has an on_request, and one client that waits for its answer."""

    def __init__(self, hub: Hub, headers: str = "") -> None:
        self.hub = hub
        self.client = hub.connect()
        self.client.upgrade("/echo?q=1", headers)
        hub.get_ready(on_request="yes", subprotocols="a,b")
        ((kind, self.socket_id, self.asked),) = self.read()
        assert kind == REQUEST
        assert self.client.receive() == b""

    def read(self) -> list[Any]:
        """What the service has been told since the last time."""
        self.hub.reactor.turn()
        return self.hub.service.read()

    def answer(self, kind: int, payload: bytes) -> None:
        """The service answers."""
        self.hub.service.send((kind, self.socket_id, payload))
        self.hub.reactor.turn()

    @property
    def counts(self) -> Counts:
        """What has been counted of the service."""
        return self.hub.supervisor.accounting.service("/echo")

    def check_forgotten(self) -> None:
        """Nothing of the request is left, in the link or on the clock; the service lives."""
        (link,) = self.hub.supervisor.links
        assert len(link._pending) == 0
        assert not any(call.getTime() >= 10 for call in self.hub.reactor.getDelayedCalls() if "_give_up" in str(call))


def test_asked_before_the_101(hub: Hub) -> None:
    """The service is told who wants to come; with its ACCEPT come the 101 and what it says, then NEWSOCKET."""
    asking = Asking(hub, "Sec-WebSocket-Protocol: c, b, a\r\n")
    host, _, path, query, headers, offered = asking.asked
    assert (host, path, query, offered) == ("192.168.1.1", "/echo", "q=1", ("c", "b", "a"))
    assert "host: localhost" in headers.split("\n")
    assert asking.client.transport.producerState == "producing"
    asking.answer(ACCEPT, b"c\nSet-Cookie: one=1\nSet-Cookie: two=2")
    response = asking.client.receive().decode().split("\r\n")
    assert response[0] == "HTTP/1.1 101 Switching Protocols"
    assert [line for line in response if line.startswith("Set-Cookie")] == ["Set-Cookie: one=1", "Set-Cookie: two=2"]
    assert "Sec-WebSocket-Protocol: c" in response
    ((kind, socket_id, opening),) = asking.read()
    assert (kind, socket_id) == (NEWSOCKET, asking.socket_id)
    assert opening == (*asking.asked[:5], "c")
    asking.check_forgotten()


def test_accepted_without_more(hub: Hub) -> None:
    """An empty ACCEPT leaves the subprotocol to the hub."""
    asking = Asking(hub, "Sec-WebSocket-Protocol: c, b, a\r\n")
    asking.answer(ACCEPT, b"")
    assert b"Sec-WebSocket-Protocol: a\r\n" in asking.client.receive()


def test_accepted_with_compression(reactor: FakeReactor, tmp_path: Path) -> None:
    """Where Autobahn writes the 101 it has the same headers, and what was negotiated."""
    asking = Asking(
        Hub(reactor, tmp_path, compression=True),
        "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: c\r\n",
    )
    asking.answer(ACCEPT, b"c\nSet-Cookie: one=1\nSet-Cookie: two=2\nX-Three: 3")
    response = asking.client.receive().decode().split("\r\n")
    assert response[0].startswith("HTTP/1.1 101")
    for line in ("Set-Cookie: one=1", "Set-Cookie: two=2", "X-Three: 3", "Sec-WebSocket-Protocol: c"):
        assert response.count(line) == 1
    assert any(line.startswith("Sec-WebSocket-Extensions: permessage-deflate") for line in response)
    assert [kind for kind, *_ in asking.read()] == [NEWSOCKET]


def test_accepted_with_an_extension_that_is_broken(reactor: FakeReactor, tmp_path: Path) -> None:
    """Autobahn refuses what it cannot parse, after the service has accepted: the service gets the CLOSE."""
    asking = Asking(
        Hub(reactor, tmp_path, compression=True),
        "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99\r\n",
    )
    asking.answer(ACCEPT, b"")
    assert asking.client.receive_status() == 400
    asking.client.lose(ConnectionDone)
    assert asking.read() == [(CLOSE, asking.socket_id, (1006, ""))]
    asking.check_forgotten()


def test_refused_by_the_service(hub: Hub) -> None:
    """Status, headers and text are the service's; there is no NEWSOCKET."""
    asking = Asking(hub)
    asking.answer(REFUSE, b'401\nWWW-Authenticate: Basic realm="x"\n\nWho are you?')
    response = asking.client.receive().decode()
    head, _, body = response.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 401 Unauthorized\r\n")
    assert 'WWW-Authenticate: Basic realm="x"' in head.split("\r\n")
    assert body == "Who are you?\n"
    assert asking.client.is_closing
    asking.client.lose(ConnectionDone)
    assert asking.read() == []
    asking.check_forgotten()


def test_refused_with_a_status_without_a_name(hub: Hub) -> None:
    """A status that HTTP has no phrase for is a status all the same."""
    asking = Asking(hub)
    asking.answer(REFUSE, b"499\n\n")
    assert asking.client.receive().startswith(b"HTTP/1.1 499 \r\n")


def test_a_service_that_does_not_answer(hub: Hub, log: list[str]) -> None:
    """After `request_timeout` the client gets 504, the service a CLOSE, the log one line; a late answer is nothing."""
    asking = Asking(hub)
    hub.reactor.advance(9.9)
    assert asking.client.receive() == b""
    hub.reactor.advance(0.2)
    assert asking.client.receive_status() == 504
    assert asking.read() == [(CLOSE, asking.socket_id, (1006, ""))]
    asking.answer(ACCEPT, b"")
    asking.client.lose(ConnectionDone)
    assert asking.read() == []
    assert asking.counts.refused == {LATE: 1}
    assert len([line for line in log if "on_request took too long" in line and "/echo" in line]) == 1
    asking.check_forgotten()


def test_a_client_that_goes_while_it_is_asked_about(hub: Hub) -> None:
    """The service gets a CLOSE, nothing is left, and its answer is passed over."""
    asking = Asking(hub)
    asking.client.lose()
    assert asking.read() == [(CLOSE, asking.socket_id, (1006, ""))]
    asking.answer(REFUSE, b"403\n\n")
    asking.answer(ACCEPT, b"")
    hub.reactor.advance(20)
    assert asking.read() == []
    assert asking.counts.refused == {LEFT: 1}
    asking.check_forgotten()


def test_a_service_that_dies_while_it_is_asked(hub: Hub) -> None:
    """The client gets 502."""
    asking = Asking(hub)
    hub.service.exit(1)
    assert asking.client.receive_status() == 502
    assert asking.counts.refused == {ENDED: 1}


def test_a_hub_that_stops_while_a_service_is_asked(hub: Hub) -> None:
    """Whoever is let in once the hub is stopping gets 503, and the service a CLOSE; so does whoever still waits."""
    asking = Asking(hub)
    hub.port.close()
    asking.answer(ACCEPT, b"")
    assert asking.client.receive_status() == 503
    assert asking.read() == [(CLOSE, asking.socket_id, (1006, ""))]
    other = hub.connect()
    other.upgrade("/echo")
    assert other.receive_status() == 503
    assert asking.read() == []


def test_an_answer_that_forges_a_response(hub: Hub, log: list[str]) -> None:
    """A service that sends a line's end in a header is killed, and the client gets 502 and none of it."""
    asking = Asking(hub)
    asking.answer(ACCEPT, b"\nX: a\r\nSet-Cookie: forged=1")
    response = asking.client.receive()
    assert response.startswith(b"HTTP/1.1 502 ")
    assert b"forged" not in response
    assert signal.SIGKILL in hub.service.signals
    assert any("killed: it sent an answer to a request in which the value of X" in line for line in log)


def test_what_a_client_sends_before_its_answer(hub: Hub) -> None:
    """It is kept up to a bound, then not read; it comes after the 101, as messages."""
    asking = Asking(hub)
    early = frame(1, b"early")
    asking.client.send(early)
    assert asking.client.transport.producerState == "producing"
    count = MAX_EARLY // len(early)
    asking.client.send(early * count)
    assert asking.client.transport.producerState == "paused"
    asking.answer(ACCEPT, b"")
    assert asking.client.transport.producerState == "producing"
    assert asking.client.receive_status() == 101
    assert messages(hub) == ["early"] * (count + 1)


def test_what_comes_after_the_end(hub: Hub) -> None:
    """Over TLS a client may go on when both sides have closed, until the transport ends: nothing of it is kept."""
    connection = hub.open()
    connection.send(frame(8, b"\x03\xe8"))
    assert connection.is_closing
    for _ in range(3):
        connection.send(bytes(1 << 16))
    assert connection.protocol._successor.data == b""


@pytest.mark.parametrize("how", ["breaks the protocol", "does not answer a close frame", "closes while it is failed"])
def test_no_timer_outlives_a_connection(hub: Hub, how: str) -> None:
    """Whatever was waited for: with the connection it is over, and nothing keeps what was known of it."""
    hub.websockets._batched_timer.call_later = hub.reactor.callLater  # so that there is one for each
    connection = hub.open()
    before = set(hub.reactor.getDelayedCalls())
    if how == "does not answer a close frame":
        hub.service.send((CLOSE, 1, encode_close(4000, "")))
        hub.reactor.turn()
    else:
        connection.send(b"\x82\0")
    assert set(hub.reactor.getDelayedCalls()) - before
    if how == "closes while it is failed":
        connection.send(frame(8, b"\x03\xe8"))
        assert connection.is_closing
    connection.lose()
    hub.reactor.turn()
    assert not set(hub.reactor.getDelayedCalls()) - before


@pytest.mark.parametrize("reason", ["\x1b[2Jbye\n", ""])
def test_each_end_is_a_line_of_the_log(hub: Hub, log: list[str], reason: str) -> None:
    """Who it was, for how long, and how it ended: once, and without what would rewrite a terminal."""
    connection = hub.open()
    hub.reactor.advance(2.5)
    connection.send(frame(8, (4321).to_bytes(2, "big") + reason.encode()))
    connection.lose(ConnectionDone)
    peer = connection.transport.getPeer()
    said = ": \\x1b[2Jbye\\n" if reason else ""
    assert [line for line in log if "closed after" in line] == [
        f"[wshub#info] /echo: {peer.host}, port {peer.port}: closed after 2.500 s with 4321{said}"
    ]


def test_ends_that_nobody_wants_to_know(reactor: FakeReactor, tmp_path: Path, log: list[str]) -> None:
    """Without `access_log` no end is a line."""
    hub = Hub(reactor, tmp_path, access_log=False)
    hub.open().lose()
    assert hub.supervisor.accounting.service("/echo").closed.total() == 1
    assert not [line for line in log if "closed" in line]


@pytest.mark.parametrize("access_log", [True, False])
def test_ends_are_kept_for_the_admin_interface(reactor: FakeReactor, tmp_path: Path, access_log: bool) -> None:
    """Where there is one, whether or not they are in the log; without what would rewrite a terminal."""
    hub = Hub(reactor, tmp_path, admin="9187", access_log=access_log)
    connection = hub.open()
    peer = connection.transport.getPeer()
    hub.reactor.advance(2.5)
    connection.send(frame(8, (4321).to_bytes(2, "big") + b"\x1b[2Jbye"))
    connection.lose(ConnectionDone)
    recent = hub.supervisor.accounting.service("/echo").recent
    assert recent is not None
    (closing,) = recent.closings.after(0)
    assert closing[2:] == (peer.host, peer.port, 2.5, 4321, "\\x1b[2Jbye")


# What a client may send.


def closes_with(hub: Hub, connection: Connection) -> int:
    """The code of the close frame that it gets once the service has dealt with everything before."""
    hub.reactor.turn()
    for kind, socket_id, _ in hub.service.read():
        if kind == SYNC:
            hub.service.send((SYNC, socket_id, b""))
    hub.reactor.turn()
    data = connection.receive()
    position = data.rindex(b"\x88")
    return int.from_bytes(data[position + 2 : position + 4], "big")


def large(size: int, first: int = 0x82) -> bytes:
    """A client's frame of so many zeros."""
    return bytes((first, 0xFE)) + size.to_bytes(2, "big") + bytes(4 + size)


@pytest.mark.parametrize(("first", "ends"), [(0x82, b""), (0x02, large(10, 0x80))], ids=["plain", "fragment"])
def test_max_frame_size(reactor: FakeReactor, tmp_path: Path, first: int, ends: bytes) -> None:
    """It holds for frames that do not pass Autobahn as for those that do; a larger message of such frames is served."""
    hub = Hub(reactor, tmp_path, max_frame_size=1000, max_message_size=5000)
    connection = hub.open()
    connection.send(large(1000))
    connection.send(large(1000, 0x02) + large(1000, 0x80))
    assert messages(hub) == [bytes(1000), bytes(2000)]
    connection.send(large(1001, first) + ends)
    assert closes_with(hub, connection) == 1009


def test_max_fragments(reactor: FakeReactor, tmp_path: Path, log: list[str]) -> None:
    """One frame too many of a message is 1008, once; the next message is counted anew."""
    hub = Hub(reactor, tmp_path, max_fragments=3)
    connection = hub.open()
    begin, more, end = b"\x01\x80\0\0\0\0", b"\x00\x80\0\0\0\0", b"\x80\x80\0\0\0\0"
    connection.send((begin + more + end) * 2)
    assert messages(hub) == ["", ""]
    connection.send(begin + more * 100)
    assert closes_with(hub, connection) == 1008
    connection.send(more * 100)
    assert not connection.is_closing
    connection.send(frame(8, b"\x03\xf0"))
    assert connection.is_closing
    assert len([line for line in log if "Too many fragments." in line]) == 1


def test_max_ping_rate(reactor: FakeReactor, tmp_path: Path) -> None:
    """So many pings a second are answered, one more is 1008; those after it are passed over."""
    hub = Hub(reactor, tmp_path, max_ping_rate=3)
    connection = hub.open()
    for _ in range(3):
        connection.send(frame(9, b"") * 3)
        assert connection.receive() == b"\x8a\x00" * 3
        reactor.advance(1)
    connection.send(frame(9, b"") * 5)
    assert closes_with(hub, connection) == 1008
    connection.send(frame(9, b"") * 5)
    assert connection.receive() == b""
    assert not connection.is_closing


def test_max_message_rate(reactor: FakeReactor, tmp_path: Path) -> None:
    """So many messages a second get to the service, plain or fragmented; one more is 1008 and gets there no more."""
    hub = Hub(reactor, tmp_path, max_message_rate=2)
    connection = hub.open()
    fragmented = b"\x01\x81\0\0\0\0a" + b"\x80\x81\0\0\0\0b"
    connection.send(frame(1, b"1") + fragmented)
    assert messages(hub) == ["1", "ab"]
    reactor.advance(1)
    connection.send(fragmented + frame(1, b"2") + frame(1, b"3") + fragmented + frame(1, b"4"))
    hub.reactor.turn()
    assert [payload for kind, _, payload in hub.service.read() if kind == DATA] == ["ab", "2"]
    hub.service.send((SYNC, 1, b""))
    hub.reactor.turn()
    assert connection.receive()[:4] == b"\x88\x14\x03\xf0"


def test_deflate_that_is_none(reactor: FakeReactor, tmp_path: Path, log: list[str]) -> None:
    """A message that does not inflate, or to too much, is closed for; what follows it is read to the close frame."""
    compressor = zlib.compressobj(wbits=-15)
    bomb = compressor.compress(bytes(1 << 20)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    for payload, code in ((b"\xff" * 200, 1007), (bomb, 1009)):
        hub = Hub(reactor, tmp_path, compression=True, max_message_size=5000)
        connection = hub.open("Sec-WebSocket-Extensions: permessage-deflate\r\n")
        connection.send(large(len(payload), 0xC2)[:8] + payload)
        assert closes_with(hub, connection) == code
        connection.send(large(3000) * 3)
        assert len(hub.supervisor.links[0].sockets[1].data) == 0  # type: ignore[attr-defined]
        connection.send(frame(8, code.to_bytes(2, "big")))
        assert connection.is_closing
        connection.lose(ConnectionDone)
    assert not any("failing" in line for line in log)
