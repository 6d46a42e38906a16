"""From a service process to its clients: what comes out of its pipe is decoded, framed and sent.

This is the hot path of everything that a service says. A single message has a short way of its own; whatever one read
brings for a socket is sent with one call; what goes to many is framed once, and whom it goes to is looked up once.
"""

from collections.abc import Callable

from wshub.accounting import Counts
from wshub.arena import ArenaReader
from wshub.processes.outgoing import Outgoing
from wshub.processes.socket import Socket
from wshub.sockets import frames as websocket
from wshub.sockets.frames import make_frame
from wshub.wire import BINARY, CLOSE, DATA, MULTICAST, MULTICAST_BINARY, SYNC
from wshub.wire.batches import BatchReader, decode_columns
from wshub.wire.payloads import decode_close

CLOSED_MEANWHILE = "closed meanwhile"  # why a message was dropped

_OPCODES = {
    DATA: websocket.TEXT,
    BINARY: websocket.BINARY,
    MULTICAST: websocket.TEXT,
    MULTICAST_BINARY: websocket.BINARY,
}
_TO_ONE = (DATA, BINARY)


class Delivery:
    """What one process says, on its way to its sockets, which are its link's.

    `find` is the link's: the socket with an id, None if it has closed meanwhile, `WireError` if it never was there.
    `hear` gets every transaction that is not for one client or many.
    """

    def __init__(
        self,
        sockets: dict[int, Socket],
        counts: Counts,
        find: Callable[[int], Socket | None],
        hear: Callable[[int, int, bytes], None],
    ) -> None:
        self._sockets = sockets
        self._counts = counts
        self._find = find
        self._hear = hear
        self._reader = BatchReader()
        self._group_address = b""  # if not empty, of the sockets that are in `_direct` and `_indirect`
        self._direct: list[Callable[[bytes], int]] = []
        self._indirect: list[int] = []

    def share(self, arena: ArenaReader) -> None:
        """What the process says may lie in this arena: to be called before it says anything."""
        self._reader = BatchReader(arena)

    def receive(self, data: bytes | memoryview) -> None:
        """Bytes from the process's pipe: do what they say. Raise `WireError` at what it has no right to say.

        Frames for one socket go to it together, in order. Nothing of `data` is kept.
        """
        if (one := self._reader.feed_one(data)) and one[0] in _TO_ONE and (socket := self._sockets.get(one[1])):
            self._counts.messages_out += 1
            socket.wshub_send([make_frame(_OPCODES[one[0]], one[2])])
            return
        outgoing = Outgoing()
        by_socket = outgoing.by_socket
        try:
            for body in self._reader.feed(data):
                for kind, socket_id, payload in decode_columns(body):
                    if kind in _TO_ONE:
                        if outgoing.to_many:
                            outgoing.spread()
                        frame = make_frame(_OPCODES[kind], payload)
                        if socket_id in by_socket:
                            by_socket[socket_id].append(frame)
                        else:
                            by_socket[socket_id] = [frame]
                    else:
                        self._do(kind, socket_id, bytes(payload), outgoing)
        finally:
            self._send_all(outgoing)

    def _do(self, kind: int, socket_id: int, payload: bytes, outgoing: Outgoing) -> None:
        """Do what a transaction says that is no message to one client."""
        if kind in (MULTICAST, MULTICAST_BINARY):
            outgoing.add_to_many(_OPCODES[kind], payload)
        elif kind == CLOSE:
            code, reason = decode_close(payload)
            if frames := outgoing.take(socket_id):
                self._send(socket_id, frames)
            if socket := self._find(socket_id):
                socket.wshub_close(code, reason)
        elif kind == SYNC:
            if frames := outgoing.take(socket_id):
                self._send(socket_id, frames)
            if socket := self._find(socket_id):
                socket.wshub_synced()
        else:
            self._hear(kind, socket_id, payload)

    def _send_all(self, outgoing: Outgoing) -> None:
        if outgoing.is_all_for_many:
            self._send_to_many(outgoing)
            return
        outgoing.spread()
        sockets, count = self._sockets, 0
        for socket_id, frames in outgoing.by_socket.items():
            if socket := sockets.get(socket_id):
                count += len(frames)
                socket.wshub_send(frames)
            else:
                self._send(socket_id, frames)
        self._counts.messages_out += count

    def _send_to_many(self, outgoing: Outgoing) -> None:
        """What goes to many goes to the same many again and again: whom it goes to, and how, is looked up once."""
        frames = outgoing.to_many
        if self._group_address != outgoing.address:
            self._find_group(outgoing)
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        size, unsent = len(data), []
        direct, indirect = self._direct, self._indirect
        for send in direct:
            try:
                sent = send(data)
            except OSError:
                sent = 0  # full, or broken, which the transport will find out
            if sent != size:
                unsent.append((send, sent))
        self._counts.messages_out += len(direct) * len(frames)
        for socket_id in indirect:
            self._send(socket_id, frames)
        if unsent:
            sockets = {id(each.wshub_direct): each for each in self._sockets.values()}
            for send, sent in unsent:
                sockets[id(send)].wshub_send_rest(frames, sent)

    def _find_group(self, outgoing: Outgoing) -> None:
        direct, indirect = [], []
        for socket_id in dict.fromkeys(outgoing.many):  # who is named twice gets it once
            socket = self._sockets.get(socket_id)
            if socket and socket.wshub_direct:
                direct.append(socket.wshub_direct)
            else:
                indirect.append(socket_id)
        self._group_address, self._direct, self._indirect = outgoing.address, direct, indirect

    def forget_group(self) -> None:
        """A socket has come or gone, or its `wshub_direct` has changed."""
        if self._group_address:
            self._group_address, self._direct, self._indirect = b"", [], []

    def _send(self, socket_id: int, frames: list[bytes]) -> None:
        if socket := self._find(socket_id):
            self._counts.messages_out += len(frames)
            socket.wshub_send(frames)
        else:
            self._counts.dropped[CLOSED_MEANWHILE] += len(frames)
