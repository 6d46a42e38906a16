"""When a service that died may be started again: OTP's *intensity* and *period*, and a back-off between two starts.

Pure: times are seconds of any clock that only goes forward, and chance is an argument.
"""

import math
from dataclasses import dataclass, field

SHORTEST_BACK_OFF = 0.25  # seconds: what the clients of a service that died once hardly notice
LONGEST_BACK_OFF = 30.0  # seconds: what those of a service that was mended by other means may have to wait


def back_off(streak: int, chance: float) -> float:
    """Seconds from the death that is the `streak`-th in a row (from 1) to the next start.

    0.25 to 0.5 s, then twice that each time, at most 30 s. `chance`, from 0 to 1, says where in between, so that
    services that died of one cause, and their clients, do not all come back at once.
    """
    doublings = min(streak - 1, 30)  # 2 ** 1000000 is no float
    return min(LONGEST_BACK_OFF, SHORTEST_BACK_OFF * 2.0**doublings * (1 + chance))


@dataclass
class RestartPolicy:
    """Gives up when a service has died `intensity` times within `period` seconds, until enough of them are past."""

    intensity: int = 5
    period: float = 30.0
    _deaths: list[float] = field(default_factory=list)
    _streak: int = 0
    """Deaths in a row, each after less than a period of life."""
    _not_before: float = -math.inf

    def record_death(self, now: float, lived: float = 0.0, chance: float = 0.0) -> None:
        """The service died at `now`, `lived` seconds after its start; see `back_off` for `chance`."""
        self._deaths = [*self._recent(now), now]
        self._streak = 1 if lived >= self.period else self._streak + 1
        self._not_before = now + back_off(self._streak, chance)

    def seconds_to_wait(self, now: float) -> float:
        """0 if the service may be started at `now`, else the seconds until it may."""
        wait = self._not_before - now
        if self.has_given_up(now):
            wait = max(wait, self._recent(now)[-self.intensity] + self.period - now)
        return max(0.0, wait)

    def has_given_up(self, now: float) -> bool:
        """Whether it died too often of late."""
        return len(self._recent(now)) >= self.intensity

    def _recent(self, now: float) -> list[float]:
        return [death for death in self._deaths if death > now - self.period]
