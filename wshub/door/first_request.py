"""What is on the port: a look at each connection's first request, which decides whose the connection is.

::

    first request          what becomes of the connection
    -------------------------------------------------------------------------------------------------
    none: one too many     an error response, closed
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

from twisted.internet.interfaces import IProtocolNegotiationFactory, ISSLTransport
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wshub.accounting import Counts
from wshub.config import Settings
from wshub.door.admission import Admission, Entry
from wshub.door.deadlines import Deadlines
from wshub.door.descriptors import is_short_for_connections
from wshub.door.handshake import (
    PHRASES,
    Head,
    UpgradeRequest,
    check_plain,
    format_error,
    parse_head,
    parse_upgrade,
    read_head,
)
from wshub.door.proxies import Source
from wshub.door.proxy_protocol import read_proxy_header
from wshub.errors import (
    HttpError,
    HubStopping,
    ServiceCrashing,
    ServiceFailed,
    ServiceLate,
    ServiceReplaced,
    ServiceUnavailable,
)
from wshub.processes.link import ServiceLink
from wshub.processes.pending import ENDED, LATE, LEFT, Accepted
from wshub.processes.process import escape
from wshub.resource import UrlNode, find_node
from wshub.routing import format_route
from wshub.sockets.factory import HubFactory
from wshub.throttle import LineThrottle

MAX_EARLY = 64 << 10  # bytes that a client may send before it has its answer; RFC 6455, section 4.1, allows none
MAX_LOGGED = 200  # bytes of a path in the log
DEALT_WITH = Source("", 0)  # in the place of a client's address once nobody here needs it any more


class FirstRequest(Protocol):
    """A connection whose first request is not complete, or not answered; afterwards, the way to its successor."""

    factory: "PortFactory"
    transport: Any
    entry: Entry

    def __init__(self) -> None:
        self._data = bytearray()
        self._searched = 0  # bytes of it in which there is no end of the head
        self._head: Head | None = None  # once it is known, and until it is dealt with
        self._link: ServiceLink | None = None  # once it waits for a service
        self._asked = 0  # the id, while the service decides about it
        self._deadline: Any = None  # of that
        self._successor: Any = None  # once it is somebody else's
        self._is_refused = False

    def connectionMade(self) -> None:
        transport = self.transport
        peer = transport.getPeer()
        scheme = "https" if ISSLTransport.providedBy(transport) else None
        self.entry = Entry(Source(getattr(peer, "host", ""), getattr(peer, "port", 0), scheme))
        self.factory.deadlines.expect(self)
        try:
            self.factory.admission.enter(self.entry, is_short_for_connections(get_descriptor(transport)))
        except HttpError as error:
            self._refuse(error)
            if scheme:
                transport.abortConnection()  # an answer would have to wait for TLS, and be in the way until then

    def dataReceived(self, data: bytes) -> None:
        if self._successor:
            self._successor.dataReceived(data)
            return
        if self._is_refused:
            return  # the answer is on its way, and nothing after it
        self._data += data
        if self._link:
            if len(self._data) > MAX_EARLY:
                self.transport.pauseProducing()
            return  # the client could not wait with its first message, so that waits
        settings = self.factory.settings
        try:
            if self.entry.needs_proxy_header and not self._read_proxy_header():
                return
            if end := read_head(self._data, self._searched, settings.max_header_size, settings.max_request_line):
                self._decide(end)
            self._searched = len(self._data)
        except HttpError as error:
            self._refuse(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.deadlines.forget(self)
        self.factory.admission.leave(self.entry)
        self._stop_asking(LEFT)
        self._link = None
        if self._successor:
            self._successor.connectionLost(reason)

    def _read_proxy_header(self) -> bool:
        end, address = read_proxy_header(self._data)
        if end:
            del self._data[:end]
            self.factory.admission.hear_proxy(self.entry, address)
        return end > 0

    def _decide(self, end: int) -> None:
        admission = self.factory.admission
        head = parse_head(bytes(self._data[:end]), self.factory.settings.max_headers)
        self._head = head
        admission.hear_head(self.entry, head)
        if not head.wants_upgrade:
            check_plain(head)
            self._hand_over(self.factory.site.buildProtocol(self.transport.getPeer()))
            return
        request = parse_upgrade(head)
        admission.check_origin(self.entry, request.headers)
        node = find_node(self.factory.root, request.path)
        try:
            link = node.link()
        except (ServiceFailed, ServiceCrashing) as error:
            self._refuse(error, self.factory.accounting.service(format_route(node.route)))
            return
        self.factory.deadlines.forget(self)
        self._data = self._data[end:]
        self._wait(link, request)

    def _wait(self, link: ServiceLink, request: UpgradeRequest) -> None:
        self._link = link
        link.when_ready(partial(self._service_answers, request))
        if not (self._successor or self._is_refused or self._asked):
            self.transport.pauseProducing()  # it waits: nothing more of it is read, nor is its place given away

    def _service_answers(self, request: UpgradeRequest, why_not: ServiceUnavailable | None) -> None:
        link = self._link
        if link is None:
            return  # the client has gone meanwhile
        if isinstance(why_not, ServiceReplaced):
            self._wait(why_not.link, request)
            return
        self.transport.resumeProducing()
        try:
            if why_not or self.factory.is_closing:
                raise why_not or HubStopping()
            self.factory.admission.check_service(link)
        except HttpError as error:
            self._refuse(error, link.counts)
            return
        if link.asks_first:
            self._ask(request, link)
        else:
            self._hand_over(self.factory.websockets.make(request, link, self.entry.source))

    # What only clients of services with an on_request go through. They are read meanwhile: one that goes is noticed.

    def _ask(self, request: UpgradeRequest, link: ServiceLink) -> None:
        opening, offered = request.describe(self.entry.source), tuple(request.subprotocols)
        self._asked = link.ask(opening, offered, partial(self._service_decides, request))
        self._deadline = self.factory.call_later(self.factory.settings.request_timeout, self._give_up)

    def _service_decides(self, request: UpgradeRequest, answer: Accepted | HttpError) -> None:
        link = self._link
        assert link is not None
        self._asked = 0
        self._deadline.cancel()
        if isinstance(answer, ServiceReplaced):
            self._wait(answer.link, request)
            return
        self.transport.resumeProducing()
        if isinstance(answer, HttpError):
            self._refuse(answer, link.counts, is_counted=True)
        elif self.factory.is_closing:
            link.abandon(answer.socket_id, ENDED)
            self._refuse(HubStopping(), link.counts, is_counted=True)
        else:
            self._hand_over(self.factory.websockets.make(request, link, self.entry.source, answer))

    def _give_up(self) -> None:
        assert self._link is not None
        self._stop_asking(LATE)
        self.transport.resumeProducing()
        self._refuse(ServiceLate(), self._link.counts, is_counted=True)

    def _stop_asking(self, why: str) -> None:
        asked, self._asked = self._asked, 0
        if asked and self._link:
            self._link.abandon(asked, why)
            if self._deadline.active():
                self._deadline.cancel()

    def _hand_over(self, successor: Any) -> None:
        self.factory.deadlines.forget(self)
        self._successor, data, self._data, self._head = successor, bytes(self._data), bytearray(), None
        self.entry.source = DEALT_WITH
        self.dataReceived = successor.dataReceived  # type: ignore[method-assign]
        successor.makeConnection(self.transport)
        if data:
            successor.dataReceived(data)

    def _refuse(self, error: HttpError, counts: Counts | None = None, is_counted: bool = False) -> None:
        """Answer with an error. `counts` are those of the service that was asked for, if there is one.

        Those who were refused after the service was asked about them are counted by its link.
        """
        self._is_refused = True
        self._data.clear()
        self.factory.deadlines.expect(self)  # to be gone, this time: a TLS connection ends only when both sides say so
        if not is_counted:
            (counts or self.factory.accounting.hub).refused[describe_reason(error)] += 1
        self.factory.note(self.entry.source, self._head, describe_reason(error), f"{error.status}, {error}")
        self.transport.write(format_error(error))
        self.transport.loseConnection()

    def close_late(self) -> None:
        """Called when its time is over."""
        if not self._is_refused:
            seconds = self.factory.settings.handshake_timeout
            self.factory.accounting.hub.refused["late"] += 1
            self.factory.note(self.entry.source, None, "late", f"no whole request within {seconds:g} seconds")
        self.transport.abortConnection()


@implementer(IProtocolNegotiationFactory)
class PortFactory(ServerFactory):
    """Makes a `FirstRequest` for each connection, and closes those that are late."""

    protocol: Any = FirstRequest
    noisy = False

    def __init__(self, reactor: Any, settings: Settings, root: UrlNode, site: Any, websockets: HubFactory) -> None:
        self.settings = settings
        self.admission = Admission(settings)
        self.accounting = root.accounting
        self.root = root
        self.site = site
        self.websockets = websockets
        self.call_later = reactor.callLater
        self.deadlines = Deadlines(reactor, settings.handshake_timeout)
        """Who is to have sent a request; and who has been refused, and is to be gone."""
        self.is_closing = False
        """Whether the hub is stopping: nothing becomes a WebSocket any more."""
        self._reactor = reactor
        self._throttle = LineThrottle()
        self._log = Logger(namespace="wshub")

    def acceptableProtocols(self) -> list[bytes]:
        """Called by Twisted's TLS: what to agree to when a client offers protocols (ALPN), as browsers do."""
        return [b"http/1.1"]

    def note(self, source: Source, head: Head | None, reason: str, said: str) -> None:
        """Log a line about a connection that is refused, unless there are too many of its kind.

        The line has the path, as far as it is known, but not the query, which may hold what nobody else should see.
        """
        left_out = self._throttle.admit(reason, self._reactor.seconds())
        if left_out is None:
            return
        path = escape(head.target.partition(b"?")[0][:MAX_LOGGED].decode("latin-1")) if head else ""
        self._log.info(
            "refused {client}: {said}{path}{more}",
            client=f"{source.host}, port {source.port}" if source.host else "a Unix socket's client",
            said=said,
            path=f"{'' if said.endswith(('.', '!', '?')) else '.'} It asked for {path}" if path else "",
            more=f" ({left_out} more of the kind were not logged)" if left_out else "",
        )

    def close(self) -> None:
        """Close every connection whose first request has not come, and let no other become a WebSocket."""
        self.is_closing = True
        self.deadlines.close()


def describe_reason(error: HttpError) -> str:
    """Why a connection was refused, as `wshub.accounting` counts it."""
    return error.counted_as or PHRASES.get(error.status, "another status").lower()


def get_descriptor(transport: Any) -> int:
    """The number of a connection's descriptor; -1 if it has none."""
    fileno = getattr(transport, "fileno", None)
    return fileno() if fileno else -1
