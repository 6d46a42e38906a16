"""The hub as a Twisted service: listens, and stops in order."""

import os
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.logger import Logger

from wshub.config import Settings
from wshub.door import descriptors
from wshub.door.certificate import Certificate, make_certificate
from wshub.door.first_request import PortFactory
from wshub.door.ports import describe_address, open_port
from wshub.monitoring.admin import AdminInterface
from wshub.monitoring.authority import PublicPort
from wshub.monitoring.inspection import Inspector
from wshub.monitoring.notify import Notifier
from wshub.poller import Poller
from wshub.processes.orphans import reap_orphans
from wshub.processes.outcome import Outcome
from wshub.processes.socket import GOING_AWAY, Socket
from wshub.processes.supervisor import ServiceSupervisor
from wshub.resource import UrlNode, make_site
from wshub.sockets.factory import HubFactory

BATCH = 256  # connections that are closed in one turn


class Hub(Service):
    """Serves a folder of services.

    Stopping: no new connections; every client is closed with 1001 and its service told so; every service finishes.
    """

    def __init__(self, reactor: Any, settings: Settings) -> None:
        self.name = "wshub"
        self._poller = Poller(reactor)
        self.supervisor = ServiceSupervisor(reactor, settings, self._poller)
        self._reactor = reactor
        self._settings = settings
        root = UrlNode(self.supervisor, settings.html)
        self._websockets = HubFactory(reactor, settings, self._poller)
        site = make_site(root, settings.handshake_timeout)
        self._factory = PortFactory(reactor, settings, root, site, self._websockets)
        self.waits_for_answers = True
        """Whether clients get the answers to what they have asked before they are closed."""
        self.ports: list[Any] = []
        self._certificate: Certificate | None = None
        self._inspector = Inspector(reactor, self.supervisor, lambda: self._factory.admission.connection_count)
        self.admin = AdminInterface(reactor, settings, self._inspector, self._factory.admission)
        self._notifier = Notifier(reactor)
        self._log = Logger(namespace="wshub")

    def listen(self) -> None:
        """Listen at every endpoint; raise `ConfigError` if one of them cannot be had.

        To be called while there is a terminal to complain on and root to bind a port below 1024: before twistd becomes
        a daemon and gives root up. Connections are accepted once the reactor runs.
        """
        settings = self._settings
        secure: Any = None
        if settings.tls_cert and settings.tls_key:
            self._certificate = make_certificate(settings.tls_cert, settings.tls_key)
            self._inspector.certificate_expiry = self._certificate.expiry
            secure = self._certificate.wrap(self._factory, self._reactor)
        for name, description in zip(settings.port, settings.endpoints, strict=True):
            factory = secure if secure and name.isdecimal() else self._factory
            port = open_port(self._reactor, description, factory, "port")
            self.ports.append(port)
            address = port.getHost()
            if hasattr(address, "port"):
                self.admin.public_ports.append(PublicPort(address.host, address.port, settings.has_tls(name)))
        self.admin.listen()
        for origin in self.admin.origins:
            self._factory.admission.allow_origin(origin)

    def startService(self) -> None:
        """Tell where services can be reached."""
        super().startService()
        if os.geteuid() == 0 and not self._settings.service_user:
            self._log.warn("services run as root: give --service-user NAME, or run twistd with --uid")
        self._reactor.callLater(0, self._start)  # once the reactor runs
        self._log.info("services are in {folder}", folder=self._settings.document_root)
        for name, port in zip(self._settings.port, self.ports, strict=True):
            address = describe_address(port.getHost(), "https" if self._settings.has_tls(name) else "http")
            self._log.info("listening: {address}", address=address)
        self.admin.announce()
        room, wanted = descriptors.line_for_connections(), self._settings.max_connections
        if room < wanted:
            self._log.info(
                "room for {room} connections at most: ulimit -n is {limit}, and max_connections {wanted}",
                room=room,
                limit=descriptors.limit(),
                wanted=wanted,
            )

    def _start(self) -> None:
        reap_orphans(self._reactor)
        self.supervisor.warden.start(self._reactor)
        self.supervisor.start()
        self._inspector.begin()
        self._notifier.ready()

    def reload(self) -> None:
        """Put new processes in the place of those whose files have changed, and read the certificate again.

        That is what a SIGHUP asks for. The log says what comes of it; connections that there are go on.
        """
        self._log.info("reloading what has changed")
        if self._certificate:
            self._certificate.reload()
            self._inspector.certificate_expiry = self._certificate.expiry
        self.supervisor.reload_changed().addCallback(self._say_what_was_reloaded)

    def _say_what_was_reloaded(self, outcomes: list[Outcome]) -> None:
        if not outcomes:
            self._log.info("no service that runs has changed")

    @inlineCallbacks
    def stopService(self) -> Any:
        """Stop in order; the result fires when everything has stopped."""
        super().stopService()
        self._log.info("stopping")
        self._inspector.end()
        self._notifier.stopping()
        yield DeferredList([port.stopListening() for port in self.ports])
        yield self._close_clients()
        yield self.supervisor.stop()
        self.supervisor.warden.dismiss()
        yield self.admin.close()
        self._notifier.end()
        self._poller.close()
        self._log.info("stopped")

    @inlineCallbacks
    def _close_clients(self) -> Any:
        """Whoever has asked something gets the answer first, if it comes within half of the time."""
        self._factory.close()
        began, patience = self._reactor.seconds(), self._settings.stop_timeout
        if self.waits_for_answers:
            yield self._in_batches(lambda socket: socket.wshub_finish(*GOING_AWAY))
            yield self._wait_for_clients(began + patience / 2)
        yield self._in_batches(lambda socket: socket.wshub_close(*GOING_AWAY))
        yield self._wait_for_clients(began + patience)
        yield self._in_batches(lambda socket: socket.wshub_drop())
        yield self._websockets.when_empty()

    def _wait_for_clients(self, deadline: float) -> "Deferred[Any]":
        """Fires when the last one has gone, or at the deadline."""
        left = max(0.0, deadline - self._reactor.seconds())
        return self._websockets.when_empty().addTimeout(left, self._reactor, onTimeoutCancel=lambda *_: None)

    @inlineCallbacks
    def _in_batches(self, end: Callable[[Socket], None]) -> Any:
        """End every connection, so many in a turn: the answers of those before are read meanwhile."""
        sockets = self._sockets()
        for start in range(0, len(sockets), BATCH):
            if start:
                yield deferLater(self._reactor, 0)
            for socket in sockets[start : start + BATCH]:
                end(socket)

    def _sockets(self) -> list[Socket]:
        return [socket for link in self.supervisor.links for socket in link.sockets.values()]
