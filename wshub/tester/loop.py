"""An asyncio loop whose time stands still until a test moves it."""

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

LOOK = 0.01  # seconds; how often it is looked whether what a test waits for in real time has come


class _PatientSelector(selectors.DefaultSelector):
    """Never waits for time: where a loop would, time is moved, or the loop is stopped because there is nothing to do.

    asyncio asks its selector to wait for 0 seconds as long as something can run, and else until the next timer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop: MovedLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        """See `selectors.BaseSelector`."""
        events = super().select(0)
        if not events and (timeout is None or timeout > 0):
            events = self.loop.pass_time(timeout, super().select)
        return events


class MovedLoop(asyncio.SelectorEventLoop):
    """A loop that runs until it has nothing to do, at a time that begins with 0."""

    def __init__(self) -> None:
        selector = _PatientSelector()
        selector.loop = self
        self._time = 0.0
        self._horizon = 0.0
        self._is_enough: Callable[[], object] = lambda: False
        self._looks: float = 0
        super().__init__(selector)
        # asyncio's own is 1e-9: after a hundred days of a test's time a float cannot tell that from nothing, and a
        # timer that is due just now would be waited for, for 0 seconds, for ever.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """What timers go by, in seconds."""
        return self._time

    def advance(self, seconds: float, until: Callable[[], object] = lambda: False) -> None:
        """Run what can, then move time to each timer that becomes due in `seconds`, or until `until()` is true."""
        self._horizon = self._time + seconds
        self._is_enough = until
        self.run_forever()

    def look(self) -> None:
        """Run what can, and what comes from elsewhere, a thread or a socket, in the next moment of real time."""
        self._looks = LOOK
        self.advance(0)

    def pass_time(self, timeout: float | None, select: Callable[[float], list[Any]]) -> list[Any]:
        """What the selector does instead of waiting for `timeout` seconds."""
        if self._looks:
            looks, self._looks = self._looks, 0
            return select(looks)
        if self._is_enough() or timeout is None or self._time + timeout > self._horizon:
            if not self._is_enough():
                self._time = self._horizon
            self.stop()
        else:
            self._time += timeout
        return []
