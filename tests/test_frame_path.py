"""The hub's frame path against plain Autobahn: the same bytes in, cut anywhere, and nothing tells them apart."""

import random
import zlib
from struct import pack

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection

from wshub import wire
from wshub.config import Settings
from wshub.door.handshake import parse_head, parse_upgrade
from wshub.door.proxies import Source
from wshub.sockets.factory import HubFactory, accept_deflate
from wshub.sockets.frames import BINARY, TEXT, make_frame

LIMIT = 70_000
HEAD = (
    b"GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: %s\r\n\r\n"
)
WORDS = ("", "a", "grüße", "日本語", "\U0001f600", "x" * 125, "y" * 126, "z" * 70_000, "long " * 13_200)


class Plain(WebSocketServerProtocol):
    """Autobahn as it is, but for one mistake, echoing and keeping a record."""

    def onFrameData(self, payload):
        if super().onFrameData(payload) is False:  # it would never get to this frame's end: see HubProtocol
            self._isMessageCompressed = self.utf8validateIncomingCurrentMessage = False

    def onMessage(self, payload, isBinary):
        self.events.append((payload, isBinary))
        if self.state == self.STATE_OPEN:
            self.sendMessage(payload, isBinary)

    def onPong(self, payload):
        self.events.append(("pong", payload))

    def onClose(self, wasClean, code, reason):
        self.events.append(("closed", wasClean, code, reason))


class EchoLink:
    """A service that echoes within the same call."""

    subprotocols = ()
    name = "/echo"
    is_paused = False

    def open(self, socket, opening, socket_id=0):
        self.socket = socket
        return 1

    def message(self, kind, socket_id, payload):
        is_binary = kind == wire.BINARY
        self.socket.events.append((bytes(payload), is_binary))
        self.socket.wshub_send([make_frame(BINARY if is_binary else TEXT, payload)])

    def sync(self, socket_id):
        self.socket.wshub_synced()

    def close(self, socket_id, code, reason):
        pass

    def forget_group(self):
        pass

    def release(self, socket_id):
        pass


class Recorder:
    """Keeps the same record of what the hub's protocol does."""

    def onPong(self, payload):
        self.events.append(("pong", payload))

    def onClose(self, wasClean, code, reason):
        self.events.append(("closed", wasClean, code, reason))


def plain(deflate):
    """Autobahn's protocol in the open state."""
    factory = WebSocketServerFactory(reactor=Clock())
    factory.protocol = Plain
    factory._batched_timer = Timers()
    factory.setProtocolOptions(
        failByDrop=False,
        echoCloseCodeReason=True,
        maxMessagePayloadSize=LIMIT,
        perMessageCompressionAccept=accept_deflate if deflate else None,
    )
    server = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
    connect(server)
    server.dataReceived(HEAD % (b"permessage-deflate" if deflate else b""))
    return opened(server)


def ours(deflate):
    """The hub's protocol in the open state, without a hub."""
    settings = Settings(max_message_size=LIMIT, compression=deflate)
    factory = HubFactory(Clock(), settings, poller=NoTurns())
    factory._batched_timer = Timers()
    factory.protocol = type("Recorded", (Recorder, factory.protocol), {})
    request = parse_upgrade(parse_head(HEAD % (b"permessage-deflate" if deflate else b"")))
    server = factory.make(request, EchoLink(), Source("192.0.2.1", 5000))
    connect(server)
    return opened(server)


def connect(server):
    """Give a protocol a transport that keeps what is written."""
    server.events = []
    transport = StringTransportWithDisconnection()
    transport.abortConnection = transport.loseConnection
    transport.unregisterProducer = lambda: None
    transport.protocol = server
    server.makeConnection(transport)


def opened(server):
    """The protocol, once it has answered the handshake."""
    assert server.state == WebSocketProtocol.STATE_OPEN
    assert bool(server._perMessageCompress) == (b"permessage-deflate" in server.transport.value())
    server.transport.clear()
    return server


class NoTurns:
    """A poller whose turn never ends."""

    def at_end_of_turn(self, call):
        pass


class Timers:
    """Autobahn's timers, which never fire here."""

    def call_later(self, seconds, call):
        return self

    def cancel(self):
        pass


