"""Starts one service process and lets it finish, with real pipes and without a reactor: for `wshub check`.

What the process gets is what `wshub.processes.process` gives it: no input, stdout and stderr to a pipe, the two pipes
of :mod:`wshub.wire`, the confinement's environment and arguments.
"""

import fcntl
import os
import select
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wshub.errors import WireError
from wshub.processes.confinement import Confinement
from wshub.processes.declared import parse_declared
from wshub.wire import FAILED, FROM_HUB, HEARTBEAT, READY, TO_HUB
from wshub.wire.batches import BatchReader, decode_columns
from wshub.wire.payloads import decode_ready

MAX_OUTPUT = 64 << 10  # bytes of output that are kept, the last ones
ABOVE = 10  # descriptors below are where the child's are to be
LOOK = 0.02  # seconds between two looks for the end of the child, where nobody tells


@dataclass
class Outcome:
    """How a service fared. `problem` is one sentence, empty if all is well; `seconds` are those until READY."""

    problem: str = ""
    traceback: str = ""
    output: str = ""
    seconds: float = 0.0


def try_service(
    root: Path, path: str, module: Path, confinement: Confinement, start_timeout: float, stop_timeout: float
) -> Outcome:
    """Start the service at `path`, wait until it is ready, ask it to finish, wait for that. Times are in seconds.

    Whatever happens, nothing of it is left when this returns or raises.
    """
    outcome = Outcome()
    try:
        trial = _Trial([str(root), path, str(module), *confinement.arguments], confinement.environment)
    except OSError as error:
        outcome.problem = f"cannot be started: {error.strerror}"
        return outcome
    try:
        began = time.monotonic()
        outcome.problem, outcome.traceback = trial.wait_until_ready(began + start_timeout, start_timeout)
        outcome.seconds = time.monotonic() - began
        if not outcome.problem:
            outcome.problem = trial.finish(stop_timeout)
    finally:
        trial.end()
    if outcome.problem:
        outcome.output = trial.output.decode(errors="backslashreplace")
    return outcome


class _Trial:
    """A service process, its pipes and its output."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.output = b""
        self._status: int | None = None
        self._batches = BatchReader()
        self._said: list[tuple[int, bytes]] = []
        """Kind and payload of what it has sent, without heartbeats."""
        child_reads, self._to_child = os.pipe2(os.O_CLOEXEC)
        self._from_child, child_writes = os.pipe2(os.O_CLOEXEC)
        self._out, child_out = os.pipe2(os.O_CLOEXEC)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        places = {nothing: (0,), child_out: (1, 2), child_reads: (FROM_HUB,), child_writes: (TO_HUB,)}
        # Out of the way first, so that none is overwritten before it is in its place.
        high = {fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, ABOVE): targets for fd, targets in places.items()}
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-m", "wshub.service", *arguments],
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, target) for fd, targets in high.items() for target in targets],
            )
        except OSError:
            for fd in (self._to_child, self._from_child, self._out):
                os.close(fd)
            raise
        finally:
            for fd in (*places, *high):
                os.close(fd)
        # A Python that is made to run anywhere may not have it: then one has to look again and again.
        self._pidfd = os.pidfd_open(self._pid) if hasattr(os, "pidfd_open") else -1
        self._poll = select.poll()
        for fd in (self._from_child, self._out, self._pidfd):
            if fd >= 0:
                self._poll.register(fd, select.POLLIN)

    def wait_until_ready(self, deadline: float, start_timeout: float) -> tuple[str, str]:
        """What is wrong, and a traceback if there is one; two empty strings once it is ready."""
        try:
            while not self._said:
                if self._status is not None:
                    return f"exited {describe_status(self._status)} before it was ready", ""
                if not self._turn(deadline):
                    return f"is not ready after {start_timeout:g} seconds", ""
            kind, payload = self._said[0]
            if kind == FAILED:
                traceback = payload.decode(errors="backslashreplace").rstrip("\n")
                return last_line(traceback), traceback
            if kind != READY:
                return f"sent a transaction of kind {kind} before READY", ""
            parse_declared(decode_ready(payload))
        except WireError as error:
            return f"sent {error}", ""
        return "", ""

    def finish(self, stop_timeout: float) -> str:
        """Close its input; what is wrong if it does not finish as it should."""
        os.close(self._to_child)
        self._to_child = -1
        deadline = time.monotonic() + stop_timeout
        try:
            while self._status is None:
                if not self._turn(deadline):
                    return f"does not finish within {stop_timeout:g} seconds of being asked to"
        except WireError as error:
            return f"sent {error}"
        return f"exited {describe_status(self._status)} when it was asked to finish" if self._status else ""

    def end(self) -> None:
        """Kill what is left of it, and close everything; what it has printed is in `output`."""
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        if self._status is None:
            os.kill(self._pid, signal.SIGKILL)  # one that has only just begun has no group yet
            os.waitpid(self._pid, 0)
        os.set_blocking(self._out, False)
        with suppress(BlockingIOError):  # some stranger may still hold it
            while self._read_output():
                pass
        for fd in (self._to_child, self._from_child, self._out, self._pidfd):
            if fd >= 0:
                os.close(fd)

    def _turn(self, deadline: float) -> bool:
        """Wait for anything and deal with it; false if it is too late. Raise `WireError`."""
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        ready = [fd for fd, _ in self._poll.poll(1000 * (left if self._pidfd >= 0 else min(left, LOOK)))]
        if self._out in ready and not self._read_output():
            self._poll.unregister(self._out)
        if self._from_child in ready:
            self._read_transactions()
        elif self._pidfd in ready or self._pidfd < 0:  # only when it has nothing more to say
            self._look_for_its_end()
        return True

    def _look_for_its_end(self) -> None:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            self._status = os.waitstatus_to_exitcode(status)
            if self._pidfd >= 0:
                self._poll.unregister(self._pidfd)

    def _read_output(self) -> bytes:
        data = os.read(self._out, 1 << 16)
        self.output = (self.output + data)[-MAX_OUTPUT:]
        return data

    def _read_transactions(self) -> None:
        data = os.read(self._from_child, 1 << 16)
        if not data:
            self._poll.unregister(self._from_child)
        for body in self._batches.feed(data):
            self._said += [(kind, bytes(payload)) for kind, _, payload in decode_columns(body) if kind != HEARTBEAT]


def describe_status(status: int) -> str:
    """How a process ended; negative is minus the number of the signal."""
    if status >= 0:
        return f"with status {status}"
    try:
        return f"by signal {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"


def last_line(traceback: str) -> str:
    """The line of a traceback that says what is wrong."""
    lines = [line for line in traceback.splitlines() if line and not line[0].isspace()]
    return lines[-1] if lines else "failed without a traceback"
