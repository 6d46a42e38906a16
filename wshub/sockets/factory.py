"""Makes the protocol of each WebSocket, and looks after all of them: who is silent, who is full, when there is none."""

import time
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from twisted.internet.defer import Deferred
from twisted.logger import Logger

import wshub
from wshub.config import Settings
from wshub.door.handshake import UpgradeRequest
from wshub.door.proxies import Source
from wshub.poller import Poller
from wshub.processes.link import ServiceLink
from wshub.processes.pending import Accepted
from wshub.sockets.deflate import Deflater
from wshub.sockets.keepalive import SLOT, Keepalive
from wshub.sockets.websocket import HubProtocol
from wshub.terminal import escape
from wshub.throttle import LineThrottle

ENDED = "{service}: {client}, port {port}: closed after {seconds:.3f} s with {code}"  # in the log


class HubFactory(WebSocketServerFactory):
    """Makes a `HubProtocol` for each accepted upgrade request."""

    def __init__(self, reactor: Any, settings: Settings, poller: Poller) -> None:
        super().__init__(server=f"wshub/{wshub.__version__}", reactor=reactor)
        self.wshub_settings = settings
        self.wshub_poller = poller
        self.setProtocolOptions(
            failByDrop=False,  # a client that breaks the protocol is told so with a close frame
            echoCloseCodeReason=True,  # "typically echoes the status code" (RFC 6455, section 5.5.1)
            closeHandshakeTimeout=settings.close_timeout,
            maxMessagePayloadSize=settings.max_message_size,
            maxFramePayloadSize=settings.max_frame_size,
        )
        self.openHandshakeTimeout = 0  # it has come already
        self.protocol: Any = self._protocol_class()
        self._deflater = Deflater()
        self.wshub_now = 0.0
        """The time, in seconds, when somebody last looked; `SLOT` ago at most while there are connections."""
        self.wshub_full: set[HubProtocol] = set()
        """Those whose transport is full."""
        self._empty: list[Deferred[None]] = []
        self._keepalive: Keepalive[HubProtocol] = Keepalive(settings.ping_interval, settings.ping_timeout)
        self._watch: Any = None
        self._throttle = LineThrottle()
        self._log = Logger(namespace="wshub")

    def make(
        self, request: UpgradeRequest, link: ServiceLink, source: Source, accepted: Accepted | None = None
    ) -> HubProtocol:
        """The protocol that answers `request` with a 101 as soon as it gets its transport."""
        protocol: HubProtocol = self.protocol()
        protocol.factory = self
        protocol.wshub_request = request
        protocol.wshub_link = link
        protocol.wshub_source = source
        if accepted:
            protocol.wshub_accepted = accepted
            protocol.wshub_id = accepted.socket_id
        return protocol

    def compress(self, frames: list[bytes], window_bits: int) -> list[bytes]:
        """The compressed form of frames, made once a turn for all protocols with such a window."""
        if self._deflater.is_empty:
            self.wshub_poller.at_end_of_turn(self._deflater.forget)
        return [self._deflater.compress(frame, window_bits) for frame in frames]

    def when_empty(self) -> "Deferred[None]":
        """Fires when there is no WebSocket, or no more."""
        empty: Deferred[None] = Deferred()
        self._empty.append(empty)
        self._tell_if_empty()
        return empty

    def opened(self, protocol: HubProtocol) -> None:
        """Called by each protocol when it is open."""
        if self.wshub_settings.ping_interval:
            if self._watch is None:
                self.wshub_now = self.reactor.seconds()
                self._watch = self.reactor.callLater(SLOT, self._look_for_silence)
            protocol.wshub_heard = self.wshub_now
            self._keepalive.add(protocol, self.wshub_now)

    def lost(self, protocol: HubProtocol) -> None:
        """Called by each protocol at its end."""
        self._keepalive.remove(protocol)
        self.wshub_full.discard(protocol)
        self._tell_if_empty()

    def log_client(self, service: str, client: str, what: str, why: str, code: int = 0) -> None:
        """A line of the log about a client of a service.

        Of lines with the same `what` and close code only so many are written: a flood of one fault hides no other.
        """
        left_out = self._throttle.admit(f"{what} {code}", self.reactor.seconds())
        if left_out is not None:
            more = f" ({left_out} more such lines were left out)" if left_out else ""
            self._log.info(
                "{service}: {client} {what}: {why}{more}",
                service=service,
                client=escape(client),
                what=what,
                why=escape(why),
                more=more,
            )

    def log_end(self, protocol: HubProtocol, code: int, reason: str, began: float) -> None:
        """A WebSocket has ended: one line for each, as no client can cause more of them than connections."""
        source = protocol.wshub_source
        assert source is not None
        client, seconds, reason = escape(source.host), self.reactor.seconds() - began, escape(reason)
        client = client or "a Unix socket's client"
        if recent := protocol.wshub_link.counts.recent:
            recent.add_closing(time.time(), client, source.port, seconds, code, reason)
        if self.wshub_settings.access_log:
            self._log.info(
                ENDED + ": {reason}" if reason else ENDED,
                service=protocol.wshub_link.name,
                client=client,
                port=source.port,
                seconds=seconds,
                code=code,
                reason=reason,
            )

    def _look_for_silence(self) -> None:
        self._watch = None
        self.wshub_now = now = self.reactor.seconds()
        for each in self.wshub_full:
            each.wshub_look_for_progress(now)
        to_ping, silent = self._keepalive.look(now)
        for each in to_ping:
            each.sendPing()
        for each in silent:
            each.wshub_log("is gone", f"no answer to a ping within {self.wshub_settings.ping_timeout:g} s")
            each.wshub_drop()
        if self.countConnections:
            self._watch = self.reactor.callLater(SLOT, self._look_for_silence)

    def _tell_if_empty(self) -> None:
        if not self.countConnections:
            if self._watch:
                self._watch.cancel()
                self._watch = None
            waiting, self._empty = self._empty, []
            for empty in waiting:
                empty.callback(None)

    def _protocol_class(self) -> type[HubProtocol]:
        """`HubProtocol` with everything that Autobahn sets on a new protocol, this factory's options included."""
        model = WebSocketServerProtocol()
        model.factory = self
        model._connectionMade()
        self.countConnections = 0
        ours = {"factory"}.union(*(vars(each) for each in HubProtocol.__mro__ if each.__module__.startswith("wshub.")))
        attributes = {name: value for name, value in vars(model).items() if name not in ours}
        limits = (self.wshub_settings.max_message_size, self.wshub_settings.max_frame_size)
        attributes["wshub_max_plain"] = min(filter(None, limits))
        attributes["perMessageCompressionAccept"] = staticmethod(accept_deflate)  # a function is no option on a class
        if self.wshub_settings.max_message_rate:
            attributes["_wshub_take"] = HubProtocol.wshub_take_limited
        return type("HubProtocol", (HubProtocol,), {**attributes, "is_open": Unobserved(), "is_closed": Unobserved()})


class Unobserved:
    """In the place of Autobahn's two futures, which cost a Deferred each and which nobody waits for."""

    def callback(self, result: object) -> None:
        """It has happened."""


def accept_deflate(offers: list[Any]) -> PerMessageDeflateOfferAccept | None:
    """Agree to the first permessage-deflate that a client offers (RFC 7692); see `wshub.sockets.deflate`."""
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer, no_context_takeover=True)
    return None
