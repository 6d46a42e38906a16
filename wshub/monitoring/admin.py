"""The admin interface: what a hub does, for those who run it, at an endpoint of its own.

What it answers is in `wshub.monitoring.admin_pages`.
"""

import secrets
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from wshub.config import Settings
from wshub.door.admission import Admission
from wshub.door.handshake import format_error
from wshub.door.ports import describe_address, open_port
from wshub.errors import HttpError
from wshub.monitoring.admin_endpoint import parse_admin
from wshub.monitoring.authority import PublicPort, console_origins
from wshub.monitoring.inspection import Inspector
from wshub.resource import OneRequestChannel

if TYPE_CHECKING:
    from wshub.monitoring.admin_pages import Refusals

MOST = 32  # connections at once; programs that ask have one each, and a browser six
MAX_BODY = 16 << 10  # bytes of a request's body, which nobody needs: everything is in the URL
PATIENCE = 60.0  # seconds that somebody may take to read an answer


class AdminInterface:
    """The interface that the settings ask for, or none."""

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        inspector: Inspector,
        admission: Admission,
    ) -> None:
        """`admission` says which pages may connect to services."""
        self._reactor = reactor
        self._inspector = inspector
        self._admission = admission
        self.public_ports: list[PublicPort] = []
        """Where the services are, once that is known."""
        self._endpoint = parse_admin(settings.admin, settings.admin_token)
        self._timeout = settings.handshake_timeout
        self._port: Any = None
        self._log = Logger(namespace="wshub")
        self.token = settings.admin_token
        """Empty if none is needed."""
        self._is_token_new = False
        if self._endpoint and self._endpoint.needs_token and not self.token:
            self.token, self._is_token_new = secrets.token_urlsafe(24), True

    def listen(self) -> None:
        """Listen, if that is wanted. Raise `ConfigError` if the endpoint cannot be had."""
        if self._endpoint:
            # Not before: it takes the hub megabytes, with the console and what writes the metrics.
            from wshub.monitoring.admin_pages import AdminPages, Refusals  # noqa: PLC0415

            refusals = Refusals(self._reactor, self._inspector.accounting)
            pages = AdminPages(self._inspector, self.token, refusals, self.public_ports, self._admission)
            site = AdminSite(pages, self._timeout, refusals)
            self._port = open_port(self._reactor, self._endpoint.description, site, "admin")

    def announce(self) -> None:
        """Say in the log where it is, and the token if nobody can know it."""
        if self._port:
            address = self._describe_address()
            token = f", with Authorization: Bearer {self.token}" if self._is_token_new else ""
            self._log.info("admin interface: {address}{token}", address=address, token=token)
            if url := self.console_url:
                self._log.info("console: {url}", url=url if self._is_token_new else address)

    @property
    def console_url(self) -> str | None:
        """What to open in a browser, with the token if there is one; None unless it listens at a TCP port.

        A browser sends nobody what is behind the number sign, and the page takes it out of the address.
        """
        if not (self._port and hasattr(self._port.getHost(), "port")):
            return None
        return self._describe_address() + (f"#token={self.token}" if self.token else "")

    @property
    def origins(self) -> tuple[str, ...]:
        """Those of the console, once it listens: none unless it is at a port for this machine alone."""
        host: Any = self._port.getHost() if self._port else None
        return console_origins(host.host, host.port, self._is_secure) if hasattr(host, "port") else ()

    def _describe_address(self) -> str:
        return describe_address(self._port.getHost(), "https" if self._is_secure else "http")

    @property
    def _is_secure(self) -> bool:
        return self._endpoint is not None and self._endpoint.description.startswith("ssl:")

    def close(self) -> "Deferred[None]":
        """Listen no more."""
        port, self._port = self._port, None
        stopped: Deferred[None] | None = port.stopListening() if port else None
        return stopped or succeed(None)


class AdminChannel(OneRequestChannel):
    """One connection, which its site counts."""

    factory: "AdminSite"

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.connection_count += 1

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.connection_count -= 1
        super().connectionLost(reason)

    def resetTimeout(self) -> None:
        """Called with whatever comes: it makes no difference. The time is for the whole request.

        Else a few who send a byte at a time would keep everybody out.
        """

    def requestDone(self, request: Any) -> None:
        """Called when an answer has been written: whoever does not read it is not waited for without end either."""
        super().requestDone(request)
        self.setTimeout(PATIENCE)


class AdminRequest(Request):
    """One request. Twisted would take a body of any size, in a file and in memory, before anybody asks for a token."""

    _is_too_large = False

    def gotLength(self, length: int | None) -> None:
        """Called when the head has come; None stands for a body in chunks, of which nobody knows the size."""
        super().gotLength(0)
        if length is None or length > MAX_BODY:
            self._is_too_large = True
            channel: Any = self.channel
            channel.transport.write(format_error(HttpError("No request here has such a body.", 413)))
            channel.loseConnection()

    def handleContentChunk(self, data: bytes) -> None:
        """Called with what comes of the body."""
        if not self._is_too_large:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Called when all of it has come."""
        if not self._is_too_large:
            super().requestReceived(command, path, version)


class AdminSite(Site):
    """A site of `pages`, whose requests are not logged. `timeout` is in seconds, for a request to come.

    It has few connections at once: descriptors are for clients and services.
    """

    noisy = False
    displayTracebacks = False
    requestFactory = AdminRequest

    def __init__(self, pages: Resource, timeout: float, refusals: "Refusals") -> None:
        super().__init__(pages, timeout=timeout)
        self.protocol = AdminChannel  # type: ignore[method-assign,assignment]
        self.connection_count = 0
        self._refusals = refusals

    def buildProtocol(self, address: Any) -> Any:
        """Called with each connection; None closes it."""
        if self.connection_count >= MOST:
            self._refusals.note(address, "too many connections")
            return None
        return super().buildProtocol(address)

    def log(self, request: Any) -> None:
        """Called with each request that was answered."""
