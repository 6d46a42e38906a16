"""Mutated batches from a hostile service: each is understood, or a `WireError`; nothing else is ever raised.

The inputs are the files of ``corpus/wire/``, mutated: streams as a service would write them, right or hostile. Each
goes through what the hub does with the bytes of a pipe, in pieces that are cut anywhere: a `ServiceLink` with some
sockets, some requests and some that are gone. What is understood is checked: it says the same when it comes in one
piece, nobody gets a frame who is not one of its sockets, and no response has a line that the service forged.

Payloads that have a structure of their own are fuzzed by themselves too: most mutations of a batch do not get that far.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wshub.answers import decode_accept, decode_refuse, encode_accept, encode_refuse, find_fault
from wshub.errors import HttpError, RequestRefused, ServiceDied, WireError
from wshub.processes.link import ServiceLink
from wshub.processes.pending import Accepted
from wshub.wire import MAX_COUNT
from wshub.wire.batches import BatchReader, decode_columns, encode_columns
from wshub.wire.payloads import (
    decode_close,
    decode_multicast,
    decode_ready,
    encode_close,
    encode_multicast,
    encode_ready,
    is_sendable_close_code,
)

CORPUS = Path(__file__).parent / "corpus" / "wire"
OPENING = ("127.0.0.1", 1, "/", "", "host: a")
GONE, OPEN, ASKED = (1, 2), (3, 4, 5), (6, 7)  # the socket ids of the link, by what has become of them

SIZES = (0, 1, 2, 3, 4, 255, 256, 4095, 4096, 4097, 65535, 1 << 20, 1 << 26, (1 << 26) + 1, 1 << 31, (1 << 32) - 1)
PIECES = [
    *(size.to_bytes(4, "little") for size in SIZES),
    *(bytes((kind,)) for kind in range(16)),
    *(id_.to_bytes(8, "little") for id_ in (0, *GONE, *OPEN, *ASKED, 8, 1 << 63, (1 << 64) - 1)),
    *(b"\x80\x03", b"\x80\x05", b"C", b"B", b"q\x00", b"q\x01", b"q\x02\x87q\x03.", b"cos\nsystem\n", b"\x82\x01"),
    *(b"r\xff\xff\xff\x7f", b"(" * 500, b"N\x85" * 500, b"\x8e" + bytes(7) + b"\x01", b"\xff", b"\xe2\x82", b"\r\n"),
    *(b"\n", b"\n\n", b": ", b"403", b"chat", b"Set-Cookie: a=b", b"\x03\xe8", b"\x03\xee", b"x" * 130, bytes(8000)),
]


class Socket:
    """A client's connection that remembers whether it was told anything."""

    wshub_direct = None

    def __init__(self) -> None:
        self.told: list[Any] = []

    def wshub_send(self, frames: list[bytes]) -> None:
        """See `wshub.processes.socket.Socket`; frames that came with one read may have come with several."""
        assert all(frame[0] in (0x81, 0x82) for frame in frames), "a frame that is no message"
        self.told += frames

    def wshub_close(self, code: int, reason: bytes) -> None:
        """See `wshub.processes.socket.Socket`."""
        assert is_sendable_close_code(code), "a close code that no frame may carry"
        assert len(reason) <= 123, "a reason that is too long for a control frame"
        reason.decode()
        self.told.append((code, reason))

    def wshub_synced(self) -> None:
        """See `wshub.processes.socket.Socket`."""
        self.told.append("synced")

    def wshub_pause(self) -> None:
        """See `wshub.processes.socket.Socket`."""

    def wshub_resume(self) -> None:
        """See `wshub.processes.socket.Socket`."""

    def wshub_drop(self) -> None:
        """See `wshub.processes.socket.Socket`."""


def run(seconds: float, seed: int) -> int:
    """Mutate for so many seconds; the number of inputs. Raise `AssertionError` with the input at the first finding."""
    chance = random.Random(seed)
    corpus = [file.read_bytes() for file in sorted(CORPUS.iterdir())]
    deadline, count = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        for _ in range(200):
            data = mutate(chance.choice(corpus), chance)
            check(data, sorted(chance.choices(range(len(data) + 1), k=chance.choice((0, 0, 1, 1, 2, 5)))))
        for _ in range(600):
            check_payload(make_payload(chance))
        count += 800
    return count


def mutate(data: bytes, chance: random.Random) -> bytes:
    """`data` with a few places changed; its sizes are mostly made right again, or nothing would get past them."""
    if chance.random() < 0.1:
        return b"".join(encode_columns(make_transactions(chance)))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        start = chance.randint(0, len(data))
        end = min(len(data), start + chance.choice((0, 0, 1, 1, 2, 4, 8, 40)))
        kind = chance.randrange(6)
        if kind == 0:
            piece = chance.randbytes(chance.randint(1, 4))
        elif kind == 1:
            piece = chance.randbytes(end - start)  # of the same length: all sizes still hold
        elif kind == 2:
            piece = data[start:end] * 2
        elif kind == 3:
            piece = b""
        else:
            piece = chance.choice(PIECES)
            end = max(end, min(len(data), start + len(piece))) if chance.random() < 0.5 else end
        data = data[:start] + piece + data[end:]
    if len(data) >= 4 and chance.random() < 0.7:
        data = (len(data) - 4).to_bytes(4, "little") + data[4:]
    return data


