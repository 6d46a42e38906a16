"""Frames on their way from a service to its clients, until everything that came with them has been read.

Whatever one read brings for a socket is sent with one call. Most of what is sent to many goes to the same many, again
and again: as long as nothing else comes between, such frames are kept once for all of them.
"""

from wshub.sockets.frames import make_frame
from wshub.wire.payloads import decode_multicast


class Outgoing:
    """Frames by socket id, in the order in which they came."""

    def __init__(self) -> None:
        self.by_socket: dict[int, list[bytes]] = {}
        self.to_many: list[bytes] = []
        """Frames that come after those in `by_socket`, all for the same sockets."""
        self.address = b""
        """For whom those are, as it came; `many` is what it says."""
        self.many: tuple[int, ...] = ()

    def add_to_many(self, opcode: int, payload: bytes) -> None:
        """Add a message for many, framed once. Raise `WireError` if that is not what `payload` is."""
        size = len(self.address)
        if self.to_many and payload[:size] == self.address:  # it begins with its count: so it ends there, too
            self.to_many.append(make_frame(opcode, payload[size:]))
            return
        self.spread()
        self.many, message = decode_multicast(payload)
        self.address = payload[: len(payload) - len(message)]
        self.to_many.append(make_frame(opcode, message))

    def spread(self) -> None:
        """Put what is for many where everything else is: something else comes after it."""
        if self.to_many:
            for socket_id in dict.fromkeys(self.many):  # who is named twice gets it once
                self.by_socket.setdefault(socket_id, []).extend(self.to_many)
            self.to_many = []

    def take(self, socket_id: int) -> list[bytes]:
        """Take the frames for one socket out."""
        self.spread()
        return self.by_socket.pop(socket_id, [])

    @property
    def is_all_for_many(self) -> bool:
        """Whether there is nothing but frames for one set of many."""
        return bool(self.to_many) and not self.by_socket
