"""The admin interface: what a hub does, for those who run it, at an endpoint of its own.

===========  =========  ==============================================================
``/healthz``            200: the process answers
``/readyz``             200, or 503 and why clients cannot be served, or not all
``/metrics``  token     the text format of Prometheus
``/services`` token     JSON: every service, its process, its counts
``/reload``   token     POST: see `wshub.monitoring.reload_page`
===========  =========  ==============================================================

The token is for `Authorization: Bearer` (RFC 6750), where one is needed at all: see `wshub.monitoring.admin_endpoint`.
"""

import hmac
import json
import secrets
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

import wshub
from wshub.accounting import Accounting
from wshub.config import Settings
from wshub.door.ports import describe_address, open_port
from wshub.monitoring.admin_endpoint import parse_admin
from wshub.monitoring.inspection import Inspector
from wshub.monitoring.metrics import CONTENT_TYPE, ServiceView, render
from wshub.monitoring.reload_page import render_reload
from wshub.processes.process import escape
from wshub.resource import OneRequestChannel
from wshub.throttle import LineThrottle

MOST = 32  # connections at once; programs that ask have one each
TEXT = "text/plain; charset=utf-8"
PAGES = "/healthz\n/readyz\n/metrics\n/services\n/reload (POST)\n"

Answer = tuple[int, str, str]
"""Status, content type, body."""


class AdminInterface:
    """The interface that the settings ask for, or none."""

    def __init__(self, reactor: Any, settings: Settings, inspector: Inspector) -> None:
        self._reactor = reactor
        self._inspector = inspector
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
            refusals = Refusals(self._reactor, self._inspector.accounting)
            site = AdminSite(AdminPages(self._inspector, self.token, refusals), self._timeout, refusals)
            self._port = open_port(self._reactor, self._endpoint.description, site, "admin")

    def announce(self) -> None:
        """Say in the log where it is, and the token if nobody can know it."""
        if self._port:
            address = describe_address(self._port.getHost())
            token = f", with Authorization: Bearer {self.token}" if self._is_token_new else ""
            self._log.info("admin interface: {address}{token}", address=address, token=token)

    @property
    def console(self) -> str:
        """The URL of the interface in a browser, token included, which a browser does not send; empty without one."""
        host = self._port.getHost() if self._port else None
        return f"{describe_address(host)}#token={self.token}" if hasattr(host, "port") else ""

    def close(self) -> "Deferred[None]":
        """Listen no more."""
        port, self._port = self._port, None
        stopped: Deferred[None] | None = port.stopListening() if port else None
        return stopped or succeed(None)


class Refusals:
    """Counts who was turned away, and writes it in the log, unless there are too many such lines."""

    def __init__(self, reactor: Any, accounting: Accounting) -> None:
        self._reactor = reactor
        self._accounting = accounting
        self._throttle = LineThrottle()
        self._log = Logger(namespace="wshub")

    def note(self, address: Any, why: str) -> None:
        """Somebody at `address` was turned away."""
        self._accounting.hub.refused[f"admin: {why}"] += 1
        left_out = self._throttle.admit(why, self._reactor.seconds())
        if left_out is not None:
            client = getattr(address, "host", None) or "a Unix socket's client"
            more = f" ({left_out} more of the kind were not logged)" if left_out else ""
            self._log.warn("admin interface: refused {client}: {why}{more}", client=escape(client), why=why, more=more)