def make_transactions(chance: random.Random) -> list[tuple[int, int, bytes]]:
    """Transactions that are well-formed as far as the columns go, whatever they say."""
    odds = chance.random()
    count = MAX_COUNT if odds < 0.002 else 300 if odds < 0.02 else chance.choice((1, 1, 2, 3, 10))
    return [
        (
            chance.choice((1, 2, 3, 4, 5, 6, 8, 12, 13, chance.randrange(256))),
            chance.choice((0, 1, 3, 4, 5, 6, 7, 8)),
            b"".join(chance.choices(PIECES, k=chance.randrange(3))) if chance.random() < 0.8 else b"",
        )
        for _ in range(count)
    ]


def make_payload(chance: random.Random) -> bytes:
    """One of the known payloads, mutated, or pieces put together."""
    if chance.random() < 0.3:
        return b"".join(chance.choices(PAYLOADS + PIECES, k=chance.randint(1, 4)))
    data = chance.choice(PAYLOADS)
    start = chance.randint(0, len(data))
    piece = chance.choice(PIECES) if chance.random() < 0.5 else chance.randbytes(chance.randrange(3))
    return data[:start] + piece + data[start + chance.choice((0, 0, 1, 2)) :]


def check_payload(payload: bytes) -> int:
    """How many decoders understand a payload. Raise `AssertionError` with it if one says what it would not write."""
    understood = 0
    for decode, encode in CODECS:
        try:
            decoded = decode(payload)
        except WireError:
            continue
        except Exception as error:
            raise AssertionError(f"{error!r} at this input: {payload!r}") from error
        understood += 1
        assert encode(*decoded) == payload, f"{decoded} at this input: {payload!r}"
    return understood


def check(data: bytes, cuts: list[int]) -> bool:
    """Whether a stream that is cut there is understood. Raise `AssertionError` with the input at a finding."""
    try:
        pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        whole = _receive([data])
        if cuts:
            in_pieces = _receive(pieces)
            assert whole == in_pieces, f"{whole} in one piece, {in_pieces} in {len(pieces)}"
        _check_codec(data)
    except Exception as error:
        raise AssertionError(f"{error!r} at this input: {data!r}, cut at {cuts}") from error
    return whole[0]


def _receive(pieces: list[bytes]) -> tuple[bool, list[Any]]:
    """Whether a link understands the pieces, and what its clients are told."""
    link, sockets, answers = _make_link()
    try:
        for piece in pieces:
            link.receive(piece)
        understood = True
    except WireError:
        understood = False
    for _, answer in answers:
        headers = answer.headers
        assert not any(find_fault(name, value) for name, value in headers), "a header that the service forged"
        if isinstance(answer, HttpError):
            assert isinstance(answer, RequestRefused | ServiceDied), "a refusal of another kind"
            assert 400 <= answer.status <= 599, "a refusal that does not refuse"
    assert len({id_ for id_, _ in answers}) == len(answers), "a request with two answers"
    told = [[str(each) for each in socket.told] for socket in sockets]
    return understood, [told, [(id_, str(answer)) for id_, answer in answers], link.state]


def _make_link() -> tuple[ServiceLink, list[Socket], list[tuple[int, Accepted | HttpError]]]:
    link = ServiceLink(lambda *_: None)
    link.receive(READY)
    sockets = [Socket() for _ in (*GONE, *OPEN)]
    for socket in sockets:
        link.open(socket, (*OPENING, None))
    for id_ in GONE:
        link.close(id_, 1000, "")
    answers: list[tuple[int, Accepted | HttpError]] = []
    for id_ in ASKED:
        assert link.ask(OPENING, ("chat",), lambda answer, id_=id_: answers.append((id_, answer))) == id_  # type: ignore[misc]
    return link, sockets, answers


def _check_codec(data: bytes) -> None:
    """What the codec understands, it would write the same way: there is one form of everything."""
    try:
        bodies = [bytes(body) for body in BatchReader().feed(data)]
        for body in bodies:
            transactions = [(kind, id_, bytes(payload)) for kind, id_, payload in decode_columns(memoryview(body))]
            assert b"".join(encode_columns(transactions))[4:] == body, "two forms of one batch"
    except WireError:
        pass


def _read_close(payload: bytes) -> tuple[int, str]:
    code, reason = decode_close(payload)
    return code, reason.decode()


CODECS: list[tuple[Callable[[bytes], tuple[Any, ...]], Callable[..., bytes]]] = [
    (_read_close, encode_close),
    (decode_multicast, lambda ids, message: encode_multicast(list(ids), message)),
    (lambda payload: decode_accept(payload, ("chat",)), encode_accept),
    (decode_refuse, encode_refuse),
    (lambda payload: (decode_ready(payload), payload), lambda declared, payload: payload),  # many forms are one
]
"""What makes something of a payload, and what makes the payload of that again."""

PAYLOADS = [
    encode_close(1000, ""),
    encode_close(4999, "dů" * 40),
    encode_multicast([3, 4, 5], b"message"),
    encode_multicast([], b""),
    encode_accept("chat", (("Set-Cookie", "a=b; Path=/"), ("X-One", ""))),
    encode_accept(None, (("X", "a: b"),)),
    encode_refuse(401, (("WWW-Authenticate", 'Basic realm="x"'),), "Who\n\nare yoů?"),
    encode_refuse(599, (), ""),
    encode_ready({"subprotocols": "a,b", "on_request": "yes"}),
]

READY = b"".join(encode_columns([(6, 0, encode_ready({"on_request": "yes", "subprotocols": "chat"}))]))
