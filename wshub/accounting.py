"""What has happened, in numbers and in one place: whoever wants to show them reads them here.

A count only ever grows, for as long as the hub runs. There is one `Counts` for each service, over all of its
processes, and one for what never got as far as a service.
"""

from collections import Counter
from dataclasses import dataclass, field

from wshub.recent import Recent


@dataclass(slots=True)
class Counts:
    """What happened to one service."""

    opened: int = 0
    """Clients that got a 101."""
    closed: Counter[int] = field(default_factory=Counter)
    """Clients that have gone, by close code, as the service was told it."""
    refused: Counter[str] = field(default_factory=Counter)
    """Upgrade requests that got no 101, and connections that got no answer at all, by reason in a few words."""
    messages_in: int = 0
    """Messages from clients."""
    messages_out: int = 0
    """Messages to clients; one to a thousand counts a thousand times."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Messages to clients that were not sent, by reason in a few words."""
    starts: int = 0
    """Processes that were started."""
    restarts: int = 0
    """Those that took the place of one that had died, or had finished; none of a reload is among them."""
    deaths: Counter[str] = field(default_factory=Counter)
    """Processes that ended without being asked to, by how."""
    reloads: int = 0
    """Times that a new process has taken the place of an old one."""
    failed_reloads: int = 0
    """Times that it did not start, and the old one stayed."""
    handed_over: int = 0
    """Clients that a new process got from an old one."""
    last_error: str = ""
    """The last line of the last traceback, printed or of a failed start; this and what follows are no numbers."""
    recent: Recent | None = None
    """What happened of late, if somebody can look at it."""

    def note(self, now: float, text: str) -> None:
        """A process of the service began or ended, at `now` in Unix time: keep it among what is recent."""
        if self.recent:
            self.recent.add_event(now, text)


class Accounting:
    """The counts of a hub."""

    def __init__(self, keeps_recent: bool = False) -> None:
        self.hub = Counts()
        """What concerned no service that is there."""
        self.services: dict[str, Counts] = {}
        """By route, such as ``/foo/bar``; only of services that have been started."""
        self._keeps_recent = keeps_recent  # which is for the admin interface alone

    def service(self, route: str) -> Counts:
        """The counts of the service at `route`, made when it is first asked for."""
        if route not in self.services:
            self.services[route] = Counts(recent=Recent() if self._keeps_recent else None)
        return self.services[route]
