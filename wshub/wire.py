r"""The wire protocol between the hub and a service process: its vocabulary, its codec, its limits.

A service process has two pipes of its own: it reads from descriptor `FROM_HUB` (3) and writes to `TO_HUB` (4). Each
carries a stream of *batches*, each batch one or more *transactions*: a kind, a socket id, a payload. All integers are
little-endian, but for the code of a CLOSE, which is as it is in a frame.

::

    stream      batch | batch | reference | batch ...      until end of file, which means: finish and exit
    batch       +-----------+----------------- - - -+
                | size: u32 | body: size bytes      |      1 <= size <= MAX_BATCH
                +-----------+----------------- - - -+
    reference   +------------------+---------------+-----------+
                | 0xFFFF0000: u32  | position: u64 | size: u32 |      to whole batches in shared memory instead
                +------------------+---------------+-----------+
    body        +------------+------------------------------------------+--------------------- - -
                | count: u32 | pickle of (kinds, socket_ids, sizes)      | payloads, end to end
                +------------+------------------------------------------+--------------------- - -

The pickle (protocol 3) holds three `bytes`: kinds as u8, socket ids as u64, sizes of the payloads as u32, `count` of
each (1 <= count <= MAX_COUNT). Nothing but the columns varies in it, so its frame is known from `count` alone:
:func:`decode_columns` compares the four constant pieces and reads the columns where they must be. No unpickler ever
sees what the other end wrote: even with every global refused, nine bytes can make one take gigabytes.

A reference stands for a stretch of the stream that is large, and lies in memory that both ends share: see
:mod:`wshub.arena`. The hub says with the argument ``arena=yes`` that there is such memory, on descriptor 5, which the
service maps and closes before anything else.

================  ====  ======  ===============================================================================
NEWSOCKET         0     service lines: host, port, path, query, subprotocol or nothing, then headers ``name: value``
DATA              1     both    a text message as UTF-8
CLOSE             2     both    code: u16 big-endian, reason: UTF-8, at most 123 bytes; the body of RFC 6455,
                                section 5.5.1. To a service: exactly one for each NEWSOCKET, nothing after it; or for
                                a REQUEST, see below
BINARY            3     both    a binary message
MULTICAST         4     hub     count: u32, then that many socket ids: u64, then a text message; socket id 0
MULTICAST_BINARY  5     hub     the same with a binary message
READY             6     hub     lines ``name value`` of what the class declares; once, before anything else; socket id 0
FAILED            7     hub     the traceback of why there is no service, as text; nothing follows; socket id 0
SYNC              8     both    nothing. To a service: to be answered with a SYNC once everything before it about this
                                socket has been dealt with
HEARTBEAT         10    hub     nothing; unasked, after READY, `BEATS` times in each hang_timeout of the service;
                                socket id 0
REQUEST           11    service as NEWSOCKET, with all subprotocols that the client offers, commas between them
ACCEPT            12    hub     the client may connect; what goes with the 101, see `wshub.answers`
REFUSE            13    hub     it may not; the response, see `wshub.answers`
SLOW              14    service 1 byte: 1 when messages for this client begin to wait in the hub, 0 when none wait
RESUMED           15    service as NEWSOCKET: a client that a process of the same service had before this one
================  ====  ======  ===============================================================================

A service whose READY declares ``on_request yes`` is asked about each client first: a REQUEST with a new socket id, to
be answered with one ACCEPT or REFUSE. After an ACCEPT the same id comes back in a NEWSOCKET. If the client goes first,
or the answer is late, a CLOSE comes instead, and an answer that has crossed it is passed over.

The middle column says who is told so. The hub checks whatever a service says, a service trusts the hub. The seed's
kinds keep their numbers. A new kind gets a number above these; an unknown one is an error, because both ends are always
of one version: the hub starts the service's interpreter with its own package.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from os import readv
from struct import Struct, pack, unpack_from

from wshub.arena import ARENA_SIZE, IN_ARENA, REFERENCE, ArenaReader
from wshub.errors import WireError

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any

FROM_HUB = 3
TO_HUB = 4

NEWSOCKET = 0
DATA = 1
CLOSE = 2
BINARY = 3
MULTICAST = 4
MULTICAST_BINARY = 5
READY = 6
FAILED = 7
SYNC = 8
HEARTBEAT = 10
REQUEST = 11
ACCEPT = 12
REFUSE = 13
SLOW = 14
RESUMED = 15

RESTARTS = ("permanent", "transient", "temporary")
"""What a service's `restart` may be; OTP's words."""

LIFETIMES = ("lazy", "eager")
"""What a service's `lifetime` may be."""

SLOW_CLIENTS = ("close", "drop-oldest", "drop-newest", "pause")
"""What a service's `slow_clients` may be."""

BEATS = 6
"""How often a service that lives says so within the time after which its silence is its death."""

Transaction = tuple[int, int, "Any"]
"""``(kind, socket_id, payload)``, the payload as Python has it: see :func:`decode_for_service`"""

