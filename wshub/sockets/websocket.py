"""The WebSocket protocol: Autobahn's, from the moment that a request has been accepted.

Autobahn does fragments, control frames, compression, the closing handshake and whatever breaks the protocol. What most
messages are, a plain frame, goes past it; and where the transport is a plain socket, reading and writing go past
Twisted's buffers as long as these are empty: see :mod:`wshub.sockets.inbound` and :mod:`wshub.sockets.outbound`.

Autobahn's traps: what `onOpen` and `onMessage` raise is lost; `sendClose` refuses codes that a server may well send,
`sendCloseFrame` does not; `factory.server` and `log` are taken, so every name of ours on its classes has a prefix.
"""

from base64 import b64encode
from functools import cached_property
from hashlib import sha1
from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

import wshub
from wshub.answers import Headers
from wshub.door.handshake import UpgradeRequest, choose_subprotocol
from wshub.door.proxies import Source
from wshub.processes.delivery import CLOSED_MEANWHILE
from wshub.processes.link import ServiceLink
from wshub.processes.pending import Accepted
from wshub.processes.socket import ABNORMAL_CLOSURE
from wshub.sockets.frames import BINARY, TEXT, FrameReader
from wshub.sockets.inbound import POLICY_VIOLATION, Inbound
from wshub.sockets.moving import Moving
from wshub.sockets.outbound import TRY_AGAIN_LATER, Outbound
from wshub.sockets.rate import Rate

NO_STATUS = 1005  # never sent: what a service is told when the close frame had no code
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3

RESPONSE = "\r\n".join(
    (
        "HTTP/1.1 101 Switching Protocols",
        f"Server: wshub/{wshub.__version__}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Accept: %s%s",
        "",
        "",
    )
)


class QuietLog:
    """In the place of Autobahn's logger, which has lines for each client that breaks the protocol: so has the hub."""

    error = Logger(namespace="wshub").error

    def _pass_over(self, *_: object, **__: object) -> None:
        """Not worth a line, or worth one of the hub's."""

    debug = info = warn = _pass_over


