"""The hub's ends of a service's pipes: real pipes, and a reactor whose turns the test makes."""

import fcntl
import os
import random

import pytest

from wshub.poller import Poller
from wshub.processes.pipes import HIGH_MARK, LOW_MARK, PipeReader, PipeWriter, grow_pipe
from wshub.testing import FakeReactor
from wshub.wire import PIPE_SIZE
from wshub.wire.batches import MAX_PIECES


class Pipe:
    """A pipe, both ends without blocking, and what its hub's end reports."""

    def __init__(self):
        self.reactor = FakeReactor()
        self.poller = Poller(self.reactor)
        self.events = []
        self.read_fd, self.write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.other_ends = set()
        self.hub_end = None

    def writer(self):
        """The hub writes, the test reads."""
        self.other_ends = {self.read_fd}
        self.hub_end = PipeWriter(
            self.reactor,
            self.write_fd,
            lambda: self.events.append("full"),
            lambda: self.events.append("drained"),
        )
        return self.hub_end

    def reader(self):
        """The hub reads, the test writes."""
        self.other_ends = {self.write_fd}
        self.hub_end = PipeReader(
            self.poller,
            self.read_fd,
            lambda data: self.events.append(bytes(data)),
            lambda: self.events.append("ended"),
        )
        return self.hub_end

    def read(self, size=1 << 20):
        """What is in the pipe, at most `size`; None if nothing is, empty at its end."""
        try:
            return os.read(self.read_fd, size)
        except BlockingIOError:
            return None

    def read_all(self, size=1 << 20):
        """Let the hub write and read it, by turns, until nothing comes any more."""
        pieces = []
        while piece := self.read(size):
            pieces.append(piece)
            self.reactor.turn()
        return b"".join(pieces)

    def close_other_end(self):
        """Close what is not the hub's."""
        for fd in self.other_ends:
            os.close(fd)
        self.other_ends = set()

    def close(self):
        """Close whatever is still open."""
        self.close_other_end()
        if isinstance(self.hub_end, PipeReader):
            self.hub_end.close()
        elif self.hub_end.connected:
            os.close(self.hub_end.fileno())
        self.poller.close()


@pytest.fixture
def pipe():
    """A pipe whose hub's end is a `writer()` or a `reader()`."""
    pipe = Pipe()
    yield pipe
    pipe.close()


def is_open(fd):
    """Whether a descriptor is."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


# Writing.


def test_written_at_once(pipe):
    """What the pipe takes is there before the reactor's next turn, and the reactor has nothing to watch."""
    writer = pipe.writer()
    writer.send((b"one", b"two", memoryview(b"three")))
    writer.send((b"four",))
    assert pipe.read() == b"onetwothreefour"
    assert not pipe.reactor._writers
    writer.send(())
    assert pipe.read() is None


@pytest.mark.parametrize("seed", range(10))
def test_partial_writes_keep_the_order(pipe, seed):
    """Whatever is sent while the pipe is full, and however little is read at a time, arrives whole and in order."""
    rng = random.Random(seed)
    writer, sent, received = pipe.writer(), [], []
    for _ in range(60):
        pieces = [rng.randbytes(rng.choice((0, 1, 100, 5_000, 70_000))) for _ in range(rng.randrange(1, 5))]
        sent += pieces
        writer.send([memoryview(piece) if rng.random() < 0.3 else piece for piece in pieces])
        if rng.random() < 0.5:
            received.append(pipe.read(rng.choice((1, 4_096, 65_536))) or b"")
        if rng.random() < 0.5:
            pipe.reactor.turn()
    pipe.reactor.turn()
    received.append(pipe.read_all(rng.choice((4_096, 1 << 20))))
    assert b"".join(received) == b"".join(sent)
    assert not pipe.reactor._writers
    assert writer._waiting == 0


def test_many_pieces(pipe):
    """As many pieces as the system takes with one call, also if they do not all find room."""
    writer = pipe.writer()
    pieces = [b"%d," % number * 40 for number in range(MAX_PIECES)]
    writer.send(pieces)
    assert pipe.read_all() == b"".join(pieces)