MAX_BATCH = 64 << 20
"""The largest body, in bytes: four times the largest message of the Autobahn test suite."""

MAX_COUNT = 4096
"""The most transactions in a batch: beyond a few hundred a batch costs no less for each."""

MAX_MESSAGE = MAX_BATCH // 2
"""The largest payload of a message, in bytes: what is left for the addresses of a multicast is plenty."""

PIPE_SIZE = 1 << 20
"""What a pipe is grown to, and the most that is read from it at once, in bytes; Linux lets any user have so much."""

FIRST_READ = 64 << 10  # bytes; enough for hundreds of small messages

LARGE = 4096  # bytes; what is larger is better not copied
MAX_PIECES = 1024  # that writev takes: IOV_MAX

_U32 = Struct("<I")
_CLOSE_CODE = Struct(">H")


# Framing: where batches begin and end.


class PipeBuffer:
    """Reads a pipe in large pieces, into one buffer for as long as it lives.

    `os.read` would make a new buffer of that size for each call: the C library gets such a one from the system and
    gives it back, page by page, which takes ten times as long as reading a small batch. The buffer is as large as
    what comes needs, up to what a pipe holds.
    """

    def __init__(self) -> None:
        self._resize(FIRST_READ)

    def read(self, fd: int) -> bytes | memoryview:
        """What is in the pipe now; empty at the end of the stream. Raise `OSError`.

        What is large is a view of the buffer, and good until the next read.
        """
        size = readv(fd, self._views)
        if size < LARGE:
            return bytes(self._view[:size])
        data = self._view[:size]
        if size == len(self._view) < PIPE_SIZE:
            self._resize(2 * size)
        return data

    def _resize(self, size: int) -> None:
        self._view = memoryview(bytearray(size))
        self._views = (self._view,)


class BatchReader:
    """Cuts a stream of bytes, however it arrives, into the bodies of batches; linear in the number of bytes."""

    def __init__(self, arena: ArenaReader | None = None) -> None:
        """Make it at the beginning of a stream, which may refer to an arena."""
        self._arena = arena
        self._pieces: list[bytes] = []  # of a batch that has begun; never enough of it to be a whole one
        self._missing = 0  # bytes that its end is away, once its size is known

    def feed_one(self, data: bytes | memoryview) -> tuple[int, int, bytes | memoryview] | None:
        """The transaction in `data`, if it is one small batch of one and nothing else: what a single message comes in.

        None if it is anything else, and then nothing has been fed.
        """
        if _ONE.size <= len(data) < LARGE and not self._pieces:
            body_size, count, start, kind, after_kinds, socket_id, after_ids, size, end = _ONE.unpack_from(data)
            if (
                count == 1
                and (start, after_kinds, after_ids, end) == _ONE_FRAME
                and body_size == len(data) - 4
                and size == len(data) - _ONE.size
            ):
                return kind, socket_id, data[_ONE.size :]
        return None

    def feed(self, data: bytes | memoryview) -> Iterator[memoryview]:
        """Yield the body of each batch that `data` completes. Raise `WireError` at a size that cannot be.

        A body is a view of `data` where it can be, or of the arena: it is good until the next one is asked for. What
        one read refers to was in the arena at one time: more than the arena holds cannot be, and would have no end.
        """
        if self._pieces:
            self._pieces.append(bytes(data))
            if len(data) < self._missing:
                self._missing -= len(data)
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        view = memoryview(data)
        start, available, referred = 0, len(data), 0
        while available - start >= 4:
            (size,) = _U32.unpack_from(data, start)
            if size == IN_ARENA and self._arena:
                end = start + REFERENCE.size
                if end > available:
                    self._missing = end - available
                    break
                _, position, size = REFERENCE.unpack_from(data, start)
                referred += size
                if referred > ARENA_SIZE:
                    raise WireError(f"references to {referred} bytes at once of an arena of {ARENA_SIZE}")
                yield from self._read_arena(self._arena, position, size)
                start = end
                continue
            if not 0 < size <= MAX_BATCH:
                raise WireError(f"a batch of {size} bytes; it must have 1 to {MAX_BATCH}")
            end = start + 4 + size
            if end > available:
                self._missing = end - available
                break
            yield view[start + 4 : end]
            start = end
        else:
            self._missing = 0  # not even its size is here: look again at whatever comes
        if start < available:
            self._pieces.append(bytes(view[start:]))

    def _read_arena(self, arena: ArenaReader, position: int, size: int) -> Iterator[memoryview]:
        reader = BatchReader()
        yield from reader.feed(arena.look(position, size))
        if reader._pieces:
            raise WireError("a stretch of an arena that ends within a batch")
        arena.release(position + size)


# Bodies: columns first, payloads after.