class HubProtocol(Inbound, Moving, Outbound, WebSocketServerProtocol):  # type: ignore[misc]
    """One WebSocket, from the answer to its upgrade request to its end.

    What Autobahn sets on each of its protocols when a connection is made, thirty attributes and more, is here on a
    class that `HubFactory` makes: an instance has only what is its own.
    """

    log = QuietLog()
    factory: Any
    transport: Any
    maxMessagePayloadSize: int
    wshub_link: ServiceLink
    wshub_request: UpgradeRequest | None
    wshub_source: Source | None
    wshub_id = 0
    """The socket id, once it is open."""
    wshub_accepted: Accepted | None = None
    """What its service has said to the request, if it was asked."""
    wshub_failure: tuple[int, str] | None = None
    """Close code and reason, once the client has broken the protocol."""
    wshub_parting: tuple[int, bytes] | None = None
    """Close code and reason, once it is to be closed as soon as its service has answered."""
    closeHandshakeTimeout: float
    wshub_end: Any = None
    """The timer that drops a connection which does not get rid of its last bytes."""
    wshub_patience: Any = None
    """The timer that waits no longer for the service, once the client has broken the protocol."""
    wshub_pings: Rate | None = None
    wshub_began: float | None = None
    """When it was opened, if somebody wants to know how long ago that was when it ends."""
    wshub_fragments = 0
    """Frames of the message that is coming."""

    websocket_version = 13
    inside_message = False
    current_frame: Any = None
    _isMessageCompressed: bool

    def __init__(self) -> None:
        self.wshub_frames = FrameReader()

    @cached_property
    def utf8validator(self) -> Any:  # type: ignore[override]
        """Autobahn's own: only for text that does not come as plain frames."""
        return Utf8Validator()

    @property
    def peer(self) -> str:  # type: ignore[override]
        """Who it is, as Autobahn has it in its log lines."""
        return self.wshub_source.host if self.wshub_source else ""

    # Beginning and end.

    def connectionMade(self) -> None:
        """The service has accepted: answer the upgrade request."""
        self.factory.countConnections += 1
        try:
            self.transport.setTcpNoDelay(True)
        except (AttributeError, OSError):
            pass  # a Unix socket has no such thing
        request = self.wshub_request
        assert request is not None
        subprotocol = choose_subprotocol(self.wshub_link.subprotocols, request.subprotocols)
        headers: Headers = ()
        if accepted := self.wshub_accepted:
            subprotocol, headers = accepted.subprotocol or subprotocol, accepted.headers
        if request.extensions and self.factory.wshub_settings.compression:
            self.websocket_protocols = request.subprotocols
            self.websocket_extensions = self._parseExtensionsHeader(request.extensions)
            self._wskey = request.key
            self.succeedHandshake((subprotocol, group(headers)))  # Autobahn's: it negotiates the extension
        else:
            self.websocket_protocol_in_use = subprotocol
            self._wshub_start_polling()
            self.sendData(make_response(request.key, subprotocol, headers))
            self.state = self.STATE_OPEN
            self.onOpen()

    def onOpen(self) -> None:
        """The answer is on its way: tell the service."""
        source, request = self.wshub_source, self.wshub_request
        assert source is not None
        assert request is not None
        self.wshub_request = None  # the service has it now
        opening = (*request.describe(source), self.websocket_protocol_in_use)
        self._wshub_start_polling()
        self.transport.registerProducer(self, True)
        self.wshub_id = self.wshub_link.open(self, opening, self.wshub_id)
        if self.factory.wshub_settings.access_log or self.wshub_link.counts.recent:
            self.wshub_began = self.factory.reactor.seconds()
        self.factory.opened(self)

    def _onOpen(self) -> None:
        """Called by Autobahn's handshake; its own would look for a TLS channel id that nobody asks for."""
        self.onOpen()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._wshub_stop_polling()
        self.wshub_stay()
        super().connectionLost(reason)
        for timer in (self.wshub_end, self.wshub_patience, self.closeHandshakeTimeoutCall):
            if timer:
                timer.cancel()  # or it would keep all of this until then
        if self.wshub_backlog is not None:
            self.wshub_link.counts.dropped[CLOSED_MEANWHILE] += self.wshub_backlog.clear()
            self.wshub_backlog = None
        self.factory.lost(self)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Called by Autobahn once, when the connection is gone."""
        if self.wshub_is_given_up:
            code, reason = TRY_AGAIN_LATER[0], TRY_AGAIN_LATER[1].decode()
        elif not wasClean:
            code, reason = ABNORMAL_CLOSURE, ""
        elif self.failedByMe:  # what we found wrong tells more than the client's answer to it
            code, reason = self.localCloseCode, (self.localCloseReason or b"").decode()
        code = NO_STATUS if code is None else code
        self.wshub_link.close(self.wshub_id, code, reason or "")
        if self.wshub_began is not None:
            self.factory.log_end(self, code, reason or "", self.wshub_began)

    def _closeConnection(self, abort: bool = False) -> None:
        """Called by Autobahn to drop the connection. After a whole closing handshake there is no reason to reset it."""
        abort = abort and not self.wasClean
        is_sent = self._wshub_is_clear() and self.wshub_backlog is None
        self._wshub_stop_polling()
        self.transport.unregisterProducer()  # it would keep the transport from closing
        if is_sent and not abort:
            self.factory.wshub_poller.at_end_of_turn(self._wshub_end_now)
            return
        if not abort:
            self.wshub_send_last()  # which its reader may never let happen
            self.wshub_end = self.factory._batched_timer.call_later(self.closeHandshakeTimeout, self._wshub_give_up)
        super()._closeConnection(abort)

    def _wshub_end_now(self) -> None:
        """Close a socket that has taken everything. Twisted would first wait until it can be written to once more."""
        if self.transport.connected:
            self.transport.stopReading()
            self.transport.stopWriting()
            self.transport.connectionLost(connectionDone)

    def _wshub_give_up(self) -> None:
        self.wshub_end = None
        self.wshub_drop()

    # A client that breaks the protocol.

    def _fail_connection(self, code: int = 1002, reason: str = "") -> None:
        """Called by Autobahn at whatever is wrong. First the service answers to what was right before it.

        Until it has, nothing counts any more that the client sends: for Autobahn the connection is closing already.
        """
        if self.state == self.STATE_OPEN and self.wshub_failure is None:
            self.wshub_failure = code, reason
            self.wshub_log("broke the protocol", f"{code}, {reason}", code)
            self.failedByMe = True
            self.state = self.STATE_CLOSING
            self.wshub_patience = self.factory._batched_timer.call_later(
                self.closeHandshakeTimeout, self._wshub_wait_no_longer
            )
            self.wshub_link.sync(self.wshub_id)
        elif not self._wshub_is_failing():
            super()._fail_connection(code, reason)

    def _wshub_wait_no_longer(self) -> None:
        self.wshub_patience = None
        self.wshub_synced()

    def wshub_synced(self) -> None:
        """Called by the link: the service has answered."""
        if self.wshub_move:
            self.wshub_go()
        if parting := self.wshub_parting:
            self.wshub_parting = None
            self.wshub_close(*parting)
        if self.wshub_failure and self._wshub_is_failing():
            self.state = self.STATE_OPEN
            super()._fail_connection(*self.wshub_failure)

    def dropConnection(self, abort: bool = False) -> None:
        """Called by Autobahn, also when the client closes while the service has not answered: do not wait, then."""
        self.wshub_synced()
        super().dropConnection(abort)

    def _wshub_is_failing(self) -> bool:
        return self.wshub_failure is not None and self.state == self.STATE_CLOSING and self.localCloseCode is None

    def wshub_log(self, what: str, why: str, code: int = 0) -> None:
        """Say in the log what was wrong with this client."""
        assert self.wshub_source is not None
        self.factory.log_client(self.wshub_link.name, self.wshub_source.host or "a client", what, why, code)

    # Reading what is no plain frame; the rest of it is `Inbound`'s.

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Called by Autobahn with a message that was not a plain frame."""
        if self.state == self.STATE_OPEN:  # it goes on delivering while it closes (RFC 6455, section 5.5.1, lets it)
            self._wshub_take(BINARY if isBinary else TEXT, payload)

    def onPing(self, payload: bytes) -> None:
        """Called by Autobahn."""
        if self.state != self.STATE_OPEN:
            return
        if self.wshub_pings is None:
            self.wshub_pings = Rate(self.factory.wshub_settings.max_ping_rate)
        if self.wshub_pings.is_exceeded(self.factory.reactor.seconds()):
            self._fail_connection(POLICY_VIOLATION, "Too many pings.")
        else:
            super().onPing(payload)

    def onMessageBegin(self, isBinary: bool) -> None:
        """Called by Autobahn with each message that is not a plain frame."""
        super().onMessageBegin(isBinary)
        self.wshub_fragments = 0

    def onMessageFrameBegin(self, length: int) -> None:
        """Called by Autobahn with each frame of it."""
        super().onMessageFrameBegin(length)
        self.wshub_fragments += 1
        if self.wshub_fragments > self.factory.wshub_settings.max_fragments and not self.failedByMe:
            self._fail_connection(POLICY_VIOLATION, "Too many fragments.")

    def onFrameData(self, payload: bytes) -> None:
        """Called by Autobahn with what has come of a frame.

        False would mean that it has given up on the message, but is also why it never gets to the end of that frame
        then, and keeps all that comes after it.
        """
        if super().onFrameData(payload) is False:
            self._isMessageCompressed = self.utf8validateIncomingCurrentMessage = False

    # Sending its close frame; the rest of sending is `Outbound`'s.

    def wshub_may_send(self) -> bool:
        """Whether messages may still be sent: also to a client that has broken the protocol, until it is closed."""
        return self.state == self.STATE_OPEN or self._wshub_is_failing()

    def wshub_close(self, code: int, reason: bytes) -> None:
        """Called by the link, by the hub when it stops, and for a client that is too slow."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code, reason)
            if self.wshub_move:
                self.wshub_go()  # no further than here, to hear the client's answer
        else:
            self.wshub_synced()  # if it waits for the service: that has said its last

    def wshub_finish(self, code: int, reason: bytes) -> None:
        """Called by the hub when it stops."""
        if self.state == self.STATE_OPEN:
            self.wshub_parting = code, reason
            self.wshub_link.sync(self.wshub_id)

    def sendCloseFrame(self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False) -> None:
        """Send a close frame, ours or Autobahn's; nothing comes after it."""
        super().sendCloseFrame(code, reasonUtf8, isReply)
        self.wshub_set_direct(None)

    def wshub_drop(self) -> None:
        """Called by the hub when a client does not answer in time."""
        self.transport.abortConnection()


def make_response(key: str, subprotocol: str | None, headers: Headers = ()) -> bytes:
    """The 101 that accepts an upgrade request (RFC 6455, section 4.2.2)."""
    accept = b64encode(sha1(key.encode() + GUID, usedforsecurity=False).digest()).decode()
    more = f"\r\nSec-WebSocket-Protocol: {subprotocol}" if subprotocol else ""
    if headers:
        more += "".join(f"\r\n{name}: {value}" for name, value in headers)
    return (RESPONSE % (accept, more)).encode()


def group(headers: Headers) -> dict[str, list[str]]:
    """Headers as Autobahn wants them: the values of each name."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    return values
