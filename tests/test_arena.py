"""Memory that the hub and a service share: what goes in comes out, in order, whatever the other end does."""

import fcntl
import os
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshub import arena
from wshub.arena import ARENA_SIZE, FROM_SIZE, HALF, IN_ARENA, REFERENCE, START, ArenaReader, ArenaWriter
from wshub.errors import WireError
from wshub.wire import BINARY
from wshub.wire.batches import BatchReader, decode_columns, encode_columns


class Pair:
    """Both ends of an arena, in this process, with the stream between them."""

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(HALF))
        self.writer = ArenaWriter(self.memory)
        self.arena = ArenaReader(self.memory)
        self.reader = BatchReader(self.arena)

    def send(self, *messages: bytes) -> bytes:
        """What goes through the pipe for these messages."""
        return b"".join(self.writer.put(encode_columns([(BINARY, 1, each) for each in messages])))

    def read(self, data: bytes) -> Iterator[bytes]:
        """The messages in what came through the pipe."""
        for body in self.reader.feed(data):
            yield from (bytes(payload) for _, _, payload in decode_columns(body))


@pytest.fixture
def pair() -> Pair:
    return Pair()


def is_reference(data: bytes) -> bool:
    """Whether this is what a pipe has for something in an arena."""
    return len(data) == REFERENCE.size and data[:4] == struct.pack("<I", IN_ARENA)


def test_what_is_large_goes_through_memory(pair: Pair) -> None:
    """The pipe has sixteen bytes instead; what is small goes through it as ever."""
    message = os.urandom(FROM_SIZE)
    data = pair.send(message)
    assert is_reference(data)
    assert list(pair.read(data)) == [message]
    assert not is_reference(pair.send(b"small"))
    assert list(pair.read(pair.send(b"small") + pair.send(message) + pair.send(b"small"))) == [
        b"small",
        message,
        b"small",
    ]


def test_many_small_messages_are_large_together(pair: Pair) -> None:
    """A batch counts, not what is in it."""
    messages = [b"%05d" % number * 10 for number in range(2000)]
    data = pair.send(*messages)
    assert is_reference(data)
    assert list(pair.read(data)) == messages


