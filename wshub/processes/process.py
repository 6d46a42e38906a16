"""A service's process: the only place that spawns, signals and reaps.

The child has descriptors 0 to 4: no input, stdout and stderr, which are logged by the line, and the two pipes of
:mod:`wshub.wire`; and for a moment descriptor 5, the memory of :mod:`wshub.arena`.

A process is told to finish by closing its input. If it has not by then, TERM comes after a while, and KILL a little
later, to its whole process group. When it exits, whatever it has left behind in its group is killed too.
"""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from wshub.arena import ARENA_FD, SharedMemory, create_memory
from wshub.door.descriptors import is_short_for_services
from wshub.errors import WireError
from wshub.monitoring.levels import read_level
from wshub.poller import Poller
from wshub.processes.confinement import Confinement
from wshub.processes.life import Event
from wshub.processes.link import ServiceLink
from wshub.processes.pipes import PipeReader, PipeWriter, grow_pipe
from wshub.terminal import escape as escape  # noqa: PLC0414 - also for those who look for it here
from wshub.wire import FROM_HUB, TO_HUB

MAX_LINE = 8 << 10  # bytes of a line of output; the rest of it becomes lines of its own
STDERR = 2
STREAMS = {1: "stdout", STDERR: "stderr"}
MAX_TRACEBACK_LINES = 100  # that are kept of one, besides the first; the innermost calls come last
MAX_TRACEBACK_LINE = 1000  # characters of one
TRACEBACK = b"Traceback (most recent call last):"  # how one begins
KILL_DELAY = 1.0  # seconds between TERM and KILL
OUTPUT_DELAY = 1.0  # seconds that output may take to come after the process has gone; some stranger may hold the pipe


