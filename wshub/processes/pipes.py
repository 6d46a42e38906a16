"""The hub's ends of a service's two pipes.

Descriptors of our own, because Twisted's read 8 KiB at a time and write a turn late.
"""

import fcntl
import os
import sys
import termios
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from wshub.poller import Poller
from wshub.wire import PIPE_SIZE
from wshub.wire.batches import MAX_PIECES, PipeBuffer

HIGH_MARK = 1 << 20  # bytes that wait for the pipe, which holds as many again: from here on its clients have to wait
LOW_MARK = 256 << 10  # bytes, and then they may go on

_buffer = PipeBuffer()  # one for all pipes: nothing stays in it


class PipeReader:
    """The hub's end of the pipe from a service: calls `received` with what comes, `ended` once when it is closed."""

    def __init__(
        self, poller: Poller, fd: int, received: Callable[[bytes | memoryview], None], ended: Callable[[], None]
    ) -> None:
        self._poller = poller
        self._fd = fd
        self._received = received
        self._ended = ended
        self.is_open = True
        poller.add(fd, self._readable)

    def _readable(self) -> None:
        try:
            data = _buffer.read(self._fd)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._received(data)
        else:
            self.close()

    def hold(self, is_held: bool) -> None:
        """Read nothing for now, not even the end of the stream, or read on."""
        if self.is_open:
            (self._poller.pause if is_held else self._poller.resume)(self._fd)

    def drain(self) -> None:
        """Read whatever the process has left, when it is no more; not what a stranger adds who still has its pipe."""
        left = count_bytes(self._fd) if self.is_open else 0
        while self.is_open and left > 0:
            try:
                data = _buffer.read(self._fd)
            except OSError:
                return
            if not data:
                return
            left -= len(data)
            self._received(data)

    def close(self) -> None:
        """Read no more."""
        if self.is_open:
            self.is_open = False
            self._poller.remove(self._fd)
            os.close(self._fd)
            self._ended()


class PipeWriter(FileDescriptor):
    """The hub's end of the pipe to a service: writes at once what the pipe takes, and the rest as it empties."""

    def __init__(self, reactor: Any, fd: int, on_full: Callable[[], None], on_drained: Callable[[], None]) -> None:
        super().__init__(reactor)
        self._fd = fd
        self._queue: deque[memoryview] = deque()
        self._waiting = 0  # bytes in the queue
        self._is_full = False
        self._on_full = on_full
        self._on_drained = on_drained
        self.connected = 1

    def fileno(self) -> int:
        return self._fd

    @property
    def waiting(self) -> int:
        """Bytes that the pipe has not taken yet."""
        return self._waiting if self.connected else 0

    def send(self, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        """Write `pieces`, now or later, in order. Nothing happens once the pipe is closed."""
        if not self.connected or self.disconnecting:
            return
        if not self._queue:
            written = self._write(pieces)
            if written == (len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))):
                return
            self.startWriting()
            pieces = (memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))[written:],)
        self._queue.extend(map(memoryview, pieces))
        self._waiting += sum(map(len, pieces))
        if self._waiting > HIGH_MARK and not self._is_full:
            self._is_full = True
            self._on_full()

    def doWrite(self) -> BaseException | None:
        while self._queue:
            data = self._queue[0]
            written = self._write((data,))
            self._waiting -= written
            if self._is_full and self._waiting <= LOW_MARK:
                self._is_full = False
                self._on_drained()
            if written < len(data):
                self._queue[0] = data[written:]
                return None
            self._queue.popleft()
        self.stopWriting()
        return ConnectionDone() if self.disconnecting else None

    def loseConnection(self) -> None:
        """Close the pipe once everything is written."""
        if self.connected and not self.disconnecting:
            self.disconnecting = 1
            if not self._queue:
                self.connectionLost(Failure(ConnectionDone()))

    def connectionLost(self, reason: Failure) -> None:
        if self.connected:
            super().connectionLost(reason)
            self._queue.clear()
            os.close(self._fd)

    def _write(self, pieces: Sequence[bytes | bytearray | memoryview]) -> int:
        try:
            if len(pieces) == 1:
                return os.write(self._fd, pieces[0])
            return os.writev(self._fd, pieces[:MAX_PIECES])  # several large batches have more
        except BlockingIOError:
            return 0
        except BrokenPipeError:  # the process has closed its end: that is noticed elsewhere, and nothing arrives now
            return sum(map(len, pieces))


def count_bytes(fd: int) -> int:
    """How many bytes there are to be read from a pipe at this moment."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def grow_pipe(fd: int) -> None:
    """Make room in a pipe, so that a batch need not be written in pieces; where there is none, that is well."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    except OSError:
        pass  # over the user's limit (pipe(7), pipe-user-pages-soft): the pipe keeps its 64 KiB
