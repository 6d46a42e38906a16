"""Starting and stopping one server, with everything that it starts."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.process import tree_of

START_TIMEOUT = 30.0  # seconds; the slowest here takes two
STOP_TIMEOUT = 5.0
POLL = 0.01


class BenchError(Exception):
    """Something could not be measured; the message says what and why in one sentence."""


class Server:
    """A context: inside it the server listens on `port`, `pid` is the root of its processes."""

    def __init__(self, name: str, command: Callable[[int, Path], Sequence[str | Path]], cpus: Sequence[int]) -> None:
        self.name = name
        self._cpus = cpus
        self._command = command
        self.port = free_port()
        self.seconds_to_listen = 0.0

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="wshub-bench-")
        folder = Path(self._folder.name)
        self._log = folder / "log"
        begun = time.perf_counter()
        with self._log.open("wb") as log:
            argv = [str(part) for part in self._command(self.port, folder)]
            with on_processors(self._cpus):
                self._process = subprocess.Popen(
                    argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        self.pid = self._process.pid
        try:
            self._wait_until_it_listens(begun + START_TIMEOUT)
        except BaseException:
            self.stop()
            raise
        self.seconds_to_listen = time.perf_counter() - begun
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_it_listens(self, deadline: float) -> None:
        while time.perf_counter() < deadline:
            if self._process.poll() is not None:
                raise BenchError(f"{self.name} ended at once: {self.last_words()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(POLL)
            else:
                return
        raise BenchError(f"{self.name} did not listen within {START_TIMEOUT:.0f} seconds: {self.last_words()}")

    def last_words(self) -> str:
        """The last line that it has logged."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        """Ask it to end, and see to it that nothing of it is left."""
        pids = tree_of(self.pid)
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            pass
        for pid in pids if self._process.poll() is None else pids[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.wait()
        self._folder.cleanup()


@contextmanager
def on_processors(cpus: Sequence[int]) -> Iterator[None]:
    """What is started meanwhile inherits these processors; none of them means any."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port on loopback that nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
