"""Batches: where they begin and end in a stream, and the columns of transactions in each.

See :mod:`wshub.wire` for the format.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from os import readv
from struct import Struct

from wshub.arena import ARENA_SIZE, IN_ARENA, REFERENCE, ArenaReader
from wshub.errors import WireError
from wshub.wire import MAX_BATCH, MAX_COUNT, PIPE_SIZE

FIRST_READ = 64 << 10  # bytes; enough for hundreds of small messages

LARGE = 4096  # bytes; what is larger is better not copied
MAX_PIECES = 1024  # that writev takes: IOV_MAX

_U32 = Struct("<I")


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
                    raise WireError(f"a reference to what cannot be there: {referred} bytes at once, of {ARENA_SIZE}")
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
