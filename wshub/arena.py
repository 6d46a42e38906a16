"""Memory that the hub and one service process share, beside their pipes: large batches are copied once, not through the
kernel.

What a pipe takes is copied into pages that the kernel finds one by one, and copied out of them again: for a message of
64 KiB that costs four times as much as copying it from one place in memory to another. So a large stretch of the
stream (see :mod:`wshub.wire`) is put into an *arena*, and a reference to it goes through the pipe in its place: the
pipe still says when there is something, and in which order. Each direction has an arena of its own, in one memfd::

    memfd    |          to the service            |             to the hub             |
    arena    | released: u64 | unused, to `START` | ARENA_SIZE bytes: stretches, in a ring |

Positions count all bytes that were ever put in, gaps included; where in the ring one is, is its remainder. The one who
writes knows where the last stretch ended; the one who reads says in `released` up to where he has done with it. Without
room for a stretch, it goes through the pipe: nobody ever waits for an arena.
Where the system has no memory to share, all goes through the pipe; and so does what a process says that a service has
forked, which could not know where the next stretch begins.

The hub trusts none of it. What a service may change at any moment, it reads once, or copies before it looks; a
`released` that cannot be only keeps the arena from being used; and the seals of the memfd keep its size from changing,
since touching a page that is gone would end the hub (memfd_create(2), fcntl(2)).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from struct import Struct

from wshub.errors import WireError

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from mmap import mmap
    from typing import Any

    Piece = bytes | bytearray | memoryview

ARENA_SIZE = 2 << 20  # bytes; it stays untouched, and costs nothing, where messages are small
START = 4096  # a page: `released` has a cache line to itself, and stretches begin at one
FROM_SIZE = 16 << 10  # bytes of a stretch; below, the pipe is as cheap
HALF = START + ARENA_SIZE
ARENA_FD = 5  # of a service process, until it has mapped it

IN_ARENA = 0xFFFF0000  # where a batch has its size: no batch can be that large
OVERCOMMIT = "/proc/sys/vm/overcommit_memory"
UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}  # mmap's options
REFERENCE = Struct("<IQI")  # IN_ARENA, position, size


class ArenaWriter:
    """The end that puts stretches in."""

    def __init__(self, memory: memoryview) -> None:
        """Make it of one direction's half of what is shared."""
        self._released = memory[:8].cast("Q")
        self._ring = memory[START : START + ARENA_SIZE]
        self._end = 0  # of the last stretch

    def put(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """What to write to the pipe for `pieces`, whole batches: a reference if they are large and there is room."""
        if len(pieces) == 1 and len(pieces[0]) < FROM_SIZE:
            return pieces
        size = sum(map(len, pieces))
        if not FROM_SIZE <= size <= ARENA_SIZE:
            return pieces
        released, begin = self._released[0], self._end
        offset = begin % ARENA_SIZE
        if offset and (released == begin or offset + size > ARENA_SIZE):
            # To the start of the ring: a stretch is in one piece, and memory that was just used is in the cache.
            begin += ARENA_SIZE - offset
            offset = 0
        if not 0 <= begin + size - released <= ARENA_SIZE and released != self._end:
            return pieces
        self._end = begin + size
        for piece in pieces:
            end = offset + len(piece)
            self._ring[offset:end] = piece
            offset = end
        return (REFERENCE.pack(IN_ARENA, begin, size),)

    def close(self) -> None:
        """Let go of the memory."""
        self._released.release()
        self._ring.release()


class ArenaReader:
    """The end that reads them."""

    def __init__(self, memory: memoryview) -> None:
        """Make it of one direction's half of what is shared."""
        self._released = memory[:8].cast("Q")
        self._ring = memory[START : START + ARENA_SIZE].toreadonly()

    def look(self, position: int, size: int) -> memoryview:
        """The stretch that a reference is about, good until it is released; raise `WireError` if there can be none."""
        offset = position % ARENA_SIZE
        if not 0 < size <= ARENA_SIZE - offset:
            raise WireError(f"a reference to {size} bytes at {offset} of an arena of {ARENA_SIZE}")
        return self._ring[offset : offset + size]

    def release(self, end: int) -> None:
        """All up to this position has been dealt with."""
        self._released[0] = end & 0xFFFFFFFFFFFFFFFF

    def close(self) -> None:
        """Let go of the memory."""
        self._released.release()
        self._ring.release()


def create_memory() -> int:
    """A descriptor of the memory for both directions, close-on-exec, all zeros. Raise `OSError` if there is none."""
    import errno  # noqa: PLC0415 - the hub's alone
    import fcntl  # noqa: PLC0415 - likewise

    if not hasattr(os, "memfd_create"):  # as where it was built for any Linux, with a C library from before 2018
        raise OSError(errno.ENOSYS, "this Python has no memfd_create")
    if is_counted_strictly():
        raise OSError(errno.ENOMEM, "the kernel may have no page when one is touched (vm.overcommit_memory)")
    fd = os.memfd_create("wshub", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, 2 * HALF)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except OSError:
        os.close(fd)
        raise
    return fd


def is_counted_strictly() -> bool:
    """Whether the kernel gives out no more memory than there is.

    It does not set any aside for a memfd then, and whoever touches a page when there is none left is ended by SIGBUS,
    where anything else would get an error (proc_sys_vm(5), overcommit_memory).
    """
    try:
        with open(OVERCOMMIT) as file:
            return file.read().strip() == "2"
    except OSError:
        return False


class SharedMemory:
    """The memory of both directions, mapped; in the hub."""

    def __init__(self, fd: int) -> None:
        """Map it. Raise `OSError`. `fd` may be closed then, though until Python 3.13 mapping takes one as well."""
        self._mapped = map_memory(fd)
        halves = halve(self._mapped)
        self.writer = ArenaWriter(halves[0])
        self.reader = ArenaReader(halves[1])

    def close(self) -> None:
        """Give it back."""
        self.writer.close()
        self.reader.close()
        try:
            self._mapped.close()
        except BufferError:
            pass  # somebody still has a stretch: it ends with the last of those


def map_for_good(fd: int) -> tuple[memoryview, memoryview]:
    """The halves that come from the hub and go to it; in a service process, which has one thread at this moment.

    No descriptor of it stays open: the author's files begin with the numbers that they would have without it.
    """
    number = os.dup(fd)  # the lowest that is free, and so the next as well
    os.close(number)
    mapped = map_memory(fd)
    if not UNTRACKED:
        os.close(number)  # mmap's own duplicate, which it needs for nothing but to change the size
        # If it were ever freed, it would close what has that number by then. So the interpreter itself has it, which
        # lets go when every module and file is gone; the method does nothing.
        os.register_at_fork(after_in_child=mapped.tell)
    os.close(fd)
    return halve(mapped)


def map_memory(fd: int) -> mmap:
    """Map the memory. Raise `OSError`."""
    from mmap import mmap  # noqa: PLC0415 - not part of what a service without an arena needs

    return mmap(fd, 2 * HALF, **UNTRACKED)


def halve(mapped: mmap) -> tuple[memoryview, memoryview]:
    """The two directions: to the service, to the hub."""
    memory = memoryview(mapped)
    return memory[:HALF], memory[HALF:]
