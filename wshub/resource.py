"""The URL space as one tree of twisted.web resources: each node is a page, a service, or both.

An upgrade request asks a node for its service, a plain GET for its page. The page of a node is, in this order: the
static file under ``--html``; the ``.html`` file beside the service's module; at ``/`` the built-in welcome page, unless
there is ``--html``. A node with a service and no page answers 426, one with neither 404.

``/_wshub/`` holds what the welcome page needs. No service can be there, because no name begins with ``_``.
"""

import json
from mimetypes import MimeTypes
from pathlib import Path

from twisted.web.http import HTTPChannel
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from twisted.web.static import File

import wshub
from wshub.accounting import Accounting
from wshub.door.handshake import PHRASES
from wshub.errors import HttpError, ServiceNotFound
from wshub.processes.link import ServiceLink
from wshub.processes.supervisor import ServiceSupervisor
from wshub.routing import MAX_DEPTH, Route, format_route, parse_route, split_path

PAGES = Path(__file__).parent / "pages"
ASSETS: dict[tuple[bytes, ...], str] = {
    (b"_wshub", name.encode()): name for name in ("base.css", "welcome.css", "welcome.js")
}
WELCOME_POLICY = "default-src 'self'; connect-src 'self' ws: wss:; frame-src 'self'; frame-ancestors 'self'"


class UrlNode(Resource):
    """One place in the URL space, named by its path segments, percent-decoded."""

    def __init__(self, supervisor: ServiceSupervisor, html: Path | None, segments: tuple[bytes, ...] = ()) -> None:
        super().__init__()
        self._supervisor = supervisor
        self._html = html.resolve() if html else None
        self._segments = segments

    def getChild(self, path: bytes, request: IRequest | None) -> Resource:
        """The node one segment down; where it ends is not known until it is asked for something."""
        if len(self._segments) > MAX_DEPTH:
            return self  # nothing can be so deep
        return UrlNode(self._supervisor, self._html, (*self._segments, path))

    @property
    def accounting(self) -> Accounting:
        """The counts of the hub whose URLs these are."""
        return self._supervisor.accounting

    # What an upgrade request wants.

    @property
    def route(self) -> Route:
        """The route of the service here; `ServiceNotFound` if no service can have this name."""
        return parse_route(self._segments)

    def link(self) -> ServiceLink:
        """The service here, started if it does not run. Raise `ServiceUnavailable`."""
        return self._supervisor.link(self.route)

    # What a GET wants.

    def render_GET(self, request: Request) -> bytes | int:
        """The page here, or what there is instead."""
        request.setHeader(b"Server", f"wshub/{wshub.__version__}".encode())
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        try:
            if self._segments == (b"_wshub", b"services.json"):
                return self._render_services(request)
            if self._segments == (b"favicon.ico",) and not self._html:
                request.setResponseCode(204)
                return b""
            page = self._page()
            if page.is_relative_to(PAGES):
                request.setHeader(b"Content-Security-Policy", WELCOME_POLICY.encode())
            response: bytes | int = Page(str(page)).render_GET(request)
            return response
        except HttpError as error:
            return self._render_error(request, error)

    def _page(self) -> Path:
        if self._html and (file := find_static(self._html, self._segments)):
            return file
        if asset := ASSETS.get(self._segments):
            return PAGES / asset
        try:
            return self._supervisor.tree.folder.page(self.route)
        except ServiceNotFound:
            if self._segments == (b"",) and not self._html:
                return PAGES / "welcome.html"
        if not self._supervisor.tree.exists(self.route):
            raise ServiceNotFound("There is nothing here.")
        raise HttpError(
            f"This is a WebSocket service: connect to {format_route(self.route)} of this host with ws:// or wss://.",
            426,
            (("Upgrade", "websocket"), ("Connection", "Upgrade")),
        )

    def _render_services(self, request: Request) -> bytes:
        tree = self._supervisor.tree
        services = []
        for route in tree.routes():
            state, clients = self._supervisor.state(route)
            try:
                has_page = bool(tree.folder.page(route))
            except ServiceNotFound:
                has_page = False
            services.append({"path": format_route(route), "state": state, "clients": clients, "page": has_page})
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Cache-Control", b"no-store")
        return json.dumps({"version": wshub.__version__, "services": services}).encode()

    def _render_error(self, request: Request, error: HttpError) -> bytes:
        request.setResponseCode(error.status, PHRASES.get(error.status, "").encode())
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        for name, value in error.headers:
            request.responseHeaders.addRawHeader(name.encode(), value.encode())
        return f"{error}\n".encode()


class Page(File):
    """A file as a response. Python's table of types is used alone: the machine's own would differ from host to host."""

    contentTypes = dict(MimeTypes().types_map[True])  # noqa: RUF012 - as in the base class

    def __init__(self, path: str) -> None:
        super().__init__(path, defaultType="application/octet-stream")
        self.type, self.encoding = self.contentTypes.get(self.splitext()[1].lower(), self.defaultType), None
        if self.type.startswith("text/"):
            self.type += "; charset=utf-8"


class OneRequestChannel(HTTPChannel):
    """HTTP for one request: a later one, which might be an upgrade, comes on a connection of its own."""

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Whether another request may follow on this connection."""
        request.responseHeaders.setRawHeaders(b"connection", [b"close"])
        return False


def make_site(root: UrlNode, timeout: float) -> Site:
    """The twisted.web side of the port. `timeout` is in seconds, of a connection on which nothing happens."""
    site = Site(root, timeout=timeout)
    site.protocol = OneRequestChannel  # type: ignore[method-assign,assignment]
    site.displayTracebacks = False
    return site


def find_node(root: Resource, path: bytes) -> UrlNode:
    """The node of a URL's path, still percent-encoded: what twisted.web does with the path of a plain request."""
    node = root
    for segment in split_path(path):
        node = node.getChildWithDefault(segment, None)
    assert isinstance(node, UrlNode)
    return node


def find_static(folder: Path, segments: tuple[bytes, ...]) -> Path | None:
    """The file below `folder` that a URL means: itself, the ``.html`` that it leaves out, or a folder's ``index.html``.

    None if there is none, if a name begins with a dot, or if it lies outside.
    """
    try:
        names = [segment.decode() for segment in segments]
    except UnicodeDecodeError:
        return None
    if any(name.startswith(".") or "/" in name or "\0" in name for name in names) or "" in names[:-1]:
        return None
    path = folder.joinpath(*names[:-1], names[-1] or "index.html")
    for candidate in (path, path.with_name(path.name + ".html")):
        try:
            real = candidate.resolve()
            if real.is_file() and real.is_relative_to(folder):
                return real
        except (OSError, RuntimeError):
            continue
    return None
