"""What is on the port: a look at each connection's first request, which decides whose the connection is.

::

    first request          what becomes of the connection
    -------------------------------------------------------------------------------------------------
    late                   closed
    not HTTP, too long     an error response, closed
    no upgrade             twisted.web's: the same bytes go to a channel of the site, once and for all
    upgrade, refused       an error response, closed; also if it is the service that refuses
    upgrade, accepted      Autobahn's: a WebSocket, one of a service's sockets

Only one parser ever reads a connection after this one has: two that split headers differently are how requests are
smuggled. And whoever sends no request, or sends it a byte at a time, costs no more than this small object.
"""

from functools import partial
from typing import Any

from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wshub.config import Settings
from wshub.errors import HttpError, HubStopping, ServiceLate, ServiceUnavailable
from wshub.handshake import (
    UpgradeRequest,
    check_origin,
    check_plain,
    format_error,
    parse_head,
    parse_upgrade,
    read_head,
)
from wshub.link import ServiceLink
from wshub.pending import ENDED, LATE, LEFT, Accepted
from wshub.process import escape
from wshub.resource import UrlNode, find_node
from wshub.websocket import HubFactory

MAX_EARLY = 64 << 10  # bytes that a client may send before it has its answer; RFC 6455, section 4.1, allows none
SWEEP = 0.5  # seconds; a late request may be this much later still


class FirstRequest(Protocol):
    """A connection whose first request is not complete, or not answered; afterwards, the way to its successor."""

    factory: "PortFactory"
    transport: Any

    def __init__(self) -> None:
        self._data = bytearray()
        self._searched = 0  # bytes of it in which there is no end of the head
        self._link: ServiceLink | None = None  # once it waits for a service
        self._asked = 0  # the id, while the service decides about it
        self._deadline: Any = None  # of that
        self._successor: Any = None  # once it is somebody else's

    def connectionMade(self) -> None:
        self.factory.expect(self)

    def dataReceived(self, data: bytes) -> None:
        if self._successor:
            self._successor.dataReceived(data)
            return
        self._data += data
        if self._link:
            if len(self._data) > MAX_EARLY:
                self.transport.pauseProducing()
            return  # the client could not wait with its first message, so that waits
        try:
            if end := read_head(self._data, self._searched):
                self._decide(end)
            self._searched = len(self._data)
        except HttpError as error:
            self._refuse(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.forget(self)
        self._stop_asking(LEFT)
        self._link = None
        if self._successor:
            self._successor.connectionLost(reason)

    def _decide(self, end: int) -> None:
        head = parse_head(bytes(self._data[:end]))
        if not head.wants_upgrade:
            check_plain(head)
            self._hand_over(self.factory.site.buildProtocol(self.transport.getPeer()))
            return
        request = parse_upgrade(head)
        check_origin(request.headers, self.factory.settings.origins)
        link = find_node(self.factory.root, request.path).link()
        self.factory.forget(self)
        self._link, self._data = link, self._data[end:]
        self.transport.pauseProducing()
        link.when_ready(lambda why_not: self._service_answers(request, why_not))

    def _service_answers(self, request: UpgradeRequest, why_not: ServiceUnavailable | None) -> None:
        link = self._link
        if link is None:
            return  # the client has gone meanwhile
        self.transport.resumeProducing()
        if why_not or self.factory.is_closing:
            self._refuse(why_not or HubStopping())
        elif link.asks_first:
            self._ask(request, link)
        else:
            self._hand_over(self.factory.websockets.make(request, link))

    # What only clients of services with an on_request go through. They are read meanwhile: one that goes is noticed.

    def _ask(self, request: UpgradeRequest, link: ServiceLink) -> None:
        opening, offered = request.describe(self.transport.getPeer()), tuple(request.subprotocols)
        self._asked = link.ask(opening, offered, partial(self._service_decides, request))
        self._deadline = self.factory.call_later(self.factory.settings.request_timeout, partial(self._give_up, request))

    def _service_decides(self, request: UpgradeRequest, answer: Accepted | HttpError) -> None:
        link = self._link
        assert link is not None
        self._asked = 0
        self._deadline.cancel()
        self.transport.resumeProducing()
        if isinstance(answer, HttpError):
            self._refuse(answer)
        elif self.factory.is_closing:
            link.abandon(answer.socket_id, ENDED)
            self._refuse(HubStopping())
        else:
            self._hand_over(self.factory.websockets.make(request, link, answer))

    def _give_up(self, request: UpgradeRequest) -> None:
        host, port, path, *_ = request.describe(self.transport.getPeer())
        self.factory.log.warn(
            "{path}: {host}:{port} was refused: on_request took more than {seconds} seconds",
            path=escape(path),
            host=host,
            port=port,
            seconds=self.factory.settings.request_timeout,
        )
        self._stop_asking(LATE)
        self.transport.resumeProducing()
        self._refuse(ServiceLate())

    def _stop_asking(self, why: str) -> None:
        asked, self._asked = self._asked, 0
        if asked and self._link:
            self._link.abandon(asked, why)
            if self._deadline.active():
                self._deadline.cancel()

    def _hand_over(self, successor: Any) -> None:
        self.factory.forget(self)
        self._successor, data, self._data = successor, bytes(self._data), bytearray()
        self.dataReceived = successor.dataReceived  # type: ignore[method-assign]
        successor.makeConnection(self.transport)
        if data:
            successor.dataReceived(data)

    def _refuse(self, error: HttpError) -> None:
        self.factory.forget(self)
        self.transport.write(format_error(error))
        self.transport.loseConnection()


@implementer(IProtocolNegotiationFactory)
class PortFactory(ServerFactory):
    """Makes a `FirstRequest` for each connection, and closes those that are late."""

    protocol: Any = FirstRequest
    noisy = False

    def __init__(self, reactor: Any, settings: Settings, root: UrlNode, site: Any, websockets: HubFactory) -> None:
        self.settings = settings
        self.root = root
        self.site = site
        self.websockets = websockets
        self.call_later = reactor.callLater
        self.log = Logger(namespace="wshub")
        self.is_closing = False
        """Whether the hub is stopping: nothing becomes a WebSocket any more."""
        self._reactor = reactor
        self._deadlines: dict[FirstRequest, float] = {}  # the next one first, as all have the same time
        self._sweeper: Any = None

    def acceptableProtocols(self) -> list[bytes]:
        """Called by Twisted's TLS: what to agree to when a client offers protocols (ALPN), as browsers do."""
        return [b"http/1.1"]

    def expect(self, connection: FirstRequest) -> None:
        """A connection has been made: its first request is due."""
        self._deadlines[connection] = self._reactor.seconds() + self.settings.handshake_timeout
        if self._sweeper is None:
            self._sweeper = self._reactor.callLater(SWEEP, self._sweep)

    def forget(self, connection: FirstRequest) -> None:
        """Its first request has come, or will not."""
        self._deadlines.pop(connection, None)

    def close(self) -> None:
        """Close every connection whose first request has not come, and let no other become a WebSocket."""
        self.is_closing = True
        for connection in list(self._deadlines):
            connection.transport.abortConnection()
        if self._sweeper:
            self._sweeper.cancel()
            self._sweeper = None

    def _sweep(self) -> None:
        now = self._reactor.seconds()
        for connection, deadline in list(self._deadlines.items()):
            if deadline > now:
                break
            connection.transport.abortConnection()
        self._sweeper = self._reactor.callLater(SWEEP, self._sweep) if self._deadlines else None