class AdminPages(Resource):
    """All pages of the interface."""

    isLeaf = True

    def __init__(self, inspector: Inspector, token: str, refusals: Refusals) -> None:
        super().__init__()
        self._refusals = refusals
        self._inspector = inspector
        self._token = token.encode()

    def render_GET(self, request: Request) -> bytes:
        """The page that is asked for, or what is wrong."""
        return self._respond(request, self._answer(request))

    def render_POST(self, request: Request) -> bytes | int:
        """Do what is asked for, or say what is wrong."""
        if not self._is_allowed(request):
            return self._respond(request, self._refuse(request))
        if request.path != b"/reload":
            return self._respond(request, (405, TEXT, "There is POST for /reload alone.\n"))
        self._respond(request, (200, "application/json", ""))
        return render_reload(self._inspector.supervisor, request)

    def _respond(self, request: Request, answer: Answer) -> bytes:
        status, content_type, body = answer
        request.setResponseCode(status)
        request.setHeader(b"Content-Type", content_type.encode())
        request.setHeader(b"Server", f"wshub/{wshub.__version__}".encode())
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        if status == 401:
            request.setHeader(b"WWW-Authenticate", b'Bearer realm="wshub"')
        return body.encode()

    def _answer(self, request: Request) -> Answer:
        # What says no more than whether all is well is for everybody: probes of containers and balancers have no token.
        if request.path == b"/healthz":
            return 200, TEXT, "The hub answers.\n"
        if request.path == b"/readyz":
            why_not = self._inspector.not_ready()
            return (503, TEXT, f"Not ready: {', '.join(why_not)}.\n") if why_not else (200, TEXT, "The hub is ready.\n")
        if not self._is_allowed(request):
            return self._refuse(request)
        answers: dict[bytes, Callable[[], Answer]] = {
            b"/metrics": lambda: (200, CONTENT_TYPE, render(self._inspector.look())),
            b"/services": lambda: (200, "application/json", self._describe_services()),
            b"/": lambda: (200, TEXT, PAGES),
        }
        answer = answers.get(request.path)
        return answer() if answer else (404, TEXT, f"There is nothing here, but there is\n{PAGES}")

    def _refuse(self, request: Request) -> Answer:
        self._refusals.note(request.getClientAddress(), "no token" if self._is_silent(request) else "wrong token")
        return 401, TEXT, "Send the token: Authorization: Bearer TOKEN. It is admin_token, or in the hub's log.\n"

    def _is_allowed(self, request: Request) -> bool:
        scheme, _, token = (request.getHeader(b"authorization") or b"").partition(b" ")
        return not self._token or (scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token))

    def _is_silent(self, request: Request) -> bool:
        return not request.getHeader(b"authorization")

    def _describe_services(self) -> str:
        services = [describe_service(view) for view in self._inspector.look_at_services()]
        return json.dumps({"version": wshub.__version__, "services": services}) + "\n"


def describe_service(view: ServiceView) -> dict[str, Any]:
    """A service as ``/services`` has it."""
    counts, usage = view.counts, view.usage
    return {
        "path": view.route,
        "state": view.state,
        "pid": view.pid,
        "clients": view.clients,
        "opened": counts.opened,
        "closed": {str(code): number for code, number in sorted(counts.closed.items())},
        "refused": dict(counts.refused),
        "received": counts.messages_in,
        "sent": counts.messages_out,
        "dropped": dict(counts.dropped),
        "starts": counts.starts,
        "restarts": max(0, counts.starts - 1),
        "deaths": dict(counts.deaths),
        "reloads": counts.reloads,
        "failed_reloads": counts.failed_reloads,
        "handed_over": counts.handed_over,
        "draining": view.draining,
        "last_error": counts.last_error,
        "memory": usage.memory if usage else None,
        "cpu": usage.cpu if usage else None,
        "waiting_for_service": view.waiting_for_service,
        "waiting_for_clients": view.waiting_for_clients,
    }


class AdminChannel(OneRequestChannel):
    """One connection, which its site counts."""

    factory: "AdminSite"

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.connection_count += 1

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.connection_count -= 1
        super().connectionLost(reason)


class AdminSite(Site):
    """A site of `pages`, whose requests are not logged. `timeout` is in seconds, of an idle connection.

    It has few connections at once: descriptors are for clients and services.
    """

    noisy = False
    displayTracebacks = False

    def __init__(self, pages: Resource, timeout: float, refusals: Refusals) -> None:
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
