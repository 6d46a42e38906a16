"""The pages of the admin interface, and who gets them.

=============  =========  ============================================================
``/healthz``              200: the process answers
``/readyz``               200, or 503 and why clients cannot be served, or not all
``/metrics``   token      the text format of Prometheus
``/services``  token      JSON: the hub, and every service, its process, its counts
``/recent``    token      JSON: what happened to one service of late
``/reload``    token      POST: see `wshub.monitoring.reload_page`
``/``                     for a browser the console, a page that shows all that
``/console/``             what the console consists of
=============  =========  ============================================================

The token is for `Authorization: Bearer` (RFC 6750), where one is needed at all: see `wshub.monitoring.admin_endpoint`.
"""

import hmac
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request

import wshub
from wshub.accounting import Accounting
from wshub.door.admission import Admission
from wshub.monitoring.admin_endpoint import is_loopback
from wshub.monitoring.authority import PublicPort, is_this_machine, public_urls
from wshub.monitoring.console import FOLDER, HEADERS, list_assets, make_policy
from wshub.monitoring.description import describe_hub, describe_recent, describe_service
from wshub.monitoring.inspection import Inspector
from wshub.monitoring.metrics import CONTENT_TYPE, render
from wshub.monitoring.reload_page import render_reload
from wshub.recent import Recent
from wshub.terminal import escape
from wshub.throttle import LineThrottle

TEXT = "text/plain; charset=utf-8"
PAGES = "/healthz\n/readyz\n/metrics\n/services\n/recent?service=PATH&after=NUMBER\n/reload (POST)\n"

ANOTHER_NAME = "another machine's name"

Answer = tuple[int, str, str]
"""Status, content type, body."""


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

    def __init__(
        self,
        inspector: Inspector,
        token: str,
        refusals: Refusals,
        public_ports: list[PublicPort],
        admission: Admission,
    ) -> None:
        super().__init__()
        self._refusals = refusals
        self._inspector = inspector
        self._token = token.encode()
        self._public_ports = public_ports
        self._admission = admission

    def render_GET(self, request: Request) -> bytes:
        """The page that is asked for, or what is wrong."""
        return self._respond(request, self._answer(request))

    def render_POST(self, request: Request) -> bytes | int:
        """Do what is asked for, or say what is wrong."""
        if not self._is_for_us(request):
            return self._respond(request, self._refuse(request, ANOTHER_NAME))
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
        request.setHeader(b"Content-Security-Policy", make_policy(self._public_urls(request)).encode())
        for name, value in HEADERS.items():
            request.setHeader(name.encode(), value.encode())
        if status == 401:
            request.setHeader(b"WWW-Authenticate", b'Bearer realm="wshub"')
        return body.encode()

    def _answer(self, request: Request) -> Answer:
        if not self._is_for_us(request):
            return self._refuse(request, ANOTHER_NAME)
        # What says no more than whether all is well is for everybody: probes of containers and balancers have no token.
        if request.path == b"/healthz":
            return 200, TEXT, "The hub answers.\n"
        if request.path == b"/readyz":
            why_not = self._inspector.not_ready()
            return (503, TEXT, f"Not ready: {', '.join(why_not)}.\n") if why_not else (200, TEXT, "The hub is ready.\n")
        # Nor has a browser that is sent to the console: the page asks for it.
        path = FOLDER if request.path == b"/" and wants_html(request) else request.path.decode("latin-1")
        if path == f"{FOLDER}needs-token":
            return 200, TEXT, "yes\n" if self._token else "no\n"
        if asset := list_assets().get(path):
            return 200, *asset
        if not self._is_allowed(request):
            return self._refuse(request)
        answers: dict[str, Callable[[], Answer]] = {
            "/metrics": lambda: (200, CONTENT_TYPE, render(self._inspector.look())),
            "/services": partial(self._describe_services, request),
            "/recent": partial(self._describe_recent, request),
            "/": lambda: (200, TEXT, PAGES),
        }
        answer = answers.get(path)
        return answer() if answer else (404, TEXT, f"There is nothing here, but there is\n{PAGES}")

    def _refuse(self, request: Request, why: str = "") -> Answer:
        self._refusals.note(request.getClientAddress(), why or self._describe_refusal(request))
        if why == ANOTHER_NAME:
            return 421, TEXT, "This is for this machine alone: use localhost or 127.0.0.1 as the name in the URL.\n"
        return 401, TEXT, "Send the token: Authorization: Bearer TOKEN. It is admin_token, or in the hub's log.\n"

    def _describe_refusal(self, request: Request) -> str:
        return "wrong token" if request.getHeader(b"authorization") else "no token"

    def _is_for_us(self, request: Request) -> bool:
        """Whether the Host header is one that can be meant; see `wshub.monitoring.authority`."""
        header = get_host(request)
        listens_at = getattr(request.getHost(), "host", None)
        return listens_at is None or not header or not is_loopback(listens_at) or is_this_machine(header)

    def _is_allowed(self, request: Request) -> bool:
        scheme, _, token = (request.getHeader(b"authorization") or b"").partition(b" ")
        return not self._token or (scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token))

    def _public_urls(self, request: Request) -> list[str]:
        return public_urls(self._public_ports, get_host(request))

    def _describe_services(self, request: Request) -> Answer:
        hub = self._inspector.look(everything=True)
        origin = f"{'https' if request.isSecure() else 'http'}://{get_host(request)}"
        return format_json(
            {
                **describe_hub(hub),
                "time": time.time(),
                "public": self._public_urls(request),
                "may_connect": self._admission.allows_origin(origin),
                "services": [describe_service(view) for view in hub.services],
            }
        )

    def _describe_recent(self, request: Request) -> Answer:
        name, after = get_argument(request, b"service"), get_argument(request, b"after") or "0"
        if not name or not (after.isascii() and after.isdecimal()) or len(after) > 18:
            return 400, TEXT, "Ask for /recent?service=/path/of/the/service, and perhaps &after=NUMBER.\n"
        view = self._inspector.look_at_service(name)
        if view is None:
            return 404, TEXT, "There is no service of this path.\n"
        recent = describe_recent(view.counts.recent or Recent(), int(after))
        return format_json({"service": describe_service(view), "time": time.time(), **recent})


def wants_html(request: Request) -> bool:
    """Whether it is a browser that asks: curl and Prometheus do not name this type."""
    return b"text/html" in (request.getHeader(b"accept") or b"").lower()


def get_host(request: Request) -> str:
    """The Host header; empty if there is none."""
    header: bytes | None = request.getHeader(b"host")
    return str(header or b"", "latin-1")


def get_argument(request: Request, name: bytes) -> str:
    """The last value of a query's field; empty if there is none, or if it is not UTF-8."""
    values: list[bytes] = (request.args or {}).get(name) or [b""]
    try:
        return values[-1].decode()
    except UnicodeDecodeError:
        return ""


def format_json(value: dict[str, Any]) -> Answer:
    """An answer that is one object."""
    return 200, "application/json", json.dumps(value) + "\n"