class ServiceProcess(ProcessProtocol):
    """A running service process. `exited` fires when it has exited and its output is in the log."""

    transport: Any

    def __init__(self, reactor: Any, name: str, link: ServiceLink) -> None:
        self.exited: Deferred[None] = Deferred()
        self.pid: int | None = None
        """Until it has exited."""
        self.how = ""
        """How it ended, once it has: by itself, or else that it was killed."""
        self.on_sign_of_life: Callable[[], object] = lambda: None
        """Called whenever anything comes from it."""
        self._reactor = reactor
        self._link = link
        self._log = Logger(namespace=name)
        self._lines = {1: b"", 2: b""}
        self._traceback: list[str] = []  # the lines of one that has begun
        self._next_step: Any = None
        self._was_killed = False
        self._reader: PipeReader
        self._writer: PipeWriter
        self._memory: SharedMemory | None = None

    @classmethod
    def spawn(
        cls,
        reactor: Any,
        poller: Poller,
        route: str,
        root: Path,
        module: Path,
        link: ServiceLink,
        confinement: Confinement,
    ) -> "ServiceProcess":
        """Start the process that serves `route` with `module`. Raise `OSError` if the system cannot."""
        self = cls(reactor, f"service {route}", link)
        ends: list[int] = []
        try:
            for _ in range(2):
                ends += os.pipe2(os.O_CLOEXEC)
            ends.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            ends += self._map_memory()
            if is_short_for_services(max(ends)):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            child_reads, we_write, we_read, child_writes, nothing, *memory = ends
            places: dict[int, Any] = {0: nothing, 1: "r", 2: "r", FROM_HUB: child_reads, TO_HUB: child_writes}
            if memory:
                places[ARENA_FD] = memory[0]
            for fd in (we_write, we_read):
                os.set_blocking(fd, False)
                grow_pipe(fd)
            self.pid = reactor.spawnProcess(
                self,
                sys.executable,
                [
                    *(sys.executable, "-P", "-m", "wshub.service", str(root), route, str(module)),
                    *("arena=yes" for _ in memory),
                    *confinement.arguments,
                ],
                env=confinement.environment,
                childFDs=places,
            ).pid
        except OSError:
            for fd in ends:
                os.close(fd)
            self._give_memory_back()
            raise
        for fd in (child_reads, child_writes, nothing, *memory):
            os.close(fd)
        if self._memory:
            link.share(self._memory.reader)
        self._writer = PipeWriter(reactor, we_write, link.pause, link.resume)
        self._reader = PipeReader(poller, we_read, self._received, link.end_of_stream)
        link.on_hold = self._reader.hold
        link.on_batch_begun = partial(poller.at_end_of_turn, self._flush)
        return self

    # What the hub wants of it.

    def finish(self, grace: float) -> None:
        """Close its input, which asks it to finish; make it after `grace` seconds."""
        self._flush()
        self._writer.loseConnection()
        self._schedule(grace, self._terminate)

    def kill(self, after: float = 0) -> None:
        """End it now, or `after` some seconds if it has not ended by then. Nothing that it still says counts."""
        self._close_pipes()
        if after:
            self._schedule(after, self.kill)
        else:
            self._was_killed = True
            self._signal_group(signal.SIGKILL)

    def _flush(self) -> None:
        pieces: Sequence[bytes | bytearray] = self._link.take_batch()
        if pieces:
            self._writer.send(self._memory.writer.put(pieces) if self._memory else pieces)

    def _map_memory(self) -> list[int]:
        """The descriptor of memory to share with it; none if the system has no such memory, which is no reason to fail.

        Raise `OSError` if it is descriptors that are short, which its pipes and it would need as well.
        """
        descriptors: list[int] = []
        try:
            descriptors.append(create_memory())
            self._memory = SharedMemory(descriptors[0])
        except OSError as error:
            for fd in descriptors:
                os.close(fd)
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            self._log.info("no shared memory, large messages go through the pipe as well: {error}", error=error)
            return []
        return descriptors

    def _give_memory_back(self) -> None:
        memory, self._memory = self._memory, None
        if memory:
            memory.close()

    def _terminate(self) -> None:
        self._log.warn("still running: TERM")
        self._signal_group(signal.SIGTERM)
        self._schedule(KILL_DELAY, self._kill_after_all)

    def _kill_after_all(self) -> None:
        self._log.warn("still running: KILL")
        self._signal_group(signal.SIGKILL)

    def _schedule(self, seconds: float, step: Callable[[], None]) -> None:
        self._cancel_next_step()
        self._next_step = self._reactor.callLater(seconds, step)

    def _cancel_next_step(self) -> None:
        if self._next_step and self._next_step.active():
            self._next_step.cancel()

    def _signal_group(self, number: int) -> None:
        if self.pid is None:
            return
        for send in (os.killpg, os.kill):  # a process that has only just begun has no group of its own yet
            try:
                send(self.pid, number)
            except ProcessLookupError:
                continue
            return

    def _close_pipes(self) -> None:
        self._reader.close()
        self._writer.connectionLost(Failure(ConnectionDone()))

    @property
    def bytes_waiting(self) -> int:
        """What its pipe has not taken yet."""
        return self._writer.waiting

    # What it says and does.

    def _received(self, data: bytes | memoryview) -> None:
        self.on_sign_of_life()
        try:
            self._link.receive(data)
        except WireError as error:
            self._log.error("killed: it sent {error}", error=error)
            self._link.happen(Event.BROKE)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, rest = (self._lines[childFD] + data).split(b"\n")
        for line in lines:
            self._log_lines(line, childFD)
            if childFD == STDERR:
                self._look_for_traceback(line)
        *pieces, self._lines[childFD] = cut(rest)
        for piece in pieces:
            self._log_lines(piece, childFD)

    def childConnectionLost(self, childFD: int) -> None:
        if self._lines[childFD]:
            self._log_lines(self._lines[childFD], childFD)
            self._lines[childFD] = b""

    def processExited(self, reason: Failure) -> None:
        self._cancel_next_step()
        assert self.pid is not None
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has left nobody behind
        self.pid = None
        self.how = "killed" if self._was_killed else describe_exit(reason.value)
        self._reader.drain()
        self._link.happen(Event.EXITED)
        self._close_pipes()
        self._give_memory_back()
        self._schedule(OUTPUT_DELAY, self._stop_listening_to_output)

    def processEnded(self, reason: Failure) -> None:
        self._cancel_next_step()
        self.exited.callback(None)

    def _stop_listening_to_output(self) -> None:
        for fd in self._lines:
            self.transport.closeChildFD(fd)

    def _log_lines(self, line: bytes, fd: int) -> None:
        """Log a line, in pieces if it is long; they have the level with which the first one begins."""
        level, line = read_level(line)
        recent = self._link.counts.recent
        for piece in cut(line):
            text = escape(piece.decode(errors="backslashreplace").rstrip("\r"))
            self._log.emit(LogLevel.levelWithName(level), "{line}", line=text)
            if recent:
                recent.add_line(time.time(), STREAMS[fd], level, text)

    def _look_for_traceback(self, line: bytes) -> None:
        """Remember each traceback, and its last line: the first one after its head that is not indented."""
        _, line = read_level(line)
        if not self._traceback and not line.startswith(TRACEBACK):
            return
        text = escape(line[:MAX_LINE].decode(errors="backslashreplace"))
        if line.startswith(TRACEBACK):
            self._traceback = [text[:MAX_TRACEBACK_LINE]]
        elif line[:1] in (b" ", b"\t", b""):
            self._traceback.append(text[:MAX_TRACEBACK_LINE])
            del self._traceback[1:-MAX_TRACEBACK_LINES]
        else:
            counts, lines = self._link.counts, [*self._traceback, text]
            self._traceback, counts.last_error = [], text
            if counts.recent:
                counts.recent.add_traceback(time.time(), "\n".join(lines))


def cut(line: bytes) -> list[bytes]:
    """The line in pieces that are not too long for a line of the log."""
    return [line[start : start + MAX_LINE] for start in range(0, len(line), MAX_LINE)] or [b""]


def describe_exit(reason: BaseException | None) -> str:
    """How a process ended, as people say it."""
    number = getattr(reason, "signal", None)
    if number:
        return f"by signal {_signal_name(number)}"
    return f"with exit status {getattr(reason, 'exitCode', 0) or 0}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)  # most real-time signals have no name