def encode_columns(transactions: Sequence[tuple[int, int, bytes | bytearray]]) -> tuple[bytes | bytearray, ...]:
    """The bytes of a batch, or of several if it gets too large, in one piece or more."""
    count = len(transactions)
    if count == 1:
        return _encode_one(*transactions[0])
    kinds, socket_ids, payloads = zip(*transactions, strict=True)
    sizes = tuple(map(len, payloads))
    if (count > MAX_COUNT or sum(sizes) > MAX_BATCH // 2) and count > 1:
        return encode_columns(transactions[: count // 2]) + encode_columns(transactions[count // 2 :])
    layout, start, after_kinds, after_ids, end = _layout(count)
    columns = layout.pack(count, start, bytes(kinds), after_kinds, *socket_ids, after_ids, *sizes, end)
    size = layout.size + sum(sizes)
    return _join_if_small((_U32.pack(size), columns, *payloads), size)


def decode_columns(body: bytes | memoryview) -> Iterable[tuple[int, int, bytes | memoryview]]:
    """The transactions in a body, payloads as `bytes`, or as views of `body` where a copy would cost more.

    Raise `WireError` unless it is just what :func:`encode_columns` writes; kinds and ids are for the caller to judge.
    """
    if len(body) < 4:
        raise WireError("a batch that ends before its count")
    (count,) = _U32.unpack_from(body)
    if not 0 < count <= MAX_COUNT:
        raise WireError(f"a batch of {count} transactions; it must have 1 to {MAX_COUNT}")
    layout, start, after_kinds, after_ids, end = _layout(count)
    if len(body) < layout.size:
        raise WireError("a batch that ends within its columns")
    columns = layout.unpack_from(body)
    if (
        columns[1] != start
        or columns[3] != after_kinds
        or columns[4 + count] != after_ids
        or columns[5 + 2 * count] != end
    ):
        raise WireError("a batch whose pickle is not the three columns of its count")
    ends = list(accumulate(columns[5 + count : 5 + 2 * count], initial=layout.size))
    if ends[-1] != len(body):
        raise WireError("a batch whose payloads are not as long as it says")
    data = bytes(body) if len(body) < count * LARGE else body
    return zip(columns[2], columns[4 : 4 + count], [data[i:j] for i, j in pairwise(ends)], strict=True)


def _join_if_small(pieces: tuple[bytes | bytearray, ...], size: int) -> tuple[bytes | bytearray, ...]:
    """Small pieces as one: writing several with one call costs more than copying them, unless they are large."""
    return pieces if size >= LARGE * len(pieces) and len(pieces) <= MAX_PIECES else (b"".join(pieces),)


@lru_cache(MAX_COUNT)
def _layout(count: int) -> tuple[Struct, bytes, bytes, bytes, bytes]:
    """The count and the pickle of the columns as a struct, and the four pieces of the pickle that are constant.

    They are what protocol 3 has around three `bytes` of `count`, 8 × `count` and 4 × `count` bytes.
    """
    start, after_kinds = b"\x80\x03" + _bytes_opcode(count), b"q\x00" + _bytes_opcode(8 * count)
    after_ids, end = b"q\x01" + _bytes_opcode(4 * count), b"q\x02\x87q\x03."
    a, b, c, d = map(len, (start, after_kinds, after_ids, end))
    layout = Struct(f"<I{a}s{count}s{b}s{count}Q{c}s{count}I{d}s")
    return layout, start, after_kinds, after_ids, end


def _bytes_opcode(size: int) -> bytes:
    """SHORT_BINBYTES or BINBYTES, whichever pickle writes for `size` bytes."""
    return b"C" + bytes((size,)) if size < 256 else b"B" + _U32.pack(size)


# The same for a single transaction, which is what a quiet service says: no columns, no loops.

_, *_frame = _layout(1)
_ONE_FRAME = tuple(_frame)
_ONE = Struct("<II{}sB{}sQ{}sI{}s".format(*map(len, _ONE_FRAME)))


def _encode_one(kind: int, socket_id: int, payload: bytes | bytearray) -> tuple[bytes | bytearray, ...]:
    size = len(payload)
    start, after_kinds, after_ids, end = _ONE_FRAME
    head = _ONE.pack(_ONE.size - 4 + size, 1, start, kind, after_kinds, socket_id, after_ids, size, end)
    return (head + payload,) if size < LARGE else (head, payload)


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
    """The socket ids and the message of a MULTICAST; raise `WireError` if it ends among the ids."""
    if len(payload) < 4:
        raise WireError("a MULTICAST that ends before its count")
    (count,) = _U32.unpack_from(payload)
    end = 4 + 8 * count
    if len(payload) < end:
        raise WireError("a MULTICAST that ends among its socket ids")
    return unpack_from(f"<{count}Q", payload, 4), payload[end:]


def encode_ready(declared: dict[str, str]) -> bytes:
    """The payload of READY: what the service's class declares, by name. No value has a line break."""
    return "\n".join(f"{name} {value}" for name, value in declared.items()).encode()


def decode_ready(payload: bytes) -> dict[str, str]:
    """What READY declares; raise `WireError` if it is not text."""
    try:
        lines = payload.decode().split("\n")
    except UnicodeDecodeError:
        raise WireError("a READY that is not UTF-8") from None
    return dict(line.split(" ", 1) for line in lines if " " in line)