def test_no_room(pair: Pair) -> None:
    """What does not fit any more goes through the pipe, and into memory again as soon as the reader has caught up."""
    message = os.urandom(ARENA_SIZE // 4)
    said = [pair.send(message) for _ in range(6)]
    assert [is_reference(data) for data in said] == [True, True, True, False, False, False]  # three and their headers
    assert list(pair.read(b"".join(said))) == [message] * 6
    assert is_reference(pair.send(message))
    assert not is_reference(pair.send(bytes(ARENA_SIZE)))  # with its header it is larger


def test_memory_that_is_in_the_cache_is_used_again(pair: Pair) -> None:
    """As long as the reader keeps up, every stretch begins at the start."""
    positions = []
    for _ in range(5):
        data = pair.send(os.urandom(FROM_SIZE))
        positions.append(REFERENCE.unpack(data)[1] % ARENA_SIZE)
        assert len(list(pair.read(data))) == 1
    assert positions == [0] * 5


@given(st.lists(st.tuples(st.integers(1, ARENA_SIZE // 3), st.integers(0, 3)), max_size=30))
def test_any_order_of_writing_and_reading(steps: list[tuple[int, int]]) -> None:
    """Messages of any size, read sooner or later, come as they went."""
    pair, waiting = Pair(), deque[tuple[bytes, bytes]]()
    for number, (size, reads) in enumerate(steps):
        message = bytes((number,)) * size
        waiting.append((message, pair.send(message)))
        for _ in range(min(reads, len(waiting))):
            message, data = waiting.popleft()
            assert list(pair.read(data)) == [message]
    for message, data in waiting:
        assert list(pair.read(data)) == [message]


def test_a_reference_in_pieces(pair: Pair) -> None:
    """Wherever a pipe's reads cut it, it is understood."""
    message = os.urandom(FROM_SIZE)
    for cut in range(1, REFERENCE.size):
        data = pair.send(b"before") + pair.send(message) + pair.send(b"after")
        at = data.index(struct.pack("<I", IN_ARENA)) + cut
        assert [*pair.read(data[:at]), *pair.read(data[at:])] == [b"before", message, b"after"]


@pytest.mark.parametrize(
    ("position", "size"),
    [(0, 0), (0, ARENA_SIZE + 1), (1, ARENA_SIZE), (ARENA_SIZE - 1, 2), (2**64 - 1, 2), (5, 2**32 - 1)],
)
def test_a_reference_that_cannot_be(pair: Pair, position: int, size: int) -> None:
    """It is refused before anything is read."""
    with pytest.raises(WireError, match="reference"):
        list(pair.read(REFERENCE.pack(IN_ARENA, position, size)))


def test_the_same_memory_again_and_again(pair: Pair) -> None:
    """What one read refers to is at most what the arena holds: sixteen bytes each time would take megabytes of work."""
    (reference,) = pair.writer.put(encode_columns([(BINARY, 1, bytes(ARENA_SIZE // 2))]))
    (_, position, size) = REFERENCE.unpack(reference)
    again = b"".join(REFERENCE.pack(IN_ARENA, position, size) for _ in range(1000))
    with pytest.raises(WireError, match="at once"):
        list(pair.read(again))


def test_a_full_arena_in_one_read(pair: Pair) -> None:
    """All that there is room for, and what is put there once that was read, is never too much."""
    message = os.urandom(ARENA_SIZE // 4 - 100)
    for _ in range(5):
        data = b"".join(pair.send(message) for _ in range(4))
        assert len(data) == 4 * REFERENCE.size
        assert list(pair.read(data)) == 4 * [message]


def test_rubbish_in_the_arena(pair: Pair) -> None:
    """What is no batch, or ends within one, or refers to the arena again, is refused as it would be in a pipe."""
    for rubbish, why in (
        (bytes(64), "a batch of 0 bytes"),
        (b"\xff" * 64, "a batch of 4294967295 bytes"),
        (struct.pack("<I", 1000) + bytes(60), "ends within a batch"),
        (b"".join(encode_columns([(BINARY, 1, bytes(40))]))[:-1], "ends within a batch"),
        (REFERENCE.pack(IN_ARENA, 0, 64), "a batch of 4294901760 bytes"),
    ):
        pair.memory[START : START + len(rubbish)] = rubbish
        with pytest.raises(WireError, match=why):
            list(Pair.read(pair, REFERENCE.pack(IN_ARENA, 0, len(rubbish))))
        pair.reader = BatchReader(pair.arena)


@pytest.mark.parametrize("released", [1, 2**63, 2**64 - 1])
def test_a_reader_that_lies(pair: Pair, released: int) -> None:
    """A position that cannot be keeps the arena from being used; the pipe goes on."""
    message = bytes(FROM_SIZE)
    assert is_reference(pair.send(message))
    pair.memory[:8] = struct.pack("<Q", released)
    for _ in range(2 * ARENA_SIZE // FROM_SIZE):
        data = pair.send(message)
        assert is_reference(data) or len(data) > FROM_SIZE
    assert not is_reference(pair.send(message))


def test_the_memory_cannot_change_its_size() -> None:
    """A service that truncated it would end the hub at its next look, with SIGBUS."""
    fd = arena.create_memory()
    try:
        assert os.fstat(fd).st_size == 2 * HALF
        assert not os.get_inheritable(fd)
        for size in (0, 4 * HALF):
            with pytest.raises(PermissionError):
                os.ftruncate(fd, size)
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    finally:
        os.close(fd)


def test_two_processes() -> None:
    """What the hub puts in is there in a process that has mapped it, where no descriptor of it stays open."""
    fd = arena.create_memory()
    memory = arena.SharedMemory(fd)
    ((_, position, size),) = [REFERENCE.unpack(each) for each in memory.writer.put((b"a" * FROM_SIZE, b"the end"))]
    program = dedent(
        f"""
        import gc, os, sys
        from wshub import arena
        before = set(os.listdir("/proc/self/fd"))
        halves = arena.map_for_good({fd})
        gc.collect()
        assert before - set(os.listdir("/proc/self/fd")) == {{"{fd}"}}, os.listdir("/proc/self/fd")
        reader, writer = arena.ArenaReader(halves[0]), arena.ArenaWriter(halves[1])
        sys.stdout.buffer.write(bytes(reader.look({position}, {size}))[-7:])
        reader.release({position + size})
        writer.put((b"b" * {FROM_SIZE},))
        """
    )
    try:
        done = subprocess.run([sys.executable, "-c", program], pass_fds=[fd], capture_output=True, check=False)
        assert (done.stdout, done.stderr, done.returncode) == (b"the end", b"", 0)
        assert bytes(memory.reader.look(0, FROM_SIZE)) == b"b" * FROM_SIZE
        ((_, again, _),) = [REFERENCE.unpack(each) for each in memory.writer.put((b"c" * FROM_SIZE,))]
        assert again == ARENA_SIZE  # the start of the ring once more: it was released
    finally:
        memory.close()
        os.close(fd)


def test_a_system_without_such_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where Python does not have it, or where touching it could end the hub, there is none: an error as any other."""
    setting = tmp_path / "overcommit_memory"
    monkeypatch.setattr(arena, "OVERCOMMIT", setting)
    for strictness in (None, "0\n", "1\n"):
        if strictness:
            setting.write_text(strictness)
        os.close(arena.create_memory())
    setting.write_text("2\n")
    with pytest.raises(OSError, match="overcommit_memory"):
        arena.create_memory()
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(OSError, match="no memfd_create"):
        arena.create_memory()


def test_files_with_the_numbers_that_it_had(tmp_path: Path) -> None:
    """What a process opens after it has mapped the memory stays open, also if it has no use for the memory any more."""
    fd = arena.create_memory()
    program = dedent(
        f"""
        import gc
        from wshub import arena
        halves = arena.map_for_good({fd})
        files = [open(f"{tmp_path}/{{number}}", "w") for number in range(4)]
        del halves
        gc.collect()
        for file in files:
            print("the last words", file=file)
        files.append(files)  # a cycle: it is at the very end that they are written
        """
    )
    try:
        done = subprocess.run([sys.executable, "-c", program], pass_fds=[fd], capture_output=True, check=False)
    finally:
        os.close(fd)
    assert (done.stderr, done.returncode) == (b"", 0)
    assert [(tmp_path / str(number)).read_text() for number in range(4)] == ["the last words\n"] * 4
