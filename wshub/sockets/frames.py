"""The hot path: data frames, in and out, without a detour (RFC 6455, section 5).

A message that is one whole, uncompressed data frame is most of what a hub ever sees. :class:`FrameReader` takes such
frames from the front of what a client sent and leaves every other byte, from the first that it does not know, to
Autobahn: fragments, control frames, compression, and whatever breaks the protocol. Nobody outside can tell who read a
frame. For that it may not be cleverer than Autobahn, nor later: text that is wrong is left to Autobahn as soon as it is
wrong, also in the middle of a frame that is still coming.
"""

from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Callable
from struct import Struct

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform that has no wheel of it: slower by far, and right
    from websockets.utils import apply_mask

TEXT, BINARY = 1, 2  # opcodes

_WHOLE = 0x80  # FIN, no RSV
_WHOLE_TEXT, _WHOLE_BINARY = _WHOLE | TEXT, _WHOLE | BINARY
_MASKED = 0x80
_VIEW = 1024  # bytes; from here on a memoryview costs less than a copy

_U16 = Struct(">H")
_U64 = Struct(">Q")
_MEDIUM = Struct(">BBH")
_LARGE = Struct(">BBQ")
_SMALL_HEADERS = {opcode: [bytes((_WHOLE | opcode, size)) for size in range(126)] for opcode in (TEXT, BINARY)}


def make_frame(opcode: int, payload: bytes | memoryview) -> bytes:
    """The one frame of a whole message; `opcode` is `TEXT`, and `payload` UTF-8, or `BINARY`."""
    size = len(payload)
    if size < 126:
        return _SMALL_HEADERS[opcode][size] + payload
    if size < 65536:
        return b"".join((_MEDIUM.pack(_WHOLE | opcode, 126, size), payload))
    return b"".join((_LARGE.pack(_WHOLE | opcode, 127, size), payload))


def split_frame(frame: bytes) -> tuple[int, bytes]:
    """The opcode and the payload of a frame that `make_frame` made."""
    header = {126: 4, 127: 10}.get(frame[1], 2)
    return frame[0] & 0x0F, frame[header:]


def is_utf8(text: bytes) -> bool:
    """Whether `text` is valid UTF-8; most is ASCII, which is seen without making a `str` of it."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


class FrameReader:
    """Takes plain data frames from a client's bytes, as they come, in any number of pieces."""

    __slots__ = ("_header", "_mask", "_missing", "_payload", "_text")

    def __init__(self) -> None:
        self._header = b""  # of the frame that is still coming, or as much of it as there is
        self._missing = 0  # bytes of its payload; 0 while the header itself is incomplete
        self._mask = b""  # turned to where the next byte of the payload stands
        self._payload: bytearray | None = None  # what has come of it, unmasked
        self._text: TextCheck | None = None  # of a text, to notice the first wrong byte

    def read(self, data: bytes, limit: int, take: Callable[[int, bytes | bytearray], object]) -> bytes:
        """Call `take` with opcode and message of each complete frame; text is UTF-8, and was checked.

        Return what is not for this reader: often b"". `limit` is that of a message's size. What is returned begins
        where a frame begins, and the next call is to come only when all of it has been dealt with.
        """
        if self._missing:
            position = self._continue(data, take)
            if position < 0:
                return self.give_back() + data
        else:
            position = 0
            if self._header:
                data, self._header = self._header + data, b""
        end = len(data)
        while end - position > 1:
            first, size = data[position], data[position + 1] - _MASKED
            if (first != _WHOLE_TEXT and first != _WHOLE_BINARY) or size < 0:  # noqa: PLR1714 - a tuple costs more
                return data[position:]
            if size < 126:
                start = position + 6
                if start > end:
                    break
            elif size == 126:
                start = position + 8
                if start > end:
                    break
                (size,) = _U16.unpack_from(data, position + 2)
                if size < 126:
                    return data[position:]
            else:
                start = position + 14
                if start > end:
                    break
                (size,) = _U64.unpack_from(data, position + 2)
                if size < 65536:
                    return data[position:]
            if size > limit:
                return data[position:]
            stop = start + size
            if stop > end:
                if self._begin(data[position:start], data[start:], size):
                    return b""
                return data[position:]
            payload = data[start:stop] if size < _VIEW else memoryview(data)[start:stop]
            message = apply_mask(payload, data[start - 4 : start])
            if first == _WHOLE_TEXT and not is_utf8(message):
                return data[position:]
            take(first - _WHOLE, message)
            position = stop
        if position < end:
            if end - position == 1 and data[position] not in (_WHOLE_TEXT, _WHOLE_BINARY):
                return data[position:]
            self._header = data[position:]
        return b""

    def give_back(self) -> bytes:
        """What has come of a frame that is not complete, as it came, when somebody else is to read on."""
        header, payload = self._header, self._payload
        self._header, self._payload, self._missing = b"", None, 0
        return header + apply_mask(payload, header[-4:]) if payload else header

    # A frame that comes in pieces.

    def _begin(self, header: bytes, payload: bytes, size: int) -> bool:
        """Keep the beginning of a frame; False if it is text and wrong already."""
        self._header, self._mask = header, header[-4:]
        self._missing, self._payload = size, bytearray()
        self._text = TextCheck() if header[0] == _WHOLE_TEXT else None
        if self._add(payload):
            return True
        self._header, self._payload, self._missing = b"", None, 0
        return False

    def _continue(self, data: bytes, take: Callable[[int, bytes | bytearray], object]) -> int:
        """Add to the frame that is coming. Return how much of `data` is its; -1 if it is text and wrong."""
        size = min(len(data), self._missing)
        if not self._add(data if size == len(data) else memoryview(data)[:size]):
            return -1
        if not self._missing:
            payload = self._payload
            assert payload is not None
            opcode = self._header[0] - _WHOLE
            self._header, self._payload = b"", None
            take(opcode, payload)
        return size

    def _add(self, masked: bytes | memoryview) -> bool:
        piece = apply_mask(masked, self._mask)
        size = len(piece)
        if self._text and not self._text.may_go_on(piece, size == self._missing):
            return False
        assert self._payload is not None
        self._payload += piece
        self._missing -= size
        self._mask = self._mask[size % 4 :] + self._mask[: size % 4]
        return True


class TextCheck:
    """Whether bytes that come in pieces may still become UTF-8."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder: IncrementalDecoder | None = None  # while everything is ASCII there is nothing to remember

    def may_go_on(self, piece: bytes, is_last: bool) -> bool:
        """Whether `piece` may follow what has been seen; `is_last` if nothing more comes."""
        if self._decoder is None:
            if piece.isascii():
                return True
            self._decoder = getincrementaldecoder("utf-8")()
        try:
            self._decoder.decode(piece, is_last)
        except UnicodeDecodeError:
            return False
        incomplete = self._decoder.getstate()[0]
        return incomplete[:1] != b"\xed" or incomplete[1:] < b"\xa0"  # a surrogate, which Python sees a byte later
