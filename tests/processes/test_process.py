"""The process of a service, with a fake one: its pipes, its output, its end."""

import errno
import gc
import os
import signal
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.logger import globalLogPublisher

from wshub.accounting import Counts
from wshub.arena import UNTRACKED
from wshub.poller import Poller
from wshub.processes.confinement import Confinement
from wshub.processes.life import Event, State
from wshub.processes.link import ServiceLink
from wshub.processes.process import (
    KILL_DELAY,
    MAX_LINE,
    MAX_TRACEBACK_LINES,
    OUTPUT_DELAY,
    ServiceProcess,
    describe_exit,
    escape,
)
from wshub.recent import MAX_OUTPUT, Recent
from wshub.testing import OPENING, FakeProcess, FakeReactor, FakeSocket
from wshub.wire import BINARY, DATA, NEWSOCKET

GRACE = 5.0
CONFINED = Confinement({"NAME": "value"}, ("umask=63",))


class Started:
    """A service process just started, and its link."""

    def __init__(self, reactor: FakeReactor, root: Path) -> None:
        self.events: list[tuple[State, Event, bool]] = []
        self.link = ServiceLink(lambda link, event, kill: self.events.append((link.state, event, kill)))
        self.poller = Poller(reactor)
        self.process = ServiceProcess.spawn(reactor, self.poller, "/echo", root, root / "echo.py", self.link, CONFINED)
        self.child: FakeProcess = reactor.processes[-1]
        self.exited: list[object] = []
        self.process.exited.addCallback(self.exited.append)


@pytest.fixture
def started(reactor: FakeReactor, tmp_path: Path) -> Started:
    """A service process just started."""
    return Started(reactor, tmp_path)


def test_command(started: Started, tmp_path: Path) -> None:
    """It runs the interpreter of the hub with the service kit, gets descriptors 0 to 4, and shared memory."""
    child = started.child
    assert child.command == [
        sys.executable,
        *[sys.executable, "-P", "-m", "wshub.service", str(tmp_path), "/echo", str(tmp_path / "echo.py"), "arena=yes"],
        "umask=63",
    ]
    assert child.options["env"] == {"NAME": "value"}
    assert child.options["childFDs"].keys() == {0, 1, 2, 3, 4, 5}
    assert (child.options["childFDs"][1], child.options["childFDs"][2]) == ("r", "r")
    assert started.process.pid == child.pid


def test_nothing_stays_open(reactor: FakeReactor, tmp_path: Path) -> None:
    """The pipes of a process are closed when it has exited, and at once when the system has no process to give."""
    gc.collect()  # what other tests have left is closed now, and not in the middle
    before = os.listdir("/proc/self/fd")
    started = Started(reactor, tmp_path)
    # Two ends of pipes are the fake's own, one is the poller's; a mapping has one on each side, until Python 3.13.
    mappings = 0 if UNTRACKED else 2
    assert len(os.listdir("/proc/self/fd")) == len(before) + 5 + mappings
    started.child.exit()
    started.poller.close()
    assert os.listdir("/proc/self/fd") == before
    reactor.cannot_spawn = BlockingIOError(11, "Resource temporarily unavailable")
    with pytest.raises(BlockingIOError):
        Started(reactor, tmp_path)
    assert os.listdir("/proc/self/fd") == before


