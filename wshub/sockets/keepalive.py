"""Who is still there: clients that have been silent are pinged, and those that stay silent are given up.

A connection whose peer has vanished looks like one whose peer has nothing to say (RFC 6455, section 5.5.2, has the ping
for that). Whoever has given a sign of life within `interval` is not pinged at all. The connections stand in slots of
time, each in the one in which it is due, so that a look at those that are due costs nothing for the others.
"""

import math
from typing import Generic, Protocol, TypeVar

SLOT = 0.25  # seconds
AWAY = 4 * SLOT  # without a look for so long: the hub itself was stopped, and answers may wait to be read


class Peer(Protocol):
    """What keeping alive wants of a connection."""

    def wshub_last_sign(self, now: float) -> float:
        """When it last showed that it is there; as a time of the same clock, perhaps rounded down by a slot."""


P = TypeVar("P", bound=Peer)


class Keepalive(Generic[P]):
    """The connections of a hub. Times are in seconds, of a clock that only goes forward.

    Who has been silent since `t` is pinged at `t + interval`, and given up at `t + interval + timeout`, or up to three
    slots later if somebody looks once a slot.
    """

    def __init__(self, interval: float, timeout: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._slot_of: dict[P, int] = {}
        self._slots: dict[int, dict[P, float]] = {}  # when each was pinged; -inf if it was not
        self._next = 0  # the first slot that nobody has looked at
        self._looked = 0.0  # when somebody last did

    def add(self, peer: P, now: float) -> None:
        """A connection is there."""
        if not self._slot_of:
            self._slots.clear()
            self._next, self._looked = int(now / SLOT), now
        self._put(peer, int((now + self._interval) / SLOT), -math.inf)

    def remove(self, peer: P) -> None:
        """It has gone."""
        slot = self._slot_of.pop(peer, None)
        if slot is not None:
            del self._slots[slot][peer]

    def look(self, now: float) -> tuple[list[P], list[P]]:
        """Who is to be pinged now, and who has given no sign in time and is to be given up."""
        to_ping: list[P] = []
        silent: list[P] = []
        was_away, self._looked = now - self._looked > AWAY, now
        for peer, pinged in self._take_due(now):
            sign = peer.wshub_last_sign(now)
            if sign < pinged:
                if was_away:
                    self._put(peer, self._next, pinged)
                else:
                    silent.append(peer)
            elif sign + self._interval < now + SLOT:
                to_ping.append(peer)
                self._put(peer, math.ceil((now + self._timeout) / SLOT), now)
            else:
                self._put(peer, int((sign + self._interval) / SLOT), -math.inf)
        return to_ping, silent

    def _take_due(self, now: float) -> list[tuple[P, float]]:
        due: list[tuple[P, float]] = []
        while self._next <= now / SLOT:
            due += self._slots.pop(self._next, {}).items()
            self._next += 1
        for peer, _ in due:
            del self._slot_of[peer]
        return due

    def _put(self, peer: P, slot: int, pinged: float) -> None:
        slot = max(slot, self._next)
        self._slot_of[peer] = slot
        self._slots.setdefault(slot, {})[peer] = pinged
