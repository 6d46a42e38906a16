"""What is known of one process of a service, from the wish for it to its end."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from wshub.processes.generations import Standing, Turn, after
from wshub.processes.link import ServiceLink
from wshub.processes.process import MAX_TRACEBACK_LINE, ServiceProcess
from wshub.processes.watchdog import Watchdog
from wshub.routing import Route, format_route
from wshub.terminal import escape

Fingerprint = tuple[int, int, int]
NO_FILE: Fingerprint = (0, 0, 0)
CLOCK_GRAIN = 20_000_000  # nanoseconds: a file's time may be a tick of the kernel's behind that of the clock
MAX_LINES = 1000  # of a traceback that are logged, the last ones


@dataclass(eq=False)
class Run:
    """A service from the wish for it to the end of its process."""

    route: Route
    link: ServiceLink
    file: Fingerprint
    """Of the module, when the process was wanted."""
    module: Path
    process: ServiceProcess | None = None
    """None until it has been started."""
    began: float = 0.0
    timers: list[Any] = field(default_factory=list)
    """Calls of the reactor's that are off when the state changes."""
    watchdog: Watchdog | None = None
    idle: Any = None
    """The call that ends it if no client comes before."""
    standing: Standing = Standing.CURRENT
    """Where it stands among the processes of its service."""
    look_again: bool = False
    """Whether somebody has asked for what has changed before it was known which its files are."""
    began_at: int = 0
    """When its process was started, in nanoseconds of Unix time, which is what files go by."""
    files: dict[Path, Fingerprint] = field(init=False)
    """What it was made of, once it is ready: its module, and what that has imported from the folder of services."""

    @property
    def name(self) -> str:
        """Its route, as people write it."""
        return format_route(self.route)

    def __post_init__(self) -> None:
        self.files = {self.module: self.file}

    def turn(self, turn: Turn) -> bool:
        """Something has happened to it among the others. Return whether it stands elsewhere now."""
        before, self.standing = self.standing, after(self.standing, turn)
        return self.standing is not before

    def note_files(self, root: Path) -> None:
        """Remember what its process says it has imported. It is not believed more than that it names files in `root`.

        What was written while the process started may have been read before or after: it counts as changed.
        """
        for name in self.link.declared.files:
            file = root / name
            if ".." not in file.parts and file.is_relative_to(root) and file != self.module:
                found = fingerprint(file)
                self.files[file] = NO_FILE if self.began_at - CLOCK_GRAIN <= found[0] <= time.time_ns() else found

    @property
    def has_changed(self) -> bool:
        """Whether any of its files is another now."""
        return any(fingerprint(file) != known for file, known in self.files.items())

    @property
    def last_line(self) -> str:
        """What a process that did not start said last."""
        return escape(self.link.traceback.strip().rpartition("\n")[2][:MAX_TRACEBACK_LINE])

    def log_failure(self, log: Logger, text: str) -> None:
        """Say in the log that the process did not start, and why in its own words."""
        counts, lines = self.link.counts, [escape(line) for line in self.link.traceback.splitlines()[-MAX_LINES:]]
        log.error("{name}: {text}", name=self.name, text=text)
        counts.last_error = self.last_line or counts.last_error
        if counts.recent and lines:
            counts.recent.add_traceback(time.time(), "\n".join(lines))
        counts.note(time.time(), text)
        for line in lines:
            log.error("{name}: {line}", name=self.name, line=line)

    def cancel_timers(self) -> None:
        """What it waited for has happened, or will not."""
        for timer in (*self.timers, self.idle):
            if timer and timer.active():
                timer.cancel()
        if self.watchdog:
            self.watchdog.stop()


def fingerprint(file: Path) -> Fingerprint:
    """What changes when a file does; zeros for one that is gone."""
    try:
        status = file.stat()
    except (OSError, ValueError):  # the latter at a name that no file can have
        return NO_FILE
    return status.st_mtime_ns, status.st_size, status.st_ino
