"""WebSocket data frames, as the hub sends them: one frame a message, unmasked (RFC 6455, section 5.2)."""

from struct import Struct

TEXT, BINARY = 1, 2  # opcodes

_MEDIUM = Struct(">BBH")
_LARGE = Struct(">BBQ")
_SMALL_HEADERS = {opcode: [bytes((0x80 | opcode, size)) for size in range(126)] for opcode in (TEXT, BINARY)}


def make_frame(opcode: int, payload: bytes) -> bytes:
    """The one frame of a whole message; `opcode` is `TEXT`, and `payload` UTF-8, or `BINARY`."""
    size = len(payload)
    if size < 126:
        return _SMALL_HEADERS[opcode][size] + payload
    if size < 65536:
        return _MEDIUM.pack(0x80 | opcode, 126, size) + payload
    return _LARGE.pack(0x80 | opcode, 127, size) + payload


def split_frame(frame: bytes) -> tuple[int, bytes]:
    """The opcode and the payload of a frame that `make_frame` made."""
    header = {126: 4, 127: 10}.get(frame[1], 2)
    return frame[0] & 0x0F, frame[header:]
