"""What a service may answer to an upgrade request, and how the answer crosses the pipe: ACCEPT and REFUSE.

Both payloads are text of lines that end with ``\\n``, the last one excepted::

    ACCEPT      subprotocol, or nothing if the hub is to choose | header | header ...
    REFUSE      status | header | header ... | empty line | text, however many lines
    header      name: value

The kit encodes, and says what an author did wrong with a `ValueError`. The hub decodes, and believes nothing: what the
kit would not have written is a `WireError`. Both ask :func:`find_fault`, so no header can hold what ends its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from wshub.errors import WireError

Headers = tuple[tuple[str, str], ...]
"""Names and values, in the order in which they are sent."""

MAX_ANSWER = 16 << 10
"""The largest payload of ACCEPT or REFUSE, in bytes: what a client may send is no larger."""

MAX_TEXT = 4 << 10
"""The longest text of a refusal, in bytes of UTF-8."""

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e]*")  # of RFC 9110, section 5.5, what every parser agrees about
_OURS = frozenset(("connection", "content-length", "content-type", "server", "transfer-encoding", "upgrade"))


def find_fault(name: str, value: str) -> str:
    """What is wrong with a header that a service wants to send, in a few words; empty if nothing is."""
    if not TOKEN.fullmatch(name):
        return f"{name[:80]!r} is not the name of a header"
    if name.lower() in _OURS or name.lower().startswith("sec-websocket-"):
        return f"the header {name[:80]} is the hub's to send"
    if not _VALUE.fullmatch(value):
        return f"the value of {name[:80]} has a character that is neither printable ASCII nor a tab"
    return ""


def is_refusal(status: int) -> bool:
    """Whether a status says that a request failed (RFC 9110, sections 15.5 and 15.6)."""
    return 400 <= status <= 599


def encode_accept(subprotocol: str | None, headers: Headers) -> bytes:
    """The payload of an ACCEPT. Raise `ValueError` if it is too long; the parts have been checked."""
    return _check_size("\n".join((subprotocol or "", *map(": ".join, headers))).encode())


def decode_accept(payload: bytes, offered: Iterable[str]) -> tuple[str | None, Headers]:
    """Subprotocol, None if the hub is to choose, and headers of an ACCEPT. Raise `WireError`."""
    subprotocol, *lines = _decode(payload).split("\n")
    if subprotocol and subprotocol not in offered:
        raise WireError("an ACCEPT with a subprotocol that the client did not offer")
    return subprotocol or None, _parse_headers(lines)


def encode_refuse(status: int, headers: Headers, text: str) -> bytes:
    """The payload of a REFUSE. Raise `ValueError` if it is too long; the parts have been checked."""
    return _check_size("\n".join((str(status), *map(": ".join, headers), "", text)).encode())


def decode_refuse(payload: bytes) -> tuple[int, Headers, str]:
    """Status, headers and text of a REFUSE. Raise `WireError`."""
    head, end, text = _decode(payload).partition("\n\n")
    status, *lines = head.split("\n")
    if not end or not re.fullmatch("[45][0-9][0-9]", status):
        raise WireError("a REFUSE without a status from 400 to 599, or without its empty line")
    return int(status), _parse_headers(lines), text


def _check_size(payload: bytes) -> bytes:
    if len(payload) > MAX_ANSWER:
        raise ValueError(f"an answer to a request of {len(payload)} bytes; at most {MAX_ANSWER} can be sent")
    return payload


def _decode(payload: bytes) -> str:
    if len(payload) > MAX_ANSWER:
        raise WireError(f"an answer to a request of {len(payload)} bytes")
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise WireError("an answer to a request that is not UTF-8") from None


def _parse_headers(lines: list[str]) -> Headers:
    headers = []
    for line in lines:
        name, colon, value = line.partition(": ")
        if not colon:
            raise WireError("an answer to a request with a line that is no header")
        if fault := find_fault(name, value):
            raise WireError(f"an answer to a request in which {fault}")
        headers.append((name, value))
    return tuple(headers)
