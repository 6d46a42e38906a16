"""A connection's first request: its head read once, by one parser, within bounds (RFC 9112; RFC 6455, section 4.2.1).

Nothing here sends or waits. :func:`read_head` says whether a whole head has come, :func:`parse_upgrade` what an upgrade
request asks for, and whatever is wrong is an `HttpError`, which :func:`format_error` makes the answer.

Two parsers that split headers differently are how requests are smuggled: so a byte that some parser takes for a line's
end is refused (bare CR and LF, and what `str.splitlines` splits at), and only one parser reads each connection.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus

from wshub.errors import HandshakeError, HttpError

MAX_HEAD = 16 << 10  # bytes; nginx and Node.js take 8 and 16 KiB, and browsers' cookies stay under 4 KiB each
MAX_REQUEST_LINE = 8 << 10  # bytes; Apache's limit, and RFC 9110 asks for 8,000
MAX_HEADERS = 128  # Apache and h11 stop at 100, h2 at less; a browser sends about 20

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) (HTTP/1\.[01])")
_ABSOLUTE_FORM = re.compile(rb"\A(?:http|ws)s?://[^/?#]*", re.IGNORECASE)  # RFC 9112, section 3.2.2
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f\x85]*)")
WANTED = (("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket"), ("Connection", "Upgrade"))

PHRASES = {status.value: status.phrase for status in HTTPStatus}

_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an HTTP request. Names of headers are in lower case; values of one name are joined by ``, ``."""

    method: str
    target: bytes
    version: str
    headers: dict[str, str]
    repeated: frozenset[str]

    @property
    def wants_upgrade(self) -> bool:
        """Whether the request asks for a WebSocket, be it well-formed or not."""
        return "websocket" in _tokens(self.headers.get("upgrade", "").lower())


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """What a client that wants a WebSocket asks for."""

    path: bytes
    query: str
    headers: dict[str, str]
    key: str
    subprotocols: list[str]
    extensions: str

    def describe(self, peer: object) -> tuple[str, int, str, str, str]:
        """What a service is told: host, port, path, query, and headers as lines ``name: value``."""
        host, port = getattr(peer, "host", ""), getattr(peer, "port", 0)  # a Unix socket has neither
        return host, port, self.path.decode("ascii"), self.query, "\n".join(map(": ".join, self.headers.items()))


def read_head(
    data: bytes | bytearray, searched: int = 0, max_head: int = MAX_HEAD, max_line: int = MAX_REQUEST_LINE
) -> int:
    """The length of the head that `data` begins with, its blank line included; 0 if the end has not come yet.

    `searched` is how much of `data` the last call has seen. Raise `HandshakeError` as soon as the head has more than
    `max_head` bytes, or its request line more than `max_line`.
    """
    end = data.find(b"\r\n\r\n", max(0, searched - 3), max_head)
    if searched <= max_line + 2 <= len(data) and data.find(b"\r\n", 0, max_line + 2) < 0:
        raise HandshakeError(f"The request line has more than {max_line} bytes.", 414)
    if end >= 0:
        return end + 4
    if len(data) >= max_head:
        raise HandshakeError(f"The request's headers have more than {max_head} bytes.", 431)
    return 0


def parse_head(data: bytes, max_headers: int = MAX_HEADERS) -> Head:
    """Parse a whole head, as :func:`read_head` found it."""
    first, *lines = data[:-4].split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if not match:
        raise HandshakeError("The request line is not HTTP/1.1.")
    method, target, version = match.groups()
    if len(lines) > max_headers:
        raise HandshakeError(f"The request has more than {max_headers} headers.", 431)
    headers: dict[str, str] = {}
    repeated = set()
    for line in lines:
        match = _HEADER.fullmatch(line)
        if not match:
            raise HandshakeError("The request has a malformed header line.")
        name = match[1].decode("ascii").lower()
        value = match[2].strip(b" \t").decode("latin-1")
        if name in headers:
            repeated.add(name)
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return Head(method.decode("ascii"), target, version.decode("ascii"), headers, frozenset(repeated))


def parse_upgrade(head: Head) -> UpgradeRequest:
    """What an upgrade request asks for; raise `HandshakeError` at anything that RFC 6455, section 4.2.1, forbids."""
    headers = head.headers
    if head.method != "GET":
        raise HandshakeError("A WebSocket is opened with GET.", 405, (("Allow", "GET"),))
    if head.version != "HTTP/1.1":
        raise HandshakeError("A WebSocket is opened with HTTP/1.1.", 505)
    for name in ("host", "sec-websocket-key", "sec-websocket-version"):
        if name not in headers or name in head.repeated:
            raise HandshakeError(f"The request must have one {name.title()} header.")
    if "upgrade" not in _tokens(headers.get("connection", "").lower()):
        raise HandshakeError('The request must have "Connection: Upgrade".')
    if headers["sec-websocket-version"] != "13":
        raise HandshakeError("The WebSocket version must be 13.", 426, WANTED)
    if not _KEY.fullmatch(headers["sec-websocket-key"]):
        raise HandshakeError("Sec-WebSocket-Key must be 16 bytes in base64.")
    if "content-length" in headers or "transfer-encoding" in headers:
        raise HandshakeError("A request for a WebSocket has no body.")
    path, _, query = _ABSOLUTE_FORM.sub(b"", head.target, count=1).partition(b"?")
    if b"#" in head.target or not path.startswith(b"/"):
        raise HandshakeError("The request's target must be a path.")
    return UpgradeRequest(
        path,
        query.decode("ascii"),
        headers,
        headers["sec-websocket-key"],
        _parse_tokens(headers.get("sec-websocket-protocol", "")),
        headers.get("sec-websocket-extensions", ""),
    )


def choose_subprotocol(supported: tuple[str, ...], offered: list[str]) -> str | None:
    """The first of the service's subprotocols that the client offers; None if they share none (RFC 6455, 4.2.2)."""
    return next((name for name in supported if name in offered), None)


def check_plain(head: Head) -> None:
    """Raise `HandshakeError` unless a request that is no upgrade is one for a page: GET or HEAD, without a body.

    One Host is required but for HTTP/1.0 (RFC 9112, section 3.2), and two are none.
    """
    if head.method not in ("GET", "HEAD"):
        raise HandshakeError("There are only pages and WebSockets here.", 405, (("Allow", "GET, HEAD"),))
    if head.headers.get("content-length", "0") != "0" or "transfer-encoding" in head.headers:
        raise HandshakeError(f"A {head.method} request has no body.")
    if "host" in head.repeated or ("host" not in head.headers and head.version == "HTTP/1.1"):
        raise HandshakeError("The request must have one Host header.")


def format_error(error: HttpError) -> bytes:
    """The whole response that tells a client of `error`, as plain text."""
    body = f"{error}\n".encode()
    lines = [
        f"HTTP/1.1 {error.status} {PHRASES.get(error.status, '')}",
        *(f"{name}: {value}" for name, value in error.headers),
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _parse_tokens(value: str) -> list[str]:
    tokens = _tokens(value)
    if len(set(tokens)) != len(tokens):
        raise HandshakeError("Sec-WebSocket-Protocol names a subprotocol twice.")
    return tokens


def _tokens(value: str) -> list[str]:
    return [token.strip() for token in value.split(",") if token.strip()]
