"""What waits in the hub for one client that does not read as fast as it is sent to: bounded, and whole messages only.

Nothing here sends. A connection has a `Backlog` for as long as its transport is full. A message that fits waits; for
one that does not, its service has chosen what happens (`slow_clients`):

================  ===========================================================================================
``close``         the client is closed with 1013, "try again later" (IANA's registry of close codes); the default
``drop-oldest``   what has waited longest makes room: for positions, prices, pictures, where the newest counts
``drop-newest``   it is not sent: for what is of no use once something is missing
``pause``         it waits all the same, and the hub reads nothing more from the service until there is room: for
                  services with one kind of client, all of which have to get everything
================  ===========================================================================================

A message is never cut. One that is larger than the bound by itself waits if nothing else does.
"""

from collections import deque

from wshub.wire import SLOW_CLIENTS

CLOSE, DROP_OLDEST, DROP_NEWEST, PAUSE = SLOW_CLIENTS

PIECE = 64 << 10  # bytes; what is given to the transport at once, which is what it has room for before it is full

_OPCODE = 0x0F
_CLOSE_FRAME, _PONG = 0x8, 0xA


class Backlog:
    """Frames that wait for one client, in order. Control frames do not count: there are two at most."""

    __slots__ = ("_close", "_frames", "_pong", "size")

    def __init__(self) -> None:
        self.size = 0
        """Bytes of the messages that wait."""
        self._frames: deque[bytes] = deque()
        self._pong = b""
        self._close = b""

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._frames)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, no control frame either."""
        return not (self._frames or self._pong or self._close)

    def has_room(self, frame: bytes, limit: int) -> bool:
        """Whether a message fits into `limit` bytes with those that wait."""
        return not self._frames or self.size + len(frame) <= limit

    def add(self, frame: bytes) -> None:
        """Let a message wait."""
        self._frames.append(frame)
        self.size += len(frame)

    def make_room(self, frame: bytes, limit: int) -> int:
        """Drop the oldest messages until `frame` fits. Return how many."""
        count = 0
        while not self.has_room(frame, limit):
            self.size -= len(self._frames.popleft())
            count += 1
        return count

    def clear(self) -> int:
        """Drop all messages. Return how many."""
        count = len(self._frames)
        self._frames.clear()
        self.size = 0
        return count

    def add_control(self, frame: bytes) -> None:
        """Let a control frame wait.

        Of pongs only the latest is kept, which is all that a ping's sender may expect (RFC 6455, section 5.5.3); a ping
        of our own is left out, as nothing else could be learned from it. After a close frame nothing is sent.
        """
        opcode = frame[0] & _OPCODE
        if opcode == _CLOSE_FRAME:
            self._close = frame
        elif opcode == _PONG:
            self._pong = frame

    def take(self) -> bytes:
        """Take out what the transport is to be given next; empty if nothing waits."""
        pieces = [self._pong] if self._pong else []
        self._pong, size = b"", 0
        while self._frames and size < PIECE:
            frame = self._frames.popleft()
            pieces.append(frame)
            size += len(frame)
        self.size -= size
        if not self._frames:
            pieces.append(self._close)
            self._close = b""
        return b"".join(pieces)


def unsent(frames: list[bytes], sent: int) -> list[bytes]:
    """What is left of `frames` when so many of their bytes have been sent: the rest of one, and all that follow."""
    for number, frame in enumerate(frames):
        if sent < len(frame):
            return [frame[sent:], *frames[number + 1 :]]
        sent -= len(frame)
    return []