def frame(rng, opcode, payload, fin=1, rsv=0, masked=1, minimal=True):
    """The bytes of a frame, well-formed or not."""
    size = len(payload)
    if size < 126 and minimal:
        length = bytes((masked << 7 | size,))
    elif size < 65536 and (minimal or rng.random() < 0.5):
        length = bytes((masked << 7 | 126,)) + pack(">H", size)
    else:
        length = bytes((masked << 7 | 127,)) + pack(">Q", size)
    mask = rng.randbytes(4) if masked else b""
    body = bytes(b ^ mask[i % 4] for i, b in enumerate(payload)) if masked and size < 1000 else payload
    if masked and size >= 1000:
        body = (int.from_bytes(payload, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")).to_bytes(
            size, "big"
        )
    return bytes((fin << 7 | rsv << 4 | opcode,)) + length + mask + body


def text(rng):
    """UTF-8, now and then wrong."""
    payload = rng.choice(WORDS).encode()
    if rng.random() < 0.1 and payload:
        at = rng.randrange(len(payload))
        payload = (
            payload[:at] + rng.choice((b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90", b"\xe2\x82")) + payload[at:]
        )
    return payload if len(payload) < 60_000 or rng.random() < 0.1 else payload[:200]


def messages(rng, deflate):
    """The frames of one or a few messages, most of them well-formed."""
    kind = rng.random()
    if kind < 0.45:
        return frame(rng, 1, text(rng))
    if kind < 0.6:
        return frame(rng, 2, rng.randbytes(rng.choice((0, 1, 64, 125, 126, 300, 65_535, 65_536))))
    if kind < 0.7:
        return frame(rng, rng.choice((9, 10)), rng.randbytes(rng.randrange(126)))
    if kind < 0.82:
        payload, pieces = text(rng), []
        cuts = sorted(rng.randrange(len(payload) + 1) for _ in range(rng.randrange(1, 4)))
        for index, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(payload)], strict=True)):
            pieces.append(frame(rng, 0 if index else 1, payload[start:end], fin=index == len(cuts)))
            if rng.random() < 0.3:
                pieces.append(frame(rng, 9, b"between"))
        return b"".join(pieces)
    if kind < 0.92 and deflate:
        compressor = zlib.compressobj(wbits=-15)
        payload = compressor.compress(text(rng)) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return frame(rng, 1, payload[:-4], rsv=4)
    if kind < 0.95:
        return frame(rng, 8, rng.choice((b"", pack(">H", 1000) + b"bye", pack(">H", 4000), b"\x00", pack(">H", 1005))))
    return frame(
        rng,
        rng.choice((0, 1, 2, 3, 8, 9, 11)),
        rng.randbytes(rng.choice((0, 1, 5, 126, 130))),
        fin=rng.randrange(2),
        rsv=rng.choice((0, 0, 4, 1)),
        masked=rng.choice((0, 1, 1)),
        minimal=rng.random() < 0.5,
    )


def cut(rng, stream):
    """The stream in pieces: many small ones, a few, or one."""
    most = rng.choice((1, 7, 100, 5_000, 65_536)) if len(stream) < 3_000 else rng.choice((500, 5_000, 65_536))
    position = 0
    while position < len(stream):
        size = rng.randint(1, most)
        yield stream[position : position + size]
        position += size


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
@pytest.mark.parametrize("seed", range(40))
def test_nothing_tells_it_from_autobahn(seed, deflate):
    """Every event, every byte sent and every close code are those of plain Autobahn."""
    rng = random.Random(seed * 2 + deflate)
    for _ in range(25):
        stream = b"".join(messages(rng, deflate) for _ in range(rng.randrange(1, 8)))
        if rng.random() < 0.2:
            at = rng.randrange(len(stream))
            stream = stream[:at] + rng.randbytes(1) + stream[at + 1 :]
        theirs, own = plain(deflate), ours(deflate)
        for piece in cut(rng, stream):
            for server in (theirs, own):
                if server.transport.connected:
                    server.dataReceived(piece)
            assert own.events == theirs.events
            assert own.transport.value() == theirs.transport.value()
            assert own.state == theirs.state
            assert own.transport.connected == theirs.transport.connected
        for server in (theirs, own):
            if server.transport.connected:
                server.transport.loseConnection()
        assert own.events == theirs.events


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_every_cut_of_a_frame(size):
    """A frame cut in two at any place is read as a whole; for long ones, at every place near its ends."""
    rng = random.Random(size)
    payload = b"x" * size
    stream = frame(rng, 1, payload)
    places = [*range(1, min(40, len(stream))), *range(max(1, len(stream) - 5), len(stream))]
    for place in places:
        server = ours(deflate=False)
        server.dataReceived(stream[:place])
        assert not server.events
        server.dataReceived(stream[place:])
        assert server.events == [(payload, False)]
