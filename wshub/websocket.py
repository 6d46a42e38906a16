"""The protocol on the port: Autobahn's, behind a look of our own at each connection's first request.

::

    first request          what becomes of the connection
    ------------------------------------------------------------------------------------------
    not HTTP, too long     an error response, closed
    no upgrade             twisted.web's: the same bytes go to a channel of the site, once and for all
    upgrade, refused       an error response, closed
    upgrade, accepted      Autobahn's: a WebSocket, one of a service's sockets

The head is parsed once, by :mod:`wshub.handshake`: what Autobahn's own parser would set is set here, and Autobahn's
handshake goes on from there. Autobahn's traps: what `onOpen` and `onMessage` raise is lost; `sendClose` refuses codes
that a server may well send, `sendCloseFrame` does not; `factory.server` and `log` are taken, so every name of ours on
its classes has a prefix.
"""

from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

import wshub
from wshub.config import Settings
from wshub.errors import HttpError, ServiceUnavailable
from wshub.frames import BINARY, FrameReader, split_frame
from wshub.handshake import (
    UpgradeRequest,
    check_origin,
    check_plain,
    choose_subprotocol,
    format_error,
    parse_head,
    parse_upgrade,
    read_head,
)
from wshub.link import ABNORMAL_CLOSURE, ServiceLink
from wshub.poller import SocketPoller
from wshub.resource import UrlNode, find_node
from wshub.wire import DATA

READ_SIZE = 128 << 10  # bytes; two messages of 64 KiB, or one and its header
NO_STATUS = 1005  # never sent: what a service is told when the close frame had no code