def test_no_shared_memory(
    reactor: FakeReactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    """Where the system has none, large messages go through the pipe, and the log says so; nothing stays open."""
    gc.collect()  # what other tests have left is closed now, and not in the middle
    before = os.listdir("/proc/self/fd")
    monkeypatch.delattr(os, "memfd_create")
    started = Started(reactor, tmp_path)
    assert "arena=yes" not in started.child.command
    assert started.child.options["childFDs"].keys() == {0, 1, 2, 3, 4}
    assert [line for line in log if "no shared memory" in line] == [
        "[service /echo#info] no shared memory, large messages go through the pipe as well: "
        "[Errno 38] this Python has no memfd_create"
    ]
    started.child.get_ready()
    reactor.turn()
    socket, message = FakeSocket(), b"x" * (40 << 10)
    started.link.open(socket, OPENING)
    started.link.message(BINARY, 1, message)
    reactor.turn()
    assert started.child.read() == [(NEWSOCKET, 1, OPENING), (DATA, 1, message)]
    started.child.send((BINARY, 1, message))
    reactor.turn()
    assert socket.messages == [(2, message)]
    started.child.exit()
    started.poller.close()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
def test_memory_that_cannot_be_mapped(
    reactor: FakeReactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Without descriptors there is no process, without room in memory there is; in no case is one left open."""
    gc.collect()  # what other tests have left is closed now, and not in the middle
    before = os.listdir("/proc/self/fd")

    def fail(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("wshub.arena.map_memory", fail)
    if number == errno.EMFILE:
        with pytest.raises(OSError, match="Too many open files"):
            Started(reactor, tmp_path)
    else:
        started = Started(reactor, tmp_path)
        started.child.exit()
        started.poller.close()
    assert os.listdir("/proc/self/fd") == before


def test_the_last_descriptors_are_not_for_services(
    reactor: FakeReactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose pipes would be among them is not started, and gives them back."""
    gc.collect()  # what other tests have left is closed now, and not in the middle
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr("wshub.processes.process.is_short_for_services", lambda fd: fd >= len(before) - 1)
    with pytest.raises(OSError, match="Too many open files"):
        Started(reactor, tmp_path)
    assert os.listdir("/proc/self/fd") == before
    assert reactor.processes == []


def test_transactions_to_and_fro(reactor: FakeReactor, started: Started) -> None:
    """A turn's transactions go to the process as one batch, and what it answers goes to the socket."""
    started.child.get_ready()
    reactor.turn()
    assert started.events == [(State.READY, Event.READY, False)]
    socket = FakeSocket()
    started.link.open(socket, OPENING)
    started.link.message(DATA, 1, b"hello")
    assert started.child.read() == []
    reactor.turn()
    assert started.child.read() == [(NEWSOCKET, 1, OPENING), (DATA, 1, "hello")]
    started.child.send((DATA, 1, b"text"), (BINARY, 1, b"\xff"))
    reactor.turn()
    assert socket.messages == [(1, b"text"), (2, b"\xff")]


def test_full_pipe_makes_clients_wait(reactor: FakeReactor, started: Started) -> None:
    """A process that does not read makes its clients wait; nothing is lost, and they go on when it has caught up."""
    started.child.get_ready()
    reactor.turn()
    socket = FakeSocket()
    started.link.open(socket, OPENING)
    messages = [bytes([i]) * (1 << 19) for i in range(8)]
    for message in messages:
        started.link.message(BINARY, 1, message)
        reactor.turn()
    assert socket.is_paused
    late = FakeSocket()
    started.link.open(late, OPENING)
    assert late.is_paused
    received = []
    for _ in range(100):
        received += started.child.read()
        reactor.turn()
    assert [payload for kind, _, payload in received if kind == DATA] == messages
    assert not socket.is_paused
    assert not late.is_paused


def test_finish_closes_the_input_and_escalates(reactor: FakeReactor, started: Started, log: list[str]) -> None:
    """First its input is closed, after the grace comes TERM, and a little later KILL."""
    started.link.message(DATA, 1, b"last")
    started.process.finish(GRACE)
    assert started.child.read() == [(DATA, 1, "last")]
    assert started.child.input_is_closed
    reactor.advance(GRACE - 0.01)
    assert started.child.signals == []
    reactor.advance(0.01)
    assert started.child.signals == [signal.SIGTERM]
    reactor.advance(KILL_DELAY - 0.01)
    assert started.child.signals == [signal.SIGTERM]
    reactor.advance(0.01)
    assert started.child.signals == [signal.SIGTERM, signal.SIGKILL]
    started.child.exit(by_signal=signal.SIGKILL)
    assert started.exited == [None]
    assert [line for line in log if "still running" in line] == [
        "[service /echo#warn] still running: TERM",
        "[service /echo#warn] still running: KILL",
    ]
    assert not reactor.getDelayedCalls()


@pytest.mark.parametrize("after", [0, GRACE - 0.1, GRACE + 0.1])
def test_escalation_ends_with_the_process(reactor: FakeReactor, started: Started, after: float) -> None:
    """Whenever it exits, no signal comes after that."""
    started.process.finish(GRACE)
    reactor.advance(after)
    before = list(started.child.signals)
    started.child.exit()
    reactor.advance(100)
    assert started.child.signals == before
    assert started.exited == [None]


def test_finish_waits_for_a_full_pipe(reactor: FakeReactor, started: Started) -> None:
    """What is on its way when it is asked to finish arrives before the end of its input."""
    started.link.message(BINARY, 1, bytes(3 << 20))
    started.process.finish(GRACE)
    received = []
    for _ in range(100):
        received += started.child.read()
        reactor.turn()
    assert [len(payload) for _, _, payload in received] == [3 << 20]
    assert started.child.input_is_closed


def test_kill(reactor: FakeReactor, started: Started) -> None:
    """It gets KILL at once, and what it still says does not count."""
    started.child.get_ready()
    started.process.kill()
    reactor.turn()
    assert started.child.signals == [signal.SIGKILL]
    assert (State.READY, Event.READY, False) not in started.events
    started.child.exit(by_signal=signal.SIGKILL)
    assert started.exited == [None]


def test_last_words_count(reactor: FakeReactor, started: Started) -> None:
    """What a process wrote before it exited is read, though its exit is noticed first."""
    started.child.get_ready()
    reactor.turn()
    socket = FakeSocket()
    started.link.open(socket, OPENING)
    started.child.send((DATA, 1, b"last words"))
    started.child.exit(3)
    assert socket.messages == [(1, b"last words")]
    assert started.link.state is State.DEAD
    assert started.process.how == "with exit status 3"


def test_who_is_left_behind_is_killed(started: Started) -> None:
    """The group of a process that has exited is killed."""
    started.child.leaves_somebody_behind = True
    started.child.exit()
    assert started.child.signals == [signal.SIGKILL]


def test_output_held_by_a_stranger(reactor: FakeReactor, started: Started) -> None:
    """When somebody outside the group holds its stdout, the hub stops to listen after a while."""
    started.child.exit(output_ends=False)
    assert started.exited == []
    reactor.advance(OUTPUT_DELAY)
    assert started.child.output_is_refused == {1, 2}
    started.child.end_output()
    assert started.exited == [None]


def test_rubbish_on_the_pipe(reactor: FakeReactor, started: Started, log: list[str]) -> None:
    """Bytes that are no batch are told to the link as what they are, and to the log."""
    started.child.send_bytes(b"\0\0\0\0")
    reactor.turn()
    assert started.events == [(State.FAILED, Event.BROKE, True)]
    assert any(line.startswith("[service /echo#error] killed: it sent") for line in log)


def test_output_by_line(started: Started, log: list[str]) -> None:
    """Each line of output is a line of the log, stdout and stderr apart, the last one also without its end."""
    started.child.print(b"one\r\ntw")
    started.child.print(b"error\n", fd=2)
    started.child.print(b"o\n\nno end")
    started.child.exit()
    assert log == [
        "[service /echo#info] one",
        "[service /echo#info] error",
        "[service /echo#info] two",
        "[service /echo#info] ",
        "[service /echo#info] no end",
    ]


@given(
    lines=st.lists(st.text(st.characters(blacklist_characters="\n", codec="utf-8")), max_size=20),
    cuts=st.lists(st.integers(0, 400), max_size=20),
)
def test_lines_do_not_depend_on_the_cuts(lines: list[str], cuts: list[int]) -> None:
    """However output is cut on its way, the log has the same lines, each escaped."""
    process = ServiceProcess(FakeReactor(), "service /echo", ServiceLink(lambda *_: None))
    data = "".join(f"{line}\n" for line in lines).encode()
    seen: list[str] = []

    def observe(event: dict[str, object]) -> None:
        seen.append(str(event["line"]))

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    try:
        places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        for start, end in pairwise(places):
            process.childDataReceived(1, data[start:end])
        process.childConnectionLost(1)
    finally:
        globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]
    assert seen == [escape(line.rstrip("\r")) for line in lines]


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["without end", "with end"])
@pytest.mark.parametrize("cut", [1000, 8192, 100_000])
def test_long_lines_are_cut(started: Started, log: list[str], end: bytes, cut: int) -> None:
    """A line without end is logged in pieces of bounded size, and none of it is lost, however it comes."""
    data = b"x" * (3 * MAX_LINE + 5) + end
    for start in range(0, len(data), cut):
        started.child.print(data[start : start + cut])
    started.child.exit()
    pieces = [line.partition("] ")[2] for line in log]
    assert "".join(pieces) == "x" * (3 * MAX_LINE + 5)
    assert max(map(len, pieces)) <= MAX_LINE


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain\ttext žluť 🐎", "plain\ttext žluť 🐎"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\rb\nc\x00", "a\\rb\\nc\\x00"),
        ("\x9b\x85\u2028\u202e\ud800", "\\x9b\\x85\\u2028\\u202e\\ud800"),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    """Control characters are written out, whatever can be read is left as it is."""
    assert escape(text) == escaped


