"""When a service that died may be started again: OTP's *intensity* and *period*, as a filter over times."""

import math
from dataclasses import dataclass, field


@dataclass
class RestartPolicy:
    """Gives up when a service has died `intensity` times within `period` seconds, until enough of them are past.

    Times are seconds of any clock that only goes forward; the caller says what time it is.
    """

    intensity: int = 5
    period: float = 30.0
    _deaths: list[float] = field(default_factory=list)

    def record_death(self, now: float) -> None:
        """The service died at `now`."""
        self._deaths = [*self._recent(now), now]

    def seconds_to_wait(self, now: float) -> int:
        """0 if the service may be started at `now`, else the whole seconds until it may: the true Retry-After."""
        recent = self._recent(now)
        if len(recent) < self.intensity:
            return 0
        return max(1, math.ceil(recent[-self.intensity] + self.period - now))

    def _recent(self, now: float) -> list[float]:
        return [death for death in self._deaths if death > now - self.period]