def test_more_pieces_than_one_call_takes(pipe):
    """Several large batches at once have more pieces than writev(2) takes: all of them are written, in order."""
    grow_pipe(pipe.write_fd)
    writer = pipe.writer()
    pieces = [b"%05d" % number for number in range(3 * MAX_PIECES)]
    writer.send(pieces)
    writer.send([b"end"])
    assert pipe.read_all() == b"".join(pieces) + b"end"


def test_marks(pipe):
    """At the high mark, once, its clients wait; at the low mark, once, they go on."""
    writer, piece = pipe.writer(), bytes(64 << 10)
    while writer._waiting + len(piece) <= HIGH_MARK:
        writer.send((piece,))
        assert pipe.events == []
    writer.send((piece,))
    assert pipe.events == ["full"]
    writer.send((piece,))
    writer.send((piece, piece))
    assert pipe.events == ["full"]
    while writer._waiting > LOW_MARK:
        assert pipe.events == ["full"]
        pipe.read(4096)
        pipe.reactor.turn()
    assert pipe.events == ["full", "drained"]
    pipe.read_all()
    assert pipe.events == ["full", "drained"]
    writer.send((bytes(HIGH_MARK * 2),))
    pipe.read_all()
    assert pipe.events == ["full", "drained"] * 2


def test_more_while_it_is_told_to_drain(pipe):
    """What is sent by whoever hears that there is room again comes after what was sent before."""
    writer = pipe.writer()
    writer._on_drained = lambda: writer.send((b"last",))
    first = random.Random(1).randbytes(HIGH_MARK * 3)
    writer.send((first,))
    assert pipe.events == ["full"]
    assert pipe.read_all() == first + b"last"


def test_close_with_nothing_to_write(pipe):
    """A pipe with nothing to write is closed at once."""
    writer = pipe.writer()
    writer.send((b"all",))
    writer.loseConnection()
    assert not is_open(pipe.write_fd)
    assert pipe.read() == b"all"
    assert pipe.read() == b""
    writer.loseConnection()
    writer.send((b"too late",))


def test_close_writes_everything_first(pipe):
    """A pipe that is closed while something waits for it is closed when that is written, and takes nothing more."""
    writer, data = pipe.writer(), random.Random(2).randbytes(500_000)
    writer.send((data,))
    writer.loseConnection()
    writer.loseConnection()
    writer.send((b"too late",))
    assert is_open(pipe.write_fd)
    assert pipe.read_all() == data
    assert pipe.read() == b""
    assert not is_open(pipe.write_fd)
    assert not pipe.reactor._writers


def test_connection_lost(pipe):
    """A pipe that is closed without grace forgets what waits, closes its descriptor once, and takes nothing more."""
    writer = pipe.writer()
    writer.send((bytes(500_000),))
    writer.connectionLost(None)
    assert not is_open(pipe.write_fd)
    assert not writer._queue
    writer.connectionLost(None)
    writer.send((b"too late",))
    writer.loseConnection()
    pipe.reactor.turn()


def test_the_other_end_closed(pipe):
    """Writing to nobody is harmless, the first time and later, with the pipe closed in the end."""
    writer = pipe.writer()
    pipe.close_other_end()
    for _ in range(3):
        writer.send((b"to", b"nobody"))
        writer.send((bytes(500_000),))
        pipe.reactor.turn()
    assert not pipe.events
    writer.loseConnection()
    assert not is_open(pipe.write_fd)


def test_the_other_end_closed_while_something_waits(pipe):
    """What waits when the other end closes is dropped, its clients are let go, and nothing is left to watch."""
    writer = pipe.writer()
    writer.send((bytes(HIGH_MARK * 2),))
    assert pipe.events == ["full"]
    pipe.close_other_end()
    pipe.reactor.turn()
    assert pipe.events == ["full", "drained"]
    assert not pipe.reactor._writers
    assert writer._waiting == 0
    writer.send((b"to nobody",))


# Reading.


def test_read(pipe):
    """What is in the pipe comes in large pieces, each once."""
    pipe.reader()
    pipe.reactor.turn()
    assert not pipe.events
    os.write(pipe.write_fd, b"one")
    os.write(pipe.write_fd, b"two")
    pipe.reactor.turn()
    os.write(pipe.write_fd, b"three")
    pipe.reactor.turn()
    assert pipe.events == [b"onetwo", b"three"]


