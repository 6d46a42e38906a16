"""permessage-deflate for what the hub sends (RFC 7692): each message by itself, so once for all who agreed on the same.

A server may always compress a message without the context of those before it. That loses some compression, and gains
two things: a broadcast is compressed once for each window size and not once for each client, and a client costs the hub
no compressor of 256 KiB.
"""

import zlib

from wshub.sockets.frames import make_frame, split_frame

COMPRESSED = 0x40  # RSV1 of a message's first frame
MEMORY_LEVEL = 8  # zlib's default, and Autobahn's
_EMPTY_BLOCK = -4  # what a sync flush ends with, and what is left out (RFC 7692, section 7.2.1)

Key = tuple[bytes, int]


class Deflater:
    """Compresses frames and keeps the results, until it is told to forget, for the next one who wants the same."""

    def __init__(self) -> None:
        self._results: dict[Key, bytes] = {}

    def compress(self, frame: bytes, window_bits: int) -> bytes:
        """The compressed form of a frame that `make_frame` made, for a client with a window of so many bits."""
        key = frame, window_bits
        result = self._results.get(key)
        if result is None:
            result = self._results[key] = compress_frame(frame, window_bits)
        return result

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to forget."""
        return not self._results

    def forget(self) -> None:
        """Give the memory back."""
        self._results.clear()


def compress_frame(frame: bytes, window_bits: int) -> bytes:
    """The frame of the same message, compressed."""
    opcode, payload = split_frame(frame)
    compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -window_bits, MEMORY_LEVEL)
    compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    plain = make_frame(opcode, compressed[:_EMPTY_BLOCK])
    return bytes((plain[0] | COMPRESSED,)) + plain[1:]
