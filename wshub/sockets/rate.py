"""So many a second: a count that begins anew every second."""


class Rate:
    """Whether one client's messages, or its pings, are too many. Times are in seconds."""

    __slots__ = ("_began", "_count", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._began = float("-inf")

    def is_exceeded(self, now: float) -> bool:
        """One more at `now`: whether there were more than the limit since this second began."""
        if now - self._began >= 1:
            self._began, self._count = now, 0
        self._count += 1
        return self._count > self._limit
