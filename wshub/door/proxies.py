"""Trusted proxies: whose word is taken on who a client is, and what they say (RFC 7239, and the usual ``X-`` headers).

Any client can send such headers. So they count only if the TCP connection comes from a network that is trusted, and
are read from the right, where the nearest proxy has written: to the left of the first address that is not trusted,
nothing is believed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

UNIX = "unix"
"""In a list of networks: whoever connects to a Unix socket."""

X_FORWARDED = "x-forwarded"
FORWARDED = "forwarded"
HEADERS = (X_FORWARDED, FORWARDED)
"""The two families of headers. One is read, never both: a proxy passes the other on as its client sent it."""

MAX_HOPS = 16
"""The most proxies between a client and the hub. A longer list is believed that far."""


class Networks:
    """A set of networks."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Each is an address or, in CIDR notation, a network; or ``unix``. Raise `ValueError` at anything else."""
        texts = list(texts)
        self._has_unix = UNIX in texts
        self._networks = [_parse_network(text) for text in texts if text != UNIX]
        self._contains = lru_cache(maxsize=4096)(self._search)

    def __contains__(self, host: str) -> bool:
        """Whether an address is in one of them; `host` is empty for a Unix socket."""
        return self._contains(host)

    def __bool__(self) -> bool:
        return self._has_unix or bool(self._networks)

    def _search(self, host: str) -> bool:
        if not host:
            return self._has_unix
        address = parse_address(host)
        return address is not None and any(address in network for network in self._networks)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a request comes from, and what its URL began with there, as far as that is known."""

    host: str
    """The client's address; empty for a Unix socket."""
    port: int
    """The client's port; 0 if it is not known."""
    scheme: str | None = None
    """``http`` or ``https``; None if it is not known."""
    authority: str | None = None
    """Host and perhaps port that the client has asked for; None for what the Host header says."""


def find_source(peer: Source, headers: dict[str, str], trusted: Networks, family: str) -> Source:
    """Where a request comes from that has come from `peer`. `headers` have names in lower case, see `Head`."""
    if peer.host not in trusted:
        return peer
    if family == FORWARDED:
        return _read_forwarded(peer, headers.get("forwarded", ""), trusted)
    source = peer
    for text in reversed(headers.get("x-forwarded-for", "").split(",")[-MAX_HOPS:]):
        node = parse_node(text.strip())
        if node is None:
            break
        source = replace(source, host=node[0], port=node[1])
        if source.host not in trusted:
            break
    scheme = _last(headers.get("x-forwarded-proto", "")).lower()
    authority = _last(headers.get("x-forwarded-host", ""))
    return replace(
        source,
        scheme=_SCHEMES.get(scheme, peer.scheme),
        authority=authority or peer.authority,
    )


_SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}


def _read_forwarded(peer: Source, value: str, trusted: Networks) -> Source:
    source = peer
    for element in reversed(_split(value, ",")[-MAX_HOPS:]):
        pairs = (pair.partition("=") for pair in _split(element, ";"))
        said = {name.strip().lower(): _unquote(text.strip()) for name, _, text in pairs}
        node = parse_node(said.get("for", ""))
        if node is None:
            break
        scheme = _SCHEMES.get(said.get("proto", "").lower(), source.scheme)
        source = Source(*node, scheme, said.get("host") or source.authority)
        if source.host not in trusted:
            break
    return source


def parse_node(text: str) -> tuple[str, int] | None:
    """Address and port of ``1.2.3.4``, ``1.2.3.4:80``, ``::1`` or ``[::1]:80``; None if it is none (RFC 7239, 6)."""
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return None
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    address = parse_address(host)
    if address is None:
        return None
    return str(address), int(port) if port.isdecimal() and len(port) < 6 else 0


def parse_address(host: str) -> IPv4Address | IPv6Address | None:
    """An IP address, None if it is none. An IPv4 address that is dressed up as IPv6 is the IPv4 address."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address


def _parse_network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(
            f'has {text!r}, which is no address and no network: write "192.0.2.1", "192.0.2.0/24" or "2001:db8::/32"'
        ) from None


def _last(value: str) -> str:
    return value.rpartition(",")[2].strip()


def _unquote(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1].replace("\\", "")
    return text


def _split(text: str, separator: str) -> list[str]:
    """The pieces between separators that are not in a quoted string (RFC 9110, section 5.6.4)."""
    pieces, start, is_quoted, is_escaped = [], 0, False, False
    for index, c in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif is_quoted and c == "\\":
            is_escaped = True
        elif c == '"':
            is_quoted = not is_quoted
        elif c == separator and not is_quoted:
            pieces.append(text[start:index])
            start = index + 1
    pieces.append(text[start:])
    return pieces
