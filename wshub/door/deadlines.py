"""Who has to have done something by when; all are given the same time, so one timer does for any number."""

from typing import Any, Protocol

SWEEP = 0.25  # seconds; who is late may be this much later still


class Expected(Protocol):
    """A connection of which something is expected."""

    transport: Any

    def close_late(self) -> None:
        """Called when its time is over."""


class Deadlines:
    """Connections of which something is due within `seconds`."""

    def __init__(self, reactor: Any, seconds: float) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._deadlines: dict[Expected, float] = {}  # the next one first
        self._sweeper: Any = None

    def expect(self, connection: Expected) -> None:
        """Something is due from now on: the first request of a new connection, or the end of one that was refused."""
        self._deadlines.pop(connection, None)
        self._deadlines[connection] = self._reactor.seconds() + self._seconds
        if self._sweeper is None:
            self._sweeper = self._reactor.callLater(SWEEP, self._sweep)

    def forget(self, connection: Expected) -> None:
        """It has come, or will not."""
        self._deadlines.pop(connection, None)

    def close(self) -> None:
        """Close everybody of whom something is expected."""
        for connection in list(self._deadlines):
            connection.transport.abortConnection()
        if self._sweeper:
            self._sweeper.cancel()
            self._sweeper = None

    def _sweep(self) -> None:
        now = self._reactor.seconds()
        for connection, deadline in list(self._deadlines.items()):
            if deadline > now:
                break
            self.forget(connection)
            connection.close_late()
        self._sweeper = self._reactor.callLater(SWEEP, self._sweep) if self._deadlines else None
