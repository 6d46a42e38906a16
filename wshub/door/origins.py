"""Which pages may connect: the origin of a page against the hub's own and a list (RFC 6455, section 10.2; RFC 6454).

A browser sends cookies to the hub whichever page opens the WebSocket, and says in ``Origin`` which one that is. So a
page of the hub's own origin may connect, and those that the list has.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from wshub.errors import HandshakeError

ANY = "*"
NULL = "null"
"""What a page sends that has no origin of its own: a file, a sandboxed frame, a redirect from elsewhere."""

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://((?:\*\.)?[^\s/?#@:*\[\],]*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}|\*))?")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port, in lower case. In a pattern the host may begin with ``*.``, and the port be ``*``."""

    scheme: str
    host: str
    port: str

    def matches(self, origin: "Origin") -> bool:
        """Whether `origin` is what this pattern means."""
        if self.scheme != origin.scheme or self.port not in (ANY, origin.port):
            return False
        if self.host.startswith("*."):
            return origin.host.endswith(self.host[1:]) and len(origin.host) >= len(self.host)
        return self.host == origin.host


class OriginPolicy:
    """Decides which origins may connect."""

    def __init__(self, patterns: Iterable[str], require: bool = False) -> None:
        """Patterns are origins, in which ``*.`` stands for any subdomain and ``:*`` for any port; ``*``; ``null``.

        `require` refuses a request without an Origin, as programs send that are no browsers. Raise `ValueError`.
        """
        patterns = list(patterns)
        self._allows_any = ANY in patterns
        self._allows_null = NULL in patterns
        self._patterns = [_parse_pattern(text) for text in patterns if text not in (ANY, NULL)]
        self._require = require

    def allow(self, origin: str) -> None:
        """Let pages of one more origin connect: the console's, which is known when its port is open."""
        self._patterns.append(_parse_pattern(origin))

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may connect, wherever they ask."""
        page = parse_origin(origin)
        return self._allows_any or (page is not None and any(pattern.matches(page) for pattern in self._patterns))

    def check(self, origin: str | None, authority: str, scheme: str | None = None) -> None:
        """Raise `HandshakeError` unless a page of this origin may connect.

        `authority` is the host and perhaps port that the request was sent to; `scheme` is ``http`` or ``https``, None
        if nobody knows, since there may be a proxy before the hub that does TLS.
        """
        if origin is None:
            if self._require:
                raise HandshakeError("The request must have an Origin header.", 403)
            return
        if self._allows_any or (origin == NULL and self._allows_null):
            return
        page = parse_origin(origin)
        if page is not None:
            own = parse_origin(f"{scheme or page.scheme}://{authority}") if page.scheme in _DEFAULT_PORTS else None
            if page == own or any(pattern.matches(page) for pattern in self._patterns):
                return
        raise HandshakeError("Pages of this origin may not connect here.", 403)


def parse_origin(text: str) -> Origin | None:
    """The origin that a header has; None if it is none."""
    origin = _parse(text)
    return None if origin is None or ANY in origin.port or origin.host.startswith("*") else origin


def _parse_pattern(text: str) -> Origin:
    pattern = _parse(text)
    if pattern is None:
        raise ValueError(
            f'has {text!r}, which is no origin: write "https://example.org", "https://*.example.org", '
            f'"http://localhost:*", "null", or "*" for any'
        )
    return pattern


def _parse(text: str) -> Origin | None:
    match = _ORIGIN.fullmatch(text.lower())
    if not match or (match[1] in _DEFAULT_PORTS and match[2] in ("", "*.")):
        return None
    return Origin(match[1], match[2], match[3] or _DEFAULT_PORTS.get(match[1], ""))