def test_read_large(pipe):
    """A full pipe is read in pieces that get larger, until one call is enough for all of it."""
    pipe.reader()
    grow_pipe(pipe.write_fd)
    data = random.Random(3).randbytes(fcntl.fcntl(pipe.write_fd, fcntl.F_GETPIPE_SZ))
    assert os.write(pipe.write_fd, data) == len(data)
    pipe.reactor.turn()
    assert b"".join(pipe.events) == data
    pipe.events.clear()
    os.write(pipe.write_fd, data)
    pipe.reactor.turn()
    assert pipe.events == [data]


def test_end_of_the_stream(pipe):
    """The end comes once, after everything, with the descriptor closed."""
    reader = pipe.reader()
    os.write(pipe.write_fd, b"last words")
    pipe.close_other_end()
    pipe.reactor.turn()
    assert pipe.events == [b"last words", "ended"]
    assert not is_open(pipe.read_fd)
    reader.close()
    reader.drain()
    assert pipe.events == [b"last words", "ended"]


def test_nothing_to_read(pipe):
    """A read that finds nothing, as it may after a false alarm, changes nothing."""
    reader = pipe.reader()
    reader._readable()
    assert pipe.events == []


def test_drain(pipe):
    """Draining reads whatever is left, also if somebody else still holds the other end, and does not close it."""
    reader = pipe.reader()
    data = random.Random(4).randbytes(600_000)
    grow_pipe(pipe.write_fd)
    written = os.write(pipe.write_fd, data)
    reader.drain()
    assert b"".join(pipe.events) == data[:written]
    reader.drain()
    os.write(pipe.write_fd, b"rest")
    pipe.close_other_end()
    pipe.events.clear()
    reader.drain()
    assert pipe.events == [b"rest"]
    assert is_open(pipe.read_fd)
    pipe.reactor.turn()
    assert pipe.events == [b"rest", "ended"]


def test_drain_with_somebody_who_goes_on_writing(pipe):
    """What was there when draining began is read, and not what comes meanwhile: that would have no end."""
    reader = pipe.reader()
    os.write(pipe.write_fd, b"last words")

    def received(data):
        pipe.events.append(bytes(data))
        assert len(pipe.events) < 10
        os.write(pipe.write_fd, b"a stranger's")

    reader._received = received
    reader.drain()
    assert pipe.events == [b"last words"]


def test_closed_while_draining(pipe, tmp_path):
    """If what was read makes the hub close the pipe, no more is read from it, nor from what has its number then."""
    reader, fd = pipe.reader(), pipe.read_fd
    grow_pipe(pipe.write_fd)
    os.write(pipe.write_fd, bytes(600_000))
    (tmp_path / "other").write_bytes(b"somebody else's")

    def received(data):
        assert not pipe.events
        pipe.events.append(len(data))
        reader.close()
        other = os.open(tmp_path / "other", os.O_RDONLY)
        if other != fd:  # the lowest number that is free, most likely that one
            os.dup2(other, fd)
            os.close(other)

    reader._received = received
    reader.drain()
    os.close(fd)
    assert pipe.events[1:] == ["ended"]


def test_hold(pipe):
    """While the pipe is held nothing is read of it, not even its end; then all of it is."""
    reader = pipe.reader()
    reader.hold(True)
    os.write(pipe.write_fd, b"last words")
    pipe.close_other_end()
    pipe.reactor.turn()
    assert pipe.events == []
    reader.hold(False)
    pipe.reactor.turn()
    assert pipe.events == [b"last words", "ended"]


def test_grow_pipe(pipe):
    """A pipe grows to what both sides read at once; what cannot grow stays as it is."""
    pipe.reader()
    grow_pipe(pipe.write_fd)
    size = fcntl.fcntl(pipe.write_fd, fcntl.F_GETPIPE_SZ)
    assert size in (PIPE_SIZE, 64 << 10, 4096)  # the latter two where the user has too many large pipes
    with open(os.devnull, "rb") as no_pipe:
        grow_pipe(no_pipe.fileno())