class HubProtocol(WebSocketServerProtocol):
    """One connection, from its first byte to its last."""

    factory: "HubFactory"
    maxMessagePayloadSize: int
    transport: Any

    def connectionMade(self) -> None:
        self.wshub_http: Protocol | None = None
        self.wshub_link: ServiceLink | None = None
        self.wshub_id = 0
        self.wshub_request: UpgradeRequest | None = None
        self.wshub_frames = FrameReader()
        self.wshub_fd = -1
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._wshub_stop_polling()
        super().connectionLost(reason)
        if self.wshub_http:
            self.wshub_http.connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        if self.wshub_http:
            self.wshub_http.dataReceived(data)
        elif self.state == self.STATE_OPEN and not (self.inside_message or self.current_frame or self.data):
            rest = self.wshub_frames.read(data, self.maxMessagePayloadSize, self._wshub_take)
            if rest:
                self._dataReceived(rest)
        else:
            self._dataReceived(self.wshub_frames.give_back() + data)

    def _wshub_take(self, message: str | bytes) -> None:
        self.wshub_link.post((DATA, self.wshub_id, message))  # type: ignore[union-attr]

    # The first request.

    def processHandshake(self) -> None:
        """Called by Autobahn with whatever has come so far in `self.data`."""
        if self.wshub_request:
            return  # what comes before the service is ready waits in self.data
        try:
            end = read_head(self.data)
            if not end:
                return
            head = parse_head(self.data[:end])
            if not head.wants_upgrade:
                check_plain(head)
                self._wshub_become_http()
                return
            request = parse_upgrade(head)
            check_origin(request.headers, self.factory.wshub_settings.origins)
            node = find_node(self.factory.wshub_root, request.path)
            link = node.link()
        except HttpError as error:
            self._wshub_refuse(error)
            return
        self._wshub_stop_handshake_timer()
        self.data = self.data[end:]
        self.wshub_request = request
        self.wshub_link = link
        self.transport.pauseProducing()
        link.when_ready(self._wshub_service_ready)

    def _wshub_become_http(self) -> None:
        self.wasClean = True
        self._wshub_stop_handshake_timer()
        self.wshub_http = self.factory.wshub_site.buildProtocol(self.transport.getPeer())
        self.wshub_http.makeConnection(self.transport)
        data, self.data = self.data, b""
        self.wshub_http.dataReceived(data)

    def _wshub_service_ready(self, why_not: ServiceUnavailable | None) -> None:
        if self.state != self.STATE_CONNECTING:
            return  # it could not wait
        self.transport.resumeProducing()
        if why_not:
            self._wshub_refuse(why_not)
            return
        request, link = self.wshub_request, self.wshub_link
        assert request is not None
        assert link is not None
        self.websocket_version = 13
        self.websocket_protocols = request.subprotocols
        self.websocket_extensions = self._parseExtensionsHeader(request.extensions)
        self._wskey = request.key
        self.succeedHandshake(choose_subprotocol(link.subprotocols, request.subprotocols))

    def _wshub_refuse(self, error: HttpError) -> None:
        self.wasNotCleanReason = str(error)
        self.sendData(format_error(error))
        self.dropConnection(abort=False)

    def _wshub_stop_handshake_timer(self) -> None:
        if self.openHandshakeTimeoutCall is not None:
            self.openHandshakeTimeoutCall.cancel()
            self.openHandshakeTimeoutCall = None

    # The WebSocket.

    def onOpen(self) -> None:
        request, link = self.wshub_request, self.wshub_link
        assert request is not None
        assert link is not None
        self.wshub_request = None  # the service has it now
        peer = self.transport.getPeer()
        address = (getattr(peer, "host", ""), getattr(peer, "port", 0))  # a Unix socket has neither
        opening = (
            address,
            request.path.decode("ascii"),
            request.query,
            request.headers,
            self.websocket_protocol_in_use,
        )
        self.wshub_id = link.open(self, opening)
        self._wshub_start_polling()

    # Reading and writing without the detour through Twisted's transport, where it is a plain socket.

    def _wshub_start_polling(self) -> None:
        if isinstance(self.transport, Connection) and not self.transport.TLS:
            self.wshub_fd = self.transport.fileno()
            self.transport.stopReading()
            self.factory.wshub_poller.add(self.wshub_fd, self._wshub_readable)

    def _wshub_stop_polling(self) -> None:
        if self.wshub_fd >= 0:
            self.factory.wshub_poller.remove(self.wshub_fd)
            self.wshub_fd = -1

    def _wshub_readable(self) -> None:
        try:
            data = self.transport.socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.dataReceived(data)
        else:
            self._wshub_stop_polling()
            self.transport.startReading()  # the reactor will meet the same, and close in its own way

    def _closeConnection(self, abort: bool = False) -> None:
        self._wshub_stop_polling()
        super()._closeConnection(abort)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Called by Autobahn and us with whatever is to be sent: write it at once if nothing waits before it."""
        transport = self.transport
        if self.wshub_fd >= 0 and not transport.dataBuffer and not transport._tempDataLen:
            try:
                sent = transport.socket.send(data)
            except OSError:
                sent = 0  # it is full, or broken, which the transport will find out
            if sent == len(data):
                return
            data = data[sent:]
        transport.write(data)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.state == self.STATE_OPEN:  # Autobahn goes on delivering while it closes (RFC 6455, 5.5.1, lets it)
            assert self.wshub_link is not None
            self.wshub_link.post((DATA, self.wshub_id, payload if isBinary else payload.decode()))

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self.wshub_id:
            assert self.wshub_link is not None
            if not wasClean:
                code, reason = ABNORMAL_CLOSURE, ""
            self.wshub_link.close(self.wshub_id, NO_STATUS if code is None else code, reason or "")

    # What the link asks for.

    def wshub_send(self, frames: list[bytes]) -> None:
        if self.state != self.STATE_OPEN:
            return
        if self._perMessageCompress is None:
            self.sendData(frames[0] if len(frames) == 1 else b"".join(frames))
        else:
            for opcode, payload in map(split_frame, frames):
                self.sendMessage(payload, opcode == BINARY)

    def wshub_close(self, code: int, reason: bytes) -> None:
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code, reason)


class HubFactory(WebSocketServerFactory):
    """Makes a `HubProtocol` for each connection."""

    protocol: Any = HubProtocol
    noisy = False

    def __init__(self, reactor: Any, settings: Settings, root: UrlNode, site: Any, poller: SocketPoller) -> None:
        super().__init__(server=f"wshub/{wshub.__version__}", reactor=reactor)
        self.wshub_settings = settings
        self.wshub_root = root
        self.wshub_site = site
        self.wshub_poller = poller
        self.setProtocolOptions(
            failByDrop=False,  # a client that breaks the protocol is told so with a close frame
            maxMessagePayloadSize=settings.max_message_size,
            openHandshakeTimeout=settings.handshake_timeout,
            perMessageCompressionAccept=accept_deflate if settings.compression else None,
        )


def accept_deflate(offers: list[Any]) -> PerMessageDeflateOfferAccept | None:
    """Agree to the first permessage-deflate that a client offers (RFC 7692)."""
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer)
    return None
