"""Who is still there: clients that have been silent are pinged, and those that stay silent are given up.

A connection whose peer has vanished looks like one whose peer has nothing to say (RFC 6455, section 5.5.2, has the ping
for that). Whoever has said anything within `interval` is not pinged at all. Everybody has the same two times, so
the connections stand in two queues, the next one due first, and looking for those that are due costs nothing else.
"""

from typing import Generic, Protocol, TypeVar


class Peer(Protocol):
    """What keeping alive wants of a connection."""

    def wshub_is_alive(self) -> bool:
        """Whether it has shown so since this was last asked."""


P = TypeVar("P", bound=Peer)


class Keepalive(Generic[P]):
    """The connections of a hub, each in one of two queues. Times are in seconds, of a clock that only goes forward."""

    def __init__(self, interval: float, timeout: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._quiet: dict[P, float] = {}  # when each is to be looked at
        self._pinged: dict[P, float] = {}  # when each has to have said something

    def add(self, peer: P, now: float) -> None:
        """A connection is there."""
        self._quiet[peer] = now + self._interval

    def remove(self, peer: P) -> None:
        """It has gone."""
        self._quiet.pop(peer, None)
        self._pinged.pop(peer, None)

    def look(self, now: float) -> tuple[list[P], list[P]]:
        """Who is to be pinged now, and who has not answered in time and is to be given up."""
        silent = self._take_silent(self._pinged, now)
        to_ping = self._take_silent(self._quiet, now)
        for peer in to_ping:
            self._pinged[peer] = now + self._timeout
        return to_ping, silent

    def _take_silent(self, queue: dict[P, float], now: float) -> list[P]:
        due = []
        for peer, when in queue.items():
            if when > now:
                break
            due.append(peer)
        silent = []
        for peer in due:
            del queue[peer]
            if peer.wshub_is_alive():
                self._quiet[peer] = now + self._interval
            else:
                silent.append(peer)
        return silent
