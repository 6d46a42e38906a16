"""The hub's end of a service's pipes in a test: what the service writes is taken apart at once."""

import os
from collections.abc import Callable, Sequence

from wshub.service.channel import Channel
from wshub.wire.batches import BatchReader, decode_columns


class NotingChannel(Channel):
    """A channel that hands what is written to `on_transaction`: kind, socket id, payload.

    The pipe that it reads from is real, for services and loops that watch it, but nothing comes through it but its end.
    """

    def __init__(self, on_transaction: Callable[[int, int, bytes], None]) -> None:
        read_fd, self._hub_fd = os.pipe2(os.O_CLOEXEC)
        super().__init__(read_fd, -1)
        self._on_transaction = on_transaction
        self._batches = BatchReader()

    def hang_up(self) -> None:
        """Close the pipe, as a hub does that wants the service to finish."""
        if self._hub_fd >= 0:
            os.close(self._hub_fd)
            self._hub_fd = -1

    def close(self) -> None:
        """Close what is open, once the service has finished."""
        self.hang_up()
        for fd in (self.read_fd, self._wake_fd):
            if fd is not None:
                os.close(fd)

    def _write(self, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        for body in self._batches.feed(b"".join(pieces)):
            for kind, socket_id, payload in decode_columns(body):
                self._on_transaction(kind, socket_id, bytes(payload))
