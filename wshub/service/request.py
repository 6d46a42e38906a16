"""An upgrade request as a service sees it, and the two answers: `Accept` is returned, `Refuse` is raised.

Refusing is an exception so that it holds wherever it happens: in a helper, and also where somebody forgot ``return``.
What else `on_request` may return is a mistake, and whoever connects to a mistaken service is not let in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import SimpleNamespace

from wshub.answers import MAX_TEXT, encode_accept, encode_refuse, find_fault, is_refusal
from wshub.service.opening import parse_cookies, parse_headers

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any

    from wshub.answers import Headers

COOKIE_ATTRIBUTES = "Path=/; HttpOnly; SameSite=Lax"
_COOKIE_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")  # cookie-octets (RFC 6265, section 4.1.1)

SERVICE_FAILED = encode_refuse(500, (), "The service failed.")
"""The payload of the REFUSE after anything that is no answer."""

HeaderArgument = Mapping[str, str] | Iterable[tuple[str, str]]


class Request:
    """A client that wants to connect; nothing has been answered yet. `state` becomes the client's.

    Attributes: `address`, a pair of host and port; `path` and `query` of the URL, as they were sent; `headers`, by
    name in lower case; `subprotocols`, those that the client offers, its favourite first.
    """

    def __init__(self, socket_id: int, opening: tuple[Any, ...]) -> None:
        self.id = socket_id
        self.task: Any = None  # AsyncService's: what works at the answer
        self.state = SimpleNamespace()
        """A place for whatever is to be found again in `Client.state`."""
        host, port, self.path, self.query, self._headers, self.subprotocols = opening
        self.address: tuple[str, int] = (host, port)

    @property
    def headers(self) -> dict[str, str]:
        """The request's headers by name, in lower case."""
        return parse_headers(self._headers)

    @property
    def cookies(self) -> dict[str, str]:
        """The request's cookies by name. Malformed ones are left out."""
        return parse_cookies(self.headers)

    @property
    def origin(self) -> str | None:
        """The origin of the page that connects, such as ``https://example.org``, or ``null`` if it has none.

        None if no browser sent the request.
        """
        return self.headers.get("origin")

    def __repr__(self) -> str:
        return f"<Request {self.id} {self.address[0]}:{self.address[1]}>"


class Accept:
    """Let the client in: returned by `on_request` where something is to go with the 101.

    `subprotocol`: one that the client offers; None leaves the choice to `subprotocols`, as usual. `headers`: of the
    response, a mapping or pairs. `cookies`: values by name, each set with ``Path=/; HttpOnly; SameSite=Lax``; for
    other attributes there is the header Set-Cookie. Raise `ValueError` at what cannot be sent.
    """

    def __init__(
        self, *, subprotocol: str | None = None, headers: HeaderArgument = (), cookies: Mapping[str, str] | None = None
    ) -> None:
        self.subprotocol = subprotocol
        self.headers = (*check_headers(headers), *map(make_cookie, (cookies or {}).items()))


class Refuse(Exception):
    """Do not let the client in: raised by `on_request`, or by what it calls. The client gets an HTTP response.

    `status`: 400 to 599. `text`: what the response says, for the client to read. `headers`: such as
    ``{"WWW-Authenticate": "Bearer"}``, which goes with 401. Raise `ValueError` at what cannot be sent.
    """

    def __init__(self, status: int = 403, text: str = "Not allowed.", headers: HeaderArgument = ()) -> None:
        if not isinstance(status, int) or not is_refusal(status):
            raise ValueError(f"{status!r} is not a status that refuses a request: use 400 to 599")
        if not isinstance(text, str) or len(text.encode()) > MAX_TEXT:
            raise ValueError(f"the text of a refusal is str, at most {MAX_TEXT} bytes of UTF-8")
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = check_headers(headers)


def encode_accepting(request: Request, said: object) -> bytes:
    """The payload of the ACCEPT for what `on_request` returned.

    Raise `TypeError` or `ValueError` if that is no answer to this request.
    """
    if said is None:
        return b""
    if not isinstance(said, Accept):
        raise TypeError(f"on_request returns None or a wshub.Accept, and raises wshub.Refuse; it returned {said!r}")
    if said.subprotocol is not None and said.subprotocol not in request.subprotocols:
        raise ValueError(f"{said.subprotocol!r} is none of the subprotocols that the client offers")
    return encode_accept(said.subprotocol, said.headers)


def encode_refusing(refusal: Refuse) -> bytes:
    """The payload of the REFUSE for what `on_request` raised. Raise `ValueError` if it has too many headers."""
    return encode_refuse(refusal.status, refusal.headers, refusal.text)


def check_headers(headers: HeaderArgument) -> Headers:
    """The headers as pairs; raise `ValueError` at one that cannot be sent, or that is the hub's to send."""
    pairs = tuple(headers.items() if isinstance(headers, Mapping) else headers)
    for name, value in pairs:
        if fault := find_fault(name, value):
            raise ValueError(fault)
    return pairs


def make_cookie(cookie: tuple[str, str]) -> tuple[str, str]:
    """The header that sets a cookie (RFC 6265, section 4.1); raise `ValueError` at what no cookie can be."""
    name, value = cookie
    if find_fault(name, ""):
        raise ValueError(f"{name!r} is not the name of a cookie")
    if not _COOKIE_VALUE.fullmatch(value):
        raise ValueError(f"the cookie {name} has a character that no cookie has: encode it, with urllib.parse.quote")
    return "Set-Cookie", f"{name}={value}; {COOKIE_ATTRIBUTES}"
