"""What the payload of a transaction means, by its kind: to a service, and to the hub.

See :mod:`wshub.wire` for the kinds.
"""

from __future__ import annotations

from collections.abc import Collection
from struct import Struct, pack, unpack_from

from wshub.errors import WireError
from wshub.wire import BINARY, CLOSE, DATA, MAX_ADDRESS, MAX_READY, NEWSOCKET, REQUEST, RESUMED, SLOW
from wshub.wire.batches import decode_columns

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any

Transaction = tuple[int, int, "Any"]
"""``(kind, socket_id, payload)``, the payload as Python has it: see :func:`decode_for_service`"""

_U32 = Struct("<I")
_CLOSE_CODE = Struct(">H")


# What payloads mean: to a service.


def decode_for_service(kind: int, socket_id: int, payload: bytes | memoryview) -> Transaction:
    """A transaction from the hub with its payload as a service has it.

    ==========  ==================================================================================
    NEWSOCKET   ``(host, port, path, query, headers, subprotocol)``, headers as lines ``name: value``
    REQUEST     the same with a tuple of the subprotocols that are offered
    RESUMED     it is a NEWSOCKET whose tuple has one more: True
    DATA        `str` for a text message, `bytes` for a binary one
    CLOSE       ``(code, reason)``
    SLOW        whether it is slow
    others      None
    ==========  ==================================================================================
    """
    if kind == DATA:
        return DATA, socket_id, str(payload, "utf-8")
    if kind == BINARY:
        return DATA, socket_id, bytes(payload)
    if kind == RESUMED:
        _, _, opening = decode_for_service(NEWSOCKET, socket_id, payload)
        return NEWSOCKET, socket_id, (*opening, True)
    if kind in (NEWSOCKET, REQUEST):
        host, port, path, query, subprotocol, headers = str(payload, "utf-8").split("\n", 5)
        last = (subprotocol or None) if kind == NEWSOCKET else tuple(filter(None, subprotocol.split(",")))
        return kind, socket_id, (host, int(port), path, query, headers, last)
    if kind == CLOSE:
        return kind, socket_id, (*_CLOSE_CODE.unpack_from(payload), str(payload[2:], "utf-8"))
    if kind == SLOW:
        return kind, socket_id, payload == b"\1"
    return kind, socket_id, None


def decode_batch(body: bytes | memoryview) -> list[Transaction]:
    """The transactions in a body from the hub, as a service has them."""
    return [decode_for_service(*transaction) for transaction in decode_columns(body)]


def encode_opening(host: str, port: int, path: str, query: str, headers: str, subprotocol: str | None) -> bytes:
    """The payload of a NEWSOCKET or REQUEST. `headers` are lines ``name: value``; nothing else has a line break."""
    return "\n".join((host, str(port), path, query, subprotocol or "", headers)).encode()


def encode_gone(code: int, reason: str) -> bytes:
    """The payload of a CLOSE to a service: also of codes that no close frame may carry."""
    return _CLOSE_CODE.pack(code) + reason.encode()


# What payloads mean: to the hub.


def encode_close(code: int, reason: str) -> bytes:
    """The payload of a CLOSE to the hub; the reason is cut to 123 bytes, between characters.

    Raise `ValueError` at a code that no close frame may carry, `TypeError` at a reason that is no `str`.
    """
    if not isinstance(reason, str):
        raise TypeError(f"a close reason is str, not {type(reason).__name__}")
    if not isinstance(code, int) or not is_sendable_close_code(code):
        raise ValueError(f"{code} is not a close code that can be sent: use 1000 or 3000 to 4999")
    return _CLOSE_CODE.pack(code) + reason.encode()[:123].decode(errors="ignore").encode()


def decode_close(payload: bytes) -> tuple[int, bytes]:
    """Code and reason, as UTF-8, of a CLOSE to the hub; raise `WireError` at one that no close frame may carry."""
    if not 2 <= len(payload) <= 125:
        raise WireError("a CLOSE that is not a code and a reason of at most 123 bytes")
    (code,) = _CLOSE_CODE.unpack_from(payload)
    if not is_sendable_close_code(code):
        raise WireError(f"a CLOSE with code {code}")
    reason = payload[2:]
    try:
        reason.decode()
    except UnicodeDecodeError:
        raise WireError("a CLOSE whose reason is not UTF-8") from None
    return code, reason


def is_sendable_close_code(code: int) -> bool:
    """Whether a close frame may carry `code` (RFC 6455, section 7.4, and IANA's registry of close codes)."""
    return 3000 <= code <= 4999 or code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014)


def encode_address(socket_ids: Collection[int]) -> bytes:
    """What the payload of a MULTICAST begins with: for whom it is."""
    count = len(socket_ids)
    return pack(f"<I{count}Q", count, *socket_ids)


def address_count(address: bytes) -> int:
    """How many an address has."""
    count: int = _U32.unpack_from(address)[0]
    return count


def encode_multicast(socket_ids: Collection[int], message: bytes) -> bytes:
    """The payload of a MULTICAST: `message` for each of `socket_ids`."""
    return encode_address(socket_ids) + message


def decode_multicast(payload: bytes) -> tuple[tuple[int, ...], bytes]:
    """The socket ids and the message of a MULTICAST; raise `WireError` if it ends among the ids, or has too many."""
    if len(payload) < 4:
        raise WireError("a MULTICAST that ends before its count")
    (count,) = _U32.unpack_from(payload)
    if count > MAX_ADDRESS:
        raise WireError(f"a MULTICAST to {count} sockets; there may be {MAX_ADDRESS}")
    end = 4 + 8 * count
    if len(payload) < end:
        raise WireError("a MULTICAST that ends among its socket ids")
    return unpack_from(f"<{count}Q", payload, 4), payload[end:]


def encode_ready(declared: dict[str, str]) -> bytes:
    """The payload of READY: what the service's class declares, by name. No value has a line break."""
    return "\n".join(f"{name} {value}" for name, value in declared.items()).encode()


def decode_ready(payload: bytes) -> dict[str, str]:
    """What READY declares; raise `WireError` if it is not text, or too much of it."""
    if len(payload) > MAX_READY:
        raise WireError(f"a READY of {len(payload)} bytes")
    try:
        lines = payload.decode().split("\n")
    except UnicodeDecodeError:
        raise WireError("a READY that is not UTF-8") from None
    return dict(line.split(" ", 1) for line in lines if " " in line)
