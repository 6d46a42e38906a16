"""Mutated first requests: each is accepted as it should be, or refused with a status, and nothing else is ever raised.

The inputs are the files of ``corpus/handshake/``, mutated. An input goes through what `wshub.door.first_request`
does with it, without a socket: the PROXY protocol, head, request, origin, forwarding headers, path. What is accepted
is checked: no control character gets through, no header that decides was sent twice, and no name leads out of a folder.
"""

import random
import re
import time
from pathlib import Path

from wshub.door.handshake import Head, check_plain, format_error, parse_head, parse_upgrade, read_head
from wshub.door.origins import OriginPolicy
from wshub.door.proxies import HEADERS, Networks, Source, find_source
from wshub.door.proxy_protocol import read_proxy_header
from wshub.errors import HandshakeError, HttpError
from wshub.routing import parse_route, split_path

CORPUS = Path(__file__).parent / "corpus" / "handshake"

PIECES = [
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b"\r\n\r\n",
        b"\r\n ",
        b"\x00",
        b"\x0b",
        b"\x0c",
        b"\x1c",
        b"\x1d",
        b"\x1e",
        b"\x85",
        b"\xff",
    ),
    *(
        b" ",
        b"\t",
        b":",
        b" :",
        b",",
        b";",
        b"=",
        b'"',
        b"\\",
        b"/",
        b"//",
        b"..",
        b"%2f",
        b"%2e%2e",
        b"%00",
        b"%",
        b"#",
        b"?",
    ),
    *(b"GET", b"POST", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"Host: a\r\n", b"Upgrade: websocket\r\n", b"websocket"),
    *(b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"),
    *(
        b"Sec-WebSocket-Version: 13\r\n",
        b"Origin: null\r\n",
        b"X-Forwarded-For: ::1, unknown\r\n",
        b"Forwarded: for=x\r\n",
    ),
    *(b"[", b"]", b"[::1", b"*", b"PROXY ", b"TCP4", b"UNKNOWN", b"x" * 9000, b"X: y\r\n" * 200),
]
FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85]")
ONCE = ("host", "sec-websocket-key", "sec-websocket-version")
TRUSTED = Networks(["192.0.2.0/24", "::1"])
POLICY = OriginPolicy(["https://*.example.org"])
STATUSES = {400, 403, 404, 405, 414, 426, 431, 505}


def run(seconds: float, seed: int) -> int:
    """Mutate for so many seconds; the number of inputs. Raise `AssertionError` with the input at the first finding."""
    chance = random.Random(seed)
    corpus = [file.read_bytes() for file in sorted(CORPUS.iterdir())]
    deadline, count = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        for _ in range(200):
            check(mutate(chance.choice(corpus), chance))
        count += 200
    return count


def mutate(data: bytes, chance: random.Random) -> bytes:
    """`data` with a few places replaced, repeated, left out or cut off."""
    for _ in range(chance.randint(1, 5)):
        start = chance.randint(0, len(data))
        end = min(len(data), start + chance.choice((0, 0, 1, 1, 2, 8, 40)))
        kind = chance.randrange(6)
        if kind == 0:
            piece = bytes(chance.choices(range(256), k=chance.randint(1, 4)))
        elif kind == 1:
            piece = b""
        elif kind == 2:
            piece = data[start:end] * 2
        elif kind == 3 and chance.random() < 0.1:
            return data[:start]
        else:
            piece = chance.choice(PIECES)
        data = data[:start] + piece + data[end:]
    return data


def check(data: bytes) -> int:
    """The status that an input is answered with, 0 if it is not complete. Raise `AssertionError` with the input."""
    try:
        try:
            status = _serve(data)
        except HttpError as error:
            status = error.status
            assert status in STATUSES, f"an answer with {status}"
            head = format_error(error).partition(b"\r\n\r\n")[0]
            assert not FORBIDDEN.search(head.decode("latin-1").replace("\r\n", "")), "an answer that is split"
    except Exception as error:
        raise AssertionError(f"{error!r} at this input: {data!r}") from error
    return status


def _serve(data: bytes) -> int:
    peer = Source("192.0.2.1", 1)
    try:
        end, _ = read_proxy_header(data)
        data = data[end:]
    except HandshakeError:
        pass  # most begin without one
    end = read_head(data)
    assert end == (at + 4 if (at := data.find(b"\r\n\r\n")) >= 0 else 0), "the head ends where the blank line does"
    if not end:
        return 0
    head = parse_head(data[:end])
    _check_head(head, data[:end])
    for family in HEADERS:
        assert find_source(peer, head.headers, TRUSTED, family).host
    if not head.wants_upgrade:
        check_plain(head)
        return 200
    request = parse_upgrade(head)
    assert not set(ONCE) & head.repeated, "a header that decides was sent twice"
    assert not {"content-length", "transfer-encoding"} & head.headers.keys(), "an upgrade with a body"
    POLICY.check(head.headers.get("origin"), head.headers["host"])
    route = parse_route(split_path(request.path))
    assert not {"..", ".", "ws_service"} & set(route), route
    assert not any("/" in name or "\0" in name or name.startswith((".", "_")) for name in route), route
    return 101


def _check_head(head: Head, data: bytes) -> None:
    lines = data.count(b"\r\n") - 2
    values = "".join((*head.headers, *head.headers.values()))
    assert not FORBIDDEN.search(values), "a control character got through"
    assert len(head.headers) <= lines <= 128, "more headers than lines"
    assert data.replace(b"\r\n", b"").count(b"\n") == 0, "a bare line feed got through"