@given(st.text())
def test_escape_is_one_printable_line(text: str) -> None:
    """Whatever the text, what comes of it is one line that can be printed."""
    assert all(c.isprintable() or c == "\t" for c in escape(text))


def test_describe_exit() -> None:
    """How a process ended is told by the name of the signal, or by its exit status."""
    assert describe_exit(ProcessDone(0)) == "with exit status 0"
    assert describe_exit(ProcessTerminated(3)) == "with exit status 3"
    assert describe_exit(ProcessTerminated(None, signal.SIGKILL)) == "by signal SIGKILL"
    assert describe_exit(ProcessTerminated(None, signal.SIGRTMIN + 1)) == "by signal 35"


def test_lines_have_levels(started: Started, log: list[str]) -> None:
    """A line may begin with its level; each piece of a long one has it."""
    started.child.print(b"<3>bad\n<4>dubious\n<7>detail\n<9>none\nplain\n", fd=2)
    started.child.print(b"<3>" + bytes(b"x" * (MAX_LINE + 5)) + b"\n")
    lines = [line.removeprefix("[service /echo") for line in log if line.startswith("[service /echo")]
    assert lines[:5] == ["#error] bad", "#warn] dubious", "#debug] detail", "#info] <9>none", "#info] plain"]
    assert [line.partition("]")[0] for line in lines[5:]] == ["#error", "#error"]
    assert "".join(line.partition("] ")[2] for line in lines[5:]) == "x" * (MAX_LINE + 5)


