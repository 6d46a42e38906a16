"""A service's end of the two pipes (the format is in :mod:`wshub.wire`)."""

import os
import select
from _thread import allocate_lock  # what threading.Lock is, without the millisecond for the rest of threading
from collections.abc import Callable, Sequence

from wshub.arena import ArenaReader, ArenaWriter
from wshub.wire import BINARY, DATA, FROM_HUB, MAX_MESSAGE, MULTICAST, MULTICAST_BINARY, TO_HUB
from wshub.wire.batches import MAX_PIECES, BatchReader, PipeBuffer, encode_columns
from wshub.wire.payloads import Transaction, decode_batch, decode_for_service

LONGEST_WAIT = 1e6  # seconds; poll takes twice as much at most

FLUSH_COUNT = 256  # transactions; beyond this a batch gets no cheaper, and the hub might as well begin with it
FLUSH_SIZE = 64 << 10  # bytes; what they take to copy is more than a write of their own takes

Message = str | bytes | bytearray | memoryview


class Channel:
    """Transactions in and out. What is posted is written at the next flush, or sooner if it gets much.

    Any thread may post and flush; the order of one thread's posts is kept. `on_first_post` is called when there is
    something to flush where there was nothing.
    """

    def __init__(self, read_fd: int = FROM_HUB, write_fd: int = TO_HUB) -> None:
        self.read_fd = read_fd
        self.reader = BatchReader()
        """For what comes from `read_fd`."""
        self.on_first_post: Callable[[], object] | None = None
        self.everybody: bytes | None = None
        """The address of all open clients, kept until one of them comes, goes or is closed."""
        self._write_fd = write_fd
        self._buffer = PipeBuffer()
        self._outbox: list[tuple[int, int, bytes]] = []
        self._arena: ArenaWriter | None = None
        self._size = 0  # about so many bytes are in it: it does not matter if two threads miscount
        self._writing = allocate_lock()
        self._poll = select.poll()
        self._poll.register(read_fd, select.POLLIN)
        self._wake_fd: int | None = None
        self._only_data = [(read_fd, select.POLLIN)]  # what a poll says nearly always

    def share(self, from_hub: memoryview, to_hub: memoryview) -> None:
        """Use memory that is shared with the hub for what is large: see :mod:`wshub.arena`. To be called first."""
        self.reader, self._arena = BatchReader(ArenaReader(from_hub)), ArenaWriter(to_hub)

    def begin_anew(self) -> None:
        """Be the channel of a process that was just forked from the one whose it is, and may send as well.

        What is queued is for the other one to send, and whoever was writing there is not here. Where the next stretch
        of the arena begins, only one of them can know; while the kernel keeps apart what both write to the pipe.
        """
        self._outbox.clear()
        self._size = 0
        self._writing = allocate_lock()
        self._arena = None

    def receive(self, timeout: float | None = None) -> list[Transaction] | None:
        """Wait for the hub: the transactions that came, or none after `timeout` seconds or a `wake`.

        None means the end of the stream.
        """
        if timeout is not None or self._wake_fd is not None:
            ready = self._poll.poll(None if timeout is None else 1000 * min(max(0.0, timeout), LONGEST_WAIT))
            if ready != self._only_data and not self._is_data_among(ready):
                return []
        data = self._buffer.read(self.read_fd)
        if not data:
            return None
        if one := self.reader.feed_one(data):
            return [decode_for_service(*one)]
        transactions: list[Transaction] = []
        for body in self.reader.feed(data):
            transactions += decode_batch(body)
        return transactions

    def _is_data_among(self, ready: list[tuple[int, int]]) -> bool:
        descriptors = [fd for fd, _ in ready]
        if self._wake_fd in descriptors:
            os.eventfd_read(self._wake_fd)
        return self.read_fd in descriptors

    def enable_wake(self) -> None:
        """Let `wake` work from now on."""
        self._wake_fd = os.eventfd(0)
        self._poll.register(self._wake_fd, select.POLLIN)

    def wake(self) -> None:
        """End a `receive` that is waiting, or else the next one. For use in other threads."""
        assert self._wake_fd is not None
        os.eventfd_write(self._wake_fd, 1)

    def post(self, kind: int, socket_id: int, payload: bytes) -> None:
        """Queue a transaction for the hub."""
        outbox = self._outbox
        outbox.append((kind, socket_id, payload))
        self._size += len(payload)
        if self._size > FLUSH_SIZE or len(outbox) >= FLUSH_COUNT:
            self.flush()
        elif self.on_first_post and len(outbox) == 1:
            self.on_first_post()

    def send(self, socket_id: int, data: Message) -> None:
        """Queue a message to one client: text if it is `str`, else binary."""
        if isinstance(data, str):
            self.post(DATA, socket_id, encode_message(data))
        else:
            self.post(BINARY, socket_id, encode_message(data))

    def multicast(self, address: bytes, data: Message) -> None:
        """Queue one message to many clients: it crosses the pipe once. `address` is `wire.encode_address`'s."""
        kind = MULTICAST if isinstance(data, str) else MULTICAST_BINARY
        self.post(kind, 0, address + encode_message(data))

    def flush(self) -> None:
        """Write everything that is queued; waits while the pipe is full, which ends because the hub always reads."""
        outbox = self._outbox
        if not outbox:
            return
        with self._writing:
            self._size, batch = 0, outbox[:]
            del outbox[: len(batch)]  # in place: another thread may be appending to this very list
            if batch:
                pieces = encode_columns(batch)
                self._write(self._arena.put(pieces) if self._arena else pieces)

    def is_hung_up(self) -> bool:
        """Whether the hub has closed the pipe, be there still something to read or not."""
        poll = select.poll()
        poll.register(self.read_fd, 0)
        return bool(poll.poll(0))

    def _write(self, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        try:
            if len(pieces) == 1:
                written = os.write(self._write_fd, pieces[0])
                if written == len(pieces[0]):
                    return
            else:
                written = os.writev(self._write_fd, pieces[:MAX_PIECES])
            if written < sum(map(len, pieces)):  # a signal has come between, or these are many
                rest = memoryview(b"".join(pieces))[written:]
                while rest:
                    rest = rest[os.write(self._write_fd, rest) :]
        except BrokenPipeError:
            pass  # the hub is gone, and with it everybody whom this was for: the end of the input says so


def encode_message(data: Message) -> bytes:
    """The payload of a message. Raise `TypeError` or `ValueError` at what cannot be sent."""
    if isinstance(data, str):
        payload = data.encode()
    elif isinstance(data, bytes | bytearray | memoryview):
        payload = bytes(data)
    else:
        raise TypeError(f"a message is str (text) or bytes (binary), not {type(data).__name__}")
    if len(payload) > MAX_MESSAGE:
        raise ValueError(f"a message of {len(payload)} bytes; at most {MAX_MESSAGE} can be sent")
    return payload
