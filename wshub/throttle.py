"""Keeps what clients cause from flooding the log: so many lines of a kind in a while, then a number for the rest."""

LINES = 20  # of one kind
SECONDS = 10.0  # in which they may come


class LineThrottle:
    """Says which lines are written. `kind` must be one of few, and none that a client makes up."""

    def __init__(self) -> None:
        self._windows: dict[str, tuple[float, int]] = {}

    def admit(self, kind: str, now: float) -> int | None:
        """None if this line is left out; else how many before it have been. `now` is in seconds."""
        began, count = self._windows.get(kind, (now, 0))
        if now - began >= SECONDS:
            self._windows[kind] = now, 1
            return max(0, count - LINES)
        self._windows[kind] = began, count + 1
        return 0 if count < LINES else None
