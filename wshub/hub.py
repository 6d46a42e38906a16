"""The hub as a Twisted service: listens, and stops in order."""

import os
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import DeferredList, inlineCallbacks
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from wshub import descriptors
from wshub.config import Settings
from wshub.errors import ConfigError
from wshub.first_request import PortFactory
from wshub.link import GOING_AWAY, Socket
from wshub.orphans import reap_orphans
from wshub.poller import Poller
from wshub.ports import PatientPort
from wshub.resource import UrlNode, make_site
from wshub.supervisor import ServiceSupervisor
from wshub.websocket import HubFactory

BACKLOG = 1024  # connections that wait to be accepted; Twisted's 50 keeps a crowd waiting for TCP's retries of a second
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
        self.ports: list[Any] = []
        self._log = Logger(namespace="wshub")

    def listen(self) -> None:
        """Listen at every endpoint; raise `ConfigError` if one of them cannot be had.

        To be called while there is a terminal to complain on and root to bind a port below 1024: before twistd becomes
        a daemon and gives root up. Connections are accepted once the reactor runs.
        """
        for description in self._settings.endpoints:
            endpoint = serverFromString(self._reactor, description)
            failures: list[Failure] = []
            endpoint.listen(self._factory).addCallbacks(self.ports.append, failures.append)
            for failure in failures:  # it fires at once for every endpoint that needs no connection of its own
                error = getattr(failure.value, "socketError", failure.value)
                reason = getattr(error, "strerror", None) or str(error)
                raise ConfigError(f"cannot listen at {description}: {reason}; choose another with --port")
        for port in self.ports:
            if hasattr(port, "socket"):
                port.socket.listen(BACKLOG)
            if hasattr(port, "doRead"):
                PatientPort(self._reactor, port)

    def startService(self) -> None:
        """Tell where services can be reached."""
        super().startService()
        if os.geteuid() == 0 and not self._settings.service_user:
            self._log.warn("services run as root: give --service-user NAME, or run twistd with --uid")
        self._reactor.callLater(0, self._start)  # once the reactor runs
        self._log.info("services are in {folder}", folder=self._settings.document_root)
        for description, port in zip(self._settings.endpoints, self.ports, strict=True):
            address = describe_address(port.getHost(), "https" if description.startswith("ssl:") else "http")
            self._log.info("listening: {address}", address=address)
        room, wanted = descriptors.line_for_connections(), self._settings.max_connections
        if room < wanted:
            self._log.info(
                "room for less than {room} connections: ulimit -n is {limit}, and max_connections {wanted}",
                room=room,
                limit=descriptors.limit(),
                wanted=wanted,
            )

    def _start(self) -> None:
        reap_orphans(self._reactor)
        self.supervisor.warden.start(self._reactor)
        self.supervisor.start()

    @inlineCallbacks
    def stopService(self) -> Any:
        """Stop in order; the result fires when everything has stopped."""
        super().stopService()
        self._log.info("stopping")
        yield DeferredList([port.stopListening() for port in self.ports])
        yield self._close_clients()
        yield self.supervisor.stop()
        self.supervisor.warden.dismiss()
        self._poller.close()
        self._log.info("stopped")

    @inlineCallbacks
    def _close_clients(self) -> Any:
        self._factory.close()
        deadline = self._reactor.seconds() + self._settings.stop_timeout
        yield self._in_batches(lambda socket: socket.wshub_close(*GOING_AWAY))
        in_time = self._websockets.when_empty()
        left = max(0.0, deadline - self._reactor.seconds())
        yield in_time.addTimeout(left, self._reactor, onTimeoutCancel=lambda *_: None)
        yield self._in_batches(lambda socket: socket.wshub_drop())
        yield self._websockets.when_empty()

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


def describe_address(address: Any, scheme: str = "http") -> str:
    """An address as one types it into a browser, as far as that goes."""
    host = getattr(address, "host", None)
    if host is None:
        name = getattr(address, "name", None)
        return f"unix:{os.fsdecode(name)}" if name else str(address)
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{address.port}/"