@pytest.mark.parametrize("level", [b"", b"<3>"])
def test_the_last_traceback(started: Started, level: bytes) -> None:
    """The last line of what was last printed as a traceback is kept: a chain's, a logged one's; on stderr alone."""
    traceback = [b"Traceback (most recent call last):", b'  File "x", line 1', b"    f()", b"KeyError: 1"]
    chained = [*traceback, b"", b"During handling of the above exception, another exception occurred:", b"", *traceback]
    chained[-1] = b"ValueError: \x1b[0m2"
    assert started.link.counts.last_error == ""
    for each in (traceback, chained, [b"more of the author's"]):
        for line in each:
            started.child.print(level + line + b"\n", fd=2)
    assert started.link.counts.last_error == "ValueError: \\x1b[0m2"
    started.child.print(b"\n".join([*traceback, b""]), fd=1)
    assert started.link.counts.last_error == "ValueError: \\x1b[0m2"


@pytest.fixture
def watched(started: Started) -> Recent:
    """What is recent of the service of `started`, of which that is kept."""
    recent = Recent()
    started.link.counts.recent = recent
    assert isinstance(started.link.counts, Counts)
    return recent


def test_output_is_kept(started: Started, watched: Recent) -> None:
    """Each line with its stream and level, as the log has it."""
    started.child.print(b"plain \x1b[2J\n<3>bad\n")
    started.child.print(b"<4>dubious\nno end", fd=2)
    started.child.exit()
    assert [line[2:] for line in watched.output.after(0)] == [
        ("stdout", "info", "plain \\x1b[2J"),
        ("stdout", "error", "bad"),
        ("stderr", "warn", "dubious"),
        ("stderr", "info", "no end"),
    ]


def test_what_a_flood_of_output_costs_is_bounded(started: Started, watched: Recent) -> None:
    """Of megabytes, with and without ends of lines, so much is kept."""
    for _ in range(50):
        started.child.print(b"x" * 100_000)
        started.child.print(b"y\n" * 10_000)
    assert sum(len(line.text) for line in watched.output.after(0)) <= MAX_OUTPUT


def test_tracebacks_are_kept(started: Started, watched: Recent) -> None:
    """Whole ones; of a very deep one its head and its end."""
    traceback = b'Traceback (most recent call last):\n  File "x", line 1\n    f()\nKeyError: 1\n'
    started.child.print(traceback + b"not of it\n", fd=2)
    frames = b"".join(b'  File "x", line %d\n' % number for number in range(10 * MAX_TRACEBACK_LINES))
    started.child.print(b"Traceback (most recent call last):\n" + frames + b"RecursionError: deep\n", fd=2)
    first, deep = (each.text for each in watched.tracebacks.after(0))
    assert first == traceback.decode().rstrip()
    assert len(deep.splitlines()) == MAX_TRACEBACK_LINES + 2
    assert deep.startswith("Traceback")
    assert deep.endswith(f"line {10 * MAX_TRACEBACK_LINES - 1}\nRecursionError: deep")
