"""What a supervisor knows of a service: of one run of it, and from one run to the next."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wshub.processes.link import ServiceLink
from wshub.processes.process import ServiceProcess
from wshub.processes.restart import RestartPolicy
from wshub.processes.watchdog import Watchdog
from wshub.routing import Route, format_route

Fingerprint = tuple[int, int, int]


@dataclass
class Record:
    """What is remembered about a service between one process of it and the next."""

    policy: RestartPolicy
    file: Fingerprint | None = None
    """What the rest is about. All is forgotten as soon as the file is another."""
    has_failed: bool = False
    """Whether it did not start."""
    has_ended: bool = False
    """Whether it is not to be started again."""


@dataclass(eq=False)
class Run:
    """A service from the wish for it to the end of its process."""

    route: Route
    link: ServiceLink
    file: Fingerprint
    """Of the module, when the process was wanted."""
    process: ServiceProcess | None = None
    """None until it has been started."""
    began: float = 0.0
    timers: list[Any] = field(default_factory=list)
    """Calls of the reactor's that are off when the state changes."""
    watchdog: Watchdog | None = None
    idle: Any = None
    """The call that ends it if no client comes before."""

    @property
    def name(self) -> str:
        """Its route, as people write it."""
        return format_route(self.route)

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
    except OSError:
        return 0, 0, 0
    return status.st_mtime_ns, status.st_size, status.st_ino
